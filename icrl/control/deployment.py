"""Frozen blocks, their teacher and fair rivals in unseen worlds with random features: exact scores.

The evaluation that is reported of Liang and Lai (2026), with controls of ours. See
:doc:`/book/teacher-mimicking`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.experiment import Experiment, behaviour, lesson
from icrl.gradient_flow.worlds import Window, Worlds
from icrl.policies import epsilon_greedy
from icrl.reduction import discounted

LARGEST = 1e9
"""A run whose memory holds a larger number (or NaN) has diverged, and keeps the last memory before."""


@runtime_checkable  # the tests check types of arguments
class Learner(Protocol):
    """What is deployed: it acts in all worlds at once, with any leading axes ``*K`` for several of a kind."""

    def start(self, worlds: Worlds, weights: Float[np.ndarray, "B p"]) -> np.ndarray:
        """The memory ``(*K, B, p)`` before the first window, from the weights that all are given."""

    def behaviour(self, worlds: Worlds, memory: np.ndarray) -> np.ndarray:
        """Policies ``(*K, B, S, A)`` that collect the next window."""

    def deployed(self, worlds: Worlds, memory: np.ndarray) -> np.ndarray:
        """Policies that are scored."""

    def update(self, worlds: Worlds, window: Window, memory: np.ndarray) -> np.ndarray:
        """The memory after a window."""


@checked
@dataclass(frozen=True, eq=False)
class Teacher:
    """The algorithm itself: SARSA's or actor-critic's update in features, by plain sums.

    Args:
        setting: method, steps, discount, epsilon of the behaviour.
    """

    setting: Experiment

    def start(self, worlds, weights):
        return weights.copy()

    def behaviour(self, worlds, memory):
        return behaviour(self.setting, worlds, memory)

    def deployed(self, worlds, memory):
        if self.setting.actor:
            return behaviour(self.setting, worlds, memory)
        return epsilon_greedy(worlds.action_values(memory), 0.0)

    def update(self, worlds, window, memory):
        return memory + lesson(self.setting, worlds, window, memory).update


@checked
@dataclass(frozen=True, eq=False)
class Blocks(Teacher):
    """``K`` blocks with frozen weights, in the place of the teacher.

    Args:
        scores: ``(K, m, k)``, ``P12`` of each.
        values: ``(K, q, m)``, the rows of ``V21`` that are read out.
    """

    scores: Float[np.ndarray, "K m k"]
    values: Float[np.ndarray, "K q m"]

    def __post_init__(self):
        (m, k, q), count = self.setting.shape, len(self.scores)
        valid.shaped("scores", self.scores, (count, m, k), "data by parameters, as the setting has them")
        valid.shaped("values", self.values, (count, q, m), "readout by data, as the setting has them")

    def start(self, worlds, weights):
        return np.repeat(weights[None], len(self.scores), axis=0)

    def update(self, worlds, window, memory):
        if not self.setting.actor:
            return memory + self._heard(worlds, window, memory) @ self.values.swapaxes(1, 2)
        given = lesson(self.setting, worlds, window, memory)
        asked = given.column @ self.scores.swapaxes(1, 2)  # (K, B, m)
        heard = given.data @ asked[..., None]  # (K, B, n, 1)
        heard = (given.data.swapaxes(-1, -2) @ heard)[..., 0] / given.data.shape[-2]
        return memory + heard @ self.values.swapaxes(1, 2)

    def _heard(self, worlds, window, memory):
        """``S P12 w`` by the pairs of a world, without a prompt: there are few, for all blocks the same."""
        seeds, batch, n = window.rewards.shape
        table = worlds.features.reshape(batch, -1, worlds.features.shape[-1])
        size, d = table.shape[1:]
        asked = memory @ self.scores[..., 1:].swapaxes(1, 2) + self.scores[..., 0][:, None]  # (K, B, m)
        gamma, blocks = self.setting.discount, np.arange(seeds)[:, None, None]
        each, pairs = np.arange(batch)[:, None], window.states * worlds.reward.shape[-1] + window.actions
        said = [
            table @ x.transpose(1, 2, 0) for x in (asked[..., :d], gamma * asked[..., d:-1])
        ]  # (B, SA, K)
        here, there = pairs[..., :-1], pairs[..., 1:]
        scores = said[0][each, here, blocks] + said[1][each, there, blocks]
        scores = (scores + window.rewards * asked[..., -1:]) / n  # (K, B, n)
        rows = (blocks * batch + each) * size
        heard = [
            np.bincount((rows + x).ravel(), scores.ravel(), seeds * batch * size).reshape(
                seeds, batch, 1, size
            )
            for x in (here, there)
        ]
        heard = [(x @ table)[..., 0, :] for x in heard]
        paid = (scores * window.rewards).sum(-1, keepdims=True)
        return np.concatenate([heard[0], gamma * heard[1], paid], axis=-1)


@checked
@dataclass(frozen=True, eq=False)
class ExpectedSarsa:
    """Expected SARSA in a table, one transition after the other, with rewards minus their running mean.

    Args:
        step_size: in ``(0, 1]``.
        epsilon: of the behaviour.
        centred: whether the mean is taken off; without, this is the usual algorithm.
    """

    step_size: float
    epsilon: float = 0.1
    centred: bool = True

    def __post_init__(self):
        if valid.positive("step_size", self.step_size) > 1:
            raise ValueError(f"step_size is {self.step_size:g}; it must lie in (0, 1]")

    def start(self, worlds, weights):
        return np.zeros((len(worlds), worlds.reward[0].size + 2))  # the table, sum and number of rewards

    def _table(self, worlds, memory):
        return memory[..., :-2].reshape(-1, *worlds.reward.shape[1:])

    def behaviour(self, worlds, memory):
        return epsilon_greedy(self._table(worlds, memory), self.epsilon)

    def deployed(self, worlds, memory):
        return epsilon_greedy(self._table(worlds, memory), 0.0)

    def update(self, worlds, window, memory):
        memory, each = memory.copy(), np.arange(len(memory))
        policies, q = self.behaviour(worlds, memory), self._table(worlds, memory)
        for k in range(window.rewards.shape[-1]):
            s, a, t = window.states[:, k], window.actions[:, k], window.states[:, k + 1]
            memory[:, -2] += window.rewards[:, k]
            memory[:, -1] += 1
            mean = memory[:, -2] / memory[:, -1] if self.centred else 0.0
            following = (policies[each, t] * q[each, t]).sum(-1)
            target = window.rewards[:, k] - mean + worlds.discount * following
            q[each, s, a] += self.step_size * (target - q[each, s, a])
        return np.concatenate([q.reshape(len(q), -1), memory[:, -2:]], axis=1)


class Deployment(NamedTuple):
    """What a loop leaves.

    - ``records``: ``(R,)``, after how many windows;
    - ``policies``: ``(R, *K, B, S, A)``, those that are scored;
    - ``diverged``: ``(*K, B)``, after which window the memory was lost, 0 if never;
    - ``history``: the windows, in order.
    """

    records: Int[np.ndarray, " R"]
    policies: Float[np.ndarray, "R *K B S A"]
    diverged: Int[np.ndarray, "*K B"]
    history: tuple[Window, ...]


@checked
def deploy(
    worlds: Worlds,
    learner: Learner,
    weights: Float[np.ndarray, "B p"],
    records: Sequence[int],
    rng: np.random.Generator,
    *,
    num_transitions: int = 20,
) -> Deployment:
    """Roll out, update, repeat. Learners given a generator in the same state meet the same draws.

    Args:
        worlds: ``B`` unseen ones.
        learner: with frozen weights, or an algorithm.
        weights: the first parameters, the same for all learners that have such.
        records: after how many windows to record, rising; the last is the end.
        rng: draws first states, actions, successors.
        num_transitions: ``n``, in a window.

    Raises:
        ValueError: records that do not rise.
    """
    records = valid.indices("records", records, None, "numbers of windows")
    if records.ndim != 1 or not len(records) or (np.diff(records) <= 0).any():
        raise ValueError(f"records is {records.tolist()}; it must be a rising list of numbers of windows")
    weights = valid.array("weights", weights, 2)
    memory, starts, kept, history = learner.start(worlds, weights), None, [], []
    diverged = np.zeros(memory.shape[:-1], dtype=np.int64)
    for number in range(records[-1] + 1):
        if number in records:
            kept.append(learner.deployed(worlds, memory))
        if number == records[-1]:
            break
        window = worlds.window(learner.behaviour(worlds, memory), num_transitions, rng, starts)
        with np.errstate(over="ignore", invalid="ignore"):
            new = learner.update(worlds, window, memory)
            lost = ~(np.abs(new).max(-1) <= LARGEST)  # true for NaN as well
        diverged[lost & (diverged == 0)] = number + 1
        memory = np.where(diverged[..., None] > 0, memory, new)
        starts = window.states[..., -1]
        history.append(window)
    return Deployment(records, np.array(kept), diverged, tuple(history))


# --------------------------------------------------------------------------------- What the data allow


def _best_values(transition, reward, discount, epsilon=0.0):
    """Optimal action values among policies that explore with ``epsilon``, by value iteration, to 1e-12."""
    q, backups = np.zeros_like(reward), 1 + int(np.ceil(np.log(1e-13) / np.log(max(discount, 1e-3))))
    if backups > 100_000:
        raise ValueError(
            f"discount is {discount}; it must be below 0.9997, else value iteration does not end"
        )
    for _ in range(backups):
        value = (1 - epsilon) * q.max(-1) + epsilon * q.mean(-1)
        q = reward + discount * (transition @ value[..., None, :, None])[..., 0]
    return q


def optimal(worlds: Worlds, epsilon: float = 0.0) -> Float[np.ndarray, "B S A"]:
    """The best policies, or the best of those that explore with ``epsilon``."""
    q = _best_values(worlds.transition, worlds.reward, worlds.discount, epsilon)
    return epsilon_greedy(np.round(q, 10), epsilon)


def myopic(worlds: Worlds) -> Float[np.ndarray, "B S A"]:
    """The policies that maximise the expected next reward, which they are told."""
    return epsilon_greedy(worlds.reward, 0.0)


def uniform(worlds: Worlds) -> Float[np.ndarray, "B S A"]:
    """The policies that choose all actions alike."""
    return np.full(worlds.reward.shape, 1 / worlds.reward.shape[-1])


@checked
def from_data(
    kind: Literal["certainty equivalence", "LSTD-Q", "myopic"], worlds: Worlds, history: Sequence[Window]
) -> Float[np.ndarray, "B S A"]:
    """Policies computed at once from windows that somebody else collected.

    Args:
        kind: ``"certainty equivalence"``, optimal for the mean rewards and frequencies that were seen;
            ``"LSTD-Q"``, greedy in the least-squares values of the behaviour, in the features; ``"myopic"``,
            greedy in the mean rewards. Pairs never seen are given the mean of all rewards, and to the
            first a uniform successor.
        worlds: where the windows are from; of these only sizes, features and discount are used.
        history: windows of one learner, ``(B, n+1)``.
    """
    kinds = "certainty equivalence", "LSTD-Q", "myopic"
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(kinds)}")
    if not len(history) or history[0].states.ndim != 2:
        raise ValueError("history must hold at least one window, each (B, n + 1)")
    batch, size, actions = worlds.reward.shape
    if kind == "LSTD-Q":
        d = worlds.features.shape[-1]
        matrix, vector = np.zeros((batch, d, d)), np.zeros((batch, d))
        for window in history:
            phi = worlds.seen(window)
            matrix += phi[:, :-1].swapaxes(1, 2) @ (phi[:, :-1] - worlds.discount * phi[:, 1:])
            vector += (phi[:, :-1].swapaxes(1, 2) @ window.rewards[..., None])[..., 0]
        matrix += 1e-3 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
        valid.conditioned("history", matrix)
        return epsilon_greedy(worlds.action_values(np.linalg.solve(matrix, vector[..., None])[..., 0]), 0.0)
    counts, paid = np.zeros((batch, size, actions, size)), np.zeros((batch, size, actions))
    each = np.arange(batch)[:, None]
    for window in history:
        s, a = window.states, window.actions[:, :-1]
        np.add.at(counts, (each, s[:, :-1], a, s[:, 1:]), 1)
        np.add.at(paid, (each, s[:, :-1], a), window.rewards)
    seen = counts.sum(-1)
    mean = paid.sum((1, 2)) / seen.sum((1, 2))
    reward = np.where(seen > 0, paid / np.maximum(seen, 1), mean[:, None, None])
    if kind == "myopic":
        return epsilon_greedy(reward, 0.0)
    transition = np.where(seen[..., None] > 0, counts / np.maximum(seen, 1)[..., None], 1 / size)
    return epsilon_greedy(np.round(_best_values(transition, reward, worlds.discount), 10), 0.0)


# ----------------------------------------------------------------------------------------------- Scores


@checked
def values(
    worlds: Worlds, policies: Float[np.ndarray, "*K B S A"], weighting: str = "start"
) -> Float[np.ndarray, "*K B"]:
    """Expected discounted return, by a linear solve: from the start, or as the mean over states.

    Args:
        worlds: ``B`` of them.
        policies: with any leading axes.
        weighting: ``"start"`` or ``"states"``.
    """
    if weighting not in ("start", "states"):
        raise ValueError(f"weighting is {weighting!r}; it must be 'start' or 'states'")
    chain = np.einsum("...bsa,bsat->...bst", policies, worlds.transition, optimize=True)
    reward = (policies * worlds.reward).sum(-1)
    value = discounted(chain, worlds.discount, reward[..., None])[..., 0]
    return value.mean(-1) if weighting == "states" else (worlds.start * value).sum(-1)


class Share(NamedTuple):
    """Share of the gap between uniform (0) and optimal (1): ratio of means over worlds, with an interval."""

    share: float
    low: float
    high: float


@checked
def shares(
    reached: Float[np.ndarray, "*K B"],
    floor: Float[np.ndarray, " B"],
    ceiling: Float[np.ndarray, " B"],
    rng: np.random.Generator,
    *,
    draws: int = 2000,
    level: float = 0.95,
) -> Share:
    """``mean(reached - floor) / mean(ceiling - floor)``; the interval is over worlds and over learners.

    Bootstrap: worlds and learners are drawn with replacement, apart from each other; the ratio is formed
    in each draw. A ratio of means, since a mean of ratios is ruled by the worlds in which little is at stake.

    Args:
        reached: values of ``K`` learners (no axis for one); or differences of two such, with ``floor`` 0.
        floor: values of the uniform policy.
        ceiling: values of the optimal one; ``ceiling - floor`` is the gap.
        rng: source of the draws.
        draws: how many.
        level: of the interval.
    """
    reached = valid.array("reached", np.atleast_2d(reached), 2)
    learners, batch = reached.shape
    floor = valid.shaped("floor", floor, (batch,), "one for each world")
    ceiling = valid.shaped("ceiling", ceiling, (batch,), "one for each world")
    gain, gap = reached - floor, ceiling - floor
    if gap.mean() <= 0:
        raise ValueError(f"ceiling lies {gap.mean():g} above floor on average; it must lie above")
    level, draws = valid.probability("level", level), valid.count("draws", draws, 1)
    rows = rng.multinomial(learners, np.full(learners, 1 / learners), size=draws) / learners
    columns = rng.multinomial(batch, np.full(batch, 1 / batch), size=draws) / batch
    ratio = ((rows @ gain) * columns).sum(1) / (columns @ gap)
    low, high = np.quantile(ratio, [(1 - level) / 2, (1 + level) / 2])
    return Share(float(gain.mean() / gap.mean()), float(low), float(high))
