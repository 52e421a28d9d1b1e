"""Checks read off annotations: what each accepts, converts, and says of what it refuses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from refusals import refused
from torch import Tensor

from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess


@checked
def everything(
    x: Float[np.ndarray, "*b n d"],
    k: Int[np.ndarray, "*b n_plus_1"] | None = None,
    z: Float[Tensor, "m 3"] | None = None,
    mask: Bool[np.ndarray, " d"] | None = None,
    kind: Literal["one", "two"] = "one",
    size: int = 1,
    rate: float = 0.5,
    rng: np.random.Generator | None = None,
    names: Sequence[str] = (),
    pair: tuple[int, float] = (1, 2.0),
    call: Callable[[], int] | None = None,
    either: float | Float[np.ndarray, " d"] = 1.0,
):
    return x, z, either


X = np.ones((4, 2))


def test_accepts_and_converts():
    """Lists, integers, float32 become float64; a tensor an array, an array a tensor; nothing in place."""
    x, z, either = everything([[1, 2], [3, 4]], z=np.ones((5, 3)), either=[1, 2])
    assert (x.dtype, x.shape) == (np.float64, (2, 2))
    assert (z.dtype, tuple(z.shape)) == (torch.float64, (5, 3))
    assert either.tolist() == [1, 2]
    assert everything(torch.ones(4, 2, dtype=torch.float32))[0].dtype == np.float64
    given = np.float32(X)
    everything(given, np.zeros(5, int), torch.ones(2, 3), np.ones(2, bool), "two", np.int64(3), 1)
    assert given.dtype == np.float32
    everything(
        np.ones((7, 4, 2)), np.zeros((7, 5), int), rng=np.random.default_rng(0), call=dict, names=["a"]
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [[1.0, np.nan]]}, "x[0, 1] is nan; every entry must be finite"),
        ({"x": np.ma.masked_array(X, X > 0)}, "x is a masked array, whose mask would be lost; ..."),
        ({"x": np.ones(2)}, "x has shape (2,); it must be (*b, n, d)"),
        ({"z": torch.ones(5, 3, 1)}, "z has shape (5, 3, 1); it must be (m, 3)"),
        ({"z": torch.ones(3)}, "z has shape (3,); it must be (m, 3)"),
        ({"x": np.ones((0, 2))}, "x has shape (0, 2); no axis may be empty"),
        ({"x": torch.ones(4, 2, requires_grad=True)}, "x is tensor(...; it must be an array of real numbers"),
        ({"k": np.zeros(4, int)}, "k has shape (4,); its axis n_plus_1 must have length 5, as x says"),
        ({"k": np.zeros((3, 5), int)}, "k has shape (3, 5); its axes *b must be (), as x says"),
        ({"k": np.zeros(5)}, "k is array(...; it must be an array of integers"),
        ({"z": [[1.0] * 3]}, "z is a list; it must be a torch.Tensor"),
        ({"z": torch.ones(2, 2)}, "z has shape (2, 2); its axis 3 must have length 3"),
        ({"z": torch.ones(2, 3).long()}, "z has dtype torch.int64; it must be floating point"),
        ({"mask": np.ones(2)}, "mask is array(...; it must be an array of booleans"),
        ({"kind": "three"}, "kind is 'three'; it must be one of one, two"),
        ({"kind": None}, "kind is None; it must be one of one, two"),
        ({"size": 1.0}, "size is 1.0; it must be an integer"),
        ({"rate": "1"}, "rate is '1', of dtype <U1; it must be one real number"),
        ({"rng": 0}, "rng is 0; it must be a Generator"),
        ({"names": "ab"}, "names is 'ab'; it must be a sequence"),
        ({"names": [1]}, "names[0] is 1; it must be a str"),
        ({"pair": (1,)}, "pair has 1 entries; it must have 2"),
        ({"pair": (1, None)}, "pair[1] is None, of dtype object; it must be one real number"),
        ({"call": 3}, "call is 3; it must be callable"),
        ({"either": None}, "either is None, of dtype object; it must be one real number"),
        ({"either": np.ones((1, 2))}, "either is array([[1., 1.]]); it must be one real number"),
        ({"either": "x"}, "either is 'x', of dtype <U1; it must be one real number"),
    ],
)
def test_refuses_one_argument(change, message):
    refused(message, everything, **({"x": X} | change))


@pytest.mark.bad_input
def test_refuses_results_that_are_not_finite():
    """Unless the function says that it may: then they are an answer."""

    def power(base: float, exponent: float):
        return {"all": (np.float64(base) ** exponent,)}

    refused("base, exponent: power leaves the range of floating point", checked(power), 1e200, 2.0)
    with np.errstate(over="ignore"):
        assert checked(power, finite=False)(1e200, 2.0) == {"all": (np.inf,)}
    assert checked(power)(2.0, 2.0) == {"all": (4.0,)}


def test_a_result_without_entries_is_let_through():
    """Under ``vmap`` nobody can look at the entries of a result."""

    @checked
    def double(x: Float[torch.Tensor, "k"]):
        return 2 * x

    assert torch.equal(torch.func.vmap(double)(torch.ones(3, 2)), 2 * torch.ones(3, 2))


@pytest.mark.bad_input
def test_refuses_what_a_class_is_given():
    @checked
    @dataclass(frozen=True)
    class Box:
        size: int
        kind: Literal["a", "b"] = "a"

    assert Box(3).size == 3
    refused("size is None; it must be an integer", Box, None)
    refused("kind is 'c'; it must be one of a, b", Box, 1, "c")
    with pytest.raises(TypeError, match="missing a required argument: 'size'"):
        Box()


@pytest.mark.bad_input
def test_refuses_tensors_of_the_wrong_kind():
    @checked
    def both(a: Float[Tensor, "*b n"], i: Int[Tensor, " n"], c: Float[Tensor, " n"]):
        return a

    one, index = torch.ones(2), torch.ones(2, dtype=torch.long)
    assert both(one, index, one) is one
    refused("i has dtype torch.float32; it must be a tensor of integers", both, one, one, one)
    refused("i is [1, 1]; it must be a torch.Tensor", both, one, [1, 1], one)


@pytest.mark.bad_input
def test_records_come_first():
    """What is wrong beside a process is the array that does not fit it, whatever the order."""

    class Pair(NamedTuple):
        left: Float[np.ndarray, "S d"]

    @checked
    def beside(
        a: Float[np.ndarray, "S d"],
        process: MarkovRewardProcess,
        flag: bool = False,
        *,
        more: Pair | None = None,
    ):
        return len(a), more

    process = MarkovRewardProcess(np.eye(3), np.zeros(3), 0.5)
    assert beside(np.ones((3, 2)), process, more=Pair(np.ones((3, 1))))[1] is not None
    message = "a has shape (2, 2); its axis S must have length 3, as process.transition says"
    refused(message, beside, np.ones((2, 2)), process)
    message = "more.left has shape (2, 4); its axis S must have length 3, as process.transition says"
    refused(message, beside, np.ones((3, 2)), process, more=Pair(np.ones((2, 4))))
    refused("process is 3; it must be a MarkovRewardProcess", beside, np.ones((2, 2)), 3)
    assert beside(np.ones((3, 2)), process, np.True_)[0] == 3
    refused("flag is 1; it must be a bool", beside, np.ones((3, 2)), process, 1)


def test_axes_of_any_number():
    """Dots are free; a batch has one name and may stand anywhere; ``#`` and ``_`` are not compared."""

    @checked
    def shapes(
        k: Int[np.ndarray, " n_plus_1"],
        x: Float[np.ndarray, "n *b d"],
        free: Float[np.ndarray, "... d"],
        other: Float[np.ndarray, "... _"],
        wide: Float[np.ndarray, "*#b #n"],
        most: Float[np.ndarray, "#n _"],
    ):
        return len(k)

    good = [
        np.zeros(4, int),
        np.ones((3, 5, 6, 2)),
        np.ones((7, 2)),
        np.ones((8, 9, 1)),
        np.ones((1, 6, 1)),
        np.ones((1, 5)),
    ]
    assert shapes(*good) == 4
    for at, bad, message in (
        (1, np.ones((4, 5, 2)), "x has shape (4, 5, 2); its axis n must have length 3, as k says"),
        (1, np.ones(3), "x has shape (3,); it must be (n, *b, d)"),
        (2, np.ones((2, 7)), "free has shape (2, 7); its axis d must have length 2, as x says"),
    ):
        refused(message, shapes, *good[:at], bad, *good[at + 1 :])


