"""Worlds and trajectories in torch."""

from dataclasses import replace

import pytest
import torch

from icrl.pretraining.tasks import (
    WORLDS,
    Configuration,
    random_worlds,
    sample_states,
    transition_counts,
)
from icrl.pretraining.trainer import pretrain


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", WORLDS)
def test_worlds_are_chains(kind):
    worlds = random_worlds(kind, (3, 200), 5, generator())
    assert torch.allclose(worlds.transition.sum(-1), torch.ones(3, 200, 5, dtype=torch.float64))
    assert (worlds.transition >= 0).all()
    assert worlds.reward.abs().max() <= 1
    mu = worlds.stationary_distribution()
    assert torch.allclose(mu[..., None, :] @ worlds.transition, mu[..., None, :], atol=1e-12)
    moves = (worlds.transition > 0).sum(-1)
    assert moves.unique().tolist() == {"boyan": [1, 2, 5], "loop": [2], "random": [5]}[kind]


def test_trajectories_follow_their_chains():
    worlds = random_worlds("random", (2,), 3, generator())
    transition = worlds.transition[:, None].expand(2, 4000, 3, 3)
    states = sample_states(transition, 20, generator())
    counts = transition_counts(states, 3)
    assert counts.sum() == 2 * 4000 * 20
    total = counts.sum(1)
    frequencies = total / total.sum(-1, keepdim=True)
    errors = (worlds.transition * (1 - worlds.transition) / total.sum(-1, keepdim=True)).sqrt()
    assert ((frequencies - worlds.transition).abs() < 5 * errors).all()


SMALL = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"num_states": 1}, "num_states is 1; it must be at least 2"),
        ({"num_seeds": 2.0}, "num_seeds is 2.0; it must be an integer"),
        ({"num_features": 0}, "num_features is 0"),
        ({"inverse_temperature": -1.0}, "inverse_temperature is -1; it must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be finite"),
        ({"initial_scale": 0.0}, "initial_scale is 0; it must be positive"),
        ({"kind": "grid"}, "kind is 'grid'; it must be one of boyan, loop, random"),
        ({"masks": "none"}, "masks is 'none'; it must be one of paper, free"),
        ({"objective": "mc"}, "objective is 'mc'"),
        ({"attention": "hard"}, "attention is 'hard'"),
        ({"weights": "tied"}, "weights is 'tied'"),
    ],
)
def test_refuses_configuration(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 3}, "has num_layers 2, the configuration 3"),
        ({"masks": "free"}, "has masks 'paper', the configuration 'free'"),
        ({"num_steps": 200}, "has num_steps 150"),
        ({"num_features": 4}, "has num_features None"),
    ],
)
def test_refuses_checkpoint_of_another_configuration(tmp_path, change, message):
    path = tmp_path / "run.pt"
    pretrain(SMALL, torch.Generator().manual_seed(0), checkpoint=path, until=50)
    with pytest.raises(ValueError, match=message):
        pretrain(replace(SMALL, **change), torch.Generator(), checkpoint=path)
    with pytest.raises(ValueError, match=r"has dtype 'torch.float64', the configuration 'torch.float32'"):
        pretrain(SMALL, torch.Generator(), checkpoint=path, dtype=torch.float32)


@pytest.mark.bad_input
def test_refuses_worlds_and_trajectories():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="kind is 'grid'"):
        random_worlds("grid", (2,), 3, generator)
    with pytest.raises(ValueError, match="num_states is 1"):
        random_worlds("loop", (2,), 1, generator)
    with pytest.raises(ValueError, match="num_transitions is 0"):
        sample_states(torch.eye(2)[None], 0, generator)
