"""Markov reward processes: exact solutions, sampling, generators."""

from dataclasses import FrozenInstanceError
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.stats import chisquare, kstest

from icrl import softmax_td as td
from icrl.attention import softmax_weights
from icrl.mrp import MarkovRewardProcess, boyan_chain, divergent_mrp, loop_chain, random_mrp, sample_batch
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

GENERATORS = [random_mrp, boyan_chain, loop_chain]


def chain(*rows, reward=None, discount=0.5):
    """A process with this transition matrix; the reward of state s is s unless given."""
    reward = np.arange(float(len(rows))) if reward is None else np.array(reward)
    return MarkovRewardProcess(np.array(rows, dtype=float), reward, discount)


def test_value_by_hand():
    """Two states in turn, rewards 1 and 2, discount 1/2: v0 = 1 + v1/2, v1 = 2 + v0/2."""
    process = chain([0, 1], [1, 0], reward=[1.0, 2.0])
    np.testing.assert_allclose(process.value(), [8 / 3, 10 / 3], rtol=1e-15)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(GENERATORS), st.integers(2, 8), st.floats(0, 0.95), st.integers(0, 2**32))
def test_value_is_the_truncated_series(generator, size, discount, seed):
    """The exact value is the sum of discounted expected rewards, cut off where nothing is left."""
    process = generator(size, discount, np.random.default_rng(seed))
    series, expected = np.zeros(size), process.reward
    for k in range(800):  # 0.95^800 / 0.05 < 1e-16
        series = series + discount**k * expected
        expected = process.transition @ expected
    np.testing.assert_allclose(process.value(), series, rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(GENERATORS), st.integers(2, 8), st.integers(0, 2**32))
def test_stationary_distribution_is_stationary(generator, size, seed):
    """It is a distribution and one step leaves it alone."""
    process = generator(size, 0.5, np.random.default_rng(seed))
    mu = process.stationary_distribution()
    assert mu.min() >= 0
    assert abs(mu.sum() - 1) < 1e-12
    np.testing.assert_allclose(mu @ process.transition, mu, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1]], [1]),
        ([[0, 1], [1, 0]], [1 / 2, 1 / 2]),
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], [1 / 3, 1 / 3, 1 / 3]),
        ([[0.5, 0.5], [0.25, 0.75]], [1 / 3, 2 / 3]),
        ([[0, 0.5, 0.5], [0, 0, 1], [0, 1, 0]], [0, 1 / 2, 1 / 2]),
        ([[0.9, 0.1], [0, 1]], [0, 1]),
    ],
    ids=["one state", "period 2", "period 3", "aperiodic", "transient, then period 2", "absorbing"],
)
def test_stationary_distribution_by_hand(rows, expected):
    """Periodic chains are solved, transient states get exactly 0."""
    mu = chain(*rows).stationary_distribution()
    np.testing.assert_allclose(mu, expected, atol=1e-15)
    assert not mu[np.array(expected) == 0].any()


@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        ([[1, 0], [0, 1]], r"\[\[0\], \[1\]\]"),
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0.5, 0, 0, 0.5], [0, 0, 0, 1]], r"\[\[0, 1\], \[3\]\]"),
    ],
    ids=["two absorbing", "a cycle, an absorbing state and a transient one"],
)
def test_several_closed_classes_are_refused_and_named(rows, classes):
    """No distribution is picked where there are several."""
    with pytest.raises(ValueError, match=f"transition has the closed classes {classes}.*unique"):
        chain(*rows).stationary_distribution()


@pytest.mark.parametrize("start", [None, 3, np.array([0.0, 0.5, 0.0, 0.25, 0.25])])
def test_sampling_one_equals_a_batch_of_one(start):
    """The same draws of the generator give the same states."""
    process = random_mrp(5, 0.9, np.random.default_rng(0))
    starts = np.eye(5)[[start]] if isinstance(start, int) else start
    starts = starts if starts is None or starts.ndim == 2 else starts[None]
    single, stacked = np.random.default_rng(1), np.random.default_rng(1)
    one = process.sample(1000, single, start)
    batch = sample_batch(process.transition[None], 1000, stacked, starts)
    np.testing.assert_array_equal(batch, one[None])
    assert single.random() == stacked.random()  # as many draws


def test_each_chain_of_a_batch_follows_its_own_matrix():
    """Three rings turning by one, by two and standing still."""
    turn = np.eye(4)[np.array([[1, 2, 3, 0], [2, 3, 0, 1], [0, 1, 2, 3]])]
    states = sample_batch(turn, 6, np.random.default_rng(0))
    assert states.shape == (3, 7)
    np.testing.assert_array_equal(np.diff(states, axis=1) % 4, [[1] * 6, [2] * 6, [0] * 6])


