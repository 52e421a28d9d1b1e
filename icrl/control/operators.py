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
from icrl.control.updaters import Updater


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
