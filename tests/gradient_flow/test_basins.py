"""Starts, ends and rates of flows; rows of counts from one stream of random numbers."""

import numpy as np
import pytest

from icrl.gradient_flow import FATES, basin_row, basins, random_starts, trainings_row
from icrl.gradient_flow.flow import MimickingLoss, gradient_flow
from icrl.gradient_flow.richness import richness
from icrl.gradient_flow.tasks import random_tasks


@pytest.fixture
def tasks(rng):
    return random_tasks("gaussian", 2, 140, rng)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def scalar(a, b, moment=2.0):
    """One entry each: the loss is (b a s - s)^2 / 2 with s = moment."""
    loss = MimickingLoss(np.full((1, 1, 1), moment), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)))
    return loss, np.full((1, 1), a), np.full((1, 1), b)


def test_start_at_its_distance(tasks, rng):
    teacher = tasks.on_manifold(1.0)
    for centre in ("teacher", "zero"):
        start = basins.random_start(tasks, centre, 0.3, rng)
        moved = [x - (centre == "teacher") * y for x, y in zip(start, teacher, strict=True)]
        sizes = [np.hypot(*map(np.linalg.norm, x)) for x in (moved, teacher)]
        assert np.isclose(sizes[0], 0.3 * sizes[1])


def test_local_rate_by_hand():
    """One entry each: at the landing point (c, 1/c) the Hessian has the eigenvalue s^2 (c^2 + 1/c^2)."""
    loss, score, value = scalar(0.5, 2.5)
    landing = basins.follow(loss, (score, value), 50.0, stop=1e-18)
    seen = basins.local_rate(landing.flow, loss)
    assert landing.miss < 1e-7
    assert np.isclose(seen.gap, 4 * (landing.scale**2 + landing.scale**-2), rtol=1e-6)
    assert np.isclose(seen.share, 1)
    assert np.allclose([seen.slope, seen.expected, seen.steepest], 2 * seen.gap, rtol=1e-3)
    assert np.isclose(basins.polyak(landing.flow, loss)[-1], seen.gap, rtol=1e-6)


def test_bound_by_hand():
    """One entry each: the margin is s, and the bound holds for a start at rest and one that moves."""
    loss, score, value = scalar(1.0, 1.0)
    assert np.isclose(richness(loss).margin, 2)
    assert np.isclose(basins.norm_bound(loss, score, value), 2**0.75)  # K = sqrt 2, balance 0
    one_hot = random_tasks("one-hot", 2, 140, np.random.default_rng(0))
    assert basins.norm_bound(one_hot, *one_hot.on_manifold(1.0)) == np.inf


def test_fates():
    """A power of time is a runaway, a constant is not."""
    loss, _, _ = scalar(1.0, 0.0)
    times = np.geomspace(1, 1e4, 50)

    def flow(power):
        sizes = (times**power)[:, None, None]
        return basins.Flow(times, 3 * sizes, 4 * sizes, np.ones(50))

    assert np.isclose(basins.growth(flow(0.25)), 0.25)
    assert basins.fate(flow(0.25), loss) == "runaway"
    for power in (0.0, 0.14, 0.52, 0.7):  # a runaway's exponent lies between 0.15 and 0.5
        assert basins.fate(flow(power), loss) == "moving"
    assert {basins.fate(flow(power), loss) for power in (0.16, 0.48)} == {"runaway"}
    exponential = basins.Flow(times, np.exp(times / 2e4)[:, None, None], np.ones((50, 1, 1)), np.ones(50))
    assert basins.fate(exponential, loss) == "moving"
    assert basins.growth(exponential) == basins.growth(exponential, 0.1, 1.0)
    assert basins.growth(exponential) < basins.growth(exponential, 0.15)


def test_a_flow_that_leaves_the_saddle_is_no_runaway():
    loss, rng = random_tasks("gaussian", 2, 140, np.random.default_rng(0)), np.random.default_rng(1)
    start = [1e-3 * rng.normal(size=x.shape) for x in loss.on_manifold(1.0)]
    for time in (2.0, 5.0, 8.0):
        assert basins.fate(gradient_flow(loss, *start, time), loss) in ("moving", "manifold")


LOSS = random_tasks("gaussian", 2, 140, np.random.default_rng(0))


SCORE, VALUE = LOSS.on_manifold(1.0)


@pytest.mark.bad_input
def test_refuses_start():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="centre is 'one'; it must be 'teacher' or 'zero'"):
        basins.random_start(LOSS, "one", 0.1, rng)
    with pytest.raises(ValueError, match="distance is 0; it must be positive"):
        basins.random_start(LOSS, "zero", 0.0, rng)


@pytest.mark.bad_input
def test_refuses_rate_of_a_flow_that_did_not_land():
    flow = gradient_flow(LOSS, 0.9 * SCORE, VALUE, 0.1)
    with pytest.raises(ValueError, match="it must fall from top = 1e-08 or above to a tenth of bottom"):
        basins.local_rate(flow, LOSS)


PLACE = {"tasks": "one-hot, d = 2", "centre": "teacher", "distance": 0.25}


def test_rows_count_flows():
    state = np.random.default_rng(0).bit_generator.state
    row = basin_row(**PLACE, starts=2, state=state)
    assert list(row) == ["tasks", "from", "distance", *FATES, "growth"]
    assert row == basin_row(**PLACE, starts=2, state=state)
    assert sum(row[fate] for fate in FATES) == 2
    assert row["manifold"] == 2  # so near, all arrive


@pytest.mark.parametrize("tasks", ["gaussian, d = 3", "one-hot, actor-critic"])
def test_a_row_begins_where_the_one_before_has_stopped(tasks):
    place = PLACE | {"tasks": tasks}
    rng = np.random.default_rng(0)
    together = list(random_starts(**place, starts=3, rng=rng))
    end = rng.bit_generator.state
    rng = np.random.default_rng(0)
    list(random_starts(**place, starts=2, rng=rng))
    ((loss, (score, value)),) = random_starts(**place, starts=1, rng=rng)
    assert rng.bit_generator.state == end
    assert np.array_equal(score, together[2][1][0])
    assert np.array_equal(value, together[2][1][1])
    assert np.array_equal(loss.teacher_score, together[2][0].teacher_score)


def test_a_short_training_is_not_aligned():
    row = trainings_row(trainings=2, steps=2, state=np.random.default_rng(0).bit_generator.state)
    assert (row["manifold"], row["moving"], row["from"]) == (0, 2, "")


@pytest.mark.bad_input
@pytest.mark.parametrize("tasks", ["one-hot", "one-hot, d = 0", "one-hot, d = x"])
def test_names_that_are_refused(tasks):
    with pytest.raises(
        ValueError, match=r"tasks is .*; it must be 'KIND, d = NUMBER' or 'KIND, actor-critic'"
    ):
        next(random_starts(**PLACE | {"tasks": tasks}, starts=1, rng=np.random.default_rng(0)))
