"""Markov reward processes: exact solutions, sampling, generators."""

from dataclasses import FrozenInstanceError
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from icrl.mrp import MarkovRewardProcess, boyan_chain, divergent_mrp, loop_chain, random_mrp, sample_batch

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
    one = process.sample(1000, np.random.default_rng(1), start)
    batch = sample_batch(process.transition[None], 1000, np.random.default_rng(1), starts)
    np.testing.assert_array_equal(batch, one[None])


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
