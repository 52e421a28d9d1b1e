"""The long comparison: rows of its tables, step sizes, worlds that are changed."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.control import FOLLOWER, LEARNERS, Tabular, best_steps, comparison
from icrl.control.comparison import compared_rows, evaluate, tried_row


@pytest.fixture
def small(monkeypatch):
    world = replace(comparison.WORLDS["random"], runs=3, records=(0, 2, 4))
    monkeypatch.setitem(comparison.WORLDS, "random", world)


def test_rows_of_a_learner(small):
    rows = evaluate("random", "SARSA", Tabular("sarsa", 0.3), 0)
    assert [row["windows"] for row in rows] == [0, 2, 4]
    assert rows[0]["share"] == 0
    assert rows[1]["share_low"] <= rows[1]["share"] <= rows[1]["share_high"]
    assert rows[0]["success"] == ""
    assert {row["runs"] for row in rows} == {3}
    short = evaluate("random", "SARSA", Tabular("sarsa", 0.3), 0, runs=2, windows=3)
    assert [(row["windows"], row["runs"]) for row in short] == [(0, 2), (2, 2)]


def test_a_learner_by_name_and_one_that_looks_on(small):
    sizes = {"SARSA": 0.3, "linear": 4.0}
    given = {"step_sizes": sizes, "world": "random", "runs": 3, "windows": 4, "seed": 1}
    linear, sarsa = (LEARNERS[name][0](sizes[name]) for name in ("linear", "SARSA"))
    assert compared_rows(learner="linear", **given) == evaluate("random", "linear", linear, 1)
    watching = compared_rows(learner=FOLLOWER, **given)
    assert watching == evaluate("random", FOLLOWER, linear, 1, sarsa)


def test_step_sizes_by_the_mean_share():
    given = {"world": "random", "learner": "SARSA", "runs": 2, "seed": 0}
    tried = [tried_row(step_size=step, windows=400, **given) for step in (0.1, 0.3)]
    assert best_steps(tried)["SARSA"] in (0.1, 0.3)
    tied = [dict(row, share_100=0.5, share_400=0.5 + 0.1 * row["step_size"]) for row in tried]
    assert best_steps(tied)["SARSA"] == 0.3
    again = tried_row(step_size=0.1, windows=100, **given)
    assert again["share_100"] == again["share_400"] == tried[0]["share_100"]
    assert np.isfinite(tried[0]["share_400"])
