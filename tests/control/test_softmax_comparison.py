"""The rows of the comparison: the same tasks for all, own step sizes, paired differences."""

from pathlib import Path

import numpy as np
import pytest

from icrl.control import (
    COMPARED,
    RIVALS,
    Beside,
    best_tried,
    closed_shares,
    control,
    own_steps,
    paired,
    score,
    softmax_comparison,
    steps_tried,
)
from icrl.control.softmax_comparison import _drawn
from icrl.tables import read_table

GIVEN = {"runs": 3, "seed": 1}
DATA = Path(__file__).parents[2] / "book" / "data"


def test_every_learner_runs_in_every_world():
    for world in COMPARED:
        for name in RIVALS:
            rows = closed_shares(world=world, learner=name, step_size=0.1, records=[0, 1], **GIVEN)
            assert [row["windows"] for row in rows] == [0, 1]
            assert rows[0]["shares"] == pytest.approx([0] * 3, abs=1e-9)


def test_learners_are_those_of_the_table():
    """Layers, whom attention hears (the length of the features), and who is asked."""
    one, random = np.ones((1, 2, 2, 4)), np.full((1, 2, 2, 3), 2.0)
    seen = {}
    for name, (make, steps) in RIVALS.items():
        learner = make(0.5, one, random, 20.0)
        inner = getattr(learner, "inner", learner)
        if "softmax" in name:
            length = np.sqrt((inner.features**2).sum(-1)).max()
            seen[name] = inner.num_layers, inner.queries, inner.step_size, pytest.approx(length)
        assert list(steps) == sorted(steps)
    both = {
        "softmax, visited": (8, "visited"),
        "softmax, all": (8, "all"),
        "softmax, all, 1 layer": (1, "all"),
    }
    wanted = {name: (*of, 0.5, 4.0) for name, of in both.items()}
    wanted["softmax, visited, centred"] = (8, "visited", 0.5, 4.0)
    wanted["random features: softmax, all"] = (8, "all", 0.5, 2.0)
    assert seen == wanted
    assert RIVALS["linear, 8 times"][0](0.5, one, random, 20.0).num_layers == 8


def test_steps_are_those_of_the_committed_table():
    """What was tried within the limits of each grid is the grid."""
    rows = read_table(DATA / "softmax-control-tuning.csv").rows
    for name, (_, steps) in RIVALS.items():
        tried = {float(row["step_size"]) for row in rows if row["learner"] == name}
        assert {x for x in tried if steps[0] <= x <= steps[-1]} == {float(x) for x in steps}, name


def test_raised_tasks_are_the_same_tasks():
    plain, raised = (_drawn(world, 2, [1, 3]) for world in ("random", "random, raised"))
    for x, y in zip(plain[0], raised[0], strict=True):
        assert np.array_equal(x.transition, y.transition)
        assert np.array_equal(x.reward + 1, y.reward)
    assert np.array_equal(plain[1][1], raised[1][1])
    assert plain[1][2] == pytest.approx(10)
    assert raised[1][2] == pytest.approx(20)


def test_a_committed_row_comes_out_again():
    """After 25 windows: the same tasks, features, draws, and the interval over the runs."""
    world, learner = "random, discount 0.5", "random features: linear, centred"
    (wanted,) = (
        row
        for row in read_table(DATA / "softmax-control.csv").rows
        if (row["world"], row["windows"], row["learner"]) == (world, "25", learner)
    )
    given = {"world": world, "learner": learner, "step_size": float(wanted["step_size"])}
    rows = closed_shares(runs=96, records=[25], seed=0, **given)
    assert all(x == round(x, 5) for row in rows for x in row["shares"])
    (found,) = paired(rows, learner)
    found = {key: str(x) for key, x in found.items() if not key.startswith("difference")}
    assert found == {key: x for key, x in wanted.items() if not key.startswith("difference")}


def test_trials_of_a_grid(monkeypatch):
    """Two steps beside each other: the share closed on the tasks of the trials, meaned over runs."""
    make = RIVALS["linear"][0]
    monkeypatch.setitem(softmax_comparison.RIVALS, "linear", (make, (2.0, 6.0)))
    monkeypatch.setattr(own_steps, "ROUNDS", 0)
    rows = steps_tried(world="random", learner="linear", windows=4, **GIVEN)
    tasks, given = _drawn("random", 3, [1, 1])
    both = Beside([make(step, *given) for step in (2.0, 6.0)])
    run = control(2 * tasks, both, [4], np.random.default_rng([1, 2]))
    shares = score(2 * tasks, run.policies).share[0]
    means = [round(sum(x) / 3, 4) for x in (shares[:3], shares[3:])]
    row = {"world": "random", "learner": "linear", "runs": 3, "windows": 4}
    assert rows == [row | {"step_size": x, "share": mean} for x, mean in zip((2.0, 6.0), means, strict=True)]


def test_steps_beside_each_other_are_steps_alone():
    """In order, the first ones those of the grid, each on its own draws."""
    name = "expected SARSA"
    rows = steps_tried(world="random", learner=name, windows=4, **GIVEN)
    tried = [row["step_size"] for row in rows]
    assert tried == sorted(tried)
    assert set(RIVALS[name][1]) <= set(tried)
    assert len({row["share"] for row in rows}) > 1


def test_best_step_is_that_of_the_largest_share():
    rows = [
        {"world": "w", "learner": x, "step_size": a, "share": s}
        for x, a, s in (("a", 1, 0.5), ("a", 2, 0.7), ("b", 1, 0.6), ("b", 4, 0.6))
    ]
    assert best_tried(rows) == {("w", "a"): 2, ("w", "b"): 1}  # of equals the middle, of two the smaller


def test_paired_by_hand():
    rows = [
        {"world": "w", "learner": x, "step_size": 1.0, "windows": 5, "shares": s}
        for x, s in (("a", [0.1, 0.9]), ("b", [0.2, 1.0]))
    ]
    first, second = paired(rows, "a")
    assert first["difference"] == first["difference_low"] == 0
    assert second["difference"] == second["difference_low"] == second["difference_high"] == 0.1
    assert second["share"] == 0.6
    assert second["share_low"] < 0.6 < second["share_high"]
    assert first["runs"] == 2


def test_the_myopic_policy_does_not_learn():
    rows = closed_shares(world="random", learner="myopic", step_size=0.0, records=[1, 5], **GIVEN)
    assert rows[0]["shares"] == rows[1]["shares"]
    assert min(rows[0]["shares"]) > 0.5


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "call",
    [
        lambda runs: steps_tried(world="random", learner="linear", windows=1, runs=runs, seed=0),
        lambda runs: closed_shares(
            world="random", learner="myopic", step_size=1.0, records=[1], runs=runs, seed=0
        ),
    ],
)
def test_refuses_no_runs(call):
    assert call(1)
    with pytest.raises(ValueError, match="runs is 0"):
        call(0)
