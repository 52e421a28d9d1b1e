"""The programmes against brute force over rewards, and what they refuse."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from icrl import depth
from icrl.depth import minimax
from icrl.mrp import random_mrp


def worst_error(best, chain, discount, rewards):
    """Largest error of a polynomial with a gain over corners of the set of rewards."""
    size = len(chain)
    bellman, powers = np.eye(size) - discount * chain, np.eye(size)
    share = np.linalg.solve((np.eye(size) - chain + 1).T, np.ones(size))
    output = best.mean_gain * np.outer(np.ones(size), share)
    for p in best.coefficients:
        output, powers = output + p * powers, discount * chain @ powers
    error = output - np.linalg.inv(bellman)
    if rewards == "value":
        error = error @ bellman
    low = 0 if rewards == "span" else -1
    return max(np.abs(error @ np.array(r)).max() for r in product((low, 1), repeat=size))


@pytest.mark.parametrize("rewards", ["bounded", "span", "value"])
@pytest.mark.parametrize("averaging", [False, True])
def test_the_optimum_is_what_its_polynomial_leaves(rewards, averaging):
    """On random chains; and no polynomial near it does better."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        chain, gamma = random_mrp(5, 0.9, rng).transition, float(rng.uniform(0.3, 0.95))
        best = depth.best_on_chain(chain, gamma, 2, rewards=rewards, averaging=averaging)
        assert averaging or best.mean_gain == 0
        if rewards == "span":  # exact on constants, or its error would have no bound
            assert abs(best.coefficients @ gamma ** np.arange(2) + best.mean_gain - 1 / (1 - gamma)) < 1e-8
        assert abs(worst_error(best, chain, gamma, rewards) - best.error) < 1e-8
        for _ in range(20):
            moved = rng.normal(size=2) * 0.05
            gain = best.mean_gain + averaging * (rng.normal() * 0.05)
            if rewards == "span":  # stay exact on constants
                gain = best.mean_gain - moved @ gamma ** np.arange(2) if averaging else 0.0
                moved = moved if averaging else moved[0] * np.array([1, -1 / gamma])
            near = best._replace(coefficients=best.coefficients + moved, mean_gain=gain)
            assert worst_error(near, chain, gamma, rewards) >= best.error - 1e-8


@pytest.mark.parametrize("num_layers", [3, 5])
def test_optimum_with_negative_coefficients(num_layers):
    """Chebyshev's polynomial on the symmetric walk around ``2 L`` states; from ``L = 5`` on of both signs."""
    walk = (depth.cycle(2 * num_layers) + depth.cycle(2 * num_layers).T) / 2
    best = depth.best_on_chain(walk, 0.99, num_layers, rewards="value")
    assert abs(best.error - 1 / np.cosh(num_layers * np.arccosh(1 / 0.99))) < 1e-10
    assert abs(worst_error(best, walk, 0.99, "value") - best.error) < 1e-8
    assert (best.coefficients.min() < -1) == (num_layers == 5)


def test_some_states_only():
    """One state of a ring is as bad as all; of a random chain it may be better."""
    ring, rng = depth.cycle(6), np.random.default_rng(1)
    for rewards in ("bounded", "value"):
        each = [
            depth.best_on_chain(ring, 0.8, 3, rewards=rewards, states=states).error for states in (None, [2])
        ]
        assert abs(each[0] - each[1]) < 1e-9
    chain = random_mrp(5, 0.9, rng).transition
    one, every = (depth.best_on_chain(chain, 0.8, 1, rewards="value", states=s).error for s in ([0], None))
    assert one < every - 1e-4
    plain, free = (depth.best_on_chain(chain, 0.8, 1, rewards="bounded", averaging=a) for a in (False, True))
    assert depth.best_on_chain(chain, 0.8, 1, rewards="bounded").error == plain.error > free.error + 1e-4
    assert free.mean_gain > 0.1


def test_polynomials_by_hand():
    assert depth.td_polynomial(3).tolist() == [1, 1, 1]
    assert depth.td_polynomial(1).tolist() == [1]
    assert np.allclose(depth.circle_polynomial(3, 0.6), [1, 1, 1 / 0.64])
    assert np.allclose(depth.own_price_polynomial(3, 0.75), [1, 1, 4])
    # Exact on constants, whatever the depth.
    powers = 0.75 ** np.arange(5)
    assert abs(depth.own_price_polynomial(5, 0.75) @ powers - 4) < 1e-12


