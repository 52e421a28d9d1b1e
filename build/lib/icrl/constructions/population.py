"""Bounds for one who knows the chain: Theorem 2 with constants, and the law of nearly equal features (ours).

See :doc:`/book/contraction`. What one context proves is in :mod:`icrl.contraction`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.contraction import assumption_margin
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import deviation, discounted


@checked(finite=False)
def poisson_solution(process: MarkovRewardProcess) -> Float[np.ndarray, "S S"]:
    """Column ``s`` solves ``(I - P) g = 1_s - mu(s)``: what turns visit counts into martingales (ours).

    Raises:
        ValueError: the stationary distribution is not unique.
    """
    return deviation(process.transition, process.stationary_distribution())


@dataclass(frozen=True)
class PopulationBound:
    """Theorem 2 of Xie et al. (2026) with constants of ours, at one length of the context.

    With probability at least ``1 - delta``, in every layer ``l`` and from every start ``v_0``, the error is
    at most ``rate**l ||v_0 - v|| + floor``.

    Attributes:
        rate: factor of the error in each layer, from above towards ``1 - 2 C`` with the margin ``C`` of
            Assumption 5.1 as the context grows; ``inf`` where nothing is proved.
        floor: what remains after many layers; ``inf`` where the rate is not below 1.
        required: length from which on the rate is at most ``1 - C``, the rate of the paper.
    """

    rate: float
    floor: float
    required: int


@checked(finite=False)
def population_bound(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess, num_transitions: int, delta: float
) -> PopulationBound:
    """Theorem 2 of Xie et al. (2026) with all constants; ours, :doc:`/book/contraction`.

    Args:
        features: ``(S, d)``.
        process: the chain itself: this is a bound for one who knows it, not for one who has a context.
        num_transitions: ``n``, length of the context.
        delta: probability of failure allowed, in ``(0, 1)``.

    Raises:
        ValueError: Assumption 5.1 does not hold, ``delta`` lies outside ``(0, 1)``, or the stationary
            distribution is not unique.
    """
    n = valid.count("num_transitions", num_transitions, 1)
    delta = valid.probability("delta", delta)
    margin, gamma = assumption_margin(features, process), process.discount
    if margin <= 0:
        raise ValueError(
            f"features give Assumption 5.1 the margin {margin:.3g}; the bound needs a positive one"
        )
    mu = process.stationary_distribution()
    journey = float((np.ptp(poisson_solution(process), axis=0) / mu).max())  # longest expected one, `H`
    spread = np.sqrt(np.log(4 * len(mu) / delta) / 2)
    attention = (1 + gamma) / 2 + margin  # what each state pays to itself, at least: `m` in the book
    away, tilt = 1 - attention, 2 * attention - 1
    # How far, relatively, visit counts may be from n mu; beyond `allowed` the rate exceeds 1 - C.
    off = journey * (1 + spread * np.sqrt(n)) / n
    allowed = margin / (4 * attention * away + margin * tilt)
    # The n from which on journey (1 + spread sqrt(n)) <= allowed n: a quadratic in sqrt(n).
    b = journey * spread
    root = (b + np.sqrt(b**2 + 4 * allowed * journey)) / (2 * allowed)
    required = max(1, int(np.ceil(root**2)))
    rate = gamma + 2 * away * (1 + off) / (1 - off * tilt) if off < 1 else np.inf
    if rate >= 1:
        return PopulationBound(float(rate), np.inf, required)
    noise = gamma * np.ptp(process.value()) * spread / ((1 - off) * mu.min() * np.sqrt(n))
    return PopulationBound(float(rate), float(noise / (1 - rate)), required)


@checked(finite=False)
@np.errstate(over="ignore", invalid="ignore")  # refused by name
def slow_eigenvalue(
    features: Float[np.ndarray, "S d"],
    visits: Real[np.ndarray, " S"],
    process: MarkovRewardProcess,
    pair: tuple[int, int],
    direction: Float[np.ndarray, " d"],
) -> float:
    """``c`` of the law of nearly equal features; ours, :doc:`/book/contraction`.

    Let state ``t`` have the features of ``s`` plus ``eps * direction``. Then one eigenvalue of
    ``M (I - gamma P)`` is ``c eps**2 + O(eps**3)``, the others stay away from 0.

    Args:
        features: ``(S, d)``; the row of ``t`` is not read, the others are distinct.
        visits: ``(S,)``, how often each state is a source, or its share.
        process: the chain; for a context the one that :func:`icrl.softmax_td.empirical_process` returns.
        pair: ``s`` and ``t``.
        direction: ``(d,)``, not zero.

    Raises:
        ValueError: shapes disagree, ``s`` equals ``t``, a state is never a source, or ``direction`` is zero.
    """
    features, direction = valid.array("features", features, 2), valid.array("direction", direction, 1)
    visits = valid.shaped("visits", visits, (process.num_states,), "one entry for each state")
    valid.shaped("features", features, (process.num_states, features.shape[1]), "one row for each state")
    valid.shaped("direction", direction, (features.shape[1],), "one entry for each feature")
    s, t = valid.indices("pair", pair, process.num_states, "states").tolist()
    if s == t or visits.min() <= 0 or not direction.any():
        raise ValueError(
            f"pair is {pair}, visits {visits.tolist()}, direction {direction.tolist()}; the pair must be two "
            "states, every state visited, the direction not zero"
        )
    others = np.delete(features, t, axis=0)
    # In the space of the kernel: the derivative at x(s), and what is left of it beyond the other states.
    # Features moved by -x(s) and the kernel brought to a unit diagonal, so that large norms do no harm.
    moved = others - features[s]
    squares = np.sum(moved**2, axis=1)
    gram = np.exp(moved @ moved.T - (squares[:, None] + squares) / 2)
    slope = np.exp(-squares / 2) * (moved @ direction)
    valid.conditioned("features", gram)
    left = direction @ direction - slope @ np.linalg.solve(gram, slope)
    weights = np.exp(moved @ features[s]) * np.delete(visits, t)  # of what s hears, divided by its own
    normaliser = weights.sum() + visits[t]
    w = np.zeros(len(visits))
    w[s], w[t] = 1, -1
    between = discounted(process.transition, process.discount, (w / visits)[:, None])[:, 0]
    return float(valid.in_range(left / (normaliser * (w @ between)), "features", "the eigenvalue"))
