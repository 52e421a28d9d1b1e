"""What Part I's package refuses: always a ValueError that names the argument, the value and the rule.

Run without jaxtyping's hook, whose own errors would come first.
"""

import re

import numpy as np
import pytest
import torch

from icrl import softmax_td as td
from icrl.attention import linear_attention, softmax_attention, softmax_weights
from icrl.mrp import MarkovRewardProcess, boyan_chain, loop_chain, random_mrp, sample_batch
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

pytestmark = pytest.mark.bad_input

HALVES, REWARD = np.full((2, 2), 0.5), np.zeros(2)
FEATURES, STATES, REWARDS = np.eye(2), np.array([0, 1, 0]), np.ones(2)
NAN, INF, RAGGED = np.nan, np.inf, [[1.0, 0.0], [1.0]]
TOO_LARGE = 10**400  # an integer that no float holds


def refused(message, function, *arguments, **options):
    """`message` is the whole text, from the start, with ... for what may stand there."""
    pattern = re.escape(message).replace(r"\.\.\.", ".*")
    with pytest.raises(ValueError, match=f"(?s)^{pattern}$") as caught:
        function(*arguments, **options)
    assert caught.type is ValueError  # not a subclass such as LinAlgError, raised by accident


# ------------------------------------------------------------------------------------------ Processes


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        ([[1, 0], [0.5, 0.47]], "transition row 1 sums to 0.97; every row must sum to 1"),
        ([[1, 0], [0.5, 0.500001]], "transition row 1 sums to 1.000001; every row must sum to 1"),
        ([[0, 0], [0, 1]], "transition row 0 sums to 0; every row must sum to 1"),
        ([[1.1, -0.1], [0, 1]], "transition row 0 holds -0.1; a probability must not be negative"),
        ([[1, 0], [NAN, 1]], "transition[1, 0] is nan; every entry must be finite"),
        ([[1, 0], [1, -INF]], "transition[1, 1] is -inf; every entry must be finite"),
        (np.full((2, 3), 1 / 3), "transition has shape (2, 3); it must be square"),
        ([0.5, 0.5], "transition has shape (2,); it must have 2 axes"),
        (np.full((1, 1, 1), 1.0), "transition has shape (1, 1, 1); it must have 2 axes"),
        (1.0, "transition has shape (); it must have 2 axes"),
        (np.empty((0, 0)), "transition has shape (0, 0); no axis may be empty"),
        (RAGGED, "transition is [[1.0, 0.0], [1.0]]; it must be an array of real numbers"),
        (HALVES + 0j, "transition is ..., of dtype complex128; it must be an array of real numbers"),
        (None, "transition is None, of dtype object; it must be an array of real numbers"),
        ([["1", "0"], ["0", "1"]], "transition is ..., of dtype <U1; it must be an array of real numbers"),
    ],
)
def test_transition(transition, message):
    """A square matrix of distributions."""
    refused(message, MarkovRewardProcess, transition, REWARD, 0.5)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ([0.0, NAN], "reward[1] is nan; every entry must be finite"),
        ([INF, 0.0], "reward[0] is inf; every entry must be finite"),
        ([0.0, 0.0, 0.0], "reward has shape (3,); it must be (2,), one entry for each state"),
        ([[0.0, 0.0]], "reward has shape (1, 2); it must have 1 axes"),
        ([], "reward has shape (0,); no axis may be empty"),
        ([TOO_LARGE, 0], "reward is ..., of dtype object; it must be an array of real numbers"),
    ],
)
def test_reward(reward, message):
    """One finite number for each state."""
    refused(message, MarkovRewardProcess, HALVES, reward, 0.5)