@pytest.mark.parametrize("generator", [boyan_chain, loop_chain])
def test_impossible_transitions_are_never_taken(generator):
    """Neither with exact zeros inside the rows nor with zeros at their ends."""
    rng = np.random.default_rng(2)
    process = generator(6, 0.9, rng)
    states = process.sample(20_000, rng)
    assert process.transition[states[:-1], states[1:]].min() > 0


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0)], ids=["smallest", "largest"])
def test_extreme_draws_never_land_on_an_impossible_state(draw):
    """The two ends of the unit interval, in rows whose sum falls short of 1 within the tolerance."""
    row = np.array([0, 0.1, 0.2, 0.7 - 1e-9, 0, 0])
    process, start = chain(*[row] * 6), row
    rng = Mock(spec=np.random.Generator)
    rng.random.side_effect = lambda size: np.full(size, draw)
    batch = sample_batch(process.transition[None], 5, rng, start[None])[0]
    assert set(process.sample(5, rng, start)) == set(batch) == {1 if draw == 0 else 3}


def test_transition_frequencies_pass_a_chi_square_test():
    """Given the state, the next one has the distribution of its row."""
    rng = np.random.default_rng(3)
    process = random_mrp(4, 0.9, rng)
    states = process.sample(40_000, rng)
    counts = np.zeros((4, 4))
    np.add.at(counts, (states[:-1], states[1:]), 1)
    expected = counts.sum(axis=1, keepdims=True) * process.transition
    assert min(chisquare(c, e).pvalue for c, e in zip(counts, expected, strict=True)) > 0.01


@pytest.mark.parametrize(
    ("start", "expected"),
    [(None, [1 / 3, 1 / 3, 1 / 3]), (np.array([0.2, 0.5, 0.3]), [0.2, 0.5, 0.3])],
    ids=["uniform by default", "a distribution"],
)
def test_first_state_has_its_distribution(start, expected):
    """Frequencies over many short trajectories, one by one and as a batch."""
    rng = np.random.default_rng(4)
    process = random_mrp(3, 0.9, rng)
    single = [process.sample(1, rng, start)[0] for _ in range(3000)]
    starts = None if start is None else np.tile(start, (3000, 1))
    batch = sample_batch(np.tile(process.transition, (3000, 1, 1)), 1, rng, starts)[:, 0]
    for first in (single, batch):
        assert chisquare(np.bincount(first, minlength=3), 3000 * np.array(expected)).pvalue > 0.01


@pytest.mark.parametrize("start", [2, np.int64(2)])
def test_first_state_can_be_given(start):
    """As a Python integer or as an entry of an integer array."""
    process = random_mrp(4, 0.9, np.random.default_rng(5))
    assert {process.sample(1, np.random.default_rng(seed), start)[0] for seed in range(20)} == {2}


def test_sample_has_one_more_state_than_transitions():
    """Integers in range, and the same ones from the same generator."""
    process = random_mrp(4, 0.9, np.random.default_rng(6))
    states = process.sample(7, np.random.default_rng(7))
    assert states.shape == (8,)
    assert states.dtype.kind == "i"
    assert set(states) <= set(range(4))
    np.testing.assert_array_equal(states, process.sample(7, np.random.default_rng(7)))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("size", [2, 3, 9])
def test_generators_give_valid_processes(generator, size):
    """Rows sum to 1, rewards lie in [-1, 1], and the generator of random numbers decides all."""
    process = generator(size, 0.7, np.random.default_rng(size))
    again = generator(size, 0.7, np.random.default_rng(size))
    assert process.num_states == size
    assert process.discount == 0.7
    np.testing.assert_allclose(process.transition.sum(axis=1), 1, atol=1e-12)
    assert np.abs(process.reward).max() <= 1
    np.testing.assert_array_equal(process.transition, again.transition)
    np.testing.assert_array_equal(process.reward, again.reward)


def test_generators_have_the_described_shape():
    """Dense; one or two steps on with a restart from the end; one step on or none, on a ring."""
    rng = np.random.default_rng(8)
    assert random_mrp(5, 0.9, rng).transition.min() > 0
    boyan = boyan_chain(5, 0.9, rng).transition > 0
    expected = np.eye(5, k=1) + np.eye(5, k=2) > 0
    expected[-1] = True
    np.testing.assert_array_equal(boyan, expected)
    ring = loop_chain(5, 0.9, rng).transition > 0
    np.testing.assert_array_equal(ring, np.eye(5) + np.roll(np.eye(5), 1, axis=1) > 0)


def test_generators_have_the_described_laws():
    """By the test of Kolmogorov and Smirnov, on 400 worlds; an entry of a uniform row is Beta(1, S - 1)."""
    rng = np.random.default_rng(10)
    worlds = {make: [make(4, 0.9, rng) for _ in range(400)] for make in GENERATORS}
    for make, found in worlds.items():
        rows, reward = (np.array([getattr(w, name) for w in found]) for name in ("transition", "reward"))
        laws = [(reward[:, s], "uniform", (-1, 2)) for s in (0, 3)]
        if make is loop_chain:
            laws += [(rows[:, s, s], "uniform", (0, 1)) for s in (0, 3)]
        else:
            last = rows[:, -1] if make is boyan_chain else rows.reshape(-1, 4)[::2]
            laws += [(last[:, s], "beta", (1, 3)) for s in (0, 3)]
        if make is boyan_chain:
            laws += [(rows[:, s, s + 1], "uniform", (0, 1)) for s in (0, 1)]
        assert min(kstest(*law).pvalue for law in laws) > 1e-3
        assert np.abs(np.corrcoef(reward[:, :2].T)[0, 1]) < 0.2  # drawn for each state anew


