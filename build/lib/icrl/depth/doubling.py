"""A softmax network outside the class: it writes features, and so doubles the length of its paths.

On a chain whose steps are certain, ``L`` layers then see ``2^(L-1)`` steps ahead. Path doubling by attention
is known (Liu et al. 2023); its form here is ours. See :doc:`/book/depth`.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked


@checked
def doubling_prompt(
    states: Int[np.ndarray, " n_plus_1"], rewards: Float[np.ndarray, " n"], num_states: int
) -> Float[Tensor, "D n_plus_1"]:
    """Rows: own state, next state, pointer (both one-hot; the pointer starts at 0), reward, two memories.

    The query column, which has no successor yet, holds zeros in the second block. ``D = 3 S + 3``.
    """
    states = valid.trajectory(states, valid.count("num_states", num_states, 1))
    rewards = valid.rewards_of(states, rewards)
    one_hot = np.eye(num_states)[states].T
    prompt = np.zeros((3 * num_states + 3, len(states)))
    prompt[:num_states] = one_hot
    prompt[num_states : 2 * num_states, :-1] = one_hot[:, 1:]
    prompt[-3, :-1] = rewards
    return torch.from_numpy(prompt)


@checked
def doubling_weights(
    num_states: int, num_layers: int, discount: float, *, sharpness: float = 1000.0
) -> tuple[Float[Tensor, "L D D"], Float[Tensor, "L D D"]]:
    """``V`` and ``A`` for :class:`icrl.softmax_transformer.SoftmaxTransformer`.

    Layer 1 attends to visits of the own state and copies reward and next state, the first into the memory,
    the second into the pointer. Each later layer attends to visits of the state that the pointer names,
    adds ``gamma^(steps so far)`` times what is remembered there, and moves the pointer on to where that state
    points: ``y(source) - x(source)`` is added, and ``x(source)`` is the own old pointer.

    Args:
        num_states: ``S``.
        num_layers: ``L >= 1``.
        discount: ``gamma``.
        sharpness: factor of the scores; from 750 on, weights of other states are 0 in float64.
    """
    size, count = valid.count("num_states", num_states, 1), valid.count("num_layers", num_layers, 1)
    gamma, sharpness = valid.discount(discount), valid.positive("sharpness", sharpness)
    own, after, pointer = (range(k * size, (k + 1) * size) for k in range(3))
    value = torch.zeros(count, 3 * size + 3, 3 * size + 3, dtype=torch.float64)
    score = torch.zeros_like(value)
    score[0, own, own] = sharpness
    value[0, pointer, after] = 1
    value[0, -1, -3] = 1
    score[1:, own, pointer] = sharpness  # row: the source's state, column: the query's pointer
    value[1:, pointer, pointer] = 1
    value[1:, pointer, own] = -1
    value[1:, -1, -1] = torch.tensor([gamma ** (2**k) for k in range(count - 1)], dtype=torch.float64)
    return value, score
