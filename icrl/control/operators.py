"""The updates of the blocks without their prompts, for long runs. That they are the same is a claim.

See :doc:`/book/softmax-control`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.contraction import population_matching
from icrl.control.features import LinearFeatures, _check
from icrl.control.updaters import SoftmaxPairs, Updater, pairs_of


@checked
@dataclass(frozen=True, eq=False)
class LinearOperator(LinearFeatures):
    """Batch SARSA on any features: :class:`icrl.control.features.LinearFeatures` in NumPy, repeated.

    Args:
        num_layers: how often the block is applied to the same window.
    """

    num_layers: int = 1

    def __post_init__(self):
        super().__post_init__()
        valid.count("num_layers", self.num_layers, 1)

    def update(self, memory, roll, policies, discount):
        phi, phi_next = roll.window(self.features)
        slope, w = discount * phi_next - phi, memory[:, 0]
        for _ in range(self.num_layers):
            errors = roll.rewards + np.einsum("bnd,bd->bn", slope, w)
            w = w + self.step_size * np.einsum("bn,bnd->bd", errors, phi) / roll.rewards.shape[1]
        return w[:, None]


@checked
@dataclass(frozen=True, eq=False)
class SoftmaxOperator(Updater):
    """Weighted softmax TD on a table of pairs, warm-started: the softmax transformer in NumPy.

    Args:
        features: ``(B, S, A, d)``; their inner products are the scores.
        num_layers: ``L >= 1``.
        step_size: ``alpha > 0``.
        queries: which pairs take over their new value, as in :class:`icrl.control.updaters.SoftmaxPairs`.
    """

    features: Float[np.ndarray, "B S A d"]
    num_layers: int = 1
    step_size: float = 1.0
    queries: Literal["visited", "all"] = "all"

    def __post_init__(self):
        valid.array("features", self.features, 4)
        valid.count("num_layers", self.num_layers, 1)
        valid.positive("step_size", self.step_size)
        if self.queries not in ("visited", "all"):
            raise ValueError(f"queries is {self.queries!r}; it must be 'visited' or 'all'")

    def start(self, batch, num_states, num_actions):
        _check(self.features, batch, num_states, num_actions)
        return super().start(batch, num_states, num_actions)

    @cached_property
    def scores(self) -> Float[np.ndarray, "B N N"]:
        """Inner products of all pairs."""
        flat = self.features.reshape(len(self.features), -1, self.features.shape[-1])
        return flat @ flat.swapaxes(1, 2)

    def update(self, memory, roll, policies, discount):
        batch, n = roll.rewards.shape
        pairs = roll.states * memory.shape[2] + roll.actions
        weights = np.take_along_axis(self.scores, pairs[:, None, :n], 2)  # listener, source
        weights = np.exp(weights - weights.max(axis=2, keepdims=True))
        weights *= self.step_size / weights.sum(axis=2, keepdims=True)
        table, alive = memory.reshape(batch, -1), discount * ~roll.ended
        for _ in range(self.num_layers):
            column = np.take_along_axis(table, pairs, 1)
            errors = roll.rewards + alive * column[:, 1:] - column[:, :-1]
            table = table + (weights @ errors[..., None])[..., 0]
        if self.queries == "visited":
            kept = memory.reshape(batch, -1).copy()
            left = pairs[:, :n]
            np.put_along_axis(kept, left, np.take_along_axis(table, left, 1), 1)
            table = kept
        return table.reshape(memory.shape)


@checked
@dataclass(frozen=True, eq=False)
class WindowSarsa(Updater):
    """Batch SARSA on a table, the update of :class:`icrl.control.updaters.LinearSarsa` without its block.

    Args:
        step_size: ``alpha > 0``.
        num_layers: how often the window is used.
    """

    step_size: float
    num_layers: int = 1

    def __post_init__(self):
        valid.positive("step_size", self.step_size)
        valid.count("num_layers", self.num_layers, 1)

    def update(self, memory, roll, policies, discount):
        table, pairs = pairs_of(memory, roll)
        left, step = (np.arange(len(table))[:, None], pairs[:, :-1]), self.step_size / roll.rewards.shape[1]
        for _ in range(self.num_layers):
            column = np.take_along_axis(table, pairs, 1)
            errors = roll.rewards + discount * ~roll.ended * column[:, 1:] - column[:, :-1]
            np.add.at(table, left, step * errors)
        return table.reshape(memory.shape)


@checked
@dataclass(frozen=True, eq=False)
class WindowSoftmax(Updater):
    """The update of :class:`icrl.control.updaters.SoftmaxPairs` without its prompt: weights by equality.

    Args:
        num_layers: ``L >= 1``.
        inverse_temperature: ``tau > 0``.
        step_size: ``alpha > 0``.
        queries: ``"visited"`` or ``"all"``.
    """

    num_layers: int
    inverse_temperature: float
    step_size: float
    queries: Literal["visited", "all"] = "all"

    __post_init__ = SoftmaxPairs.__post_init__

    def update(self, memory, roll, policies, discount):
        table, pairs = pairs_of(memory, roll)
        (batch, n), alive = roll.rewards.shape, discount * ~roll.ended
        equal = pairs[:, :, None] == pairs[:, None, :n]  # listener, source
        weights = np.where(equal, 1.0, np.exp(-self.inverse_temperature))
        weights *= self.step_size / weights.sum(axis=2, keepdims=True)
        column, elsewhere = np.take_along_axis(table, pairs, 1), np.zeros((batch, 1))
        for _ in range(self.num_layers):
            errors = roll.rewards + alive * column[:, 1:] - column[:, :-1]
            elsewhere += self.step_size * errors.mean(axis=1, keepdims=True)
            column = column + (weights @ errors[..., None])[..., 0]
        if self.queries == "all":
            table += elsewhere
            np.put_along_axis(table, pairs, column, 1)
        else:
            np.put_along_axis(table, pairs[:, :n], column[:, :n], 1)
        return table.reshape(memory.shape)


class Beside(Updater):
    """Several updaters of one kind, each with its own part of the batch: one rollout serves them all."""

    def __init__(self, updaters):
        self.updaters = updaters

    def _each(self, method, arrays, *rest):
        parts = zip(*(np.split(x, len(self.updaters)) for x in arrays), strict=True)
        found = [getattr(u, method)(*x, *rest) for u, x in zip(self.updaters, parts, strict=True)]
        return np.concatenate(found)

    def start(self, batch, num_states, num_actions):
        size = batch // len(self.updaters)
        return np.concatenate([u.start(size, num_states, num_actions) for u in self.updaters])

    def behaviour(self, memory, epsilon):
        return self._each("behaviour", [memory], epsilon)

    def deployed(self, memory):
        return self._each("deployed", [memory])

    def update(self, memory, roll, policies, discount):
        rolls = [type(roll)(*x) for x in zip(*(np.split(y, len(self.updaters)) for y in roll), strict=True)]
        parts = zip(np.split(memory, len(rolls)), rolls, np.split(policies, len(rolls)), strict=True)
        found = [u.update(*x, discount) for u, x in zip(self.updaters, parts, strict=True)]
        return np.concatenate(found)


@checked
def pass_operator(
    features: Float[np.ndarray, "N d"],
    pairs: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    step_size: float = 1.0,
) -> tuple[Float[np.ndarray, "N N"], Float[np.ndarray, " N"]]:
    """One layer over a window, all pairs queried, no ends: it maps ``q`` to ``E q + b``.

    ``E = I - alpha M (I - gamma P)`` and ``b = alpha M r`` with the frequencies of the window, as in
    :func:`icrl.softmax_td.iteration_matrix`, but for any window: pairs that it never leaves listen too.

    Returns:
        ``E`` and ``b``. Rows of ``E`` sum to ``1 - alpha (1 - gamma)``.
    """
    features, pairs, rewards = valid.context(features, pairs, rewards)
    discount, step = valid.discount(discount), valid.positive("step_size", step_size)
    size, left = len(features), pairs[:-1]
    visits = np.bincount(left, minlength=size)
    model = np.zeros((size, size + 1))
    np.add.at(model, (left, pairs[1:]), 1)
    np.add.at(model, (left, np.full(len(left), size)), rewards)
    model /= np.maximum(visits, 1)[:, None]  # pairs never left keep zeros; nobody listens to them
    matching = step * population_matching(features, visits / len(left))
    known = np.diag((visits > 0).astype(float))
    return np.eye(size) - matching @ (known - discount * model[:, :-1]), matching @ model[:, -1]
