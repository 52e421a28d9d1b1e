"""Training an ordinary transformer on fresh worlds, many seeds side by side.

See :doc:`/book/standard-transformer`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining import WORLDS, sample_states
from icrl.pretraining.trainer import Adam
from icrl.standard_transformer.model import Architecture, initial_parameters, stacked_values
from icrl.standard_transformer.prompts import Prompts, compressed, draw_prompts

LOSSES = ("value", "td", "monte-carlo")
"""Regression on the true value, on the bootstrapped target, on sampled returns."""


@checked
@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, on which law of worlds, and how. Defaults: the main line of the chapter.

    Attributes:
        kinds: of the worlds; several are mixed in equal parts.
        discount: ``gamma``.
        num_states: ``S``.
        num_transitions: ``n``.
        num_names: ``d >= S``; every prompt draws its names anew.
        gaussian: Gaussian names in place of one-hot ones.
        num_layers: ``L``.
        width: of the residual stream.
        num_heads: in each layer.
        hidden: units of each MLP.
        loss: ``"value"``: regression on the true value; ``"td"``: on ``r + gamma v(s')``, one fresh
            successor for each state, not differentiated; ``"monte-carlo"``: on the sampled return, cut off
            where ``gamma^H < 1e-3``.
        num_seeds: networks trained side by side, each on its own worlds.
        num_prompts: prompts of each seed in each step; every state of each is asked for, and its squared
            error counts as often as the context visits it.
        num_steps: steps of Adam.
        learning_rate: after 100 steps of warm-up; decays to 0 along a cosine.

    Raises:
        ValueError: a value out of range; the field is named.
    """

    kinds: tuple[str, ...] = ("boyan",)
    discount: float = 0.5
    num_states: int = 5
    num_transitions: int = 160
    num_names: int = 5
    gaussian: bool = False
    num_layers: int = 3
    width: int = 32
    num_heads: int = 4
    hidden: int = 64
    loss: Literal["value", "td", "monte-carlo"] = "value"
    num_seeds: int = 5
    num_prompts: int = 32
    num_steps: int = 3000
    learning_rate: float = 2e-3

    def __post_init__(self):
        valid.discount(self.discount)
        for name, least in (("num_states", 2), ("num_transitions", 1), ("num_seeds", 1)):
            valid.count(name, getattr(self, name), least)
        for name in ("num_prompts", "num_steps"):
            valid.count(name, getattr(self, name), 1)
        valid.positive("learning_rate", self.learning_rate)
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; it must be one of {', '.join(LOSSES)}")
        if not self.kinds or any(kind not in WORLDS for kind in self.kinds):
            raise ValueError(f"kinds is {self.kinds!r}; each must be one of {', '.join(WORLDS)}")
        if not self.gaussian and self.num_names < self.num_states:
            raise ValueError(f"num_names is {self.num_names}; {self.num_states} states need as many names")
        _ = self.architecture  # refuses what is left

    @property
    def architecture(self) -> Architecture:
        """Shape of the network; its output is scaled by ``1 / sqrt(1 - gamma)``."""
        return Architecture(
            num_names=self.num_names,
            num_layers=self.num_layers,
            width=self.width,
            num_heads=self.num_heads,
            hidden=self.hidden,
            output_scale=1 / math.sqrt(1 - self.discount),
        )

    def draw(self, batch: tuple[int, ...], generator: Generator, dtype=torch.float64, **change) -> Prompts:
        """Fresh prompts of this law, or of one that differs in what is named."""
        law = {
            "kinds": self.kinds,
            "num_states": self.num_states,
            "num_transitions": self.num_transitions,
            "num_names": self.num_names,
            "discount": self.discount,
            "gaussian": self.gaussian,
        } | change
        return draw_prompts(law.pop("kinds"), batch, generator=generator, dtype=dtype, **law)


class Run(NamedTuple):
    """What training left: ``parameters (E, P)``, and ``losses (steps, E)`` in units of the output scale."""

    setting: Setting
    parameters: Float[Tensor, "E P"]
    losses: Float[Tensor, "steps E"]

    def save(self, path: Path) -> None:
        """Write parameters and setting to a file.

        Raises:
            AttributeError, RuntimeError: from torch, if ``path`` cannot be written.
        """
        torch.save({"setting": repr(self.setting), "parameters": self.parameters}, path)


