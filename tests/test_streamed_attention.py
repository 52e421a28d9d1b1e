"""Attention block by block against the softmax over the whole score matrix."""

import itertools

import numpy as np
import pytest
import torch

from icrl import attention, streamed_attention
from icrl.attention import softmax_attention
from icrl.streamed_attention import (
    StreamedAttention,
    StreamedWeights,
    bound_of_scores,
    exponential_sums,
    largest_scores,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that do not divide the sizes below."""
    monkeypatch.setattr(streamed_attention, "BLOCK", 4)


def random(*shape, seed=0):
    """Standard normal numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def expected(columns, score, visits, values):
    """Each column repeated as often as it is a source, in the order of the columns."""
    scores = (columns.mT @ score @ columns).repeat_interleave(visits.long(), 0)
    return values.repeat_interleave(visits.long(), -1) @ scores.softmax(0)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("size", "exact"), [(0.0, False), (1.0, False), (10.0, None), (40.0, True), (1e8, True)]
)
@pytest.mark.parametrize("rows", [1, 3])
def test_weights_are_the_softmax(symmetric, size, exact, rows):
    """Columns that stand for no source, for one and for several; scores of any size."""
    columns, values = size * random(3, 11), random(rows, 11, seed=1)
    score = torch.eye(3, dtype=torch.float64) if symmetric else random(3, 3, seed=2)
    visits = torch.tensor([1.0, 3, 0, 2, 1, 1, 5, 0, 1, 2, 1], dtype=torch.float64)
    weights = StreamedWeights(columns, score, visits)
    assert weights.exact == exact or exact is None
    assert weights.symmetric == (symmetric and not weights.exact) or exact is None
    result = weights(values * visits)
    assert torch.allclose(result, expected(columns, score, visits, values), rtol=0, atol=1e-12)
    assert not weights(torch.zeros(2, 3, 11).double()).any()


def test_one_shift_for_all_underflows_and_is_given_up():
    """Scores of one column near 800, of another near -800: exp of their difference is 0 in float64."""
    columns = torch.tensor([[28.0, 27.9, 0.1, -28.0]], dtype=torch.float64)
    visits = torch.tensor([1.0, 1, 1, 0], dtype=torch.float64)
    weights, one = StreamedWeights(columns, torch.ones_like(columns[:, :1]), visits), torch.eye(4).double()
    assert not weights.symmetric
    scores = (columns.mT @ columns)[:3]
    assert torch.allclose(weights(one)[:3], scores.softmax(0), rtol=1e-12, atol=0)


def test_a_sum_below_what_floats_resolve_is_worked_out_anew():
    """The bound of the last column is 2 x 729, its largest score 729: exp(-729) has lost half its digits."""
    columns = torch.tensor([[27.0, 0, 27], [0, 26.99, 27]], dtype=torch.float64)
    weights = StreamedWeights(columns, torch.eye(2).double(), torch.tensor([1.0, 1, 0]).double())
    assert weights.exact
    expected = torch.tensor([[729.0, 26.99 * 27]], dtype=torch.float64).softmax(1)
    assert torch.allclose(weights(torch.eye(3).double()[:2])[:, 2], expected, rtol=1e-12, atol=0)


