"""The batched forward pass against the transformer itself."""

from dataclasses import replace

import pytest
import torch
from literal_pretraining import forward, prompt

from icrl.pretraining import emergence
from icrl.pretraining.forward import masked, prompts, token_values
from icrl.pretraining.tasks import (
    Configuration,
)
from icrl.softmax_transformer import SoftmaxTransformer

SMALL = Configuration(num_layers=3, num_transitions=12, num_seeds=2, num_prompts=5, num_steps=120)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_token_network_is_the_softmax_transformer():
    c = replace(SMALL, num_features=4, weights="per-layer")
    tasks = emergence.fresh_tasks(c, 6, generator())
    value, score = 0.3 * torch.randn(2, 3, 2, 1, 7, 7, generator=generator(), dtype=torch.float64)
    tokens = prompts(tasks.features, tasks.states, tasks.worlds.reward)
    ours = token_values(value, score, tokens, c.discount, 3)
    theirs = SoftmaxTransformer(3, c.discount, value, score).values(tokens)[-1, ..., -1]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    alone = token_values(value[:, 1, 0], score[:, 1, 0], tokens[0, 0], c.discount, 3)
    assert torch.allclose(alone, theirs[1, 0], rtol=0, atol=1e-12)


def test_linear_token_network_is_the_literal_one():
    tasks = emergence.fresh_tasks(SMALL, 1, generator())
    value, score = 0.3 * torch.randn(2, 1, 1, 1, 7, 7, generator=generator(), dtype=torch.float64)
    tokens = prompts(tasks.features, tasks.states, tasks.worlds.reward)
    ours = token_values(value, score, tokens, 0.5, 4, "linear")
    z = prompt(tasks.features[0, 0], tasks.states[0, 0], tasks.worlds.reward[0, 0])
    theirs = forward(value[:, 0, 0], score[:, 0, 0], z, 0.5, 4, "linear")
    assert torch.allclose(ours.squeeze(), theirs, rtol=0, atol=1e-12)


def test_tokens_of_a_prompt_are_those_written_out():
    """In a batch and alone; the caller's rewards stay."""
    tasks = emergence.fresh_tasks(replace(SMALL, num_features=3), 4, generator())
    reward = tasks.worlds.reward.clone()
    found = prompts(tasks.features, tasks.states, tasks.worlds.reward)
    for i in range(4):
        one = tasks.features[0, i], tasks.states[0, i], reward[0, i]
        assert torch.equal(found[0, i], prompt(*one))
        assert torch.equal(prompts(*one), prompt(*one))
    assert torch.equal(tasks.worlds.reward, reward)


def test_before_the_first_layer_all_values_are_0():
    tasks = emergence.fresh_tasks(replace(SMALL, weights="per-layer"), 5, generator())
    weights = [x.expand(3, 2, 7, 7) for x in emergence.construction(SMALL)]
    values = emergence.state_values(SMALL, *weights, tasks)
    assert torch.equal(values[0], torch.zeros(2, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize("matrix", [0, 1])
def test_one_entry_outside_its_mask_is_seen(matrix):
    """Every entry of both matrices, in one of two layers; the weights are left as they are."""
    free = [torch.zeros(6, 6, dtype=torch.bool) for _ in range(2)]
    free[0][5, 3:] = free[1][:3, :3] = True
    weights = torch.zeros(2, 2, 6, 6, dtype=torch.float64)  # which matrix, layer
    weights[:, :] = torch.stack(free)[:, None]
    for row in range(6):
        for column in range(6):
            changed = weights.clone()
            changed[matrix, 1, row, column] = 0.5
            before = changed.clone()
            assert masked(*changed) == bool(free[matrix][row, column])
            assert torch.equal(changed, before)
