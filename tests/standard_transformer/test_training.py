"""Stacked training against a plain loop over the module that PyTorch ships; losses; checkpoints."""

import math
from dataclasses import asdict, replace
from pickle import UnpicklingError

import pytest
import torch

from icrl.standard_transformer import (
    Architecture,
    Setting,
    initial_parameters,
    literal,
    load_parameters,
    one_prompt,
    plain_network,
    squared_errors,
    train,
    training,
)
from icrl.standard_transformer.model import unpacked

SMALL = Setting(
    num_layers=2, num_transitions=20, num_seeds=2, num_prompts=3, num_steps=120, width=16, hidden=16
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_same_training_as_the_plain_module(monkeypatch):
    """Four steps of each seed: module, Adam and clipping as one would write them, in float64."""
    monkeypatch.setattr(training, "initial_parameters", small_start)
    monkeypatch.setattr(Setting, "draw", draw_in_double)
    c, g = replace(SMALL, num_steps=4, discount=0.8), generator(1)
    run = train(c, g)
    g = generator(1)
    start = small_start(c.architecture, 2, g)
    prompts = c.draw((4, 2, 3), g, None)
    clipped = []
    for seed in range(2):
        network = plain_network(c.architecture, start, seed).train()
        adam = torch.optim.Adam(network.parameters(), lr=1.0, betas=(0.9, 0.98))
        for step in range(4):
            errors = []
            for i in range(3):
                prompt = one_prompt(prompts, step, seed, i)
                values = network(*literal(prompt))
                errors.append(prompt.weight @ (values - prompt.value) ** 2)
            loss = 0.2 * sum(errors) / 3
            assert abs(loss.item() - run.losses[step, seed].item()) < 1e-6
            adam.zero_grad()
            loss.backward()
            clipped.append(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0).item())
            adam.param_groups[0]["lr"] = 2e-3 * (step + 1) / 100 * (1 + math.cos(math.pi * step / 4)) / 2
            adam.step()
        state = network.state_dict()
        for name, x in unpacked(c.architecture, run.parameters).items():
            assert torch.allclose(x[seed], state[name], atol=1e-8), name
    assert min(clipped) < 0.9 < 1.1 < max(clipped)  # of some steps the gradient is kept


def small_start(architecture, num_seeds, generator):
    """In float64, and such that gradients are about as long as where they are clipped."""
    return 0.15 * initial_parameters(architecture, num_seeds, generator).double()


ORIGINAL = Setting.draw


def draw_in_double(self, batch, generator, dtype=None, **change):
    return ORIGINAL(self, batch, generator, torch.float64, **change)


def test_clipping_is_each_seeds_own():
    """A seed trains as it would beside another one."""
    both = train(replace(SMALL, num_steps=3), generator(2))
    assert both.parameters.shape == (2, SMALL.architecture.num_parameters)
    assert not torch.equal(both.parameters[0], both.parameters[1])


def test_same_generator_same_run():
    a, b = (train(replace(SMALL, num_steps=5), generator(4)) for _ in range(2))
    assert torch.equal(a.parameters, b.parameters)


@pytest.mark.parametrize("loss", ["value", "td", "monte-carlo"])
def test_targets_have_the_true_mean(loss):
    """The mean over many draws: of returns the value; of TD's target r + gamma P v for any v."""
    c = replace(SMALL, loss=loss, discount=0.7)
    one = c.draw((1, 1, 1), generator())
    many = type(one)(
        type(one.worlds)(*(x.expand(1, 1, 20_000, *x.shape[3:]) for x in one.worlds)),
        *(x.expand(1, 1, 20_000, *x.shape[3:]) for x in one[1:-1]),
        one.pairs,
    )
    values = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5]).double().expand(1, 20_000, 5)
    target = training._targets(c, many, generator(1))(values, 0)
    expected = one.value[0, 0, 0]
    if loss == "td":
        expected = one.reward[0, 0, 0] + 0.7 * one.worlds.transition[0, 0, 0] @ values[0, 0]
    error = target.std(1) / 20_000**0.5
    assert ((target.mean(1) - expected).abs() < 5 * error + 2e-3).all()
    assert loss == "value" or target.std(1).max() > 0.1


