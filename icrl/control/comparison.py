"""The long comparison behind the chapter's last figure: worlds, learners, step sizes, rows of its tables.

``book/sweeps/control.py`` tunes step sizes on tasks of their own, then runs every learner in every world.
See :doc:`/book/control`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.loop import control
from icrl.control.operators import WindowSarsa, WindowSoftmax
from icrl.control.scores import goals, interval, score
from icrl.control.updaters import ActorCritic, Tabular, Updater
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp


@checked
@dataclass(frozen=True)
class Setting:
    """A world of the comparison: how to draw it, how often, for how long; no return exceeds ``largest``.

    Step sizes of its own are chosen in ``trials`` runs.
    """

    draw: Callable[[int, np.random.Generator], list[MarkovDecisionProcess]]
    runs: int = 48
    records: tuple[int, ...] = (0, 5, 10, 20, 50, 100, 200, 400)
    horizon: int = 100
    skip: tuple[str, ...] = ()
    largest: float = 1.0
    trials: int = 24


@checked
def raised(process: MarkovDecisionProcess, by: float = 1.0) -> MarkovDecisionProcess:
    """The same task with every reward raised: the same gaps between policies, the same optimal ones.

    Raises:
        ValueError: the process has terminal states, where a shift would change what is optimal.
    """
    if process.terminal.any():
        raise ValueError("process has terminal states; raising its rewards would change its optimal policies")
    return replace(process, reward=process.reward + valid.number("by", by), outcome_reward=None)


@checked
def with_rewards(
    process: MarkovDecisionProcess, step: float, hole: float, factor: float = 1.0
) -> MarkovDecisionProcess:
    """The same task with ``hole`` paid for endings that are no goal, and ``step`` where nothing ends.

    Both are added to ``factor`` x what is paid already.
    """
    if process.outcome_reward is None:
        raise ValueError("process has no outcome_reward; rewards of endings must be known one by one")
    acting = ~process.terminal[:, None, None]
    bonus = np.where(process.terminal, valid.number("hole", hole), valid.number("step", step))
    paid = valid.positive("factor", factor) * process.outcome_reward + acting * np.where(
        goals(process), 0.0, bonus
    )
    return replace(process, reward=(process.transition * paid).sum(axis=2), outcome_reward=paid)


@checked
def few_successors(
    num_states: int, num_actions: int, discount: float, rng: np.random.Generator
) -> MarkovDecisionProcess:
    """A random process whose rows are Dirichlet(0.1): most of the weight on one or two successors."""
    valid.count("num_states", num_states, 1)
    valid.count("num_actions", num_actions, 1)
    rows = rng.dirichlet(np.full(num_states, 0.1), size=(num_states, num_actions))
    return MarkovDecisionProcess(rows, rng.uniform(-1, 1, (num_states, num_actions)), discount)


def _random(discount, by=0.0, make=random_mdp):
    return lambda runs, rng: [raised(make(9, 4, discount, rng), by) for _ in range(runs)]


def _task(name, **options):
    return lambda runs, rng: [from_gymnasium(name, 0.95, **options)] * runs


FOLLOWER = "linear, SARSA's samples"
LONG = (0, 10, 20, 50, 100, 200, 500)
WORLDS = {
    "random": Setting(_random(0.9), largest=10.0),
    "random, discount 0.5": Setting(_random(0.5), largest=2.0),
    "random, raised": Setting(_random(0.9, 1.0), largest=20.0),
    "few successors": Setting(_random(0.9, 0.0, few_successors), largest=10.0),
    "lake": Setting(_task("FrozenLake-v1", is_slippery=False)),
    "slippery lake": Setting(_task("FrozenLake-v1")),
    "large lake": Setting(_task("FrozenLake8x8-v1", is_slippery=False), records=LONG, horizon=200),
    "large slippery lake": Setting(_task("FrozenLake8x8-v1"), records=LONG, horizon=200),
    "cliff": Setting(_task("CliffWalking-v1"), records=(*LONG, 1000), horizon=200, largest=0.0),
    "taxi": Setting(
        _task("Taxi-v4"),
        24,
        (*LONG, 1000, 2000, 5000),
        200,
        ("linear, 8 times", FOLLOWER, "trained", "trained, gauge set"),
        largest=20.0,
        trials=8,
    ),
}
"""The worlds by name. Random ones have 9 states and 4 actions; Gymnasium has the discount 0.95."""

LEARNERS: dict[str, tuple[Callable[[float], Updater], tuple[float, ...]]] = {
    "linear": (WindowSarsa, (1.0, 2.0, 4.0, 8.0)),
    "linear, 8 times": (lambda a: WindowSarsa(a, 8), (0.5, 1.0, 2.0, 4.0)),
    "softmax, visited": (lambda a: WindowSoftmax(8, 4.0, a, "visited"), (0.05, 0.1, 0.2, 0.5)),
    "softmax, all": (lambda a: WindowSoftmax(8, 4.0, a, "all"), (0.01, 0.02, 0.05, 0.1)),
    "actor-critic": (lambda a: ActorCritic(a, a), (2.0, 4.0, 8.0, 16.0)),
    "SARSA": (lambda a: Tabular("sarsa", a), (0.1, 0.2, 0.5, 1.0)),
    "expected SARSA": (lambda a: Tabular("expected-sarsa", a), (0.1, 0.2, 0.5, 1.0)),
    "Q-learning": (lambda a: Tabular("q-learning", a), (0.1, 0.2, 0.5, 1.0)),
}
"""Learners by name, each with what to make of a step size and with the step sizes that were tried.

