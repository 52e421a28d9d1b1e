"""The long comparison behind the chapter's last figure: worlds, learners, grids, and one command.

``python -m icrl.control_sweep`` tunes step sizes on tasks of their own, then runs every learner in every
world and writes its tables. See :doc:`/book/control`.
"""

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from icrl import _validation as valid
from icrl.control.loop import control
from icrl.control.scores import goals, interval, score
from icrl.control.updaters import (
    ActorCritic,
    FrozenBlock,
    LinearSarsa,
    SoftmaxPairs,
    Tabular,
    Updater,
    regauge,
)
from icrl.gradient_flow.teacher_mimicking import Training, alignment, train
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp


@dataclass(frozen=True)
class Setting:
    """A world of the comparison: how to draw it, how often, for how long."""

    draw: Callable[[int, np.random.Generator], list[MarkovDecisionProcess]]
    runs: int = 48
    records: tuple[int, ...] = (0, 5, 10, 20, 50, 100, 200, 400)
    horizon: int = 100
    skip: tuple[str, ...] = ()


def raised(process: MarkovDecisionProcess, by: float = 1.0) -> MarkovDecisionProcess:
    """The same task with every reward raised: the same gaps between policies, the same optimal ones.

    Raises:
        ValueError: the process has terminal states, where a shift would change what is optimal.
    """
    if process.terminal.any():
        raise ValueError("process has terminal states; raising its rewards would change its optimal policies")
    return replace(process, reward=process.reward + valid.number("by", by), outcome_reward=None)


def with_rewards(
    process: MarkovDecisionProcess, step: float, hole: float, factor: float = 1.0
) -> MarkovDecisionProcess:
    """The same task with ``hole`` paid for endings that are no goal, and ``step`` where nothing ends.

    Both are added to ``factor`` x what is paid already.
    """
    acting = ~process.terminal[:, None, None]
    bonus = np.where(process.terminal, valid.number("hole", hole), valid.number("step", step))
    paid = valid.positive("factor", factor) * process.outcome_reward + acting * np.where(
        goals(process), 0.0, bonus
    )
    return replace(process, reward=(process.transition * paid).sum(axis=2), outcome_reward=paid)


def few_successors(
    num_states: int, num_actions: int, discount: float, rng: np.random.Generator
) -> MarkovDecisionProcess:
    """A random process whose rows are Dirichlet(0.1): most of the weight on one or two successors."""
    rows = rng.dirichlet(np.full(num_states, 0.1), size=(num_states, num_actions))
    return MarkovDecisionProcess(rows, rng.uniform(-1, 1, (num_states, num_actions)), discount)


def _random(discount, by=0.0, make=random_mdp):
    return lambda runs, rng: [raised(make(9, 4, discount, rng), by) for _ in range(runs)]


def _task(name, **options):
    return lambda runs, rng: [from_gymnasium(name, 0.95, **options)] * runs


FOLLOWER = "linear, SARSA's samples"
LONG = (0, 10, 20, 50, 100, 200, 500)
WORLDS = {
    "random": Setting(_random(0.9)),
    "random, discount 0.5": Setting(_random(0.5)),
    "random, raised": Setting(_random(0.9, 1.0)),
    "few successors": Setting(_random(0.9, 0.0, few_successors)),
    "lake": Setting(_task("FrozenLake-v1", is_slippery=False)),
    "slippery lake": Setting(_task("FrozenLake-v1")),
    "large lake": Setting(_task("FrozenLake8x8-v1", is_slippery=False), records=LONG, horizon=200),
    "large slippery lake": Setting(_task("FrozenLake8x8-v1"), records=LONG, horizon=200),
    "cliff": Setting(_task("CliffWalking-v1"), records=(*LONG, 1000), horizon=200),
    "taxi": Setting(
        _task("Taxi-v4"),
        8,
        (*LONG, 1000, 2000, 5000),
        200,
        ("linear, 8 times", "expected SARSA", FOLLOWER, "trained", "trained, gauge set"),
    ),
}
"""The worlds by name. Random ones have 9 states and 4 actions; Gymnasium has the discount 0.95."""

