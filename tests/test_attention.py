"""Softmax and linear attention against the formulas of the papers, with every matrix written out."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from refusals import refused

from icrl import attention
from icrl.attention import linear_attention, softmax_attention, softmax_weights


def random(*shape, seed=0):
    """Standard normal numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def masked_softmax(prompt, score, num_queries):
    """softmax(Z' A Z + M) with the mask as a matrix, all rows kept, in NumPy."""
    logits = prompt.T @ score @ prompt
    logits[len(logits) - num_queries :] = -np.inf
    weights = np.exp(logits - logits.max(axis=0))
    return weights / weights.sum(axis=0)


def test_softmax_weights_by_hand():
    """Tokens 0, log 2 / 2 and a query 2: logits of the query 0 and log 2, weights 1/3 and 2/3."""
    prompt = torch.tensor([[0.0, np.log(2) / 2, 2.0]], dtype=torch.float64)
    weights = softmax_weights(prompt, torch.ones(1, 1, dtype=torch.float64))
    assert weights.shape == (2, 3)
    torch.testing.assert_close(weights[:, 0], torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(weights[:, 2], torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))


def test_score_weights_put_the_source_first():
    """Entry (i, j) of A joins row i of the source with row j of the query, not the other way round."""
    prompt = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    score = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    logits = torch.tensor([3.0, 0.0], dtype=torch.float64)  # of the query, column 2
    torch.testing.assert_close(softmax_weights(prompt, score)[:, 2], logits.softmax(0))


@pytest.mark.parametrize("num_queries", [0, 1, 3])
def test_weights_are_those_of_the_mask(num_queries):
    """Columns sum to 1; the rows left out are those that the mask would have set to zero."""
    prompt, score = random(4, 9), random(4, 4, seed=1)
    full = masked_softmax(prompt.numpy(), score.numpy(), num_queries)
    weights = softmax_weights(prompt, score, num_queries)
    np.testing.assert_allclose(weights, full[: 9 - num_queries], atol=1e-14)
    np.testing.assert_allclose(weights.sum(dim=0), 1, atol=1e-14)
    assert not full[9 - num_queries :].any()


