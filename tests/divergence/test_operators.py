"""Divergence: hand-computed cases, the batch against single chains, the search and its tables."""

import mpmath
import numpy as np
import pytest

from icrl import divergence
from icrl.contraction import assumption_margin
from icrl.divergence import search
from icrl.mrp import MarkovRewardProcess, divergent_mrp, random_mrp

SWAP = MarkovRewardProcess(np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2), 0.5)
HALF = np.array([[0.0], [np.sqrt(np.log(2))]])  # weights 1/2, 1/2 and 1/3, 2/3


def test_operator_by_hand():
    """B = M (I - P/2) for the swap, which is periodic."""
    expected = np.array([[1 / 2, 1 / 2], [1 / 3, 2 / 3]]) @ np.array([[1, -0.5], [-0.5, 1]])
    np.testing.assert_allclose(divergence.population_operator(HALF, SWAP), expected, atol=1e-14)


def test_unnormalised_operator_by_hand():
    """G D (I - P/2) with the kernel [[1, 1], [1, 2]]."""
    expected = np.array([[1, 1], [1, 2]]) / 2 @ np.array([[1, -0.5], [-0.5, 1]])
    np.testing.assert_allclose(divergence.unnormalised_operator(HALF, SWAP), expected, atol=1e-14)


def test_normaliser_condition_by_hand():
    """Z = (1, 3/2), nu = (1/2, 3/4): the swap sends 3/4 to state 0."""
    np.testing.assert_allclose(divergence.normaliser_condition(HALF, SWAP), (0.25 * 1.5, 0.25 * 1.5))


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ([[4.0, 0], [0, 1]], 0.5),
        ([[1.0, 1], [0, 1]], 2),  # a Jordan block
        ([[1.0, -1], [1, 1]], 1),  # 1 +- i
        ([[0.0, -1], [1, 0]], 0),  # on the imaginary axis
        ([[1.0, 0], [0, -1]], 0),
        ([[1.0, 0], [0, 0]], 0),
    ],
)
def test_largest_step_size(operator, expected):
    assert divergence.largest_step_size(np.array(operator)) == pytest.approx(expected)


def test_critical_discount_is_where_the_eigenvalue_crosses():
    process, features = divergent_mrp()
    critical = divergence.critical_discount(features, process)
    for factor, stable in ((0.999, True), (1.001, False)):
        near = MarkovRewardProcess(process.transition, process.reward, factor * critical)
        operator = divergence.population_operator(features, near)
        assert (divergence.largest_step_size(operator) > 0) == stable


def test_critical_discount_is_infinite_where_attention_returns_nothing():
    """Features far apart and a cycle: who listens to itself hears nothing of its own successors."""
    cycle = MarkovRewardProcess(np.roll(np.eye(3), 1, axis=1), np.zeros(3), 0.9)
    assert divergence.critical_discount(3 * np.eye(3), cycle) == np.inf


def test_batch_agrees_with_single_chains():
    features, transition, discount = divergence.random_chains(5, 4, np.random.default_rng(0))
    seen = divergence.measure(features, transition, discount)
    for i in range(5):
        process = MarkovRewardProcess(transition[i], np.zeros(4), discount[i])
        operator = divergence.population_operator(features[i], process)
        assert seen["margin"][i] == pytest.approx(np.linalg.eigvals(operator).real.min(), abs=1e-9)
        margin = (seen["attention"][i] - 1) * (1 + discount[i]) / 2
        assert margin == pytest.approx(assumption_margin(features[i], process), abs=1e-9)
        assert seen["sharp"][i] <= seen["coarse"][i] * (1 + 1e-9)


def test_equal_norms_are_equal():
    norms = np.linalg.norm(
        divergence.random_chains(6, 5, np.random.default_rng(1), equal_norms=True)[0], axis=-1
    )
    np.testing.assert_allclose(norms, norms[:, :1] + np.zeros(5))


def test_climb_stays_unstable_and_does_not_rise():
    before, *_ = divergence.hill_climb("sharp", 3, 4, 0, np.random.default_rng(2))
    after, *chains = divergence.hill_climb("sharp", 3, 4, 100, np.random.default_rng(2))
    assert (after <= before).all()
    assert (after < before).any()
    seen = divergence.measure(*chains)
    assert (seen["margin"] < divergence.UNSTABLE).all()
    np.testing.assert_allclose(seen["sharp"], after)


def test_gamma_zero_always_converges():
    rng = np.random.default_rng(4)
    process = random_mrp(4, 0.0, rng)
    assert divergence.normaliser_condition(rng.normal(size=(4, 2)), process) == (0, 0)
    assert divergence.largest_step_size(divergence.population_operator(rng.normal(size=(4, 2)), process)) > 0


def test_chains_at_the_edge_of_rounding_are_decided():
    """What floating point cannot tell, ball arithmetic does: as 60 digits do, computed in another way."""
    verdicts = []
    for seed in range(3):
        chains = divergence.random_chains(2000, 8, np.random.default_rng(seed))
        edge = np.flatnonzero(np.abs(divergence.measure(*chains)["margin"]) < 1e-7)
        for i in edge[:15]:
            x, transition, discount = (part[i] for part in chains)
            with mpmath.workdps(60):
                p, gram = mpmath.matrix(transition.tolist()), mpmath.matrix(x.tolist())
                gram *= gram.T
                for s in range(8):
                    p[s, int(transition[s].argmax())] += 1 - sum(p[s, :])
                system = (mpmath.eye(8) - p).T + mpmath.ones(8)
                mu = mpmath.lu_solve(system, mpmath.ones(8, 1))
                weight = gram.apply(mpmath.exp) * mpmath.diag(list(mu))
                matching = mpmath.diag([1 / sum(weight[s, :]) for s in range(8)]) * weight
                eigenvalues = mpmath.eig(matching * (mpmath.eye(8) - float(discount) * p), right=False)
                slowest = min(mpmath.re(value) for value in eigenvalues)
            assert abs(slowest) > 1e-40
            verdicts.append(search._converges(x, transition, discount))
            assert verdicts[-1] == (slowest > 0)
    assert {True, False} <= set(verdicts)
