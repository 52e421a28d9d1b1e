"""Checks of arguments. Every refusal is a ValueError: the argument, the offending value, the rule."""

import numpy as np


def array(name, value, ndim=None):
    """`value` as a finite float64 array with `ndim` axes (any number if not given), none of them empty."""
    result = _numeric(name, value, "biuf", "an array of real numbers").astype(np.float64)
    if ndim is not None and result.ndim != ndim:
        raise ValueError(f"{name} has shape {result.shape}; it must have {ndim} axes")
    if result.size == 0:
        raise ValueError(f"{name} has shape {result.shape}; no axis may be empty")
    if not np.isfinite(result).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(f"{_entry(name, where)} is {result[where]}; every entry must be finite")
    return result


def _numeric(name, value, kinds, rule):
    """A NumPy array of one of these dtype kinds: strings, objects, complex and ragged input are refused."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, whose mask would be lost; it must be {rule}")
    try:
        result = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is {value!r}; it must be {rule}") from None
    if result.dtype.kind not in kinds:
        raise ValueError(f"{name} is {value!r}, of dtype {result.dtype}; it must be {rule}")
    return result


def _entry(name, where):
    return f"{name}{list(where)}" if where else name


def in_range(result, name, what):
    """The result itself, if it is finite: finite arguments whose result is not are refused by their name."""
    if not np.isfinite(result).all():
        raise ValueError(f"{name} has entries so large that {what} leaves the range of float64")
    return result


def conditioned(name, matrix, limit=1e12):
    """Refuses matrices (the last two axes) whose linear systems float64 does not resolve."""
    condition = np.max(np.linalg.cond(matrix)) if np.isfinite(matrix).all() else np.inf
    if not condition <= limit:
        raise ValueError(
            f"{name} gives a linear system of condition {condition:.0e}; it must be below {limit:.0e}, else "
            "its solution is lost to rounding"
        )


def scores(features, others=None):
    """Inner products of the rows of finite features, refused where they overflow."""
    with np.errstate(over="ignore", invalid="ignore"):  # refused in the next line
        result = features @ (features if others is None else others).T
    return in_range(result, "features", "a score, an inner product of two rows,")


def iterates(values, name):
    """The values themselves, one row for each update, if no update leaves the range of float64."""
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name} is {len(values) - 1}, but update {bad[0]} leaves the range of float64: the iteration "
            "diverges, or rewards or step_size are too large"
        )
    return values


def shaped(name, value, shape, rule):
    """A finite float64 array of exactly this shape; `rule` says where the shape comes from."""
    if (result := array(name, value, len(shape))).shape != tuple(shape):
        raise ValueError(f"{name} has shape {result.shape}; it must be {tuple(shape)}, {rule}")
    return result


def stochastic(name, value):
    """A finite float64 array whose last axis holds probability distributions (to 1e-8)."""
    result = array(name, value)
    if result.ndim == 0:
        raise ValueError(f"{name} is {result}; it must be an array whose last axis is a distribution")
    rows = result.reshape(-1, result.shape[-1])
    bad = np.flatnonzero((rows.min(axis=1) < 0) | (np.abs(rows.sum(axis=1) - 1) > 1e-8))
    if len(bad):
        row = rows[bad[0]]
        where = ", ".join(str(i) for i in np.unravel_index(bad[0], result.shape[:-1]))
        where = f"{name} row {where}" if where else name
        if row.min() < 0:
            raise ValueError(f"{where} holds {row.min():g}; a probability must not be negative")
        raise ValueError(f"{where} sums to {row.sum():.10g}; every row must sum to 1")
    return result


def discount(value):
    """A float in [0, 1)."""
    if not 0 <= (result := number("discount", value)) < 1:
        raise ValueError(f"discount is {result:g}; it must lie in [0, 1)")
    return result


def probability(name, value):
    """A float in (0, 1)."""
    if not 0 < (result := number(name, value)) < 1:
        raise ValueError(f"{name} is {result:g}; it must lie in (0, 1)")
    return result


def number(name, value):
    """A finite Python float."""
    result = _numeric(name, value, "biuf", "one real number")
    if result.ndim:
        raise ValueError(f"{name} is {value!r}; it must be one real number")
    if not np.isfinite(result):
        raise ValueError(f"{name} is {result}; it must be finite")
    return float(result)


def positive(name, value):
    """A finite Python float above 0."""
    if (result := number(name, value)) <= 0:
        raise ValueError(f"{name} is {result:g}; it must be positive")
    return result


def count(name, value, minimum):
    """An integer that is at least `minimum`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    if value < minimum:
        raise ValueError(f"{name} is {value}; it must be at least {minimum}")
    return int(value)


def indices(name, value, size, what):
    """An integer array with entries in 0..size-1, any number of axes; `what` is being indexed.

    Without a `size` every entry from 0 on is allowed.
    """
    result = _numeric(name, value, "biuf", "an array of integers")
    if result.size and result.dtype.kind not in "iu":  # [] is float64 to NumPy
        raise ValueError(f"{name} has dtype {result.dtype}; {what} are integers")
    bad = (result < 0) | (size is not None and result >= size)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        end = "on" if size is None else f"to {size - 1}"
        raise ValueError(f"{_entry(name, where)} is {result[where]}; {what} run from 0 {end}")
    return result.astype(np.int64)


