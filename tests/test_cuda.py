"""From the same draws CUDA makes the numbers of the CPU, to 1e-10 in float64. Skipped where there is none."""

import numpy as np
import pytest
import torch

from icrl import attention
from icrl.gradient_flow import Experiment, full_count, training_start
from icrl.gradient_flow import experiment as room
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.pretraining import Configuration
from icrl.pretraining.tasks import Tasks, Worlds, draw_tasks
from icrl.pretraining.trainer import Trainer, objectives
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights
from icrl.standard_transformer import (
    Architecture,
    compressed,
    draw_prompts,
    initial_parameters,
    literal,
    one_prompt,
    plain_network,
    stacked_values,
)

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(there, here):
    """Relative, in the largest entry."""
    assert there.device.type == DEVICE
    assert there.dtype == here.dtype == torch.float64
    error = (there.detach().cpu() - here.detach()).abs().max()
    assert error <= 1e-10 * here.detach().abs().max(), float(error)
    assert here.detach().abs().max() > 0


@pytest.mark.parametrize("weights", ["shared", "per-layer"])
@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("masks", ["paper", "free"])
@pytest.mark.parametrize("num_transitions", [12, 30])
def test_pretraining(weights, attention, masks, num_transitions):
    """Prediction, target, loss and gradient of a step."""
    sizes = {"num_layers": 3, "num_transitions": num_transitions, "num_seeds": 2, "num_prompts": 5}
    c = Configuration(**sizes, attention=attention, masks=masks, weights=weights, initial_scale=0.3)
    tasks, start = draw_tasks(c, (1, 2, 5), generator()), Trainer(c, generator(1), torch.float64).free
    results = []
    for device in ("cpu", DEVICE):
        worlds = Worlds(*(x.to(device) for x in tasks.worlds))
        moved = Tasks(tasks.features.to(device), worlds, tasks.states.to(device))
        free = [x.detach().to(device).requires_grad_() for x in start]
        ((predict, target),) = objectives(c, moved)
        told, wanted = predict(*free), target(*free).detach()
        loss = (wanted - told).square().mean(-1) / 2
        results.append([told, wanted, loss, *torch.autograd.grad(loss.sum(), free)])
    for here, there in zip(*results, strict=True):
        same(there, here)


def test_drawn_tasks_are_lawful():
    """Draws of another device are others; their law is the same: successors as often as the chains say."""
    c = Configuration(num_states=3, num_transitions=50, kind="random")
    tasks = draw_tasks(c, (400,), torch.Generator(DEVICE).manual_seed(0))
    assert tasks.states.device.type == DEVICE
    assert torch.allclose(tasks.worlds.transition.sum(-1).cpu(), torch.ones(400, 3).double())
    here, there = tasks.states[:, :-1], tasks.states[:, 1:]
    row = tasks.worlds.transition.gather(1, here[..., None].expand(*here.shape, 3))
    for state in range(3):
        missed = (there == state).double() - row[..., state]
        assert missed.sum().abs() < 5 * (row[..., state] * (1 - row[..., state])).sum().sqrt()


@pytest.mark.parametrize("head", ["shift", "dual"])
@pytest.mark.parametrize("tabular", [True, False], ids=["grouped", "token by token"])
def test_softmax_transformer(tabular, head):
    rng, n = np.random.default_rng(0), 60
    states = rng.integers(0, 4, n + 1) if tabular else np.arange(n + 1)
    prompt = softmax_td_prompt(rng.normal(size=(n + 1, 4)), states, rng.normal(size=n))
    model = SoftmaxTransformer(3, 0.9, *softmax_td_weights(4), head)
    moved = prompt.to(DEVICE)
    same(model(moved), model(prompt))
    same(model.values(moved), model.values(prompt))
    same(model.to(DEVICE).values(moved), model.cpu().values(prompt))


@pytest.mark.parametrize("blocks", [False, True])
def test_softmax_transformer_with_gradient(monkeypatch, blocks):
    """Token by token, and with scores that are never formed whole."""
    if blocks:
        monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", 100)
    rng, results = np.random.default_rng(1), []
    prompt = torch.from_numpy(rng.normal(size=(2, 6, 40)))
    value, score = torch.from_numpy(0.2 * rng.normal(size=(2, 6, 6)))
    for device in ("cpu", DEVICE):
        model = SoftmaxTransformer(2, 0.9, value.to(device), score.to(device)).requires_grad_()
        out = model(prompt.to(device))
        slopes = torch.autograd.grad(out.square().sum(), list(model.parameters()))
        results.append([out, *slopes])
    for here, there in zip(*results, strict=True):
        same(there, here)