LEARNERS: dict[str, tuple[Callable[[float], Updater], tuple[float, ...]]] = {
    "linear": (LinearSarsa, (1.0, 2.0, 4.0, 8.0)),
    "linear, 8 times": (lambda a: LinearSarsa(a, 8), (0.5, 1.0, 2.0, 4.0)),
    "softmax, visited": (lambda a: SoftmaxPairs(8, 4.0, a, "visited"), (0.05, 0.1, 0.2, 0.5)),
    "softmax, all": (lambda a: SoftmaxPairs(8, 4.0, a, "all"), (0.01, 0.02, 0.05, 0.1)),
    "actor-critic": (lambda a: ActorCritic(a, a), (2.0, 4.0, 8.0, 16.0)),
    "SARSA": (lambda a: Tabular("sarsa", a), (0.1, 0.2, 0.5, 1.0)),
    "expected SARSA": (lambda a: Tabular("expected-sarsa", a), (0.1, 0.2, 0.5, 1.0)),
    "Q-learning": (lambda a: Tabular("q-learning", a), (0.1, 0.2, 0.5, 1.0)),
}
"""Learners by name, each with what to make of a step size and with the step sizes that were tried."""

TUNED_ON = ("random", "random, raised")
"""Where step sizes are chosen, on tasks that are not used again."""


def tune(seed: int, runs: int = 24, progress: bool = True) -> list[dict]:
    """The share closed after 100 and 400 windows for each learner and step size, on tasks of their own."""
    rows = []
    for world in TUNED_ON:
        tasks = WORLDS[world].draw(runs, np.random.default_rng([seed, 1]))
        for name, (make, steps) in LEARNERS.items():
            for step in steps:
                title = f"{world}: {name}, {step:g}" if progress else None
                run = control(tasks, make(step), [100, 400], np.random.default_rng([seed, 2]), progress=title)
                share = score(tasks, run.policies).share.mean(axis=1)
                row = {"world": world, "learner": name, "step_size": step, "runs": runs}
                rows.append(row | dict(zip(("share_100", "share_400"), share.round(4), strict=True)))
    return rows


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


def evaluate(
    world: str,
    learner: str,
    updater: Updater,
    seed: int,
    leader: Updater | None = None,
    progress: bool = True,
) -> list[dict]:
    """One learner in one world: a row for each record, with 95% bootstrap intervals over the runs."""
    setting = WORLDS[world]
    tasks = setting.draw(setting.runs, np.random.default_rng([seed, 3]))
    title = f"{world}: {learner}" if progress else None
    rng = np.random.default_rng([seed, 4])
    run = control(tasks, updater, setting.records, rng, leader=leader, progress=title)
    found = score(tasks, run.policies, setting.horizon)
    rows = []
    for k, windows in enumerate(run.windows):
        row = {"world": world, "learner": learner, "windows": int(windows), "runs": setting.runs}
        for name in ("share", "success", "episode_return"):
            values = getattr(found, name)[k]
            known = not np.isnan(values).any()
            low, high = interval(values, np.random.default_rng(seed)) if known else (np.nan, np.nan)
            numbers = (values.mean(), low, high) if known else ("", "", "")
            keys = name, f"{name}_low", f"{name}_high"
            row |= {key: x if x == "" else round(float(x), 4) for key, x in zip(keys, numbers, strict=True)}
        rows.append(row | {"collapsed": int(((run.collapsed > 0) & (run.collapsed <= windows)).sum())})
    return rows


def trained(seed: int, number: int, num_steps: int) -> Training:
    """A block trained at 9 states, 4 actions, discount 0.9, as in the chapter on gradient flow."""
    rng = np.random.default_rng([seed, 5, number])
    return train(9, 4, num_steps, rng, discount=0.9, learning_rate=0.02)


def during_training(run: Training, step_size: float, seed: int) -> list[dict]:
    """Alignment with the construction, and the share closed after 100 windows, at moments of a training."""
    rows, tasks = [], WORLDS["random"].draw(48, np.random.default_rng([seed, 6]))
    for k in np.unique(np.linspace(0, len(run.steps) - 1, 9).astype(int)):
        block = FrozenBlock(torch.from_numpy(run.P[k]), torch.from_numpy(run.V[k]), step_size)
        learnt = control(tasks, block, [100], np.random.default_rng([seed, 7]))
        share = score(tasks, learnt.policies).share[0]
        low, high = interval(share, np.random.default_rng(seed))
        numbers = *alignment(run.P[k], run.V[k], 0.9)[2:], share.mean(), low, high
        names = "score_cosine", "value_cosine", "share", "share_low", "share_high"
        row = {"step": int(run.steps[k]), "loss": f"{run.losses[k]:.3e}", "runs": len(tasks)}
        rows.append(row | {x: round(float(y), 4) for x, y in zip(names, numbers, strict=True)})
    return rows


