"""What an ordinary transformer is shown: transitions ``(s, s', r)`` under fresh names, and queries.

See :doc:`/book/standard-transformer`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining import WORLDS, Worlds, random_worlds, sample_states, transition_counts


class Prompts(NamedTuple):
    """A batch of contexts with everything that a network, a rival or an instrument needs.

    - ``worlds``: transition ``(*b, S, S)`` and reward ``(*b, S)``.
    - ``counts (*b, S, S)``: how often each transition occurred.
    - ``names (*b, S, d)``: the vector that stands for each state in this prompt.
    - ``value (*b, S)``: the true value.
    - ``first (*b,)``: the state in which the trajectory began.
    - ``pairs (K, 2)``: the transitions that can occur at all; the same for the whole batch.
    """

    worlds: Worlds
    counts: Float[Tensor, "*b S S"]
    names: Float[Tensor, "*b S d"]
    value: Float[Tensor, "*b S"]
    first: Int[Tensor, "*b"]
    pairs: Int[Tensor, "K 2"]

    @property
    def reward(self) -> Float[Tensor, "*b S"]:
        """``r(s)``."""
        return self.worlds.reward

    @property
    def weight(self) -> Float[Tensor, "*b S"]:
        """Share of the visits of each state, by which its error counts in training and in every table."""
        visited = self.counts.sum(-1)
        return visited / visited.sum(-1, keepdim=True)

    @checked
    def mean_square(self, difference: Float[Tensor, "*e S"]) -> Float[Tensor, "*f"]:
        """Mean square over the visits of each prompt: unvisited states do not count."""
        batch = self.weight.shape
        if difference.shape[difference.ndim - len(batch) :] != batch:
            raise ValueError(f"difference has shape {tuple(difference.shape)}; it must end in {tuple(batch)}")
        return (self.weight * difference.square()).sum(-1)

    @checked
    def with_reward(self, reward: Float[Tensor, "*b S"]) -> "Prompts":
        """The same contexts with other rewards. (The true values are left as they were.)"""
        return self._replace(worlds=Worlds(self.worlds.transition, reward))


@checked
def support(kind: str, num_states: int) -> Float[Tensor, "S S"]:
    """Which transitions a kind of world allows, as zeros and ones.

    Raises:
        ValueError: another kind than those of ``random_worlds``, fewer than two states.
    """
    if kind not in WORLDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(WORLDS)}")
    size = valid.count("num_states", num_states, 2)
    if kind == "random":
        return torch.ones(size, size, dtype=torch.float64)
    at, result = torch.arange(size), torch.zeros(size, size, dtype=torch.float64)
    if kind == "loop":
        result[at, at] = result[at, (at + 1) % size] = 1
        return result
    first = at[:-2]
    result[first, first + 1] = result[first, first + 2] = result[-2, -1] = 1
    result[-1] = 1
    return result


@checked
def draw_prompts(
    kinds: tuple[str, ...],
    batch: tuple[int, ...],
    *,
    num_states: int,
    num_transitions: int,
    num_names: int,
    discount: float,
    generator: Generator,
    gaussian: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Prompts:
    """Fresh worlds, a stationary trajectory in each, and fresh names.

    Args:
        kinds: of the worlds, see :func:`icrl.pretraining.tasks.random_worlds`; several are mixed in equal
            parts along the last batch axis.
        batch: batch shape, at least one axis.
        num_states: ``S``.
        num_transitions: ``n``.
        num_names: ``d``; one-hot names of different states are different, so ``d >= S``.
        discount: ``gamma``.
        generator: source of randomness.
        gaussian: names are Gaussian vectors with expected squared norm 1 in place of one-hot ones.
        dtype: of the result.

    Raises:
        ValueError: an unknown kind, no kind, more states than names, counts out of range.
    """
    if len(kinds) == 0:
        raise ValueError("kinds is empty; give at least one kind of world")
    if not len(batch):
        raise ValueError("batch is empty; it must have at least one axis")
    if not gaussian and num_names < num_states:
        raise ValueError(f"num_names is {num_names}; {num_states} states need as many names")
    valid.count("num_names", num_names, 1)
    share = [batch[-1] // len(kinds) + (i < batch[-1] % len(kinds)) for i in range(len(kinds))]
    drawn = [
        random_worlds(kind, (*batch[:-1], size), num_states, generator)
        for kind, size in zip(kinds, share, strict=True)
    ]
    worlds = Worlds(*(torch.cat(x, len(batch) - 1) for x in zip(*drawn, strict=True)))
    start = worlds.stationary_distribution().clamp(min=0)
    states = sample_states(worlds.transition, num_transitions, generator, start)
    counts = transition_counts(states, num_states)
    device, shape = generator.device, (*batch, num_names)
    if gaussian:
        names = torch.randn(*batch, num_states, num_names, generator=generator, device=device)
        names = names / num_names**0.5
    else:
        order = torch.rand(shape, generator=generator, device=device).argsort(-1)[..., :num_states]
        names = torch.nn.functional.one_hot(order, num_names)
    allowed = sum(support(kind, num_states) for kind in kinds) > 0
    return Prompts(
        Worlds(worlds.transition.to(dtype), worlds.reward.to(dtype)),
        counts.to(dtype),
        names.to(dtype),
        worlds.value(discount).to(dtype),
        states[..., 0],
        allowed.nonzero().to(device),
    )


@checked
def compressed(prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct tokens ``(*b, K, 2d+2)``, queries ``(*b, S, 2d+2)`` and counts ``(*b, K)``."""
    here, there = prompts.pairs.T
    names, reward = prompts.names, prompts.reward
    zero = torch.zeros_like(reward[..., None])
    tokens = torch.cat(
        [names[..., here, :], names[..., there, :], reward[..., here, None], zero[..., here, :]], -1
    )
    queries = torch.cat([names, torch.zeros_like(names), zero, zero + 1], -1)
    return tokens, queries, prompts.counts[..., here, there]


@checked
def literal(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """One token for each transition ``(n, 2d+2)``, and the queries, for a single prompt.

    The order is that of the states, not of time: without positions no network can tell.
    """
    if prompts.counts.ndim != 2:
        raise ValueError(f"counts has shape {tuple(prompts.counts.shape)}; give one prompt, two axes")
    tokens, queries, counts = compressed(prompts)
    return tokens.repeat_interleave(counts.long(), 0), queries


@checked
def one_prompt(prompts: Prompts, *index: int) -> Prompts:
    """A single prompt out of a batch."""
    worlds = Worlds(*(x[index] for x in prompts.worlds))
    return Prompts(worlds, *(x[index] for x in prompts[1:-1]), prompts.pairs)
