"""What pretraining is fed with: worlds by the thousand, trajectories in them, and the configuration of a run.

The single worlds of :mod:`icrl.mrp`, drawn for any batch shape at once, in torch, on the device and from the
generator that are given. Masks: our reading of Xie et al. (2026), eqs. (52)-(54); all numbers are ours. See
:doc:`/book/emergence`.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.reduction import _stationary

WORLDS = ("boyan", "loop", "random")
"""What can be drawn, in this order chains that move on by one or two and restart, rings, dense chains."""


class Worlds(NamedTuple):
    """A batch of Markov reward processes: ``transition (*b, S, S)`` and ``reward (*b, S)``."""

    transition: Float[Tensor, "*b S S"]
    reward: Float[Tensor, "*b S"]

    def value(self, discount: float) -> Float[Tensor, "*b S"]:
        """The exact value ``(I - gamma P)^{-1} r`` of every state, at least to three digits of the dtype.

        Raises:
            ValueError: the system's condition, ``(1 + gamma) / (1 - gamma)`` at most, is beyond that.
        """
        least = 1e3 * torch.finfo(self.reward.dtype).eps
        if 1 - valid.discount(discount) < 2 * least:
            raise ValueError(
                f"discount is 1 - {1 - discount:.3g}; it must be at most 1 - {2 * least:.3g}, else values in "
                f"{self.reward.dtype} are lost to rounding"
            )
        eye = torch.eye(self.reward.shape[-1]).to(self.reward)
        return torch.linalg.solve(eye - valid.discount(discount) * self.transition, self.reward)

    def stationary_distribution(self) -> Float[Tensor, "*b S"]:
        """``mu = mu P``, by state reduction; the chains must be irreducible."""
        return _stationary(self.transition)


@checked
def random_worlds(
    kind: str,
    batch: tuple[int, ...],
    num_states: int,
    generator: Generator,
    dtype: torch.dtype = torch.float64,
) -> Worlds:
    """Fresh worlds with rewards uniform in ``[-1, 1]``, on the device of the generator.

    Args:
        kind: ``"boyan"``, ``"loop"`` or ``"random"``: the laws of :func:`icrl.mrp.boyan_chain`,
            :func:`icrl.mrp.loop_chain` and :func:`icrl.mrp.random_mrp`.
        batch: batch shape.
        num_states: ``S >= 2``.
        generator: source of randomness.
        dtype: of the result.

    Raises:
        ValueError: another kind, fewer than two states.
    """
    if kind not in WORLDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(WORLDS)}")
    size = valid.count("num_states", num_states, 2)
    # Never exactly 0, as one draw of 2^24 is in float32: a state that cannot be left has no way back.
    uniform = _uniform((*batch, size, size), generator, dtype).clamp_min(torch.finfo(dtype).eps / 4)
    # A vector of independent exponentials over its sum is uniform on the simplex.
    dense = -torch.log1p(-uniform)
    dense = dense / dense.sum(-1, keepdim=True)
    reward = 2 * _uniform((*batch, size), generator, dtype) - 1
    if kind == "random":
        return Worlds(dense, reward)
    transition, by_one = torch.zeros_like(dense), uniform[..., 0]
    at = torch.arange(size, device=dense.device)
    if kind == "loop":
        transition[..., at, at] = 1 - by_one
        transition[..., at, (at + 1) % size] = by_one
        return Worlds(transition, reward)
    first = at[:-2]
    transition[..., first, first + 1] = by_one[..., :-2]
    transition[..., first, first + 2] = 1 - by_one[..., :-2]
    transition[..., -2, -1] = 1
    transition[..., -1, :] = dense[..., -1, :]
    return Worlds(transition, reward)


@checked
def sample_states(
    transition: Float[Tensor, "*b S S"],
    num_transitions: int,
    generator: Generator,
    start: Float[Tensor, "*b S"] | None = None,
) -> Int[Tensor, "*b n_plus_1"]:
    """One trajectory ``S_0 .. S_n`` in each chain, by inverting the cumulative rows.

    Args:
        transition: ``(*batch, S, S)``.
        num_transitions: ``n >= 1``.
        generator: source of randomness, on the same device.
        start: distribution of ``S_0``; uniform if not given.
    """
    n = valid.count("num_transitions", num_transitions, 1)
    size = transition.shape[-1]
    if start is None:
        start = torch.full_like(transition[..., 0], 1 / size)
    # Divided by the last entry, which rounding may leave below 1: a draw below 1 lands on a state.
    rows, first = (p.cumsum(-1) for p in (transition.reshape(-1, size, size), start.reshape(-1, size)))
    rows, first = rows / rows[..., -1:], first / first[..., -1:]
    uniform = _uniform((n + 1, len(rows)), generator, transition.dtype)
    each = torch.arange(len(rows), device=rows.device)
    states = torch.empty(n + 1, len(rows), dtype=torch.long, device=rows.device)
    states[0] = (first <= uniform[0, :, None]).sum(-1)
    flat, offset = rows.reshape(-1, size), each * size
    for k in range(n):
        states[k + 1] = (flat[offset + states[k]] <= uniform[k + 1, :, None]).sum(-1)
    return states.mT.reshape(*start.shape[:-1], n + 1)


@checked
def transition_counts(states: Int[Tensor, "*b n_plus_1"], num_states: int) -> Float[Tensor, "*b S S"]:
    """``N(s, s')``: how often each transition occurs along a trajectory, as float64."""
    batch, size = states.shape[:-1], valid.count("num_states", num_states, 1)
    if states.min() < 0 or states.max() >= size:
        raise ValueError(
            f"states holds {states.min()} to {states.max()}; num_states is {size}, they end at {size - 1}"
        )
    pairs = (states[..., :-1] * size + states[..., 1:]).reshape(batch.numel(), states.shape[-1] - 1)
    pairs = pairs + size**2 * torch.arange(len(pairs), device=pairs.device)[:, None]
    counts = torch.bincount(pairs.flatten(), minlength=size**2 * len(pairs))
    return counts.reshape(*batch, size, size).double()


_CHOICES = {
    "kind": WORLDS,
    "objective": ("td", "monte-carlo"),
    "attention": ("softmax", "linear"),
    "masks": ("paper", "free"),
    "weights": ("shared", "per-layer"),
}


@checked
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
        kind: of the worlds, see :func:`random_worlds`; trajectories are stationary.
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


@checked
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


def _uniform(shape, generator, dtype):
    return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
