"""The loss, sampled and enumerated."""

import numpy as np
import pytest
import torch

from icrl import mrp
from icrl.neu.loss import (
    TaskDistribution,
    Windows,
    construction_gradient,
    neu_terms,
    own_entries,
    squared_norm,
)
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights


@pytest.fixture
def tasks():
    rng = np.random.default_rng(0)
    return TaskDistribution([mrp.random_mrp(2, 0.7, rng) for _ in range(3)], rng.normal(size=(2, 2)))


def test_one_window_of_one_transition():
    windows = TASKS.sample(1, 1, np.random.default_rng(0))
    assert windows.states.shape == (1, 3)
    assert windows.probability.tolist() == [1.0]


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
    """With TD errors, and with errors, whose mean over all windows is the same."""
    windows = tasks.enumerate(2)
    terms = neu_terms(tasks, windows, *softmax_td_weights(2), 2)
    total = np.zeros((2, 5, 5))
    for k, p in enumerate(windows.probability):
        td_error = terms.reward[k] + 0.7 * terms.next_value[k] - terms.value[k]
        total += p * td_error * terms.gradient[k]
        error = terms.value[k] - terms.truth[k]
        assert terms.error[k] == error
        update = (0.7 * (terms.next_value[k] - terms.next_truth[k]) - error) * terms.gradient[k]
        assert np.allclose(terms.error_updates[k], update, rtol=0, atol=1e-13)
    assert np.allclose(terms.mean(terms.td_updates), total, rtol=0, atol=1e-13)
    assert np.allclose(terms.mean(terms.error_updates), total, rtol=0, atol=1e-13)


def test_construction_gradient_is_a_difference_quotient():
    """At a step size and a temperature of its own; both are 1 if not given."""
    rng = np.random.default_rng(4)
    given = rng.normal(size=(3, 2)), np.array([0, 1, 2, 1, 0]), rng.normal(size=4), 0.8, 2
    value, score = softmax_td_weights(2, 0.5)
    weights = [value, 3 * score]
    output, gradient = construction_gradient(*given, step_size=0.5, tau=3.0)

    def said(which, change):
        moved = [w + change if k == which else w for k, w in enumerate(weights)]
        return SoftmaxTransformer(2, 0.8, *moved)(softmax_td_prompt(*given[:3]))[-1, -1].item()

    assert output == said(0, 0)
    for which, p, q in [(0, 4, 2), (0, 4, 4), (1, 0, 0), (1, 3, 1)]:
        step = torch.zeros(5, 5, dtype=torch.float64)
        step[p, q] = 1e-5
        assert np.isclose(gradient[which, p, q], (said(which, step) - said(which, -step)) / 2e-5, rtol=1e-6)
    for one, other in zip(
        construction_gradient(*given), construction_gradient(*given, 1.0, 1.0), strict=True
    ):
        assert np.array_equal(one, other)


def test_largest_enumeration(monkeypatch):
    """Windows of all tasks count; so many are enumerated, and not one more."""
    for processes, most in (([PROCESS], 16), ([PROCESS] * 3, 49)):
        tasks = TaskDistribution(processes, np.eye(2))
        monkeypatch.setattr("icrl.neu.loss.LARGEST_ENUMERATION", most)
        assert len(tasks.enumerate(2).task) == 16 * len(processes)
        monkeypatch.setattr("icrl.neu.loss.LARGEST_ENUMERATION", 16 * len(processes) - 1)
        with pytest.raises(ValueError, match=f"{len(processes)} x 2.4 windows are more than"):
            tasks.enumerate(2)


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
    assert squared_norm(np.array([[1.0], [3.0]]))[0] == 3
    two = 2 + np.array([[1.0], [-1.0]] * 3)  # variance 6 / 5, and 4 times it along the mean, less noise
    expected = np.sqrt((4 * (4 - 1.2**2 / 6) + 2 * 1.2**2 / 5) / 6)
    assert np.isclose(squared_norm(two)[1], expected, rtol=1e-12)
    plus_and_minus = np.array([[1.0], [-1.0]] * 3)  # no mean, variance 6 / 5
    assert np.isclose(squared_norm(plus_and_minus)[1], np.sqrt(2 * 1.2**2 / (6 * 5)), rtol=1e-12)


def test_error_of_the_squared_norm_is_its_spread():
    """Without a mean the covariance alone makes it: here the root of 2 tr C^2 / (n (n - 1))."""
    draws = np.random.default_rng(0).normal(size=(4000, 20, 3)) * [1.0, 2.0, 3.0]
    estimates, errors = np.array([squared_norm(x) for x in draws]).T
    assert np.isclose(estimates.std(), np.sqrt(2 * (1 + 16 + 81) / (20 * 19)), rtol=0.05)
    assert np.isclose(np.median(errors), estimates.std(), rtol=0.15)


