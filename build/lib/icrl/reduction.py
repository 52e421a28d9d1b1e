"""Chains solved by state reduction: no subtraction, hence no cancellation, however badly a chain mixes.

States are taken out one by one, and the chain is watched on those that are left: what went through the state
that is gone goes on to where it would have left it (Grassmann, Taksar and Heyman 1985). Only nonnegative
numbers are added, multiplied and divided, so every result has a small *relative* error in each entry,
where a linear solve loses all digits of the rare states and may return negative probabilities.

A diagonal entry is never read: it is what the rest of its row leaves to 1. All functions take any leading
batch dimensions. See :doc:`/book/contraction`.
"""

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid

PANEL = 32
"""States that are taken out before the states below them hear of it: that is one matrix product then."""


def _reduce(table, extra, least):
    """Take out all states but the first ``least``; the table is overwritten.

    Its rows are states, its columns ``extra`` of anything, the probability of leaving, and the states. Row
    ``n`` ends as where a chain in ``n`` goes first below ``n``; column ``n`` above it, as how often a state
    below goes to ``n`` in its next step, once all later ones are gone. Returns what row ``n`` was divided by.
    Arrays and tensors alike.
    """
    first, size, outs = extra + 1, table.shape[-2], []
    for end in range(size, least, -PANEL):
        begin = max(least, end - PANEL)
        for n in range(end - 1, begin - 1, -1):
            row, into = table[..., n, : first + n], table[..., :n, first + n, None]
            outs.append(row[..., extra:].sum(-1))
            if not outs[-1].all():
                raise ValueError("transition or chain has states that float64 says cannot be left")
            row /= outs[-1][..., None]
            row = row[..., None, :]
            table[..., :n, first + begin : first + n] += into * row[..., first + begin :]
            table[..., begin:n, : first + begin] += into[..., begin:, :] * row[..., : first + begin]
        below, panel = table[..., :begin, first + begin : first + end], table[..., begin:end, : first + begin]
        table[..., :begin, : first + begin] += below @ panel
    return outs[::-1]


def _absorbed(chain, leave, right):
    """``x = chain x + right``, after checks: the sum of ``right`` over what is met before the chain is left.

    Each row of ``chain`` and its entry of ``leave`` sum to 1. Inf or NaN where float64 overflows.
    """
    table, extra = np.concatenate([right, leave[..., None], chain], -1), right.shape[-1]
    with np.errstate(all="ignore"):
        _reduce(table, extra, 0)
        result = table[..., :extra]
        for n in range(1, table.shape[-2]):
            moved = table[..., n, None, extra + 1 : extra + 1 + n]
            result[..., n, :] += (moved @ result[..., :n, :])[..., 0, :]
    return result


def _discounted(transition, discount, right):
    """Solves, after checks."""
    return _absorbed(discount * transition, np.full(transition.shape[:-1], 1 - discount), right)


def discounted(
    transition: Float[np.ndarray, "*b S S"], discount: float, right: Float[np.ndarray, "*b S k"]
) -> Float[np.ndarray, "*b S k"]:
    """``(I - gamma P)^{-1} right``, the expected discounted sum of ``right``; as exact near ``gamma = 1``.

    The process is left with probability ``1 - gamma`` in each step. With nonnegative ``right`` every entry is
    exact to a few roundings; with any sign the error is as small beside what ``|right|`` would give there.

    Args:
        transition: ``(*batch, S, S)``, rows sum to 1.
        discount: ``gamma`` in ``[0, 1)``.
        right: ``(*batch, S, k)``.

    Raises:
        ValueError: a row is not a distribution, shapes disagree, or the result leaves the range of float64.
    """
    transition, right = valid.stochastic("transition", transition), valid.array("right", right)
    if transition.ndim < 2 or transition.shape[-1] != transition.shape[-2]:
        raise ValueError(f"transition has shape {transition.shape}; it must be (*batch, S, S)")
    if right.shape[:-1] != transition.shape[:-1]:
        raise ValueError(
            f"right has shape {right.shape}; it must be {transition.shape[:-1]} and an axis more"
        )
    return valid.in_range(_discounted(transition, valid.discount(discount), right), "right", "their sum")


def stationary(transition: Float[np.ndarray, "*b S S"]) -> Float[np.ndarray, "*b S"]:
    """The stationary distribution of irreducible chains, every entry to a few roundings.

    Periodic and nearly decomposable chains are no obstacle. For one chain with transient states see
    :meth:`icrl.mrp.MarkovRewardProcess.stationary_distribution`.

    Raises:
        ValueError: a row is not a distribution, or a chain is not irreducible (or only by products of
            probabilities that float64 does not hold).
    """
    chain = valid.stochastic("transition", transition)
    if chain.ndim < 2 or chain.shape[-1] != chain.shape[-2]:
        raise ValueError(f"transition has shape {chain.shape}; it must be (*batch, S, S)")
    return _stationary(chain)


def _stationary(chain):
    """The same after checks; arrays and tensors alike."""
    table = chain[..., [0, *range(chain.shape[-1])]]
    table[..., 0] = 0  # nowhere to leave to
    mu = chain[..., 0] * 0
    mu[..., 0] = 1
    for n, out in enumerate(_reduce(table, 0, 1), 1):
        flow = (mu[..., :n] * table[..., :n, 1 + n]).sum(-1)
        # The distribution on the states 0 .. n: never above 1, so that rare states cannot overflow.
        mu[..., :n] *= (out / (out + flow))[..., None]
        mu[..., n] = flow / (out + flow)
    return mu


def deviation(
    transition: Float[np.ndarray, "S S"], distribution: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S S"]:
    """Column ``s`` solves ``(I - P) g = 1_s - mu(s)`` with ``mu g = 0``: how much more often ``s`` is met.

    Args:
        transition: ``(S, S)``; with one closed class, transient states allowed.
        distribution: ``mu``, ``(S,)``, its stationary distribution.
    """
    transition = valid.stochastic("transition", valid.array("transition", transition, 2))
    mu = valid.shaped("distribution", distribution, (len(transition),), "one entry for each state")
    if len(transition) != transition.shape[1]:
        raise ValueError(f"transition has shape {transition.shape}; it must be square")
    valid.stochastic("distribution", mu)
    anchor, size = int(mu.argmax()), len(mu)
    others = np.delete(np.arange(size), anchor)
    result = np.zeros((size, size))
    if size > 1:  # visits to each state, and time, until the chain comes to the anchor
        right = np.column_stack([np.eye(size)[others], np.ones(size - 1)])
        met = _absorbed(transition[np.ix_(others, others)], transition[others, anchor], right)
        result[others] = met[:, :size] - met[:, size:] * mu
    return result - mu @ result
