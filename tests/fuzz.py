"""Calls of the whole public face with arguments that are right, and with one that is not: see test_fuzz.py.

What is public is found by looking, and arguments are made from annotations and names, so that a new function
is called on its first day. ``python tests/fuzz.py 10000`` counts the outcomes of so many calls.
"""

import collections
import contextlib
import dataclasses
import functools
import importlib
import inspect
import itertools
import re
import signal
import sys
import types
import typing
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import icrl
from icrl import (
    attention,
    constructions,
    contraction,
    control,
    depth,
    divergence,
    gradient_flow,
    linear_transformer,
    long_contexts,
    mdp,
    mrp,
    neu,
    pretraining,
    softmax_transformer,
    standard_transformer,
    streamed_attention,
)
from icrl.pretraining import free_weights

STUDIES = ["constructions", "divergence", "neu", "pretraining", "gradient_flow", "control", "depth"]
STUDIES += ["standard_transformer"]
LEFT_OUT = {
    "plots.heat": "takes NaN for cells left out; called by plots.iterations",
    "plots.set_style": "no argument, and it would change the defaults of the tests that follow",
    "long_contexts": "called by the transformer in every layer, which has looked: see IN_BLOCKS",
    "streamed_attention": "called by softmax_attention, likewise",
    # Records of results, as named tuples are: only the function that reports makes one. What can be read
    # off them is called, see MAKERS.
    "contraction.Certificate": "made by contraction.certificate",
    "depth.PricedCertificate": "made by depth.priced_certificate",
    "control.Improvement": "made by control.improvement",
    "control.CertifiedImprovement": "made by control.certified_improvement",
    "gradient_flow.Richness": "made by gradient_flow.richness",
    "constructions.PopulationBound": "made by constructions.population_bound",
}
SECONDS = 20
"""A call that computes longer hangs: of the processor, not of the clock, which others share."""


