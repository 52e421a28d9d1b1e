"""The trainer against a literal one; what a run keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from literal_pretraining import LiteralTrainer

from icrl.pretraining import emergence, trainer
from icrl.pretraining.tasks import (
    Configuration,
    draw_tasks,
)
from icrl.pretraining.trainer import Trainer, pretrain

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


@pytest.mark.parametrize("masks", ["paper", "free"])
def test_weights_are_those_of_one_layer_or_of_each(masks, monkeypatch):
    """Whole matrices; rows are what the last row of V reads; records are data, without a graph."""
    monkeypatch.setattr(trainer, "CHUNK", 2)
    for weights, count in (("shared", 1), ("per-layer", 3)):
        c = replace(SMALL, masks=masks, weights=weights, num_steps=3, num_features=2)
        run = pretrain(c, generator())
        assert run.value_weights.shape == run.score_weights.shape == (3, count, 2, 5, 5)
        assert run.steps.tolist() == [0, 2, 3]
        assert torch.equal(run.rows, run.value_weights[:, :, :, 4, 2:])
        assert not torch.equal(run.value_weights[0], run.value_weights[1])
        assert not torch.equal(run.value_weights[1], run.value_weights[2])
        assert not any(x.requires_grad for x in run)


def test_two_steps_have_features_of_their_own():
    """As a last chunk of two has: what is predicted at the second is from its own worlds."""
    c = replace(SMALL, num_features=3, attention="linear")
    tasks = draw_tasks(c, (2, 2, 5), generator())
    weights = [0.3 * torch.randn(1, 2, *shape, generator=generator(1)).double() for shape in ((3,), (3, 3))]
    for i, (predict, target) in enumerate(trainer.objectives(c, tasks)):
        alone = tasks._replace(
            features=tasks.features[i : i + 1],
            worlds=type(tasks.worlds)(*(x[i : i + 1] for x in tasks.worlds)),
            states=tasks.states[i : i + 1],
        )
        ((own, aim),) = trainer.objectives(c, alone)
        assert torch.allclose(predict(*weights), own(*weights))
        assert torch.allclose(target(*weights), aim(*weights))


def copy_of(source):
    result = torch.Generator()
    result.set_state(source.get_state())
    return result


def test_killed_run_continues_bit_for_bit(tmp_path, monkeypatch, capsys):
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
    again = pretrain(SMALL, generator(5), checkpoint=path, progress=True)  # nothing left to do
    assert f"{SMALL.num_steps}/{SMALL.num_steps}" in capsys.readouterr().err
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


def test_no_step_at_all(capsys):
    run = pretrain(SMALL, generator(), until=0)
    assert capsys.readouterr().err == ""  # no bar unless asked for
    assert run.steps.tolist() == [0]
    assert run.losses.shape == (0, 2)


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
    shown = capsys.readouterr().err
    assert "400/400" in shown
    assert f"loss={run.losses[-1].mean():.4f}" in shown
    tasks = emergence.fresh_tasks(c, 1000, generator(1))
    weights = zip(run.value_weights[[0, -1]], run.score_weights[[0, -1]], strict=True)
    before, after = (emergence.squared_errors(c, *w, tasks).mean(-1) for w in weights)
    assert (after < before / 3).all()


TINY = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)


@pytest.mark.bad_input
def test_refuses_a_diverging_run_stops_and_keeps_its_checkpoint(tmp_path):
    wild = replace(TINY, attention="linear", num_layers=8, learning_rate=30.0)
    path = tmp_path / "run.pt"
    message = r"learning_rate is 30; at step \d+ the loss of seed \d is .*diverges"
    with pytest.raises(ValueError, match=message):
        pretrain(wild, torch.Generator().manual_seed(0), checkpoint=path)
    assert not path.exists()  # it did not survive its first chunk
    calm = replace(TINY, learning_rate=1e-3)
    pretrain(calm, torch.Generator().manual_seed(0), checkpoint=path, until=50)
    kept = path.read_bytes()
    state = torch.load(path, weights_only=True)
    state["free"][0][:] = 1e9  # the next chunk diverges
    torch.save(state, path)
    kept = path.read_bytes()
    with pytest.raises(ValueError, match="diverges"):
        pretrain(calm, torch.Generator().manual_seed(0), checkpoint=path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.bad_input
def test_refuses_a_start_that_is_too_large_is_named():
    wild = replace(TINY, attention="linear", num_layers=8, initial_scale=50.0)
    with pytest.raises(ValueError, match="initial_scale 50 is too large"):
        pretrain(wild, torch.Generator().manual_seed(0))


@pytest.mark.bad_input
def test_refuses_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"checkpoint run.pt cannot be read"):
        pretrain(TINY, torch.Generator(), checkpoint=path)
    torch.save(TINY, path)  # an object, whose loading would run its code
    with pytest.raises(ValueError, match=r"checkpoint run.pt cannot be read"):
        pretrain(TINY, torch.Generator(), checkpoint=path)


@pytest.mark.bad_input
def test_refuses_to_stop_before_the_start():
    with pytest.raises(ValueError, match="until is -1; it must be at least 0"):
        pretrain(TINY, torch.Generator(), until=-1)


@pytest.mark.bad_input
def test_refuses_losses_a_million_times_what_rewards_allow():
    """From 10^6 / (1 - gamma)^2 on; the first such step is named, and the start where it was so."""
    runner = Trainer(replace(TINY, discount=0.75), torch.Generator(), torch.float64)
    runner.step, losses = 10, torch.zeros(4, 2).double()
    losses[1:, 1] = losses[3, 0] = 16e6 - 1
    runner._refuse_divergence(losses)
    losses[2, 1] = 16e6
    with pytest.raises(
        ValueError, match=r"at step 8 the loss of seed 1 is 1\.6e\+07.* a smaller one is the us"
    ):
        runner._refuse_divergence(losses)
    losses[1, 0] = torch.nan
    with pytest.raises(ValueError, match="at step 7 the loss of seed 0 is nan"):
        runner._refuse_divergence(losses)
    runner.step = 3  # the same, two steps after the second
    with pytest.raises(ValueError, match=r"at step 0 .* initial_scale 0.03 is too large"):
        runner._refuse_divergence(losses)
    runner.step = 4
    with pytest.raises(ValueError, match=r"at step 1 .* a smaller one is the usual cure"):
        runner._refuse_divergence(losses)
