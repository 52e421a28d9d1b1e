"""The stacked network on compressed prompts against the encoder that PyTorch ships."""

from dataclasses import replace

import pytest
import torch

from icrl.standard_transformer import (
    OrdinaryTransformer,
    Setting,
    compressed,
    initial_parameters,
    literal,
    one_prompt,
    plain_network,
    predict,
    stacked_pass,
    stacked_values,
)
from icrl.standard_transformer.training import for_all_seeds

SETTING = Setting(num_layers=2, num_transitions=30)
LAWS = [
    SETTING,
    replace(SETTING, kinds=("loop",), discount=0.9, num_heads=2, width=16),
    replace(SETTING, kinds=("random", "boyan"), num_states=4, num_names=6, num_layers=3),
    replace(SETTING, gaussian=True, num_names=3, hidden=8),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("setting", LAWS, ids=str)
def test_compression_and_stack_are_the_plain_encoder(setting):
    """Every seed, every prompt, one token for each transition."""
    g = generator()
    parameters = initial_parameters(setting.architecture, 3, g, torch.float64)
    parameters = parameters + 0.3 * torch.randn(parameters.shape, generator=g, dtype=torch.float64)
    prompts = setting.draw((4,), g)
    fast = predict(setting, parameters, prompts)
    for seed in range(3):
        network = plain_network(setting.architecture, parameters, seed)
        for i in range(4):
            tokens, queries = literal(one_prompt(prompts, i))
            assert len(tokens) == setting.num_transitions
            with torch.no_grad():
                slow = network(tokens, queries)
            assert torch.allclose(fast[seed, i], slow, rtol=0, atol=1e-11)


def test_nothing_but_the_counts_makes_them_equal():
    """Without the counts the compressed network is another one."""
    g = generator()
    parameters = initial_parameters(SETTING.architecture, 1, g, torch.float64)
    prompts = SETTING.draw((4,), g)
    heard_once = prompts._replace(counts=prompts.counts.clamp(max=1))
    gap = predict(SETTING, parameters, prompts) - predict(SETTING, parameters, heard_once)
    assert gap.abs().max() > 1e-4


def test_order_does_not_matter_and_queries_are_not_heard():
    g = generator()
    network = plain_network(SETTING.architecture, initial_parameters(SETTING.architecture, 1, g), 0).double()
    tokens, queries = literal(one_prompt(SETTING.draw((1,), g), 0))
    with torch.no_grad():
        all_of_them = network(tokens, queries)
        assert torch.allclose(network(tokens[torch.randperm(30, generator=g)], queries), all_of_them)
        assert torch.allclose(network(tokens, queries[1:2]), all_of_them[1:2])


def test_plain_network_on_batches():
    """Of one and of two axes: as prompt by prompt."""
    g = generator()
    start = initial_parameters(SETTING.architecture, 1, g, torch.float64)
    network = plain_network(SETTING.architecture, start, 0)
    assert not any(x.requires_grad for x in start)
    prompts = SETTING.draw((6,), g)
    tokens, queries = map(torch.stack, zip(*(literal(one_prompt(prompts, i)) for i in range(6)), strict=True))
    with torch.no_grad():
        alone = torch.stack([network(*one) for one in zip(tokens, queries, strict=True)])
        assert torch.allclose(network(tokens, queries), alone)
        both = network(tokens.unflatten(0, (2, 3)), queries.unflatten(0, (2, 3)))
    assert torch.allclose(both, alone.unflatten(0, (2, 3)))


def test_same_generator_same_start():
    one, again, other = (initial_parameters(SETTING.architecture, 2, generator(k)) for k in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.float32
    assert not torch.equal(one[0], one[1])


def test_pass_taken_apart_is_the_same_pass():
    g = generator()
    parameters = initial_parameters(SETTING.architecture, 2, g, torch.float64)
    batch = compressed(for_all_seeds(SETTING.draw((3,), g), 2))
    seen = stacked_pass(SETTING.architecture, parameters, *batch)
    assert torch.allclose(seen.values, stacked_values(SETTING.architecture, parameters, *batch))
    averaged = torch.tensor([[True, False, False, True], [False, True, False, False]])
    apart = stacked_pass(SETTING.architecture, parameters, *batch, averaged)
    assert torch.allclose(apart.values, stacked_values(SETTING.architecture, parameters, *batch, averaged))
    share = (batch[2] / batch[2].sum(-1, keepdim=True))[:, :, None].expand(
        apart.attention.shape[1:][:2] + apart.attention.shape[4:]
    )
    for layer, head in averaged.nonzero().tolist():
        assert torch.allclose(apart.attention[layer, :, :, head], share)
    assert seen.residual.shape == (3, 2, 3, 5, 32)
    assert torch.allclose(seen.attention.sum(-1), torch.ones_like(seen.attention[..., 0]))
    unheard = (batch[2] == 0)[None, :, :, None, None].expand(seen.attention.shape)
    assert not seen.attention[unheard].any()


def test_averaged_head_hears_the_counts():
    """Averaging all heads by hand, in a plain loop over one layer, gives the patched network."""
    g, setting = generator(), replace(SETTING, num_layers=1)
    a = setting.architecture
    parameters = initial_parameters(a, 1, g, torch.float64)
    prompt = one_prompt(setting.draw((1,), g), 0)
    tokens, queries = literal(prompt)
    network = plain_network(a, parameters, 0)
    layer = network.encoder.layers[0]
    with torch.no_grad():
        x = network.embed(torch.cat([tokens, queries]))
        value = torch.nn.functional.linear(
            layer.norm1(x), layer.self_attn.in_proj_weight[-32:], layer.self_attn.in_proj_bias[-32:]
        )
        x = x + layer.self_attn.out_proj(value[:30].mean(0))
        x = x + layer.linear2(layer.linear1(layer.norm2(x)).relu())
        expected = network.readout(network.encoder.norm(x))[30:, 0] * a.output_scale
    batch = [x[None, None] for x in compressed(prompt)]
    found = stacked_values(a, parameters, *batch, averaged=torch.ones(1, 4, dtype=torch.bool))
    assert torch.allclose(found[0, 0], expected, atol=1e-12)


def test_initial_parameters_follow_the_laws_of_torch():
    """Means, ranges and spreads of every parameter, beside those of modules that PyTorch starts."""
    a = SETTING.architecture
    ours = initial_parameters(a, 200, generator())
    shapes = a.shapes()
    pieces = dict(zip(shapes, ours.split([torch.Size(s).numel() for s in shapes.values()], -1), strict=True))
    torch.manual_seed(0)  # PyTorch's own start knows no generator
    theirs = [OrdinaryTransformer(a).state_dict() for _ in range(30)]
    assert {k: tuple(v.shape) for k, v in theirs[0].items()} == shapes
    for name, mine in pieces.items():
        them = torch.stack([x[name].flatten() for x in theirs])
        assert abs(float(mine.mean() - them.mean())) < 0.02, name
        assert abs(float(mine.std() - them.std())) < 0.05 * float(them.std()) + 1e-6, name
        assert abs(float(mine.abs().max() - them.abs().max())) < 0.03 * float(them.abs().max()) + 1e-6, name