def read_block(path: Path, num_features: int = 36) -> tuple[torch.Tensor, torch.Tensor]:
    """The block that the command wrote: ``P`` and ``V`` with the two blocks of the file, zero elsewhere."""
    table = np.loadtxt(path, delimiter=",")
    d, m = num_features, 2 * num_features + 1
    if table.shape != (m, 2 * d + 1):
        raise ValueError(f"path holds a table of shape {table.shape}; it must be {(m, 2 * d + 1)}")
    P, V = torch.zeros(2, 3 * d + 2, 3 * d + 2, dtype=torch.float64)
    P[:m, m:], V[m + 1 :, :m] = torch.from_numpy(table[:, : d + 1]), torch.from_numpy(table[:, d + 1 :].T)
    return P, V


def write_block(path: Path, line: str, P: np.ndarray, V: np.ndarray) -> None:
    """``P12`` and the transpose of ``V21`` side by side, to six digits; the other blocks are zero."""
    m = 2 * (len(P) - 2) // 3 + 1
    table = np.concatenate([P[:m, m:], V[m + 1 :, :m].T], axis=1)
    np.savetxt(path, table, "%.6g", delimiter=",", header=line.removeprefix("# "))


def main() -> None:
    """Tune every learner, run it in every world, train blocks and run those; written to four tables."""
    parser = argparse.ArgumentParser(prog="python -m icrl.control_sweep", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=2, help="blocks to train (default 2)")
    parser.add_argument("--steps", type=int, default=2500, help="steps of Adam for each (default 2500)")
    parser.add_argument("--tuned", action="store_true", help="take step sizes from the table that is there")
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS), metavar="WORLD")
    parser.add_argument("--to", type=Path, default=Path(__file__).resolve().parents[1] / "book" / "data")
    options = parser.parse_args()
    line = f"# python -m icrl.control_sweep --seed {options.seed} --blocks {options.blocks}"
    line += f" --steps {options.steps}"
    if options.tuned:
        tried = read_rows(options.to / "control-tuning.csv")
    else:
        tried = tune(options.seed)
        _write(options.to / "control-tuning.csv", line, tried)
    steps = best_steps(tried)
    print(steps, flush=True)
    rows = []
    for world in options.worlds:
        for name, (make, _) in LEARNERS.items():
            if name not in WORLDS[world].skip:
                rows += evaluate(world, name, make(steps[name]), options.seed)
        leader = LEARNERS["SARSA"][0](steps["SARSA"])
        follower = LEARNERS["linear"][0](steps["linear"])
        if FOLLOWER not in WORLDS[world].skip:
            rows += evaluate(world, FOLLOWER, follower, options.seed, leader)
        _write(options.to / "control.csv", line, rows)  # what is done is kept
    for i in range(options.blocks):
        run = trained(options.seed, i, options.steps)
        P, V = torch.from_numpy(run.P[-1]), torch.from_numpy(run.V[-1])
        print("alignment", np.round(alignment(run.P[-1], run.V[-1], 0.9), 5), flush=True)
        if i == 0:
            write_block(options.to / "control-block.csv", line, run.P[-1], run.V[-1])
            during = during_training(run, steps["linear"], options.seed)
            _write(options.to / "control-training.csv", line, during)
        for world in options.worlds:
            for name, block in (("trained", (P, V)), ("trained, gauge set", regauge(P, V, 0.9))):
                if name in WORLDS[world].skip:
                    continue
                updater = FrozenBlock(*block, step_size=steps["linear"])
                rows += evaluate(world, f"{name} {i + 1}", updater, options.seed)
    _write(options.to / "control.csv", line, rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that the command wrote; its first line says how."""
    with Path(path).open() as file:
        file.readline()
        return list(csv.DictReader(file))


def _write(path, line, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(line + "\n")
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
