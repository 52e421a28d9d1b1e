"""Instruments on functions whose answer is known, and on small networks."""

import numpy as np
import pytest
import torch

from icrl.standard_transformer import (
    Setting,
    behaviour,
    combination,
    empirical,
    fit_rivals,
    initial_parameters,
    jacobian,
    moves,
    paired,
    predict,
    predicted_moves,
    priced,
    slopes,
    squared_errors,
    swapped,
    symmetries,
    td,
)

SETTING = Setting(num_layers=2, num_transitions=40, num_heads=2, width=16, hidden=16)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_share_explained_is_of_what_the_price_leaves():
    """By another least squares, of matrices that no polynomial gives."""
    prompts = SETTING.draw((4,), generator())
    found = torch.randn(2, 4, 5, 5, generator=generator(1), dtype=torch.float64)
    fitted, explained = behaviour.coefficients(found, prompts, 0.5, degree=1)
    p = np.linalg.matrix_power
    columns, rows = [], [[], []]
    for i in range(4):
        model = behaviour.empirical(prompts.counts[i : i + 1])
        filled, step, mean = (x[0].numpy() for x in (model.filled, model.transition, model.mean))
        scale = np.sqrt(prompts.weight[i].numpy())[:, None]
        terms = [0.5**j * (p(step, j) @ filled - mean) for j in range(2)] + [mean / 0.5]
        columns.append(np.stack([(scale * x).ravel() for x in terms], 1))
        for k in range(2):
            rows[k].append((scale * found[k, i].numpy()).ravel())
    columns = np.concatenate(columns)
    for k in range(2):
        target = np.concatenate(rows[k])
        best, (left,), *_ = np.linalg.lstsq(columns, target, rcond=None)
        _, (alone,), *_ = np.linalg.lstsq(columns[:, -1:], target, rcond=None)
        np.testing.assert_allclose(fitted[k], best, rtol=1e-9)
        assert abs(explained[k] - (1 - left / alone)) < 1e-9


@pytest.fixture
def networks():
    return initial_parameters(SETTING.architecture, 2, generator(3), torch.float64)


def test_an_untrained_network_looks_nowhere_and_pays_by_chance(networks):
    """No look-ahead; its price is not zero, and is far from 1."""
    prompts = SETTING.draw((12,), generator(4))
    found, share = behaviour.coefficients(behaviour.jacobian(SETTING, networks, prompts), prompts, 0.5)
    assert (found[:, :3].abs() < 0.1).all()
    assert (share < 0.1).all()
    assert 0.02 < found[:, 3].abs().max() < 0.6


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
    shifts, scales = (f"shift {x}" for x in ("0.25", "1", "2")), (f"scale {x}" for x in ("0.5", "2", "5"))
    assert list(seen) == ["odd", "additive", *shifts, *scales]
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
