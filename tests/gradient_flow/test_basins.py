"""Starts, ends and rates of flows; rows of counts from one stream of random numbers."""

import numpy as np
import pytest

from icrl.gradient_flow import FATES, basin_row, basins, random_starts, trainings_row
from icrl.gradient_flow.flow import MimickingLoss, gradient_flow
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_tasks
from icrl.gradient_flow.teacher_mimicking import Training


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


def test_start_at_its_distance(tasks):
    teacher = tasks.on_manifold(1.0)
    for centre in ("teacher", "zero"):
        start = basins.random_start(tasks, centre, 0.3, np.random.default_rng(1))
        moved = [x - (centre == "teacher") * y for x, y in zip(start, teacher, strict=True)]
        sizes = [np.hypot(*map(np.linalg.norm, x)) for x in (moved, teacher)]
        assert np.isclose(sizes[0], 0.3 * sizes[1])
        drawn = np.random.default_rng(1)
        step = np.concatenate([drawn.normal(size=x.size) for x in teacher])
        moved = np.concatenate([x.ravel() for x in moved])
        assert np.isclose(moved @ step, np.linalg.norm(moved) * np.linalg.norm(step))


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


def two_modes(s, x, times):
    """A flow of two decoupled entries, ``P_i = V_i = 1 + x_i exp(-s_i^2 t)``, and its loss, near the end.

    Its loss is ``sum_i s_i^2 (P_i V_i - 1)^2 / 4``, so ``s_i^2`` are the eigenvalues of the Hessian above 0.
    """
    s, x = np.array(s), np.array(x)
    loss = MimickingLoss(s[:, None, None] * np.eye(2)[:, None] * np.eye(2)[:, :, None], *map(np.ones, SHAPES))
    blocks = 1 + x * np.exp(-(s**2) * times[:, None])
    scores, values = blocks[:, :, None], blocks[:, None]
    losses = np.array([loss.loss(*point) for point in zip(scores, values, strict=True)])
    return basins.Flow(times, scores, values, losses), loss


SHAPES = (2, 1), (2, 1), (1, 2)


@pytest.mark.parametrize("unit", [1.0, 1e-4])
@pytest.mark.parametrize("moments", [None, (5, 9), (5, 200)])
def test_local_rate_of_two_modes(unit, moments):
    """Each decays by itself: shares, slopes and the steepest that a share allows, in any unit of the data."""
    times = np.linspace(0, 12, 241)
    flow, loss = two_modes(unit * np.array([1.0, 2.0]), [3e-5, 1e-4], times / unit**2)
    top, bottom = flow.losses[list(moments)] if moments else (1e-8 * unit**2, 1e-15 * unit**2)
    first, last = moments or (int((flow.losses > x).sum()) for x in (top, bottom))
    given = () if moments is None and unit == 1 else (top, bottom)
    seen = basins.local_rate(flow, loss, *given)
    # Beside the end (P V - 1)^2 is 4 x^2, so an entry's loss is s^2 x^2.
    slow, fast = (flow.scores[[first, last], i, 0] - flow.scores[-1, i, 0] for i in (0, 1))
    share = slow[0] ** 2 / (slow[0] ** 2 + 4 * fast[0] ** 2)
    time = (times[last] - times[first]) / unit**2
    left = share * np.exp(-2 * unit**2 * time) + (1 - share) * np.exp(-8 * unit**2 * time)
    fall = np.log(flow.losses[first] / flow.losses[last])
    slack = 1 + np.log(share) / fall
    steepest = 2 * unit**2 / slack if slack > 0 else np.inf
    wanted = fall / time, -np.log(left) / time, unit**2, share, steepest
    assert np.allclose(seen, wanted, rtol=1e-3)
    assert (slack < 0) == (moments == (5, 9))  # so short a fall that its share allows any slope


def test_a_mode_much_flatter_than_the_steepest_is_the_gap():
    flow, loss = two_modes([1.0, 2000.0], [1e-3, 0.0], np.linspace(0, 20, 101))
    assert np.isclose(basins.local_rate(flow, loss).gap, 1, rtol=1e-6)


