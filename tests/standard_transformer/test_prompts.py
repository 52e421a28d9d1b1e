"""What is drawn: supports, names, counts, weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.pretraining import WORLDS, random_worlds
from icrl.standard_transformer import Setting, draw_prompts, support


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", WORLDS)
def test_support_is_where_worlds_have_mass(kind):
    worlds = random_worlds(kind, (50,), 5, generator())
    assert torch.equal((worlds.transition > 0).all(0), support(kind, 5) > 0)
    assert torch.equal((worlds.transition > 0).any(0), support(kind, 5) > 0)
    assert support(kind, 5).dtype == torch.float64


def test_counts_and_values_belong_to_the_worlds():
    prompts = Setting(discount=0.9).draw((6,), generator())
    assert (prompts.counts.sum((1, 2)) == 160).all()
    assert not prompts.counts[prompts.worlds.transition == 0].any()
    left = (
        prompts.value - prompts.reward - 0.9 * (prompts.worlds.transition @ prompts.value[..., None])[..., 0]
    )
    assert left.abs().max() < 1e-12
    flow = prompts.counts.sum(-1) - prompts.counts.sum(-2)  # visits out less visits in: first and last state
    assert set(flow.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert (flow.gather(-1, prompts.first[:, None]) >= 0).all()
    shares = prompts.counts.sum(-1) / 160
    assert torch.allclose(prompts.mean_square(torch.full_like(shares, 3.0)), torch.full((6,), 9.0).double())
    assert torch.allclose(prompts.mean_square(torch.eye(5).double()[0].expand(6, 5)), shares[:, 0])


def test_long_contexts_show_the_chain():
    prompts = Setting(num_transitions=20_000).draw((3,), generator())
    seen = prompts.counts / prompts.counts.sum(-1, keepdim=True)
    assert (seen - prompts.worlds.transition).abs().max() < 0.06
    mu = prompts.worlds.stationary_distribution()
    assert (prompts.weight - mu).abs().max() < 0.03


def test_names_are_fresh_and_distinct():
    prompts = replace(Setting(), num_names=7).draw((4000,), generator())
    assert (prompts.names.sum(-1) == 1).all()
    assert prompts.names.sum(-2).max() == 1
    often = prompts.names.mean(0)  # each of 7 names for each of 5 states
    assert (often - 1 / 7).abs().max() < 5 * np.sqrt(6 / 49 / 4000)
    gaussian = replace(Setting(), gaussian=True).draw((4000,), generator()).names
    assert abs(float(gaussian.square().sum(-1).mean()) - 1) < 0.02


def test_mixed_kinds_in_equal_parts():
    prompts = draw_prompts(
        ("boyan", "loop"),
        (2, 9),
        num_states=4,
        num_transitions=5,
        num_names=4,
        discount=0.5,
        generator=generator(),
    )
    ring = (prompts.worlds.transition * (1 - support("loop", 4))).sum((-1, -2)) == 0
    assert ring.sum(-1).tolist() == [4, 4]
    assert len(prompts.pairs) == int(((support("boyan", 4) + support("loop", 4)) > 0).sum())


def test_stationary_start():
    """First states of many trajectories in the same kind of world follow its stationary law on average."""
    prompts = Setting(num_transitions=1).draw((20_000,), generator())
    mu = prompts.worlds.stationary_distribution().mean(0)
    seen = torch.bincount(prompts.first, minlength=5) / 20_000
    assert (seen - mu).abs().max() < 0.02
    assert mu.max() - mu.min() > 0.1