DISCOUNTS = [
    (1.0, "discount is 1; it must lie in [0, 1)"),
    (1, "discount is 1; it must lie in [0, 1)"),
    (-0.1, "discount is -0.1; it must lie in [0, 1)"),
    (1.5, "discount is 1.5; it must lie in [0, 1)"),
    (NAN, "discount is nan; it must be finite"),
    (INF, "discount is inf; it must be finite"),
    ([0.5], "discount is [0.5]; it must be one real number"),
    (0.5j, "discount is 0.5j, of dtype complex128; it must be one real number"),
    ("0.5", "discount is '0.5', of dtype <U3; it must be one real number"),
    (None, "discount is None, of dtype object; it must be one real number"),
    (TOO_LARGE, "discount is 1000..., of dtype object; it must be one real number"),
]


@pytest.mark.parametrize(("discount", "message"), DISCOUNTS)
@pytest.mark.parametrize(
    "function",
    [
        lambda g: MarkovRewardProcess(HALVES, REWARD, g),
        lambda g: random_mrp(3, g, np.random.default_rng(0)),
        lambda g: boyan_chain(3, g, np.random.default_rng(0)),
        lambda g: loop_chain(3, g, np.random.default_rng(0)),
        lambda g: td.weighted_softmax_td(FEATURES, STATES, REWARDS, g, 2),
        lambda g: td.kernel_td(HALVES, STATES, REWARDS, g, 2),
        lambda g: td.tabular_td(STATES, REWARDS, 2, g, 2),
        lambda g: td.linear_td(FEATURES, STATES, REWARDS, g, 2),
        lambda g: td.empirical_process(STATES, REWARDS, g),
        lambda g: td.iteration_matrix(FEATURES, STATES, g),
        lambda g: td.fixed_point(FEATURES, STATES, REWARDS, g),
        lambda g: SoftmaxTransformer(2, g, *softmax_td_weights(2)),
    ],
)
def test_discount(function, discount, message):
    """In [0, 1), wherever it is taken."""
    refused(message, function, discount)


COUNTS = [
    (-1, "is -1; it must be at least {minimum}"),
    (1.0, "is 1.0; it must be an integer"),
    (NAN, "is nan; it must be an integer"),
    (True, "is True; it must be an integer"),
    ("2", "is '2'; it must be an integer"),
    (None, "is None; it must be an integer"),
]


@pytest.mark.parametrize(("value", "message"), COUNTS)
@pytest.mark.parametrize(
    ("name", "minimum", "function"),
    [
        ("num_transitions", 1, lambda k: random_mrp(2, 0.5, np.random.default_rng(0)).sample(k, None)),
        ("num_transitions", 1, lambda k: sample_batch(HALVES[None], k, None)),
        ("num_states", 1, lambda k: random_mrp(k, 0.5, None)),
        ("num_states", 2, lambda k: boyan_chain(k, 0.5, None)),
        ("num_states", 2, lambda k: loop_chain(k, 0.5, None)),
        ("num_states", 1, lambda k: td.tabular_td(STATES, REWARDS, k, 0.5, 2)),
        ("num_states", 1, lambda k: td.empirical_model(STATES, REWARDS, k)),
        ("num_layers", 0, lambda k: td.weighted_softmax_td(FEATURES, STATES, REWARDS, 0.5, k)),
        ("num_layers", 0, lambda k: td.kernel_td(HALVES, STATES, REWARDS, 0.5, k)),
        ("num_iterations", 0, lambda k: td.tabular_td(STATES, REWARDS, 2, 0.5, k)),
        ("num_iterations", 0, lambda k: td.linear_td(FEATURES, STATES, REWARDS, 0.5, k)),
        ("num_layers", 0, lambda k: SoftmaxTransformer(k, 0.5, *softmax_td_weights(2))),
        ("num_features", 1, softmax_td_weights),
        ("num_queries", 1, lambda k: SoftmaxTransformer(2, 0.5, *softmax_td_weights(1))(prompt(), k)),
        ("num_queries", 0, lambda k: softmax_weights(prompt(), torch.eye(4, dtype=torch.float64), k)),
    ],
)
def test_counts(name, minimum, function, value, message):
    """Integers, from 0 or 1 or 2 on."""
    refused(f"{name} {message.format(minimum=minimum)}", function, value)


