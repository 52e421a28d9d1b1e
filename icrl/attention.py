"""Softmax and linear attention, written as the two papers write them: tokens are columns.

Any leading batch dimensions; dtype and device are those of the prompt.
"""

import torch
from jaxtyping import Float
from torch import Tensor, broadcast_shapes
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import scaled_dot_product_attention

from icrl import _validation as valid
from icrl.streamed_attention import StreamedAttention

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
    _check(prompt, num_queries, score_weights=score_weights)
    weights = _weights(prompt, score_weights, num_queries)
    # One score that is not finite makes its whole column NaN, the first row included.
    return valid.answer(weights, watched=weights[..., :1, :], prompt=prompt, score_weights=score_weights)


def _weights(prompt, score_weights, num_queries):
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
    would not fit into memory are formed block by block, see :mod:`icrl.streamed_attention`; in half precision
    PyTorch's fused attention does the same. Forward mode, which neither of them has, forms them all.
    """
    _check(prompt, num_queries, value_weights=value_weights, score_weights=score_weights)
    num_sources = prompt.shape[-1] - num_queries
    operands = prompt, value_weights, score_weights
    if num_sources * prompt.shape[-1] <= LARGEST_SCORE_MATRIX or _forward_mode(operands):
        update = value_weights @ prompt[..., :num_sources] @ _weights(prompt, score_weights, num_queries)
        return valid.answer(update, prompt=prompt, value_weights=value_weights, score_weights=score_weights)
    batch = broadcast_shapes(*(t.shape[:-2] for t in operands))
    flat = (t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in operands)
    attend = StreamedAttention.apply if _streams(prompt) else _fused_attention
    updates = [attend(*one, num_queries)[0] for one in zip(*flat, strict=True)]
    update = torch.stack(updates).reshape(*batch, *prompt.shape[-2:])
    return valid.answer(update, prompt=prompt, value_weights=value_weights, score_weights=score_weights)


def _forward_mode(operands):
    return not torch.compiler.is_compiling() and any(unpack_dual(x).tangent is not None for x in operands)


def _streams(prompt):
    """Whether blocks of scores may be formed: in these types, and outside compilation."""
    return not torch.compiler.is_compiling() and prompt.dtype in (torch.float32, torch.float64)


def _fused_attention(prompt, value_weights, score_weights, num_queries):
    """PyTorch's own way not to form the scores; the result in a tuple."""
    sources = prompt[:, : prompt.shape[1] - num_queries].mT
    operands = (score_weights @ prompt).mT, sources, sources @ value_weights.mT
    update = scaled_dot_product_attention(*(t[None, None].contiguous() for t in operands), scale=1.0)
    return (update[0, 0].mT,)


def linear_attention(
    prompt: Float[Tensor, "*#b D N"], P: Float[Tensor, "*#b D D"], V: Float[Tensor, "*#b D D"]
) -> Float[Tensor, "*b D N"]:
    """``(1/n) (V H)(H' P H)`` with ``n = N - 1``, eq. (1) of Liang and Lai (2026).

    All ``N`` columns attend and are attended to: no mask, no softmax.
    """
    _check(prompt, 0, P=P, V=V)
    if prompt.shape[-1] < 2:
        raise ValueError(f"prompt has {prompt.shape[-1]} columns; n = N - 1 must be at least 1")
    update = (V @ prompt) @ (prompt.mT @ (P @ prompt)) / (prompt.shape[-1] - 1)
    return valid.answer(update, prompt=prompt, P=P, V=V)


def _check(prompt, num_queries, **weights):
    """Refuses shapes that do not fit together."""
    for name, x in {"prompt": prompt, **weights}.items():
        valid.tensor(name, x, finite=False)
        if x.dtype != prompt.dtype:
            raise ValueError(f"{name} has dtype {x.dtype} and prompt {prompt.dtype}; they must be the same")
    if prompt.ndim < 2:
        raise ValueError(f"prompt has shape {tuple(prompt.shape)}; it must be (*batch, D, N)")
    valid.sources(prompt, valid.count("num_queries", num_queries, 0))
    size = prompt.shape[-2]
    for name, matrix in weights.items():
        if tuple(matrix.shape[-2:]) != (size, size):
            raise ValueError(
                f"{name} has shape {tuple(matrix.shape)}; it must end in ({size}, {size}), "
                "one row for each row of the prompt"
            )
    valid.broadcastable(prompt=prompt.shape[:-2], **{name: w.shape[:-2] for name, w in weights.items()})
