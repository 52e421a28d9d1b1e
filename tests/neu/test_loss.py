"""The NEU loss against sums written by hand, and the limits of the gradient against single entries."""

import numpy as np
import pytest
import torch

from icrl import mrp
from icrl.neu.limits import asymptotics, limit_gradient, limit_update
from icrl.neu.loss import TaskDistribution, Windows, neu_terms, own_entries, squared_norm
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights


@pytest.fixture
def tasks():
    rng = np.random.default_rng(0)
    return TaskDistribution([mrp.random_mrp(2, 0.7, rng) for _ in range(3)], rng.normal(size=(2, 2)))


def test_enumeration_is_the_law_of_a_sample(tasks):
    windows = tasks.enumerate(2)
    assert len(windows.task) == 3 * 16
    assert np.isclose(windows.probability.sum(), 1, atol=1e-14)
    drawn = tasks.sample(2, 60_000, np.random.default_rng(1))
    code = lambda w: w.task * 16 + w.states @ [8, 4, 2, 1]  # noqa: E731
    seen = np.bincount(code(drawn), minlength=48) / 60_000
    wanted = np.zeros(48)
    wanted[code(windows)] = windows.probability
    assert np.abs((seen - wanted) / np.sqrt(wanted / 60_000)).max() < 4.5


def test_enumeration_leaves_out_what_cannot_happen():
    process = mrp.MarkovRewardProcess(np.array([[0.0, 1], [1, 0]]), np.ones(2), 0.5)
    windows = TaskDistribution([process], np.eye(2)).enumerate(3)
    assert windows.states.tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]
    assert windows.probability.tolist() == [0.5, 0.5]


def test_terms_are_those_of_one_window_at_a_time(tasks):
    """Batching, chunks and copies of the weights change nothing; the gradient is a difference quotient."""
    rng = np.random.default_rng(2)
    weights = [torch.from_numpy(0.4 * rng.normal(size=(5, 5))) for _ in range(2)]
    windows = tasks.sample(6, 5, rng)
    terms = neu_terms(tasks, windows, *weights, 3)
    for i, (task, states) in enumerate(zip(windows.task, windows.states, strict=True)):
        process = tasks.processes[task]
        rewards = process.reward[states[:-1]]

        def output(value, score, first, last, states=states, rewards=rewards):
            prompt = softmax_td_prompt(tasks.features, states[first:last], rewards[first : last - 1])
            return SoftmaxTransformer(3, 0.7, value, score)(prompt)[-1, -1].item()

        assert np.isclose(terms.value[i], output(*weights, 0, 7), atol=1e-13)
        assert np.isclose(terms.next_value[i], output(*weights, 1, 8), atol=1e-13)
        assert terms.reward[i] == process.reward[states[-2]]
        assert terms.truth[i] == process.value()[states[-2]]
        assert terms.next_truth[i] == process.value()[states[-1]]
        for which in (0, 1):
            p, q = rng.integers(5, size=2)
            high, low = ([w.clone() for w in weights] for _ in range(2))
            high[which][p, q] += 1e-5
            low[which][p, q] -= 1e-5
            slope = (output(*high, 0, 7) - output(*low, 0, 7)) / 2e-5
            assert np.isclose(terms.gradient[i, which, p, q], slope, rtol=1e-5, atol=1e-7)


def test_updates_by_hand(tasks):
    windows = tasks.enumerate(2)
    terms = neu_terms(tasks, windows, *softmax_td_weights(2), 2)
    total = np.zeros((2, 5, 5))
    for k, p in enumerate(windows.probability):
        td_error = terms.reward[k] + 0.7 * terms.next_value[k] - terms.value[k]
        total += p * td_error * terms.gradient[k]
    assert np.allclose(terms.mean(terms.td_updates), total, rtol=0, atol=1e-13)


def test_chunks_change_nothing(tasks, monkeypatch):
    windows = tasks.sample(5, 40, np.random.default_rng(3))
    whole = neu_terms(tasks, windows, *softmax_td_weights(2), 2)
    monkeypatch.setattr("icrl.neu.loss._CHUNK", 6 * 6 * 2 * 7)
    parts = neu_terms(tasks, windows, *softmax_td_weights(2), 2)
    assert np.allclose(whole.gradient, parts.gradient, rtol=0, atol=1e-13)


def test_own_entries():
    own = own_entries(2)
    assert own.sum() == 5
    assert own[0, -1].tolist() == [False, False, True, True, True]
    assert own[1].diagonal().tolist() == [True, True, False, False, False]


def test_squared_norm_by_hand():
    draws = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])
    pairs = [draws[i] @ draws[j] for i in range(3) for j in range(3) if i != j]
    estimate, error = squared_norm(draws)
    assert np.isclose(estimate, np.mean(pairs), atol=1e-14)
    assert error > 0
    assert squared_norm(np.ones((4, 2, 2))) == (4.0, 0.0)


def test_returns_of_a_deterministic_chain():
    process = mrp.MarkovRewardProcess(np.array([[0.0, 1], [1, 0]]), np.array([1.0, -2.0]), 0.5)
    tasks = TaskDistribution([process], np.eye(2))
    windows = Windows(np.array([0, 0]), np.array([[0, 1, 0], [1, 0, 1]]), np.full(2, 0.5))
    seen = tasks.returns(windows, np.random.default_rng(0), horizon=60)
    assert np.allclose(seen, process.value()[[1, 0]], rtol=0, atol=1e-15)


def test_no_layers_no_gradient(tasks):
    seen = limit_gradient(tasks.features, tasks.processes[0], 0)
    assert not seen.values.any()
    assert not seen.gradients.any()
    assert np.array_equal(seen.td_errors, tasks.processes[0].reward)
    assert not limit_update(tasks, 0).any()


def test_deterministic_chain_has_no_growth_in_the_scores():
    """Without spread among successors no entry of A grows."""
    states = np.array([0, 1, 2] * 3 + [0])
    seen = asymptotics(1.5 * np.eye(3), states, np.array([1.0, 0, -1] * 3), 0.5)
    assert np.abs(seen.target_slope).max() < 1e-15
    assert np.abs(seen.target_limit).max() < 1e-15
    assert np.abs(seen.reward).max() > 0.1


def test_step_size_scales_the_first_layer(tasks):
    one, two = (limit_gradient(tasks.features, tasks.processes[0], 1, step_size=a) for a in (0.4, 0.8))
    assert np.allclose(2 * one.values, two.values, rtol=0, atol=1e-15)
