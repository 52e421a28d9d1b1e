"""Softmax and linear attention, written as the two papers write them: tokens are columns.

Any leading batch dimensions; dtype and device are those of the prompt.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

LARGEST_SCORE_MATRIX = 2**25
"""Entries of one score matrix above which it is never formed (256 MB in float64)."""


def softmax_weights(
    prompt: Float[Tensor, "*#b D N"], score_weights: Float[Tensor, "*#b D D"], num_queries: int = 1
) -> Float[Tensor, "*b N_minus_q N"]:
    """``softmax(Z' A Z + M)`` over each column, without the rows that the mask sets to zero.

    Args:
        prompt: ``Z``, ``(*batch, D, N)``.
        score_weights: ``A``, ``(*batch, D, D)``; entry ``(i, j)`` of the scores is source ``i``, query ``j``.
        num_queries: how many of the last columns the mask ``M`` keeps from being a source. The paper
            has one; its ``-inf`` in ``M`` is a zero weight, and the zero rows are left out here.

    Returns:
        ``(*batch, N - num_queries, N)``: columns sum to 1.
    """
    sources = prompt[..., : prompt.shape[-1] - num_queries]
    return (sources.mT @ score_weights @ prompt).softmax(dim=-2)


def softmax_attention(
    prompt: Float[Tensor, "*#b D N"],
    value_weights: Float[Tensor, "*#b D D"],
    score_weights: Float[Tensor, "*#b D D"],
    num_queries: int = 1,
) -> Float[Tensor, "*b D N"]:
    """``V Z softmax(Z' A Z + M)``, eqs. (1)-(3) of Xie et al. (2026).

    Arguments as in :func:`softmax_weights`, with the value matrix ``V`` ``(*batch, D, D)``. Scores that
    would not fit into memory are never formed: PyTorch's fused attention takes over.
    """
    num_sources = prompt.shape[-1] - num_queries
    if num_sources * prompt.shape[-1] <= LARGEST_SCORE_MATRIX:
        sources = prompt[..., :num_sources]
        return value_weights @ sources @ softmax_weights(prompt, score_weights, num_queries)
    queries = (score_weights @ prompt).mT
    keys, values = prompt.mT, (value_weights @ prompt).mT
    batch = queries.shape[:-2]
    keys, values = (t.expand(*batch, *t.shape[-2:])[..., :num_sources, :] for t in (keys, values))
    lead = (1,) * max(0, 2 - len(batch))
    update = scaled_dot_product_attention(
        *(t.reshape(*lead, *t.shape).contiguous() for t in (queries, keys, values)), scale=1.0
    )
    return update.reshape(*batch, *update.shape[-2:]).mT


def linear_attention(
    prompt: Float[Tensor, "*#b D N"], P: Float[Tensor, "*#b D D"], V: Float[Tensor, "*#b D D"]
) -> Float[Tensor, "*b D N"]:
    """``(1/n) (V H)(H' P H)`` with ``n = N - 1``, eq. (1) of Liang and Lai (2026).

    All ``N`` columns attend and are attended to: no mask, no softmax.
    """
    return (V @ prompt) @ (prompt.mT @ (P @ prompt)) / (prompt.shape[-1] - 1)
