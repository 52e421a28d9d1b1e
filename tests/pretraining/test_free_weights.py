"""The forward pass by kinds of tokens and by sums of products against the one token by token."""

from itertools import product

import pytest
import torch

from icrl.pretraining.forward import prompts, token_values
from icrl.pretraining.free_weights import context, free_values
from icrl.pretraining.tasks import Configuration, draw_tasks

SIZES = [*product((1, 2, 4), (None, 3), (1, 20), (2, 5), ("shared", "per-layer"))]


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_values_and_gradients_are_those_of_the_tokens(attention):
    """Any depth, pairs of states fewer and more than tokens, one transition, weights for each layer."""
    generator = torch.Generator().manual_seed(0)
    for num_layers, num_features, n, size, kind in SIZES:
        sizes = {"num_layers": num_layers, "num_states": size, "num_transitions": n}
        c = Configuration(**sizes, num_features=num_features, kind="random", inverse_temperature=1.0)
        tasks = draw_tasks(c, (2, 5), generator)
        shape = (num_layers if kind == "per-layer" else 1, 2, 1, c.width + 3, c.width + 3)
        free = 0.2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        free.requires_grad_()
        states, reward = tasks.states[..., : n + 1], tasks.worlds.reward
        features = tasks.features.expand(2, 5, *tasks.features.shape[-2:])
        slow = token_values(*free, prompts(features, states, reward), 0.7, num_layers, attention)
        fast = free_values(
            *free, context(tasks.features, states, reward, num_layers, attention), 0.7, num_layers
        )
        (of_slow,), (of_fast,) = (torch.autograd.grad(v.square().sum(), free) for v in (slow, fast))
        assert torch.allclose(fast, slow, rtol=1e-12, atol=1e-13)
        assert torch.allclose(of_fast, of_slow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_a_prompt_is_read_alike_in_any_batch(attention, n, num_layers):
    """Alone, or in batches of one to three axes; fewer tokens than pairs of states, and more."""
    generator = torch.Generator().manual_seed(2)
    tasks = draw_tasks(Configuration(num_transitions=n), (2, 3, 2), generator)
    free = 0.2 * torch.randn(2, 1, 7, 7, generator=generator, dtype=torch.float64)
    features = tasks.features.expand(2, 3, 2, *tasks.features.shape[-2:])
    batch = features, tasks.states[..., : n + 1], tasks.worlds.reward
    wanted = token_values(*free, prompts(*batch), 0.5, num_layers, attention)
    for index in ((), (1,), (1, 2), (1, 2, 0)):
        seen = context(*(x[index] for x in batch), num_layers, attention)
        assert torch.allclose(free_values(*free, seen, 0.5, num_layers), wanted[index], rtol=1e-12)
        axes = (None,) * (3 - len(index))
        one_each = free_values(*free[:, :, *axes], seen, 0.5, num_layers)
        assert torch.allclose(one_each, wanted[index], rtol=1e-12)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_single_precision_keeps_its_digits(attention):
    """Errors of float32, and no more."""
    generator = torch.Generator().manual_seed(1)
    c = Configuration(num_transitions=30, num_layers=3)
    tasks = draw_tasks(c, (1, 20), generator)
    free = 0.2 * torch.randn(2, 1, 1, 1, 7, 7, generator=generator, dtype=torch.float64)
    states, reward = tasks.states[..., :31], tasks.worlds.reward
    values = [
        free_values(*free.to(x), context(tasks.features.to(x), states, reward.to(x), 3, attention), 0.5, 3)
        for x in (torch.float32, torch.float64)
    ]
    assert values[0].dtype == torch.float32
    assert torch.allclose(values[0].double(), values[1], rtol=1e-5, atol=1e-6)


@pytest.mark.bad_input
def test_refuses_a_pass_without_layers():
    """There is no value before the first layer."""
    tasks = draw_tasks(Configuration(), (1, 2), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        context(tasks.features, tasks.states[..., :5], tasks.worlds.reward, 0)
    weights = torch.zeros(1, 7, 7)
    seen = context(tasks.features, tasks.states[..., :5], tasks.worlds.reward, 1)
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        free_values(weights, weights, seen, 0.5, 0)
    with pytest.raises(ValueError, match=r"discount is 1; it must lie in \[0, 1\)"):
        free_values(weights, weights, seen, 1.0, 1)
