"""The transformer on an endless context, against the closed form and by hand."""

import numpy as np
import pytest

from icrl.mrp import MarkovRewardProcess, random_mrp
from icrl.neu import endless as module
from icrl.neu import endless_pass, limit_gradient

LAZY = MarkovRewardProcess(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([1.0, -2.0]), 0.5)


@pytest.mark.parametrize("limit", [endless_pass, limit_gradient])
def test_one_layer_by_hand(limit):
    """Scores 0 and 3 log 2 for the other state and the own one: weights 8 and 1, times mu = (2, 1) / 3.

    The value row of V moves the value by alpha times what is heard of the reward; of the own value, nothing.
    """
    features = np.sqrt(np.log(2)) * np.eye(2)
    seen = limit(features, LAZY, 1, step_size=0.7, inverse_temperature=3.0)
    heard = np.array([[16, 1], [2, 8]]) / [[17], [10]]
    values = 0.7 * heard @ LAZY.reward
    np.testing.assert_allclose(seen.values, values, rtol=1e-13)
    np.testing.assert_allclose(
        seen.td_errors, LAZY.reward + 0.5 * LAZY.transition @ values - values, rtol=1e-12
    )
    np.testing.assert_allclose(
        seen.gradients[:, 0, -1, :-2], np.column_stack([heard @ features, heard @ LAZY.reward])
    )
    spread = heard @ LAZY.reward**2 - (heard @ LAZY.reward) ** 2
    reward_column = 0.7 * spread[:, None] * features  # of A: whoever is rewarded is heard more
    np.testing.assert_allclose(seen.gradients[:, 1, 2, :2], reward_column, rtol=1e-12)


def test_closed_form_and_pass_agree():
    """Three layers on three states; both numbers are 1 if not given."""
    rng = np.random.default_rng(0)
    process, features = random_mrp(3, 0.8, rng), rng.normal(size=(3, 2))
    for options in ({"step_size": 0.6, "inverse_temperature": 1.7}, {}):
        full = {"step_size": 1.0, "inverse_temperature": 1.0} | options
        for one, other in zip(
            endless_pass(features, process, 3, **options),
            limit_gradient(features, process, 3, **full),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, atol=1e-12)
        for one, other in zip(
            limit_gradient(features, process, 3, **options),
            endless_pass(features, process, 3, **full),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_most_stretches(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_STRETCHES", 8)
    assert endless_pass(np.eye(2), LAZY, 3).values.shape == (2,)
    with pytest.raises(ValueError, match=r"num_layers is 4; 2\^4 stretches are more than 8"):
        endless_pass(np.eye(2), LAZY, 4)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (0, {}, "num_layers is 0; it must be at least 1"),
        (13, {}, r"num_layers is 13; 2\^13 stretches are more than 4096"),
        (1, {"step_size": 0}, "step_size is 0; it must be positive"),
        (1, {"inverse_temperature": 0}, "inverse_temperature is 0; it must be positive"),
    ],
)
def test_refuses(layers, options, message):
    with pytest.raises(ValueError, match=message):
        endless_pass(np.eye(2), LAZY, layers, **options)
