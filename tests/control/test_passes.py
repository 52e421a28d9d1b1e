"""Passes, certificates, the ladder: by hand, and what is refused."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from icrl.contraction import certificate
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


def mixed(rng, size, actions, epsilon):
    """A policy that explores with `epsilon`, and its other part."""
    rest = rng.dirichlet(np.ones(actions), size=size)
    return (1 - epsilon) * rest + epsilon / actions, rest


def test_one_pass_by_loops():
    """Four states, three actions, an estimate with any errors: every number by its definition."""
    rng, epsilon = np.random.default_rng(2), 0.3
    for _ in range(5):
        process = random_mdp(4, 3, 0.8, rng)
        old, rest = mixed(rng, 4, 3, epsilon)
        q = process.q_values(old)
        estimate = q + rng.normal(0, 0.3, (4, 3))
        found = passes.improvement(process, old, estimate, epsilon)
        best = estimate.argmax(axis=1)
        chosen = 0.7 * np.eye(3)[best] + 0.1
        np.testing.assert_allclose(found.policy, chosen)
        for s in range(4):
            gap = estimate[s, best[s]] - rest[s] @ estimate[s]
            errors = estimate[s] - q[s]
            moved = sum(abs((a == best[s]) - rest[s, a]) for a in range(3)) / 2
            wanted = gap, max(errors) - min(errors), moved, gap - moved * (max(errors) - min(errors))
            assert (found.gap[s], found.span[s], found.moved[s], found.bracket[s]) == pytest.approx(wanted)
        chain = np.einsum("sa,sat->st", chosen, process.transition)
        series = sum(0.8**k * np.linalg.matrix_power(chain, k) @ found.bracket for k in range(150))
        np.testing.assert_allclose(found.promised, 0.7 * series, rtol=1e-8)
        values = [
            np.linalg.solve(
                np.eye(4) - 0.8 * np.einsum("sa,sat->st", x, process.transition),
                (x * process.reward).sum(axis=1),
            )
            for x in (chosen, old)
        ]
        np.testing.assert_allclose(found.gained, values[0] - values[1], rtol=1e-9)
        assert (found.promised <= found.gained + 1e-12).all()


@pytest.mark.parametrize(
    ("least", "oracle", "data"), [(0.0, True, True), (-0.9e-10, True, False), (-1.1e-10, False, False)]
)
def test_when_a_pass_is_certified(least, oracle, data):
    """No bracket is negative; the oracle's may be by as much as ties are rounded."""
    rng, bracket = np.random.default_rng(3), np.array([1.0, least, 2.0])
    process, (old, _) = random_mdp(3, 2, 0.5, rng), mixed(rng, 3, 2, 0.2)
    found = passes.improvement(process, old, process.reward, 0.2)
    assert replace(found, bracket=bracket).certified == oracle
    roll = process.rollout(old, 40, rng)
    given = 2 * roll.states + roll.actions, roll.rewards, 0.5, (-1.0, 1.0), 0.1
    found = passes.certified_improvement(old, process.reward, 0.2, *given)
    assert replace(found, bracket=bracket).certified == data