@pytest.mark.parametrize("function", [random_mrp, boyan_chain, loop_chain])
def test_smallest_count(function):
    """Just below the smallest."""
    minimum = 1 if function is random_mrp else 2
    message = f"num_states is {minimum - 1}; it must be at least {minimum}"
    refused(message, function, minimum - 1, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (2, "start is 2; states run from 0 to 1"),
        (-1, "start is -1; states run from 0 to 1"),
        (0.0, "start has dtype float64; states are integers"),
        (True, "start has dtype bool; states are integers"),
        ("0", "start is '0', of dtype <U1; it must be an array of integers"),
        ([0.5, 0.4], "start sums to 0.9; every row must sum to 1"),
        ([1.5, -0.5], "start holds -0.5; a probability must not be negative"),
        ([NAN, 1.0], "start[0] is nan; every entry must be finite"),
        ([1.0], "start has shape (1,); it must be (2,), one probability for each state"),
        ([[0.5, 0.5]], "start has shape (1, 2); it must have 1 axes"),
    ],
)
def test_start(start, message):
    """A state or a distribution over states."""
    process = MarkovRewardProcess(HALVES, REWARD, 0.5)
    refused(message, process.sample, 3, np.random.default_rng(0), start)


@pytest.mark.parametrize(
    ("transitions", "starts", "message"),
    [
        (HALVES, None, "transitions has shape (2, 2); it must have 3 axes"),
        (np.full((1, 2, 3), 1 / 3), None, "transitions has shape (1, 2, 3); it must be (B, S, S)"),
        ([HALVES, HALVES - 0.1], None, "transitions row 1, 0 sums to 0.8; every row must sum to 1"),
        (
            [[[1.5, -0.5], [0, 1]]],
            None,
            "transitions row 0, 0 holds -0.5; a probability must not be negative",
        ),
        ([HALVES], HALVES, "starts has shape (2, 2); it must be (1, 2), one distribution for each chain"),
        ([HALVES], [[0.5, 0.6]], "starts row 0 sums to 1.1; every row must sum to 1"),
    ],
)
def test_sample_batch(transitions, starts, message):
    """A stack of transition matrices, with a distribution of the first state for each."""
    refused(message, sample_batch, transitions, 3, np.random.default_rng(0), starts)


def test_stationary_distribution():
    """Several closed classes, which are named."""
    message = "transition has the closed classes [[0], [1]]; the stationary distribution is unique only ..."
    refused(message, MarkovRewardProcess(np.eye(2), REWARD, 0.5).stationary_distribution)


# ------------------------------------------------------------------------------------------- Contexts

ON_CONTEXTS = {
    "softmax_kernel": lambda x, s, r: td.softmax_kernel(x, s),
    "matching_matrix": lambda x, s, r: td.matching_matrix(x, s),
    "weighted_softmax_td": lambda x, s, r: td.weighted_softmax_td(x, s, r, 0.5, 2),
    "linear_td": lambda x, s, r: td.linear_td(x, s, r, 0.5, 2),
    "iteration_matrix": lambda x, s, r: td.iteration_matrix(x, s, 0.5),
    "fixed_point": lambda x, s, r: td.fixed_point(x, s, r, 0.5),
    "softmax_td_prompt": lambda x, s, r: softmax_td_prompt(x, s, r),
    "kernel_td": lambda x, s, r: td.kernel_td(HALVES, s, r, 0.5, 2),
    "tabular_td": lambda x, s, r: td.tabular_td(s, r, 2, 0.5, 2),
    "empirical_model": lambda x, s, r: td.empirical_model(s, r, 2),
    "empirical_process": lambda x, s, r: td.empirical_process(s, r, 0.5),
}
WITHOUT_FEATURES = ["kernel_td", "tabular_td", "empirical_model", "empirical_process"]
WITHOUT_REWARDS = ["softmax_kernel", "matching_matrix", "iteration_matrix"]
BATCHED = ["softmax_td_prompt"]


