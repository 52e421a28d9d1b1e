"""The long comparison: rows of its tables, step sizes, worlds that are changed."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.control import FOLLOWER, LEARNERS, Tabular, best_steps, comparison, optimal
from icrl.control.comparison import compared_rows, evaluate, few_successors, raised, tried_row, with_rewards
from icrl.mdp import from_gymnasium

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)


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


def test_raising_rewards_keeps_the_optimal_policy():
    process = few_successors(5, 3, 0.9, np.random.default_rng(9))
    assert np.array_equal(optimal([process]), optimal([raised(process, 2.0)]))


def test_holes_and_steps_are_paid_the_goal_is_not():
    told = with_rewards(LAKE, step=-0.1, hole=-2.0)
    assert told.outcome_reward[0, 2, 1] == -0.1
    assert told.outcome_reward[1, 1, 5] == -2.0
    assert told.outcome_reward[14, 2, 15] == 1.0
    assert not told.outcome_reward[told.terminal].any()


@pytest.mark.bad_input
def test_refuses_raising_where_episodes_end():
    with pytest.raises(ValueError, match="process has terminal states"):
        raised(from_gymnasium("FrozenLake-v1", 0.9))
