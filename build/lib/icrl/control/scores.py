"""What policies are worth: exact scores, reference policies, intervals. See :doc:`/book/control`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.updaters import greedy
from icrl.mdp import MarkovDecisionProcess
from icrl.reduction import discounted


class Scores(NamedTuple):
    """What policies are worth, exactly; each ``(*K, B)``.

    - ``value``: expected discounted return from the start distribution;
    - ``share``: of the gap between the uniform policy (0) and the optimum (1), how much is closed;
    - ``success``: probability to reach a goal within the horizon; NaN where nothing ends an episode;
    - ``episode_return``: expected sum of rewards within the horizon, not discounted; likewise.
    """

    value: Float[np.ndarray, "*K B"]
    share: Float[np.ndarray, "*K B"]
    success: Float[np.ndarray, "*K B"]
    episode_return: Float[np.ndarray, "*K B"]


@checked(finite=False)
def score(
    processes: Sequence[MarkovDecisionProcess], policies: Float[np.ndarray, "*K B S A"], horizon: int = 200
) -> Scores:
    """Score policies by linear solves and by pushing the start distribution forward: no rollouts.

    Args:
        processes: ``B``, as in :func:`icrl.control.loop.control`.
        policies: one for each process, with any leading axes.
        horizon: steps in an episode.

    Raises:
        ValueError: policies of another shape, or a world in which the uniform policy is optimal: there is
            no gap to close.
    """
    common_discount(processes)
    shape = len(processes), *processes[0].reward.shape
    policies = valid.stochastic("policies", policies)
    if policies.shape[-3:] != shape:
        raise ValueError(f"policies has shape {policies.shape}; it must end in {shape}, as the processes")
    horizon = valid.count("horizon", horizon, 1)
    world = _World.of(processes)
    flat = policies.reshape(-1, *shape)
    rows = [world.score(each, horizon) for each in flat]
    value, success, total = (np.array(x).reshape(policies.shape[:-2]) for x in zip(*rows, strict=True))
    low, high = (world.score(each, 1)[0] for each in (uniform(processes), optimal(processes)))
    gap = high - low
    if (gap < 1e-9 * np.maximum(1, np.abs(high))).any():
        raise ValueError(
            f"processes[{int(gap.argmin())}] has the gap {gap.min():g} between uniform and optimal; it must "
            "be positive"
        )
    return Scores(value, (value - low) / gap, success, total)


MANY_STATES = 200
"""From so many states on, policies of one world are scored by sparse algebra, in Taxi 25 times faster."""


class _World(NamedTuple):
    """The arrays of the processes, held once for each that differs."""

    kind: np.ndarray  # (B,)
    transition: np.ndarray  # (T, S, A, S)
    reward: np.ndarray  # (T, S, A)
    start: np.ndarray  # (T, S)
    goal: np.ndarray  # (T, S)
    ends: bool
    discount: float

    @classmethod
    def of(cls, processes):
        distinct = list({id(p): p for p in processes}.values())
        order = {id(p): i for i, p in enumerate(distinct)}
        kind = np.array([order[id(p)] for p in processes])
        rows = [(p.transition, p.reward, p.start, goals(p)) for p in distinct]
        arrays = (np.stack(x) for x in zip(*rows, strict=True))
        ends = all(p.terminal.any() for p in distinct)
        return cls(kind, *arrays, ends, processes[0].discount)

    def score(self, policy, horizon):
        """Value, probability of success and expected return of one policy for each process."""
        one = len(self.transition) == 1
        if one and self.transition.shape[1] >= MANY_STATES:
            rows = [self._score_sparse(each, horizon) for each in policy]
            return tuple(np.array(x) for x in zip(*rows, strict=True))
        transition = self.transition[0] if one else self.transition[self.kind]
        axes = "bsa,sat->bst" if one else "bsa,bsat->bst"
        chain = np.einsum(axes, policy, transition, optimize=True)
        reward = (policy * self.reward[self.kind]).sum(axis=2)
        start = self.start[self.kind]
        value = discounted(chain, self.discount, reward[..., None])[..., 0]
        value = (start * value).sum(axis=1)
        if not self.ends:
            return value, np.full(len(value), np.nan), np.full(len(value), np.nan)
        total, state = np.zeros(len(value)), start[:, None]
        for _ in range(horizon):
            total += (state[:, 0] * reward).sum(axis=1)
            state = state @ chain
        return value, (state[:, 0] * self.goal[self.kind]).sum(axis=1), total

    def _score_sparse(self, policy, horizon):
        """The same for one policy of the only world."""
        size = self.transition.shape[1]
        s, a, t = self.transition[0].nonzero()
        chain = sparse.csr_array((policy[s, a] * self.transition[0][s, a, t], (s, t)), shape=(size, size))
        reward, start = (policy * self.reward[0]).sum(axis=1), self.start[0]
        system = sparse.eye_array(size, format="csc") - self.discount * chain.tocsc()
        value = start @ sparse.linalg.spsolve(system, reward)
        if not self.ends:
            return value, np.nan, np.nan
        total, state, backwards = 0.0, start, chain.T.tocsr()
        for _ in range(horizon):
            total += state @ reward
            state = backwards @ state
        return value, state @ self.goal[0], total


@checked
def goals(process: MarkovDecisionProcess) -> Bool[np.ndarray, " S"]:
    """The terminal states in which the best ending is paid: the goal, not the holes of FrozenLake.

    Raises:
        ValueError: no ending is better than to go on for ever at the best price: a lake without a goal.
    """
    paid = process.outcome_reward if process.outcome_reward is not None else process.reward[..., None]
    arrival = np.where((process.transition > 0) & ~process.terminal[:, None, None], paid, -np.inf)
    arrival = np.where(process.terminal, arrival.max(axis=(0, 1)), -np.inf)
    going_on = np.where((process.transition > 0) & ~process.terminal, paid, -np.inf)[~process.terminal].max()
    if process.terminal.any() and not arrival.max() > going_on / (1 - process.discount):
        raise ValueError(
            f"process pays {arrival.max():g} for its best ending and {going_on:g} a step where none comes; "
            "without a goal there is no success"
        )
    return process.terminal & (arrival == arrival.max())


@checked(finite=False)
def first_reward_time(process: MarkovDecisionProcess, policy: Float[np.ndarray, "S A"]) -> float:
    """Mean number of steps until the first reward that is not 0, episodes starting anew where they end.

    Until then all learners here hold zeros, so this is how long the uniform policy searches. Infinite if the
    policy may never be rewarded.
    """
    policy = valid.shaped("policy", policy, process.reward.shape, "one probability for each pair")
    policy = valid.stochastic("policy", policy)
    paid = process.outcome_reward
    paid = np.broadcast_to(process.reward[..., None] if paid is None else paid, process.transition.shape)
    silent = np.einsum("sa,sat->st", policy, process.transition * (paid == 0))
    silent += silent[:, process.terminal].sum(axis=1)[:, None] * process.start
    silent[:, process.terminal] = 0
    paying = np.einsum("sa,sat->s", policy, process.transition * (paid != 0))
    reached = _closure(process.start > 0, silent)
    if not _closure(paying > 0, silent.T)[reached].all():
        return np.inf
    silent, paying, start = silent[np.ix_(reached, reached)], paying[reached], process.start[reached]
    # States are eliminated one by one without a subtraction, so that times beyond 1e16 come out right too.
    steps, leave = np.ones(len(start)), np.zeros(len(start))
    for k in range(len(start) - 1, -1, -1):
        leave[k] = paying[k] + silent[k, :k].sum()
        share = silent[:k, k] / leave[k]
        silent[:k, :k] += np.outer(share, silent[k, :k])
        paying[:k] += share * paying[k]
        steps[:k] += share * steps[k]
    times = np.zeros(len(start))
    for k in range(len(start)):
        times[k] = (steps[k] + silent[k, :k] @ times[:k]) / leave[k]
    return float(start @ times)


def _closure(states, matrix):
    """The states that are reached from these in any number of steps."""
    while True:
        further = states | (matrix[states] > 0).any(axis=0)
        if (further == states).all():
            return states
        states = further


@checked
def uniform(processes: Sequence[MarkovDecisionProcess]) -> Float[np.ndarray, "B S A"]:
    """The policy that chooses all actions alike."""
    return greedy(np.zeros((len(processes), *processes[0].reward.shape)))


@checked
def myopic(processes: Sequence[MarkovDecisionProcess]) -> Float[np.ndarray, "B S A"]:
    """The policy that maximises the expected reward of the next step, which it is told."""
    return greedy(np.stack([process.reward for process in processes]))


@checked
def optimal(processes: Sequence[MarkovDecisionProcess]) -> Float[np.ndarray, "B S A"]:
    """The greedy policy of the exact optimum; equally good actions share."""
    solved = {id(process): process for process in processes}
    solved = {key: process.optimal_q() for key, process in solved.items()}
    return greedy(np.stack([solved[id(process)] for process in processes]))


@checked
def interval(
    values: Float[np.ndarray, "*K B"], rng: np.random.Generator, *, level: float = 0.95, draws: int = 2000
) -> Float[np.ndarray, "*K 2"]:
    """Bootstrap interval of the mean over the last axis, the runs; percentile method.

    Args:
        values: one for each independent run.
        rng: source of randomness.
        level: of confidence, in ``(0, 1)``.
        draws: how many bootstrap samples.
    """
    values = valid.array("values", values)
    level, runs = valid.probability("level", level), values.shape[-1]
    chosen = rng.multinomial(runs, np.full(runs, 1 / runs), size=valid.count("draws", draws, 1))
    means = values @ (chosen / runs).T
    return np.moveaxis(np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=-1), 0, -1)


@checked
def common_discount(processes: Sequence[MarkovDecisionProcess]) -> float:
    """The discount of processes that fit together: one size, one discount."""
    if not len(processes):
        raise ValueError("processes is empty; give at least one")
    shapes, discounts = {p.reward.shape for p in processes}, {p.discount for p in processes}
    if len(shapes) > 1 or len(discounts) > 1:
        raise ValueError(
            f"processes have the sizes (S, A) {sorted(shapes)} and the discounts {sorted(discounts)}; both "
            "must be the same"
        )
    return discounts.pop()
