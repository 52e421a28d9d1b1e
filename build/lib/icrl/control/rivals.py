"""The comparison of deployed learners, as the long run makes it: every rival, every kind of world.

See :doc:`/book/teacher-mimicking`.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from icrl._arguments import checked
from icrl.control.deployment import (
    Blocks,
    ExpectedSarsa,
    Teacher,
    deploy,
    from_data,
    myopic,
    optimal,
    shares,
    uniform,
    values,
)
from icrl.gradient_flow.experiment import Experiment, train_side_by_side, training_start
from icrl.gradient_flow.worlds import Worlds

STEPS = (0.05, 0.2, 0.5, 1.0, 1.4)
"""Step sizes of the teacher that are tried, in features whose squared norm is 12 on average."""


@checked
def one_hot(worlds: Worlds) -> Worlds:
    """The same processes with one-hot features of the pairs."""
    batch, size, actions, _ = worlds.features.shape
    table = np.eye(size * actions).reshape(size, actions, -1)
    return replace(worlds, features=np.broadcast_to(table, (batch, *table.shape)))


@checked
def permuted(values: Float[np.ndarray, "K q m"], rng: np.random.Generator) -> Float[np.ndarray, "K q m"]:
    """Each block's ``V21`` with its rows in another order: the right entries in wrong places."""
    return np.stack([v[rng.permutation(len(v))] for v in values])


def trained_blocks(setting: Experiment, steps: int, seeds: int, seed: int):
    """Start and end of ``K`` trainings, each with draws of its own: ``(scores, values)`` twice."""
    kept = [], []
    for i in range(seeds):
        blocks = training_start(setting, 1, np.random.default_rng([seed, i, 0]))
        rng = np.random.default_rng([seed, i, 1])
        run = train_side_by_side(setting, steps, *blocks, rng, records=2)
        for moment, found in enumerate(kept):
            found.append((run.scores[moment, 0], run.values[moment, 0]))
    return [tuple(np.stack(x) for x in zip(*found, strict=True)) for found in kept]


class _Table:
    """Rows of one kind of world, all learners on the same worlds, weights and draws."""

    def __init__(self, setting, runs, windows, seed):
        self.worlds = setting.worlds(runs, np.random.default_rng([seed, 10]))
        self.weights = np.random.default_rng([seed, 11]).uniform(-1, 1, (runs, setting.num_weights))
        self.setting, self.windows, self.seed = setting, windows, seed
        ends = [x(self.worlds) for x in (uniform, optimal)]
        self.ends = {w: [values(self.worlds, x, w) for x in ends] for w in ("start", "states")}
        self.rows = []

    def deploy(self, learner, spread=1.0, worlds=None):
        rng = np.random.default_rng([self.seed, 12])
        given = self.worlds if worlds is None else worlds
        return deploy(given, learner, spread * self.weights, self.windows, rng)

    def add(self, name, policies, *, spread="", step="", diverged=0):
        for number, policy in zip(self.windows, policies, strict=True):
            row = {"discount": self.setting.discount, "concentration": self.setting.concentration}
            row |= {"learner": name, "spread": spread, "step_size": step, "windows": int(number)}
            for weighting, (floor, ceiling) in self.ends.items():
                reached = values(self.worlds, policy, weighting)
                found = shares(reached, floor, ceiling, np.random.default_rng(self.seed))
                if weighting == "start":
                    row |= {key: round(x, 4) for key, x in found._asdict().items()}
                else:
                    row |= {"of_states": round(found.share, 4)}
            self.rows.append(row | {"diverged": int(np.sum(diverged)), "runs": int(reached.size)})

    def learner(self, name, learner, spread=1.0, worlds=None):
        run = self.deploy(learner, spread, worlds)
        setting = getattr(learner, "setting", None)
        step = learner.step_size if setting is None else setting.step_size
        self.add(name, run.policies, spread=spread, step=step, diverged=run.diverged > 0)
        return run

    def difference(self, name, one, other):
        """Row of the paired difference of two deployments, the second the same for all of the first."""
        for k, number in enumerate(self.windows):
            floor, ceiling = self.ends["start"]
            gain = values(self.worlds, one.policies[k]) - values(self.worlds, other.policies[k])
            found = shares(gain, 0 * floor, ceiling - floor, np.random.default_rng(self.seed))
            row = dict(self.rows[-1]) | {"learner": name, "windows": int(number)}
            row |= {key: round(x, 4) for key, x in found._asdict().items()}
            self.rows.append(row | {"of_states": "", "diverged": 0, "runs": int(gain.size)})


