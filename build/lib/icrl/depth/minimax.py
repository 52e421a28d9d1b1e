"""The least error that networks of a given depth can reach, and the polynomials that reach it.

Focused networks with ``L`` layers output ``p(gamma P) r`` with a polynomial of degree below ``L``. The
formulas stand beside programmes that know nothing of them: linear programmes over the coefficients, given
the matrix of a chain. Ours; see :doc:`/book/depth`.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.optimize import linprog

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import discounted


@checked
def td_polynomial(num_layers: int) -> Float[np.ndarray, " L"]:
    """Coefficients in ``x = gamma P`` of ``L`` layers of TD: the first ``L`` terms of ``1 / (1 - x)``."""
    return np.ones(valid.count("num_layers", num_layers, 1))


@checked
def circle_polynomial(num_layers: int, discount: float) -> Float[np.ndarray, " L"]:
    """The best in the stationary 2-norm over all chains: TD, its last coefficient over ``1 - gamma^2``."""
    coefficients = td_polynomial(num_layers)
    coefficients[-1] /= 1 - valid.discount(discount) ** 2
    return coefficients


@checked
def own_price_polynomial(num_layers: int, discount: float) -> Float[np.ndarray, " L"]:
    """TD started at ``r / (1 - gamma)``: exact for constant rewards, without averaging anything."""
    coefficients = td_polynomial(num_layers)
    coefficients[-1] /= 1 - valid.discount(discount)
    return coefficients


class Best(NamedTuple):
    """``error``, the least there is; ``coefficients (L,)`` of a best polynomial; ``mean_gain``, its ``w``."""

    error: float
    coefficients: Float[np.ndarray, " L"]
    mean_gain: float


@checked
def best_on_chain(
    transition: Float[np.ndarray, "S S"],
    discount: float,
    num_layers: int,
    *,
    rewards: Literal["bounded", "span", "value"],
    averaging: bool = False,
    states: Sequence[int] | None = None,
) -> Best:
    """The smallest worst error of ``p(gamma P) r + w (mu' r) 1`` on one chain, by a linear programme.

    Args:
        transition: ``(S, S)``, one closed class.
        discount: ``gamma``.
        num_layers: ``L``; ``p`` has ``L`` coefficients.
        rewards: over which the error (largest over states) is the worst: ``"bounded"``: ``|r| <= 1``;
            ``"span"``: ``max r - min r <= 1``, any offset; ``"value"``: those with ``|v| <= 1``.
        averaging: whether ``w`` is free, or 0.
        states: where the error counts; all if not given. One is enough where all states are alike.

    Raises:
        ValueError: ``rewards`` is none of the three; no polynomial has a finite error (for
            ``"span"`` it must be exact on constants).
    """
    process = MarkovRewardProcess(transition, np.zeros(len(transition)), discount)
    count, size = valid.count("num_layers", num_layers, 1), process.num_states
    if rewards not in ("bounded", "span", "value"):
        raise ValueError(f"rewards is {rewards!r}; it must be 'bounded', 'span' or 'value'")
    bellman = np.eye(size) - process.discount * process.transition
    powers = [np.eye(size)]
    for _ in range(count - 1):
        powers.append(process.discount * process.transition @ powers[-1])
    if averaging:
        powers.append(np.tile(process.stationary_distribution(), (size, 1)))
    basis, truth = np.stack(powers), discounted(process.transition, process.discount, np.eye(size))
    if rewards == "value":
        basis, truth = basis @ bellman, np.eye(size)
    if states is not None:
        chosen = valid.indices("states", states, size, "states")
        basis, truth = basis[:, chosen], truth[chosen]
    # Unknowns: coefficients, slack for each entry of the error matrix (its size, or its positive part and
    # its negative part), and the error itself. The support of a set of rewards is linear in the slack.
    flat = sparse.csr_array(basis.reshape(len(powers), -1).T)
    (counted, _), entries, both = truth.shape, truth.size, rewards == "span"
    unit, none = sparse.eye_array(entries), sparse.csr_array((entries, entries))
    rows = sparse.kron(sparse.eye_array(counted), np.ones((1, size)))
    nothing, total = sparse.csr_array((counted, len(powers))), -np.ones((counted, 1))
    if both:
        above = [flat, -unit, none, np.zeros((entries, 1))]
        below = [-flat, none, -unit, np.zeros((entries, 1))]
        sums = [[nothing, rows, 0 * rows, total], [nothing, 0 * rows, rows, total]]
    else:
        above, below = [flat, -unit, np.zeros((entries, 1))], [-flat, -unit, np.zeros((entries, 1))]
        sums = [[nothing, rows, total]]
    system = sparse.block_array([above, below, *sums], format="csc")
    bounds = np.concatenate([truth.ravel(), -truth.ravel(), np.zeros(counted * len(sums))])
    cost = np.zeros(system.shape[1])
    cost[-1] = 1
    equal = {}
    if both:  # constants must be met exactly: p(gamma) + w = 1 / (1 - gamma)
        constant = np.zeros((1, system.shape[1]))
        constant[0, : len(powers)] = basis.sum(axis=2).mean(axis=1)
        equal = {"A_eq": constant, "b_eq": truth.sum(axis=1).mean(keepdims=True)}
    signs = [(None, None)] * len(powers) + [(0, None)] * (system.shape[1] - len(powers))
    result = linprog(cost, A_ub=system, b_ub=bounds, bounds=signs, method="highs", **equal)
    if not result.success:
        raise ValueError(f"the linear programme for num_layers {count} was not solved: {result.message}")
    gain = float(result.x[count]) if averaging else 0.0
    return Best(float(result.fun), result.x[:count], gain)


@checked
def best_on_circle(
    discount: float,
    num_layers: int,
    *,
    rewards: Literal["bounded", "value"] = "bounded",
    num_points: int = 240,
    num_sides: int = 64,
) -> Best:
    """Largest distance from ``p(gamma z)`` to ``1 / (1 - gamma z)`` on ``|z| = 1``, made least.

    For ``rewards="value"`` the distance is weighted with ``|1 - gamma z|``. The circle is replaced by points,
    the modulus by a regular polygon: the true optimum over these points lies between ``error`` and
    ``error / cos(pi / num_sides)``. By von Neumann's inequality it is the best error in the stationary
    2-norm over all chains, for rewards (or values) of norm 1.
    """
    if rewards not in ("bounded", "value"):
        raise ValueError(f"rewards is {rewards!r}; it must be 'bounded' or 'value'")
    gamma, count = valid.discount(discount), valid.count("num_layers", num_layers, 1)
    z = np.exp(2j * np.pi * np.arange(valid.count("num_points", num_points, 8)) / num_points)
    basis, truth = (gamma * z[:, None]) ** np.arange(count), 1 / (1 - gamma * z)
    if rewards == "value":
        basis, truth = basis / truth[:, None], np.ones_like(z)
    turns = np.exp(-2j * np.pi * np.arange(valid.count("num_sides", num_sides, 4)) / num_sides)
    rows = (turns[:, None, None] * basis).real.reshape(-1, count)
    right = (turns[:, None] * truth).real.ravel()
    system = np.hstack([rows, -np.ones((len(rows), 1))])
    cost = np.append(np.zeros(count), 1.0)
    result = linprog(cost, A_ub=system, b_ub=right, bounds=[(None, None)] * count + [(0, None)])
    if not result.success:
        raise ValueError(f"the linear programme for num_layers {count} was not solved: {result.message}")
    return Best(float(result.fun), result.x[:count], 0.0)


@checked
def worth_a_layer(discount: float, mixing: float) -> bool:
    """Whether averaging beats one more focused layer in the worst case: ``2 gamma > 1 + gamma^2 rho``.

    Over chains whose Dobrushin coefficient is at most ``rho = mixing``, for rewards of any offset.
    """
    gamma, rho = valid.discount(discount), valid.number("mixing", mixing)
    if not 0 <= rho <= 1:
        raise ValueError(f"mixing is {rho:g}; it must lie in [0, 1]")
    return 2 * gamma > 1 + gamma**2 * rho
