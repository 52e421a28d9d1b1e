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


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7)])
def test_pairs_by_hand(shape):
    """Of any number of networks: mean and half-width over the worlds, along the last axis."""
    rng = np.random.default_rng(0)
    errors, rival = rng.exponential(size=shape), rng.exponential(size=7)
    mean, half = paired(torch.from_numpy(errors), torch.from_numpy(rival))
    gaps = (errors - rival).reshape(-1, 7)
    np.testing.assert_allclose(mean.flatten(), [sum(gap) / 7 for gap in gaps])
    wanted = [1.96 * np.sqrt(sum((gap - gap.mean()) ** 2) / 6 / 7) for gap in gaps]
    np.testing.assert_allclose(half.flatten(), wanted)
    nobody = paired(torch.from_numpy(errors), torch.full((7,), torch.nan))
    assert all(x.isnan().all() and x.shape == shape[:-1] for x in nobody)


@pytest.mark.bad_input
def test_refuses_what_cannot_be_paired():
    for errors, rival in ((torch.ones(()), torch.ones(1)), (torch.ones(2, 0), torch.ones(0))):
        with pytest.raises(ValueError, match=r"rival has shape .*; pair the same"):
            paired(errors, rival)
    with pytest.raises(ValueError, match=r"errors\[1\] is nan"):
        paired(torch.tensor([1.0, torch.nan]), torch.ones(2))


@pytest.mark.bad_input
def test_refuses_contexts_whose_powers_are_all_the_same():
    """Where every step returns to its state, P^j is I for all j."""
    prompts = SETTING.draw((3,), generator())
    prompts = prompts._replace(counts=8 * torch.eye(5).double().expand(3, 5, 5))
    with pytest.raises(ValueError, match="prompts gives a linear system of condition"):
        behaviour.coefficients(torch.ones(3, 5, 5).double(), prompts, 0.5)


def test_swap_of_contexts_with_little_choice():
    """One state with two successors, whose counts are exchanged; none, and nothing changes."""
    prompts = SETTING.draw((3,), generator())
    counts = torch.eye(5).double().roll(1, 1).repeat(3, 1, 1) * 8
    counts[0, 3] = torch.tensor([0, 2, 0, 1, 5])
    counts[2, 0] = torch.tensor([0, 0, 6, 1, 0])
    wanted = counts.clone()
    wanted[0, 3] = torch.tensor([0, 5, 0, 1, 2])
    wanted[2, 0] = torch.tensor([0, 0, 1, 6, 0])
    for k in range(5):
        assert torch.equal(swapped(prompts._replace(counts=counts), generator(k)).counts, wanted)


def test_swap_draws_among_all_states_with_two_successors():
    prompts = SETTING.draw((1,), generator())
    counts = torch.tensor(
        [[3, 1, 0, 0, 0], [0, 8, 0, 0, 0], [0, 0, 2, 2, 0], [0, 9, 0, 1, 4], [0, 0, 0, 0, 3]]
    )
    counts = counts.double().expand(600, 5, 5)
    changed = (swapped(prompts._replace(counts=counts), generator(1)).counts != counts).any(-1).sum(0)
    assert changed[[1, 2, 4]].tolist() == [0, 0, 0]  # the third exchanges equal counts
    assert (changed[[0, 3]] - 200).abs().max() < 60


def test_slopes_by_hand():
    """Two networks, three predictions: one number for all worlds and states."""
    prompts = SETTING.draw((4,), generator())
    moved, predicted = (torch.randn(k, 4, 5, generator=generator(k)).double() for k in (2, 3))
    found, visits = slopes(moved, predicted, prompts), prompts.counts.sum(-1)
    assert found.shape == (2, 3)
    for e in range(2):
        for k in range(3):
            by_hand = (visits * moved[e] * predicted[k]).sum() / (visits * predicted[k] ** 2).sum()
            assert found[e, k].item() == pytest.approx(by_hand.item())
    predicted[1] = 0
    with pytest.raises(ValueError, match=r"predicted\[1\] is 0 everywhere"):
        slopes(moved, predicted, prompts)
    predicted[1, 2, 3] = 1e-3  # one entry is enough
    assert slopes(moved, predicted, prompts).isfinite().all()


def test_squared_errors_count_visits(networks):
    prompts = SETTING.draw((5,), generator())
    found = squared_errors(SETTING, networks, prompts)
    values = predict(SETTING, networks, prompts)
    for i in range(5):
        n = prompts.counts[i].sum(-1)
        by_hand = sum(n[s] * (values[1, i, s] - prompts.value[i, s]) ** 2 for s in range(5)) / n.sum()
        assert abs(found[1, i] - by_hand) < 1e-12