@pytest.mark.parametrize("name", [name for name in ON_CONTEXTS if name not in WITHOUT_FEATURES])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[0.0, NAN], [1.0, 0.0]], "features[0, 1] is nan; every entry must be finite"),
        ([[0.0, 1.0], [-INF, 0.0]], "features[1, 0] is -inf; every entry must be finite"),
        ([1.0, 2.0], "features has shape (2,); it must ..."),
        (1.0, "features has shape (); it must ..."),
        (np.empty((2, 0)), "features has shape (2, 0); no axis may be empty"),
        (np.empty((0, 2)), "features has shape (0, 2); no axis may be empty"),
        (RAGGED, "features is [[1.0, 0.0], [1.0]]; it must be an array of real numbers"),
        (None, "features is None, of dtype object; it must be an array of real numbers"),
        ([[1j], [0]], "features is ..., of dtype complex128; it must be an array of real numbers"),
        ([[1.0, 2.0]], "states[1] is 1; states run from 0 to 0"),
    ],
)
def test_features(name, features, message):
    """A row of finite numbers for each state."""
    refused(message, ON_CONTEXTS[name], features, STATES, REWARDS)


@pytest.mark.parametrize("name", ON_CONTEXTS)
@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([0, -1, 0], "states[1] is -1; states run from 0 ..."),
        ([0, 1, 2], "states[2] is 2; states run from 0 to 1"),
        (
            np.array([0, 2**63 + 1, 0], dtype=np.uint64),
            "states[1] is 9223372036854775809; states run ... to 1",
        ),
        ([0.0, 1.0, 0.0], "states has dtype float64; states are integers"),
        ([0, NAN, 0], "states has dtype float64; states are integers"),
        ([True, False, True], "states has dtype bool; states are integers"),
        (["a", "b", "a"], "states is ['a', 'b', 'a'], of dtype <U1; it must be an array of integers"),
        (None, "states is None, of dtype object; it must be an array of integers"),
        ([[0, 1], [0]], "states is [[0, 1], [0]]; it must be an array of integers"),
        ([0], "states has shape (1,); a context needs at least one transition, two states"),
        ([], "states has shape (0,); a context needs at least one transition, two states"),
        (0, "states has shape (); a context needs at least one transition, two states"),
        ([[0, 1, 0], [1, 0, 1]], "states has shape (2, 3); one trajectory has one axis, time"),
    ],
)
def test_states(name, states, message):
    """Integers in range on one axis, at least two."""
    if name == "empirical_process" and " to 1" in message:
        pytest.skip("it has no number of states to compare with")
    if name in BATCHED and "one axis" in message:
        message = "rewards has shape (2,); it must have 2 axes"  # a batch is welcome, if the rest is one
    refused(message, ON_CONTEXTS[name], FEATURES, states, REWARDS)


@pytest.mark.parametrize("name", [name for name in ON_CONTEXTS if name not in WITHOUT_REWARDS])
@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([1.0, NAN], "rewards[1] is nan; every entry must be finite"),
        ([-INF, 1.0], "rewards[0] is -inf; every entry must be finite"),
        ([1.0, 2.0, 3.0], "rewards has shape (3,); it must be (2,), one reward for each transition ..."),
        ([], "rewards has shape (0,); no axis may be empty"),
        (1.0, "rewards has shape (); it must have 1 axes"),
        ([[1.0, 2.0]], "rewards has shape (1, 2); it must have 1 axes"),
        (None, "rewards is None, of dtype object; it must be an array of real numbers"),
    ],
)
def test_rewards(name, rewards, message):
    """One finite number for each transition."""
    refused(message, ON_CONTEXTS[name], FEATURES, STATES, rewards)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((3, 2)), "kernel has shape (3, 2); it must be (2, 2), one row for each transition"),
        ([1.0, 1.0], "kernel has shape (2,); it must have 2 axes"),
        ([[NAN, 1.0], [1.0, 1.0]], "kernel[0, 0] is nan; every entry must be finite"),
        ([[1.0], [1.0]], "states[1] is 1; states run from 0 to 0"),
    ],
)
def test_kernel(kernel, message):
    """A row for each transition, a column for each state."""
    refused(message, td.kernel_td, kernel, STATES, REWARDS, 0.5, 2)