def test_where_a_rate_may_be_measured():
    """From the flow's first loss at most, and down to ten times its last at least."""
    flow, loss = two_modes([1.0, 2.0], [3e-5, 1e-4], np.linspace(0, 12, 241))
    top, least = flow.losses[0], 10 * flow.losses[-1]
    assert basins.local_rate(flow, loss, top, least).slope > 0
    for wrong in ((1.01 * top, least), (top, 0.99 * least), (1e-12, 1e-12), (1e-13, 1e-12)):
        with pytest.raises(ValueError, match="it must fall from top"):
            basins.local_rate(flow, loss, *wrong)


def test_polyaks_quotient_by_hand(tasks, rng):
    """Squares of all entries of both gradients over twice the loss, at each moment."""
    blocks = [rng.normal(size=(3, *x.shape)) for x in tasks.on_manifold(1.0)]
    points = list(zip(*blocks, strict=True))
    losses = np.array([tasks.loss(*point) for point in points])
    found = basins.polyak(basins.Flow(np.arange(3.0), *blocks, losses), tasks)
    for point, height, quotient in zip(points, losses, found, strict=True):
        slope = np.concatenate([g.ravel() for g in tasks.gradients(*point)])
        assert np.isclose(quotient, slope @ slope / (2 * height))


def test_what_a_landing_reports(tasks, rng):
    """The largest miss of any entry, either way; a flow that is cut off has not landed."""
    for _ in range(2):
        start = basins.random_start(tasks, "teacher", 0.3, rng)
        landing = basins.follow(tasks, start, 500.0, rtol=1e-4, atol=1e-6)
        scale, *blocks = landing_point(tasks, *start)
        misses = [
            np.abs(x[-1] - y).max()
            for x, y in zip((landing.flow.scores, landing.flow.values), blocks, strict=True)
        ]
        assert (landing.reached, landing.scale) == (True, scale)
        assert landing.miss == max(misses) > 1e-9
        assert misses[0] != misses[1]
    loss, *short = scalar(0.5, 0.5)  # both blocks end a little below theirs
    assert 0 < basins.follow(loss, tuple(short), 50.0, stop=1e-12).miss < 1e-5
    early = basins.follow(tasks, start, 0.1)
    assert early.reached is False
    assert np.isnan([early.scale, early.miss]).all()


def test_bound_by_hand(tasks, rng):
    """One entry each: the margin is s, and the bound holds for a start at rest and one that moves."""
    loss, score, value = scalar(1.0, 1.0)
    assert np.isclose(richness(loss).margin, 2)
    assert np.isclose(basins.norm_bound(loss, score, value), 2**0.75)  # K = sqrt 2, balance 0
    # K = sqrt 2 (sqrt(2 * 50) + sqrt(2 * 2)) / 2 = 6 sqrt 2, balance 4 - 9.
    assert np.isclose(basins.norm_bound(*scalar(3.0, 2.0)), 313**0.25)
    # Larger blocks: the largest a^2 + b^2 with the balance b^2 - a^2 of the start and a b = K.
    score, value = (2 * rng.normal(size=x.shape) for x in tasks.on_manifold(1.0))
    product = (np.sqrt(tasks.loss(score, value)) + np.sqrt(tasks.loss(0 * score, value))) * 2
    product /= richness(tasks).margin
    square = np.roots([1, np.linalg.norm(value) ** 2 - np.linalg.norm(score) ** 2, -(product**2)]).max()
    assert np.isclose(basins.norm_bound(tasks, score, value), np.sqrt(square + product**2 / square))
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


def test_growth_is_that_of_both_blocks_together():
    """Blocks of several entries that grow with powers of their own, from time 0 on."""
    times = np.append(0, np.geomspace(1, 1e4, 41))
    scores = (times**0.2)[:, None, None] * np.array([[1.0], [-2.0], [0.0]])
    values = (times**0.4)[:, None, None] * np.array([[2.0, 3.0, -6.0]])
    flow = basins.Flow(times, scores, values, np.ones(42))
    norms = {t: np.sqrt(5 * t**0.4 + 49 * t**0.8) for t in (1e2, 1e3, 1e4)}
    assert np.isclose(basins.growth(flow), np.log10(norms[1e4] / norms[1e3]))
    assert np.isclose(basins.growth(flow, 0.01, 0.1), np.log10(norms[1e3] / norms[1e2]))


