"""Blocks that see features of pairs that need not be one-hot; each run has features of its own.

See :doc:`/book/softmax-control`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.updaters import Updater, _sarsa_weights, greedy
from icrl.linear_transformer import LinearTransformer, sarsa_prompt
from icrl.softmax_transformer import SoftmaxTransformer, priced_td_weights, softmax_td_prompt


@checked
def one_hot_pairs(batch: int, num_states: int, num_actions: int) -> Float[np.ndarray, "B S A d"]:
    """A feature for each pair, ``d = S A``, the same in all runs."""
    size = valid.count("num_states", num_states, 1) * valid.count("num_actions", num_actions, 1)
    table = np.eye(size).reshape(num_states, num_actions, size)
    return np.repeat(table[None], valid.count("batch", batch, 1), 0)


@checked
def random_pairs(
    batch: int, num_states: int, num_actions: int, rng: np.random.Generator
) -> Float[np.ndarray, "B S A d"]:
    """``d = S A`` features, uniform on ``(-1, 1)``, drawn afresh for each run: Liang and Lai (2026), 4.1."""
    return rng.uniform(-1, 1, one_hot_pairs(batch, num_states, num_actions).shape)


@checked
def with_constant(features: Float[np.ndarray, "B S A d"]) -> Float[np.ndarray, "B S A k"]:
    """One more feature, 1 for every pair: a shift of all values becomes one weight."""
    features = valid.array("features", features, 4)
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


def _check(features, batch, num_states, num_actions):
    if features.shape[:3] != (batch, num_states, num_actions):
        raise ValueError(
            f"features has shape {features.shape}; it must begin with {(batch, num_states, num_actions)}, "
            "runs, states and actions"
        )


@checked
@dataclass(frozen=True, eq=False)
class LinearFeatures(Updater):
    """The block of Theorem 3.1 on any features. The memory is its weights, ``(B, 1, d)``.

    Args:
        features: ``(B, S, A, d)``.
        step_size: ``alpha > 0``.
    """

    features: Float[np.ndarray, "B S A d"]
    step_size: float

    def __post_init__(self):
        valid.array("features", self.features, 4)
        valid.positive("step_size", self.step_size)

    def start(self, batch, num_states, num_actions):
        _check(self.features, batch, num_states, num_actions)
        return np.zeros((batch, 1, self.features.shape[-1]))

    def table(self, memory: Float[np.ndarray, "B 1 d"]) -> Float[np.ndarray, "B S A"]:
        """The action values of the weights."""
        return np.einsum("bsad,bd->bsa", self.features, memory[:, 0])

    def behaviour(self, memory, epsilon):
        return greedy(self.table(memory), epsilon)

    def deployed(self, memory):
        return greedy(self.table(memory))

    def update(self, memory, roll, policies, discount):
        block = LinearTransformer(*_sarsa_weights(self.features.shape[-1], float(self.step_size)))
        given = memory[:, 0], *roll.window(self.features), roll.rewards
        prompt = sarsa_prompt(*(torch.from_numpy(x) for x in given), discount)
        return block.readout(prompt).detach().numpy()[:, None]


@checked
@dataclass(frozen=True, eq=False)
class SoftmaxFeatures(Updater):
    """The softmax transformer of Theorem 1 on pairs with any features, every pair read from its own query.

    :class:`icrl.control.updaters.SoftmaxPairs` is the same for one-hot features, and cheaper there.

    Args:
        features: ``(B, S, A, d)``; their inner products are the scores.
        num_layers: ``L >= 1``.
        step_size: ``alpha > 0``.
        priced: whether one more layer averages the TD errors of the window and prices them, as
            :func:`icrl.softmax_transformer.priced_td_weights` does.
    """

    features: Float[np.ndarray, "B S A d"]
    num_layers: int = 1
    step_size: float = 1.0
    priced: bool = False

    def __post_init__(self):
        valid.array("features", self.features, 4)
        valid.count("num_layers", self.num_layers, 1)
        valid.positive("step_size", self.step_size)

    def start(self, batch, num_states, num_actions):
        _check(self.features, batch, num_states, num_actions)
        return super().start(batch, num_states, num_actions)

    def update(self, memory, roll, policies, discount):
        (batch, states, actions), d = memory.shape, self.features.shape[-1]
        pairs, size = roll.states * actions + roll.actions, states * actions
        everyone = np.broadcast_to(np.arange(size), (batch, size))
        prompt = softmax_td_prompt(self.features.reshape(batch, size, d), pairs, roll.rewards, everyone)
        n, ended = roll.rewards.shape[1], torch.from_numpy(roll.ended)
        columns = np.concatenate([pairs, everyone], axis=1)
        prompt[:, -1] = torch.from_numpy(np.take_along_axis(memory.reshape(batch, size), columns, 1))
        prompt[:, -2, :n] = discount * prompt[:, -1, 1 : n + 1] * ~ended
        value, score = priced_td_weights(d, self.num_layers, discount, float(self.step_size))
        for layer in range(self.num_layers + self.priced):
            step = SoftmaxTransformer(1, discount, value[layer], score[layer])
            prompt = step(prompt, num_queries=1 + size)
            prompt[:, -2, :n] *= ~ended  # nothing is bootstrapped across an end
        return prompt[:, -1, n + 1 :].numpy().reshape(memory.shape).copy()
