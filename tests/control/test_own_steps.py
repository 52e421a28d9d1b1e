"""Step sizes of each world, and the two rivals that cost nothing."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from icrl.control import (
    COMPARED,
    RIVALS,
    Centred,
    Started,
    Tabular,
    WindowSarsa,
    comparison,
    evaluate,
    greedy,
    own_steps,
    score,
)
from icrl.control.own_steps import (
    OWN,
    SERVED,
    best_own_steps,
    further_steps,
    largest_step,
    own_step_row,
    own_steps_tried,
    tried_until_inside,
)
from icrl.rollouts import rollout_batch
from icrl.tables import read_table

DATA = Path(__file__).parents[2] / "book" / "data"


def test_each_learner_by_its_name():
    for name, (make, steps) in OWN.items():
        learner = make(steps[0], 7.0)
        assert isinstance(learner, Centred) == ("centred" in name)
        assert isinstance(learner, Started) == ("optimistic" in name)
        assert learner.start(1, 2, 2).max() == (7 if "optimistic" in name else 0)
        assert list(steps) == sorted(set(steps))


def test_no_return_exceeds_the_largest():
    """The optimum of a draw, where an optimistic learner starts above it."""
    for name in (*SERVED, *comparison.TUNED_ON, "few successors"):
        setting = comparison.WORLDS[name]
        process = setting.draw(1, np.random.default_rng(0))[0]
        assert process.optimal_q().max() <= setting.largest + 1e-12
    assert comparison.WORLDS["cliff"].largest == 0  # where every reward is negative


def test_trials_and_the_best_of_them(monkeypatch):
    """The steps of a grid lie beside each other in one batch; what is scored is the end alone."""
    world = replace(comparison.WORLDS["random"], records=(0, 2, 4))
    monkeypatch.setitem(comparison.WORLDS, "random", world)
    monkeypatch.setitem(own_steps.OWN, "SARSA", (OWN["SARSA"][0], (0.3, 0.5)))
    monkeypatch.setattr(own_steps, "ROUNDS", 0)
    given = {"world": "random", "learner": "SARSA", "runs": 3}
    rows = own_steps_tried(windows=9, seed=1, **given)
    assert [(row["step_size"], row["windows"], row["success"]) for row in rows] == [
        (0.3, 4, ""),
        (0.5, 4, ""),
    ]
    tasks, draws = 2 * world.draw(3, np.random.default_rng([1, 1])), np.random.default_rng([1, 2])
    q, starts = np.zeros((6, 9, 4)), None
    for _ in range(4):
        policies = greedy(q, 0.1)
        roll = rollout_batch(tasks, policies, 20, draws, starts)
        starts = roll.states[:, -1]
        for i, alpha in enumerate(3 * [0.3] + 3 * [0.5]):
            one = type(roll)(*(x[i : i + 1] for x in roll))
            q[i] = Tabular("sarsa", alpha).update(q[i : i + 1], one, policies[i : i + 1], 0.9)[0]
    shares = score(tasks, greedy(q)).share
    assert [row["share"] for row in rows] == [round(x.mean(), 4) for x in np.split(shares, 2)]
    row = own_step_row(step_size=0.5, windows=3, seed=1, **given)
    last = evaluate("random", "SARSA", OWN["SARSA"][0](0.5, 1.0), 1, runs=3, windows=3)[-1]
    assert row == last | {"step_size": 0.5}
    assert row["windows"] == 2


def test_success_decides_which_step_is_tried_next(monkeypatch):
    """In a world with a goal; a step that never reaches it is the worst, whatever share it closes."""
    seen = []

    def scored(tasks, policies, horizon):
        steps = np.repeat([learner.step_size for learner in seen[-1]], 2)
        reached = np.where(steps > 0.4, 0.123456 * (1 - steps), 0.0)
        return SimpleNamespace(success=reached[None], share=np.full((1, len(steps)), 0.98762) - steps / 10)

    class Looked(own_steps.Beside):
        def __init__(self, updaters):
            seen.append(updaters)
            super().__init__(updaters)

    monkeypatch.setattr(own_steps, "score", scored)
    monkeypatch.setattr(own_steps, "Beside", Looked)
    monkeypatch.setattr(own_steps, "ROUNDS", 1)
    monkeypatch.setitem(own_steps.OWN, "SARSA", (OWN["SARSA"][0], (0.2, 0.3, 0.5)))
    rows = own_steps_tried(world="lake", learner="SARSA", runs=2, windows=1, seed=0)
    assert [row["step_size"] for row in rows] == [0.2, 0.3, 0.5, 1.0]  # doubles of the best, up to 1
    assert [row["success"] for row in rows] == [0.0, 0.0, 0.0617, 0.0]
    assert [row["share"] for row in rows] == [0.9676, 0.9576, 0.9376, 0.8876]


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.1, "", 0.3), (0.5, "", 0.4), (1.0, "", 0.4)], 0.5),  # the smaller one of two equals
        ([(0.1, "", 0.4), (0.5, "", 0.4), (1.0, "", 0.4)], 0.5),  # the middle one of three
        ([(0.1, 0.2, 0.9), (0.5, 0.3, 0.1)], 0.5),  # success comes first
        ([(0.1, 0.0, 0.9), (0.5, 0.0, 0.1)], 0.1),  # then the share
        ([(0.1, 0.0, 0.9), (0.5, 0.2, 0.1)], 0.5),  # no success at all is the least
    ],
)
def test_the_best_step(results, best):
    names = "step_size", "success", "share"
    rows = [dict(zip(names, x, strict=True)) | {"world": "w", "learner": "l"} for x in results]
    assert best_own_steps(rows) == {("w", "l"): best}


@pytest.mark.parametrize(
    ("best", "limit", "tried"),
    [
        (0.4, None, [0.1, 0.2, 0.4, 0.8, 1.6]),
        (0.1, None, [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]),
        (0.03, None, [0.00625, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8]),
        (1.6, None, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4]),
        (1.6, 1.0, [0.2, 0.4, 0.8, 1.0]),  # nothing is larger
        (0.0, None, [0.2 / 2**k for k in range(6, -1, -1)] + [0.4, 0.8]),  # in the end it stops
    ],
)
def test_a_grid_grows_until_the_best_step_is_inside(best, limit, tried, monkeypatch):
    monkeypatch.setattr(own_steps, "ROUNDS", 3)
    merits = tried_until_inside(lambda steps: [-abs(x - best) for x in steps], [0.2, 0.4, 0.8], limit)
    assert list(merits) == tried
    assert (further_steps(merits, limit) == []) == (best > 0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("measure", "steps", "names"),
    [
        (lambda steps: None, [0.5], "measure gave None"),
        (lambda steps: [1.0], [0.5, 1.0], "measure gave"),
        (lambda steps: [0.0] * len(steps), [], "steps is empty"),
        (lambda steps: [0.0] * len(steps), [0.5, 0.0], "steps is 0"),
    ],
)
def test_a_grid_without_merits_or_steps(measure, steps, names):
    with pytest.raises(ValueError, match=names):
        tried_until_inside(measure, steps)


def test_tables_have_a_largest_step():
    assert largest_step(lambda a: Tabular("sarsa", a)) == 1
    assert largest_step(WindowSarsa) is None


def test_no_step_of_the_committed_tables_is_the_last_of_its_grid():
    """Two smaller and two larger steps than the chosen one were tried, unless nothing is ever reached."""
    for table, key in (("control-own-tuning", "success"), ("softmax-control-tuning", "share")):
        grids = {}
        for row in read_table(DATA / f"{table}.csv").rows:
            merit = float(row[key] or 0), float(row["share"])
            grids.setdefault((row["world"], row["learner"]), {})[float(row["step_size"])] = merit
        assert len(grids) == (len(SERVED) * len(OWN) if key == "success" else len(COMPARED) * len(RIVALS))
        for (_, learner), merits in grids.items():
            limit = 1.0 if "SARSA" in learner or learner == "Q-learning" else None
            assert not further_steps(merits, limit) or max(merits.values())[0] < 0.05


def test_the_committed_trials_begin_with_these_grids():
    """Own steps: at least the grid, which may have grown. Common steps: the grid, no more and no less."""
    for file, grids, exact in (
        ("control-tuning.csv", comparison.LEARNERS, True),
        ("control-own-tuning.csv", OWN, False),
    ):
        tried = pd.DataFrame(read_table(DATA / file).rows)
        for (_, name), rows in tried.groupby(["world", "learner"]):
            steps, grid = set(rows["step_size"].astype(float)), set(grids[name][1])
            assert steps == grid if exact else steps >= grid, name