def test_target_of_td_is_not_differentiated(monkeypatch):
    seen = []
    original = training._targets

    def spy(c, prompts, g):
        target = original(c, prompts, g)

        def inner(values, i):
            seen.append(values.requires_grad)
            return target(values, i)

        return inner

    monkeypatch.setattr(training, "_targets", spy)
    train(replace(SMALL, loss="td", num_steps=2), generator())
    assert seen == [False, False]


def test_training_lowers_the_error():
    c = replace(SMALL, num_steps=200)
    told = []
    run = train(c, generator(), told.append)
    assert told == [50, 100, 150, 200]
    assert run.losses.shape == (200, 2)
    assert (run.losses > 0).all()
    assert not run.losses.requires_grad  # data without a graph
    assert not run.parameters.requires_grad
    prompts = c.draw((300,), generator(9))
    start = initial_parameters(c.architecture, 2, generator(8))
    before, after = (squared_errors(c, p.double(), prompts).mean(-1) for p in (start, run.parameters))
    assert (after < 0.6 * before).all()


def test_checkpoint(tmp_path):
    run = train(replace(SMALL, num_steps=2), generator())
    run.save(tmp_path / "run.pt")
    assert torch.equal(load_parameters(run.setting, tmp_path / "run.pt"), run.parameters)


@pytest.mark.bad_input
def test_refuses_to_load_anything_but_data(tmp_path):
    torch.save(SMALL, tmp_path / "run.pt")
    with pytest.raises(UnpicklingError):  # an object, whose loading would run its code
        load_parameters(SMALL, tmp_path / "run.pt")


def test_defaults_are_the_main_line_of_the_chapter():
    said = {"kinds": ("boyan",), "discount": 0.5, "num_states": 5, "num_transitions": 160, "num_names": 5}
    said |= {"gaussian": False, "num_layers": 3, "width": 32, "num_heads": 4, "hidden": 64, "loss": "value"}
    said |= {"num_seeds": 5, "num_prompts": 32, "num_steps": 3000, "learning_rate": 2e-3}
    assert asdict(Setting()) == said


def test_the_network_of_a_setting():
    """As wide and deep as it says, its output scaled by 1 / sqrt(1 - gamma)."""
    shape = {"num_names": 7, "num_layers": 2, "width": 12, "num_heads": 3, "hidden": 10}
    assert asdict(Setting(discount=0.75, **shape).architecture) == shape | {"output_scale": 2.0}
    assert asdict(Architecture()) == asdict(Setting(discount=0.0).architecture)


def test_the_smallest_of_everything():
    ones = ("num_transitions", "num_layers", "num_heads", "width", "hidden", "num_seeds", "num_prompts")
    c = Setting(num_states=2, num_names=2, num_steps=1, **dict.fromkeys(ones, 1))
    assert train(c, generator()).parameters.isfinite().all()
    assert Setting(gaussian=True, num_names=1).architecture.token_size == 4


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.7, 0.9])
def test_returns_are_cut_off_where_they_say(discount):
    """Where every reward is 1, a return counts its steps: all up to the first with gamma^H < 1/1000."""
    c = replace(SMALL, loss="monte-carlo", discount=discount)
    prompts = c.draw((2, 1, 3), generator())
    prompts = prompts.with_reward(torch.ones_like(prompts.reward))
    horizon = next(h for h in range(1, 100) if discount**h < 1e-3)
    expected = sum(discount**k for k in range(horizon + 1))
    target = training._targets(c, prompts, generator(1))(torch.zeros(1, 3, 5).double(), 1)
    assert torch.allclose(target, torch.full((1, 3, 5), expected).double())


def test_schedule():
    rates = [training._schedule(step, 3000) for step in range(3000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(rates[99], rel=1e-3)
    assert rates[-1] < 1e-5
    assert rates[1500] == pytest.approx(0.5)