def test_returns_of_a_deterministic_chain():
    process = mrp.MarkovRewardProcess(np.array([[0.0, 1], [1, 0]]), np.array([1.0, -2.0]), 0.5)
    tasks = TaskDistribution([process], np.eye(2))
    windows = Windows(np.array([0, 0]), np.array([[0, 1, 0], [1, 0, 1]]), np.full(2, 0.5))
    seen = tasks.returns(windows, np.random.default_rng(0), horizon=60)
    assert np.allclose(seen, process.value()[[1, 0]], rtol=0, atol=1e-15)
    assert np.allclose(tasks.returns(windows, np.random.default_rng(0), 2), [-2 + 0.5, 1 - 1.0])


def test_returns_are_cut_off_after_60_rewards_if_nothing_else_is_asked():
    """Of a reward that is always 1."""
    tasks = TaskDistribution([mrp.MarkovRewardProcess(np.eye(1), np.ones(1), 0.9)], np.eye(1))
    seen = tasks.returns(tasks.enumerate(1), np.random.default_rng(0))
    assert np.allclose(seen, 10 * (1 - 0.9**60), rtol=1e-13)


RNG = np.random.default_rng(0)


PROCESS = mrp.random_mrp(2, 0.5, RNG)


TASKS = TaskDistribution([PROCESS], np.eye(2))


SPLIT = mrp.MarkovRewardProcess(np.eye(2), np.ones(2), 0.5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("processes", "features", "message"),
    [
        ([], np.eye(2), "processes is empty; give at least one"),
        ([PROCESS, 3], np.eye(2), r"processes\[1\] is 3; it must be a MarkovRewardProcess"),
        ([PROCESS, mrp.random_mrp(3, 0.5, RNG)], np.eye(2), r"processes differ in num_states, \[2, 3\]"),
        ([PROCESS, mrp.random_mrp(2, 0.6, RNG)], np.eye(2), r"processes differ in discount, \[0.5, 0.6\]"),
        ([PROCESS], np.eye(3), r"features has shape \(3, 3\); it must have a row for each of the 2 states"),
        ([PROCESS], np.ones(2), r"features has shape \(2,\); it must have 2 axes"),
        ([PROCESS], np.diag([np.nan, 1]), r"features\[0, 0\] is nan; every entry must be finite"),
        ([SPLIT], np.eye(2), r"transition has the closed classes \[\[0\], \[1\]\]"),
    ],
)
def test_refuses_tasks(processes, features, message):
    with pytest.raises(ValueError, match=message):
        TaskDistribution(processes, features)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TASKS.sample(0, 5, RNG), "num_transitions is 0; it must be at least 1"),
        (lambda: TASKS.sample(3, 0, RNG), "num_windows is 0; it must be at least 1"),
        (lambda: TASKS.sample(2.5, 5, RNG), "num_transitions is 2.5; it must be an integer"),
        (lambda: TASKS.enumerate(0), "num_transitions is 0; it must be at least 1"),
        (lambda: TASKS.enumerate(19), r"num_transitions is 19; 1 x 2\^21 windows are more than"),
        (lambda: TASKS.returns(TASKS.enumerate(1), RNG, 0), "horizon is 0; it must be at least 1"),
        (lambda: own_entries(0), "num_features is 0; it must be at least 1"),
        (lambda: squared_norm(np.ones(3)), r"updates has shape \(3,\)"),
        (
            lambda: construction_gradient(np.eye(2), np.array([0, 1]), np.ones(1), 0.5, 0),
            "num_layers is 0; it must be",
        ),
        (lambda: squared_norm(np.ones((1, 3))), r"updates has shape \(1, 3\); it must be \(B, ...\)"),
        (lambda: squared_norm(np.array([[1.0], [np.inf]])), r"updates\[1, 0\] is inf"),
    ],
)
def test_refuses_windows(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_refuses_a_gradient_that_overflows():
    """Without rewards all values are 0, but their slopes grow with the powers of an entry of 1e200."""
    value, score = softmax_td_weights(2)
    value[-1, -1] = 1e200
    silent = TaskDistribution([mrp.MarkovRewardProcess(np.full((2, 2), 0.5), np.zeros(2), 0.5)], np.eye(2))
    with pytest.raises(
        ValueError, match="num_layers is 3; at these weights a gradient leaves float64's range"
    ):
        neu_terms(silent, silent.enumerate(2), value, score, 3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"value_weights": torch.zeros(4, 4)},
            r"score_weights has shape .* its axis D must have length 4",
        ),
        ({"score_weights": torch.zeros(1, 5, 5)}, r"score_weights has shape \(1, 5, 5\)"),
        ({"score_weights": torch.full((5, 5), torch.nan)}, r"score_weights\[0, 0\] is nan"),
        ({"value_weights": [[0.0] * 5] * 5}, "value_weights is a list; it must be a torch.Tensor"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        (
            {"value_weights": torch.full((5, 5), 1e300, dtype=torch.float64)},
            "value_weights .* leaves the range of torch.float64",
        ),
    ],
)
def test_refuses_terms(change, message):
    value, score = softmax_td_weights(2)
    given = {"value_weights": value, "score_weights": score, "num_layers": 4} | change
    with pytest.raises(ValueError, match=message):
        neu_terms(TASKS, TASKS.enumerate(2), **given)
