"""Step sizes of each world, and the two rivals that cost nothing."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.control import Centred, Started, comparison, control, evaluate, own_steps, score
from icrl.control.own_steps import OWN, SERVED, best_own_steps, own_step_row, own_steps_tried


def test_each_learner_by_its_name():
    for name, (make, steps) in OWN.items():
        learner = make(steps[0], 7.0)
        assert isinstance(learner, Centred) == ("centred" in name)
        assert isinstance(learner, Started) == ("optimistic" in name)
        assert learner.start(1, 2, 2).max() == (7 if "optimistic" in name else 0)
        assert list(steps) == sorted(set(steps))


def test_no_return_exceeds_the_largest():
    """The optimum of a draw, where an optimistic learner starts above it."""
    for name in (*SERVED, "cliff", *comparison.TUNED_ON, "few successors"):
        setting = comparison.WORLDS[name]
        process = setting.draw(1, np.random.default_rng(0))[0]
        assert process.optimal_q().max() <= setting.largest + 1e-12


def test_trials_and_the_best_of_them(monkeypatch):
    world = replace(comparison.WORLDS["random"], records=(0, 2, 4))
    monkeypatch.setitem(comparison.WORLDS, "random", world)
    monkeypatch.setitem(own_steps.OWN, "SARSA", (OWN["SARSA"][0], (0.1, 0.5)))
    given = {"world": "random", "learner": "SARSA", "runs": 3}
    rows = own_steps_tried(windows=9, seed=1, **given)
    assert [(row["step_size"], row["windows"], row["success"]) for row in rows] == [
        (0.1, 4, ""),
        (0.5, 4, ""),
    ]
    tasks, draws = world.draw(3, np.random.default_rng([1, 1])), np.random.default_rng([1, 2])
    run = control(tasks, OWN["SARSA"][0](0.5, 1.0), [2, 4], draws)
    assert rows[1]["share"] == round(score(tasks, run.policies).share.mean(), 4)
    row = own_step_row(step_size=0.5, windows=3, seed=1, **given)
    last = evaluate("random", "SARSA", OWN["SARSA"][0](0.5, 1.0), 1, runs=3, windows=3)[-1]
    assert row == last | {"step_size": 0.5}
    assert row["windows"] == 2


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.1, "", 0.3), (0.5, "", 0.4), (1.0, "", 0.4)], 0.5),  # the smallest of equals
        ([(0.1, 0.2, 0.9), (0.5, 0.3, 0.1)], 0.5),  # success comes first
        ([(0.1, 0.0, 0.9), (0.5, 0.0, 0.1)], 0.1),  # then the share
    ],
)
def test_the_best_step(results, best):
    names = "step_size", "success", "share"
    rows = [dict(zip(names, x, strict=True)) | {"world": "w", "learner": "l"} for x in results]
    assert best_own_steps(rows) == {("w", "l"): best}