def trajectory(states, num_states, batched=False):
    """States `S_0 .. S_n` (the last axis is time; the only one unless batched), at least one transition."""
    result = indices("states", states, num_states, "states")
    if result.ndim > 1 and not batched:
        raise ValueError(f"states has shape {result.shape}; one trajectory has one axis, time")
    if result.ndim == 0 or result.shape[-1] < 2:
        raise ValueError(f"states has shape {result.shape}; a context needs a transition or more, two states")
    return result


_NOT_GIVEN = object()


def context(features, states, rewards=_NOT_GIVEN):
    """Features `(S, d)`, states `(n+1,)` and, if given, rewards `(n,)` that belong together."""
    features = array("features", features, 2)
    states = trajectory(states, len(features))
    if rewards is not _NOT_GIVEN:
        rewards = rewards_of(states, rewards)
    return features, states, rewards


def rewards_of(states, rewards):
    """Rewards `R_1 .. R_n`, one for each of the `n` transitions between the `n+1` states."""
    shape = (*states.shape[:-1], states.shape[-1] - 1)
    return shaped("rewards", rewards, shape, "one reward for each transition between the states")


def tensor(name, value, finite=True):
    """Refuses what is not a floating-point tensor, finite if that is asked for."""
    from torch import Tensor  # here, so that the rooms of NumPy do not wait for torch

    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be a torch.Tensor")
    if not value.dtype.is_floating_point:
        raise ValueError(f"{name} has dtype {value.dtype}; it must be floating point")
    if finite and not all_finite(value):
        where = (~value.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{_entry(name, where)} is {value[tuple(where)]}; every entry must be finite")


def broadcastable(**shapes):
    """What batch dimensions broadcast to, given by the names of their owners; refused if they do not."""
    from torch import broadcast_shapes  # PyTorch 2.6 cannot trace NumPy's when it compiles

    try:
        return tuple(broadcast_shapes(*(tuple(shape) for shape in shapes.values())))
    except (ValueError, RuntimeError):
        owners = ", ".join(f"{name} has {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(f"batch dimensions must broadcast together; {owners}") from None


def sources(prompt, num_queries):
    """Refuses a prompt in which no column is left to be a source."""
    if prompt.shape[-1] <= num_queries:
        raise ValueError(
            f"prompt has {prompt.shape[-1]} columns and num_queries is {num_queries}; "
            "at least one column must be a source"
        )


def step_sizes(value, num_layers):
    """Positive step sizes, one for each layer `(num_layers,)`; a single float serves them all."""
    result = array("step_size", value)
    if result.ndim > 1 or (result.ndim == 1 and len(result) != num_layers):
        raise ValueError(
            f"step_size has shape {result.shape}; give one float or one for each of the {num_layers} layers"
        )
    if result.min() <= 0:
        raise ValueError(f"step_size is {result.min():g}; it must be positive")
    return np.broadcast_to(result, (num_layers,)).copy()


def width(reward_range, rewards):
    """Width of the range of the rewards, after a check that it is one and holds what was seen."""
    low, high = shaped("reward_range", reward_range, (2,), "the lowest and the highest reward").tolist()
    if not np.isfinite(high - low):
        raise ValueError(f"reward_range is ({low:g}, {high:g}), wider than the range of float64")
    if low > high:
        raise ValueError(f"reward_range is ({low:g}, {high:g}); the lowest reward must come first")
    outside = np.flatnonzero((rewards < low) | (rewards > high))
    if len(outside):
        raise ValueError(
            f"rewards[{outside[0]}] is {rewards[outside[0]]:g}; it must lie in reward_range, "
            f"{low:g} to {high:g}"
        )
    return high - low


def reward_of_state(sources, rewards, num_states):
    """The reward of each visited state, after a check that it has one."""
    reward = np.zeros(num_states)
    reward[sources] = rewards
    varying = np.flatnonzero(np.abs(rewards - reward[sources]) > 1e-9 * max(1.0, np.abs(rewards).max()))
    if len(varying):
        k = varying[0]
        raise ValueError(
            f"rewards[{k}] is {rewards[k]:g} in state {sources[k]}, whose last reward is "
            f"{reward[sources[k]]:g}; the reward must be a function of the state"
        )
    return reward


def option(name, value, options):
    """One of the options, compared with each."""
    if not isinstance(value, str | int | float) or value not in options:
        raise ValueError(f"{name} is {short(value)}; it must be one of {', '.join(map(str, options))}")
    return value


def generator(name, value):
    """Refuses what is no source of randomness of NumPy."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"{name} is {short(value)}; it must be a numpy.random.Generator")
    return value


def short(value):
    """Its text, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def answer(result, *, watched=None, **given):
    """The result of finite tensors, refused where it is not finite; ``watched`` is enough of it to see."""
    if all_finite(result if watched is None else watched):
        return result
    for name, value in given.items():
        tensor(name, value)
    raise ValueError(
        f"{' or '.join(given)} has entries so large that the result leaves the range of {result.dtype}"
    )


def all_finite(value):
    """Whether all entries of a tensor are finite, as far as one can look; so they are if their sum is."""
    return readable(lambda: bool(value.detach().sum().isfinite()) or bool(value.isfinite().all()), True)


def readable(question, otherwise):
    """The answer to a question about a tensor's entries, or this where it has none that one could look at.

    Under ``torch.func.vmap``, in ``torch.compile`` and ``torch.export``, and on the device ``meta`` a tensor
    stands for entries to come; PyTorch says so by a RuntimeError.
    """
    import torch

    if torch.compiler.is_compiling():
        return otherwise
    try:
        return question()
    except RuntimeError:
        return otherwise
