"""The fast trainer against the literal one; checkpoints; determinism; what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from literal_pretraining import LiteralTrainer, forward, prompt

from icrl.pretraining import emergence, trainer
from icrl.pretraining.forward import prompts, token_values
from icrl.pretraining.tasks import (
    WORLDS,
    Configuration,
    draw_tasks,
    random_worlds,
    sample_states,
    transition_counts,
)
from icrl.pretraining.trainer import Trainer, pretrain
from icrl.softmax_transformer import SoftmaxTransformer

SMALL = Configuration(num_layers=3, num_transitions=12, num_seeds=2, num_prompts=5, num_steps=120)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("masks", ["paper", "free"])
@pytest.mark.parametrize("weights", ["shared", "per-layer"])
@pytest.mark.parametrize("num_features", [None, 3])
def test_same_updates_as_the_literal_trainer(attention, masks, weights, num_features):
    """Four steps on the same samples, seed by seed."""
    c = replace(SMALL, attention=attention, masks=masks, weights=weights, num_features=num_features)
    c = replace(c, initial_scale=0.1)
    trainer = Trainer(c, generator(1), torch.float64)
    value, score = (x.detach().clone() for x in trainer.matrices(trainer.free))
    free = [torch.zeros_like(w[:, 0]) for w in (value, score)]
    free[0][:, -1, -3:], free[1][:, :-3, :-3] = 1, 1
    if masks == "free":
        free = [torch.ones_like(x) for x in free]
    tasks = draw_tasks(c, (4, c.num_seeds, c.num_prompts), copy_of(trainer.generator), torch.float64)
    trainer.chunk(4)
    expected_losses = torch.empty(4, c.num_seeds, dtype=torch.float64)
    features = tasks.features.expand(*tasks.states.shape[:-1], *tasks.features.shape[-2:])
    for seed in range(c.num_seeds):
        literal = LiteralTrainer(value[:, seed], score[:, seed], free, c.discount, c.num_layers, attention)
        for step in range(4):
            batch = zip(*(x[step, seed] for x in (features, tasks.states, tasks.worlds.reward)), strict=True)
            rate = c.learning_rate * (1 + np.cos(np.pi * step / c.num_steps)) / 2
            expected_losses[step, seed] = literal.step(list(batch), rate)
        for ours, theirs in zip(trainer.matrices(trainer.free), literal.weights, strict=True):
            assert torch.allclose(ours[:, seed], theirs, rtol=0, atol=1e-9)
    assert torch.allclose(trainer.losses[0], expected_losses, rtol=1e-9, atol=1e-11)


def copy_of(source):
    result = torch.Generator()
    result.set_state(source.get_state())
    return result


def test_token_network_is_the_softmax_transformer():
    c = replace(SMALL, num_features=4, weights="per-layer")
    tasks = emergence.fresh_tasks(c, 6, generator())
    value, score = 0.3 * torch.randn(2, 3, 2, 1, 7, 7, generator=generator(), dtype=torch.float64)
    tokens = prompts(tasks.features, tasks.states, tasks.worlds.reward)
    ours = token_values(value, score, tokens, c.discount, 3)
    theirs = SoftmaxTransformer(3, c.discount, value, score).values(tokens)[-1, ..., -1]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_linear_token_network_is_the_literal_one():
    tasks = emergence.fresh_tasks(SMALL, 1, generator())
    value, score = 0.3 * torch.randn(2, 1, 1, 1, 7, 7, generator=generator(), dtype=torch.float64)
    tokens = prompts(tasks.features, tasks.states, tasks.worlds.reward)
    ours = token_values(value, score, tokens, 0.5, 4, "linear")
    z = prompt(tasks.features[0, 0], tasks.states[0, 0], tasks.worlds.reward[0, 0])
    theirs = forward(value[:, 0, 0], score[:, 0, 0], z, 0.5, 4, "linear")
    assert torch.allclose(ours.squeeze(), theirs, rtol=0, atol=1e-12)


def test_killed_run_continues_bit_for_bit(tmp_path, monkeypatch):
    whole = pretrain(SMALL, generator())
    original, calls = trainer.objectives, []

    def dies(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(trainer, "objectives", dies)
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        pretrain(SMALL, generator(), checkpoint=path)
    continued = pretrain(SMALL, generator(99), checkpoint=path)  # its generator comes from the checkpoint
    for a, b in zip(whole, continued, strict=True):
        assert torch.equal(a, b)
    again = pretrain(SMALL, generator(5), checkpoint=path)  # nothing left to do
    assert torch.equal(again.value_weights, whole.value_weights)


def test_deterministic_and_seeds_do_not_meet():
    """Same generator, same run; another seed beside it has no influence once the samples are the same."""
    a, b = (pretrain(SMALL, generator(3), until=50) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    trainer = Trainer(SMALL, generator(), torch.float64)
    alone = torch.autograd.grad(trainer.free[0][:, 0].sum(), trainer.free[0])[0]
    assert not alone[:, 1].any()


def test_monte_carlo_target_is_the_return():
    c = replace(SMALL, objective="monte-carlo", num_prompts=20000, num_seeds=1, num_steps=1)
    assert c.horizon == 14
    tasks = draw_tasks(c, (1, 1, 20000), generator())
    _, target = next(trainer.objectives(c, tasks))
    query = tasks.states[0, ..., 12:13]
    truth = tasks.worlds.value(0.5)[0].gather(-1, query)[..., 0]
    errors = target() - truth
    assert abs(errors.mean()) < 4 * errors.std() / 20000**0.5


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


def test_single_precision_and_until():
    run = pretrain(SMALL, generator(), dtype=torch.float32, until=1)
    assert run.value_weights.dtype == torch.float32
    assert run.steps.tolist() == [0, 50]
    assert len(run.losses) == 50


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_runs_on_cuda():
    c = replace(SMALL, num_steps=60)
    cuda = torch.Generator("cuda").manual_seed(0)
    run, tasks = pretrain(c, cuda), emergence.fresh_tasks(c, 50, cuda)
    assert run.value_weights.is_cuda
    for weights in ((run.value_weights[-1], run.score_weights[-1]), emergence.construction(c)):
        assert emergence.squared_errors(c, *weights, tasks).isfinite().all()


def test_training_helps_and_progress_shows(capsys):
    c = replace(SMALL, num_prompts=64, num_steps=400)
    run = pretrain(c, generator(), progress=True)
    assert "400/400" in capsys.readouterr().err
    tasks = emergence.fresh_tasks(c, 1000, generator(1))
    weights = zip(run.value_weights[[0, -1]], run.score_weights[[0, -1]], strict=True)
    before, after = (emergence.squared_errors(c, *w, tasks).mean(-1) for w in weights)
    assert (after < before / 3).all()


def test_attention_between_states_and_its_focus():
    _, score = emergence.construction(SMALL)
    attention = emergence.state_attention(SMALL, score)[0, 0]
    own, other = np.exp(4) / (np.exp(4) + 3), 1 / (np.exp(4) + 3)
    expected = torch.full((4, 4), other, dtype=torch.float64).fill_diagonal_(own)
    assert torch.allclose(attention, expected, rtol=0, atol=1e-12)
    lopsided = score.clone()
    lopsided[..., 0, 1] = 1.0  # source 0 scores for listener 1
    row = emergence.state_attention(SMALL, lopsided)[0, 0]
    assert torch.allclose(row.sum(-1), torch.ones(4, dtype=torch.float64))
    assert row[1, 0] > 0.4
    assert row[0, 1] < 0.05
    mixed = 0.3 * torch.eye(4) + 0.7 / 4
    assert abs(emergence.focus(mixed) - 0.3) < 1e-6


def test_polynomial_of_full_degree_is_exact():
    """One world, degree S - 1: by Cayley and Hamilton the value is such a polynomial."""
    worlds = random_worlds("random", (1,), 4, generator())
    coefficients = emergence.best_polynomial(worlds, 0.9, 4)
    value = emergence.krylov(*worlds, 0.9, 4) @ coefficients
    assert torch.allclose(value, worlds.value(0.9), rtol=0, atol=1e-8)
