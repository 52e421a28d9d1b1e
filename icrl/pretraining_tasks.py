"""What the transformer is pretrained on: configuration, fresh tasks, and the two objectives.

Masks: our reading of Xie et al. (2026), eqs. (52)-(54); the loss and all numbers are ours.
See :doc:`/book/emergence`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl.batched_forward import Tables, prompts, state_scores, table_layers, tables_of_counts, token_values
from icrl.task_batches import WORLDS, Worlds, random_worlds, sample_states, transition_counts

_CHOICES = {
    "kind": WORLDS,
    "objective": ("td", "monte-carlo"),
    "attention": ("softmax", "linear"),
    "masks": ("paper", "free"),
    "weights": ("shared", "per-layer"),
}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What is trained, on what, and how. Defaults: the live run of :doc:`/book/emergence`.

    Attributes:
        discount: ``gamma``.
        num_layers: ``L``.
        num_states: ``S`` of the worlds.
        num_transitions: ``n``, length of the context.
        num_features: ``None`` for ``sqrt(tau)`` times one-hot features; a number ``d`` for fresh
            Gaussian ones in each world, with expected squared norm ``tau``.
        inverse_temperature: that ``tau``.
        kind: of the worlds, see :func:`icrl.task_batches.random_worlds`; trajectories are stationary.
        objective: ``"td"`` or ``"monte-carlo"``: bootstrapped target, or the return cut off where
            ``gamma^H < 1e-4``.
        attention: ``"softmax"`` or ``"linear"``.
        masks: ``"paper"``: only the feature block of ``A`` and three entries of ``V`` are trained;
            ``"free"``: all entries of both.
        weights: ``"shared"`` by all layers, or ``"per-layer"``.
        num_seeds: runs trained side by side.
        num_prompts: prompts of each seed in each step.
        num_steps: steps of Adam.
        learning_rate: at the start; decays to 0 along a cosine.
        initial_scale: standard deviation of the initial entries.

    Raises:
        ValueError: a value out of range; the field is named.
    """

    discount: float = 0.5
    num_layers: int = 8
    num_states: int = 4
    num_transitions: int = 40
    num_features: int | None = None
    inverse_temperature: float = 4.0
    kind: Literal["boyan", "loop", "random"] = "boyan"
    objective: Literal["td", "monte-carlo"] = "td"
    attention: Literal["softmax", "linear"] = "softmax"
    masks: Literal["paper", "free"] = "paper"
    weights: Literal["shared", "per-layer"] = "shared"
    num_seeds: int = 10
    num_prompts: int = 64
    num_steps: int = 2000
    learning_rate: float = 0.1
    initial_scale: float = 0.03

    def __post_init__(self):
        valid.discount(self.discount)
        for name, least in (("num_layers", 1), ("num_states", 2), ("num_transitions", 1)):
            valid.count(name, getattr(self, name), least)
        for name in ("num_seeds", "num_prompts", "num_steps"):
            valid.count(name, getattr(self, name), 1)
        if self.num_features is not None:
            valid.count("num_features", self.num_features, 1)
        for name in ("inverse_temperature", "learning_rate", "initial_scale"):
            valid.positive(name, getattr(self, name))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                rule = f"it must be one of {', '.join(choices)}"
                raise ValueError(f"{name} is {getattr(self, name)!r}; {rule}")

    @property
    def width(self) -> int:
        """``d``, the number of feature rows."""
        return self.num_states if self.num_features is None else self.num_features

    @property
    def horizon(self) -> int:
        """How many rewards after the context a target needs, 1 or those of the cut-off return."""
        if self.objective == "td" or self.discount == 0:
            return 1
        return max(1, math.ceil(math.log(1e-4) / math.log(self.discount)))


class Tasks(NamedTuple):
    """Worlds with a trajectory in each: ``features (*b, S, d)``, ``worlds``, ``states (*b, n + 1 + H)``.

    The first ``n + 1`` states are the prompt, ``S_n`` its query.
    """

    features: Float[Tensor, "*#b S d"]
    worlds: Worlds
    states: Int[Tensor, "*b N"]


def draw_tasks(
    configuration: Configuration,
    batch: tuple[int, ...],
    generator: Generator,
    dtype: torch.dtype = torch.float64,
) -> Tasks:
    """Fresh tasks of a configuration, with this batch shape."""
    c = configuration
    worlds = random_worlds(c.kind, batch, c.num_states, generator, dtype)
    start = worlds.stationary_distribution()
    states = sample_states(worlds.transition, c.num_transitions + c.horizon, generator, start)
    scale = math.sqrt(c.inverse_temperature)
    if c.num_features is None:
        features = scale * torch.eye(c.num_states).to(worlds.reward)
        return Tasks(features.reshape(*(1 for _ in batch), *features.shape), worlds, states)
    shape = (*batch, c.num_states, c.num_features)
    device = generator.device
    normal = torch.randn(shape, generator=generator, device=device, dtype=dtype)
    return Tasks(normal * (scale / math.sqrt(c.num_features)), worlds, states)


def objectives(configuration: Configuration, tasks: Tasks) -> Iterator[tuple[Callable, Callable]]:
    """For each step (first axis of the tasks): prediction and target, as functions of the free entries.

    Under the masks both run on tables of counts, which is exact; free weights need every token.
    """
    c, n, states = configuration, configuration.num_transitions, tasks.states
    if c.masks == "paper":
        forward, contexts = _table_forward, _windows(c, tasks)
    else:
        forward = _token_forward
        ends = (n, n + 1) if c.objective == "td" else (n,)
        contexts = [prompts(tasks.features, states[..., e - n : e + 1], tasks.worlds.reward) for e in ends]
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
    scores = state_scores(block[:, :, None], features)
    context = Tables(*(x[i] for x in context))
    *_, values = table_layers(rows[:, :, None], scores, context, c.discount, c.num_layers, c.attention)
    return values.gather(-1, query[..., None]).squeeze(-1)


def _token_forward(c, free, features, tokens, i, query):
    value, score = (x[:, :, None] for x in free)
    return token_values(value, score, tokens[i], c.discount, c.num_layers, c.attention)
