"""Depth and context length together: the expected update at the construction, exactly, for long contexts.

On two states a context is known by how often each pair of states follows each other, and by its ends; there
are about ``n^2`` such tables where there are ``2^n`` contexts. So the expectation is a sum over tables, for
every entry of the weights whose tangent the pairs decide. Ours. See :doc:`/book/global-minimizer`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.autograd.functional import jacobian

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess
from icrl.reduction import deviation

LARGEST_LENGTH = 512
"""Context length above which the sum over tables is refused."""


@checked
def pair_entries(num_features: int) -> Bool[np.ndarray, "2 D D"]:
    """Reward and current row of ``V`` and feature block of ``A``: what pairs of states decide."""
    d = valid.count("num_features", num_features, 1)
    chosen = np.zeros((2, d + 3, d + 3), dtype=bool)
    chosen[0, [d, d + 2]] = chosen[1, :d, :d] = True
    return chosen


class CountMoments(NamedTuple):
    """Of the updates of all windows, at each of ``K`` depths.

    - ``update``: ``(K, 2, D, D)``, the expected update; 0 outside ``pair_entries``;
    - ``td_spread``: ``(K,)``, root of the summed variances of a window's update on the construction's own
      entries, in the form with TD errors;
    - ``error_spread``: ``(K,)``, the same in the form with true errors, whose mean is the same.
    """

    update: Float[np.ndarray, "K 2 D D"]
    td_spread: Float[np.ndarray, " K"]
    error_spread: Float[np.ndarray, " K"]


@checked
def moments_by_counts(
    process: MarkovRewardProcess,
    features: Float[np.ndarray, "2 d"],
    num_transitions: int,
    depths: Sequence[int],
    *,
    step_size: float = 1.0,
) -> CountMoments:
    """The expected update at the construction and its spread, for each depth, without sampling.

    Args:
        process: of two states, with one stationary distribution, in which windows start.
        features: ``(2, d)``.
        num_transitions: ``n >= 1``, at most ``LARGEST_LENGTH``.
        depths: numbers of layers, each at least 0, rising.
        step_size: ``alpha > 0``.

    Raises:
        ValueError: another number of states, contexts that are too long, malformed arguments.

    See :doc:`/book/global-minimizer`.
    """
    if process.num_states != 2:
        raise ValueError(f"process has {process.num_states} states; tables of pairs are formed for 2")
    features = valid.array("features", features, 2)
    features = valid.shaped("features", features, (2, features.shape[1]), "a row for each state")
    n = valid.count("num_transitions", num_transitions, 1)
    if n > LARGEST_LENGTH:
        raise ValueError(f"num_transitions is {n}; it must be at most LARGEST_LENGTH = {LARGEST_LENGTH}")
    depths = [valid.count("depths", depth, 0) for depth in depths]
    if not depths or sorted(set(depths)) != depths:
        raise ValueError(f"depths are {depths}; they must rise, and there must be one at least")
    alpha = valid.positive("step_size", step_size)
    tables, place = _tables(n)
    (here, query, there, after), probability = _windows(process, n, place)
    truth, gamma, chosen = process.value(), process.discount, pair_entries(features.shape[1])
    own = _own(features.shape[1])
    updates, spreads = [], []
    for values, gradients in _layers(process, features, tables, depths, alpha):
        td_error = process.reward[query] + gamma * values[there, after] - values[here, query]
        error = gamma * (values[there, after] - truth[after]) - (values[here, query] - truth[query])
        update, mean = np.zeros(chosen.shape), 0.0
        for s in (0, 1):
            weight = np.bincount(here[query == s], (probability * error)[query == s], len(tables))
            mean = mean + weight @ gradients[:, s]
        update[chosen] = mean
        updates.append(update)
        size = (gradients[..., own] ** 2).sum(axis=2)[here, query]
        squares = [probability @ (x**2 * size) - (mean[own] ** 2).sum() for x in (td_error, error)]
        spreads.append(np.sqrt(np.maximum(squares, 0)))
    return CountMoments(np.array(updates), *np.transpose(spreads))


def _own(d):
    """Which of the ``pair_entries``, in order, are the construction's own."""
    whole = np.zeros((2, d + 3, d + 3), dtype=bool)
    whole[0, d + 2, d:] = whole[1, range(d), range(d)] = True
    return whole[pair_entries(d)]


def _tables(n):
    """All tables of ``n`` pairs, ``(T, 2, 2)``, and the place of each by (end - start + 1, N00, N01)."""
    place = np.full((3, n + 1, n + 1), -1)
    tables = []
    for turn in (-1, 0, 1):  # end minus start; the state is left for the other once more than re-entered
        a, b = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        back = b - turn
        rest = n - a - b - back
        a, b, back, rest = (x[(back >= 0) & (rest >= 0)] for x in (a, b, back, rest))
        place[turn + 1, a, b] = len(tables) + np.arange(len(a))
        tables += list(np.stack([a, b, back, rest], 1).reshape(-1, 2, 2))
    return np.array(tables, dtype=float), place


def _windows(process, n, place):
    """Every table of a context with what comes after: places and queries of ``Z`` and ``Z'``, their law."""
    P, mu = process.transition, process.stationary_distribution()
    parts, laws = [], []
    for first, second in np.ndindex(2, 2):
        law = np.zeros((2, n + 1, n + 1))  # by the state reached and N00, N01
        one = int(first == 0 == second), int(first == 0 and second == 1)
        law[second, *one] = mu[first] * P[first, second]
        for _ in range(n - 1):
            new = np.zeros_like(law)
            new[0, 1:] = P[0, 0] * law[0, :-1]
            new[1, :, 1:] = P[0, 1] * law[0, :, :-1]
            new[0] += P[1, 0] * law[1]
            new[1] += P[1, 1] * law[1]
            law = new
        for last, after in np.ndindex(2, 2):
            a, b = np.nonzero(law[last])
            here = place[last - first + 1, a, b]
            moved = a - one[0] + (last == 0 == after), b - one[1] + (last == 0 and after == 1)
            there = place[after - second + 1, *moved]
            ends = np.full(len(a), last), np.full(len(a), after)
            parts.append((here, ends[0], there, ends[1]))
            laws.append(law[last, a, b] * P[last, after])
    return [np.concatenate(x) for x in zip(*parts, strict=True)], np.concatenate(laws)


