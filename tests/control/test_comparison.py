"""Worlds and rows of the comparison of learners."""

import numpy as np
import pytest

from icrl.control.comparison import (
    LEARNERS,
    WORLDS,
    best_steps,
    evaluate,
    few_successors,
    raised,
    tune,
    with_rewards,
)
from icrl.control.scores import optimal
from icrl.control.updaters import (
    Tabular,
)
from icrl.mdp import from_gymnasium

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)


def test_sweep_rows(monkeypatch):
    from dataclasses import replace

    from icrl.control import comparison

    small = replace(WORLDS["random"], runs=3, records=(0, 2))
    monkeypatch.setitem(comparison.WORLDS, "random", small)
    monkeypatch.setitem(comparison.WORLDS, "random, raised", small)
    rows = evaluate("random", "SARSA", Tabular("sarsa", 0.3), 0, progress=False)
    assert [row["windows"] for row in rows] == [0, 2]
    assert rows[0]["share"] == 0
    assert rows[1]["share_low"] <= rows[1]["share"] <= rows[1]["share_high"]
    assert rows[0]["success"] == ""
    monkeypatch.setattr(comparison, "LEARNERS", {"SARSA": (LEARNERS["SARSA"][0], (0.1, 0.3))})
    monkeypatch.setattr(comparison, "TUNED_ON", ("random",))
    tried = tune(0, runs=2, progress=False)
    assert len(tried) == 2
    assert best_steps(tried)["SARSA"] in (0.1, 0.3)
    tied = [dict(row, share_100=0.5, share_400=0.5 + 0.1 * row["step_size"]) for row in tried]
    assert best_steps(tied)["SARSA"] == 0.3


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
