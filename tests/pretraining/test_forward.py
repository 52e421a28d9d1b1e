"""The batched forward pass against the transformer itself."""

from dataclasses import replace

import torch
from literal_pretraining import forward, prompt

from icrl.pretraining import emergence
from icrl.pretraining.forward import prompts, token_values
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
