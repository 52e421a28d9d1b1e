"""Lens, probes and heads against hand-made ones on small networks, and on data whose answer is known."""

import numpy as np
import pytest
import torch

from icrl.standard_transformer import (
    Setting,
    behaviour,
    compressed,
    empirical,
    head_scores,
    initial_parameters,
    inside,
    jacobian,
    lens,
    literal,
    one_prompt,
    patched,
    plain_network,
    predict,
    probe,
    probes,
    squared_errors,
    stacked_pass,
)

SETTING = Setting(num_layers=2, num_transitions=40, num_heads=2, width=16, hidden=16)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def networks():
    return initial_parameters(SETTING.architecture, 2, generator(3), torch.float64)


def test_lens_ends_at_the_network(networks):
    prompts = SETTING.draw((30,), generator())
    errors, held = lens(SETTING, networks, prompts)
    assert torch.allclose(errors[-1], squared_errors(SETTING, networks, prompts).mean(-1))
    assert held.shape == (3, 2, 3)
    # By hand, one network, after its first layer.
    network = plain_network(SETTING.architecture, networks, 0)
    miss = []
    for i in range(30):
        tokens, queries = literal(one_prompt(prompts, i))
        mask = torch.zeros(45, 45, dtype=torch.bool)
        mask[:, 40:] = True
        with torch.no_grad():
            x = network.encoder.layers[0](network.embed(torch.cat([tokens, queries])), src_mask=mask)
            value = network.readout(network.encoder.norm(x))[40:, 0] * SETTING.architecture.output_scale
        miss.append(prompts.weight[i] @ (value - prompts.value[i]) ** 2)
    assert abs(float(torch.stack(miss).mean() - errors[1, 0])) < 1e-10


def test_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(4000, 6)))
    known = torch.cat([torch.ones(4000, 1).double(), x[:, :1]], 1)
    noise = torch.from_numpy(rng.normal(size=(4000, 1)))
    target = torch.cat([x[:, :1], x[:, 1:2] + x[:, :1], noise, x[:, 2:3] + noise], 1)

    def halves(z):
        return z[:2000], z[2000:]

    plain = probe(halves(x), halves(target))
    assert plain[0] > 0.999
    assert plain[1] > 0.999
    assert -0.02 < plain[2] < 0.005
    assert abs(plain[3] - 0.5) < 0.05
    partial = probe(halves(x), halves(target[:, 1:]), halves(known))
    assert partial[0] > 0.999
    # What only `known` carries is taken out: nothing of a target that is known and hidden noise is left.
    confounded = probe(halves(x), halves(5 * x[:, :1] + noise), halves(known))
    assert confounded[0] < 0.005
    assert probe(halves(x), halves(5 * x[:, :1] + noise))[0] > 0.9


def test_probes_have_their_controls(networks):
    prompts = tuple(SETTING.draw((60,), generator(i)) for i in range(2))
    found = probes(SETTING, networks, prompts, generator())
    assert set(found) == {"plain", "plain random", "partial", "partial random", "shuffled"}
    assert all(x.shape == (3, 2, 3) for x in found.values())
    assert (found["shuffled"] < 0.1).all()
    names = inside.nuisances(prompts[0])
    model = empirical(prompts[0].counts)
    assert torch.allclose(names[..., 2], (prompts[0].weight * prompts[0].reward).sum(-1, keepdim=True))
    aims = inside.probe_targets(prompts[0], 0.5)
    bellman = (model.filled @ prompts[0].reward[..., None])[..., 0]
    bellman = bellman + 0.5 * (model.transition @ aims[..., :1])[..., 0]
    assert torch.allclose(aims[..., 0], bellman)


def test_head_scores_by_hand(networks):
    prompts = SETTING.draw((3,), generator())
    found = head_scores(SETTING, networks, prompts)
    batch = [x[None].expand(2, *x.shape) for x in compressed(prompts)]
    paid = stacked_pass(SETTING.architecture, networks, *batch).attention
    pairs, counts = prompts.pairs.tolist(), batch[2][0]
    for layer, seed, head in ((0, 0, 1), (1, 1, 0)):
        same, into, following = [], [], []
        for b in range(3):
            share = counts[b] / counts[b].sum()
            for s in range(5):
                row = paid[layer, seed, b, head, len(pairs) + s]
                gap = row - share
                same.append(sum(gap[k] for k, (x, _) in enumerate(pairs) if x == s))
                into.append(sum(gap[k] for k, (_, y) in enumerate(pairs) if y == s))
            for j, (_, y) in enumerate(pairs):
                gap = paid[layer, seed, b, head, j] - share
                mine = sum(gap[k] for k, (x, _) in enumerate(pairs) if x == y)
                following.append(share[j] * mine / (1 / 3))
        assert abs(found.same[layer, seed, head] - sum(same) / 15) < 1e-10
        assert abs(found.into[layer, seed, head] - sum(into) / 15) < 1e-10
        assert abs(found.following[layer, seed, head] - sum(following) / 9) < 1e-10


def test_patching_one_head_is_patching_that_head(networks):
    prompts = SETTING.draw((4,), generator())
    errors, fits = patched(SETTING, networks, prompts)
    assert errors.shape == (2, 2, 2)
    averaged = torch.tensor([[False, False], [True, False]])
    values = predict(SETTING, networks, prompts, averaged)
    assert torch.allclose(errors[1, 0], prompts.mean_square(values - prompts.value).mean(-1))
    own = behaviour.coefficients(jacobian(SETTING, networks, prompts, averaged), prompts, 0.5)[0]
    assert torch.allclose(fits[1, 0], own)