@checked
def deployment_rows(
    runs: int, windows: list[int], seeds: int, steps: int, strict_steps: int, seed: int
) -> list[dict]:
    """Every learner in every kind of world; the blocks are trained at discount 0.5 on dense worlds.

    Args:
        runs: worlds of each kind.
        windows: after how many to score.
        seeds: blocks of each kind, each with its own start and draws.
        steps: of their training, 50 processes side by side.
        strict_steps: of blocks that are shown one window a step, at a constant rate of 1e-3.
        seed: of everything.
    """
    if len(windows) == 0:
        raise ValueError("windows is empty; give at least one")
    base = Experiment()
    untrained, trained = trained_blocks(base, steps, seeds, seed)
    strict = replace(base, batch=1, windows=1000, learning_rate=1e-3, schedule="constant")
    _, half = trained_blocks(strict, strict_steps, seeds, seed + 1)
    kinds = {
        "trained": trained,
        "strict, undertrained": half,
        "untrained": untrained,
        "permuted": (trained[0], permuted(trained[1], np.random.default_rng(seed))),
    }
    rows = []
    for discount in (0.5, 0.9):
        for concentration in (1.0, 0.1, 0.03):
            setting = replace(base, discount=discount, concentration=concentration)
            tuning = _Table(setting, runs, [windows[-1]], seed + 2)
            for step in STEPS:
                tuning.learner("tuning", Teacher(replace(setting, step_size=step)))
            best = max(tuning.rows, key=lambda row: row["share"])["step_size"]
            table = _Table(setting, runs, windows, seed + 3)
            for spread in (1.0, 0.0):
                teacher = table.learner("teacher", Teacher(setting), spread)
                block = table.learner("trained", Blocks(setting, *trained), spread)
                table.difference("trained minus teacher", block, teacher)
                for kind in ("certainty equivalence", "LSTD-Q", "myopic"):
                    policies = [from_data(kind, table.worlds, teacher.history[:w]) for w in windows]
                    table.add(f"{kind}, teacher's windows", policies, spread=spread)
            for name in list(kinds)[1:]:
                table.learner(name, Blocks(setting, *kinds[name]))
            table.learner("teacher, best step", Teacher(replace(setting, step_size=best)))
            table.learner("teacher, best step", Teacher(replace(setting, step_size=best)), 0.0)
            table.learner("teacher, uniform behaviour", Teacher(replace(setting, epsilon=1.0)))
            matched = replace(setting, features="one-hot", step_size=setting.step_size * base.num_weights / 3)
            table.learner("teacher, one-hot", Teacher(matched), 1.0, one_hot(table.worlds))
            table.learner("teacher, one-hot", Teacher(matched), 0.0, one_hot(table.worlds))
            for centred in (False, True):
                name = "expected SARSA, centred" if centred else "expected SARSA"
                table.learner(name, ExpectedSarsa(0.1, setting.epsilon, centred), 0.0)
            for name, policy in (
                ("myopic, told the rewards", myopic(table.worlds)),
                ("best policy that explores", optimal(table.worlds, setting.epsilon)),
            ):
                table.add(name, [policy] * len(windows))
            rows += tuning.rows + table.rows
    return rows