def test_exponents_are_those_of_whole_halves():
    """Each half of the last factor of ten is flat at first: its mean exponent counts, and they may differ
    by 0.05, whichever is larger."""
    loss, _, _ = scalar(1.0, 0.0)
    times = 10.0 ** np.array([0, 1, 1.2, 1.5, 1.7, 2])
    for early, late, expected in (
        (0.30, 0.30, "runaway"),
        (0.30, 0.34, "runaway"),
        (0.34, 0.30, "runaway"),
        (0.30, 0.36, "moving"),
        (0.36, 0.30, "moving"),
    ):
        norms = 10 ** np.array([0, 0, 0, early / 2, early / 2, (early + late) / 2])
        sizes = norms[:, None, None] / np.sqrt(2)
        assert basins.fate(basins.Flow(times, sizes, sizes, np.ones(6)), loss) == expected


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
    """Three starts from zero, one of which runs away, like the fourth root of time."""
    place = {"tasks": "one-hot, d = 2", "centre": "zero", "distance": 1.0}
    row = basin_row(**place, starts=3, state=np.random.default_rng(0).bit_generator.state)
    counts = {"manifold": 2, "rest": 0, "runaway": 1, "moving": 0}
    assert list(row) == ["tasks", "from", "distance", *FATES, "growth"]
    assert row == {"tasks": "one-hot, d = 2", "from": "zero", "distance": 1.0, **counts, "growth": "0.25"}


def test_a_row_of_arrivals_has_no_growth():
    row = basin_row(**PLACE, starts=1, state=np.random.default_rng(0).bit_generator.state)
    assert (row["manifold"], row["growth"]) == (1, "")  # so near, all arrive


def test_fresh_tasks_outnumber_the_entries(rng):
    """SARSA with d features, and an actor-critic with two states and two actions."""
    for name, shape in (("gaussian, d = 12", (840, 25, 25)), ("one-hot, actor-critic", (150, 9, 9))):
        ((loss, _),) = random_starts(tasks=name, centre="zero", distance=1.0, starts=1, rng=rng)
        assert loss.moments.shape == shape
        assert loss.teacher_value.shape == ((12, 25) if shape[0] == 840 else (6, 9))
        assert shape[0] * len(loss.teacher_value) > loss.teacher_score.size + loss.teacher_value.size


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
    assert (row["rest"], row["runaway"]) == (0, 0)


def test_a_training_is_aligned_if_both_blocks_are_off_what_is_unseen(monkeypatch):
    """Cosines of the last moment, of either sign, both above 0.99; the first two, with all, say nothing."""
    cosines = iter([(0, 0, -0.995, 0.992), (1, 1, 0.999, 0.98), (1, 1, 0.98, 0.999), (0, 0, 0.995, -0.991)])
    asked = []

    def train(*sizes_and_rng, learning_rate):
        asked.append((*sizes_and_rng[:3], learning_rate))
        return Training(np.arange(2), np.ones(2), *np.array([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]))

    def alignment(P, V, discount):
        assert (P, V, discount) == (2, 4, 0.5)
        return next(cosines)

    monkeypatch.setattr(basins, "train", train)
    monkeypatch.setattr(basins, "alignment", alignment)
    row = trainings_row(trainings=4, steps=7, state=np.random.default_rng(0).bit_generator.state)
    assert (row["manifold"], row["moving"]) == (2, 2)
    assert asked == [(3, 2, 7, 0.02)] * 4


@pytest.mark.bad_input
@pytest.mark.parametrize("tasks", ["one-hot", "one-hot, d = 0", "one-hot, d = x"])
def test_names_that_are_refused(tasks):
    with pytest.raises(
        ValueError, match=r"tasks is .*; it must be 'KIND, d = NUMBER' or 'KIND, actor-critic'"
    ):
        next(random_starts(**PLACE | {"tasks": tasks}, starts=1, rng=np.random.default_rng(0)))
