"""Softmax attention beside every learner that shares one of its traits: the long comparison.

``book/sweeps/softmax_control.py`` runs it; see :doc:`/book/softmax-control`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.centring import Centred, Started
from icrl.control.comparison import WORLDS
from icrl.control.features import one_hot_pairs, random_pairs, with_constant
from icrl.control.loop import control
from icrl.control.operators import Beside, LinearOperator, SoftmaxOperator
from icrl.control.own_steps import best_step, largest_step, tried_until_inside
from icrl.control.scores import interval, myopic, score
from icrl.control.updaters import Tabular, Updater

COMPARED = ("random", "random, discount 0.5", "random, raised", "few successors")
"""The worlds, names of :data:`icrl.control.comparison.WORLDS`: 9 states, 4 actions, no ends."""

LARGEST_REWARD = {"random, raised": 2.0}
"""1 elsewhere; an optimistic start is this over ``1 - gamma``."""


def _expected(step):
    return Tabular("expected-sarsa", step)


Make = Callable[[float, np.ndarray, np.ndarray, float], Updater]
"""From a step size, one-hot features, random features and the largest return."""

RIVALS: dict[str, tuple[Make, tuple[float, ...]]] = {
    "linear": (lambda a, one, rnd, top: LinearOperator(one, a), (2, 4, 8, 12)),
    "linear, 8 times": (lambda a, one, rnd, top: LinearOperator(one, a, 8), (0.5, 1, 2, 4)),
    "linear, constant feature": (
        lambda a, one, rnd, top: LinearOperator(with_constant(one), a),
        (1, 2, 4, 8),
    ),
    "linear, centred": (lambda a, one, rnd, top: Centred(LinearOperator(one, a)), (2, 4, 8, 12)),
    "softmax, visited": (
        lambda a, one, rnd, top: SoftmaxOperator(2 * one, 8, a, "visited"),
        (0.05, 0.1, 0.2, 0.5),
    ),
    "softmax, visited, centred": (
        lambda a, one, rnd, top: Centred(SoftmaxOperator(2 * one, 8, a, "visited")),
        (0.05, 0.1, 0.2, 0.5),
    ),
    "softmax, all": (lambda a, one, rnd, top: SoftmaxOperator(2 * one, 8, a), (0.01, 0.02, 0.05, 0.1)),
    "softmax, all, 1 layer": (
        lambda a, one, rnd, top: SoftmaxOperator(2 * one, 1, a),
        (0.08, 0.16, 0.4, 0.8),
    ),
    "expected SARSA": (lambda a, one, rnd, top: _expected(a), (0.1, 0.2, 0.5, 1.0)),
    "expected SARSA, centred": (lambda a, one, rnd, top: Centred(_expected(a)), (0.1, 0.2, 0.5, 1.0)),
    "expected SARSA, optimistic": (
        lambda a, one, rnd, top: Started(_expected(a), top),
        (0.1, 0.2, 0.5, 1.0),
    ),
    "random features: linear": (lambda a, one, rnd, top: LinearOperator(rnd, a), (0.1, 0.2, 0.4, 0.8)),
    "random features: linear, constant": (
        lambda a, one, rnd, top: LinearOperator(with_constant(rnd), a),
        (0.1, 0.2, 0.4, 0.8),
    ),
    "random features: linear, centred": (
        lambda a, one, rnd, top: Centred(LinearOperator(rnd, a)),
        (0.1, 0.2, 0.4, 0.8),
    ),
    "random features: softmax, all": (
        lambda a, one, rnd, top: SoftmaxOperator(rnd / np.sqrt(3), 8, a),
        (0.01, 0.02, 0.05, 0.1),
    ),
}
"""Learners by name, with the step sizes that are tried first. One-hot features have length 2, random ones 2
in the root mean square, where softmax attends; for linear learners they are as drawn."""


def _drawn(world, runs, seeds):
    """Tasks, what the learners need of them, and nothing that depends on the learner."""
    rng = np.random.default_rng(seeds)
    tasks = WORLDS[world].draw(runs, rng)
    features = random_pairs(runs, 9, 4, rng)
    top = LARGEST_REWARD.get(world, 1.0) / (1 - tasks[0].discount)
    return tasks, (one_hot_pairs(runs, 9, 4), features, top)


@checked
def steps_tried(
    *, world: Literal[*WORLDS], learner: Literal[*RIVALS], runs: int, windows: int, seed: int
) -> list[dict]:
    """The share closed after ``windows`` with each step size, on tasks that are not used again.

    A task of ``book/sweeps/softmax_control.py``. The grid grows until the best step is inside
    (:func:`icrl.control.own_steps.tried_until_inside`).
    """
    tasks, given = _drawn(world, valid.count("runs", runs, 1), [seed, 1])
    make, steps = RIVALS[learner]

    def measure(steps):
        beside = Beside([make(step, *given) for step in steps])
        run = control(tasks * len(steps), beside, [windows], np.random.default_rng([seed, 2]))
        shares = score(tasks * len(steps), run.policies).share[0].reshape(-1, runs).mean(axis=1)
        return shares.round(4).tolist()

    tried = tried_until_inside(measure, steps, largest_step(lambda step: make(step, *given)))
    row = {"world": world, "learner": learner, "runs": runs, "windows": windows}
    return [row | {"step_size": step, "share": share} for step, share in tried.items()]


@checked
def best_tried(rows: Sequence[dict]) -> dict[tuple[str, str], float]:
    """The step size with the largest share for each world and learner; of equals the one in the middle."""
    shares = {}
    for row in rows:
        found = shares.setdefault((row["world"], row["learner"]), {})
        found[float(row["step_size"])] = float(row["share"])
    return {key: best_step(found) for key, found in shares.items()}


@checked
def closed_shares(
    *,
    world: Literal[*WORLDS],
    learner: Literal[*RIVALS, "myopic"],
    step_size: float,
    runs: int,
    records: list[int],
    seed: int,
) -> list[dict]:
    """The share that each run closed at each record; all learners meet the same tasks and uniform draws.

    A task of ``book/sweeps/softmax_control.py``.
    """
    tasks, given = _drawn(world, valid.count("runs", runs, 1), [seed, 3])
    if learner == "myopic":
        found = np.repeat(score(tasks, myopic(tasks)).share[None], len(records), 0)
    else:
        updater = RIVALS[learner][0](step_size, *given)
        run = control(tasks, updater, records, np.random.default_rng([seed, 4]))
        found = score(tasks, run.policies).share
    row = {"world": world, "learner": learner, "step_size": step_size}
    found = zip(records, found.round(5).tolist(), strict=True)
    return [row | {"windows": windows, "shares": each} for windows, each in found]


@checked
def paired(rows: Sequence[dict], reference: str, seed: int = 0) -> list[dict]:
    """Means with 95% bootstrap intervals over the runs, and of the difference to a reference, run by run."""
    beside = {(r["world"], r["windows"]): np.array(r["shares"]) for r in rows if r["learner"] == reference}
    summary = []
    for row in rows:
        each, other = np.array(row["shares"]), beside[row["world"], row["windows"]]
        numbers = {}
        for name, values in (("share", each), ("difference", each - other)):
            low, high = interval(values, np.random.default_rng(seed))
            found = {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
            numbers |= {key: round(float(x), 4) for key, x in found.items()}
        kept = {key: row[key] for key in ("world", "learner", "windows", "step_size")}
        summary.append(kept | {"runs": len(each)} | numbers)
    return summary
