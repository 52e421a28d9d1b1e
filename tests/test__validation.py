"""The checks behind every ValueError, one by one: what passes, and what each says of what does not."""

import numpy as np
import pytest
from refusals import refused

from icrl import _validation as valid


def test_one_entry_out_of_range_is_enough():
    message = "x has entries so large that a sum leaves the range of float64"
    refused(message, valid.in_range, np.array([1.0, np.inf]), "x", "a sum")
    assert valid.in_range(np.ones(2), "x", "a sum").tolist() == [1, 1]


def test_arrays_become_float64_and_are_left_alone():
    given = np.array([[1, 2], [3, 4]])
    result = valid.array("x", given, 2)
    assert result.dtype == np.float64
    assert given.dtype != np.float64
    assert valid.array("x", True) == 1


@pytest.mark.parametrize(
    ("value", "ndim", "message"),
    [
        ([1.0, np.nan], 1, "x[1] is nan; every entry must be finite"),
        (-np.inf, None, "x is -inf; every entry must be finite"),
        ([1.0], 2, "x has shape (1,); it must have 2 axes"),
        (np.zeros((0, 2)), 2, "x has shape (0, 2); no axis may be empty"),
        ("one", None, "x is 'one', of dtype ...; it must be an array of real numbers"),
        ([[1.0], [1.0, 2.0]], None, "x is ...; it must be an array of real numbers"),
        (1j, None, "x is 1j, of dtype complex128; it must be an array of real numbers"),
    ],
)
def test_arrays(value, ndim, message):
    refused(message, valid.array, "x", value, ndim)


def test_shapes():
    assert valid.shaped("x", [1.0, 2.0], (2,), "two").shape == (2,)
    refused("x has shape (2,); it must be (3,), three", valid.shaped, "x", [1.0, 2.0], (3,), "three")


def test_distributions():
    assert valid.stochastic("p", [[0.5, 0.5], [1, 0]]).shape == (2, 2)
    assert valid.stochastic("p", [0.5, 0.5 + 9e-9]).sum() != 1  # not repaired
    refused("p row 1 sums to 0.9; every row must sum to 1", valid.stochastic, "p", [[1, 0], [0.5, 0.4]])
    refused("p row 0, 1 holds -0.5; ...", valid.stochastic, "p", [[[1, 0], [1.5, -0.5]]])
    refused("p sums to 0; every row must sum to 1", valid.stochastic, "p", [0.0, 0.0])


@pytest.mark.parametrize(
    ("check", "good", "bad", "message"),
    [
        (valid.discount, 0.0, 1.0, "discount is 1; it must lie in [0, 1)"),
        (valid.discount, 0.999, -1e-9, "discount is -1e-09; it must lie in [0, 1)"),
        (lambda x: valid.probability("p", x), 0.5, 0.0, "p is 0; it must lie in (0, 1)"),
        (lambda x: valid.probability("p", x), 1e-9, 1.0, "p is 1; it must lie in (0, 1)"),
        (lambda x: valid.positive("p", x), 1e-300, 0.0, "p is 0; it must be positive"),
        (lambda x: valid.number("p", x), -1.0, [1.0], "p is [1.0]; it must be one real number"),
        (lambda x: valid.number("p", x), 10**15, 10**400, "p is ...; it must be one real number"),
        (lambda x: valid.count("n", x, 1), 1, 0, "n is 0; it must be at least 1"),
        (lambda x: valid.count("n", x, 1), np.int8(3), 1.0, "n is 1.0; it must be an integer"),
        (lambda x: valid.count("n", x, 0), 0, False, "n is False; it must be an integer"),
    ],
)
def test_numbers(check, good, bad, message):
    assert check(good) == good
    refused(message, check, bad)


def test_indices():
    assert valid.indices("s", [0, 2], 3, "states").dtype == np.int64
    assert valid.indices("s", [], 3, "states").size == 0
    refused("s[1] is 3; states run from 0 to 2", valid.indices, "s", [0, 3], 3, "states")
    refused("s[0] is -1; states run from 0 on", valid.indices, "s", [-1], None, "states")
    refused("s has dtype float64; states are integers", valid.indices, "s", [1.0], 3, "states")


def test_contexts():
    features, states, rewards = valid.context([[1.0], [2.0]], [0, 1], [5.0])
    assert features.shape == (2, 1)
    assert states.tolist() == [0, 1]
    assert rewards.tolist() == [5]
    refused("states has shape (1,); ...two states", valid.trajectory, [0], 1)
    refused("states has shape (1, 2); ...", valid.trajectory, [[0, 0]], 1)
    assert valid.trajectory([[0, 0]], 1, batched=True).shape == (1, 2)
    refused("rewards has shape (2,); it must be (1,), ...", valid.context, [[1.0]], [0, 0], [1.0, 2.0])


def test_step_sizes_are_copied():
    assert valid.step_sizes(0.5, 3).tolist() == [0.5] * 3
    given = np.array([1.0, 2.0])
    valid.step_sizes(given, 2)[:] = 0
    assert given.tolist() == [1, 2]
    refused("step_size is -1; it must be positive", valid.step_sizes, [1.0, -1.0], 2)


def test_rewards_of_a_range_and_of_a_state():
    assert valid.width((0, 2), np.array([0.0, 1.5])) == 2
    refused("reward_range is (2, 0); ...", valid.width, (2, 0), np.zeros(1))
    refused("rewards[1] is 3; it must lie in ...", valid.width, (0, 2), np.array([0.0, 3.0]))
    sources, rewards = np.array([0, 1, 0]), np.array([1.0, 2.0, 1.0])
    assert valid.reward_of_state(sources, rewards, 3).tolist() == [1, 2, 0]
    refused("rewards[0] is 1 in state 0, ...", valid.reward_of_state, sources, np.array([1.0, 2, 4]), 2)


def test_tensors():
    import torch

    valid.tensor("z", torch.zeros(2))
    refused("z is a ndarray; it must be a torch.Tensor", valid.tensor, "z", np.zeros(2))
    refused("z has dtype torch.int64; it must be floating point", valid.tensor, "z", torch.zeros(2).long())
    refused("z[1] is nan; ...", valid.tensor, "z", torch.tensor([0.0, torch.nan]))
    valid.broadcastable(a=(3, 1), b=(2,))
    refused("batch dimensions must ...; a has (3,), b has (2,)", valid.broadcastable, a=(3,), b=(2,))
    refused("prompt has 2 columns ...", valid.sources, torch.zeros(3, 2), 2)