def face():
    """Every public callable, by the name under which it is found first."""
    core = sorted(p.stem for p in Path(icrl.__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    found = {}
    for place in [*core, *STUDIES]:
        module = importlib.import_module(f"icrl.{place}")
        names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        for name in names:
            thing, called = getattr(module, name), f"{place}.{name}"
            room = getattr(thing, "__module__", None) or ""
            own = re.match(r"icrl\.(?!_)", room) and room.removeprefix("icrl.") not in LEFT_OUT
            if place in LEFT_OUT or called in LEFT_OUT or not callable(thing) or not own:
                continue
            if isinstance(thing, type) and not _built_by_users(thing):
                continue
            if getattr(thing, "__name__", "_").startswith("_"):
                continue
            found.setdefault(thing, called)
    for kind in MAKERS:  # what their instances can do; `self` is made like any other argument
        for name, thing in vars(kind).items() if kind.__module__.startswith("icrl.") else ():
            thing = thing.fget if isinstance(thing, property) else thing
            if inspect.isfunction(thing) and not name.startswith("_"):
                place = kind.__module__.removeprefix("icrl.")
                found.setdefault(thing, f"{place}.{kind.__name__}.{name}")
                OWNERS[thing] = kind
    found = {called: thing for thing, called in found.items() if called not in LEFT_OUT}
    return found | {f"{name}, in blocks": in_blocks(found[name]) for name in IN_BLOCKS}


OWNERS = {}
"""The class of each method."""

IN_BLOCKS = ["attention.softmax_attention", "softmax_transformer.SoftmaxTransformer.forward"]
"""Called once more as if every context were long: without gradients, and with all of them."""


@functools.lru_cache
def in_blocks(function):
    """Attention of blocks of two columns, by kinds of tokens where that may be, and its gradients."""

    @functools.wraps(function)
    def inner(**given):
        with contextlib.ExitStack() as stack:
            for room in (attention, softmax_transformer, long_contexts):
                stack.enter_context(mock.patch.object(room, "LARGEST_SCORE_MATRIX", 3))
            stack.enter_context(mock.patch.object(streamed_attention, "BLOCK", 2))
            with torch.no_grad():
                alone = function(**given)
            leaves = [x for x in given.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
            leaves = [x.detach().clone().requires_grad_() for x in leaves]
            copies = iter(leaves)
            again = {
                name: next(copies) if isinstance(x, torch.Tensor) and x.is_floating_point() else x
                for name, x in given.items()
            }
            result = function(**again)
            if result.abs().max() > 1e100:  # the gradient may be too large for float64, truly
                return alone, result
            return alone, result, torch.autograd.grad(result.sum(), leaves)

    OWNERS.update({inner: OWNERS[function]} if function in OWNERS else {})
    return inner


def _built_by_users(kind):
    """Not a bare record of results, a protocol, or an exception."""
    record = issubclass(kind, tuple) or getattr(kind, "_is_protocol", False)
    return not record and "__init__" in vars(kind) and hasattr(kind, "__doc__")


# --------------------------------------------------------------------------------- Arguments that are right

SIZES = {
    "S": 3,
    "A": 2,
    "d": 2,
    "n": 4,
    "k": 2,
    "B": 2,
    "b": 2,
    "L": 2,
    "D": 5,
    "N": 5,
    "V": 3,
    "q": 1,
    "K": 2,
}
NUMBERS = {"discount": 0.9, "delta": 0.1, "step_size": 0.5, "scale": 1.0, "epsilon": 0.2}
COUNTS = {
    "num_states": "S",
    "num_actions": "A",
    "num_features": "d",
    "num_layers": "L",
    "num_transitions": "n",
}
STOCHASTIC = re.compile(r"transition|polic(y|ies)$|distribution|chain|starts?$|counts_law|probabilit")


def right(name, hint, rng, depth=0):
    """A value that fits the annotation and, as far as its name tells, the meaning."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return right(name, next(h for h in inner if h is not type(None)), rng, depth)
    if origin is typing.Literal:
        return inner[rng.integers(len(inner))]
    if hasattr(hint, "dim_str"):
        return _array(name, hint, rng)
    if hint is float:
        return NUMBERS.get(name, float(rng.uniform(0.1, 0.9)))
    if hint is int:
        return SIZES[COUNTS[name]] if name in COUNTS else int(rng.integers(1, 4))
    if hint is bool:
        return bool(rng.integers(2))
    if hint is str:
        return STRINGS.get(name, "x")
    if hint is np.random.Generator:
        return np.random.default_rng(int(rng.integers(100)))
    if hint is torch.Generator:
        return torch.Generator().manual_seed(int(rng.integers(100)))
    if hint is torch.dtype:
        return torch.float64
    if origin in (tuple, list, collections.abc.Sequence) and inner:
        entries = inner if origin is tuple and inner[-1] is not ... else inner[:1] * 2
        return origin_of(origin)(right(name, entry, rng, depth + 1) for entry in entries)
    if hint is collections.abc.Sequence:
        return [right("process", mdp.MarkovDecisionProcess, rng)] * SIZES["B"]
    if hint is dict and name == "configuration":
        return dataclasses.asdict(_configuration(rng))
    if hint is Path:
        return Path("/no such folder/no such file")
    if isinstance(hint, type) and hint in MAKERS:
        return MAKERS[hint](rng)
    if origin is collections.abc.Callable:
        return CALLBACKS.get(name, lambda *given: None)
    if isinstance(hint, type) and hint.__module__.startswith("icrl.") and depth < 3:
        return _built(hint, rng, depth)
    return None


def origin_of(origin):
    return tuple if origin is tuple else list


def _built(kind, rng, depth):
    """A record, each of its fields made in the same way; classes are kept at their defaults."""
    hints = typing.get_type_hints(kind)
    if issubclass(kind, tuple):
        return kind(*(right(name, hints[name], rng, depth + 1) for name in kind._fields))
    needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    hints = _hints(kind)
    return kind(**{name: right(name, hints.get(name), rng, depth + 1) for name in needed})


def _array(name, hint, rng):
    shape = []
    for dim in hint.dim_str.split():
        base, _, more = dim.strip("#").partition("_plus_")
        if dim == "..." or dim.startswith("*"):
            continue
        size = int(base) if base.isdigit() else SIZES.get(base, 2)
        shape.append(size + (int(more) if more.isdigit() else 0))
    kinds = {str(dtype)[:3] for dtype in hint.dtypes} if getattr(hint, "dtypes", None) else {"flo"}
    if not kinds & {"flo", "^fl"}:
        top = SIZES["A"] if "action" in name else SIZES["S"]
        values = rng.integers(top, size=shape)
        if "boo" in kinds or "^bo" in kinds:
            values = values > 0
        elif name == "states" and values.ndim and values.shape[-1] > 1:
            values[..., -1] = values[..., 0]  # covered
    elif STOCHASTIC.search(name) and shape:
        values = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])
    elif re.search(r"visits|counts|singular|spectrum|eigenvalues", name):
        values = rng.integers(1, 5, size=shape).astype(float)
    elif re.search(r"^discounts?$|rates?$|shares?$|step", name):
        values = rng.uniform(0.1, 0.9, size=shape)
    else:
        values = rng.normal(size=shape)
    values = np.asarray(values)
    return torch.from_numpy(values) if hint.array_type is torch.Tensor else values


STRINGS = {"kind": "random", "world": "random", "learner": "linear", "objective": "coarse", "centre": "zero"}
STRINGS |= {"tasks": "gaussian, d = 1", "name": "linear", "device": "cpu", "env_id": "FrozenLake-v1"}
STRINGS |= {"weighting": "start", "kinds": "random", "color": "teal"}
STRINGS |= {"path": str(Path(__file__).parents[1] / "book/data/control-tuning.csv")}

CALLBACKS = {"measure": lambda steps: [-abs(step - 0.5) for step in steps]}


def _seeded(rng):
    return torch.Generator().manual_seed(int(rng.integers(100)))


def _configuration(rng):
    sizes = {"num_layers": 2, "num_states": 3, "num_transitions": 4, "num_seeds": 2, "num_prompts": 2}
    weights = ["shared", "per-layer"][rng.integers(2)]
    return pretraining.Configuration(**sizes, num_steps=2, kind="random", weights=weights)


def _setting(rng):
    sizes = {"num_layers": 1, "num_states": 3, "num_transitions": 4, "num_seeds": 2, "num_prompts": 2}
    return standard_transformer.Setting(**sizes, num_names=3, width=4, num_heads=2, hidden=3, num_steps=2)


def _prompts(rng):
    sizes = {"num_states": 3, "num_transitions": 4, "num_names": 3, "discount": 0.5}
    return standard_transformer.draw_prompts(("random",), (2,), **sizes, generator=_seeded(rng))


def _experiment(rng):
    method = ["sarsa", "actor-critic"][rng.integers(2)]
    sizes = {"num_states": 3, "num_actions": 2, "num_transitions": 4, "batch": 2, "windows": 2}
    return gradient_flow.Experiment(method=method, **sizes)


def _axes(rng):
    ax = Figure().add_subplot()
    ax.plot([0, 1], rng.normal(size=2), label="line")
    return ax


def _window(rng):
    """A context whose rewards belong to its states, and what a certificate is asked about it."""
    states = np.array([0, 1, 2, 1, 0])
    return 4 * np.eye(3), states, rng.uniform(-1, 1, 3)[states[:-1]], 0.9, (-1.0, 1.0), 2, 0.1


def _improvement(rng, certified):
    policy, estimate = np.full((3, 2), 0.5), rng.normal(size=(3, 2))
    if not certified:
        return control.improvement(mdp.random_mdp(3, 2, 0.9, rng), policy, estimate, 0.2)
    pairs = np.array([0, 1, 2, 3, 4, 5, 0])
    return control.certified_improvement(
        policy, estimate, 0.2, pairs, rng.uniform(size=6), 0.9, (0.0, 1.0), 0.1
    )


def _population_bound(rng):
    return constructions.population_bound(6 * np.eye(3), mrp.random_mrp(3, 0.5, rng), 1000, 0.1)


def _updater(rng):
    kinds = control.LinearSarsa(0.5), control.Tabular("sarsa", 0.5), control.ActorCritic(0.5, 0.5)
    return kinds[rng.integers(len(kinds))]


def _loss(rng):
    return gradient_flow.random_tasks("gaussian", 1, 3, rng, num_transitions=4)


def _flow(rng):
    loss = _loss(rng)
    return gradient_flow.gradient_flow(loss, *gradient_flow.random_start(loss, "zero", 0.1, rng), 1.0)


MAKERS = {
    mrp.MarkovRewardProcess: lambda rng: mrp.random_mrp(SIZES["S"], 0.9, rng),
    mdp.MarkovDecisionProcess: lambda rng: mdp.random_mdp(SIZES["S"], SIZES["A"], 0.9, rng),
    softmax_transformer.SoftmaxTransformer: lambda rng: softmax_transformer.SoftmaxTransformer(
        2, 0.9, *softmax_transformer.softmax_td_weights(2)
    ),
    linear_transformer.LinearTransformer: lambda rng: linear_transformer.LinearTransformer(
        *linear_transformer.sarsa_weights(1, 0.5)
    ),
    gradient_flow.Worlds: lambda rng: gradient_flow.random_worlds(2, rng, num_states=3, num_actions=2),
    gradient_flow.Experiment: _experiment,
    gradient_flow.MimickingLoss: _loss,
    gradient_flow.Flow: _flow,
    gradient_flow.GaussianLoss: lambda rng: gradient_flow.GaussianLoss(2, 0.8, int(rng.integers(1, 9))),
    pretraining.Configuration: _configuration,
    free_weights.Context: lambda rng: pretraining.context(
        torch.from_numpy(rng.normal(size=(3, 2))),
        torch.tensor([0, 1, 2, 1, 0]),
        torch.from_numpy(rng.normal(size=3)),
        2,
        ["softmax", "linear"][rng.integers(2)],
    ),
    pretraining.Tasks: lambda rng: pretraining.draw_tasks(_configuration(rng), (2, 2), _seeded(rng)),
    pretraining.Worlds: lambda rng: pretraining.random_worlds("random", (2,), 3, _seeded(rng)),
    standard_transformer.Setting: _setting,
    standard_transformer.Architecture: lambda rng: _setting(rng).architecture,
    standard_transformer.Prompts: _prompts,
    standard_transformer.Run: lambda rng: standard_transformer.train(_setting(rng), _seeded(rng)),
    standard_transformer.Model: lambda rng: standard_transformer.empirical(_prompts(rng).counts),
    standard_transformer.Rivals: lambda rng: standard_transformer.fit_rivals(_prompts(rng), 0.5),
    control.Updater: _updater,
    control.deployment.Learner: lambda rng: control.ExpectedSarsa(0.5),
    control.Grid: lambda rng: control.LAKE,
    neu.TaskDistribution: lambda rng: neu.TaskDistribution(
        [mrp.random_mrp(SIZES["S"], 0.9, rng) for _ in range(2)], rng.normal(size=(3, 2))
    ),
    neu.Windows: lambda rng: MAKERS[neu.TaskDistribution](rng).sample(2, 4, rng),
    divergence.ExactChain: lambda rng: divergence.three_states(),
    Figure: lambda rng: Figure(),
    Axes: _axes,
    contraction.Certificate: lambda rng: contraction.certificate(*_window(rng)),
    depth.PricedCertificate: lambda rng: depth.priced_certificate(*_window(rng)),
    control.Improvement: lambda rng: _improvement(rng, certified=False),
    control.CertifiedImprovement: lambda rng: _improvement(rng, certified=True),
    gradient_flow.Richness: lambda rng: gradient_flow.richness(_loss(rng)),
    constructions.PopulationBound: _population_bound,
}


# ------------------------------------------------------------------------------------ One that is not right


class Odd:
    """Of no use to anybody."""

    def __repr__(self):
        return "Odd()"


BAD = {
    **{repr(x): x for x in (None, np.nan, np.inf, -np.inf, -1, 0, 1e308, 1e-308, 2.5, True, 1j)},
    **{
        repr(x): x for x in ("no such", "", b"x", (), [], [[]], {}, [[1.0], [1.0, 2.0]], [np.nan], [1], ["a"])
    },
    "odd": Odd(),
    "array of no axis": np.array(0.5),
    "empty array": np.zeros(0),
    "empty matrix": np.zeros((0, 2)),
    "NaN array": np.array([np.nan, 1.0]),
    "masked": np.ma.masked_array([0.5, 0.5], [True, False]),
    "objects": np.array([None, 1]),
    "tensor": torch.ones(2),
    "tensor of no axis": torch.tensor(0.5),
    "empty tensor": torch.zeros(0),
    "integer tensor": torch.ones(2, dtype=torch.long),
}


def _poisoned(poison):
    def change(x):
        x = np.array(x, dtype=np.float64)
        x.reshape(-1)[-1:] = poison
        return x

    return change


CHANGES = {
    "one NaN": _poisoned(np.nan),
    "one inf": _poisoned(np.inf),
    "one huge": _poisoned(1e308),
    "all large": lambda x: np.asarray(x) * 1e200,
    "all tiny": lambda x: np.asarray(x) * 1e-300,
    "negated": lambda x: -np.asarray(x),
    "zeros": lambda x: np.asarray(x) * 0,
    "one axis more": lambda x: np.asarray(x)[..., None],
    "one axis less": lambda x: np.asarray(x)[0],
    "one entry less": lambda x: np.asarray(x)[..., :-1],
    "one row less": lambda x: np.asarray(x)[:-1],
    "float32": lambda x: np.asarray(x, dtype=np.float32),
    "integers": lambda x: np.asarray(x).astype(int),
    "complex": lambda x: np.asarray(x).astype(complex),
    "list": lambda x: np.asarray(x).tolist(),
    "tensor": lambda x: torch.tensor(np.asarray(x)),
    "needs a gradient": lambda x: torch.tensor(np.asarray(x, dtype=float), requires_grad=True),
    "masked": lambda x: np.ma.masked_array(x, np.ones(np.shape(x), bool)),
    "strings": lambda x: np.asarray(x).astype(str),
}


def spoiled(value, kind):
    """One of `BAD`, or the right value changed; a tensor comes back as a tensor where that is possible."""
    if kind in BAD:
        return BAD[kind]
    was_tensor = isinstance(value, torch.Tensor)
    changed = CHANGES[kind](value.detach().numpy() if was_tensor else value)
    if was_tensor and isinstance(changed, np.ndarray) and changed.dtype.kind in "fiub":
        changed = torch.from_numpy(np.array(changed))
    return changed


# ------------------------------------------------------------------------------------------------- Outcomes


class Hang(BaseException):
    """A call that does not come back."""


@contextlib.contextmanager
def at_most(seconds):
    def stop(*_):
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _hints(function):
    target = function.__init__ if isinstance(function, type) else function
    return typing.get_type_hints(target)


def parameters(function):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in inspect.signature(function).parameters.values() if p.kind not in kinds]


def arguments(function, seed):
    """Right arguments: those without a default always, the others in half of the calls."""
    rng, hints = np.random.default_rng(seed), _hints(function)
    given = {}
    for parameter in parameters(function):
        if parameter.name == "self":
            given["self"] = MAKERS[OWNERS[function]](rng)
        elif parameter.default is parameter.empty or (rng.random() < 0.3 and parameter.name in NUMBERS):
            given[parameter.name] = right(parameter.name, hints.get(parameter.name), rng)
    visited = given.get("states", given.get("pairs"))
    if "reward_range" in given and np.ndim(visited) == np.ndim(given["rewards"]) == 1:
        visited[-1] = visited[0]  # covered
        given["rewards"], given["reward_range"] = np.sin(visited)[:-1], (-1.0, 1.0)  # each state has its own
    # What is long by default is short here.
    return given | {p.name: 1 for p in parameters(function) if p.name in ("runs", "windows", "climbers")}


def spoil(function, given, which, kind):
    """The same with one argument spoiled; None if that kind of spoiling does not apply to it."""
    names = [p.name for p in parameters(function) if p.name != "self"]
    if not names:
        return given
    name = names[which % len(names)]
    value = given.get(name, BAD["0"])
    if kind in CHANGES and not isinstance(value, (np.ndarray, torch.Tensor)):
        return None
    try:
        return given | {name: spoiled(value, kind)}
    except (TypeError, ValueError, IndexError):
        return None


def outcome(function, given):
    """What is wrong with a call, in words, or None: a finite answer or a documented refusal."""
    with warnings.catch_warnings(), at_most(SECONDS):
        warnings.simplefilter("ignore")
        try:
            result = function(**given)
            if inspect.isgenerator(result):
                result = list(itertools.islice(result, 20))  # lessons have no end
        except ValueError as error:
            return _refusal(function, given, error)
        except Hang as error:
            return f"hangs, {error}"
        except Exception as error:
            documented = type(error).__name__ in (function.__doc__ or "")
            return None if documented else f"{type(error).__name__}: {str(error)[:150]}"
    if not finite(result) and not re.search(r"(?i)\binf|\bnan\b|infinit", _documentation(function, result)):
        return "an answer that is not finite, and the documentation does not say so"
    return None


def _documentation(function, result):
    return f"{function.__doc__} {type(result).__doc__} {inspect.getmodule(function).__doc__}"


def _refusal(function, given, error):
    """A refusal is a plain ValueError that names an argument, or a field of one."""
    if type(error) is not ValueError:
        return f"{type(error).__name__}: {str(error)[:150]}"
    names = {p.name for p in parameters(function)}
    for value in given.values():
        if dataclasses.is_dataclass(value):
            names |= {field.name for field in dataclasses.fields(value)}
        names |= set(getattr(value, "_fields", ()))
    if not any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names):
        return f"ValueError that names no argument: {str(error)[:150]}"
    return None


def finite(result):
    """Whether all numbers in an answer are finite."""
    if isinstance(result, (tuple, list)):
        return all(map(finite, result))
    if isinstance(result, dict):
        return all(map(finite, result.values()))
    if dataclasses.is_dataclass(result):
        return all(finite(getattr(result, f.name)) for f in dataclasses.fields(result))
    if isinstance(result, torch.nn.Module):
        return all(map(finite, result.parameters()))
    if isinstance(result, torch.Tensor):
        return not result.is_floating_point() or bool(result.isfinite().all())
    if isinstance(result, (np.ndarray, float, complex)):
        return np.asarray(result).dtype.kind not in "fc" or bool(np.isfinite(result).all())
    return True


def run(number, seed=0, only=""):
    """Count outcomes; what is wrong is listed once for each function and error."""
    rng, wrong = np.random.default_rng(seed), collections.defaultdict(list)
    functions = {name: f for name, f in face().items() if only in name}
    kinds, done = [*BAD, *CHANGES], 0
    while done < number:
        name = list(functions)[rng.integers(len(functions))]
        try:
            given = arguments(functions[name], int(rng.integers(1000)))
        except Exception as error:
            wrong[name, f"cannot be given right arguments: {type(error).__name__}"].append(str(error)[:200])
            done += 1
            continue
        what = "right"
        if rng.random() < 0.8:
            which, kind = int(rng.integers(20)), kinds[rng.integers(len(kinds))]
            changed = spoil(functions[name], given, which, kind)
            if changed is None:
                continue
            names = [p.name for p in parameters(functions[name]) if p.name != "self"]
            given, what = changed, f"{names[which % len(names)]} = {kind}" if names else "right"
        done += 1
        found = outcome(functions[name], given)
        if found:
            wrong[name, re.sub(r"0x\w+|\d+", "#", found)].append(f"{what}: {found}")
    return done, wrong


if __name__ == "__main__":
    count, found = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, *sys.argv[3:4])
    for (name, _), cases in sorted(found.items()):
        print(f"{len(cases):4d}  {name}  {cases[0]}")
    print(
        f"{count} calls, {sum(map(len, found.values()))} wrong, {len(found)} kinds, {len(face())} callables"
    )
