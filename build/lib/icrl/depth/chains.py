"""Chains on which depth can be seen at work, and how fast a chain forgets."""

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked


@checked
def cycle(num_states: int) -> Float[np.ndarray, "S S"]:
    """State ``s`` is followed by ``s + 1``, the last by 0: nothing is ever forgotten."""
    return np.roll(np.eye(valid.count("num_states", num_states, 1)), 1, axis=1)


@checked
def lazy_cycle(num_states: int, mixing: float) -> Float[np.ndarray, "S S"]:
    """With probability ``mixing`` a step of the cycle, else any state.

    The Dobrushin coefficient is ``mixing``, for one state 0.
    """
    mixing = valid.number("mixing", mixing)
    if not 0 <= mixing <= 1:
        raise ValueError(f"mixing is {mixing:g}; it must lie in [0, 1]")
    step = cycle(num_states)
    return mixing * step + (1 - mixing) / len(step)


@checked
def de_bruijn(num_bits: int) -> Float[np.ndarray, "S S"]:
    """States are words of so many bits; a step drops the first bit and appends a fair coin's toss.

    All eigenvalues but one are 0, and the chain is uniform after exactly ``num_bits`` steps, not before.
    """
    size = 2 ** valid.count("num_bits", num_bits, 1)
    transition = np.zeros((size, size))
    for s in range(size):
        for toss in (0, 1):
            transition[s, (2 * s + toss) % size] += 0.5
    return transition


@checked
def dobrushin(transition: Float[np.ndarray, "S S"]) -> float:
    """``tau_1``: half the largest L1 distance of two rows; the least with ``span(P x) <= tau_1 span(x)``.

    For rows that sum to the same number, not only for distributions.
    """
    rows = valid.array("transition", transition, 2)
    return float(max(np.abs(rows - row).sum(axis=1).max() for row in rows) / 2)


@checked
def deviation_norm(transition: Float[np.ndarray, "S S"], distribution: Float[np.ndarray, " S"]) -> float:
    """``sigma_2``: norm of ``P - 1 mu'`` where ``||x||^2 = sum mu x^2`` with positive ``mu``."""
    rows = valid.array("transition", transition, 2)
    weights = valid.shaped("distribution", distribution, (len(rows),), "one entry for each state")
    if weights.min() <= 0:
        raise ValueError(f"distribution holds {weights.min():g}; every state needs positive weight")
    root = np.sqrt(weights)
    return float(np.linalg.norm(root[:, None] * (rows - weights) / root, 2))