def _layers(process, features, tables, depths, alpha):
    """Values ``(T, 2)`` and gradients ``(T, 2, E)`` of a query in each state, at each depth in turn."""
    d, gamma = features.shape[1], process.discount
    tables = np.ascontiguousarray(tables.transpose(1, 2, 0))  # along the last axis, the only long one
    visits, count = tables.sum(axis=1), tables.shape[2]
    with np.errstate(divide="ignore"):  # log(0) = -inf is meant: weight 0
        heard = valid.scores(features)[..., None] + np.log(visits)
    heard = np.exp(heard - heard.max(axis=1, keepdims=True))
    heard /= heard.sum(axis=1, keepdims=True)
    chain = tables / np.maximum(visits, 1)[:, None]
    fixed = np.column_stack([features, process.reward])[..., None]
    fixed = np.broadcast_to(fixed, (2, d + 1, count))
    values = np.zeros((2, 1, count))
    written = reward = current = np.zeros((2, d + 3, count))
    block = np.zeros((2, d * d, count))

    def mean(weights, x):
        return weights[:, :1] * x[0] + weights[:, 1:] * x[1]

    def forgotten(tangent):
        return tangent + alpha * mean(heard, gamma * mean(chain, tangent) - tangent)

    listened = mean(heard, fixed[:, :d])
    for depth in range(max(depths) + 1):
        if depth in depths:
            gradients = np.concatenate([reward, current, block], 1)
            yield values[:, 0].T, np.ascontiguousarray(gradients.transpose(2, 0, 1))
        following = gamma * mean(chain, values)
        td_errors = fixed[:, -1:] + following - values
        update, tokens = mean(heard, td_errors), np.concatenate([fixed, following, values], 1)
        along = mean(heard, fixed[:, :d] * td_errors) - listened * update
        forced = (along[:, :, None] * features[:, None, :, None]).reshape(2, -1, count)
        said = mean(heard, tokens)
        reward = forgotten(reward) + alpha * mean(heard, written)
        current = forgotten(current) + said
        block = forgotten(block) + alpha * forced
        written = written + said
        values = values + alpha * update


@checked
def joint_slope(process: MarkovRewardProcess, features: Float[np.ndarray, "S d"]) -> Float[np.ndarray, " D"]:
    """``c`` of the reward row of ``V``: there the expected update grows by ``c / n + o(1/n)`` a layer.

    The value and the slope of the gradient are smooth functions of the frequencies of pairs; their
    product is averaged to second order, with the exact bias and covariance of these frequencies for a
    stationary window (the delta method). Any number of states. See :doc:`/book/global-minimizer`.
    """
    P, mu = process.transition, process.stationary_distribution()
    size, gamma = len(mu), process.discount
    x, r, eye = torch.tensor(features), torch.tensor(process.reward), torch.eye(size, dtype=torch.float64)

    def value(pairs):
        pairs = pairs.reshape(size, size)
        return torch.linalg.solve(eye - gamma * pairs / pairs.sum(1, keepdim=True), r)

    def slope(pairs):
        visits = pairs.reshape(size, size).sum(1)
        chain = pairs.reshape(size, size) / visits[:, None]
        heard = (x @ x.mT + visits.log()).softmax(1)
        v = value(pairs)
        tokens = torch.cat([x, r[:, None], (gamma * chain @ v)[:, None], v[:, None]], 1)
        return torch.linalg.solve(eye - gamma * chain, heard @ tokens)

    pairs = torch.tensor(mu[:, None] * P).reshape(-1)
    first = jacobian(value, pairs).numpy()
    second = jacobian(lambda x: jacobian(value, x, create_graph=True), pairs).numpy()
    steep, steeper = slope(pairs).numpy(), jacobian(slope, pairs).numpy()
    bias, covariance = _pair_statistics(P, mu)
    total = 0.0
    for s, after in np.ndindex(size, size):
        # Z' reads one pair later than Z: it gains (s, after) and loses one from far back.
        later = bias[s] - pairs.numpy()
        later[s * size + after] += 1
        means = [first[u] @ b + (second[u] * covariance).sum() / 2 for u, b in ((after, later), (s, bias[s]))]
        mixed = steeper[s] @ covariance @ (gamma * first[after] - first[s])
        total = total + mu[s] * P[s, after] * ((gamma * means[0] - means[1]) * steep[s] + mixed)
    return total


def _pair_statistics(P, mu):
    """``n`` times the mean deviation of pair frequencies given the last state, and their covariance."""
    size, pairs = len(mu), (mu[:, None] * P).ravel()
    reversed_chain = mu * P.T / mu[:, None]
    past, future = (deviation(T, mu) for T in (reversed_chain, P))
    # given[b, (a, c)]: probability that the pair (a, c) ends in the state b
    given = np.einsum("bc,ca->bac", np.eye(size), reversed_chain).reshape(size, -1)
    along = (mu[:, None] * P)[:, :, None, None] * (future[:, :, None] * P)[None]
    along = along.reshape(size**2, size**2)  # pair now, pair later, summed over all later times
    return past @ given, np.diag(pairs) - np.outer(pairs, pairs) + along + along.T