def test_one_layer_on_the_circle_by_hand():
    """z -> 1 / (1 - z / 2) maps it to the circle around 4/3 of radius 2/3; polygons err to the low side."""
    best = depth.best_on_circle(0.5, 1, num_points=8, num_sides=4)
    assert best.error <= 2 / 3 + 1e-9
    best = depth.best_on_circle(0.5, 1, num_points=60, num_sides=32)
    assert 2 / 3 * np.cos(np.pi / 32) - 1e-9 <= best.error <= 2 / 3 + 1e-9
    assert np.allclose(best.coefficients, [4 / 3], atol=1e-2)
    assert best.mean_gain == 0
    best = depth.best_on_circle(0.5, 2, num_points=60, num_sides=32)
    assert np.allclose(best.coefficients, depth.circle_polynomial(2, 0.5), atol=1e-2)
    best = depth.best_on_circle(0.5, 2, rewards="value", num_points=60, num_sides=32)  # TD leaves gamma^2
    assert 0.25 * np.cos(np.pi / 32) - 1e-9 <= best.error <= 0.25 + 1e-9
    assert np.allclose(best.coefficients, [1, 1], atol=1e-2)


def test_programmes_that_are_not_solved(monkeypatch):
    """240 points and 64 directions of the circle, if nothing else is asked for."""
    shapes = []

    def fails(cost, A_ub, **rest):
        shapes.append(A_ub.shape)
        return SimpleNamespace(success=False, message="no optimum")

    monkeypatch.setattr(minimax, "linprog", fails)
    for solve in (
        lambda: depth.best_on_circle(0.5, 3),
        lambda: depth.best_on_chain(depth.cycle(4), 0.5, 3, rewards="value"),
    ):
        with pytest.raises(ValueError, match="programme for num_layers 3 was not solved: no optimum"):
            solve()
    assert shapes[0] == (240 * 64, 3 + 1)


def test_circle_with_more_points_and_sides():
    few, many = (depth.best_on_circle(0.7, 2, num_points=60, num_sides=s).error for s in (8, 96))
    formula = 0.7**2 / (1 - 0.49)
    assert few <= many + 1e-9
    assert many <= formula * (1 + 1e-9) <= many * 1.003


@pytest.mark.parametrize(
    ("gamma", "rho", "worth"), [(0.9, 0.98, True), (0.9, 0.99, False), (0.5, 0.0, False), (0.9, 1.0, False)]
)
def test_worth_a_layer(gamma, rho, worth):
    assert depth.worth_a_layer(gamma, rho) is worth


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: depth.best_on_chain(np.eye(2) / 2, 0.5, 1, rewards="value"), "transition row 0 sums to 0.5"),
        (lambda: depth.best_on_chain(depth.cycle(3), 1.0, 1, rewards="value"), "discount is 1"),
        (
            lambda: depth.best_on_chain(depth.cycle(3), 0.5, 0, rewards="value"),
            "num_layers is 0; it must be at least 1",
        ),
        (lambda: depth.best_on_chain(depth.cycle(3), 0.5, 1, rewards="all"), "rewards is 'all'; it must be"),
        (
            lambda: depth.best_on_chain(depth.cycle(3), 0.5, 1, rewards="value", states=[3]),
            r"states\[0\] is 3; states run from 0 to 2",
        ),
        (lambda: depth.best_on_circle(0.5, 0), "num_layers is 0; it must be at least 1"),
        (lambda: depth.best_on_circle(0.5, 1, rewards="span"), "rewards is 'span'; it must be"),
        (lambda: depth.best_on_circle(0.5, 1, num_points=7), "num_points is 7; it must be at least 8"),
        (lambda: depth.worth_a_layer(0.9, 1.1), "mixing is 1.1"),
        (lambda: depth.best_on_circle(0.5, 1, num_sides=3), "num_sides is 3; it must be at least 4"),
        (lambda: depth.td_polynomial(0), "num_layers is 0; it must be at least 1"),
        (lambda: depth.circle_polynomial(2, -0.1), "discount is -0.1"),
        (lambda: depth.worth_a_layer(0.9, -1), "mixing is -1"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
