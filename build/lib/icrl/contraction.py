"""How fast softmax TD converges, how close it gets to the truth, and a certificate of both.

Source: Xie et al. (2026), eqs. (20), (22), Assumption 5.1 and Theorem 2; everything with explicit constants
is ours. See :doc:`/book/contraction`. Attention is computed from visit counts here, so that contexts of any
length are cheap; :mod:`icrl.softmax_td` has the plain loops to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import discounted


def population_matching(
    features: Float[np.ndarray, "S d"], distribution: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S S"]:
    """``M(s, s')``: the attention of ``s`` to ``s'`` if states occur with these frequencies, eq. (22).

    With the stationary distribution it is the paper's population operator; with ``n_s / n`` it is the
    matching matrix of a context, eq. (20). Source: Xie et al. (2026); see :doc:`/book/contraction`.

    Args:
        features: ``(S, d)``, one row for each state.
        distribution: ``(S,)``, sums to 1; a state of probability 0 is listened to by nobody.

    Returns:
        ``(S, S)``; rows sum to 1.

    Raises:
        ValueError: shapes disagree, an entry is not finite, or ``distribution`` is none.
    """
    features = valid.array("features", features, 2)
    distribution = valid.shaped("distribution", distribution, (len(features),), "one entry for each state")
    distribution = valid.stochastic("distribution", distribution)
    with np.errstate(divide="ignore"):  # log(0) = -inf is meant: weight 0
        scores = valid.scores(features) + np.log(distribution)
    with np.errstate(over="ignore"):  # a difference beyond the range of float64 is a weight of 0
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@checked(finite=False)
def population_iteration_matrix(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess, step_size: float = 1.0
) -> Float[np.ndarray, "S S"]:
    """``I - alpha M (I - gamma P)`` with the population operator: what an endless context iterates (ours).

    Raises:
        ValueError: ``features`` has not one row for each state, ``step_size`` is not positive, or the
            stationary distribution is not unique.
    """
    (alpha,) = valid.step_sizes(step_size, 1)
    matching = population_matching(features, process.stationary_distribution())
    identity = np.eye(process.num_states)
    return identity - alpha * matching @ (identity - process.discount * process.transition)


@checked(finite=False)
def assumption_margin(features: Float[np.ndarray, "S d"], process: MarkovRewardProcess) -> float:
    """``min_s M(s, s) - (1 + gamma) / 2``: Assumption 5.1 of Xie et al. (2026) holds iff this is positive.

    Every ``C`` up to this margin, and below ``(1 - gamma) / 2``, then serves in the assumption.
    """
    matching = population_matching(features, process.stationary_distribution())
    return float(matching.diagonal().min() - (1 + process.discount) / 2)


@checked
def hoeffding_radius(
    visits: Real[np.ndarray, " V"], *, num_states: int, num_transitions: int, span: float, delta: float
) -> Float[np.ndarray, " V"]:
    """How far the mean of ``v`` over seen successors may be from ``(P v)(s)``, for all visited ``s`` at once.

    ``span sqrt(log(2 |S| n / delta) / (2 n_s))``; fails with probability at most ``delta`` although the
    numbers of visits are random (ours, :doc:`/book/contraction`).
    """
    return span * np.sqrt(np.log(2 * num_states * num_transitions / delta) / (2 * np.asarray(visits)))


@dataclass(frozen=True, eq=False)
class Certificate:
    """What a context proves about the estimates that softmax TD draws from it.

    With probability at least ``1 - delta`` over the context, ``|v_L(s) - v(s)| <= bound`` at every
    visited state ``s``.

    Attributes:
        rate: ``||I - alpha M (I - gamma P)||`` (largest row sum): no error grows by more in a layer.
        initial: ``||v_0 - vhat||``, with the start ``v_0 = 0`` of the transformer.
        floor: largest ``radius``.
        bound: ``rate**num_layers * initial + floor``.
        distance: ``||v_L - vhat||`` itself, which the context also determines; never above
            ``rate**num_layers * initial``, so ``distance + floor`` is a bound too, and the better one.
        visited: ``(V,)``, the states that the certificate speaks of, in ascending order.
        visits: ``(V,)``, how often each was left.
        unvisited: states about which it says nothing.
        estimate: ``(V,)``, certainty-equivalence value ``vhat``, the limit of many layers.
        radius: ``(V,)``, ``|vhat(s) - v(s)| <= radius(s)`` for all at once, with probability ``1 - delta``.
        remarks: in words, what limits the certificate, state by state.
    """

    rate: float
    initial: float
    floor: float
    bound: float
    distance: float
    visited: Int[np.ndarray, " V"]
    visits: Int[np.ndarray, " V"]
    unvisited: Int[np.ndarray, " U"]
    estimate: Float[np.ndarray, " V"]
    radius: Float[np.ndarray, " V"]
    remarks: tuple[str, ...]

    @property
    def interval(self) -> Float[np.ndarray, "V 2"]:
        """The true values lie between these ``(V, 2)``, all at once with probability ``1 - delta``."""
        return np.column_stack([self.estimate - self.radius, self.estimate + self.radius])


def certificate(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    reward_range: Sequence[float | int] | Float[np.ndarray, "2"],
    num_layers: int,
    delta: float,
    step_size: float = 1.0,
) -> Certificate:
    """Bound the error of softmax TD from its context; ours, :doc:`/book/contraction`.

    Needs no knowledge of the chain but the number of its states and the range of its rewards: no mixing,
    no ergodicity, any first state.

    Args:
        features: ``(S, d)``, one row for each state there is, visited or not.
        states: ``(n+1,)`` states of one trajectory; the last must occur among the earlier ones.
        rewards: ``(n,)``, each a function of the state that is left.
        discount: ``gamma`` in ``[0, 1)``.
        reward_range: lowest and highest reward that *any* state has, seen or not.
        num_layers: ``L >= 0``.
        delta: probability of failure allowed, in ``(0, 1)``.
        step_size: ``alpha > 0``.

    Raises:
        ValueError: the range is inverted or does not contain the rewards, two visits of a state have
            different rewards, ``delta`` lies outside ``(0, 1)``, the trajectory ends in a state it
            never leaves, or arguments are malformed.
    """
    features, states, rewards = valid.context(features, states, rewards)
    discount, delta = valid.discount(discount), valid.probability("delta", delta)
    num_layers = valid.count("num_layers", num_layers, 0)
    (alpha,) = valid.step_sizes(step_size, 1)
    span = valid.width(reward_range, rewards) / (1 - discount)
    num_states, n = len(features), len(rewards)

    counts = np.bincount(states[:-1], minlength=num_states)
    visited, unvisited = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    if counts[states[-1]] == 0:
        raise ValueError(
            f"states ends in {states[-1]}, which it never leaves: nothing is known of what follows, and the "
            "states before it inherit that; the last state must occur among the earlier ones"
        )
    visits = counts[visited]
    reward = valid.reward_of_state(states[:-1], rewards, num_states)[visited]
    transition = np.zeros((num_states, num_states))
    np.add.at(transition, (states[:-1], states[1:]), 1)
    transition = transition[np.ix_(visited, visited)] / visits[:, None]
    bellman = np.eye(len(visited)) - discount * transition
    matrix = np.eye(len(visited)) - alpha * population_matching(features[visited], visits / n) @ bellman

    noise = hoeffding_radius(visits, num_states=num_states, num_transitions=n, span=span, delta=delta)
    estimate, spread = discounted(transition, discount, np.column_stack([reward, noise])).T
    # Both values lie in the range of rewards over 1 - gamma, so no error can exceed its width.
    radius = np.minimum(discount * spread, span)
    rate, initial = float(np.abs(matrix).sum(axis=1).max()), float(np.abs(estimate).max())
    with np.errstate(over="ignore", invalid="ignore"):  # a divergent run has the bound inf
        decayed = float(np.float64(rate) ** num_layers * initial) if initial else 0.0
        distance = float(np.abs(np.linalg.matrix_power(matrix, num_layers) @ estimate).max())
    remarks = [
        f"state {s} is not certified: it is never left, so its reward and successors are unknown"
        for s in unvisited
    ]
    if rate >= 1:
        remarks.append(
            f"rate is {rate:.3g}, not below 1: rate**num_layers does not shrink; see distance for what the "
            f"{num_layers} layers really left"
        )
    floor, distance = float(radius.max()), distance if np.isfinite(distance) else np.inf
    states = visited, visits, unvisited, estimate, radius
    return Certificate(rate, initial, floor, decayed + floor, distance, *states, tuple(remarks))
