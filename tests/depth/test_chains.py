"""Chains by hand, and the two ways to say how fast one forgets."""

import numpy as np
import pytest

from icrl import depth
from icrl.mrp import random_mrp


def test_by_hand():
    assert np.array_equal(depth.cycle(3), [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert np.allclose(depth.lazy_cycle(2, 0.5), [[0.25, 0.75], [0.75, 0.25]], rtol=0, atol=1e-15)
    assert np.array_equal(depth.de_bruijn(1), [[0.5, 0.5], [0.5, 0.5]])
    assert np.array_equal(depth.de_bruijn(2)[2], [0.5, 0.5, 0, 0])  # 10 becomes 00 or 01


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
def test_a_lazy_cycle_forgets_as_it_says(mixing):
    assert abs(depth.dobrushin(depth.lazy_cycle(5, mixing)) - mixing) < 1e-14


def test_dobrushin_is_the_least_factor_of_a_span():
    """Over the corners of the cube, which attain it; rows may be signed."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), -1).reshape(-1, 4)
    for _ in range(20):
        matrix = rng.normal(size=(4, 4))
        matrix += (1 - matrix.sum(axis=1, keepdims=True)) / 4
        worst = np.ptp(corners @ matrix.T, axis=1).max()
        assert abs(depth.dobrushin(matrix) - worst) < 1e-12


def test_deviation_norm_is_attained_and_never_exceeded():
    rng = np.random.default_rng(1)
    process = random_mrp(5, 0.9, rng)
    share = process.stationary_distribution()
    sigma = depth.deviation_norm(process.transition, share)
    x = rng.normal(size=(5, 4000))
    x -= share @ x
    ratio = np.sqrt(share @ (process.transition @ x) ** 2) / np.sqrt(share @ x**2)
    assert 0.8 * sigma < ratio.max() <= sigma + 1e-12


def test_deviation_norm_by_hand():
    """Two states: the second eigenvalue, whatever its sign; a ring forgets nothing, a fair draw all."""
    for p, q in ((0.1, 0.3), (0.9, 0.6)):
        chain, share = np.array([[1 - p, p], [q, 1 - q]]), np.array([q, p]) / (p + q)
        assert abs(depth.deviation_norm(chain, share) - abs(1 - p - q)) < 1e-12
    assert abs(depth.deviation_norm(depth.cycle(3), np.full(3, 1 / 3)) - 1) < 1e-12
    share = np.array([0.2, 0.3, 0.5])
    assert depth.deviation_norm(np.tile(share, (3, 1)), share) == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: depth.cycle(0), "num_states is 0; it must be at least 1"),
        (lambda: depth.lazy_cycle(3, -0.1), r"mixing is -0.1; it must lie in \[0, 1\]"),
        (lambda: depth.lazy_cycle(3, 1.5), r"mixing is 1.5; it must lie in \[0, 1\]"),
        (lambda: depth.lazy_cycle(3, float("nan")), "mixing is nan; it must be finite"),
        (lambda: depth.de_bruijn(0), "num_bits is 0; it must be at least 1"),
        (lambda: depth.dobrushin(np.ones(3)), "transition has shape"),
        (lambda: depth.deviation_norm(np.eye(2), np.array([1.0, 0])), "distribution holds 0; every state"),
        (lambda: depth.deviation_norm(np.eye(2), np.ones(3)), "distribution has shape"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
