"""Multi-task pretraining of the transformer from a random start: many seeds, prompts and worlds at once.

Each step draws fresh worlds and moves the weights along the semi-gradient of the TD error at the query
(Wang et al., 2025; or of the error of the Monte Carlo return). Each seed has its own start and its own
worlds; seeds share nothing but the batch. That training under masks is looked at: Xie et al. (2026),
Appendix F; the form of the masks and all numbers are ours. See :doc:`/book/emergence`.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from inspect import unwrap
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.optim.adam import adam
from tqdm import tqdm

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining.by_hand import QueryValue
from icrl.pretraining.forward import (
    Tables,
    prompts,
    state_scores,
    table_layers,
    tables_of_counts,
    token_values,
)
from icrl.pretraining.free_weights import context, free_values
from icrl.pretraining.tasks import Configuration, Tasks, draw_tasks, transition_counts

CHUNK = 50
"""Steps whose worlds are drawn together; checkpoints and snapshots are taken between chunks."""


@checked
def objectives(configuration: Configuration, tasks: Tasks) -> Iterator[tuple[Callable, Callable]]:
    """For each step (first axis of the tasks): prediction and target, as functions of the free entries.

    Under the masks both run on tables of counts, and free weights on kinds of tokens or on sums of products
    (:mod:`icrl.pretraining.free_weights`); both are exact.
    """
    c, n, states = configuration, configuration.num_transitions, tasks.states
    if c.masks == "paper":
        forward, contexts = _table_forward, _windows(c, tasks)
    else:
        forward = _free_forward
        ends = (n, n + 1) if c.objective == "td" else (n,)
        contexts = [(states[..., e - n : e + 1], tasks.worlds.reward) for e in ends]
    rewards = torch.take_along_dim(tasks.worlds.reward, states[..., n : n + c.horizon], -1)
    powers = c.discount ** torch.arange(c.horizon, device=states.device, dtype=rewards.dtype)
    seen = rewards @ powers
    for i in range(len(states)):
        features = tasks.features[i if len(tasks.features) > 1 else 0]

        def predict(*free, end=0, i=i, features=features):
            return forward(c, free, features, contexts[end], i, states[i, ..., n + end])

        if c.objective == "td":
            yield predict, lambda *free, i=i, f=predict: seen[i] + c.discount * f(*free, end=1)
        else:
            yield predict, lambda *free, i=i: seen[i]


def _windows(c, tasks):
    """Tables of the prompt and, for TD, of the window one step later: one transition leaves, one comes."""
    n, size, states = c.num_transitions, c.num_states, tasks.states
    reward = tasks.worlds.reward
    counts = transition_counts(states[..., : n + 1], size).to(reward)
    result = [tables_of_counts(counts, reward)]
    if c.objective == "td":
        counts = counts.flatten(-2)
        for k, sign in ((0, -1), (n, 1)):
            pair = states[..., k : k + 1] * size + states[..., k + 1 : k + 2]
            counts = counts.scatter_add(-1, pair, torch.full_like(reward[..., :1], sign))
        result.append(tables_of_counts(counts.unflatten(-1, (size, size)), reward))
    return result


def _table_forward(c, free, features, context, i, query):
    rows, block = free
    # Without the checks of their arguments, which come from here and would be a third of a step.
    scores = unwrap(state_scores)(block[:, :, None], features)
    context = Tables(*(x[i] for x in context))
    if c.attention == "softmax" and query.device.type == "cpu":
        return QueryValue.apply(rows, scores, *context, query, c.discount, c.num_layers)
    *_, values = unwrap(table_layers)(
        rows[:, :, None], scores, context, c.discount, c.num_layers, c.attention
    )
    return values.gather(-1, query[..., None]).squeeze(-1)


def _free_forward(c, free, features, windows, i, query):
    value, score = (x[:, :, None] for x in free)
    states, reward = (x[i] for x in windows)
    if c.attention == "linear" and c.num_layers * (c.width + 1) > c.num_transitions:
        # Products of that many rows cost more than the tokens do.
        tokens = unwrap(prompts)(features, states, reward)
        return unwrap(token_values)(value, score, tokens, c.discount, c.num_layers, c.attention)
    prompt = unwrap(context)(features, states, reward, c.num_layers, c.attention)
    return unwrap(free_values)(value, score, prompt, c.discount, c.num_layers)


class Run(NamedTuple):
    """What a training leaves behind; ``K`` is 1 for shared weights and ``L`` otherwise.

    ``steps`` are those after which weights were kept, 0 among them; ``value_weights`` and ``score_weights``
    are ``(T, K, seeds, D, D)``; ``losses``, ``(steps done, seeds)``, half the mean squared error (of TD
    or of the return).
    """

    steps: Int[Tensor, " T"]
    value_weights: Float[Tensor, "T K seeds D D"]
    score_weights: Float[Tensor, "T K seeds D D"]
    losses: Float[Tensor, "steps seeds"]

    @property
    def rows(self) -> Float[Tensor, "T K seeds 3"]:
        """The last rows ``(a, b, c)`` of ``V``: what is read of reward, target and current memory."""
        return self.value_weights[..., -1, -3:]


class Adam:
    """Adam's steps on tensors, in place, by PyTorch's own function; loading its class takes seconds.

    Args:
        tensors: what is moved.
        betas: shares of the two averages that are kept.
        fused: all of a step in one kernel.
    """

    def __init__(
        self, tensors: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.999), fused: bool = False
    ):
        self.tensors, self.betas, self.fused = [x.detach() for x in tensors], betas, fused
        self.means, self.squares = ([torch.zeros_like(x) for x in self.tensors] for _ in range(2))
        self.counts = [torch.zeros((), device=x.device if fused else "cpu") for x in self.tensors]

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step at this rate."""
        adam(
            self.tensors,
            [x.contiguous() for x in gradients],  # as the fused kernel reads them, unasked
            self.means,
            self.squares,
            [],
            self.counts,
            foreach=False,
            fused=self.fused,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    @property
    def state(self) -> list[list[Tensor]]:
        """Averages and counts, as a checkpoint keeps them."""
        return [self.means, self.squares, self.counts]

    @state.setter
    def state(self, saved):
        for mine, theirs in zip(self.state, saved, strict=True):
            for x, y in zip(mine, theirs, strict=True):
                x.copy_(y)


@checked
class Trainer:
    """Weights, optimiser and generator between two chunks: all that a checkpoint needs."""

    def __init__(self, configuration: Configuration, generator: torch.Generator, dtype: torch.dtype):
        self.configuration, self.generator, self.dtype, self.step = configuration, generator, dtype, 0
        c, device = configuration, generator.device
        layers = c.num_layers if c.weights == "per-layer" else 1
        d, size = c.width, c.width + 3
        # The order of the draws is part of what a generator determines.
        shapes = ((3,), (d, d)) if c.masks == "paper" else ((size, size), (size, size))
        self.free = [
            torch.randn(layers, c.num_seeds, *shape, generator=generator, device=device, dtype=dtype)
            .mul_(c.initial_scale)
            .requires_grad_()
            for shape in shapes
        ]
        self.adam = Adam(self.free, fused=True)
        self.losses, self.kept = [], [self._copy()]

    def _copy(self):
        return [x.detach().clone() for x in self.free]

    def matrices(self, free):
        """Whole ``V`` and ``A`` of the free entries."""
        if self.configuration.masks == "free":
            return free
        rows, block = free
        size = self.configuration.width + 3
        value, score = (rows.new_zeros(*rows.shape[:-1], size, size) for _ in range(2))
        value[..., -1, -3:], score[..., :-3, :-3] = rows, block
        return value, score

    def chunk(self, num_steps):
        """So many steps on worlds drawn together."""
        c = self.configuration
        tasks = draw_tasks(c, (num_steps, c.num_seeds, c.num_prompts), self.generator, self.dtype)
        losses = []
        for predict, target in objectives(c, tasks):
            with torch.no_grad():
                wanted = target(*self.free)
            errors = wanted - predict(*self.free)
            loss = errors.square().mean(-1) / 2
            for x in self.free:
                x.grad = None
            loss.sum().backward()  # seeds do not meet: each has its own weights
            progress = self.step / c.num_steps
            rate = c.learning_rate * (1 + math.cos(math.pi * progress)) / 2
            self.adam.step([x.grad for x in self.free], rate)
            losses.append(loss.detach())
            self.step += 1
        losses = torch.stack(losses)
        self._refuse_divergence(losses)
        self.losses.append(losses)
        self.kept.append(self._copy())

    def _refuse_divergence(self, losses):
        # Rewards lie in [-1, 1], so a useful loss is below (2 / (1 - gamma))^2.
        limit = 1e6 / (1 - self.configuration.discount) ** 2
        bad = (~(losses < limit)).nonzero()
        if len(bad):
            at, seed = bad[0].tolist()
            c, step = self.configuration, self.step - len(losses) + at
            cause = "a smaller one is the usual cure"
            if step == 0:
                cause = f"it was so before the first step: initial_scale {c.initial_scale:g} is too large"
            raise ValueError(
                f"learning_rate is {c.learning_rate:g}; at step {step} the loss of seed {seed} is "
                f"{losses[at, seed]:g}, the run diverges; {cause}. The last checkpoint, if any, is kept"
            )

    def save(self, path):
        """Write a checkpoint; a run killed meanwhile leaves the previous one whole."""
        state = {
            "configuration": asdict(self.configuration),
            "dtype": str(self.dtype),
            "step": self.step,
            "free": self._copy(),
            "adam": self.adam.state,
            "generator": self.generator.get_state(),
            "losses": self.losses,
            "kept": self.kept,
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path):
        """Continue from a checkpoint of the same configuration."""
        try:
            state = torch.load(path, map_location=self.generator.device, weights_only=True)
        except Exception as error:  # torch has no exception of its own for this
            raise ValueError(f"checkpoint {path.name} cannot be read: it is none, or damaged") from error
        mine = asdict(self.configuration) | {"dtype": str(self.dtype)}
        theirs = state["configuration"] | {"dtype": state["dtype"]}
        for name, wanted in mine.items():
            if theirs.get(name) != wanted:
                raise ValueError(
                    f"checkpoint {path.name} has {name} {theirs.get(name)!r}, "
                    f"the configuration {wanted!r}; a run continues only as it was begun"
                )
        self.step, self.losses, self.kept = state["step"], state["losses"], state["kept"]
        with torch.no_grad():
            for x, saved in zip(self.free, state["free"], strict=True):
                x.copy_(saved)
        self.adam.state = state["adam"]
        self.generator.set_state(state["generator"].cpu())


@checked
def pretrain(
    configuration: Configuration,
    generator: Generator,
    *,
    checkpoint: Path | None = None,
    until: int | None = None,
    progress: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Run:
    """Train; on the generator's device, deterministic given its state.

    Args:
        configuration: what and how.
        generator: of the starts, the worlds and the trajectories.
        checkpoint: a file that is written after every ``CHUNK`` steps. If it exists, the run it holds is
            continued, bit for bit on a CPU; the generator is then set to where that run had left it.
        until: stop early, before the first chunk that begins at or after this step.
        progress: show a bar.
        dtype: of weights and rewards.

    Raises:
        ValueError: the run diverges (step, seed, loss and likely cause are named), or the checkpoint has
            another configuration (the first field that differs is named).
    """
    trainer = Trainer(configuration, generator, dtype)
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    end = configuration.num_steps
    stop = end if until is None else min(end, valid.count("until", until, 0))
    bar = tqdm(total=end, initial=trainer.step, disable=not progress, unit="step")
    with bar:
        while trainer.step < stop:
            size = min(CHUNK, end - trainer.step)
            trainer.chunk(size)
            if checkpoint is not None:
                trainer.save(checkpoint)
            bar.update(size)
            bar.set_postfix(loss=f"{trainer.losses[-1][-1].mean():.4f}")
    matrices = [trainer.matrices(free) for free in trainer.kept]
    value, score = (torch.stack(x) for x in zip(*matrices, strict=True))
    losses = torch.cat(trainer.losses) if trainer.losses else value.new_zeros(0, configuration.num_seeds)
    steps = [min(i * CHUNK, trainer.step) for i in range(len(matrices))]
    return Run(torch.tensor(steps), value, score, losses)