@checked
def load_parameters(setting: Setting, path: Path) -> Float[Tensor, "E P"]:
    """Parameters that :meth:`Run.save` wrote.

    Raises:
        ValueError: they belong to another setting.
        FileNotFoundError: no file at ``path``.
    """
    stored = torch.load(path, weights_only=True)
    if stored["setting"] != repr(setting):
        raise ValueError(f"setting is {setting!r}; {path} was trained as {stored['setting']}")
    return stored["parameters"]


@checked
def predict(
    setting: Setting,
    parameters: Float[Tensor, "E P"],
    prompts: Prompts,
    averaged: Bool[Tensor, "L H"] | None = None,
) -> Float[Tensor, "E B S"]:
    """What every seed says of every state; prompts ``(B,)`` are shown to all seeds, ``(E, B)`` one each."""
    if prompts.counts.ndim == 3:
        prompts = for_all_seeds(prompts, len(parameters))
    return stacked_values(setting.architecture, parameters, *compressed(prompts), averaged)


def for_all_seeds(prompts: Prompts, num_seeds: int) -> Prompts:
    """The same prompts ``(B,)`` for each seed, as views ``(E, B)``."""

    def wide(x):
        return x.expand(num_seeds, *x.shape)

    worlds = type(prompts.worlds)(*(wide(x) for x in prompts.worlds))
    return Prompts(worlds, *(wide(x) for x in prompts[1:-1]), prompts.pairs)


@checked
def train(setting: Setting, generator: Generator, progress: Callable[[int], object] | None = None) -> Run:
    """Train all seeds of a setting, in float32, on the device of the generator.

    Args:
        setting: what to train.
        generator: source of randomness.
        progress: called with the number of the step after each chunk of 50.
    """
    c, device = setting, generator.device
    parameters = initial_parameters(c.architecture, c.num_seeds, generator).requires_grad_()
    adam = Adam([parameters], betas=(0.9, 0.98))
    losses = torch.empty(c.num_steps, c.num_seeds, device=device)
    for start in range(0, c.num_steps, 50):
        steps = range(start, min(start + 50, c.num_steps))
        prompts = c.draw((len(steps), c.num_seeds, c.num_prompts), generator, torch.float32)
        batch, target = compressed(prompts), _targets(c, prompts, generator)
        weight = prompts.weight
        for i, step in enumerate(steps):
            values = stacked_values(c.architecture, parameters, *(x[i] for x in batch))
            aim = target(values.detach(), i)
            miss = (1 - c.discount) * (weight[i] * (values - aim).square()).sum(-1).mean(1)
            (gradient,) = torch.autograd.grad(miss.sum(), parameters)
            gradient = gradient * (1 / gradient.norm(dim=1, keepdim=True)).clamp(max=1)
            adam.step([gradient], c.learning_rate * _schedule(step, c.num_steps))
            losses[step] = miss.detach()
        if progress is not None:
            progress(steps[-1] + 1)
    return Run(c, parameters.detach(), losses)


def _schedule(step, num_steps):
    """Share of the learning rate: 100 steps up, then a cosine down to 0."""
    return min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / num_steps)) / 2


def _targets(c, prompts, generator):
    """What the values of step i are compared with, as a function of the values themselves."""
    if c.loss == "value":
        return lambda values, i: prompts.value[i]
    horizon = 1 if c.loss == "td" or c.discount == 0 else math.ceil(math.log(1e-3) / math.log(c.discount))
    size, shape = c.num_states, prompts.reward.shape
    each = prompts.worlds.transition[..., None, :, :].expand(*shape, size, size)
    start = torch.eye(size, device=each.device).to(each).expand(*shape, size)
    states = sample_states(each, horizon, generator, start)
    if c.loss == "td":
        following = states[..., 1]
        return lambda values, i: prompts.reward[i] + c.discount * values.gather(-1, following[i])
    rewards = prompts.reward[..., None, :].expand(*shape, size).gather(-1, states)
    powers = c.discount ** torch.arange(horizon + 1, device=each.device).to(rewards)
    returns = rewards @ powers
    return lambda values, i: returns[i]