def test_best_soft_among_all_policies():
    """Every choice of one action a state, made epsilon-soft; the rest of an action is uniform."""
    process = random_mdp(3, 2, 0.9, np.random.default_rng(4))
    every = [0.7 * np.eye(2)[list(x)] + 0.15 for x in product((0, 1), repeat=3)]
    best = np.max([process.under(x).value() for x in every], axis=0)
    found = passes.best_soft(process, 0.3)
    ahead = process.reward + 0.9 * process.transition @ best
    np.testing.assert_allclose(found, 0.7 * ahead + 0.3 * ahead.mean(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(found.max(axis=1), best, rtol=1e-9)


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
    passes.ladder(1, 1, 0.8, 0.0, 1.0)  # the smallest there is


def test_a_loop_on_the_ladder_loses_what_the_bound_allows():
    """Pass by pass the next rung is lost, by errors of the given span; with few actions less of the bound."""
    discount, epsilon, span = 0.6, 0.2, 1.5
    for stays, share in ((300, 0.99), (3, 0.5)):
        process, errors = passes.ladder(12, stays, discount, epsilon, span)
        assert (np.ptp(errors, axis=2).max(axis=1) == span).all()
        q = passes.best_soft(process, epsilon)
        policy = np.full(q.shape, epsilon / (stays + 1))
        policy[:, 0] += 1 - epsilon
        np.testing.assert_allclose(process.under(policy).value(), 0, atol=1e-12)
        for k, error in enumerate(errors):
            found = passes.improvement(process, policy, process.q_values(policy) + error, epsilon)
            policy = found.policy
            assert np.flatnonzero(policy[1:, 0] < 0.5).tolist() == [k]  # who stays where it was made to
        loss = -process.under(policy).value()[-1]
        bound = passes.loop_bound(discount, epsilon, span)
        assert share * bound < loss <= bound


def test_quotient_rate_by_hand():
    assert passes.quotient_rate(np.array([[0.2, 0.8], [0.5, 0.5]])) == pytest.approx(0.3)
    assert passes.quotient_rate(np.array([[0.7]])) == 0
    assert passes.quotient_rate(0.9 * np.roll(np.eye(5), 1, axis=1)) == pytest.approx(0.9)
    matrix = np.random.default_rng(5).normal(size=(5, 5))
    matrix += (2 - matrix.sum(axis=1, keepdims=True)) / 5  # rows sum to 2
    values = np.linalg.eigvals(matrix)
    others = np.delete(values, np.abs(values - 2).argmin())
    assert passes.quotient_rate(matrix) == pytest.approx(np.abs(others).max())
    large = np.array([[-1e7, -1.0], [-1.0, -1e7 + 5e-4]])  # sums that are equal but for rounding
    assert passes.quotient_rate(large) == pytest.approx(1e7 - 1)


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


def test_certified_gains_by_loops():
    """Value and radius of every pair from the certificate of the window; who does not move loses nothing."""
    rng = np.random.default_rng(6)
    process = random_mdp(3, 2, 0.3, rng)
    old, rest = mixed(rng, 3, 2, 0.1)
    old[2], rest[2] = [0.95, 0.05], [1.0, 0.0]  # greedy already
    roll = process.rollout(old, 3000, rng)
    pairs = 2 * roll.states + roll.actions
    keep = pairs[: np.flatnonzero(pairs == 5)[0]]  # the last pair was never tried
    estimate = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    for names in (pairs[:-1] if pairs[-1] not in pairs[:-1] else pairs, keep):
        names = names[: np.flatnonzero(np.isin(names, names[:-1]))[-1] + 1]
        while names[-1] not in names[:-1]:
            names = names[:-1]
        rewards = process.reward.ravel()[names[:-1]]
        given = names, rewards, 0.3, (-1.0, 1.0), 0.05
        found = passes.certified_improvement(old, estimate, 0.1, *given)
        told = certificate(np.eye(6), *given[:4], 0, 0.05)
        value, radius = (dict(zip(told.visited, x, strict=True)) for x in (told.estimate, told.radius))
        for s, best in enumerate((1, 0, 0)):
            gain = 0.0
            for a in range(2):
                change, pair = (a == best) - rest[s, a], 2 * s + a
                if abs(change) > 1e-12:
                    gain += change * value[pair] - abs(change) * radius[pair] if pair in value else -np.inf
            assert found.bracket[s] == pytest.approx(0.9 * gain)
        assert found.bracket[2] == pytest.approx(0.0)
        assert np.allclose(found.policy, 0.9 * np.eye(2)[[1, 0, 0]] + 0.05)


@pytest.mark.bad_input
def test_a_policy_is_soft_up_to_rounding():
    process, estimate = bandit([1.0, 3.0]), np.zeros((1, 2))
    for least in (0.1, 0.1 - 5e-10):
        passes.improvement(process, np.array([[1 - least, least]]), estimate, 0.2)
    passes.improvement(process, np.array([[1.0, 0.0]]), estimate, 0.0)
    with pytest.raises(ValueError, match=r"policy holds 0.1; an epsilon-soft policy has at least 0.1"):
        passes.improvement(process, np.array([[0.9 + 2e-9, 0.1 - 2e-9]]), estimate, 0.2)


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
        (lambda p, old, q: passes.best_soft(p, 1.0), r"epsilon is 1; it must lie in \[0, 1\)"),
        (lambda p, old, q: passes.ladder(1, 0, 0.5, 0.1, 1.0), "num_stays is 0"),
        (lambda p, old, q: passes.ladder(1, 1, 0.5, 1.0, 1.0), r"epsilon is 1; it must lie in \[0, 1\)"),
        (lambda p, old, q: passes.ladder(1, 1, 0.5, -0.1, 1.0), "epsilon is -0.1"),
        (lambda p, old, q: passes.quotient_rate(np.array([[0.5, 0.5], [0.5, 0.5 + 1.2e-9]])), "row sums"),
        (lambda p, old, q: passes.quotient_rate(np.diag([1.0, 2.0])), "matrix has row sums from 1 to 2"),
    ],
)
def test_refusals(call, message):
    process = bandit([1.0, 3.0])
    with pytest.raises(ValueError, match=message):
        call(process, np.array([[0.9, 0.1]]), np.zeros((1, 2)))
