"""The gradient of the transformer at the construction, in closed form: endless contexts, many layers.

Ours; it sharpens what Theorem 3 of Xie et al. (2026) needs. Nothing here calls the transformer or takes a
derivative by machine. Shared weights, temporal shift. See :doc:`/book/global-minimizer`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.contraction import population_matching
from icrl.mrp import MarkovRewardProcess
from icrl.neu.loss import TaskDistribution
from icrl.reduction import discounted
from icrl.softmax_td import empirical_model, empirical_process, matching_matrix


class LimitGradient(NamedTuple):
    """What an endless context gives after ``L`` layers.

    - ``values``: ``(S,)``, the value of each state;
    - ``td_errors``: ``(S,)``, ``r + gamma P v - v`` at these values;
    - ``gradients``: ``(S, 2, D, D)``, of the output at a query in each state, by ``V`` and by ``A``.
    """

    values: Float[np.ndarray, " S"]
    td_errors: Float[np.ndarray, " S"]
    gradients: Float[np.ndarray, "S k D D"]


@checked
def limit_gradient(
    features: Float[np.ndarray, "S d"],
    process: MarkovRewardProcess,
    num_layers: int,
    *,
    step_size: float = 1.0,
    inverse_temperature: float = 1.0,
) -> LimitGradient:
    """Limit of output and gradient as ``n`` grows, at ``V = step_size V*``, ``A = inverse_temperature A*``.

    The tangents of all columns in one state average to a vector over states, for each entry of ``V`` and
    ``A``; only the query, whose reward and target entries are 0, needs one of its own.

    Args:
        features: ``(S, d)``.
        process: with one stationary distribution.
        num_layers: ``L >= 0``.
        step_size: ``alpha > 0``.
        inverse_temperature: ``tau > 0``.

    See :doc:`/book/global-minimizer`.
    """
    law = process.stationary_distribution()
    found = _limits(features, [process], [law], num_layers, step_size, inverse_temperature)
    return LimitGradient(*(x[0] for x in found))


def _limits(features, processes, stationary, num_layers, step_size, inverse_temperature):
    """The fields of :class:`LimitGradient` for processes of one size side by side, along a first axis."""
    num_layers = valid.count("num_layers", num_layers, 0)
    alpha = valid.positive("step_size", step_size)
    tau = valid.positive("inverse_temperature", inverse_temperature)
    matching = np.stack([population_matching(np.sqrt(tau) * features, mu) for mu in stationary])
    gamma = processes[0].discount
    transition, reward = np.stack([p.transition for p in processes]), np.stack([p.reward for p in processes])
    batch, (size, d) = len(processes), features.shape
    t, c = d + 1, d + 2  # rows of the target and of the current memory; the reward has row d
    bellman = np.eye(size) - gamma * transition
    decay = alpha * matching @ bellman
    values, (tokens, query) = np.zeros((batch, size)), np.zeros((2, batch, size, d + 3))
    tokens[..., :d] = query[..., :d] = features
    tokens[..., d] = reward
    by_value, by_score = np.zeros((2, batch, size, d + 3, d + 3))
    column = np.zeros_like(by_score)  # as by_score, at a column that is not the query
    moved = np.zeros_like(tokens)  # what a reward or feature row of V has written so far

    def over(matrix, f):
        """For each state a sum over states, of whatever ``f`` holds."""
        return (matrix @ f.reshape(batch, size, -1)).reshape(f.shape)

    def covariance(f, weights):
        """Under the attention of each state: of ``f(s')``, ``(B, S, k)``, and ``weights(s')``."""
        return over(matching, f * weights[..., None]) - over(matching, f) * over(matching, weights)[..., None]

    for _ in range(num_layers):
        following = over(transition, values)
        tokens[..., t], tokens[..., c], query[..., c] = gamma * following, values, values
        td_errors = reward + gamma * following - values
        along = covariance(tokens, td_errors)
        along[..., t] += gamma**2 * over(matching, over(transition, values**2) - following**2)
        forced, heard = np.zeros_like(by_value), over(matching, tokens)
        forced[..., :d, :] = covariance(moved, td_errors)[..., None, :] * features[:, :, None]
        forced[..., :d, :] += along[..., :d, None] * moved[..., None, :]
        forced[..., :d, :] *= alpha * tau
        forced[..., d, :] = alpha * over(matching, moved)
        forced[..., c, :] = heard
        by_value = by_value - over(decay, by_value) + forced
        # A query listens to the same columns as its state, but its own entries are multiplied in.
        common = over(decay, column)
        by_score = by_score - common + alpha * along[..., :, None] * query[..., None, :]
        column = column - common + alpha * along[..., :, None] * tokens[..., None, :]
        moved = moved + heard
        values = values + alpha * over(matching, td_errors)
    return values, reward - over(bellman, values), np.stack([by_value, by_score], 2)


@checked
def limit_update(
    tasks: TaskDistribution, num_layers: int, *, step_size: float = 1.0, inverse_temperature: float = 1.0
) -> Float[np.ndarray, "2 D D"]:
    """Limit of the expected update as ``n`` grows; its norm is the NEU loss of an endless context.

    Arguments as in :func:`limit_gradient`.
    """
    of_all = tasks.features, tasks.processes, tasks.stationary
    _, td_errors, gradients = _limits(*of_all, num_layers, step_size, inverse_temperature)
    return np.tensordot(tasks.stationary * td_errors, gradients, 2) / len(tasks.processes)


class Asymptotics(NamedTuple):
    """How the gradient on one context behaves as the layers grow; each ``(D,)``, one entry a column.

    - ``current``: limit of the current-memory row of ``V``;
    - ``reward``: growth per layer of the reward row of ``V``;
    - ``target_limit``: limit of the target row of ``A``, in the feature and current columns (else 0);
    - ``target_slope``: growth per layer of that row, in the reward and target columns (else 0).
    """

    current: Float[np.ndarray, " D"]
    reward: Float[np.ndarray, " D"]
    target_limit: Float[np.ndarray, " D"]
    target_slope: Float[np.ndarray, " D"]


@checked
def asymptotics(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    step_size: float = 1.0,
) -> Asymptotics:
    """The gradient at the construction on one context as ``L`` grows, if the iteration converges there.

    Args:
        features: ``(S, d)``.
        states: ``(n+1,)``; the last must occur among the earlier ones.
        rewards: ``(n,)``, each a function of the state that is left.
        discount: ``gamma`` in ``[0, 1)``.
        step_size: ``alpha > 0``.

    Raises:
        ValueError: the context ends in a state that it never leaves, two visits of a state have different
            rewards, the iteration does not converge, or arguments are malformed.

    See :doc:`/book/global-minimizer`.
    """
    features, states, rewards = valid.context(features, states, rewards)
    alpha = valid.positive("step_size", step_size)
    valid.reward_of_state(states[:-1], rewards, len(features))
    visited, process = empirical_process(states, rewards, discount)
    here = np.searchsorted(visited, states)
    matching = matching_matrix(features, states)[np.ix_(visited, visited)]
    bellman = np.eye(len(visited)) - process.discount * process.transition
    radius = np.abs(np.linalg.eigvals(np.eye(len(visited)) - alpha * matching @ bellman)).max()
    if radius >= 1:
        raise ValueError(
            f"states give the iteration the spectral radius {radius:.4g}; it must be below 1, or there "
            "is no limit"
        )
    values, following = process.value(), process.transition @ process.value()
    x, gamma = features[visited], process.discount
    tokens = np.column_stack([x, process.reward, gamma * following, values])
    variance = process.transition @ values**2 - following**2
    heard = gamma**2 * matching @ variance
    still = heard[:, None] * np.column_stack([x, values])
    target_limit = np.zeros(tokens.shape[1])
    valid.conditioned("features", matching @ bellman)
    target_limit[[*range(x.shape[1]), -1]] = np.linalg.solve(matching @ bellman, still)[here[-1]]
    # A column's reward and target entries, 0 in the query column; what each layer adds to its tangent.
    added = np.zeros((len(states), 2))
    added[:-1, 0], added[:-1, 1] = rewards, gamma * values[here[1:]]
    added *= alpha * heard[here][:, None]
    uneven = gamma * added[1:] - added[:-1]
    means = [empirical_model(here, column, len(visited))[0] for column in uneven.T]
    target_slope = np.zeros(tokens.shape[1])
    right = np.column_stack([np.stack(means, 1), tokens, matching @ tokens])
    means, ahead, heard_ahead = np.split(
        discounted(process.transition, gamma, right)[here[-1]], [2, 2 + tokens.shape[1]]
    )
    target_slope[-3:-1] = means
    return Asymptotics(
        ahead / alpha,
        heard_ahead,
        target_limit,
        target_slope,
    )
