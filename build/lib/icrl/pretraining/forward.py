"""The forward pass for thousands of prompts at once, with one batch dimension for seeds.

Two ways, equal where both apply. Under the masks the attention sees states only, so a prompt is
a table of transition counts (:func:`table_values`). Otherwise every token is kept (:func:`token_values`).
See :doc:`/book/emergence`.
"""

from collections.abc import Iterator
from inspect import unwrap
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining.tasks import transition_counts

Attention = Literal["softmax", "linear"]


class Tables(NamedTuple):
    """What the masked network reads of a prompt.

    ``visits (*b, S)``: how often each state is a source; ``transition (*b, S, S)``: the empirical transition
    matrix, with zero rows for unvisited states; ``reward (*b, S)``, read at visited states only.
    """

    visits: Float[Tensor, "*b S"]
    transition: Float[Tensor, "*b S S"]
    reward: Float[Tensor, "*b S"]


@checked
def tables(states: Int[Tensor, "*b n_plus_1"], reward: Float[Tensor, "*b S"]) -> Tables:
    """Count a trajectory ``S_0 .. S_n``, whose last state is the query."""
    return tables_of_counts(transition_counts(states, reward.shape[-1]).to(reward), reward)


@checked
def tables_of_counts(counts: Float[Tensor, "*b S S"], reward: Float[Tensor, "*b S"]) -> Tables:
    """The same from the counts ``N(s, s')`` of the transitions."""
    visits = counts.sum(-1)
    return Tables(visits, counts / visits.clamp(min=1)[..., None], reward)


@checked
def table_operators(
    scores: Float[Tensor, "*#c S S"], context: Tables, attention: Attention = "softmax"
) -> tuple[Float[Tensor, "*d S S"], Float[Tensor, "*d S S"]]:
    """``M`` and ``M P`` of a prompt: the attention from state to state, and to the successors.

    Args:
        scores: ``(*c, S, S)``; row: the state that attends, column: the source.
        context: of the prompt.
        attention: softmax over the sources, or the score itself over their number.
    """
    visits = context.visits[..., None, :]
    if attention == "softmax":
        matching = (scores + visits.log()).softmax(-1)  # a source seen n times has n e^score
    else:
        matching = scores * (visits / visits.sum(-1, keepdim=True))
    return matching, matching @ context.transition


@checked
def table_values(
    rows: Float[Tensor, "K *#c 3"],
    scores: Float[Tensor, "J *#c S S"],
    context: Tables,
    discount: float,
    num_layers: int,
    attention: Attention = "softmax",
) -> Float[Tensor, "L_plus_1 *d S"]:
    """The current memory of every state after every layer, ``v <- v + M (a r + b gamma P v + c v)``.

    Args:
        rows: the three free entries ``(a, b, c)`` of the value matrix's last row, which read reward, target
            and current memory; the first axis is the layer, of length 1 if shared.
        scores: as in :func:`table_operators`, likewise.
        context: of the prompts, with batch dimensions that broadcast with those of the weights.
        discount: ``gamma``.
        num_layers: ``L >= 1``.
        attention: ``"softmax"`` or ``"linear"``.
    """
    return torch.stack(list(table_layers(rows, scores, context, discount, num_layers, attention)))


@checked(finite=False)
def table_layers(
    rows: Float[Tensor, "K *#c 3"],
    scores: Float[Tensor, "J *#c S S"],
    context: Tables,
    discount: float,
    num_layers: int,
    attention: Attention = "softmax",
) -> Iterator[Tensor]:
    """The same, one layer after the other, each ``(*d, S)``; infinite where values explode."""
    a, b, c = rows[..., None, None].unbind(-3)
    matching, successor = unwrap(table_operators)(scores, context, attention)  # arguments are checked
    step = discount * b * successor + c * matching
    drive = a * (matching @ context.reward[..., None])
    yield torch.zeros_like(drive[0, ..., 0])
    v = drive[0]
    yield v[..., 0]
    for layer in range(1, num_layers):
        i = layer % len(drive)  # 0 if shared
        v = v + drive[i] + step[i] @ v
        yield v[..., 0]


