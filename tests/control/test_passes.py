"""Passes, certificates, the ladder: by hand, and what is refused."""

import numpy as np
import pytest

from icrl.control import passes
from icrl.mdp import MarkovDecisionProcess, random_mdp


def bandit(rewards, discount=0.5):
    """One state; an action pays and returns to it."""
    return MarkovDecisionProcess(np.ones((1, len(rewards), 1)), np.array([rewards]), discount)


def test_one_pass_by_hand():
    """Two arms worth 1 and 3, the old policy on the first, errors 2 and 0.5."""
    process, old = bandit([1.0, 3.0]), np.array([[0.9, 0.1]])  # epsilon 0.2
    estimate = process.q_values(old) + np.array([[2.0, 0.5]])
    found = passes.improvement(process, old, estimate, 0.2)
    assert found.policy.tolist() == [[pytest.approx(0.1), pytest.approx(0.9)]]
    assert found.gap[0] == pytest.approx(0.5)  # 3 + 0.5 - (1 + 2)
    assert found.span[0] == pytest.approx(1.5)
    assert found.moved[0] == pytest.approx(1.0)
    assert found.bracket[0] == pytest.approx(-1.0)
    assert found.promised[0] == pytest.approx(0.8 * -1.0 / 0.5)
    assert found.gained[0] == pytest.approx(0.8 * 2 / 0.5)
    assert not found.certified
    assert passes.improvement(process, old, process.q_values(old), 0.2).certified


def test_best_soft_by_hand():
    best = passes.best_soft(bandit([1.0, 3.0]), 0.2)
    assert best.max() == pytest.approx((0.1 * 1 + 0.9 * 3) / 0.5)
    assert np.allclose(
        passes.best_soft(random := random_mdp(4, 3, 0.9, np.random.default_rng(0)), 0.0), random.optimal_q()
    )


def test_factors_by_hand():
    assert passes.loop_factor(0.9, 0.0) == 0.9
    assert passes.loop_factor(0.5, 0.5) == pytest.approx(1 / 3)
    assert passes.loop_bound(0.5, 0.5, 2.0) == pytest.approx(0.75 * 0.5 * 2 / 0.25)


def test_ladder_is_worth_nothing_at_best_and_staying_is_wrong():
    process, errors = passes.ladder(5, 40, 0.8, 0.2, 1.0)
    assert np.abs(passes.best_soft(process, 0.2).max(axis=1)).max() < 1e-12
    assert errors.shape == (5, 6, 41)
    assert (np.count_nonzero(errors, axis=(1, 2)) == 1).all()
    q = process.optimal_q()
    assert (q[1:, 0] > q[1:, 1]).all()


def test_quotient_rate_by_hand():
    assert passes.quotient_rate(np.array([[0.2, 0.8], [0.5, 0.5]])) == pytest.approx(0.3)
    assert passes.quotient_rate(np.array([[0.7]])) == 0
    assert passes.quotient_rate(0.9 * np.roll(np.eye(5), 1, axis=1)) == pytest.approx(0.9)


def test_data_certify_a_clear_gain_and_nothing_where_pairs_are_missing():
    process, old = bandit([-1.0, 1.0], 0.1), np.array([[0.9, 0.1]])
    roll = process.rollout(old, 4000, np.random.default_rng(1))
    pairs = roll.actions
    better = np.array([[0.0, 1.0]])
    given = pairs, roll.rewards, 0.1, (-1.0, 1.0), 0.1
    found = passes.certified_improvement(old, better, 0.2, *given)
    assert found.certified
    assert 0 < found.bracket[0] <= 0.8 * 2 + 1e-9
    assert not passes.certified_improvement(old, -better, 0.2, *given).bracket.min() > 0
    few = np.zeros(5, dtype=int), np.full(4, -1.0), 0.1, (-1.0, 1.0), 0.1
    assert passes.certified_improvement(old, better, 0.2, *few).bracket[0] == -np.inf


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, old, q: passes.improvement(p, np.array([[1.0, 0.0]]), q, 0.2),
            "policy holds 0; an epsilon-soft policy has at least 0.1",
        ),
        (lambda p, old, q: passes.improvement(p, old, q, 1.0), r"epsilon is 1; it must lie in \[0, 1\)"),
        (lambda p, old, q: passes.improvement(p, old, q[0], 0.2), r"estimate has shape \(2,\)"),
        (lambda p, old, q: passes.best_soft(p, -0.1), "epsilon is -0.1"),
        (lambda p, old, q: passes.ladder(0, 1, 0.5, 0.1, 1.0), "num_rungs is 0"),
        (lambda p, old, q: passes.ladder(1, 1, 0.5, 0.1, 0.0), "span is 0; it must be positive"),
        (lambda p, old, q: passes.ladder(1, 1, 0.5, 2.0, 1.0), "epsilon is 2"),
        (lambda p, old, q: passes.quotient_rate(np.diag([1.0, 2.0])), "matrix has row sums from 1 to 2"),
    ],
)
def test_refusals(call, message):
    process = bandit([1.0, 3.0])
    with pytest.raises(ValueError, match=message):
        call(process, np.array([[0.9, 0.1]]), np.zeros((1, 2)))