@pytest.mark.bad_input
def test_batches_behind_an_axis_agree():
    @checked
    def both(x: Float[np.ndarray, "n *b d"], y: Float[np.ndarray, "m *b"]):
        return 0

    assert both(np.ones((3, 5, 6, 2)), np.ones((4, 5, 6))) == 0
    message = "y has shape (4, 6, 5); its axes *b must be (5, 6), as x says"
    refused(message, both, np.ones((3, 5, 6, 2)), np.ones((4, 6, 5)))


@pytest.mark.bad_input
def test_sequences_have_entries_of_one_kind():
    """Arrays of unlike lengths in a list, of like ones in a tuple; no list of arrays is empty."""

    @checked
    def many(
        xs: Sequence[Float[np.ndarray, " n"]] = (np.ones(1),),
        pair: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] = (np.ones(1), np.ones(1)),
        sizes: tuple[int, ...] = (),
        worlds: list[MarkovRewardProcess] | None = None,
        ends: Sequence[Any] = (),
    ):
        return len(xs)

    assert many([np.ones(2), np.ones(3), np.ones(4)], sizes=(1, 2, 3), ends=[1, "a"]) == 3
    refused("sizes[2] is 'a'; it must be an integer", many, sizes=(1, 2, "a"))
    refused("xs is empty; give at least one", many, [])
    refused("worlds is empty; give at least one", many, worlds=[])
    refused("xs is <generator ...; it must be a sequence", many, (np.ones(1) for _ in range(2)))
    refused("xs[1][0] is nan; every entry must be finite", many, [np.ones(2), np.array([np.nan])])
    refused(
        "pair[1] has shape (3,); its axis n must have length 2, as pair[0] says",
        many,
        pair=(np.ones(2), np.ones(3)),
    )