Transformers without their prompts: their updates, which hold the same tables.
"""

TUNED_ON = ("random", "random, raised")
"""Where step sizes are chosen, on tasks that are not used again."""


@checked
def tried_row(
    *,
    world: Literal[*WORLDS],
    learner: Literal[*LEARNERS],
    step_size: float,
    runs: int,
    windows: int,
    seed: int,
) -> dict:
    """The share closed after 100 and 400 windows with one step size, on tasks that are not used again.

    A task of ``book/sweeps/control.py``; every learner meets the same ``runs`` tasks and uniform draws.
    After ``windows`` it ends, for a trial before that.
    """
    tasks, records = WORLDS[world].draw(runs, np.random.default_rng([seed, 1])), (100, 400)
    seen = sorted({min(windows, record) for record in records})
    run = control(tasks, LEARNERS[learner][0](step_size), seen, np.random.default_rng([seed, 2]))
    shares = score(tasks, run.policies).share.mean(axis=1).round(4).tolist()
    row = {"world": world, "learner": learner, "step_size": step_size, "runs": runs}
    return row | {f"share_{record}": shares[min(i, len(seen) - 1)] for i, record in enumerate(records)}


@checked
def best_steps(rows: list[dict]) -> dict[str, float]:
    """For each learner the step size with the largest mean share over worlds and both lengths."""
    means = {}
    for row in rows:
        key = row["learner"], float(row["step_size"])
        means.setdefault(key, []).append(float(row["share_100"]) + float(row["share_400"]))
    found = {}
    for (name, step), shares in means.items():
        found.setdefault(name, []).append((np.mean(shares), step))
    return {name: max(tried)[1] for name, tried in found.items()}


@checked
def evaluate(
    world: Literal[*WORLDS],
    learner: str,
    updater: Updater,
    seed: int,
    leader: Updater | None = None,
    *,
    runs: int | None = None,
    windows: int | None = None,
    end: bool = False,
) -> list[dict]:
    """One learner in one world: a row for each record, with 95% bootstrap intervals over the runs.

    Args:
        world: its name in ``WORLDS``.
        learner: its name in the table.
        updater: the learner itself.
        seed: of worlds, runs and bootstrap; the same for every learner.
        leader: as in :func:`icrl.control.loop.control`.
        runs: at most so many, if given.
        windows: records up to this one only, if given.
        end: whether to score after the last of them alone.
    """
    setting = WORLDS[world]
    tasks = setting.draw(min(setting.runs, runs or setting.runs), np.random.default_rng([seed, 3]))
    records = [k for k in setting.records if windows is None or k <= windows][-1 if end else 0 :]
    run = control(tasks, updater, records, np.random.default_rng([seed, 4]), leader=leader)
    found = score(tasks, run.policies, setting.horizon)
    rows = []
    for k, done in enumerate(run.windows):
        row = {"world": world, "learner": learner, "windows": int(done), "runs": len(tasks)}
        for name in ("share", "success", "episode_return"):
            values = getattr(found, name)[k]
            known = not np.isnan(values).any()
            low, high = interval(values, np.random.default_rng(seed)) if known else (np.nan, np.nan)
            numbers = (values.mean(), low, high) if known else ("", "", "")
            keys = name, f"{name}_low", f"{name}_high"
            row |= {key: x if x == "" else round(float(x), 4) for key, x in zip(keys, numbers, strict=True)}
        rows.append(row | {"collapsed": int(((run.collapsed > 0) & (run.collapsed <= done)).sum())})
    return rows


@checked
def compared_rows(
    *,
    world: Literal[*WORLDS],
    learner: Literal[*LEARNERS, FOLLOWER],
    step_sizes: dict[str, float],
    runs: int,
    windows: int,
    seed: int,
) -> list[dict]:
    """:func:`evaluate` for a learner by its name, or for ``FOLLOWER``, who looks on while SARSA acts.

    A task of ``book/sweeps/control.py``; ``step_sizes`` by learner, as :func:`best_steps` finds them.
    """
    name, leader = learner, None
    if learner == FOLLOWER:
        name, leader = "linear", LEARNERS["SARSA"][0](step_sizes["SARSA"])
    updater = LEARNERS[name][0](step_sizes[name])
    return evaluate(world, learner, updater, seed, leader, runs=runs, windows=windows)
