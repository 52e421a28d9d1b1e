"""Lens, probes and heads against hand-made ones on small networks, and on data whose answer is known."""

from dataclasses import replace

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
from icrl.standard_transformer.training import for_all_seeds

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


def test_what_a_layer_holds_by_another_least_squares(networks):
    """Rewards beyond the mean, their look-ahead and the price, rows weighted by visits."""
    prompts = SETTING.draw((20,), generator(1))
    _, held = lens(SETTING, networks, prompts)
    passes = stacked_pass(SETTING.architecture, networks, *compressed(for_all_seeds(prompts, 2)))
    columns, values, scales = [], [], []
    for i in range(20):
        model = empirical(prompts.counts[i])
        seen, step = (
            (m @ prompts.reward[i]).numpy() for m in (model.filled, model.transition @ model.filled)
        )
        mean = (model.visits @ prompts.reward[i]).item()
        columns.append(np.stack([seen - mean, 0.5 * (step - mean), np.full(5, mean / 0.5)], 1))
        scales.append(np.sqrt(prompts.weight[i].numpy()))
    columns, scales = np.concatenate(columns), np.concatenate(scales)
    for layer in range(3):
        for seed in range(2):
            network = plain_network(SETTING.architecture, networks, seed)
            with torch.no_grad():
                values = network.readout(network.encoder.norm(passes.residual[layer, seed]))[..., 0]
            values = values.flatten().numpy() * 2**0.5  # 1 / sqrt(1 - gamma)
            best = np.linalg.lstsq(columns * scales[:, None], values * scales, rcond=None)[0]
            np.testing.assert_allclose(held[layer, seed], best, atol=1e-10)


@pytest.mark.parametrize("ridge", [None, 0.5])
def test_probe_by_hand(ridge):
    """Ridge regression after what is known was taken out; 1/1000 of the mean square unless said."""
    rng = np.random.default_rng(2)
    hidden, target, known = ([rng.normal(size=(n, k)) + 1 for n in (30, 20)] for k in (4, 2, 3))
    for x, y in zip(hidden, target, strict=True):
        y += x[:, :2]
    for given in (known, None):
        base = given or [np.ones((n, 1)) for n in (30, 20)]
        rest = []
        for fit, new in (hidden, target):
            taken = np.linalg.lstsq(base[0], fit, rcond=None)[0]
            rest += [fit - base[0] @ taken, new - base[1] @ taken]
        x, x_new, y, y_new = rest
        weight = (ridge or 1e-3) * (x**2).sum(0).mean()
        slope = np.linalg.inv(x.T @ x + weight * np.eye(4)) @ x.T @ y
        wanted = 1 - ((y_new - x_new @ slope) ** 2).sum(0) / (y_new**2).sum(0)
        pairs = [tuple(map(torch.from_numpy, pair)) for pair in (hidden, target)]
        pairs.append(given and tuple(map(torch.from_numpy, given)))
        found = probe(*pairs, **{} if ridge is None else {"ridge": ridge})
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


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
    assert (names[..., 0] == 1).all()
    assert torch.allclose(names[..., 1], (model.filled @ prompts[0].reward[..., None])[..., 0])
    assert torch.allclose(names[..., 2], (prompts[0].weight * prompts[0].reward).sum(-1, keepdim=True))
    aims = inside.probe_targets(prompts[0], 0.5)
    bellman = (model.filled @ prompts[0].reward[..., None])[..., 0]
    bellman = bellman + 0.5 * (model.transition @ aims[..., :1])[..., 0]
    assert torch.allclose(aims[..., 0], bellman)
    for k in (1, 2):
        before = model.filled @ prompts[0].reward[..., None] if k == 1 else aims[..., 1:2]
        assert torch.allclose(aims[..., k], (model.transition @ before)[..., 0])


def test_probes_are_those_of_every_layer_and_network(monkeypatch):
    """Fitted on the first worlds, tested on the others; the shuffle exchanges whole worlds."""
    small = replace(SETTING, num_layers=1, width=4, hidden=4)
    networks = initial_parameters(small.architecture, 2, generator(3), torch.float64)
    prompts = tuple(small.draw((n,), generator(n)) for n in (12, 9))
    calls = []
    monkeypatch.setattr(inside, "probe", lambda *x: calls.append(x) or probe(*x))
    found = probes(small, networks, prompts, generator(5))
    g = generator(5)
    untrained = initial_parameters(small.architecture, 2, g, torch.float64)
    aims = tuple(inside.probe_targets(x, 0.5).flatten(0, 1) for x in prompts)
    known = tuple(inside.nuisances(x).flatten(0, 1) for x in prompts)
    mixed = calls[-1][1]
    worlds, others = (x.unflatten(0, (12, 5)) for x in (aims[0], mixed[0]))
    order = [next(k for k in range(12) if torch.equal(worlds[k], world)) for world in others]
    assert order == torch.randperm(12, generator=g).tolist()
    assert torch.equal(mixed[1], aims[1])
    plan = {"plain": (networks, aims, None), "plain random": (untrained, aims, None)}
    plan |= {"partial": (networks, aims, known), "partial random": (untrained, aims, known)}
    plan |= {"shuffled": (networks, mixed, known)}
    for name, (parameters, aim, taken) in plan.items():
        passes = [
            stacked_pass(small.architecture, parameters, *compressed(for_all_seeds(x, 2))).residual
            for x in prompts
        ]
        for layer, seed in ((0, 1), (1, 0)):
            hidden = tuple(x[layer, seed].reshape(-1, 4) for x in passes)
            np.testing.assert_allclose(found[name][layer, seed], probe(hidden, aim, taken), rtol=1e-7)


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
