"""Checks of arguments, read off the annotations. Every refusal is a ValueError: argument, value, rule."""

import collections.abc
import dataclasses
import functools
import inspect
import itertools
import math
import re
import types
import typing

import numpy as np

from icrl import _validation as valid


def checked(function=None, *, finite=True):
    """Decorates a public function or class: its annotations become checks, what they allow is made uniform.

    Arrays become finite float64 or int64 arrays of the number of axes that is written, and axes of one name
    must have one length; tensors stay what they are (arrays where a tensor is meant become tensors, and the
    reverse); numbers must be finite, integers integers, an option one of its ``Literal``; of anything else
    the class is checked. With ``finite``, a result that is not finite is refused too: it comes from finite
    arguments, so something overflowed or was divided by zero.
    """
    if function is None:
        return functools.partial(checked, finite=finite)
    if isinstance(function, type):
        function.__init__ = checked(function.__init__, finite=False)
        return function
    signature, rules = inspect.signature(function), {}

    @functools.wraps(function)
    def inner(*given, **named):
        if not rules:
            hints = typing.get_type_hints(function)
            # Records first: what is wrong beside a process is the array that does not fit it.
            for name in sorted(signature.parameters, key=lambda name: not _record(name, hints.get(name))):
                rules[name] = _rule(hints.get(name), name)
        bound, sizes = signature.bind(*given, **named), {}
        for name, rule in rules.items():
            if name in bound.arguments and rule and signature.parameters[name].kind not in _VARIADIC:
                bound.arguments[name] = rule(name, bound.arguments[name], sizes)
        names = ", ".join(name for name in bound.arguments if name != "self") or "input"
        try:
            with np.errstate(all="ignore" if finite else None):  # refused below
                result = function(*bound.args, **bound.kwargs)
        except (ArithmeticError, ValueError) as error:
            if _said(error, function, bound.arguments):
                raise
            raise ValueError(f"{names}: {error}") from error  # in the words of a room below
        if finite and not _finite(result):
            raise ValueError(f"{names}: {function.__name__} leaves the range of floating point")
        return result

    return inner


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _rule(hint, of=None):
    """How an argument of this annotation and name is checked: by a function of name, value, sizes so far."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if of == "self":
        return _refuse_unless(lambda value: True, "")  # only for its sizes
    if hint is None or hint is inspect.Parameter.empty or hint is typing.Any:
        return None
    if origin in (typing.Union, types.UnionType):
        return None if str in inner and len(inner) > 2 else _one_of(inner)  # the function knows what it reads
    if origin is typing.Literal:
        return lambda name, value, sizes: valid.option(name, value, inner)
    if hasattr(hint, "dim_str") and hasattr(hint, "array_type"):  # jaxtyping's
        return _shaped_rule(hint)
    if hint is float:
        return lambda name, value, sizes: valid.number(name, value)
    if hint is int:
        low = 0 if of in ("seed", "runs", "windows", "batch") or (of or "").startswith("num_") else -np.inf
        return lambda name, value, sizes: valid.count(name, value, low)
    if origin in (tuple, list, collections.abc.Sequence) and inner:
        return _sequence_rule(inner if origin is tuple and inner[-1] is not ... else inner[:1])
    kind = origin or hint
    if kind is collections.abc.Callable:
        return _refuse_unless(callable, "callable")
    runtime = getattr(kind, "_is_runtime_protocol", not getattr(kind, "_is_protocol", False))
    if isinstance(kind, type) and runtime:
        kinds = (bool, np.bool_) if kind is bool else kind
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        return _refuse_unless(lambda value: isinstance(value, kinds), f"{article} {kind.__name__}")
    return None


def _record(name, hint):
    return name == "self" or getattr(hint, "__module__", "").startswith("icrl.")


def _refuse_unless(allowed, what):
    def rule(name, value, sizes):
        if not allowed(value):
            raise ValueError(f"{name} is {valid.short(value)}; it must be {what}")
        for field, dims in _axes(type(value)).items():
            shape = np.shape(getattr(value, field, None))
            for dim, size in zip(dims, shape, strict=False) if len(shape) == len(dims) else ():
                if dim in ("S", "A", "B"):
                    _same_length(f"{name}.{field}", shape, dim, size, sizes)
        return value

    return rule


@functools.cache
def _axes(kind):
    """The axes of the arrays in a record: its states, actions and copies are those of the other arguments."""
    hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields") else {}
    return {name: hint.dim_str.split() for name, hint in hints.items() if hasattr(hint, "dim_str")}


def _said(error, function, arguments):
    """Whether an error is one that the function documents, or speaks of an argument or of a field of one."""
    if type(error) is not ValueError:
        return type(error).__name__ in (function.__doc__ or "")
    held = [[*getattr(x, "__dict__", ()), *getattr(x, "_fields", ())] for x in arguments.values()]
    names = [*itertools.chain(arguments, *held)]
    return names == ["self"] or any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names)


def _one_of(hints):
    """The first annotation that accepts, or else what the first of them says."""
    rules = [(hint, _rule(hint)) for hint in hints if hint is not type(None)]

    def rule(name, value, sizes):
        if value is None and type(None) in hints:
            return None
        refusals = []
        for _, one in sorted(rules, key=lambda pair: _other_kind(pair[0], value)):
            try:
                return value if one is None else one(name, value, sizes)
            except ValueError as error:
                refusals.append(error)
        raise refusals[0]

    return rule


def _other_kind(hint, value):
    """Whether an array annotation is of NumPy while the value is a tensor, or the reverse."""
    return hasattr(hint, "array_type") and not isinstance(value, hint.array_type)


def _sequence_rule(inner):
    """One annotation for all entries, or one for each."""
    rules = [_rule(hint) for hint in inner]

    def rule(name, value, sizes):
        try:
            held = None if isinstance(value, (str, bytes, dict)) else list(value)
        except TypeError:
            held = None
        if held is None or not hasattr(value, "__len__"):
            raise ValueError(f"{name} is {valid.short(value)}; it must be a sequence")
        if not held and (inner[0].__module__.startswith("icrl.") or hasattr(inner[0], "dim_str")):
            raise ValueError(f"{name} is empty; give at least one")
        if len(rules) > 1 and len(held) != len(rules):
            raise ValueError(f"{name} has {len(held)} entries; it must have {len(rules)}")
        for index, entry in enumerate(held):
            one = rules[index % len(rules)]
            if one is not None:
                one(f"{name}[{index}]", entry, sizes if len(rules) > 1 else {})
        return value

    return rule


def _shaped_rule(hint):
    """For an annotation such as ``Float[np.ndarray, "*b S d"]``."""
    dims, numpy = hint.dim_str.split(), hint.array_type is np.ndarray
    variadic = [d for d in dims if d.startswith("*") or d == "..."]
    kinds = {str(dtype).strip("^$")[:3] for dtype in hint.dtypes} if hint.dtypes is not None else {"flo"}

    def rule(name, value, sizes):
        if not numpy:
            value = _tensor(name, value, kinds)
        elif "flo" in kinds:
            value = valid.array(name, value, len(dims) if not variadic else None)
        elif "boo" in kinds:
            value = valid._numeric(name, value, "b", "an array of booleans")
        else:
            value = valid._numeric(name, value, "iu", "an array of integers")
        shape = tuple(value.shape)
        if len(shape) < len(dims) - len(variadic) or (len(shape) > len(dims) and not variadic):
            raise ValueError(f"{name} has shape {shape}; it must be ({', '.join(dims)})")
        if 0 in shape:
            raise ValueError(f"{name} has shape {shape}; no axis may be empty")
        front = dims.index(variadic[0]) if variadic else len(dims)
        if variadic and len(variadic[0].strip("*.")) > 0 and "#" not in variadic[0]:
            _same_batch(name, shape, variadic[0], shape[front : len(shape) - len(dims) + front + 1], sizes)
        pairs = [*zip(dims[:front], shape, strict=False)]
        back = dims[front + 1 :]
        pairs += zip(back, shape[len(shape) - len(back) :], strict=True)
        for dim, size in pairs:
            _same_length(name, shape, dim, size, sizes)
        return value

    return rule


def _tensor(name, value, kinds):
    """A tensor of floating-point numbers, of integers or of booleans; an array becomes one."""
    import torch  # here, so that the rooms of NumPy do not wait for torch

    if (
        isinstance(value, np.ndarray)
        and not isinstance(value, np.ma.MaskedArray)
        and value.dtype.kind in "fiub"
    ):
        value = torch.from_numpy(value.astype({"f": np.float64, "b": bool}.get(value.dtype.kind, np.int64)))
    if "flo" in kinds:
        valid.tensor(name, value)
        return value
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} is {valid.short(value)}; it must be a torch.Tensor")
    if value.is_floating_point() or value.is_complex() or (value.dtype == torch.bool) != ("boo" in kinds):
        what = "booleans" if "boo" in kinds else "integers"
        raise ValueError(f"{name} has dtype {value.dtype}; it must be a tensor of {what}")
    return value


def _same_batch(name, shape, dim, batch, sizes):
    expected, owner = sizes.setdefault(dim, (batch, name))
    if batch != expected:
        raise ValueError(f"{name} has shape {shape}; its axes {dim} must be {expected}, as {owner} says")


def _same_length(name, shape, dim, size, sizes):
    """Axes of one name have one length; ``n_plus_1`` is one more than ``n``."""
    if dim.startswith("#") or dim == "_":
        return
    base, _, more = dim.partition("_plus_")
    expected, owner = (int(dim), "that long") if dim.isdigit() else (None, None)
    if not dim.isdigit() and (more.isdigit() or not more):
        first, owner = sizes.setdefault(base, (size - int(more or 0), name))
        expected = first + int(more or 0)
    if expected is not None and size != expected:
        rule = "" if dim.isdigit() else f", as {owner} says"
        raise ValueError(f"{name} has shape {shape}; its axis {dim} must have length {expected}{rule}")


def _finite(result):
    """Whether all floating-point numbers in a result are finite: arrays, tensors, tuples and fields."""
    if isinstance(result, float):
        return math.isfinite(result)
    if result is None or isinstance(result, (int, str)):
        return True
    if isinstance(result, np.ndarray):
        return result.dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if isinstance(result, (tuple, list, dict)):
        return all(map(_finite, result.values() if isinstance(result, dict) else result))
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return all(_finite(getattr(result, field.name, None)) for field in dataclasses.fields(result))
    if np.isscalar(result):
        return np.asarray(result).dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if hasattr(result, "isfinite") and hasattr(result, "requires_grad"):
        return not result.is_floating_point() or valid.all_finite(result)
    return True
