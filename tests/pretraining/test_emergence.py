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
            r"score_weights has shape \(1, 1, 7, 7\); its axis D must have length 6",
        ),
        (VALUE, SCORE[0], r"score_weights has shape \(1, 7, 7\)"),
        (VALUE.expand(3, 1, 7, 7), SCORE, r"score_weights has shape .* its axis K must have length 3"),
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


def three_steps():
    """Two states, 0 -> 0 -> 1 -> 0 with rewards 1, 1, 3; state 2 is never left, and asked for."""
    c = replace(TINY, num_states=3, num_layers=2, discount=0.5)
    tasks = emergence.fresh_tasks(c, 1, generator())
    reward = torch.tensor([[[1.0, 3.0, 7.0]]], dtype=torch.float64)
    transition = torch.tensor([[[[0.5, 0.5, 0], [0.5, 0, 0.5], [1, 0, 0]]]], dtype=torch.float64)
    worlds = tasks.worlds._replace(reward=reward, transition=transition)
    return c, tasks._replace(worlds=worlds, states=torch.tensor([[[0, 0, 1, 2]]]))


def test_the_model_of_a_context_by_hand():
    """What the context does not tell is filled by its means."""
    _, tasks = three_steps()
    model, mean = emergence.filled_model(tasks)
    assert mean.item() == pytest.approx(5 / 3)
    assert model.reward[0, 0].tolist() == pytest.approx([1, 3, 5 / 3])
    assert model.transition[0, 0].tolist() == [[0.5, 0.5, 0], [0, 0, 1], pytest.approx([2 / 3, 1 / 3, 0])]


def test_baselines_by_hand():
    c, tasks = three_steps()
    said = {name: x.item() for name, x in emergence.baselines(c, tasks).items()}
    assert said["mean / (1 - gamma)"] == pytest.approx(10 / 3)
    assert said["r + gamma mean / (1 - gamma)"] == pytest.approx(10 / 3)  # the mean stands in for the reward
    assert said["centred TD + mean / (1 - gamma)"] == pytest.approx(
        10 / 3
    )  # 2/3 (1 - 5/3) + 1/3 (3 - 5/3) = 0
    matrix = np.eye(3) - 0.5 * np.array([[0.5, 0.5, 0], [0, 0, 1], [2 / 3, 1 / 3, 0]])
    value = np.linalg.solve(matrix, [1, 3, 5 / 3])[2]
    assert said["certainty equivalence"] == pytest.approx(value)


def test_on_the_exact_chain_the_construction_is_the_truncated_series():
    """Sharp attention, long worlds: r + gamma P r + ..., L terms."""
    c = replace(TINY, num_layers=4, inverse_temperature=1.0)
    tasks = emergence.fresh_tasks(c, 5, generator())
    value, score = emergence.construction(c)
    seen = emergence.on_exact_chain(c, value, 60 * score, tasks)
    series = emergence.krylov(tasks.worlds.transition, tasks.worlds.reward, c.discount, 4).sum(-1)
    torch.testing.assert_close(seen, emergence.at_query(series, tasks), rtol=0, atol=1e-9)
