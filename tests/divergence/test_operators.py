"""Operators and conditions, by hand."""

import numpy as np
import pytest

from icrl import divergence
from icrl.contraction import assumption_margin
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
    lazy = MarkovRewardProcess(np.array([[2.0, 1, 1], [2, 1, 1], [1, 2, 1]]) / 4, np.zeros(3), 0.5)
    assert divergence.critical_discount(100 * np.eye(3), lazy) == np.inf  # tr(MP) = 1 to the last bit


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


def test_a_batch_of_unlike_chains_by_hand():
    """The swap above, and two states that hear nobody else: scores in the thousands, M the identity.

    There mu = (2, 1)/3 and Z is as mu, so nu is as (4, 1), and nu P as (3.8, 1.2).
    """
    apart = 50 * np.eye(2)
    features = np.stack([np.column_stack([HALF, [0.0, 0]]), apart])
    lazy = np.array([[0.9, 0.1], [0.2, 0.8]])
    seen = divergence.measure(features, np.stack([SWAP.transition, lazy]), np.array([0.5, 0.8]))
    expected = {
        "coarse": [0.25 * 1.5, 0.64 * 2],
        "sharp": [0.25 * 1.5, 0.64 * 1.2],
        "attention": [0.5 / 0.75, 1 / 0.9],
        "margin": [0.25, 0.2],
    }
    assert list(seen) == list(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(seen[name], numbers, rtol=1e-12)


def test_gamma_zero_always_converges():
    rng = np.random.default_rng(4)
    process = random_mrp(4, 0.0, rng)
    assert divergence.normaliser_condition(rng.normal(size=(4, 2)), process) == (0, 0)
    assert divergence.largest_step_size(divergence.population_operator(rng.normal(size=(4, 2)), process)) > 0


PROCESS, FEATURES = divergent_mrp()


DRAIN = MarkovRewardProcess(np.array([[0.0, 1, 0], [0, 0, 1], [0, 1, 0]]), np.zeros(3), 0.5)


RING = [[0, 1], [1, 0]]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: divergence.largest_step_size(np.ones((2, 3))), r"operator has shape \(2, 3\)"),
        (lambda: divergence.largest_step_size(np.full((2, 2), np.nan)), "operator.* is nan"),
        (lambda: divergence.normaliser_condition(FEATURES[:2], PROCESS), r"features has shape \(2, 1\)"),
        (lambda: divergence.normaliser_condition(FEATURES, DRAIN), "must be positive"),
        (lambda: divergence.critical_discount(FEATURES, DRAIN), "must be positive"),
        (
            lambda: divergence.critical_discount(FEATURES, MarkovRewardProcess(np.eye(1), np.zeros(1), 0.5)),
            "process has 1 states",
        ),
        (
            lambda: divergence.critical_discount(np.array([[1.0], [4], [4]]), PROCESS),
            "features has equal rows",
        ),
        (
            lambda: divergence.unnormalised_operator(FEATURES[:2], PROCESS),
            r"features has shape \(2, 1\)",
        ),
        (lambda: divergence.hill_climb("tight", 3, 1, 1, np.random.default_rng(0)), "objective is 'tight'"),
        (
            lambda: divergence.hill_climb("sharp", 2, 1, 1, np.random.default_rng(0)),
            "num_states is 2; it must be at least 3",
        ),
        (lambda: divergence.exact_chain(RING, 0.9, [[1], [2]]), "discount holds the float 0.9"),
        (lambda: divergence.exact_chain(RING, "1", [[1], [2]]), "discount is 1"),
        (lambda: divergence.exact_chain(RING, "x", [[1], [2]]), "discount holds 'x'"),
        (lambda: divergence.exact_chain([[0, 1], [0.5, 0.5]], 0, [[1], [2]]), "transition holds the float"),
        (
            lambda: divergence.exact_chain([[0, 1], [1, "1/9"]], 0, [[1], [2]]),
            "transition row 1 .* exactly 1",
        ),
        (lambda: divergence.exact_chain([[0, 1], [1]], 0, [[1], [2]]), "transition row 1 has 1 entries"),
        (lambda: divergence.exact_chain([[1, 0], [0, 1]], 0, [[1], [2]]), "several stationary"),
        (lambda: divergence.exact_chain([[0, 1], [0, 1]], 0, [[1], [2]]), "must be positive"),
        (lambda: divergence.exact_chain(RING, 0, [[1], [2, 3]]), "features has rows of lengths"),
        (lambda: divergence.exact_chain(RING, 0, [[1], [0.5]]), "features holds the float"),
        (lambda: divergence.exact_context(np.array([0, 1]), 0, [[1], [2]]), "which it never leaves"),
        (lambda: divergence.exact_context(np.array([0, 0]), 0, [[1], [2]]), "must leave each"),
        (lambda: divergence.tight_chain("1/2", 1), "root is 1; it must exceed 1"),
        (lambda: divergence.tight_chain(0, 2), "discount is 0; it must lie in"),
    ],
)
def test_refuses_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
