"""Long contexts in the softmax transformer: tokens that look alike to the scores are worked out together.

Where no layer writes what the scores read, columns that agree on the rows that are read attend alike and are
attended to alike, in every layer. What a layer adds is then the same for all columns of a *kind*, and a pass
over ``n`` tokens of ``K`` kinds needs ``K x K`` attention weights and, in each layer, a few sums over the
columns. A tabular context has at most as many kinds as states. See :doc:`/book/softmax-transformer`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from icrl.attention import LARGEST_SCORE_MATRIX
from icrl.streamed_attention import StreamedWeights


class Stage(NamedTuple):
    """A prompt between two layers, worked out on demand: all of it, or its row of current memories."""

    prompt: Callable[[], Tensor]
    current: Callable[[], Tensor]


def rows_read(score: Float[Tensor, "*b D D"]) -> Bool[Tensor, " D"]:
    """Which rows of a prompt some entry of the scores reads."""
    read = score.ne(0)
    read = read.any(-1) | read.any(-2)
    return read.reshape(-1, read.shape[-1]).any(0)


def kinds_of(rows: Float[Tensor, "r N"]) -> tuple[Float[Tensor, "r K"], Int[Tensor, " N"]]:
    """The different columns, and which of them each column is.

    Columns are hashed to one number each, their projection on a random direction, and numbers are sorted: far
    cheaper than to sort columns. That columns of one hash are equal is then looked at, and if two different
    ones share a hash, columns are sorted after all.
    """
    if len(rows) == 0:  # scores of zero: all tokens look alike
        return rows[:, :1], torch.zeros(rows.shape[1], dtype=torch.long, device=rows.device)
    direction = torch.rand(len(rows), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Not a matrix product: that may round the same column differently in different places.
    hashes = sum(row * weight for row, weight in zip(rows, direction.tolist(), strict=True))
    numbers, kind = torch.unique(hashes, return_inverse=True)
    one = torch.empty_like(numbers, dtype=torch.long)
    one[kind] = torch.arange(len(kind), device=kind.device)  # some column of each kind
    kinds = rows[:, one]
    if all(torch.equal(of_kind[kind], row) for of_kind, row in zip(kinds, rows, strict=True)):
        return kinds, kind
    return torch.unique(rows, dim=1, return_inverse=True)


def grouped_stages(
    prompt: Float[Tensor, "D N"],
    num_queries: int,
    weights: Callable[[int], tuple[Tensor, Tensor]],
    num_layers: int,
    discount: float,
    head: str,
    read: Bool[Tensor, " D"],
) -> Iterator[Stage] | None:
    """The stages of a pass by kinds of tokens, or None where kinds are too many for it to pay.

    Args:
        prompt: one prompt.
        num_queries: how many of its last columns are no source.
        weights: ``V`` and ``A`` of a layer, by its number; ``V`` may have batch dimensions, ``A`` none.
        num_layers: ``L``.
        discount: ``gamma``.
        head: as in :class:`icrl.softmax_transformer.SoftmaxTransformer`.
        read: the rows that the scores of some layer read; no layer writes to them.
    """
    num_sources = prompt.shape[1] - num_queries
    kinds, kind = kinds_of(prompt[read])
    if 4 * kinds.shape[1] > num_sources and num_sources * prompt.shape[1] <= LARGEST_SCORE_MATRIX:
        return None
    return _grouped_stages(prompt, num_sources, weights, num_layers, discount, head, read, kinds, kind)


def _grouped_stages(prompt, num_sources, weights, num_layers, discount, head, read, kinds, kind):
    source_kind, next_kind = kind[:num_sources], kind[1 : num_sources + 1]

    def sums(rows):
        """Sums over the sources of each kind."""
        total = rows.new_zeros(*rows.shape[:-1], kinds.shape[1])
        return total.index_add_(-1, source_kind, rows)

    visits = torch.bincount(source_kind, minlength=kinds.shape[1]).to(prompt)
    first = sums(prompt[:, :num_sources])  # (D, K)
    first_next = discount * sums(prompt[-1, 1 : num_sources + 1])
    added = None  # (*b, D, K): what all layers so far have added to a column of each kind
    known = attend = None
    yield Stage(lambda: prompt, lambda: prompt[-1])
    for layer in range(num_layers):
        value, score = weights(layer)
        if known is None or not torch.equal(known, score):
            known, attend = score, _attend(kinds, score[read][:, read], visits)
        total = first
        if added is not None:
            total = first + visits * added
            moved = discount * sums(added[..., -1, :][..., next_kind])
            total[..., -2, :] = moved + (total[..., -2, :] if head == "dual" else first_next)
        update = attend(value @ total)
        added = update if added is None else added + update
        yield _stage(prompt, added, kind, discount, head)


def _stage(prompt, added, kind, discount, head):
    def current():
        return prompt[-1] + added[..., -1, :][..., kind]

    def whole():
        result = prompt + added[..., kind]
        shifted = added[..., -1, :][..., kind] if head == "dual" else result[..., -1, :]
        if head != "dual":
            result[..., -2, :] = 0
        result[..., -2, :-1] += discount * shifted[..., 1:]
        return result

    return Stage(whole, current)


def _attend(kinds, score, visits):
    """What columns of each kind hear, from the sums of what their sources say: ``(*b, D, K)`` both."""
    if kinds.shape[1] ** 2 > LARGEST_SCORE_MATRIX:
        return StreamedWeights(kinds, score, visits)
    # A kind that is no source weighs nothing; the largest score is moved to 0, as softmax does.
    scores = (kinds.mT @ score @ kinds).where(visits[:, None] > 0, -torch.inf)
    weights = (scores - scores.amax(0)).exp()
    weights = weights / (visits @ weights)  # that a column gives to *one* source of each kind
    return lambda total: total @ weights
