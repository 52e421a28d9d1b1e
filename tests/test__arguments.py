"""Checks read off annotations: what each accepts, converts, and says of what it refuses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from refusals import refused
from torch import Tensor

from icrl._arguments import checked


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