@pytest.mark.parametrize("name", ["empirical_process", "iteration_matrix", "fixed_point"])
def test_last_state_never_left(name):
    """Named as the caller names it, also where states are renumbered inside."""
    features = np.array([[3.0], [2.0], [1.0]])
    message = "states ends in 2, ... it never leaves; ..."
    refused(message, ON_CONTEXTS[name], features, np.array([0, 1, 2]), REWARDS)


STEP_SIZES = [
    (0, "step_size is 0; it must be positive"),
    (-0.5, "step_size is -0.5; it must be positive"),
    ([1.0, 0.0], "step_size is 0; it must be positive"),
    (NAN, "step_size is nan; every entry must be finite"),
    ([1.0, INF], "step_size[1] is inf; every entry must be finite"),
    ([], "step_size has shape (0,); no axis may be empty"),
    ([[1.0, 1.0]], "step_size has shape (1, 2); give one float or one for each of the 2 layers"),
    ("1", "step_size is '1', of dtype <U1; it must be an array of real numbers"),
    (None, "step_size is None, of dtype object; it must be an array of real numbers"),
    (RAGGED, "step_size is [[1.0, 0.0], [1.0]]; it must be an array of real numbers"),
]
TAKE_STEPS = [
    lambda alpha: td.weighted_softmax_td(FEATURES, STATES, REWARDS, 0.5, 2, alpha),
    lambda alpha: td.kernel_td(HALVES, STATES, REWARDS, 0.5, 2, alpha),
    lambda alpha: td.tabular_td(STATES, REWARDS, 2, 0.5, 2, alpha),
    lambda alpha: td.linear_td(FEATURES, STATES, REWARDS, 0.5, 2, alpha),
]


@pytest.mark.parametrize("function", [*TAKE_STEPS, lambda alpha: softmax_td_weights(2, alpha)])
@pytest.mark.parametrize(("step_size", "message"), STEP_SIZES)
def test_step_size(function, step_size, message):
    """Positive, one or one for each layer."""
    refused(message, function, step_size)


@pytest.mark.parametrize("function", TAKE_STEPS)
@pytest.mark.parametrize("length", [1, 3])
def test_wrong_number_of_step_sizes(function, length):
    """Neither one for all nor one for each of the two layers."""
    message = f"step_size has shape ({length},); give one float or one for each of the 2 layers"
    refused(message, function, [1.0] * length)


def test_step_size_of_the_iteration_matrix():
    """It is one layer."""
    message = "step_size has shape (2,); give one float or one for each of the 1 layers"
    refused(message, td.iteration_matrix, FEATURES, STATES, 0.5, [1.0, 1.0])


def test_features_too_alike():
    """The interpolant of an unvisited state would be rounding error."""
    message = "features of the visited states give an attention matrix of condition ...; ... below 1e12, ..."
    refused(message, td.fixed_point, [[1e-9], [2e-9], [1.0]], STATES, REWARDS, 0.5)


# ---------------------------------------------------------------------------------------- Transformer


def prompt(*batch, columns=3):
    """A valid prompt for one feature, D = 4."""
    return torch.zeros(*batch, 4, columns, dtype=torch.float64)


def weights(*lead, size=4):
    """Valid weights."""
    return torch.zeros(*lead, size, size, dtype=torch.float64)


