"""The two errors of a network against values computed world by world."""

import numpy as np
import pytest

from icrl import depth
from icrl.mrp import MarkovRewardProcess, random_mrp

RNG = np.random.default_rng(0)
WORLDS = [random_mrp(4, 0.8, RNG) for _ in range(7)]


def difference(p):
    """Root mean square share of the differences that ``p`` misses, literally."""
    missed, total = 0.0, 0.0
    for process in WORLDS:
        share, truth = process.stationary_distribution(), process.value()
        output = sum(
            c * np.linalg.matrix_power(0.8 * process.transition, k) @ process.reward for k, c in enumerate(p)
        )
        missed += share @ ((output - share @ output) - (truth - share @ truth)) ** 2
        total += share @ (truth - share @ truth) ** 2
    return np.sqrt(missed / total)


def test_points():
    plane = depth.plane(WORLDS, 4)
    for p in ([1.0], [1, 1, 1], [0.5, 2, -1, 0.3]):
        constant, missed = plane.point(np.array(p, dtype=float))
        assert abs(constant - abs(1 - 0.2 * np.polyval(p[::-1], 0.8))) < 1e-12
        assert abs(missed - difference(p)) < 1e-10
        assert plane.point(np.array(p, dtype=float), 5.0)[0] < 1e-12
        assert plane.point(np.array(p, dtype=float), 5.0)[1] == missed


def test_a_gain_that_is_too_large_misses_as_one_that_is_too_small():
    for gain in (3.0, 7.0):
        assert depth.plane(WORLDS, 1).point(np.ones(1), gain)[0] == pytest.approx(0.4)


def test_what_is_exact_misses_nothing():
    """Independent draws: values differ as rewards do, so one coefficient of 1 is exact, up to rounding."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        process = MarkovRewardProcess(np.tile(rng.dirichlet(np.ones(4)), (4, 1)), rng.normal(size=4), 0.8)
        assert 0 <= depth.plane([process], 2).point(np.ones(1))[1] < 1e-6


@pytest.mark.parametrize("powers", [3, 5])
@pytest.mark.parametrize("gain", [None, 1.7, 5.0])
def test_the_best_is_the_best(gain, powers):
    """No admissible change improves it; the gain is what was asked for; further moments play no role."""
    plane, rng = depth.plane(WORLDS, powers), np.random.default_rng(1)
    best = plane.best(3, gain)
    if gain is not None:
        assert abs(best @ 0.8 ** np.arange(3) - gain) < 1e-10
    for _ in range(30):
        move = rng.normal(size=3) * 0.01
        if gain is not None:
            powers = 0.8 ** np.arange(3)
            move -= (move @ powers) / (powers @ powers) * powers
        assert difference(best + move) >= difference(best) - 1e-12


@pytest.mark.bad_input
def test_refused():
    with pytest.raises(ValueError, match="worlds is empty"):
        depth.plane([], 2)
    other = MarkovRewardProcess(np.eye(1), np.ones(1), 0.5)
    with pytest.raises(ValueError, match="all of one discount"):
        depth.plane([*WORLDS, other], 2)
    plane = depth.plane(WORLDS, 2)
    with pytest.raises(ValueError, match="coefficients has length 3; this plane knows 2 powers"):
        plane.point(np.ones(3))
    with pytest.raises(ValueError, match="coefficients has length 3; this plane knows 2 powers"):
        plane.best(3)
    with pytest.raises(ValueError, match="num_powers is 0; it must be at least 1"):
        depth.plane(WORLDS, 0)
    with pytest.raises(ValueError, match="length is 0; it must be at least 1"):
        plane.best(0)