@pytest.mark.parametrize("largest", [attention.LARGEST_SCORE_MATRIX, 0], ids=["formed", "fused"])
@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize(
    ("b_prompt", "b_value", "b_score"),
    [
        ((), (), ()),
        ((5,), (), ()),
        ((), (5,), ()),
        ((), (), (5,)),
        ((5,), (5,), (5,)),
        ((2, 5), (5,), (2, 1)),
        ((2, 1, 3), (), (4, 1)),
    ],
)
def test_softmax_attention_is_the_formula(monkeypatch, largest, num_queries, b_prompt, b_value, b_score):
    """V Z softmax(Z' A Z + M) for each element of any batch, with scores formed or fused."""
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
    operands = random(*b_prompt, 4, 7), random(*b_value, 4, 4, seed=1), random(*b_score, 4, 4, seed=2)
    result = softmax_attention(*operands, num_queries)
    batch = np.broadcast_shapes(b_prompt, b_value, b_score)
    assert result.shape == (*batch, 4, 7)
    z, v, a = (np.broadcast_to(t.numpy(), (*batch, *t.shape[-2:])) for t in operands)
    for i in np.ndindex(batch):
        expected = v[i] @ z[i] @ masked_softmax(z[i], a[i], num_queries)
        np.testing.assert_allclose(result[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("largest", [attention.LARGEST_SCORE_MATRIX, 0], ids=["formed", "fused"])
def test_softmax_attention_keeps_dtype_and_gradient(monkeypatch, largest):
    """float32 stays float32, and the derivative is that of the formula."""
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
    operands = [random(2, 3, 5), random(3, 3, seed=1), random(2, 3, 3, seed=2)]
    assert softmax_attention(*(t.float() for t in operands)).dtype == torch.float32
    assert torch.autograd.gradcheck(softmax_attention, [t.requires_grad_() for t in operands])


@pytest.mark.parametrize("largest", [attention.LARGEST_SCORE_MATRIX, 0], ids=["formed", "fused"])
def test_huge_logits_do_not_overflow(monkeypatch, largest):
    """Logits of plus and minus a million: all weight on the best source."""
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
    prompt = torch.tensor([[1000.0, -1000.0, 999.0], [3.0, 5.0, 7.0]], dtype=torch.float64)
    score = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    result = softmax_attention(prompt, torch.eye(2, dtype=torch.float64), score)
    torch.testing.assert_close(result[1], torch.tensor([3.0, 5.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize(("limit", "formed"), [(55, 0), (56, 1)])
def test_the_limit_counts_entries_of_the_scores(monkeypatch, limit, formed):
    """Seven sources and eight columns are 56; as it stands the limit is 256 MB of float64."""
    assert attention.LARGEST_SCORE_MATRIX * 8 == 256 * 2**20
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", limit)
    weights = Mock(wraps=attention._weights)
    monkeypatch.setattr(attention, "_weights", weights)
    softmax_attention(random(2, 3, 8), random(3, 3, seed=1), random(3, 3, seed=2))
    assert weights.call_count == formed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_fused(monkeypatch, dtype):
    """By PyTorch's own attention, once for each prompt; the formula within the bits of the type."""
    operands = [x.to(dtype) for x in (random(2, 4, 7), random(4, 4, seed=1), random(4, 4, seed=2))]
    expected = softmax_attention(*(x.double() for x in operands), num_queries=2)
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", 0)
    fused = Mock(wraps=attention.scaled_dot_product_attention)
    monkeypatch.setattr(attention, "scaled_dot_product_attention", fused)
    result = softmax_attention(*operands, num_queries=2)
    assert result.dtype == dtype
    assert fused.call_count == 2
    assert (result - expected).abs().max() < 16 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.bad_input
@pytest.mark.parametrize("largest", [attention.LARGEST_SCORE_MATRIX, 0], ids=["formed", "fused"])
def test_overflow_names_all_that_may_have_caused_it(monkeypatch, largest):
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
    huge, zero = torch.full((2, 3), 1e200, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    large = " has entries so large that the result leaves the range of torch.float64"
    names = "prompt or value_weights or score_weights"
    refused(names + large, softmax_attention, huge, huge[:, :2], zero)
    refused("prompt or P or V" + large, linear_attention, huge, zero + 1, zero + 1)
    huge[:, 0] = 0  # the first source says nothing; the scores of the other two overflow
    refused("prompt or score_weights" + large, softmax_weights, huge, zero + 1)


def test_linear_attention_by_hand():
    """H = (1, 2, 3), P = 2, V = 5, n = 2: column j is 5 (1 + 4 + 9) 2 H_j / 2 = 70 H_j."""
    prompt = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    two, five = (torch.full((1, 1), x, dtype=torch.float64) for x in (2.0, 5.0))
    torch.testing.assert_close(linear_attention(prompt, two, five), 70 * prompt)
    pair = prompt[:, :2]  # two columns are enough: n = 1, and 5 (1 + 4) 2 H_j = 50 H_j
    torch.testing.assert_close(linear_attention(pair, two, five), 50 * pair)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_linear_attention_is_the_formula(batch):
    """(1/n) V H (H' P H) token by token: every column attends to every column."""
    prompt, p, v = random(*batch, 4, 6), random(4, 4, seed=1), random(*batch, 4, 4, seed=2)
    expected = torch.zeros_like(prompt)
    for j in range(6):
        for i in range(6):
            score = (prompt[..., :, i, None].mT @ p @ prompt[..., :, j, None])[..., 0]
            expected[..., :, j] += (v @ prompt[..., :, i, None])[..., 0] * score / 5
    torch.testing.assert_close(linear_attention(prompt, p, v), expected, rtol=1e-12, atol=1e-12)


def test_linear_attention_keeps_dtype_and_gradient():
    """float32 stays float32, and the derivative is that of the formula."""
    operands = [random(2, 3, 5), random(3, 3, seed=1), random(3, 3, seed=2)]
    assert linear_attention(*(t.float() for t in operands)).dtype == torch.float32
    assert torch.autograd.gradcheck(linear_attention, [t.requires_grad_() for t in operands])


def prompt(*batch, columns=3):
    """A valid prompt for one feature, D = 4."""
    return torch.zeros(*batch, 4, columns, dtype=torch.float64)


def weights(*lead, size=4):
    """Valid weights."""
    return torch.zeros(*lead, size, size, dtype=torch.float64)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("z", "num_queries", "message"),
    [
        (prompt(), 3, "prompt has 3 columns and num_queries is 3; at least one column must be a source"),
        (prompt(), -1, "num_queries is -1; it must be at least 0"),
        (prompt().numpy(), 1, "prompt is a ndarray; it must be a torch.Tensor"),
        (prompt().long(), 1, "prompt has dtype torch.int64; it must be floating point"),
        (prompt().float(), 1, "... has dtype torch.float64 and prompt torch.float32; they must be the same"),
        (prompt()[0], 1, "prompt has shape (3,); it must be (*batch, D, N)"),
        (
            prompt()[:3],
            1,
            "score_weights has shape (4, 4); it must end in (3, 3), one row for each row of ...",
        ),
        (prompt(3), 1, "batch dimensions must broadcast together; prompt has (3,), score_weights has (2,)"),
    ],
)
def test_refuses_softmax_attention(z, num_queries, message):
    """Shapes that fit together, and something to attend to."""
    score = weights(2) if z.ndim == 3 else weights()
    refused(message, softmax_weights, z, score, num_queries)
    value = weights(size=z.shape[-2] if z.ndim > 1 else 4)
    message = message.replace("(3,), score", "(3,), value_weights has (), score")
    refused(message, softmax_attention, z, value, score, num_queries)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("z", "p", "v", "message"),
    [
        (prompt(columns=1), weights(), weights(), "prompt has 1 columns; n = N - 1 must be at least 1"),
        (
            prompt(),
            weights(size=5),
            weights(),
            "P has shape (5, 5); it must end in (4, 4), one row for each ...",
        ),
        (
            prompt(),
            weights(),
            weights(size=5),
            "V has shape (5, 5); it must end in (4, 4), one row for each ...",
        ),
        (
            prompt(3),
            weights(2),
            weights(),
            "batch dimensions must broadcast together; prompt has (3,), P has (2,), ...",
        ),
    ],
)
def test_refuses_linear_attention(z, p, v, message):
    """At least one token beside the last, and shapes that fit together."""
    refused(message, linear_attention, z, p, v)
