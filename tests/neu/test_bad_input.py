"""What the rooms `neu` and `neu_limits` refuse, and what they say."""

import numpy as np
import pytest
import torch

from icrl import mrp
from icrl.neu.limits import asymptotics, limit_gradient, limit_update
from icrl.neu.loss import TaskDistribution, neu_terms, own_entries, squared_norm
from icrl.softmax_transformer import softmax_td_weights

pytestmark = pytest.mark.bad_input

RNG = np.random.default_rng(0)
PROCESS = mrp.random_mrp(2, 0.5, RNG)
TASKS = TaskDistribution([PROCESS], np.eye(2))
SPLIT = mrp.MarkovRewardProcess(np.eye(2), np.ones(2), 0.5)


@pytest.mark.parametrize(
    ("processes", "features", "message"),
    [
        ([], np.eye(2), "processes is empty; give at least one"),
        ([PROCESS, 3], np.eye(2), r"processes\[1\] is a int; it must be a MarkovRewardProcess"),
        ([PROCESS, mrp.random_mrp(3, 0.5, RNG)], np.eye(2), r"processes differ in num_states, \[2, 3\]"),
        ([PROCESS, mrp.random_mrp(2, 0.6, RNG)], np.eye(2), r"processes differ in discount, \[0.5, 0.6\]"),
        ([PROCESS], np.eye(3), r"features has shape \(3, 3\); it must have a row for each of the 2 states"),
        ([PROCESS], np.ones(2), r"features has shape \(2,\); it must have 2 axes"),
        ([PROCESS], np.diag([np.nan, 1]), r"features\[0, 0\] is nan; every entry must be finite"),
        ([SPLIT], np.eye(2), r"transition has the closed classes \[\[0\], \[1\]\]"),
    ],
)
def test_tasks(processes, features, message):
    with pytest.raises(ValueError, match=message):
        TaskDistribution(processes, features)


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
        (lambda: squared_norm(np.ones((1, 3))), r"updates has shape \(1, 3\); it must be \(B, ...\)"),
        (lambda: squared_norm(np.array([[1.0], [np.inf]])), r"updates\[1, 0\] is inf"),
    ],
)
def test_windows(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value_weights": torch.zeros(4, 4)}, r"value_weights has shape \(4, 4\); it must be \(5, 5\)"),
        ({"score_weights": torch.zeros(1, 5, 5)}, r"score_weights has shape \(1, 5, 5\)"),
        ({"score_weights": torch.full((5, 5), torch.nan)}, r"score_weights\[0, 0\] is nan"),
        ({"value_weights": np.zeros((5, 5))}, "value_weights is a ndarray; it must be a torch.Tensor"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        (
            {"value_weights": torch.full((5, 5), 1e300, dtype=torch.float64)},
            "num_layers is 4; at these weights a",
        ),
    ],
)
def test_terms(change, message):
    value, score = softmax_td_weights(2)
    given = {"value_weights": value, "score_weights": score, "num_layers": 4} | change
    with pytest.raises(ValueError, match=message):
        neu_terms(TASKS, TASKS.enumerate(2), **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: limit_gradient(np.eye(2), PROCESS, -1), "num_layers is -1; it must be at least 0"),
        (lambda: limit_gradient(np.eye(2), PROCESS, 1, step_size=0.0), "step_size is 0; it must be positive"),
        (
            lambda: limit_gradient(np.eye(2), PROCESS, 1, inverse_temperature=-1.0),
            "inverse_temperature is -1; it must be positive",
        ),
        (lambda: limit_gradient(np.eye(3), PROCESS, 1), r"distribution has shape \(2,\); it must be \(3,\)"),
        (lambda: limit_gradient(np.eye(2) * np.nan, PROCESS, 1), r"features\[0, 0\] is nan"),
        (lambda: limit_gradient(np.eye(2), SPLIT, 1), r"transition has the closed classes"),
        (lambda: limit_update(TASKS, 1, step_size=np.inf), "step_size is inf; it must be finite"),
    ],
)
def test_limits(call, message):
    with pytest.raises(ValueError, match=message):
        call()


CONTEXT = {
    "features": np.eye(2),
    "states": np.array([0, 1, 0, 1]),
    "rewards": np.array([1.0, 2.0, 1.0]),
    "discount": 0.5,
}


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
        ({"states": np.array([0, 1, 0, 2])}, r"states\[3\] is 2; states run from 0 to 1"),
    ],
)
def test_asymptotics(change, message):
    with pytest.raises(ValueError, match=message):
        asymptotics(**(CONTEXT | change))
