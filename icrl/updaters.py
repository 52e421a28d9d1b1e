"""What learns in the in-context control loop: the interface, and tabular baselines.

An updater carries a memory, one row for each run. The loop rolls out ``behaviour(memory)`` and hands the
window to ``update``. The rows of a memory are a table of action values ``(B, S, A)``; the actor-critic adds
its preferences. The transformers are in :mod:`icrl.transformer_updaters`. See :doc:`/book/control`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl.policies import epsilon_greedy
from icrl.rollouts import Rollout

DECIMALS = 10
"""Values that agree to this many decimals are tied, so that rounding cannot break a tie."""


def greedy(q: Float[np.ndarray, "*b S A"], epsilon: float = 0.0) -> Float[np.ndarray, "*b S A"]:
    """The epsilon-greedy policy; actions that agree to ten decimals share the greedy part."""
    return epsilon_greedy(np.round(q, DECIMALS), epsilon)


def slots(keys: Int[np.ndarray, "B N"]) -> Int[np.ndarray, "B N"]:
    """For each entry the position of its first occurrence in its row: a name that is free of the world.

    A window of ``n`` transitions touches at most ``n + 1`` pairs, so their slots fit a block with ``n + 1``
    one-hot features however large the world is.
    """
    keys = valid.indices("keys", keys, None, "keys")
    if keys.ndim != 2:
        raise ValueError(f"keys has shape {keys.shape}; it must be (B, N)")
    return (keys[:, :, None] == keys[:, None, :]).argmax(axis=2)


class Updater(ABC):
    """The interface, filled in for learners whose memory is a table of action values."""

    def start(self, batch: int, num_states: int, num_actions: int) -> Float[np.ndarray, "B *k S A"]:
        """The memory before the first window: zeros."""
        return np.zeros((batch, num_states, num_actions))

    def behaviour(self, memory: Float[np.ndarray, "B S A"], epsilon: float) -> Float[np.ndarray, "B S A"]:
        """The policy that collects the next window."""
        return greedy(memory, epsilon)

    def deployed(self, memory: Float[np.ndarray, "B S A"]) -> Float[np.ndarray, "B S A"]:
        """The policy that is scored: without exploration."""
        return greedy(memory)

    @abstractmethod
    def update(
        self,
        memory: Float[np.ndarray, "B S A"],
        roll: Rollout,
        policies: Float[np.ndarray, "B S A"],
        discount: float,
    ) -> Float[np.ndarray, "B S A"]:
        """The memory after a window that was collected under ``policies``."""


@dataclass(frozen=True, eq=False)
class Tabular(Updater):
    """A table that moves with every transition of the window, one after the other: the usual algorithms.

    Args:
        kind: ``"sarsa"``, ``"expected-sarsa"`` or ``"q-learning"``.
        step_size: ``alpha`` in ``(0, 1]``.
    """

    kind: Literal["sarsa", "expected-sarsa", "q-learning"]
    step_size: float

    def __post_init__(self):
        if self.kind not in ("sarsa", "expected-sarsa", "q-learning"):
            raise ValueError(f"kind is {self.kind!r}; it must be 'sarsa', 'expected-sarsa' or 'q-learning'")
        if valid.positive("step_size", self.step_size) > 1:
            raise ValueError(f"step_size is {self.step_size:g}; it must lie in (0, 1]")

    def update(self, memory, roll, policies, discount):
        q, each = memory.copy(), np.arange(len(memory))
        for k in range(roll.rewards.shape[1]):
            s, a, t, b = roll.states[:, k], roll.actions[:, k], roll.states[:, k + 1], roll.actions[:, k + 1]
            if self.kind == "sarsa":
                following = q[each, t, b]
            elif self.kind == "q-learning":
                following = q[each, t].max(axis=1)
            else:
                following = (policies[each, t] * q[each, t]).sum(axis=1)
            target = roll.rewards[:, k] + discount * following * ~roll.ended[:, k]
            q[each, s, a] += self.step_size * (target - q[each, s, a])
        return q
