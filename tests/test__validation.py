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


def test_the_first_bad_entry_is_named():
    import torch

    for check, bad in (
        (valid.array, [1.0, np.inf, np.nan]),
        (valid.tensor, torch.tensor([1.0, np.inf, np.nan])),
    ):
        refused("x[1] is inf; every entry must be finite", check, "x", bad)
    refused("s[1] is 5; states run from 0 to 2", valid.indices, "s", [0, 5, 7], 3, "states")
    refused("p row 1 sums to 0.5; ...", valid.stochastic, "p", [[0, 1], [0.5, 0], [0, 0]])
    refused("rewards[0] is 5 in state 0, whose last reward is 4; ...", valid.reward_of_state, *SAME, 1)


SAME = np.zeros(3, int), np.array([5.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("rewards", "allowed"),
    [
        ([1e-9, 0.0], True),
        ([1.2e-9, 0.0], False),
        ([1.2e-9, 1e-12], False),
        ([0.0, 1.2e-9], False),
        ([1e6, 1e6 + 9e-4], True),
        ([-1e6, -1e6 + 9e-4], True),
        ([1e6 + 2e-3, 1e6], False),
    ],
)
def test_rewards_of_a_state_agree_to_a_billionth_of_the_largest(rewards, allowed):
    """Of 1 at least; the last one counts."""
    arguments = np.array([1, 1, 0]), np.array([*rewards, 0.0]), 3
    if allowed:
        assert valid.reward_of_state(*arguments).tolist() == [0, rewards[1], 0]
    else:
        refused("rewards[0] is ... in state 1, whose last reward is ...", valid.reward_of_state, *arguments)


def test_a_range_of_rewards_holds_its_ends():
    assert valid.width((-1, 2), np.array([-1.0, 2.0])) == 3
    assert valid.width((1, 1), np.ones(2)) == 0
    refused(
        "reward_range is (-1e+308, 1.5e+308), wider than ...", valid.width, (-1e308, 1.5e308), np.zeros(1)
    )
    refused("reward_range has shape (3,); it must be (2,), ...", valid.width, (0, 1, 2), np.zeros(1))
    refused(
        "rewards[1] is -2; it must lie in reward_range, -1 to 2", valid.width, (-1, 2), np.array([0.0, -2])
    )


def test_linear_systems_are_conditioned():
    """As the worst of a batch is; the limit is 1e12 unless given."""
    good, bad = np.diag([1.0, 2.0**-39]), np.diag([1.0, 2.0**-40])
    valid.conditioned("x", good)
    refused(
        "x gives a linear system of condition 1e+12; it must be below 1e+12, ...", valid.conditioned, "x", bad
    )
    refused("x gives ...", valid.conditioned, "x", np.stack([good, bad]))
    valid.conditioned("x", np.diag([1.0, 1 / 16]), limit=16)
    refused(
        "x gives ... condition 2e+01; it must be below 2e+01, ...",
        valid.conditioned,
        "x",
        np.diag([1, 1 / 17]),
        16,
    )
    for entry in (np.inf, np.nan):
        refused("x gives ... condition inf; ...", valid.conditioned, "x", np.diag([1.0, entry]))


def test_scores_are_inner_products_of_rows():
    x, y = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[1.0, 0], [1, 1]])
    assert valid.scores(x).tolist() == [[5, 11, 17], [11, 25, 39], [17, 39, 61]]
    assert valid.scores(x, y).tolist() == [[1, 3], [3, 7], [5, 11]]
    for large in ([[1e200]], [[1e200] * 64, [1e200, -1e200] * 32]):  # inf; inf - inf
        refused("features has entries so large that a score, ...", valid.scores, np.array(large))


def test_the_update_that_diverged_is_named():
    values = np.zeros((4, 2, 3))
    assert valid.iterates(values, "num_layers") is values
    values[2:, 1, 0] = np.nan
    refused("num_layers is 3, but update 2 leaves ...", valid.iterates, values, "num_layers")


def test_distributions_sum_to_one_to_1e_8():
    valid.stochastic("p", [[0.2, 0.8], [0.5, 0.5], [1, 0]])
    for row in ([0.5, 0.5 + 2e-8], [0.5, 0.5 - 2e-8]):
        refused("p sums to ...; every row must sum to 1", valid.stochastic, "p", row)
    refused("p is 1.0; it must be an array whose last axis is a distribution", valid.stochastic, "p", 1.0)
    refused("p is nan; it must be finite", valid.number, "p", np.nan)


def test_axes_of_contexts():
    """Time is the last axis; before it, a batch of any shape where one is allowed."""
    refused("states has shape (); a context needs ...", valid.trajectory, 0, 1)
    for batch in ((3,), (2, 3)):
        states, rewards = np.zeros((*batch, 5), int), np.ones((*batch, 4))
        assert valid.trajectory(states, 1, batched=True).shape == (*batch, 5)
        assert valid.rewards_of(states, rewards).shape == (*batch, 4)
    refused("states has shape (4, 1); a context needs ...", valid.trajectory, np.zeros((4, 1), int), 1, True)


def test_step_sizes_are_one_or_one_for_each_layer():
    for value, shape in (([1.0, 2.0], "(2,)"), ([[1.0, 2.0, 3.0]], "(1, 3)")):
        refused(
            f"step_size has shape {shape}; give one float or one for each ...", valid.step_sizes, value, 3
        )
    refused("step_size is 0; it must be positive", valid.step_sizes, 0.0, 3)


def test_some_column_is_a_source():
    import torch

    valid.sources(torch.zeros(2, 3, 4), 3)
    refused("prompt has 4 columns and num_queries is 4; ...", valid.sources, torch.zeros(2, 5, 4), 4)


def test_long_values_are_shortened_to_a_line():
    assert valid.short("x" * 78) == repr("x" * 78)
    assert valid.short("x" * 79) == "'" + "x" * 76 + "..."
    refused("kind is 2.0; it must be one of 1, a", valid.option, "kind", 2.0, (1, "a"))
    refused("kind is array([1, 1]); it must be ...", valid.option, "kind", np.ones(2, int), (1,))


def test_results_that_are_not_finite_are_laid_to_who_gave_them():
    """To an argument that is not finite, or else to the size of all; what is watched stands for all."""
    import torch

    one, large = torch.ones(2), torch.full((2,), 3e38)
    assert valid.all_finite(large)  # though their sum is not
    assert not valid.all_finite(torch.tensor([1.0, torch.inf]))
    assert valid.answer(large, x=one) is large
    refused(
        "x or y has entries so large that ... range of torch.float32", valid.answer, large * 2, x=large, y=one
    )
    refused(
        "y[1] is nan; every entry must be finite",
        valid.answer,
        large * 2,
        x=one,
        y=one * torch.tensor([1, np.nan]),
    )
    assert valid.answer(large * 2, watched=one, x=one) is not None
    refused("x has entries ...", valid.answer, one, watched=large * 2, x=one)