def test_what_is_the_same_everywhere_is_heard_as_it_is():
    """Weights of a column sum to 1: a row of ones stays one."""
    weights = StreamedWeights(random(2, 5), torch.eye(2).double(), torch.ones(5).double())
    assert torch.allclose(weights(torch.ones(1, 5).double()), torch.ones(1, 5).double(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("exact", [False, True])
def test_sums_and_bounds_over_all_pairs(exact):
    """Nine sources and six listeners, not in whole blocks, against all scores at once."""
    heard, listening, values = random(3, 9), random(3, 6, seed=1), random(2, 9, seed=2)
    scores = heard.mT @ listening
    assert torch.allclose(largest_scores(heard, listening), scores.amax(0), rtol=1e-14, atol=0)
    corners = torch.tensor(list(itertools.product(*zip(heard.amin(1), heard.amax(1), strict=True))))
    bound = bound_of_scores(heard, listening)
    assert torch.allclose(bound, (corners @ listening).amax(0), rtol=1e-13, atol=0)
    sums = exponential_sums(heard, listening, bound, values, exact=exact)
    assert torch.allclose(sums, values @ 2 ** (scores - bound), rtol=1e-12, atol=1e-15)
    if not exact:
        assert torch.equal(exponential_sums(heard, listening, bound, values), sums)


def test_zero_scores_weigh_all_sources_alike():
    """No row is read."""
    visits = torch.tensor([2.0, 1, 0], dtype=torch.float64)
    weights = StreamedWeights(random(0, 3), random(0, 0), visits)
    assert torch.allclose(weights(torch.eye(3).double()[:2]), torch.full((2, 3), 1 / 3).double())


@pytest.mark.parametrize("size", [1.0, 20.0], ids=["bounded", "exact"])
@pytest.mark.parametrize("read", ["all rows", "some rows", "one entry"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("wanted", ["prompt", "value", "score", "prompt value score"])
def test_gradient_is_that_of_the_formula(monkeypatch, size, read, symmetric, wanted):
    """Against autograd through the whole score matrix, each gradient alone and all together."""
    names = "prompt", "value", "score"
    operands = dict(zip(names, (random(4, 11), random(4, 4, seed=1), random(4, 4, seed=2)), strict=True))
    operands["prompt"] *= size
    if read == "some rows":
        operands["value"][:-1] = operands["score"][2:] = operands["score"][:, 1] = 0
    if read == "one entry":  # a row is written that itself is not read
        operands["value"] *= torch.tensor([0.0, 0, 1, 0])[:, None] * torch.tensor([1.0, 0, 0, 0])
    if symmetric:
        operands["score"] += operands["score"].mT.clone()
    for name in wanted.split():
        operands[name].requires_grad_()
    shared, original = [], streamed_attention._symmetric_backward_sums
    watched = lambda *given: shared.append(1) or original(*given)  # noqa: E731
    monkeypatch.setattr(streamed_attention, "_symmetric_backward_sums", watched)
    slope, results = random(4, 11, seed=3), []
    for largest in (2**25, 0):
        monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
        update = softmax_attention(*operands.values(), 2)
        results.append([update, *torch.autograd.grad(update, [operands[n] for n in wanted.split()], slope)])
    for whole, streamed in zip(*results, strict=True):
        assert torch.allclose(streamed, whole, rtol=1e-11, atol=1e-11 * size)
    assert bool(shared) == (symmetric and size == 1 and wanted != "value")


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("wanted", ["prompt", "prompt value score"])
def test_gradient_where_all_weights_are_alike(monkeypatch, sign, wanted):
    """Matrices of ones and of minus ones: rows without a zero, each the same as the others."""
    ones, names = torch.ones(3, 3).double(), wanted.split()
    operands = {"prompt": random(3, 6), "value": sign * ones, "score": sign * ones.clone()}
    for name in names:
        operands[name].requires_grad_()
    results = []
    for largest in (2**25, 0):
        monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
        update = softmax_attention(*operands.values())
        slopes = torch.autograd.grad(update, [operands[n] for n in names], random(3, 6, seed=3))
        results.append([update, *slopes])
    for whole, streamed in zip(*results, strict=True):
        assert torch.allclose(streamed, whole, rtol=1e-11, atol=1e-12)


def test_only_the_update_is_differentiated():
    """What else is returned serves the backward pass, and has none of its own."""
    results = StreamedAttention.apply(random(3, 6).requires_grad_(), random(3, 3), random(3, 3, seed=1), 1)
    assert [x.requires_grad for x in results] == [True, False, False]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_batch_may_stand_at_any_axis(axis):
    """Of a vmap: two prompts of three rows and five columns."""
    prompts, value, score = random(2, 3, 5), random(3, 3, seed=1), random(3, 3, seed=2)
    attend = torch.vmap(lambda prompt: StreamedAttention.apply(prompt, value, score, 1)[0], axis)
    expected = softmax_attention(prompts, value, score)
    assert torch.allclose(attend(prompts.movedim(0, axis)), expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, by forward mode
def test_works_under_torch_func(monkeypatch):
    """A gradient for each prompt of a batch, with vmap over grad; in forward mode all scores."""
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", 0)
    prompts, value, score = random(3, 4, 6), random(4, 4, seed=1), random(4, 4, seed=2)

    def total(score, prompt):
        return StreamedAttention.apply(prompt, value, score, 1)[0].sum()

    slopes = torch.func.vmap(torch.func.grad(total), (None, 0))(score, prompts)
    for slope, prompt in zip(slopes, prompts, strict=True):
        (alone,) = torch.autograd.grad(total(score.requires_grad_(), prompt), score)
        assert torch.allclose(slope, alone, rtol=0, atol=1e-12)
    results, direction = [], random(4, 6, seed=3)
    for largest in (0, 2**25):
        monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", largest)
        function = lambda prompt: softmax_attention(prompt, value, score.detach())  # noqa: E731
        results.append(torch.func.jvp(function, (prompts[0],), (direction,)))
    for long, short in zip(*results, strict=True):
        assert torch.allclose(long, short, rtol=0, atol=1e-12)


def test_half_precision_is_the_formula(monkeypatch):
    """Within what its eleven bits resolve."""
    monkeypatch.setattr(attention, "LARGEST_SCORE_MATRIX", 0)
    operands = random(4, 30), random(4, 4, seed=1), random(4, 4, seed=2)
    update = softmax_attention(*(x.half() for x in operands))
    assert update.dtype == torch.float16
    monkeypatch.undo()
    assert torch.allclose(update.double(), softmax_attention(*operands), rtol=0, atol=0.02)
