"""Counts of where flows end: one stream of random numbers, whoever counts which row."""

import numpy as np
import pytest

from icrl.gradient_flow import FATES, basin_row, random_starts, trainings_row

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