def test_linear_transformer():
    rng, d = np.random.default_rng(2), 5
    window = rng.normal(size=(3, d)), rng.normal(size=(3, 7, d)), rng.normal(size=(3, 7, d))
    prompt = sarsa_prompt(*window, rng.normal(size=(3, 7)), 0.9)
    weights = sarsa_weights(d, 0.2, 1.5), [torch.from_numpy(rng.normal(size=(17, 17))) for _ in range(2)]
    for P, V in weights:
        model, moved = LinearTransformer(P, V, d), prompt.to(DEVICE)
        same(model(moved), model(prompt))
        same(model.readout(moved), model.readout(prompt))
        same(model.to(DEVICE).readout(moved), model.cpu().readout(prompt))
    tensors = [torch.from_numpy(x).to(DEVICE) for x in window]
    same(
        sarsa_prompt(*tensors, torch.ones(3, 7).to(tensors[0]), 0.9),
        sarsa_prompt(*window, np.ones((3, 7)), 0.9),
    )


@pytest.mark.parametrize("gaussian", [False, True])
def test_standard_transformer(gaussian):
    """On compressed prompts and plain, with the gradient of the former."""
    shape = Architecture(num_names=6, num_layers=2, width=16, num_heads=4, hidden=20)
    parameters = initial_parameters(shape, 2, generator(), torch.float64)
    law = {"num_states": 4, "num_transitions": 30, "num_names": 6, "discount": 0.9, "gaussian": gaussian}
    prompts, results = draw_prompts(("boyan",), (2, 3), **law, generator=generator(1)), []
    batch, plain = compressed(prompts), literal(one_prompt(prompts, 1, 2))
    for device in ("cpu", DEVICE):
        ours = parameters.to(device).requires_grad_()
        values = stacked_values(shape, ours, *(x.to(device) for x in batch))
        (slope,) = torch.autograd.grad(values.square().sum(), ours)
        network = plain_network(shape, ours, 1)
        with torch.no_grad():
            alone = network(*(x.to(device) for x in plain))
        results.append([values, slope, alone])
    for here, there in zip(*results, strict=True):
        same(there, here)
    assert torch.allclose(results[1][0][1, 2], results[1][2], atol=1e-12)


def lessons_of(setting, device):
    """A stream that is drawn on the CPU, whatever the device."""
    for given in full_count.device_lessons(setting, generator(3)):
        yield room.Lesson(*(x.to(device) for x in given))


def test_gradients_of_teacher_mimicking():
    setting = Experiment(num_states=3, num_actions=2, batch=4)
    given = next(lessons_of(setting, "cpu"))
    blocks = [torch.from_numpy(x) for x in training_start(setting, 3, np.random.default_rng(0))]
    here = room.gradients(*blocks, *given)
    there = room.gradients(*(x.to(DEVICE) for x in blocks), *(x.to(DEVICE) for x in given))
    for a, b in zip(here, there, strict=True):
        same(b, a)


@pytest.mark.parametrize("batch", [1, 3], ids=["one window", "batched"])
def test_training_by_a_teacher(monkeypatch, batch):
    """Thirty steps of Adam from the same draws; the strict form's are replayed from a graph."""
    sizes = {"num_states": 3, "num_actions": 2, "windows": 5, "batch": batch}
    setting = Experiment(**sizes, at_once=2 if batch == 1 else 1)
    blocks = training_start(setting, 2, np.random.default_rng(0))
    here = full_count.train_on_device(setting, 30, *blocks, generator(3), records=4)
    monkeypatch.setattr(full_count, "_lessons", lambda c, g: lessons_drawn(c, g.device))
    there = full_count.train_on_device(setting, 30, *blocks, torch.Generator(DEVICE), records=4)
    for a, b in zip(here[1:], there[1:], strict=True):
        assert np.abs(a - b).max() <= 1e-10 * np.abs(a).max()
    assert np.abs(here.scores[-1] - here.scores[0]).max() > 0.01


def lessons_drawn(setting, device, draw=full_count._lessons):
    for given in draw(setting, generator(3)):
        yield room.Lesson(*(x.to(device) for x in given))


def test_a_generator_on_the_device_decides_all():
    """Drawn and trained there twice: the same numbers; another seed, others."""
    setting = Experiment(num_states=2, num_actions=2, batch=50, windows=5)
    blocks = training_start(setting, 2, np.random.default_rng(0))
    first, again, other = (
        full_count.train_on_device(setting, 20, *blocks, torch.Generator(DEVICE).manual_seed(seed), records=2)
        for seed in (0, 0, 1)
    )
    assert np.allclose(first.scores, again.scores, rtol=0, atol=1e-12)
    assert np.abs(first.scores - other.scores).max() > 1e-6
    assert np.isfinite(first.losses).all()
