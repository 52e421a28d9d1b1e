"""Every learner at the step size that suits it best in each world, with centred and optimistic rivals.

``book/sweeps/control.py`` runs it; see :doc:`/book/control`. The other table of the chapter gives each
learner one step size for all worlds, chosen on random tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from icrl import _validation as valid
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
BESIDE, ROUNDS = 2, 6
"""How many steps beside the best one must have been tried, and how often a grid grows, at most."""

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
def further_steps(merits: Mapping[float, object], limit: float | None = None) -> list[float]:
    """What to try next so that two smaller and two larger steps than the best one are tried; nothing if so.

    Halves of the smallest and doubles of the largest; no learner has a step beyond the ``limit``.
    """
    tried = sorted(merits)
    place = tried.index(best_step(merits))
    below = [tried[0] / 2**k for k in range(1, BESIDE + 1 - place)]
    above = [tried[-1] * 2**k for k in range(1, BESIDE + 2 + place - len(tried))]
    if limit is not None:
        above = [x for x in {min(x, limit) for x in above} if x > tried[-1]]
    return sorted(below + above)


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
        By rising step. After ``ROUNDS`` of :func:`further_steps` it stops, inside or not.

    Raises:
        ValueError: no steps or some that are not positive; not one merit for each step.
    """
    merits, more = {}, [valid.positive("steps", step) for step in steps]
    if not more:
        raise ValueError("steps is empty; it must hold what is tried first")
    for _ in range(1 + ROUNDS):
        found = measure(more) if more else []
        if not isinstance(found, Sequence) or len(found) != len(more):
            raise ValueError(f"measure gave {valid.short(found)}; it must give a merit for each of {more}")
        merits |= dict(zip(more, found, strict=True))
        more = further_steps(merits, limit)
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
