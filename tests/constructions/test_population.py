"""Theorem 2 with constants, by hand; the law of nearly equal features, in closed form."""

import numpy as np
import pytest
from refusals import refused

from icrl import constructions, mrp
from icrl import contraction as con


def test_poisson_solution():
    process = mrp.loop_chain(5, 0.9, np.random.default_rng(0))
    g, mu = constructions.poisson_solution(process), process.stationary_distribution()
    np.testing.assert_allclose(g - process.transition @ g, np.eye(5) - mu, atol=1e-12)


def test_population_bound():
    """The rate is 1 - C from `required` on and not before, from above towards 1 - 2C; all by hand."""
    process, features = mrp.random_mrp(3, 0.3, np.random.default_rng(0)), np.sqrt(8) * np.eye(3)
    margin, mu = con.assumption_margin(features, process), process.stationary_distribution()
    spans = np.ptp(constructions.poisson_solution(process), axis=0)
    spread, m = np.sqrt(np.log(120) / 2), 0.65 + margin

    def rate(n):
        off = (spans * (1 + spread * np.sqrt(n)) / (n * mu)).max()
        least = m * (1 - off) / (m * (1 - off) + (1 - m) * (1 + off))  # attention to oneself
        return 0.3 + 2 * (1 - least), off

    required = constructions.population_bound(features, process, 1, 0.1).required
    assert rate(required)[0] <= 1 - margin < rate(required - 1)[0]
    for n in (required - 1, required, 4000, 10**7):
        bound, (expected, off) = constructions.population_bound(features, process, n, 0.1), rate(n)
        assert bound.rate == pytest.approx(expected)
        noise = 0.3 * np.ptp(process.value()) * spread / np.sqrt(n)
        assert bound.floor == pytest.approx(noise / ((1 - expected) * (1 - off) * mu.min()))
        assert bound.required == required
    assert bound.rate == pytest.approx(1 - 2 * margin, abs=1e-3)
    assert constructions.population_bound(features, process, 2, 0.1).floor == np.inf


def test_the_books_example_needs_399_transitions():
    """Where halving the margin asked for 67 910; at 306 the bound begins to contract."""
    process = mrp.boyan_chain(5, 0.5, np.random.default_rng(1))
    features = np.sqrt(6) * np.eye(5)
    assert constructions.population_bound(features, process, 1, 0.1).required == 399
    before, after = (constructions.population_bound(features, process, n, 0.1) for n in (305, 306))
    assert after.rate < 1 <= before.rate < 2
    assert after.floor < before.floor == np.inf


def test_slow_eigenvalue_of_two_states_by_hand():
    """det M in closed form: mu_0 mu_1 (1 - exp(-|eps u|^2)) over the product of the normalisers."""
    process = mrp.MarkovRewardProcess(np.array([[0.7, 0.3], [0.6, 0.4]]), np.zeros(2), 0.8)
    u = np.array([2.0, 1.0])
    law = constructions.slow_eigenvalue(
        np.array([[0.5, -1.0], [0, 0]]), np.array([1.0, 3.0]), process, (0, 1), u
    )
    expected = (1 / 4) * (3 / 4) * 5 * (1 - 0.8 * (0.7 + 0.4 - 1))
    assert law == pytest.approx(expected)


@pytest.mark.bad_input
def test_slow_eigenvalue_refuses():
    process = mrp.MarkovRewardProcess(np.array([[0.7, 0.3], [0.6, 0.4]]), np.zeros(2), 0.8)
    x, visits, u = np.eye(2), np.array([1, 3]), np.ones(2)
    for change in ({"pair": (1, 1)}, {"visits": np.array([0, 3])}, {"direction": np.zeros(2)}):
        arguments = {"features": x, "visits": visits, "pair": (0, 1), "direction": u} | change
        with pytest.raises(ValueError, match="the pair must be two states"):
            constructions.slow_eigenvalue(process=process, **arguments)
    with pytest.raises(ValueError, match=r"pair\[1\] is 2; states run from 0 to 1"):
        constructions.slow_eigenvalue(x, visits, process, (0, 2), u)
    with pytest.raises(ValueError, match="direction has shape"):
        constructions.slow_eigenvalue(x, visits, process, (0, 1), np.ones(3))


def test_one_state_leaves_nothing():
    process = mrp.MarkovRewardProcess(np.ones((1, 1)), np.ones(1), 0.5)
    bound = constructions.population_bound(np.ones((1, 1)), process, 10, 0.1)
    assert (bound.floor, bound.required) == (0, 1)


@pytest.mark.bad_input
def test_refuses_population_bound():
    process = mrp.random_mrp(3, 0.9, np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"features give Assumption 5\.1 the margin -0.*needs a positive one"
    ):
        constructions.population_bound(np.eye(3), process, 10, 0.1)
    with pytest.raises(ValueError, match="num_transitions is 0; it must be at least 1"):
        constructions.population_bound(5 * np.eye(3), process, 0, 0.1)


@pytest.mark.bad_input
def test_refuses_features_too_alike():
    alike = np.array([[1.0], [1.0], [3.0]])
    refused(
        "features gives a linear system of condition ...",
        constructions.slow_eigenvalue,
        np.vstack([alike, alike[:1]]),
        np.ones(4),
        mrp.MarkovRewardProcess(np.full((4, 4), 0.25), np.zeros(4), 0.9),
        (2, 3),
        np.ones(1),
    )


def test_slow_eigenvalue_of_four_states_by_eigenvalues():
    """Of the operator itself, state 0 moved off state 2 by a little and by as much the other way."""
    rng = np.random.default_rng(3)
    process, features = mrp.random_mrp(4, 0.7, rng), rng.normal(size=(4, 3))
    visits, direction, eps = np.array([3.0, 1, 4, 2]), np.array([1.5, 0, -1]), 1e-3
    law = constructions.slow_eigenvalue(features, visits, process, (2, 0), direction)
    slowest = []
    for step in (eps, -eps):
        moved = features.copy()
        moved[0] = features[2] + step * direction
        operator = con.population_matching(moved, visits / 10) @ (np.eye(4) - 0.7 * process.transition)
        slowest.append(np.abs(np.linalg.eigvals(operator)).min() / eps**2)
    assert law == pytest.approx(np.mean(slowest), rel=1e-4)


@pytest.mark.bad_input
def test_a_margin_of_zero_proves_nothing():
    """Two states that cannot be told apart, without discounting: attention 1/2, as much as is asked for."""
    process = mrp.MarkovRewardProcess(np.full((2, 2), 0.5), np.ones(2), 0.0)
    with pytest.raises(ValueError, match=r"the margin 0; the bound needs a positive one"):
        constructions.population_bound(np.zeros((2, 1)), process, 10, 0.1)


def test_slow_eigenvalue_beside_features_of_large_norm():
    """Far from the pair no kernel is left: only the direction's length counts, and who hears whom."""
    process, visits, direction = (
        mrp.random_mrp(4, 0.7, np.random.default_rng(3)),
        np.arange(1.0, 5),
        np.array([3.0, 4]),
    )
    features = np.array([[0.0, 0], [0, 0], [40, 0], [-30, 50]])
    law = constructions.slow_eigenvalue(features, visits, process, (0, 1), direction)
    apart = np.array([1.0, -1, 0, 0])
    between = apart @ np.linalg.solve(np.eye(4) - 0.7 * process.transition, apart / visits)
    assert law == pytest.approx(25 / (10 * between))
