"""Every learner at the step size that suits it best in each world, with centred and optimistic rivals.

``book/sweeps/control.py`` runs it; see :doc:`/book/control`. The other table of the chapter gives each
learner one step size for all worlds, chosen on random tasks.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from icrl._arguments import checked
from icrl.control.centring import Centred, Started
from icrl.control.comparison import WORLDS, evaluate
from icrl.control.loop import control
from icrl.control.scores import score
from icrl.control.updaters import ActorCritic, LinearSarsa, SoftmaxPairs, Tabular, Updater


def _expected(step):
    return Tabular("expected-sarsa", step)


BLOCK_STEPS = (0.5, 1.0, 2.0, 4.0)
TABLE_STEPS = (0.1, 0.2, 0.5, 1.0)

OWN: dict[str, tuple[Callable[[float, float], Updater], tuple[float, ...]]] = {
    "linear": (lambda a, top: LinearSarsa(a), BLOCK_STEPS),
    "linear, centred": (lambda a, top: Centred(LinearSarsa(a)), BLOCK_STEPS),
    "linear, optimistic": (lambda a, top: Started(LinearSarsa(a), top), BLOCK_STEPS),
    "softmax, visited": (lambda a, top: SoftmaxPairs(8, 4.0, a, "visited"), (0.05, 0.1, 0.2, 0.5)),
    "softmax, all": (lambda a, top: SoftmaxPairs(8, 4.0, a, "all"), (0.01, 0.02, 0.05, 0.1)),
    "actor-critic": (lambda a, top: ActorCritic(a, a), (0.5, 2.0, 4.0, 8.0)),
    "SARSA": (lambda a, top: Tabular("sarsa", a), TABLE_STEPS),
    "expected SARSA": (lambda a, top: _expected(a), TABLE_STEPS),
    "expected SARSA, centred": (lambda a, top: Centred(_expected(a)), TABLE_STEPS),
    "expected SARSA, optimistic": (lambda a, top: Started(_expected(a), top), TABLE_STEPS),
    "Q-learning": (lambda a, top: Tabular("q-learning", a), TABLE_STEPS),
}
"""Learners by name: what to make of a step size and of the largest return, and the step sizes tried."""

SERVED = ("lake", "slippery lake")
"""The worlds; for random ones see :mod:`icrl.control.softmax_comparison`."""


@checked
def own_steps_tried(
    *, world: Literal[*WORLDS], learner: Literal[*OWN], runs: int, windows: int, seed: int
) -> list[dict]:
    """Share and success with each step size, means of half-time and the end, on draws not used again.

    A task of ``book/sweeps/control.py``. A world ends after its own number of windows, or after ``windows``.
    """
    setting = WORLDS[world]
    tasks = setting.draw(runs, np.random.default_rng([seed, 1]))
    make, steps = OWN[learner]
    rows, last = [], min(windows, setting.records[-1])
    for step in steps:
        records = sorted({max(1, last // 2), last})
        run = control(tasks, make(step, setting.largest), records, np.random.default_rng([seed, 2]))
        found = score(tasks, run.policies, setting.horizon)
        row = {"world": world, "learner": learner, "step_size": step, "runs": runs, "windows": last}
        for name in ("share", "success"):
            mean = getattr(found, name).mean()
            row[name] = "" if np.isnan(mean) else round(float(mean), 4)
        rows.append(row)
    return rows


@checked
def best_own_steps(rows: Sequence[dict]) -> dict[tuple[str, str], float]:
    """The best step size of each learner in each world: by success where there is one, then by share.

    The smallest of equals.
    """
    best = {}
    for row in sorted(rows, key=lambda row: -float(row["step_size"])):
        key, merit = (row["world"], row["learner"]), (float(row["success"] or 0), float(row["share"]))
        if key not in best or merit >= best[key][0]:
            best[key] = merit, float(row["step_size"])
    order = dict.fromkeys((row["world"], row["learner"]) for row in rows)
    return {key: best[key][1] for key in order}


@checked
def own_step_row(
    *, world: Literal[*WORLDS], learner: Literal[*OWN], step_size: float, runs: int, windows: int, seed: int
) -> dict:
    """What a learner reaches in the end with a step size of its own: a row of ``evaluate``.

    A task of ``book/sweeps/control.py``; worlds and draws are those of the comparison at one step size.
    """
    updater = OWN[learner][0](step_size, WORLDS[world].largest)
    last = evaluate(world, learner, updater, seed, runs=runs, windows=windows)[-1]
    return last | {"step_size": step_size}
