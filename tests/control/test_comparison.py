"""The long comparison: rows of its tables, step sizes, worlds that are changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from icrl.control import FOLLOWER, LEARNERS, Tabular, best_steps, comparison, optimal, score, uniform
from icrl.control.comparison import (
    WORLDS,
    compared_rows,
    evaluate,
    few_successors,
    raised,
    tried_row,
    with_rewards,
)
from icrl.control.operators import WindowSarsa, WindowSoftmax
from icrl.control.updaters import ActorCritic
from icrl.mdp import from_gymnasium
from icrl.tables import read_table

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)
DATA = Path(__file__).parents[2] / "book" / "data"


@pytest.mark.parametrize("name", ["random", "random, discount 0.5", "random, raised", "few successors"])
def test_largest_return_is_the_bound_that_rewards_give(name):
    tasks = WORLDS[name].draw(200, np.random.default_rng(0))
    bound = max(t.reward.max() for t in tasks) / (1 - tasks[0].discount)
    assert 0.95 * WORLDS[name].largest < bound <= WORLDS[name].largest


def test_worlds_last_as_long_as_the_page_says():
    for name, setting in WORLDS.items():
        long = "large" in name or name in ("cliff", "taxi")
        assert setting.horizon == (200 if long else 100)
        assert setting.records[-1] == {"cliff": 1000, "taxi": 5000}.get(name, 500 if long else 400)


def test_worlds_are_run_as_the_committed_tables_say():
    """How often, and after how many windows it is scored; how often where a step of its own is chosen."""
    for file, counted in (("control.csv", "runs"), ("control-own-tuning.csv", "trials")):
        rows = read_table(DATA / file).rows
        for name in {row["world"] for row in rows}:
            setting = WORLDS[name]
            mine = [row for row in rows if row["world"] == name]
            assert {row["runs"] for row in mine} == {str(getattr(setting, counted))}
            if counted == "runs":
                assert sorted({int(row["windows"]) for row in mine}) == list(setting.records)
            for row in mine:
                assert row["learner"] not in (x for x in setting.skip)


def test_the_first_committed_rows_come_out_again():
    """With the chosen step: the same tasks, draws and intervals, and others where steps are chosen."""
    tuning, rows = (read_table(DATA / f"{name}.csv").rows for name in ("control-tuning", "control"))
    step = best_steps(tuning)["SARSA"]
    first = [row for row in rows if (row["world"], row["learner"]) == ("random", "SARSA")][:2]
    for row, wanted in zip(
        evaluate("random", "SARSA", Tabular("sarsa", step), 0, windows=5), first, strict=True
    ):
        for key, x in row.items():
            same = (
                pytest.approx(float(wanted[key]), abs=1e-9)
                if wanted[key] and key.startswith("share")
                else wanted[key]
            )
            assert (x if key.startswith("share") else str(x)) == same
    tried = tried_row(world="random", learner="Q-learning", step_size=0.5, runs=24, windows=100, seed=0)
    (wanted,) = (
        row
        for row in tuning
        if (row["world"], row["learner"], row["step_size"]) == ("random", "Q-learning", "0.5")
    )
    assert str(tried["share_100"]) == str(tried["share_400"]) == wanted["share_100"]


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


def test_collapsed_runs_are_counted(monkeypatch, small):
    learn = comparison.control
    collapsed = np.array([1, 3, 0])  # after which window each of the three runs was lost; 0: never
    monkeypatch.setattr(comparison, "control", lambda *a, **k: learn(*a, **k)._replace(collapsed=collapsed))
    rows = evaluate("random", "SARSA", Tabular("sarsa", 0.3), 0)
    assert [row["collapsed"] for row in rows] == [0, 1, 2]


def test_a_learner_by_name_and_one_that_looks_on(small):
    sizes = {"SARSA": 0.3, "linear": 4.0}
    few = {"runs": 2, "windows": 3}
    given = {"step_sizes": sizes, "world": "random", "seed": 1} | few
    linear, sarsa = (LEARNERS[name][0](sizes[name]) for name in ("linear", "SARSA"))
    assert compared_rows(learner="linear", **given) == evaluate("random", "linear", linear, 1, **few)
    watching = compared_rows(learner=FOLLOWER, **given)
    assert watching == evaluate("random", FOLLOWER, linear, 1, sarsa, **few)
    assert [row["windows"] for row in watching] == [0, 2]


def test_step_sizes_by_the_mean_share():
    given = {"world": "random", "learner": "SARSA", "runs": 2, "seed": 0}
    tried = tried_row(step_size=0.1, windows=400, **given)
    tied = [dict(tried, step_size=x, share_100=0.5, share_400=0.5 + 0.1 * x) for x in (0.1, 0.3)]
    assert best_steps(tied)["SARSA"] == 0.3
    again = tried_row(step_size=0.1, windows=100, **given)
    assert again["share_100"] == again["share_400"] == tried["share_100"] != tried["share_400"]


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


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["num_states", "num_actions"])
def test_refuses_worlds_without_states_or_actions(name):
    sizes = {"num_states": 1, "num_actions": 1}
    rng = np.random.default_rng(0)
    assert few_successors(**sizes, discount=0.5, rng=rng).transition.shape == (1, 1, 1)
    with pytest.raises(ValueError, match=f"{name} is 0"):
        few_successors(**sizes | {name: 0}, discount=0.5, rng=rng)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [({"step": np.nan}, "step is nan"), ({"hole": np.inf}, "hole is inf"), ({"factor": 0.0}, "factor is 0")],
)
def test_refuses_rewards(change, message):
    with pytest.raises(ValueError, match=message):
        with_rewards(LAKE, **{"step": 0.0, "hole": 0.0} | change)


def test_raised_and_changed_rewards_by_hand():
    process = few_successors(3, 2, 0.9, np.random.default_rng(1))
    np.testing.assert_allclose(raised(process).reward, process.reward + 1)
    np.testing.assert_allclose(raised(process, -0.5).reward, process.reward - 0.5)
    assert process.discount == raised(process).discount == 0.9
    told = with_rewards(LAKE, step=-0.1, hole=-2.0, factor=3.0)
    assert told.outcome_reward[14, 2, 15] == 3
    assert told.outcome_reward[1, 1, 5] == -2
    assert told.reward[14, 2] == 3
    assert told.reward[0, 2] == pytest.approx(-0.1)
    slippery = with_rewards(from_gymnasium("FrozenLake-v1", 0.95), -0.1, -2.0)
    assert slippery.reward[14, 2] == pytest.approx(1 / 3 - 0.2 / 3)


def test_few_successors():
    """Rows are Dirichlet(0.1), so an entry is Beta(0.1, 0.8); rewards are uniform in [-1, 1]."""
    process = few_successors(9, 40, 0.9, np.random.default_rng(2))
    assert kstest(process.transition[..., 0].ravel(), "beta", (0.1, 0.8)).pvalue > 1e-3
    assert kstest(process.reward.ravel(), "uniform", (-1, 2)).pvalue > 1e-3


def test_worlds_are_what_they_are_called():
    rng = np.random.default_rng(3)
    for name, discount, size in (
        ("random", 0.9, 9),
        ("random, discount 0.5", 0.5, 9),
        ("random, raised", 0.9, 9),
        ("few successors", 0.9, 9),
        ("lake", 0.95, 16),
        ("slippery lake", 0.95, 16),
        ("large lake", 0.95, 64),
        ("large slippery lake", 0.95, 64),
        ("cliff", 0.95, 48),
    ):
        one, two = WORLDS[name].draw(2, rng)
        assert (one.discount, one.reward.shape) == (discount, (size, 4))
        assert ("lake" in name or name == "cliff") == (one is two)
        certain = np.isin(one.transition, [0, 1]).all()
        assert certain == (name in ("lake", "large lake", "cliff"))
    assert WORLDS["random, raised"].draw(40, rng)[0].reward.min() > 0
    assert all(setting.records[0] == 0 for setting in WORLDS.values())


def test_best_step_is_that_of_the_mean_over_worlds_and_lengths():
    """The larger of two sums, though the other one leads in one world and at one length."""
    row = {"learner": "SARSA"}
    tried = [
        row | {"step_size": 0.1, "share_100": 0.9, "share_400": 0.2},
        row | {"step_size": 0.1, "share_100": 0.1, "share_400": 0.5},
        row | {"step_size": 0.2, "share_100": 0.5, "share_400": 0.7},
        row | {"step_size": 0.2, "share_100": 0.3, "share_400": 0.3},
        {"learner": "linear", "step_size": 4.0, "share_100": 0.1, "share_400": 0.1},
        {"learner": "linear", "step_size": 2.0, "share_100": 0.09, "share_400": 0.1},
        {"learner": "linear", "step_size": 2.0, "share_100": 0.09, "share_400": 0.1},  # a mean, not a sum
    ]
    assert best_steps(tried) == {"SARSA": 0.2, "linear": 4.0}


def test_learners_are_what_they_are_called():
    made = {name: make(0.3) for name, (make, _) in LEARNERS.items()}
    expected = {"linear": WindowSarsa(0.3), "linear, 8 times": WindowSarsa(0.3, 8)}
    expected |= {f"softmax, {x}": WindowSoftmax(8, 4.0, 0.3, x) for x in ("visited", "all")}
    for name, learner in expected.items():
        assert type(made[name]) is type(learner)
        assert vars(made[name]) == vars(learner)
    assert vars(made["actor-critic"]) == vars(ActorCritic(0.3, 0.3))
    for name, rule in (
        ("SARSA", "sarsa"),
        ("expected SARSA", "expected-sarsa"),
        ("Q-learning", "q-learning"),
    ):
        assert vars(made[name]) == vars(Tabular(rule, 0.3))
    assert all(list(steps) == sorted(set(steps)) and len(steps) == 4 for _, steps in LEARNERS.values())


def test_what_is_said_of_taxi_stands_in_the_committed_table():
    """23 of 24 actors collapse there, and softmax on all pairs is worse than a random walk."""
    rows = read_table(DATA / "control.csv").rows
    taxi = {row["learner"]: row for row in rows if row["world"] == "taxi" and row["windows"] == "5000"}
    assert set(taxi) == {*LEARNERS, FOLLOWER} - set(comparison.WORLDS["taxi"].skip)
    assert {row["runs"] for row in taxi.values()} == {"24"}
    collapsed = {name: int(row["collapsed"]) for name, row in taxi.items()}
    assert collapsed.pop("actor-critic") == 23
    assert set(collapsed.values()) == {0}
    process = comparison.WORLDS["taxi"].draw(1, np.random.default_rng(0))[0]
    walk = score([process], uniform([process]), 200).success[0]
    success = {name: float(row["success"]) for name, row in taxi.items()}
    assert success["softmax, all"] == min(success.values()) < walk
    assert min(success[x] for x in ("Q-learning", "expected SARSA")) > 0.95
    assert min(success[x] for x in ("linear", "softmax, visited", "SARSA")) > 0.5
