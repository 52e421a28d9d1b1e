"""Errors over depth on thousands of sampled contexts, of all heads at once. See :doc:`/book/depth`."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining import Tasks, Worlds, table_operators, tables

HEADS = ("TD", "price first", "price last", "own price")
"""The networks that are compared; all are counted with as many layers."""


class Estimates(NamedTuple):
    """``layers``: by head, values of all states after 0 .. L layers in all, ``(L+1, *b, S)``.

    ``limits``: by name, what does not depend on depth, ``(*b, S)``: certainty equivalence, where a state that
    was never left is taken to be worth the price of the mean reward; and the two estimates without TD,
    that price, alone and as the only future of the own reward.
    """

    layers: dict[str, Float[Tensor, "L_plus_1 *b S"]]
    limits: dict[str, Float[Tensor, "*b S"]]


@checked
def estimates(tasks: Tasks, discount: float, num_layers: int) -> Estimates:
    """Values of every state under every head, from the contexts of the tasks.

    Args:
        tasks: worlds with trajectories ``S_0 .. S_n``.
        discount: ``gamma``.
        num_layers: ``L >= 1``.
    """
    gamma, count = valid.discount(discount), valid.count("num_layers", num_layers, 1)
    context = tables(tasks.states, tasks.worlds.reward)
    scores = tasks.features @ tasks.features.mT
    matching, successor = table_operators(scores, context)
    visits = context.visits / context.visits.sum(-1, keepdim=True)

    def iterate(start, steps):
        rows = [start]
        for _ in range(steps):
            ahead = gamma * apply(successor, rows[-1])
            rows.append(rows[-1] + apply(matching, context.reward - rows[-1]) + ahead)
        return torch.stack(rows)

    nothing = torch.zeros_like(context.reward)
    price = ((visits * context.reward).sum(-1, keepdim=True) / (1 - gamma)).expand_as(nothing)
    td = iterate(nothing, count)
    # What the averaging layer adds after 0 .. L - 1 layers: the mean TD error of the context, priced.
    ahead = gamma * apply(context.transition, td[:-1])
    missing = (visits * (context.reward + ahead - td[:-1])).sum(-1, keepdim=True) / (1 - gamma)
    own = apply(matching, context.reward) / (1 - gamma)
    layers = {
        "TD": td,
        "price first": torch.cat([nothing[None], iterate(price, count - 1)]),
        "price last": torch.cat([nothing[None], td[:-1] + missing]),
        "own price": torch.cat([nothing[None], iterate(own, count - 1)]),
    }
    seen = context.visits > 0
    reward = context.reward.where(seen, (1 - gamma) * price)
    transition = context.transition.where(seen[..., None], torch.eye(reward.shape[-1]).to(reward))
    limits = {
        "certainty equivalence": Worlds(transition, reward).value(gamma),
        "price alone": price,
        "own reward, then price": (context.reward + gamma * price).where(seen, price),
    }
    return Estimates(layers, limits)


def apply(matrix: Float[Tensor, "*#b S S"], values: Float[Tensor, "*#c S"]) -> Float[Tensor, "*d S"]:
    """A matrix for each context on a vector for each."""
    return (matrix @ values[..., None])[..., 0]


@checked
def squared_errors(tasks: Tasks, values: Float[Tensor, "*l b S"], discount: float) -> Float[Tensor, "*l b"]:
    """Squared distance from the truth, at the query state."""
    truth = tasks.worlds.value(discount)
    if values.shape[-truth.ndim :] != truth.shape:
        raise ValueError(f"values has shape {tuple(values.shape)}; it must end in {tuple(truth.shape)}")
    miss = (values - truth).square()
    query = tasks.states[..., -1:].expand(*miss.shape[:-1], 1)
    return miss.gather(-1, query).squeeze(-1)
