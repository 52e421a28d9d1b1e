"""The batched forward pass against the transformer itself."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from literal_pretraining import forward, prompt

from icrl.pretraining import emergence
from icrl.pretraining.forward import masked, prompts, table_operators, tables, token_values
from icrl.pretraining.tasks import Configuration, draw_tasks
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


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_tables_by_loops_in_any_batch(attention):
    """Counts, attention to states and to successors: a state seen n times counts n times."""
    c = replace(SMALL, num_states=3, num_transitions=5)
    tasks = draw_tasks(c, (2, 3), generator())
    states, reward = tasks.states[..., :6], tasks.worlds.reward
    scores = torch.randn(3, 3, generator=generator(), dtype=torch.float64)
    weight = scores.exp() if attention == "softmax" else scores / 5
    for index in ((), (1,), (1, 2)):
        found = tables(states[index], reward[index])
        operators = table_operators(scores.expand(*reward[index].shape, 3), found, attention)
        whole = [x.reshape(-1, *x.shape[len(reward[index].shape) - 1 :]) for x in (*found, *operators)]
        for path, paid, visits, transition, told, *pair in zip(
            states[index].reshape(-1, 6), reward[index].reshape(-1, 3), *whole, strict=True
        ):
            counts = torch.zeros(3, 3, dtype=torch.float64)
            for here, there in pairwise(path.tolist()):
                counts[here, there] += 1
            assert torch.equal(visits, counts.sum(1))
            chain = counts / counts.sum(1).clamp(min=1)[:, None]
            assert torch.allclose(transition, chain)
            assert torch.equal(told, paid)
            heard = weight * counts.sum(1)
            if attention == "softmax":
                heard = heard / heard.sum(1)[:, None]
            assert torch.allclose(pair[0], heard)
            assert torch.allclose(pair[1], heard @ chain)


def test_before_the_first_layer_all_values_are_0():
    tasks = emergence.fresh_tasks(replace(SMALL, weights="per-layer"), 5, generator())
    weights = [x.expand(3, 2, 7, 7) for x in emergence.construction(SMALL)]
    values = emergence.state_values(SMALL, *weights, tasks)
    assert torch.equal(values[0], torch.zeros(2, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize("matrix", [0, 1])
def test_one_entry_outside_its_mask_is_seen(matrix):
    """Every entry of both matrices, in one of two layers; the weights are left as they are."""
    free = [torch.zeros(5, 5, dtype=torch.bool) for _ in range(2)]
    free[0][4, 2:] = free[1][:2, :2] = True
    weights = torch.zeros(2, 2, 5, 5, dtype=torch.float64)  # which matrix, layer
    weights[:, :] = torch.stack(free)[:, None]
    for row in range(5):
        for column in range(5):
            changed = weights.clone()
            changed[matrix, 1, row, column] = 0.5
            before = changed.clone()
            assert masked(*changed) == bool(free[matrix][row, column])
            assert torch.equal(changed, before)
