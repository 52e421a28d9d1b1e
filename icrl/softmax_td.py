"""Weighted softmax TD as plain loops: the algorithm the transformer is compared with.

Nothing here calls attention or torch. A context is one trajectory ``S_0, R_1, S_1, .., R_n, S_n``,
given as ``states`` ``(n+1,)`` and ``rewards`` ``(n,)``; its sources are the ``n`` states that are left,
``S_0 .. S_{n-1}``. Source: Xie et al. (2026), eqs. (8), (9), (20); see
:doc:`/book/weighted-softmax-td`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import _discounted


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def softmax_kernel(
    features: Float[np.ndarray, "S d"], states: Int[np.ndarray, " n_plus_1"]
) -> Float[np.ndarray, "n S"]:
    """The weight ``K(s, S_{k-1})`` that state ``s`` gives to each source, eq. (9) of Xie et al. (2026).

    The score is the inner product of the features. Sources are rows here, so that each column is a
    distribution over sources; in ``K`` the listener comes first.

    Args:
        features: ``(S, d)``, one row for each state.
        states: ``(n+1,)``; the last one is not a source.

    Returns:
        ``(n, S)``.
    """
    features, states, _ = valid.context(features, states)
    kernel = np.empty((len(states) - 1, len(features)))
    for s, x in enumerate(features):
        scores = np.array([x @ features[source] for source in states[:-1]])
        valid.in_range(scores, "features", "a score, an inner product of two rows,")
        weights = np.exp(scores - scores.max())  # the largest score is moved to 0: no overflow
        kernel[:, s] = weights / weights.sum()
    return kernel


def weighted_softmax_td(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    num_layers: int,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> Float[np.ndarray, "L_plus_1 n_plus_1"]:
    """Iterate weighted softmax TD from zero, eqs. (8) and (9) of Xie et al. (2026).

    ``v(S_j) <- v(S_j) + alpha sum_k delta_k K(S_j, S_{k-1})`` with the TD errors
    ``delta_k = R_k + gamma v(S_k) - v(S_{k-1})``, for all columns ``j`` of the trajectory at once.

    Args:
        features: ``(S, d)``, one row for each state.
        states: ``(n+1,)`` states of the trajectory.
        rewards: ``(n,)`` rewards ``R_1 .. R_n``.
        discount: ``gamma`` in ``[0, 1)``.
        num_layers: number of updates, at least 0.
        step_size: ``alpha > 0``, one or one for each update.

    Returns:
        ``(num_layers+1, n+1)``: the value of the state in every column, before the first update
        (zero) and after each.
    """
    return kernel_td(softmax_kernel(features, states), states, rewards, discount, num_layers, step_size)


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def priced_softmax_td(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    num_layers: int,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> Float[np.ndarray, "L_plus_2 n_plus_1"]:
    """Weighted softmax TD, then one update that adds the mean TD error over ``1 - gamma`` to every column.

    Ours; see :doc:`/book/depth`. Arguments as in :func:`weighted_softmax_td`.

    Returns:
        ``(num_layers+2, n+1)``: the rows of :func:`weighted_softmax_td`, and the priced values.
    """
    values = weighted_softmax_td(features, states, rewards, discount, num_layers, step_size)
    v, total, discount = values[-1], 0.0, valid.discount(discount)
    for k, reward in enumerate(np.asarray(rewards, dtype=float)):
        total += reward + discount * v[k + 1] - v[k]
    price = total / len(rewards) / (1 - discount)
    return valid.iterates(np.vstack([values, v + price]), "num_layers")


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def kernel_td(
    kernel: Float[np.ndarray, "n S"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    num_layers: int,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> Float[np.ndarray, "L_plus_1 n_plus_1"]:
    """The same update with any kernel ``(n, S)``: row ``k`` spreads the TD error ``delta_{k+1}`` over states.

    :func:`softmax_kernel` gives weighted softmax TD; ``features[states[:-1]] @ features.T / n`` gives
    linear TD. Other arguments and the result as in :func:`weighted_softmax_td`.
    """
    kernel = valid.array("kernel", kernel, 2)
    states = valid.trajectory(states, kernel.shape[1])
    rewards = valid.rewards_of(states, rewards)
    valid.shaped("kernel", kernel, (len(rewards), kernel.shape[1]), "one row for each transition")
    discount = valid.discount(discount)
    steps = valid.step_sizes(step_size, valid.count("num_layers", num_layers, 0))
    values = np.zeros((len(steps) + 1, len(states)))
    for layer, alpha in enumerate(steps):
        v = values[layer]
        td_errors = rewards + discount * v[1:] - v[:-1]
        for j, state in enumerate(states):
            values[layer + 1, j] = v[j] + alpha * np.sum(td_errors * kernel[:, state])
    return valid.iterates(values, "num_layers")


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def tabular_td(
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    num_states: int,
    discount: float,
    num_iterations: int,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> Float[np.ndarray, "L_plus_1 S"]:
    """Batch tabular TD(0) from zero: each state moves by the mean TD error of its own visits.

    Arguments as in :func:`weighted_softmax_td`. Returns ``(num_iterations+1, num_states)``; a state
    that is never left keeps the value 0.
    """
    states = valid.trajectory(states, valid.count("num_states", num_states, 1))
    rewards = valid.rewards_of(states, rewards)
    discount = valid.discount(discount)
    steps = valid.step_sizes(step_size, valid.count("num_iterations", num_iterations, 0))
    values = np.zeros((len(steps) + 1, num_states))
    for i, alpha in enumerate(steps):
        v = values[i]
        td_errors = rewards + discount * v[states[1:]] - v[states[:-1]]
        values[i + 1] = v
        for s in set(states[:-1].tolist()):
            values[i + 1, s] += alpha * td_errors[states[:-1] == s].mean()
    return valid.iterates(values, "num_iterations")


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def linear_td(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    num_iterations: int,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> Float[np.ndarray, "L_plus_1 d"]:
    """Batch linear TD(0) from zero: ``w <- w + (alpha/n) sum_k delta_k x(S_{k-1})``.

    Arguments as in :func:`weighted_softmax_td`. Returns ``(num_iterations+1, d)`` weights; the values
    are ``features @ w``.
    """
    features, states, rewards = valid.context(features, states, rewards)
    discount = valid.discount(discount)
    steps = valid.step_sizes(step_size, valid.count("num_iterations", num_iterations, 0))
    weights = np.zeros((len(steps) + 1, features.shape[1]))
    for i, alpha in enumerate(steps):
        update = np.zeros(features.shape[1])
        for k, reward in enumerate(rewards):
            x, x_next = features[states[k]], features[states[k + 1]]
            update += (reward + discount * weights[i] @ x_next - weights[i] @ x) * x
        weights[i + 1] = weights[i] + alpha * update / len(rewards)
    return valid.iterates(weights, "num_iterations")


def matching_matrix(
    features: Float[np.ndarray, "S d"], states: Int[np.ndarray, " n_plus_1"]
) -> Float[np.ndarray, "S S"]:
    """``M(s, s')``: the attention that state ``s`` pays to all visits of ``s'``, eq. (20).

    Rows sum to 1; the columns of states that are never left are zero.
    """
    kernel = softmax_kernel(features, states)
    matching = np.zeros((kernel.shape[1], kernel.shape[1]))
    for k, source in enumerate(states[:-1]):
        matching[:, source] += kernel[k]
    return matching


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def empirical_model(
    states: Int[np.ndarray, " n_plus_1"], rewards: Float[np.ndarray, " n"], num_states: int
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S S"]]:
    """Mean reward ``(S,)`` and transition frequencies ``(S, S)`` seen in a context.

    A state that is never left has no data: its reward is 0 and its row of the transition matrix is
    zero, so that rows sum to 1 or to 0. :func:`empirical_process` keeps the visited states only.
    """
    states = valid.trajectory(states, valid.count("num_states", num_states, 1))
    rewards = valid.rewards_of(states, rewards)
    reward, transition = np.zeros(num_states), np.zeros((num_states, num_states))
    for s in set(states[:-1].tolist()):
        visits = np.flatnonzero(states[:-1] == s)
        reward[s] = rewards[visits].mean()
        for k in visits:
            transition[s, states[k + 1]] += 1 / len(visits)
    return valid.in_range(reward, "rewards", "a mean"), transition


def empirical_process(
    states: Int[np.ndarray, " n_plus_1"], rewards: Float[np.ndarray, " n"], discount: float
) -> tuple[Int[np.ndarray, " V"], MarkovRewardProcess]:
    """The visited states and the process that the context itself describes on them.

    Its ``value()`` is the certainty-equivalence value of the context.

    Returns:
        ``visited``: ``(V,)``, the states among ``S_0 .. S_{n-1}`` in ascending order; and the empirical
        process over them, whose state ``i`` is ``visited[i]``.

    Raises:
        ValueError: the context ends in a state it never leaves, so that the chain is not closed.
    """
    states = valid.trajectory(states, None)
    visited, labels = np.unique(states[:-1], return_inverse=True)
    if states[-1] not in visited:
        raise ValueError(
            f"states ends in {states[-1]}, which it never leaves; the empirical chain is closed only "
            "if the last state occurs among the earlier ones"
        )
    last = np.searchsorted(visited, states[-1])
    reward, transition = empirical_model(np.append(labels, last), rewards, len(visited))
    return visited, MarkovRewardProcess(transition, reward, discount)


def iteration_matrix(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    discount: float,
    step_size: float = 1.0,
) -> Float[np.ndarray, "V V"]:
    """``I - alpha M (I - gamma P)`` over the visited states: it multiplies the error at each layer.

    Ours: the operator form of softmax TD in :doc:`/book/weighted-softmax-td`.

    Raises:
        ValueError: as :func:`empirical_process`.
    """
    features, states, _ = valid.context(features, states)
    visited, process = empirical_process(states, np.zeros(len(states) - 1), discount)
    (alpha,) = valid.step_sizes(step_size, 1)
    matching = matching_matrix(features, states)[np.ix_(visited, visited)]
    identity = np.eye(len(visited))
    return identity - alpha * matching @ (identity - process.discount * process.transition)


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def fixed_point(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
) -> Float[np.ndarray, " S"]:
    """Where softmax TD started at zero ends, if it converges; ours, :doc:`/book/weighted-softmax-td`.

    States with equal features are one state to the algorithm. On the visited classes of states the
    limit is the certainty-equivalence value, whatever the features; a state whose features were
    never seen gets the kernel interpolant of those values.

    Returns:
        ``(S,)``.

    Raises:
        ValueError: the context ends in features it never leaves; or some features were never seen and
            those of the visited states are too alike to interpolate between.
    """
    features, states, rewards = valid.context(features, states, rewards)
    distinct, label = np.unique(features, axis=0, return_inverse=True)
    label = label.reshape(-1)  # NumPy 2.0 gives it two axes
    if label[states[-1]] not in label[states[:-1]]:
        raise ValueError(
            f"states ends in {states[-1]}, whose features it never leaves; they must come earlier"
        )
    visited, process = empirical_process(label[states], rewards, discount)
    limit = np.empty(len(distinct))
    value = _discounted(process.transition, process.discount, process.reward[:, None])[:, 0]
    limit[visited] = valid.in_range(value, "rewards", "a value")
    unseen = np.setdiff1d(np.arange(len(distinct)), visited)
    if len(unseen):
        matching = matching_matrix(distinct, label[states])[:, visited]
        valid.conditioned("features of what was visited", matching[visited])  # only those unseen need it
        limit[unseen] = matching[unseen] @ np.linalg.solve(matching[visited], limit[visited])
        valid.in_range(limit, "rewards", "the limit")
    return limit[label]
