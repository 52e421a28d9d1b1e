"""What is read off trained weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.pretraining import emergence
from icrl.pretraining.tasks import (
    Configuration,
    random_worlds,
)

SMALL = Configuration(num_layers=3, num_transitions=12, num_seeds=2, num_prompts=5, num_steps=120)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_attention_between_states_and_its_focus():
    _, score = emergence.construction(SMALL)
    attention = emergence.state_attention(SMALL, score)[0, 0]
    own, other = np.exp(4) / (np.exp(4) + 3), 1 / (np.exp(4) + 3)
    expected = torch.full((4, 4), other, dtype=torch.float64).fill_diagonal_(own)
    assert torch.allclose(attention, expected, rtol=0, atol=1e-12)
    lopsided = score.clone()
    lopsided[..., 0, 1] = 1.0  # source 0 scores for listener 1
    row = emergence.state_attention(SMALL, lopsided)[0, 0]
    assert torch.allclose(row.sum(-1), torch.ones(4, dtype=torch.float64))
    assert row[1, 0] > 0.4
    assert row[0, 1] < 0.05
    mixed = 0.3 * torch.eye(4) + 0.7 / 4
    assert abs(emergence.focus(mixed) - 0.3) < 1e-6


def test_polynomial_of_full_degree_is_exact():
    """One world, degree S - 1: by Cayley and Hamilton the value is such a polynomial."""
    worlds = random_worlds("random", (1,), 4, generator())
    coefficients = emergence.best_polynomial(worlds, 0.9, 4)
    value = emergence.krylov(*worlds, 0.9, 4) @ coefficients
    assert torch.allclose(value, worlds.value(0.9), rtol=0, atol=1e-8)


TINY = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)


TASKS = emergence.fresh_tasks(TINY, 3, torch.Generator().manual_seed(0))


VALUE, SCORE = emergence.construction(TINY)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("value", "score", "message"),
    [
        (
            VALUE[..., 1:, 1:],
            SCORE,
            r"value_weights has shape \(1, 1, 6, 6\); for 4 features and 2 layers it",
        ),
        (VALUE, SCORE[0], r"score_weights has shape \(1, 7, 7\)"),
        (VALUE.expand(3, 1, 7, 7), SCORE, r"must be \(1 or 2, seeds, 7, 7\)"),
        (VALUE * torch.nan, SCORE, r"value_weights\[0, 0, 0, 0\] is nan"),
    ],
)
def test_refuses_weights_that_do_not_fit_the_prompt(value, score, message):
    for function in (emergence.state_values, emergence.query_values, emergence.squared_errors):
        with pytest.raises(ValueError, match=message):
            function(TINY, value, score, TASKS)


@pytest.mark.bad_input
def test_refuses_tables_need_masks():
    with pytest.raises(ValueError, match="entries outside the masks"):
        emergence.state_values(TINY, VALUE + 1, SCORE, TASKS)


@pytest.mark.bad_input
def test_refuses_attention_between_states_needs_one_hot_features():
    for change in ({"num_features": 4}, {"attention": "linear"}):
        with pytest.raises(ValueError, match="one-hot features and softmax attention"):
            emergence.state_attention(replace(TINY, **change), SCORE)


@pytest.mark.bad_input
def test_refuses_coefficients():
    with pytest.raises(ValueError, match=r"coefficients has shape \(2, 2\)"):
        emergence.horner_rows(torch.eye(2))