def test_smallest_worlds():
    """One state for the dense process, two for the chains."""
    rng = np.random.default_rng(9)
    one = random_mrp(1, 0.5, rng)
    np.testing.assert_array_equal(one.sample(3, rng), [0, 0, 0, 0])
    np.testing.assert_allclose(one.value(), 2 * one.reward)
    assert boyan_chain(2, 0.5, rng).transition[0, 1] == 1


def test_divergent_mrp_is_the_one_of_the_book():
    """The numbers that the divergence results rest on."""
    process, features = divergent_mrp()
    np.testing.assert_array_equal(process.transition, [[0, 0.9, 0.1], [1, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_array_equal(features, [[1], [4], [5]])
    np.testing.assert_array_equal(process.reward, [1, 0, -1])
    assert process.discount == 0.9


def test_arrays_are_read_only_copies():
    """Changing the caller's arrays changes nothing; changing the process's own is an error."""
    transition, reward = np.full((2, 2), 0.5), np.ones(2)
    process = MarkovRewardProcess(transition, reward, 0.5)
    transition[:], reward[:] = 0, 7
    np.testing.assert_array_equal(process.transition, np.full((2, 2), 0.5))
    np.testing.assert_array_equal(process.reward, np.ones(2))
    for array in (process.transition, process.reward):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("name", ["transition", "reward", "discount"])
def test_frozen(name):
    """No field can be put in place of another."""
    with pytest.raises(FrozenInstanceError):
        setattr(chain([1]), name, 0.0)


HALVES, REWARD = np.full((2, 2), 0.5), np.zeros(2)


FEATURES, STATES, REWARDS = np.eye(2), np.array([0, 1, 0]), np.ones(2)


NAN, INF, RAGGED = np.nan, np.inf, [[1.0, 0.0], [1.0]]


TOO_LARGE = 10**400  # an integer that no float holds


@pytest.mark.bad_input
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
def test_refuses_transition(transition, message):
    """A square matrix of distributions."""
    refused(message, MarkovRewardProcess, transition, REWARD, 0.5)


@pytest.mark.bad_input
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
def test_refuses_reward(reward, message):
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


@pytest.mark.bad_input
def test_refuses_a_seed_for_a_generator():
    for make in GENERATORS:
        refused("rng is 0; it must be a numpy.random.Generator", make, 3, 0.5, 0)
    for sample in (chain([1]).sample, lambda n, rng: sample_batch(HALVES[None], n, rng)):
        refused("rng is 0; it must be a numpy.random.Generator", sample, 1, 0)


@pytest.mark.bad_input
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
def test_refuses_discount(function, discount, message):
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


@pytest.mark.bad_input
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
def test_refuses_counts(name, minimum, function, value, message):
    """Integers, from 0 or 1 or 2 on."""
    refused(f"{name} {message.format(minimum=minimum)}", function, value)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [random_mrp, boyan_chain, loop_chain])
def test_refuses_smallest_count(function):
    """Just below the smallest."""
    minimum = 1 if function is random_mrp else 2
    message = f"num_states is {minimum - 1}; it must be at least {minimum}"
    refused(message, function, minimum - 1, 0.5, np.random.default_rng(0))


@pytest.mark.bad_input
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
def test_refuses_start(start, message):
    """A state or a distribution over states."""
    process = MarkovRewardProcess(HALVES, REWARD, 0.5)
    refused(message, process.sample, 3, np.random.default_rng(0), start)


@pytest.mark.bad_input
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
def test_refuses_sample_batch(transitions, starts, message):
    """A stack of transition matrices, with a distribution of the first state for each."""
    refused(message, sample_batch, transitions, 3, np.random.default_rng(0), starts)


@pytest.mark.bad_input
def test_refuses_stationary_distribution():
    """Several closed classes, which are named."""
    message = "transition has the closed classes [[0], [1]]; the stationary distribution is unique only ..."
    refused(message, MarkovRewardProcess(np.eye(2), REWARD, 0.5).stationary_distribution)


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


WITHOUT_REWARDS = ["softmax_kernel", "matching_matrix", "iteration_matrix"]


@pytest.mark.bad_input
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
def test_refuses_rewards(name, rewards, message):
    """One finite number for each transition."""
    refused(message, ON_CONTEXTS[name], FEATURES, STATES, rewards)


def prompt(*batch, columns=3):
    """A valid prompt for one feature, D = 4."""
    return torch.zeros(*batch, 4, columns, dtype=torch.float64)
