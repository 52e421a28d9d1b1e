"""Kinds of tokens: found by hashing, never wrongly."""

import numpy as np
import pytest
import torch

from icrl import long_contexts
from icrl.long_contexts import kinds_of, rows_read
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights


def test_a_row_is_read_of_sources_or_of_queries_in_some_layer():
    """One entry in one layer is enough; nothing reads row 1."""
    score = torch.zeros(2, 4, 4)
    score[0, 0, 2], score[1, 3, 3] = 3, -1
    assert rows_read(score).tolist() == [True, False, True, True]
    assert rows_read(score[0]).tolist() == [True, False, True, False]


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_kinds_are_the_different_columns(scale):
    """As many as there are, and every column is that of its kind."""
    rng = np.random.default_rng(0)
    few = torch.from_numpy(scale * rng.normal(size=(3, 7)))
    rows = few[:, rng.integers(0, 7, size=500)]
    kinds, kind = kinds_of(rows)
    assert kinds.shape == (3, 7)
    assert torch.equal(kinds[:, kind], rows)


def test_columns_that_share_a_hash_are_told_apart(monkeypatch):
    """A direction that sees nothing: all hashes are 0."""
    monkeypatch.setattr(long_contexts.torch, "rand", lambda *_, **__: torch.zeros(2, dtype=torch.float64))
    rows = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.0, 5.0, 0.0, 1.0]], dtype=torch.float64)
    kinds, kind = kinds_of(rows)
    assert kinds.shape == (2, 3)
    assert torch.equal(kinds[:, kind], rows)
    rows[0] = 1  # one row alone tells them apart
    kinds, kind = kinds_of(rows)
    assert torch.equal(kinds[:, kind], rows)


def test_where_no_row_is_read_all_columns_are_of_one_kind():
    kinds, kind = kinds_of(torch.empty(0, 5, dtype=torch.float64))
    assert kinds.shape == (0, 1)
    assert kind.tolist() == [0] * 5


def test_the_direction_is_not_drawn_from_the_global_generator():
    before = torch.get_rng_state()
    kinds_of(torch.eye(3, dtype=torch.float64))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("head", ["shift", "dual"])
def test_many_kinds_are_streamed(monkeypatch, head):
    """More pairs of kinds than the limit, though fewer kinds than columns; V writes two rows, in a batch."""
    rng = np.random.default_rng(0)
    prompt = softmax_td_prompt(rng.normal(size=(5, 2)), rng.integers(0, 5, 41), rng.normal(size=40))
    prompt[-2:] = torch.from_numpy(rng.normal(size=(2, 41)))
    value, score = softmax_td_weights(2)
    value = value.repeat(3, 2, 1, 1)
    value[:, :, 2] = torch.from_numpy(rng.normal(size=(3, 2, 5)) / 5)  # the reward row, which no score reads
    model = SoftmaxTransformer(3, 0.9, value, score, head=head)
    grouped = torch.stack(list(model.layers(prompt))[1:])
    for module in ("long_contexts", "softmax_transformer"):
        monkeypatch.setattr(f"icrl.{module}.LARGEST_SCORE_MATRIX", 0)
    assert torch.allclose(torch.stack(list(model.layers(prompt))[1:]), grouped, rtol=0, atol=1e-12)
    with torch.enable_grad():  # nothing is skipped
        literal = torch.stack(list(model.requires_grad_().layers(prompt))[1:])
    assert torch.allclose(literal, grouped, rtol=0, atol=1e-12)
