"""When softmax TD diverges: stability of its population operator.

With attention ``M`` and a chain ``P``, softmax TD multiplies its error by ``I - alpha B`` in each layer,
``B = M (I - gamma P)``. All of it is ours; see :doc:`/book/divergence`. Proofs by computer are in
:mod:`icrl.divergence.exact_chains`, the search for unstable chains in :mod:`icrl.divergence.search`.
"""

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.contraction import population_iteration_matrix, population_matching
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import stationary


@checked
def population_operator(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> Float[np.ndarray, "S S"]:
    """``B = M (I - gamma P)``, population kernel: small steps converge iff ``Re lambda > 0`` throughout."""
    return np.eye(process.num_states) - population_iteration_matrix(features, process)


@checked
def unnormalised_operator(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> Float[np.ndarray, "S S"]:
    """``G D_mu (I - gamma P)``: the exponential kernel without the normalisation of the softmax."""
    features = valid.array("features", features, 2)
    with np.errstate(over="ignore"):  # refused in the next line
        kernel = valid.in_range(np.exp(valid.scores(features)), "features", "an exponential kernel")
    kernel = kernel * process.stationary_distribution()
    return kernel @ (np.eye(process.num_states) - process.discount * process.transition)


@checked
def largest_step_size(operator: Float[np.ndarray, "S S"]) -> float:
    """The step sizes for which ``v <- v + alpha (b - B v)`` converges from every start are those below this.

    ``min 2 Re(lambda) / |lambda|^2`` over the eigenvalues, and 0 if one has no positive real part: then no
    step size converges.
    """
    operator = valid.array("operator", operator, 2)
    if operator.shape[0] != operator.shape[1]:
        raise ValueError(f"operator has shape {operator.shape}; it must be square")
    eigenvalues = np.linalg.eigvals(operator)
    if eigenvalues.real.min() <= 0:
        return 0.0
    return float((2 * eigenvalues.real / np.abs(eigenvalues) ** 2).min())


@checked(finite=False)
def critical_discount(features: Float[np.ndarray, "3 d"], process: MarkovRewardProcess) -> float:
    """Three states: small steps converge iff ``gamma`` is below this, ``(tr M - 1) / (tr(MP) - 1)``.

    Infinite where ``tr(MP) <= 1``; from 1 on, every discount converges. The process's own discount plays no
    role.

    Raises:
        ValueError: the process has another number of states, its stationary distribution has a zero, or two
            states have equal features: their difference then never decays.
    """
    if process.num_states != 3:
        raise ValueError(f"process has {process.num_states} states; the criterion is for 3")
    distribution = process.stationary_distribution()
    if distribution.min() <= 0:
        raise ValueError(f"process has the stationary distribution {distribution}; it must be positive")
    matching = population_matching(features, distribution)
    if len(np.unique(np.asarray(features, dtype=np.float64), axis=0)) < 3:
        raise ValueError(f"features has equal rows, {np.asarray(features).tolist()}; they must be distinct")
    returns = np.trace(matching @ process.transition) - 1
    return float((np.trace(matching) - 1) / returns) if returns > 0 else np.inf


@checked
def normaliser_condition(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> tuple[float, float]:
    """Two numbers; if either is at most 1 and the features are distinct, small steps converge.

    Returns:
        ``gamma^2 max Z / min Z``, with the softmax's normalisers ``Z(s)``; and the sharper
        ``gamma^2 max_t (nu P)(t) / nu(t)`` with ``nu = mu Z``, never above the first.

    Raises:
        ValueError: the stationary distribution is not unique, or has a zero.
    """
    features = valid.array("features", features, 2)
    valid.shaped("features", features, (process.num_states, features.shape[1]), "one row for each state")
    distribution = process.stationary_distribution()
    if distribution.min() <= 0:
        raise ValueError(f"process has the stationary distribution {distribution}; it must be positive")
    seen = measure(features[None], process.transition[None], np.array([process.discount]))
    return float(seen["coarse"][0]), float(seen["sharp"][0])


@checked(finite=False)
def safe_spread(discount: float) -> float:
    """``2 arcosh(1 / gamma)``: on-policy small steps converge if ``max|x| * max|x - x'|`` is at most this.

    Read off from the distinct features alone, for every chain; infinite at discount 0.
    """
    discount = valid.discount(discount)
    return float(2 * np.arccosh(1 / discount)) if discount else np.inf


@checked
def one_hot_radius(
    distribution: Float[np.ndarray, " S"], inverse_temperature: float, discount: float
) -> float:
    """One-hot features ``sqrt(tau) e_s``, step size 1: no on-policy chain has a larger spectral radius.

    Args:
        distribution: ``(S,)`` stationary distribution, or shares of the visits of a closed context.
        inverse_temperature: ``tau > 0``.
        discount: ``gamma``.

    Returns:
        ``1 - (1 - gamma) E mu_min / (1 + E mu_min)`` with ``E = exp(tau) - 1``, below 1.
    """
    distribution = valid.stochastic("distribution", valid.array("distribution", distribution, 1))
    rare = np.expm1(valid.positive("inverse_temperature", inverse_temperature)) * distribution.min()
    return float(1 - (1 - valid.discount(discount)) * rare / (1 + rare))


@checked
def measure(
    features: Float[np.ndarray, "B S d"],
    transition: Float[np.ndarray, "B S S"],
    discount: Float[np.ndarray, " B"],
) -> dict[str, Float[np.ndarray, " B"]]:
    """A batch of irreducible chains at once: what the conditions say, and what is true.

    Returns:
        ``coarse``, ``sharp``: as :func:`normaliser_condition`. ``attention``:
        ``min_s M(s, s) / ((1 + gamma) / 2)``; Assumption 5.1 of Xie et al. (2026) asks that it exceed 1.
        ``margin``: smallest real part of an eigenvalue of ``B``.
    """
    size, mu = transition.shape[-1], stationary(transition)
    features = valid.array("features", features, 3)
    with np.errstate(over="ignore", invalid="ignore"):  # refused in the next line
        scores = valid.in_range(features @ features.swapaxes(-1, -2), "features", "a score")
    highest = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - highest) * mu[:, None, :]
    totals = weights.sum(axis=-1, keepdims=True)
    matching = weights / totals
    log_z = (highest + np.log(totals))[..., 0]
    nu = mu * np.exp(log_z - log_z.max(axis=-1, keepdims=True))
    inflow = (nu[:, None, :] @ transition)[:, 0] / nu
    operator = matching @ (np.eye(size) - discount[:, None, None] * transition)
    diagonal = np.diagonal(matching, axis1=-2, axis2=-1)
    return {
        "coarse": discount**2 * np.exp(np.ptp(log_z, axis=-1)),
        "sharp": discount**2 * inflow.max(axis=-1),
        "attention": diagonal.min(axis=-1) / ((1 + discount) / 2),
        "margin": np.linalg.eigvals(operator).real.min(axis=-1),
    }
