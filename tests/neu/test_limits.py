"""The gradient in closed form."""

import numpy as np
import pytest

from icrl import mrp
from icrl.neu.limits import asymptotics, limit_gradient, limit_update
from icrl.neu.loss import TaskDistribution, construction_gradient


@pytest.fixture
def tasks():
    rng = np.random.default_rng(0)
    return TaskDistribution([mrp.random_mrp(2, 0.7, rng) for _ in range(3)], rng.normal(size=(2, 2)))


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


def test_update_is_the_mean_of_its_definition(tasks):
    """Over tasks, states as often as they occur: TD error times gradient; both numbers are 1 if not given."""
    for options in ({}, {"step_size": 0.6, "inverse_temperature": 1.7}):
        expected = np.zeros((2, 5, 5))
        for process in tasks.processes:
            full = {"step_size": 1.0, "inverse_temperature": 1.0} | options
            _, td_errors, gradients = limit_gradient(tasks.features, process, 3, **full)
            for mu, td_error, gradient in zip(
                process.stationary_distribution(), td_errors, gradients, strict=True
            ):
                expected += mu * td_error * gradient / 3
        np.testing.assert_allclose(limit_update(tasks, 3, **options), expected, atol=1e-13)


@pytest.mark.parametrize("step_size", [None, 0.6])
def test_asymptotics_are_those_of_deep_transformers(step_size):
    """An open context of three of four states, 70 layers and one more."""
    features = 1.5 * np.array([[1.0, 0.2, 0], [0, 0, 9], [-0.3, 1, 0.1], [0, -0.2, 1]])
    states = np.array([2, 0, 3, 0, 0, 2, 3, 2, 0, 3])
    given = features, states, np.array([1.0, 0, -0.5, 2])[states[:-1]], 0.5
    seen = asymptotics(*given) if step_size is None else asymptotics(*given, step_size=step_size)
    (_, one), (_, two) = (construction_gradient(*given, n, step_size or 1.0) for n in (70, 71))
    np.testing.assert_allclose(one[0, 5], seen.current, atol=1e-8)
    np.testing.assert_allclose((two - one)[0, 3], seen.reward, atol=1e-8)
    still, rising = [0, 1, 2, 5], [3, 4]
    np.testing.assert_allclose(one[1, 4, still], seen.target_limit[still], atol=1e-8)
    np.testing.assert_allclose((two - one)[1, 4, rising], seen.target_slope[rising], atol=1e-8)
    assert not seen.target_limit[rising].any()
    assert not seen.target_slope[still].any()


def test_step_size_scales_the_first_layer(tasks):
    one, two = (limit_gradient(tasks.features, tasks.processes[0], 1, step_size=a) for a in (0.4, 0.8))
    assert np.allclose(2 * one.values, two.values, rtol=0, atol=1e-15)


RNG = np.random.default_rng(0)


PROCESS = mrp.random_mrp(2, 0.5, RNG)


TASKS = TaskDistribution([PROCESS], np.eye(2))


SPLIT = mrp.MarkovRewardProcess(np.eye(2), np.ones(2), 0.5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: limit_gradient(np.eye(2), PROCESS, -1), "num_layers is -1; it must be at least 0"),
        (lambda: limit_gradient(np.eye(2), PROCESS, 1, step_size=0.0), "step_size is 0; it must be positive"),
        (
            lambda: limit_gradient(np.eye(2), PROCESS, 1, inverse_temperature=-1.0),
            "inverse_temperature is -1; it must be positive",
        ),
        (lambda: limit_gradient(np.eye(3), PROCESS, 1), "features has .* axis S must have length 2"),
        (lambda: limit_gradient(np.eye(2) * np.nan, PROCESS, 1), r"features\[0, 0\] is nan"),
        (lambda: limit_gradient(np.eye(2), SPLIT, 1), r"transition has the closed classes"),
        (lambda: limit_update(TASKS, 1, step_size=np.inf), "step_size is inf; it must be finite"),
    ],
)
def test_refuses_limits(call, message):
    with pytest.raises(ValueError, match=message):
        call()


CONTEXT = {
    "features": np.eye(2),
    "states": np.array([0, 1, 0, 1]),
    "rewards": np.array([1.0, 2.0, 1.0]),
    "discount": 0.5,
}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"states": np.array([0, 0, 0, 1]), "rewards": np.ones(3)},
            "states ends in 1, which it never leaves",
        ),
        (
            {"rewards": np.array([1.0, 2.0, 3.0])},
            r"rewards\[0\] is 1 in state 0, whose last reward is 3; the reward must",
        ),
        ({"rewards": np.ones(2)}, r"rewards has shape \(2,\)"),
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"step_size": 0.0}, "step_size is 0; it must be positive"),
        ({"step_size": 9.0}, "states give the iteration the spectral radius"),
        (
            {"features": np.ones((2, 1))},
            "the spectral radius 1; it must be below 1",
        ),
        ({"features": np.array([[1.0], [1 + 1e-6]])}, "features gives a linear system of condition"),
        ({"states": np.array([0, 1, 0, 2])}, r"states\[3\] is 2; states run from 0 to 1"),
    ],
)
def test_refuses_asymptotics(change, message):
    with pytest.raises(ValueError, match=message):
        asymptotics(**(CONTEXT | change))
