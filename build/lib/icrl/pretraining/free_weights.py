"""The forward pass with free weights, without a token more than it needs; equal to the one token by token.

No mask keeps the weights from reading or writing any row, yet much of a prompt repeats. *Linear* attention:
the prompt before layer ``l`` is ``W_l E``, where ``E`` holds features and reward of the tokens ``0 .. l``
places on; all layers then work on ``W_l`` and on one matrix ``E E'`` that has no weights in it. *Softmax*
attention: before layer 0 a token is one of ``S`` states or the query, before layer 1 it is a pair of
successive states; the last layer has one listener. See :doc:`/book/emergence`.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from icrl import _validation as valid
from icrl._arguments import checked


class Context(NamedTuple):
    """What a forward pass needs of a batch of prompts, tokens as rows.

    ``states (*b, S, d+1)``: features and reward of each state; ``query (*b, 1, d+1)``: the query's, with no
    reward; ``trajectory (*b, n+1)``. For linear attention only: ``gram (*b, m, m)``, the mean over the
    sources of the products of what stands ``0 .. L-1`` places on.
    """

    states: Float[Tensor, "*b S d_plus_1"]
    query: Float[Tensor, "*b 1 d_plus_1"]
    trajectory: Int[Tensor, "*b N"]
    gram: Float[Tensor, "*b m m"] | None


@checked
def context(
    features: Float[Tensor, "*#b S d"],
    trajectory: Int[Tensor, "*b N"],
    reward: Float[Tensor, "*b S"],
    num_layers: int,
    attention: Literal["softmax", "linear"] = "softmax",
) -> Context:
    """A batch of prompts ``S_0 .. S_n``, the last of them the query.

    Args:
        features: ``(*b, S, d)``.
        trajectory: ``(*b, n+1)``.
        reward: ``(*b, S)``.
        num_layers: ``L >= 1``.
        attention: ``"softmax"`` or ``"linear"``.

    Raises:
        ValueError: no layer.
    """
    valid.count("num_layers", num_layers, 1)
    features = features.expand(*reward.shape[:-1], *features.shape[-2:])
    states = torch.cat([features, reward[..., None]], -1)
    query = pad(torch.take_along_dim(features, trajectory[..., -1:, None], -2), (0, 1))
    if attention == "softmax":
        return Context(states, query, trajectory, None)
    n = trajectory.shape[-1] - 1
    tokens = torch.cat([torch.take_along_dim(states, trajectory[..., :n, None], -2), query], -2)
    later = pad(tokens, (0, 0, 0, num_layers - 1)).unfold(-2, num_layers, 1)[..., :n, :, :]
    later = later.mT.flatten(-2)  # (*b, n, L (d+1))
    return Context(states, query, trajectory, later.mT @ later / n)


@checked
def free_values(
    value_weights: Float[Tensor, "K *#c D D"],
    score_weights: Float[Tensor, "J *#c D D"],
    context: Context,
    discount: float,
    num_layers: int,
) -> Float[Tensor, "*e"]:
    """The query's value after the last layer, as :func:`icrl.pretraining.forward.token_values`."""
    valid.count("num_layers", num_layers, 1)
    valid.discount(discount)
    layers = [
        [weights[i % len(weights)].mT.to(context.states) for weights in (value_weights, score_weights)]
        for i in range(num_layers)
    ]
    return (_softmax if context.gram is None else _linear)(layers, context, discount)


def _linear(layers, context, discount):
    gram, width = context.gram, context.states.shape[-1]
    # Tokens are `later @ rows`, so that gram holds all that a layer asks of its sources.
    rows = torch.eye(width, width + 2).to(gram).expand(*gram.shape[:-2], -1, -1)
    for layer, (value, score) in enumerate(layers[:-1]):
        m = rows.shape[-2]
        products = rows.mT @ (gram[..., :m, :m] @ rows) if layer else pad(gram[..., :m, :m], (0, 2, 0, 2))
        rows = rows + _times(rows, score) @ _times(products, value)
        current, below = rows[..., -1:], (0, 0, 0, width)
        # The target memory is the current one a token later: its coefficients move on by one place.
        moved = pad(discount * current, (0, 0, width, 0))
        rows = torch.cat([pad(rows[..., :-2], below), moved, pad(current, below)], -1)
    value, score = layers[-1]
    m = rows.shape[-2]
    listener = context.query @ rows[..., :width, :]  # (*b, 1, D)
    heard = _times(listener, score) @ rows.mT
    said = _times(rows, value[..., -1:])
    return (listener[..., -1:] + heard @ gram[..., :m, :m] @ said)[..., 0, 0]