@pytest.mark.bad_input
def test_counts_are_not_negative():
    @checked
    def counts(seed: int = 0, num_rows: int = 0, shift: int = 0):
        return shift

    assert counts(0, 0, -3) == -3
    refused("seed is -1; it must be at least 0", counts, -1)
    refused("num_rows is -1; it must be at least 0", counts, 0, -1)


class Axes:
    """A class whose name begins with a vowel."""


@runtime_checkable
class Sized(Protocol):
    def __len__(self): ...


class Vague(Protocol):
    size: int


@pytest.mark.bad_input
def test_what_is_not_checked_is_let_through():
    """No annotation, any type, a protocol that Python cannot see, texts among others; the rest is."""

    @checked
    def loose(
        plain,
        anything: Any,
        vague: Vague,
        source: str | Path | None,
        name: str | None,
        axes: Axes,
        held: Sized,
        *rest: int,
    ):
        return plain

    assert loose(None, 3, 4, 5.5, None, Axes(), [], "rest") is None
    refused("name is 3; it must be a str", loose, 1, 1, 1, 1, 3, Axes(), [])
    refused("axes is 3; it must be an Axes", loose, 1, 1, 1, 1, "n", 3, [])
    refused("held is 3; it must be a Sized", loose, 1, 1, 1, 1, "n", Axes(), 3)


@pytest.mark.parametrize("swapped", [False, True])
def test_arrays_and_tensors_stay_what_they_are(swapped):
    hints = [Float[np.ndarray, " n"], Float[Tensor, " n"]]

    def same(x):
        return x

    same.__annotations__ = {"x": hints[swapped] | hints[not swapped]}
    assert isinstance(checked(same)(np.ones(2)), np.ndarray)
    assert isinstance(checked(same)(torch.ones(2)), Tensor)


