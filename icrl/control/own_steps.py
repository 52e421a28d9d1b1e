"""Every learner at the step size that suits it best in each world, with centred and optimistic rivals.

``book/sweeps/control.py`` runs it; see :doc:`/book/control`. The other table of the chapter gives each
learner one step size for all worlds, chosen on random tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from icrl._arguments import checked
from icrl.control.centring import Centred, Started
from icrl.control.comparison import WORLDS, evaluate
from icrl.control.loop import control
from icrl.control.operators import Beside, WindowSarsa, WindowSoftmax
from icrl.control.scores import score
from icrl.control.updaters import ActorCritic, Tabular, Updater


def _expected(step):
    return Tabular("expected-sarsa", step)


BLOCK_STEPS = (0.5, 1.0, 2.0, 4.0)
TABLE_STEPS = (0.1, 0.2, 0.5, 1.0)
TRIALS = 8
"""How many steps are tried beyond the ends of a grid, at most."""

OWN: dict[str, tuple[Callable[[float, float], Updater], tuple[float, ...]]] = {
    "linear": (lambda a, top: WindowSarsa(a), BLOCK_STEPS),
    "linear, centred": (lambda a, top: Centred(WindowSarsa(a)), BLOCK_STEPS),
    "linear, optimistic": (lambda a, top: Started(WindowSarsa(a), top), BLOCK_STEPS),
    "softmax, visited": (lambda a, top: WindowSoftmax(8, 4.0, a, "visited"), (0.05, 0.1, 0.2, 0.5)),
    "softmax, all": (lambda a, top: WindowSoftmax(8, 4.0, a, "all"), (0.01, 0.02, 0.05, 0.1)),
    "actor-critic": (lambda a, top: ActorCritic(a, a), (0.5, 2.0, 4.0, 8.0)),
    "SARSA": (lambda a, top: Tabular("sarsa", a), TABLE_STEPS),
    "expected SARSA": (lambda a, top: _expected(a), TABLE_STEPS),
    "expected SARSA, centred": (lambda a, top: Centred(_expected(a)), TABLE_STEPS),
    "expected SARSA, optimistic": (lambda a, top: Started(_expected(a), top), TABLE_STEPS),
    "Q-learning": (lambda a, top: Tabular("q-learning", a), TABLE_STEPS),
}
"""Learners by name: what to make of a step size and of the largest return, and the step sizes tried
first."""

SERVED = ("lake", "slippery lake", "large lake", "cliff", "taxi")
"""The worlds; for random ones see :mod:`icrl.control.softmax_comparison`."""


@checked
def best_step(merits: Mapping[float, object]) -> float:
    """The step size with the largest merit; of equals the one in the middle, the smaller one of two."""
    top = max(merits.values())
    equal = sorted(step for step, merit in merits.items() if merit == top)
    return equal[(len(equal) - 1) // 2]


@checked
def further_step(merits: Mapping[float, object], limit: float | None = None) -> float | None:
    """What to try next where the best step is the last of its grid; nothing where it is inside.

    Half the smallest or twice the largest. A step at the ``limit`` is inside: no learner has a larger one.
    """
    best = best_step(merits)
    if best == min(merits):
        return best / 2
    if best == max(merits) and (limit is None or best < limit):
        return 2 * best if limit is None else min(2 * best, limit)
    return None


@checked
def tried_until_inside(
    measure: Callable[[list[float]], list], steps: Sequence[float], limit: float | None = None
) -> dict[float, object]:
    """Merits by step size, of ``steps`` and of more until the best one is inside what was tried.

    Args:
        measure: the merits of some step sizes; larger is better.
        steps: tried first.
        limit: the largest step that makes sense, if there is one.

    Returns:
        By rising step. After ``TRIALS`` more the grid may end at the best one: see :func:`further_step`.
    """
    merits = dict(zip(map(float, steps), measure(list(map(float, steps))), strict=True))
    for _ in range(TRIALS):
        if (step := further_step(merits, limit)) is None:
            break
        (merits[step],) = measure([step])
    return dict(sorted(merits.items()))


@checked
def largest_step(make: Callable[[float], Updater]) -> float | None:
    """1 where a learner refuses a larger step, as tables do; else there is no limit."""
    try:
        make(2.0)
    except ValueError:
        return 1.0
    return None


@checked
def own_steps_tried(
    *, world: Literal[*WORLDS], learner: Literal[*OWN], runs: int, windows: int, seed: int
) -> list[dict]:
    """Share and success in the end with each step size, on draws not used again.

    A task of ``book/sweeps/control.py``. A world ends after its own number of windows, or after ``windows``.
    The grid grows until the best step is inside (:func:`tried_until_inside`).
    """
    setting = WORLDS[world]
    tasks = setting.draw(runs, np.random.default_rng([seed, 1]))
    make, steps = OWN[learner]
    last, rows = min(windows, setting.records[-1]), {}

    def measure(steps):
        beside = Beside([make(step, setting.largest) for step in steps])
        run = control(tasks * len(steps), beside, [last], np.random.default_rng([seed, 2]))
        found = score(tasks * len(steps), run.policies, setting.horizon)
        merits = []
        for step, *means in zip(
            steps, *(x[0].reshape(-1, runs).mean(1) for x in (found.success, found.share)), strict=True
        ):
            success, share = ("" if np.isnan(x) else round(float(x), 4) for x in means)
            rows[step] = {"world": world, "learner": learner, "step_size": step, "runs": runs}
            rows[step] |= {"windows": last, "share": share, "success": success}
            merits.append((success or 0.0, share))
        return merits

    limit = largest_step(lambda step: make(step, setting.largest))
    return [rows[step] for step in tried_until_inside(measure, steps, limit)]


@checked
def best_own_steps(rows: Sequence[dict]) -> dict[tuple[str, str], float]:
    """The best step size of each learner in each world: by success where there is one, then by share."""
    merits = {}
    for row in rows:
        found = merits.setdefault((row["world"], row["learner"]), {})
        found[float(row["step_size"])] = float(row["success"] or 0), float(row["share"])
    return {key: best_step(found) for key, found in merits.items()}


@checked
def own_step_row(
    *, world: Literal[*WORLDS], learner: Literal[*OWN], step_size: float, runs: int, windows: int, seed: int
) -> dict:
    """What a learner reaches in the end with a step size of its own: a row of ``evaluate``.

    A task of ``book/sweeps/control.py``; worlds and draws are those of the comparison at one step size.
    """
    updater = OWN[learner][0](step_size, WORLDS[world].largest)
    last = evaluate(world, learner, updater, seed, runs=runs, windows=windows, end=True)
    return last[0] | {"step_size": step_size}