@checked
def token_values(
    value_weights: Float[Tensor, "K *#c D D"],
    score_weights: Float[Tensor, "J *#c D D"],
    prompt: Float[Tensor, "*#d D N"],
    discount: float,
    num_layers: int,
    attention: Attention = "softmax",
) -> Float[Tensor, "*e"]:
    """The query's current memory after the last layer, token by token, for any weights.

    Arguments as in :class:`icrl.softmax_transformer.SoftmaxTransformer` with ``head="shift"`` and one query;
    the last layer is computed for the query only. Linear attention costs ``O(N D^2)`` a layer, since
    ``(Z Z') A Z`` never needs the scores.
    """
    if not prompt.dtype == value_weights.dtype == score_weights.dtype:
        raise ValueError(
            f"prompt is {prompt.dtype}, value_weights {value_weights.dtype}, score_weights "
            f"{score_weights.dtype}; they must be of one dtype"
        )
    n, zero = prompt.shape[-1] - 1, None
    for layer in range(num_layers):
        value = value_weights[layer % len(value_weights)]
        score = score_weights[layer % len(score_weights)]
        last = layer == num_layers - 1
        sources, listeners = prompt[..., :n], prompt[..., n:] if last else prompt
        if last:
            value = value[..., -1:, :]
        if attention == "softmax":
            # Listeners down, sources across: the softmax then runs along memory, which is far faster.
            weights = ((score @ listeners).mT @ sources).softmax(-1)
            update = (value @ sources) @ weights.mT
        else:
            update = (value @ (sources @ sources.mT) / n) @ (score @ listeners)
        if last:
            return listeners[..., -1, 0] + update[..., 0, 0]
        moved = prompt + update
        current = moved[..., -1:, :]
        zero = torch.zeros_like(current[..., :1]) if zero is None else zero
        target = discount * torch.cat([current[..., 1:], zero], -1)
        prompt = torch.cat([moved[..., :-2, :], target, current], -2)
    raise ValueError(f"num_layers is {num_layers}; it must be at least 1")


@checked
def prompts(
    features: Float[Tensor, "*#b S d"], states: Int[Tensor, "*b n_plus_1"], reward: Float[Tensor, "*b S"]
) -> Float[Tensor, "*b D n_plus_1"]:
    """The tokens of eq. (10) of Xie et al. (2026): features, reward (0 at the query), two empty memories."""
    columns = torch.take_along_dim(features, states[..., None], -2)
    paid = torch.take_along_dim(reward, states, -1).clone()
    paid[..., -1] = 0
    rest = torch.zeros_like(paid)
    return torch.cat([columns.mT, torch.stack([paid, rest, rest], -2)], -2)


@checked
def state_scores(
    block: Float[Tensor, "*#c d d"], features: Float[Tensor, "*#c S d"]
) -> Float[Tensor, "*d S S"]:
    """Scores between states, from the feature block of ``A``: row attends, column is the source."""
    if block.dtype != features.dtype:
        raise ValueError(f"block has dtype {block.dtype}, features {features.dtype}; they must be the same")
    return features @ block.mT @ features.mT


@checked
def masked(value_weights: Float[Tensor, "*b D D"], score_weights: Float[Tensor, "*c D D"]) -> bool:
    """Whether the weights are zero outside the masks, so that tables are exact.

    The masks (our reading of Xie et al. (2026), eqs. (52)-(54)): in ``V`` the last three entries of the last
    row are free, in ``A`` the block of the features.
    """
    valid.tensor("value_weights", value_weights)
    valid.tensor("score_weights", score_weights)
    value, score = value_weights.detach().clone(), score_weights.detach().clone()
    value[..., -1, -3:] = 0
    score[..., :-3, :-3] = 0
    return not (value.any() or score.any())