def _softmax(layers, context, discount):
    size, here = context.states.shape[-2], context.trajectory[..., :-1]
    query = torch.full_like(here[..., :1], size)
    # One row for tokens of one kind, the query last; `kind` of each token, `counts` of the sources.
    tokens = pad(torch.cat([context.states, context.query], -2), (0, 2))
    kind = torch.cat([here, query], -1)
    counts = _counts(here, size, tokens)
    for layer, (value, score) in enumerate(layers):
        if layer == len(layers) - 1:
            return _last_layer(tokens, kind, counts, value, score, discount if layer else 0.0)
        if layer == 1 and size**2 < here.shape[-1]:
            tokens, kind, counts = _pairs(tokens, here, discount)
        elif layer:
            tokens, kind, counts = _every_token(tokens, kind, discount), None, None
        sources = tokens[..., :-1, :]
        scores = _times(tokens, score) @ sources.mT
        weights = (scores if counts is None else scores + counts.log()).softmax(-1)
        tokens = tokens + weights @ _times(sources, value)


def _pairs(tokens, here, discount):
    """From kinds of tokens, the states, to pairs of successive ones; the source before the query is apart."""
    size = tokens.shape[-2] - 1
    pairs = here[..., :-1] * size + here[..., 1:]
    first = tokens[..., :size, None, :].expand(*tokens.shape[:-2], size, size, -1).flatten(-3, -2)
    second = tokens[..., None, :size, -1].expand(*tokens.shape[:-2], size, size).flatten(-2)
    query = tokens[..., -1:, :]
    first = torch.cat([first, _take(tokens, here[..., -1:]), query], -2)
    second = torch.cat([second, query[..., -1], torch.zeros_like(query[..., -1])], -1)
    last = torch.full_like(here[..., :1], size**2)
    counts = _counts(pairs, size**2, tokens)
    counts = torch.cat([counts, torch.ones_like(counts[..., :1])], -1)
    return _with_target(first, discount * second), torch.cat([pairs, last, last + 1], -1), counts


def _every_token(tokens, kind, discount):
    """From kinds to the tokens themselves."""
    if kind is not None:
        tokens = _take(tokens, kind)
    return _with_target(tokens, discount * pad(tokens[..., 1:, -1], (0, 1)))


def _last_layer(tokens, kind, counts, value, score, discount):
    """The query alone listens; scores and values of the sources are put together from those of kinds."""
    untouched = tokens.new_ones(tokens.shape[-1])
    untouched[-2] = 0  # the target memory still is that of the layer before
    listener = tokens[..., -1:, :] * untouched
    asked, read = _times(listener, score), value[..., -1:].mT  # (*b, 1, D) both
    if discount == 0 and kind is not None:
        said, heard = ((tokens[..., :-1, :] @ (x * untouched).mT)[..., 0] for x in (read, asked))
        weights = (heard + counts[..., 0, :].log()).softmax(-1)
    else:
        own, following = (kind[..., :-1], kind[..., 1:]) if kind is not None else (None, None)
        current = discount * tokens[..., -1]
        current = current[..., 1:] if kind is None else current.gather(-1, following)
        said, heard = ((tokens @ (x * untouched).mT)[..., 0] for x in (read, asked))
        said, heard = (x[..., :-1] if kind is None else x.gather(-1, own) for x in (said, heard))
        said, heard = said + read[..., -2] * current, heard + asked[..., -2] * current
        weights = heard.softmax(-1)
    return listener[..., 0, -1] + (weights * said).sum(-1)


def _with_target(tokens, target):
    return torch.cat([tokens[..., :-2], target[..., None], tokens[..., -1:]], -1)


def _take(tokens, index):
    return tokens.gather(-2, index[..., None].expand(*index.shape, tokens.shape[-1]))


def _counts(kind, size, like):
    """How many sources are of each kind, ``(*b, 1, size)``."""
    counts = like.new_zeros(*kind.shape[:-1], size)
    return counts.scatter_add_(-1, kind, like.new_ones(()).expand(kind.shape))[..., None, :]


def _times(tokens, weights):
    """``tokens @ weights`` with weights that batch elements share: one product instead of many small ones."""
    if tokens.ndim != weights.ndim or tokens.ndim == 2 or weights.shape[-3] != 1:
        return tokens @ weights
    return (tokens.flatten(-3, -2) @ weights[..., 0, :, :]).unflatten(-2, tokens.shape[-3:-1])