@pytest.mark.parametrize(
    ("features", "states", "rewards", "queries", "message"),
    [
        (FEATURES, STATES, REWARDS, [2], "queries[0] is 2; states run from 0 to 1"),
        (FEATURES, STATES, REWARDS, [0, -1], "queries[1] is -1; states run from 0 to 1"),
        (FEATURES, STATES, REWARDS, [0.0], "queries has dtype float64; states are integers"),
        (FEATURES, STATES, REWARDS, 1, "queries has shape (); it must be that of the states, (3,), but ..."),
        (
            FEATURES,
            STATES,
            REWARDS,
            [[1]],
            "queries has shape (1, 1); it must be that of the states, (3,), ...",
        ),
        (
            [FEATURES] * 2,
            [STATES] * 2,
            [REWARDS] * 2,
            [1],
            "queries has shape (1,); it must be that ... (2, 3), ...",
        ),
        (
            FEATURES,
            [STATES] * 2,
            [REWARDS] * 2,
            None,
            "features has batch dimensions () and states (2,); they ...",
        ),
        (
            [FEATURES] * 3,
            [STATES] * 2,
            [REWARDS] * 2,
            None,
            "features has batch dimensions (3,) and states (2,); ...",
        ),
        (
            [FEATURES] * 2,
            STATES,
            REWARDS,
            None,
            "features has batch dimensions (2,) and states (); they must ...",
        ),
        (
            [FEATURES] * 2,
            [STATES] * 2,
            [REWARDS] * 3,
            None,
            "rewards has shape (3, 2); it must be (2, 2), one ...",
        ),
        ([FEATURES] * 2, [STATES] * 2, REWARDS, None, "rewards has shape (2,); it must have 2 axes"),
    ],
)
def test_prompt_arguments(features, states, rewards, queries, message):
    """Queries in range; batch dimensions that agree."""
    refused(message, softmax_td_prompt, features, states, rewards, queries)


@pytest.mark.parametrize("head", ["both", "Shift", None, ["shift"]])
def test_head(head):
    """One of two words."""
    message = f"head is {head!r}; it must be 'shift' or 'dual'"
    refused(message, SoftmaxTransformer, 2, 0.5, weights(), weights(), head)


@pytest.mark.parametrize("name", ["value_weights", "score_weights"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(4, 5), "has shape (4, 5); it must end in D x D with D >= 3"),
        (torch.zeros(2, 2), "has shape (2, 2); it must end in D x D with D >= 3"),
        (torch.zeros(4), "has shape (4,); it must end in D x D with D >= 3"),
        (torch.zeros(3, 4, 4), "has shape (3, 4, 4); the first axis is the layer, so it must be 1 or 2"),
        (torch.zeros(4, 4, dtype=torch.int64), "has dtype torch.int64; it must be floating point"),
        (torch.zeros(4, 4) * 1j, "has dtype torch.complex64; it must be floating point"),
        (torch.full((4, 4), NAN), "[0, 0] is nan; every entry must be finite"),
        (torch.diag(torch.tensor([0, 0, INF, 0])), "[0, 2] is nan; every entry must be finite"),
        (np.zeros((4, 4)), "is a ndarray; it must be a torch.Tensor"),
    ],
)
def test_weights(name, bad, message):
    """Square, finite, floating point, for one layer or for each."""
    if message.startswith("[0, 2]"):
        bad, message = torch.where(torch.eye(4) > 0, bad, 0.0), "[2, 2] is inf; every entry must be finite"
    arguments = {"value_weights": weights(), "score_weights": weights(), name: bad}
    gap = "" if message.startswith("[") else " "
    refused(name + gap + message, SoftmaxTransformer, 2, 0.5, **arguments)


@pytest.mark.parametrize(
    ("value", "score", "message"),
    [
        (
            weights(),
            weights(size=5),
            "score_weights has shape (5, 5) and value_weights (4, 4); both must be ...",
        ),
        (
            *(weights(1, 2), weights(1, 3)),
            "batch dimensions must broadcast together; value_weights has (2,), score_weights has (3,)",
        ),
    ],
)
def test_weights_that_do_not_fit(value, score, message):
    """The same number of rows, batches that broadcast."""
    refused(message, SoftmaxTransformer, 2, 0.5, value, score)


