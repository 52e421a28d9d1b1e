"""Instruments on functions whose answer is known, and on small networks."""

import numpy as np
import pytest
import torch

from icrl.standard_transformer import (
    Setting,
    behaviour,
    combination,
    compressed,
    empirical,
    fit_rivals,
    head_scores,
    initial_parameters,
    inside,
    jacobian,
    lens,
    literal,
    moves,
    one_prompt,
    paired,
    patched,
    plain_network,
    predict,
    predicted_moves,
    priced,
    probe,
    probes,
    slopes,
    squared_errors,
    stacked_pass,
    swapped,
    symmetries,
    td,
)

SETTING = Setting(num_layers=2, num_transitions=40, num_heads=2, width=16, hidden=16)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def networks():
    return initial_parameters(SETTING.architecture, 2, generator(3), torch.float64)


def stub(monkeypatch, function):
    """Every instrument sees this function of prompts in place of a network."""
    monkeypatch.setattr(behaviour, "predict", lambda c, p, prompts, averaged=None: function(prompts))


def linear_map(coefficients, discount=0.5):
    def function(prompts):
        matrix = combination(coefficients, empirical(prompts.counts), discount)
        values = (matrix @ prompts.reward[..., None])[..., 0]
        return values if values.ndim == 3 else values[None]

    return function


def test_jacobian_is_the_slope(networks):
    prompts = SETTING.draw((3,), generator())
    found = jacobian(SETTING, networks, prompts)
    for x in range(5):
        step = torch.zeros(5).double()
        step[x] = 1e-6
        up, down = (
            predict(SETTING, networks, prompts.with_reward(prompts.reward + s * step)) for s in (1, -1)
        )
        assert torch.allclose(found[..., x], (up - down) / 2e-6, atol=1e-6)


def test_jacobian_of_td_is_td(monkeypatch):
    prompts = SETTING.draw((10,), generator())
    stub(monkeypatch, linear_map(td(2, 0.5)))
    found = jacobian(SETTING, torch.zeros(1, 1).double(), prompts)
    fitted, explained = behaviour.coefficients(found, prompts, 0.5)
    assert torch.allclose(fitted[0], torch.tensor([1, 1, 0, 0.75]).double(), atol=1e-9)
    assert explained[0] > 1 - 1e-9


def test_a_linear_map_has_all_symmetries(monkeypatch):
    prompts = SETTING.draw((50,), generator())
    stub(monkeypatch, linear_map(td(3, 0.5)))
    seen = symmetries(SETTING, torch.zeros(1, 1), prompts)
    for name, value in seen.items():
        expected = 0.875 if name.startswith("shift") else 0
        assert abs(float(value[0]) - expected) < 1e-9, name


def test_symmetries_measure_what_they_say(monkeypatch):
    """v = r + 0.1: even part .1; v(r+c)-v(r) = c; v(ar)/a - v(r) = .1 (1/a - 1); sums miss by .1."""
    prompts = SETTING.draw((2000,), generator())
    stub(monkeypatch, lambda p: (p.reward + 0.1)[None])
    seen = symmetries(SETTING, torch.zeros(1, 1), prompts)
    size = float(prompts.mean_square(prompts.reward + 0.1).mean().sqrt())
    assert abs(float(seen["odd"][0]) - 0.1 / size) < 1e-9
    both = (prompts.reward + prompts.reward.roll(1, 0)) / 2 + 0.1
    assert abs(float(seen["additive"][0]) - 0.1 / float(prompts.mean_square(both).mean().sqrt())) < 1e-9
    assert abs(float(seen["shift 2"][0]) - 0.5) < 1e-9
    assert abs(float(seen["scale 5"][0]) - 0.08 / size) < 1e-9
    assert abs(float(seen["scale 0.5"][0]) - 0.1 / size) < 1e-9


def test_swap_keeps_visits_and_moves_the_chain():
    prompts = SETTING.draw((200,), generator())
    after = swapped(prompts, generator())
    assert torch.equal(after.counts.sum(-1), prompts.counts.sum(-1))
    changed = (after.counts != prompts.counts).any(-1)
    assert set(changed.sum(-1).tolist()) <= {0, 1}
    assert changed.any(-1).double().mean() > 0.7
    assert torch.equal(after.counts.sort(-1).values, prompts.counts.sort(-1).values)
    assert torch.equal(after.counts > 0, prompts.counts > 0)


def test_moves_and_slopes(monkeypatch):
    prompts = SETTING.draw((100,), generator())
    after = swapped(prompts, generator())
    half = torch.tensor([1.0, 0.5, 0.0, 1.0]).double()
    stub(monkeypatch, linear_map(half))
    moved = moves(SETTING, torch.zeros(1, 1), prompts, after)
    model, other = empirical(prompts.counts), empirical(after.counts)
    whole = combination(priced(2), other, 0.5) - combination(priced(2), model, 0.5)
    whole = (whole @ prompts.reward[..., None])[..., 0]
    assert torch.allclose(slopes(moved, whole[None], prompts), torch.tensor([[0.5]]).double())
    only_price = combination(priced(1), other, 0.5) - combination(priced(1), model, 0.5)
    assert only_price.abs().max() < 1e-12  # the mean stays
    seen = predicted_moves(prompts, after, 0.5, fit_rivals(prompts, 0.5))
    assert all(x.abs().max() > 0 for x in seen.values())
    assert seen["linear 1"].abs().mean() < seen["certainty equivalence"].abs().mean()


def test_paired_interval_is_of_the_difference():
    rng = generator()
    common = torch.rand(10_000, generator=rng).double()
    errors = torch.stack([common + 0.1, common + torch.randn(10_000, generator=rng)])
    mean, half = paired(errors, common)
    assert abs(mean[0] - 0.1) < 1e-12
    assert half[0] < 1e-12
    assert abs(half[1] - 1.96 / 100) < 1e-3


def test_squared_errors_count_visits(networks):
    prompts = SETTING.draw((5,), generator())
    found = squared_errors(SETTING, networks, prompts)
    values = predict(SETTING, networks, prompts)
    for i in range(5):
        n = prompts.counts[i].sum(-1)
        by_hand = sum(n[s] * (values[1, i, s] - prompts.value[i, s]) ** 2 for s in range(5)) / n.sum()
        assert abs(found[1, i] - by_hand) < 1e-12


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
