"""Chebyshev's semi-iteration by one more memory row, which remembers the value before the last.

Golub and Varga (1961); as a layer of attention: ours. See :doc:`/book/depth`.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.softmax_transformer import softmax_td_prompt


@checked
def chebyshev_steps(num_layers: int, discount: float) -> Float[np.ndarray, " L"]:
    """Steps of Chebyshev's iteration, one for each layer.

    ``omega_1 = 1``, ``omega_2 = 2 / (2 - gamma^2)``, then ``omega_{l+1} = 1 / (1 - gamma^2 omega_l / 4)``.
    """
    gamma, omega = valid.discount(discount), np.ones(valid.count("num_layers", num_layers, 1))
    for layer in range(1, len(omega)):
        omega[layer] = 2 / (2 - gamma**2) if layer == 1 else 1 / (1 - gamma**2 * omega[layer - 1] / 4)
    return omega


@checked
def momentum_prompt(
    features: Float[np.ndarray, "S d"], states: Int[np.ndarray, " n_plus_1"], rewards: Float[np.ndarray, " n"]
) -> Float[Tensor, "D n_plus_1"]:
    """The prompt of eq. (10) of Xie et al. (2026) with one more row of zeros, the third from below.

    Rows: features, reward, previous value, target, current: ``D = d + 4``.
    """
    prompt = softmax_td_prompt(features, states, rewards)
    return torch.cat([prompt[:-2], torch.zeros_like(prompt[:1]), prompt[-2:]])


@checked
def momentum_weights(
    num_features: int, num_layers: int, discount: float
) -> tuple[Float[Tensor, "L D D"], Float[Tensor, "D D"]]:
    """``V`` and ``A`` of Chebyshev's semi-iteration for :class:`icrl.softmax_transformer.SoftmaxTransformer`.

    With reward ``R``, previous, target and current value ``p``, ``t``, ``v``, the heads add
    ``omega (R + t - v) + (omega - 1)(v - p)`` to ``v`` and ``v - p`` to ``p``. Exact where a state
    hears itself only: ``v - p`` should be the own one, and attention brings that of whom it hears.
    """
    d, omega = valid.count("num_features", num_features, 1), chebyshev_steps(num_layers, discount)
    value = torch.zeros(len(omega), d + 4, d + 4, dtype=torch.float64)
    step = torch.from_numpy(omega)[:, None]
    value[:, -1, -4:] = step * torch.tensor([1.0, 0, 1, -1]) + (step - 1) * torch.tensor([0.0, -1, 0, 1])
    value[:, -3, -3], value[:, -3, -1] = -1, 1
    score = torch.zeros(d + 4, d + 4, dtype=torch.float64)
    score.diagonal()[:d] = 1
    return value, score


@checked
def chebyshev_error(
    transition: Float[np.ndarray, "S S"], error: Float[np.ndarray, " S"], discount: float, num_layers: int
) -> Float[np.ndarray, "L_plus_1 S"]:
    """``T_l(P) e / T_l(1 / gamma)``: what Chebyshev's polynomials leave of an error, layer by layer."""
    matrix, gamma = _square(transition), valid.discount(discount)
    error = valid.shaped("error", error, (len(matrix),), "one entry for each state")
    if gamma == 0:
        raise ValueError("discount is 0; one layer is then exact, and 1 / discount is needed")
    rows, scale = [error], [1.0]
    for layer in range(valid.count("num_layers", num_layers, 0)):
        if layer == 0:
            rows.append(matrix @ rows[0])
            scale.append(1 / gamma)
        else:
            rows.append(2 * matrix @ rows[-1] - rows[-2])
            scale.append(2 / gamma * scale[-1] - scale[-2])
    return np.array(rows) / np.array(scale)[:, None]


@checked
def momentum_converges(transition: Float[np.ndarray, "S S"], discount: float) -> bool:
    """Whether ``(Re)^2 + (Im)^2 / (1 - gamma^2) < 1 / gamma^2`` for every eigenvalue: the error goes to 0."""
    gamma = valid.discount(discount)
    eigenvalues = np.linalg.eigvals(_square(transition))
    size = eigenvalues.real**2 + eigenvalues.imag**2 / (1 - gamma**2)
    return bool((gamma**2 * size < 1).all())


def _square(transition):
    matrix = valid.array("transition", transition, 2)
    return valid.shaped("transition", matrix, (len(matrix), len(matrix)), "as many columns as rows")
