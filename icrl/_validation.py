"""Checks of arguments. Every refusal is a ValueError: the argument, the offending value, the rule."""

import numpy as np


def array(name, value, ndim):
    """`value` as a finite float64 array with `ndim` axes, none of them empty."""
    try:
        result = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not an array of real numbers: {value!r}") from None
    if result.ndim != ndim:
        raise ValueError(f"{name} has shape {result.shape}; it must have {ndim} axes")
    if result.size == 0:
        raise ValueError(f"{name} has shape {result.shape}; no axis may be empty")
    bad = np.argwhere(~np.isfinite(result))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}{list(where)} is {result[where]}; every entry must be finite")
    return result


def shaped(name, value, shape, rule):
    """A finite float64 array of exactly this shape; `rule` says where the shape comes from."""
    result = array(name, value, len(shape))
    if result.shape != tuple(shape):
        raise ValueError(f"{name} has shape {result.shape}; it must be {tuple(shape)}, {rule}")
    return result


def stochastic(name, value):
    """A finite float64 array whose last axis holds probability distributions (to 1e-8)."""
    result = array(name, value, np.ndim(value))
    rows = result.reshape(-1, result.shape[-1])
    for index, row in enumerate(rows):
        where = ", ".join(str(i) for i in np.unravel_index(index, result.shape[:-1]))
        where = f"{name} row {where}" if where else name
        if row.min() < 0:
            raise ValueError(f"{where} holds {row.min():g}; a probability must not be negative")
        if abs(row.sum() - 1) > 1e-8:
            raise ValueError(f"{where} sums to {row.sum():.10g}; every row must sum to 1")
    return result


def discount(value):
    """A float in [0, 1)."""
    result = number("discount", value)
    if not 0 <= result < 1:
        raise ValueError(f"discount is {result:g}; it must lie in [0, 1)")
    return result


def number(name, value):
    """A finite Python float."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; it must be one real number") from None
    if not np.isfinite(result):
        raise ValueError(f"{name} is {result}; it must be finite")
    return result


def count(name, value, minimum):
    """An integer that is at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    if value < minimum:
        raise ValueError(f"{name} is {value}; it must be at least {minimum}")
    return int(value)


def indices(name, value, size, what):
    """An integer array with entries in 0..size-1, any number of axes; `what` is being indexed."""
    result = np.array(value)
    if result.size and not np.issubdtype(result.dtype, np.integer):
        raise ValueError(f"{name} has dtype {result.dtype}; {what} are integers")
    result = result.astype(np.int64)
    bad = np.argwhere((result < 0) | (result >= size))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        at = f"{name}{list(where)}" if where else name
        raise ValueError(f"{at} is {result[where]}; {what} run from 0 to {size - 1}")
    return result


def trajectory(states, num_states):
    """States `S_0 .. S_n` (the last axis is time), at least one transition."""
    result = indices("states", states, num_states, "states")
    if result.ndim == 0 or result.shape[-1] < 2:
        raise ValueError(
            f"states has shape {result.shape}; a context needs at least one transition, two states"
        )
    return result


def context(features, states, rewards=None):
    """Features `(S, d)`, states `(n+1,)` and, if given, rewards `(n,)` that belong together."""
    features = array("features", features, 2)
    states = trajectory(states, len(features))
    if states.ndim != 1:
        raise ValueError(f"states has shape {states.shape}; one trajectory has one axis, time")
    if rewards is not None:
        rewards = rewards_of(states, rewards)
    return features, states, rewards


def rewards_of(states, rewards):
    """Rewards `R_1 .. R_n`, one for each of the `n` transitions between the `n+1` states."""
    shape = (*states.shape[:-1], states.shape[-1] - 1)
    return shaped("rewards", rewards, shape, "one reward for each transition between the states")


def step_sizes(value, num_layers):
    """Positive step sizes, one for each layer `(num_layers,)`; a single float serves them all."""
    result = array("step_size", value, np.ndim(value))
    if result.ndim > 1 or (result.ndim == 1 and len(result) != num_layers):
        raise ValueError(
            f"step_size has shape {result.shape}; give one float or one for each of the {num_layers} layers"
        )
    if result.min() <= 0:
        raise ValueError(f"step_size is {result.min():g}; it must be positive")
    return np.broadcast_to(result, (num_layers,)).copy()