@pytest.mark.parametrize("method", ["forward", "values", "layers"])
@pytest.mark.parametrize(
    ("z", "num_queries", "message"),
    [
        (prompt()[:3], 1, "prompt has shape (3, 3); it must be (..., 4, N)"),
        (prompt()[0], 1, "prompt has shape (3,); it must be (..., 4, N)"),
        (prompt().int(), 1, "prompt has dtype torch.int32; it must be floating point"),
        (prompt() > 0, 1, "prompt has dtype torch.bool; it must be floating point"),
        (prompt() * NAN, 1, "prompt[0, 0] is nan; every entry must be finite"),
        (prompt(2) + INF, 1, "prompt[0, 0, 0] is inf; every entry must be finite"),
        (prompt().numpy(), 1, "prompt is a ndarray; it must be a torch.Tensor"),
        (
            prompt(columns=1),
            1,
            "prompt has 1 columns and num_queries is 1; at least one column must be a source",
        ),
        (
            prompt(columns=0),
            1,
            "prompt has 0 columns and num_queries is 1; at least one column must be a source",
        ),
        (prompt(), 3, "prompt has 3 columns and num_queries is 3; at least one column must be a source"),
        (prompt(), 0, "num_queries is 0; it must be at least 1"),
        (
            prompt(3),
            1,
            "batch dimensions must broadcast together; prompt has (3,), value_weights has (2,), ...",
        ),
    ],
)
def test_prompt(method, z, num_queries, message):
    """D finite rows of floats, a source and the queries, and a batch that fits the weights."""
    model = SoftmaxTransformer(2, 0.5, weights(2, 2), weights())
    refused(message, getattr(model, method), z, num_queries)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 1e200), (torch.float32, 1e20)])
def test_scores_out_of_range(dtype, size):
    """Finite features whose scores are not: softmax would turn them into NaN."""
    model = SoftmaxTransformer(2, 0.5, *softmax_td_weights(2))
    z = softmax_td_prompt(size * FEATURES, STATES, REWARDS).to(dtype)
    refused(f"prompt has entries up to {size:.3g}; with these score_weights a score may reach ...", model, z)
    in_range = softmax_td_prompt(1e15 * FEATURES, STATES, 1e30 * REWARDS).to(dtype)
    assert model.values(in_range).isfinite().all()


# ------------------------------------------------------------------------------------------- Attention


@pytest.mark.parametrize(
    ("z", "num_queries", "message"),
    [
        (prompt(), 3, "prompt has 3 columns and num_queries is 3; at least one column must be a source"),
        (prompt()[0], 1, "prompt has shape (3,); it must be (*batch, D, N)"),
        (
            prompt()[:3],
            1,
            "score_weights has shape (4, 4); it must end in (3, 3), one row for each row of ...",
        ),
        (prompt(3), 1, "batch dimensions must broadcast together; prompt has (3,), score_weights has (2,)"),
    ],
)
def test_softmax_attention(z, num_queries, message):
    """Shapes that fit together, and something to attend to."""
    score = weights(2) if z.ndim == 3 else weights()
    refused(message, softmax_weights, z, score, num_queries)
    value = weights(size=z.shape[-2] if z.ndim > 1 else 4)
    message = message.replace("(3,), score", "(3,), value_weights has (), score")
    refused(message, softmax_attention, z, value, score, num_queries)


@pytest.mark.parametrize(
    ("z", "p", "v", "message"),
    [
        (prompt(columns=1), weights(), weights(), "prompt has 1 columns; n = N - 1 must be at least 1"),
        (
            prompt(),
            weights(size=5),
            weights(),
            "P has shape (5, 5); it must end in (4, 4), one row for each ...",
        ),
        (
            prompt(),
            weights(),
            weights(size=5),
            "V has shape (5, 5); it must end in (4, 4), one row for each ...",
        ),
        (
            prompt(3),
            weights(2),
            weights(),
            "batch dimensions must broadcast together; prompt has (3,), P has (2,), ...",
        ),
    ],
)
def test_linear_attention(z, p, v, message):
    """At least one token beside the last, and shapes that fit together."""
    refused(message, linear_attention, z, p, v)