@pytest.mark.bad_input
def test_errors_of_rooms_below_are_laid_to_the_arguments():
    """Unless they name one, or a field of one, or the function documents them."""

    class Record(NamedTuple):
        depth: int

    @checked
    def fails(x: float, record: Record, error: Exception):
        """Raises a LookupError, or a ZeroDivisionError."""
        raise error

    record = Record(3)
    for text in ("x is bad", "record is bad", "depth is bad", "note is bad"):
        (error := ValueError(text)).note = 1
        refused(text, fails, 1.0, record, error)
    refused(
        "x, record, error: it is bad, as exes are", fails, 1.0, record, ValueError("it is bad, as exes are")
    )
    refused("x, record, error: x is bad", fails, 1.0, record, np.linalg.LinAlgError("x is bad"))
    refused("x, record, error: x is bad", fails, 1.0, record, OverflowError("x is bad"))
    with pytest.raises(ZeroDivisionError, match=r"^x is bad$"):
        fails(1.0, record, ZeroDivisionError("x is bad"))

    @checked
    class Empty:
        def __init__(self):
            raise ValueError("nothing to hold")

    refused("nothing to hold", Empty)
    refused("input: nothing to give", checked(lambda: int("x") if 0 else _raise("nothing to give")))


def _raise(text):
    raise ValueError(text)


@dataclass
class Answer:
    first: float
    second: object


@pytest.mark.parametrize(
    ("held", "finite"),
    [
        (np.array([1.0, np.inf]), False),
        ((1.0, np.inf), False),
        ([np.inf, 1.0], False),
        (Answer(1.0, np.inf), False),
        (Answer(np.inf, 1.0), False),
        (Answer(1.0, Answer), True),
        (np.float32(np.inf), False),
        (np.float32(1), True),
        (complex(1, np.inf), False),
        (np.array([1.0, 1j * np.inf]), False),
        (torch.tensor([1.0, np.inf]), False),
        (torch.tensor([1, 2]), True),
        (np.array([1, 2]), True),
        (["text", 3, None, True], True),
        (SimpleNamespace(requires_grad=True), True),
    ],
)
def test_results_are_looked_through(held, finite):
    function = checked(lambda: held)
    if finite:
        assert function() is held
    else:
        refused("input: <lambda> leaves the range of floating point", function)


def test_what_a_class_computes_warns_as_elsewhere():
    """No result is looked at there, so nothing else would tell."""

    @checked
    @dataclass
    class Root:
        x: float

        def __post_init__(self):
            self.y = np.log(np.float64(self.x))

    with pytest.warns(RuntimeWarning, match="divide by zero"):
        Root(0.0)


@pytest.mark.bad_input
def test_arrays_for_tensors():
    """Of integers and booleans, too, whatever their width; not masked, nor of anything else."""

    @checked
    def kinds(x: Float[Tensor, " n"], i: Int[Tensor, " n"], b: Bool[Tensor, " n"]):
        return i, b

    x, b = np.ones(2, np.float32), np.array([True, False])
    i, kept = kinds(x, np.arange(2, dtype=np.uint8), b)
    assert (i.dtype, kept.dtype) == (torch.int64, torch.bool)
    i = torch.arange(2)
    refused("x is a MaskedArray; it must be a torch.Tensor", kinds, np.ma.masked_array(x, b), i, b)
    refused("x is a ndarray; it must be a torch.Tensor", kinds, x + 0j, i, b)
    refused("x has shape (0,); no axis may be empty", kinds, torch.zeros(0), i, b)
    refused("i has dtype torch.bool; it must be a tensor of integers", kinds, x, b, b)
    refused("i has dtype torch.complex64; it must be a tensor of integers", kinds, x, torch.ones(2) + 0j, b)
    refused("b has dtype torch.int64; it must be a tensor of booleans", kinds, x, i, i)
    refused("b has dtype torch.float32; it must be a tensor of booleans", kinds, x, i, torch.ones(2))
