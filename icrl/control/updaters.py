"""What learns in the in-context control loop: the interface, frozen transformers, and tabular baselines.

An updater carries a memory, one row for each run. The loop rolls out ``behaviour(memory)`` and hands the
window to ``update``. The rows of a memory are a table of action values ``(B, S, A)``; the actor-critic adds
its preferences. The transformers see one-hot features of pairs. A new learner is a subclass of
:class:`Updater` with an ``update``; it joins the comparison by an entry in ``LEARNERS`` of
:mod:`icrl.control.comparison`, and :func:`updater` by one in ``KINDS``. See :doc:`/book/control`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.policies import epsilon_greedy, softmax_policy
from icrl.rollouts import Rollout
from icrl.softmax_transformer import SoftmaxTransformer, priced_td_weights, softmax_td_prompt

DECIMALS = 10
"""Values that agree to this many decimals are tied, so that rounding cannot break a tie."""


@checked
def greedy(q: Float[np.ndarray, "*b S A"], epsilon: float = 0.0) -> Float[np.ndarray, "*b S A"]:
    """The epsilon-greedy policy; actions that agree to ten decimals share the greedy part."""
    rounded = np.round(q, DECIMALS)
    # Rounding multiplies by 1e10, and values beyond 1e298 would become infinite; they have no decimals.
    return epsilon_greedy(np.where(np.abs(q) < 1e298, rounded, q), epsilon)


@checked
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

    @checked
    def start(self, batch: int, num_states: int, num_actions: int) -> Float[np.ndarray, "B *k S A"]:
        """The memory before the first window: zeros."""
        return np.zeros((batch, num_states, num_actions))

    @checked
    def behaviour(self, memory: Float[np.ndarray, "B S A"], epsilon: float) -> Float[np.ndarray, "B S A"]:
        """The policy that collects the next window."""
        return greedy(memory, epsilon)

    @checked
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


@checked
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


def pairs_of(memory, roll):
    """The table with one axis for pairs, and the pairs of the window, ``(B, S A)`` and ``(B, n+1)``."""
    return memory.reshape(len(memory), -1).copy(), roll.states * memory.shape[-1] + roll.actions


@checked
@dataclass(frozen=True, eq=False)
class LinearSarsa(Updater):
    """The block of Theorem 3.1, its window's pairs in slots.

    One-hot features make this the same as a block with a feature for each pair of the world (proved in
    the chapter), and its size depends on the window alone.

    Args:
        step_size: ``alpha > 0``.
        num_layers: how often the block is applied to the same window (ours; the paper's algorithm has 1).
    """

    step_size: float
    num_layers: int = 1

    def __post_init__(self):
        valid.positive("step_size", self.step_size)
        valid.count("num_layers", self.num_layers, 1)

    def update(self, memory, roll, policies, discount):
        block = LinearTransformer(*_sarsa_weights(roll.states.shape[1], float(self.step_size)))
        return _block_update(block, self.num_layers, memory, roll, discount)


@checked
@dataclass(frozen=True, eq=False)
class FrozenBlock(Updater):
    """A block with given parameters, for instance trained ones.

    Its ``d = (D - 2) / 3`` features are the pairs of the world where there are ``d`` of them. In other worlds
    they are slots of the window, which needs ``n + 1 <= d``.

    Args:
        P: ``(D, D)``.
        V: ``(D, D)``.
        step_size: factor on what the block adds to its weights.
    """

    P: Float[Tensor, "D D"]
    V: Float[Tensor, "D D"]
    step_size: float = 1.0

    def __post_init__(self):
        valid.positive("step_size", self.step_size)
        LinearTransformer(self.P, self.V)  # checks them
        if (len(self.P) - 2) % 3 or len(self.P) < 5:
            raise ValueError(f"P has {len(self.P)} rows; it must have 3 d + 2, for d features")

    def update(self, memory, roll, policies, discount):
        d, pairs = (len(self.P) - 2) // 3, memory[0].size
        if pairs != d < roll.states.shape[1]:
            raise ValueError(
                f"P serves {d} features; the world has {pairs} pairs and the window "
                f"{roll.states.shape[1]} columns; one of the two must fit"
            )
        block = LinearTransformer(self.P, self.step_size * self.V)
        return _block_update(block, 1, memory, roll, discount, d, own=pairs == d)


@lru_cache(maxsize=16)
def _sarsa_weights(num_features, step_size):
    return sarsa_weights(num_features, step_size)


def _in_slots(table, pairs, ended, d=None, own=False):
    """Weights, ``phi``, ``phi_next`` and each column's feature; ``own`` if pairs have their own features."""
    names = pairs if own else slots(pairs)
    one_hot = np.eye(d or pairs.shape[1])
    w = table.copy() if own else np.zeros((len(table), len(one_hot)))  # 0 in slots that nobody has
    np.put_along_axis(w, names, np.take_along_axis(table, pairs, 1), 1)
    return w, one_hot[names[:, :-1]], one_hot[names[:, 1:]] * ~ended[..., None], names


def _block_update(block, num_layers, memory, roll, discount, d=None, own=False):
    """Readouts of a block, written back into the table."""
    table, pairs = pairs_of(memory, roll)
    w, phi, phi_next, names = _in_slots(table, pairs, roll.ended, d, own)
    w, *window = (torch.from_numpy(x) for x in (w, phi, phi_next, roll.rewards))
    for _ in range(num_layers):
        w = block.readout(sarsa_prompt(w, *window, discount)).detach()
    if own:  # a trained block may move any weight
        return w.numpy().reshape(memory.shape)
    np.put_along_axis(table, pairs, np.take_along_axis(w.numpy(), names, 1), 1)
    return table.reshape(memory.shape)


@checked
@dataclass(frozen=True, eq=False)
class ActorCritic(Updater):
    """The block of Theorem 3.3 with a table of state values for the critic and one of preferences.

    The memory is ``(B, S, 1 + A)``: value, preferences. It acts by its own softmax policy, which explores by
    itself, and that policy is also what is scored. The states of the window are in slots.

    Args:
        critic_step: ``alpha > 0``.
        actor_step: ``beta > 0``.
    """

    critic_step: float
    actor_step: float

    def __post_init__(self):
        valid.positive("critic_step", self.critic_step)
        valid.positive("actor_step", self.actor_step)

    @checked
    def start(self, batch, num_states, num_actions):
        return np.zeros((batch, num_states, 1 + num_actions))

    @checked
    def behaviour(self, memory, epsilon):
        return self.deployed(memory)

    @checked
    def deployed(self, memory):
        rows = memory[..., 1:].reshape(-1, memory.shape[-1] - 1)
        one_state = np.eye(rows.shape[1])[None]
        return softmax_policy(rows, one_state).reshape(*memory.shape[:-1], -1)

    def update(self, memory, roll, policies, discount):
        (batch, columns), num_actions = roll.states.shape, memory.shape[-1] - 1
        names, row = slots(roll.states), np.arange(batch)[:, None]
        one_hot = np.eye(columns)[names]
        phi, phi_next = one_hot[:, :-1], one_hot[:, 1:] * ~roll.ended[..., None]
        policy = self.deployed(memory)[row, roll.states[:, :-1]]
        score = np.eye(num_actions)[roll.actions[:, :-1]] - policy  # (B, n, A), in its own state
        scores = phi[..., None] * score[..., None, :]  # (B, n, n+1, A)
        held = np.zeros((batch, columns, 1 + num_actions))
        held[row, names] = memory[row, roll.states]
        k = columns * num_actions
        steps = float(self.critic_step), float(self.actor_step)
        block = LinearTransformer(*_actor_critic_weights(columns, k, *steps), num_parameters=columns + k)
        parameters = held[..., 0], held[..., 1:].reshape(batch, k)
        window = phi, phi_next, roll.rewards, scores.reshape(batch, -1, k)
        new = block.readout(actor_critic_prompt(*parameters, *window, discount)).numpy()
        held[..., 0], held[..., 1:] = new[:, :columns], new[:, columns:].reshape(batch, columns, -1)
        result = memory.copy()
        result[row, roll.states] = held[row, names]
        return result


@lru_cache(maxsize=16)
def _actor_critic_weights(num_features, num_policy_features, critic_step, actor_step):
    return actor_critic_weights(num_features, num_policy_features, critic_step, actor_step)


@checked
@dataclass(frozen=True, eq=False)
class SoftmaxPairs(Updater):
    """The softmax transformer of Theorem 1 on the chain of pairs, started from the table it carries.

    The current memory of a column starts at the value of its pair, the target memory at ``gamma`` x that of
    the next column. Where an episode ended, the target memory is 0 in every layer: the shift of Lemma 1
    with these columns left out. All of it is ours, and so is acting on the result.

    Args:
        num_layers: ``L >= 1``.
        inverse_temperature: ``tau > 0``; features are ``sqrt(tau)`` x one-hot.
        step_size: ``alpha > 0``; the paper has 1.
        queries: which pairs take over their new value: those that a transition left (``"visited"``), or
            all, read from query columns (``"all"``). Pairs that are in no column share one query column
            without features, which is exact, since their scores are all 0.
        priced: whether one more layer averages the TD errors of the window and prices them, as in
            :doc:`/book/depth`.
    """

    num_layers: int = 1
    inverse_temperature: float = 4.0
    step_size: float = 1.0
    queries: Literal["visited", "all"] = "all"
    priced: bool = False

    def __post_init__(self):
        valid.count("num_layers", self.num_layers, 1)
        valid.positive("inverse_temperature", self.inverse_temperature)
        valid.positive("step_size", self.step_size)
        if self.queries not in ("visited", "all"):
            raise ValueError(f"queries is {self.queries!r}; it must be 'visited' or 'all'")

    def update(self, memory, roll, policies, discount):
        table, pairs = pairs_of(memory, roll)
        batch, columns = pairs.shape
        names = slots(pairs)
        features = np.sqrt(self.inverse_temperature) * np.eye(columns + 1, columns)
        features = np.broadcast_to(features, (batch, columns + 1, columns))
        blank = np.full((batch, 1), columns)  # the last row of the features is 0
        prompt = softmax_td_prompt(features, names, roll.rewards, blank)
        current = torch.from_numpy(np.take_along_axis(table, pairs, 1))
        prompt[:, -1, :columns] = current
        ended = torch.from_numpy(roll.ended)
        prompt[:, -2, : columns - 1] = discount * current[:, 1:] * ~ended
        value, score = priced_td_weights(columns, self.num_layers, discount, float(self.step_size))
        for i in range(self.num_layers + self.priced):
            layer = SoftmaxTransformer(1, discount, value[i], score[i])
            prompt = layer(prompt, num_queries=2)
            prompt[:, -2, : columns - 1] *= ~ended
        values = prompt[:, -1].numpy()
        if self.queries == "all":
            table += values[:, -1:]
            np.put_along_axis(table, pairs, values[:, :columns], 1)
        else:
            np.put_along_axis(table, pairs[:, :-1], values[:, : columns - 1], 1)
        return table.reshape(memory.shape)


@checked
def regauge(
    P: Float[Tensor, "D D"], V: Float[Tensor, "D D"], discount: float
) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """The block that is the same on the training tasks, with the part they cannot see set as in the teacher.

    Training on one-hot features, one discount and no ended episode leaves ``V21 + b z'`` and ``P12 + z eta'``
    undetermined, ``z = (gamma 1, -1, 0)``. Of all these blocks this is the one in which the middle columns
    of ``V21`` have mean 0 and the first and the middle rows of ``P12`` have opposite means, as in the
    construction. No training, no further data.

    Args:
        P: ``(D, D)``, trained.
        V: ``(D, D)``, trained.
        discount: the one of the training, in ``(0, 1)``.

    Returns:
        ``P`` and ``V``. See :doc:`/book/control`.
    """
    d, discount = (len(P) - 2) // 3, valid.probability("discount", discount)
    m = 2 * d + 1
    z = P.new_zeros(m)
    z[:d], z[d : 2 * d] = discount, -1
    P, V = P.detach().clone(), V.detach().clone()
    V[m + 1 :, :m] += torch.outer(V[m + 1 :, d : 2 * d].mean(1), z)
    P[:m, m:] += torch.outer(z, (P[:d, m:].mean(0) + P[d : 2 * d, m:].mean(0)) / (1 - discount))
    return P, V


KINDS = {
    "linear": LinearSarsa,
    "actor-critic": ActorCritic,
    "softmax": SoftmaxPairs,
    "block": FrozenBlock,
    "tabular": Tabular,
}


@checked
def updater(name: str, **settings) -> Updater:
    """An updater by name: ``linear``, ``actor-critic``, ``softmax``, ``block`` or ``tabular``.

    Raises:
        ValueError: an unknown name, or settings that the updater does not have.
    """
    if name not in KINDS:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(KINDS)}")
    try:
        return KINDS[name](**settings)
    except TypeError as error:
        raise ValueError(f"name is {name!r}, which does not take the settings {settings}: {error}") from None
