"""Theorem 1 and its surroundings: the transformer against the loop, its fast paths against the formula."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from refusals import refused
from torch.autograd import forward_ad
from torch.func import functional_call

from icrl import attention, long_contexts, softmax_transformer
from icrl.claims.softmax_transformer import control_misses
from icrl.constructions import SOFTMAX_FAULTS, literal_forward
from icrl.mrp import random_mrp
from icrl.softmax_td import priced_softmax_td, weighted_softmax_td
from icrl.softmax_transformer import (
    SoftmaxTransformer,
    priced_td_weights,
    softmax_td_prompt,
    softmax_td_weights,
)

HEADS = ["shift", "dual"]
seeds = st.integers(0, 2**32)


def error(computed, expected):
    """Largest relative error over all entries; absolute where the expected entry is below 1."""
    computed, expected = (np.asarray(x.detach() if torch.is_tensor(x) else x) for x in (computed, expected))
    assert computed.shape == expected.shape
    return (np.abs(computed - expected) / np.maximum(1, np.abs(expected))).max()


def context(rng, size, n, d, scale=1.0, alike=False):
    """Features, states and rewards; some states look alike if asked to."""
    features = scale * rng.normal(size=(size, d))
    if alike:
        features = features[rng.integers(0, size, size=size)]
    return features, rng.integers(0, size, size=n + 1), rng.normal(size=n)


def literal(prompt, value, score, discount, head="shift", num_queries=1):
    """Every layer's prompt with all matrices written out, in NumPy: weights ``(L, D, D)`` both."""
    z = np.asarray(prompt)
    size, columns = z.shape
    unit, shift = np.eye(size), np.eye(columns, k=-1)
    clear = unit - np.outer(unit[-2], unit[-2])
    move = discount * np.outer(unit[-2], unit[-1])
    stages = [z]
    for v, a in zip(np.asarray(value), np.asarray(score), strict=True):
        logits = z.T @ a @ z
        logits[columns - num_queries :] = -np.inf
        weights = np.exp(logits - logits.max(axis=0))
        y = v @ z @ (weights / weights.sum(axis=0))
        z = z + y + move @ y @ shift if head == "dual" else clear @ (z + y) + move @ (z + y) @ shift
        stages.append(z)
    return np.array(stages)


def spread(weights, batch, num_layers=3):
    """Weights of any accepted shape as ``(L, *batch, D, D)``."""
    weights = weights if weights.ndim > 2 else weights[None]
    lead, own, square = weights.shape[0], weights.shape[1:-2], weights.shape[-2:]
    ones = (1,) * (len(batch) - len(own))
    return weights.reshape(lead, *ones, *own, *square).expand(num_layers, *batch, *square)


def forbid_score_matrix(monkeypatch, fused):
    """Makes every score matrix too large to be formed, if `fused`."""
    for module in (attention, softmax_transformer, long_contexts):
        monkeypatch.setattr(module, "LARGEST_SCORE_MATRIX", 0 if fused else module.LARGEST_SCORE_MATRIX)


def run(model, prompt, num_queries=1):
    """The prompt after every layer, stacked."""
    return torch.stack(torch.broadcast_tensors(*model.layers(prompt, num_queries)))


# ---------------------------------------------------------------------------------------- Theorem 1


@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=seeds,
    size=st.integers(1, 6),
    n=st.integers(1, 20),
    d=st.integers(1, 5),
    num_layers=st.integers(0, 6),
    discount=st.floats(0, 0.99),
    alpha=st.floats(0.01, 1.5),
    scale=st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0]),
    alike=st.booleans(),
)
@example(seed=0, size=4, n=1, d=2, num_layers=4, discount=0.9, alpha=1.0, scale=1.0, alike=False)
@example(seed=1, size=1, n=9, d=2, num_layers=4, discount=0.9, alpha=1.0, scale=1.0, alike=False)
@example(seed=2, size=1, n=1, d=1, num_layers=4, discount=0.0, alpha=1.0, scale=30.0, alike=False)
@example(seed=3, size=2, n=20, d=3, num_layers=6, discount=0.9, alpha=0.3, scale=1.0, alike=True)
@example(seed=4, size=5, n=20, d=1, num_layers=6, discount=0.9, alpha=1.0, scale=0.0, alike=True)
def test_theorem_1(head, seed, size, n, d, num_layers, discount, alpha, scale, alike):
    """Every layer and every column is weighted softmax TD."""
    features, states, rewards = context(np.random.default_rng(seed), size, n, d, scale, alike)
    model = SoftmaxTransformer(num_layers, discount, *softmax_td_weights(d, alpha), head=head)
    values = model.values(softmax_td_prompt(features, states, rewards))
    assert error(values, weighted_softmax_td(features, states, rewards, discount, num_layers, alpha)) <= 1e-12


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n", [4, 60], ids=["few tokens", "grouped"])
@pytest.mark.parametrize("logit", [500.0, 2000.0, 1e6, 1e12])
def test_theorem_1_with_huge_logits(head, n, logit):
    """Scores of both signs far beyond what exp can take; equal largest ones among them."""
    states = np.arange(n + 1) % 3
    rewards = np.random.default_rng(0).normal(size=n)
    features = np.sqrt(logit) * np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.5]])
    model = SoftmaxTransformer(5, 0.9, *softmax_td_weights(2), head=head)
    values = model.values(softmax_td_prompt(features, states, rewards))
    assert torch.isfinite(values).all()
    assert error(values, weighted_softmax_td(features, states, rewards, 0.9, 5)) <= 1e-12


@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.lists(st.floats(0.01, 1.5), min_size=1, max_size=6), st.booleans())
def test_a_step_size_for_each_layer(head, seed, steps, as_array):
    """Given as a list or as an array, in both heads."""
    features, states, rewards = context(np.random.default_rng(seed), 4, 12, 3)
    weights = softmax_td_weights(3, np.array(steps) if as_array else steps)
    model = SoftmaxTransformer(len(steps), 0.8, *weights, head=head)
    values = model.values(softmax_td_prompt(features, states, rewards))
    assert error(values, weighted_softmax_td(features, states, rewards, 0.8, len(steps), steps)) <= 1e-12


def test_no_layers_are_the_identity():
    """Nothing happens, and there is one row of values."""
    prompt = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = SoftmaxTransformer(0, 0.5, *softmax_td_weights(2))
    assert torch.equal(model(prompt), prompt)
    assert torch.equal(model.values(prompt), prompt[None, -1])


@pytest.mark.parametrize("n", [3, 60], ids=["few tokens", "grouped"])
@pytest.mark.parametrize("num_layers", [0, 2])
def test_what_comes_out_may_be_written_into(num_layers, n):
    """The prompt stays as it is, and so does what later layers make of it."""
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 4, n, 2))
    model, before = SoftmaxTransformer(num_layers, 0.5, *softmax_td_weights(2)), prompt.clone()
    expected = model(prompt)
    model(prompt).zero_()
    for stage in model.layers(prompt):
        last = stage.clone()
        stage.zero_()
    assert torch.equal(prompt, before)
    assert torch.equal(last, expected)


def test_feature_and_reward_rows_never_change_and_the_target_row_follows():
    """The invariants of the proof: target = gamma times the next column's value, zero at the end."""
    features, states, rewards = context(np.random.default_rng(0), 4, 9, 2)
    prompt = softmax_td_prompt(features, states, rewards)
    for head in HEADS:
        stages = run(SoftmaxTransformer(5, 0.9, *softmax_td_weights(2), head=head), prompt)
        assert torch.equal(stages[:, :3], prompt[:3].expand(6, 3, 10))
        assert error(stages[:, 3, :-1], 0.9 * stages[:, 4, 1:]) <= 1e-12
        assert not stages[:, 3, -1].any()


def test_the_prompt_by_hand():
    """Two features, two transitions, then a further query: rewards under the state that is left."""
    features = np.array([[1.0, 2.0], [3.0, 4.0]])
    arguments = features, np.array([0, 1, 1]), np.array([5.0, 6.0])
    prompt = softmax_td_prompt(*arguments, queries=np.array([0]))
    expected = [[1, 3, 3, 1], [2, 4, 4, 2], [5, 6, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(prompt, expected)
    assert prompt.dtype == torch.float64
    np.testing.assert_array_equal(softmax_td_prompt(*arguments), np.array(expected)[:, :3])


def test_the_weights_by_hand():
    """V writes reward + target - current into the last row, A compares features; in float64."""
    value, score = softmax_td_weights(2, 0.5)
    np.testing.assert_array_equal(value[-1], [0, 0, 0.5, 0.5, -0.5])
    assert not value[:-1].any()
    np.testing.assert_array_equal(score, np.diag([1, 1, 0, 0, 0]))
    per_layer, _ = softmax_td_weights(2, [0.5, 1.0])
    np.testing.assert_array_equal(per_layer, torch.stack([value, 2 * value]))
    assert value.dtype == score.dtype == torch.float64


# ------------------------------------------------------------------------- Lemma 1 and the controls


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 12), st.integers(1, 3))
def test_lemma_1(seed, n, d):
    """Random V and A, V silent on the target row: one map on consistent prompts, two on others."""
    rng = np.random.default_rng(seed)
    prompt = torch.from_numpy(rng.normal(size=(d + 3, n + 1)))
    prompt[-2, :-1], prompt[-2, -1] = 0.7 * prompt[-1, 1:], 0
    value, score = torch.from_numpy(0.3 * rng.normal(size=(2, d + 3, d + 3)))
    value[-2] = 0
    shift, dual = (SoftmaxTransformer(3, 0.7, value, score, head=head) for head in HEADS)
    assert error(run(shift, prompt), run(dual, prompt)) <= 1e-12
    prompt[-2] += 1
    assert error(run(shift, prompt), run(dual, prompt)) > 0.5


def test_lemma_1_needs_a_target_row_that_the_attention_leaves_alone():
    """Where V writes into it, the shift clears what the dual head keeps."""
    rng = np.random.default_rng(0)
    prompt = softmax_td_prompt(*context(rng, 3, 6, 2))
    value, score = torch.from_numpy(0.3 * rng.normal(size=(2, 5, 5)))
    shift, dual = (SoftmaxTransformer(1, 0.7, value, score, head=head) for head in HEADS)
    assert error(shift(prompt), dual(prompt)) > 0.1


@pytest.mark.parametrize("name", SOFTMAX_FAULTS)
@pytest.mark.parametrize("seed", range(10))
def test_negative_controls_miss(name, seed):
    """One piece of the construction is broken, and the forward pass is no longer softmax TD."""
    assert control_misses(np.random.default_rng(seed), name) > 1e-3


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.integers(2, 15), st.integers(0, 4), st.sampled_from(HEADS))
def test_literal_forward_unbroken_is_the_transformer(seed, n, num_layers, head):
    """The transcription that the controls break is right as long as it is whole, for any weights."""
    rng = np.random.default_rng(seed)
    prompt = torch.from_numpy(rng.normal(size=(5, n + 1)))
    for value, score in (softmax_td_weights(2), torch.from_numpy(0.3 * rng.normal(size=(2, 5, 5)))):
        model = SoftmaxTransformer(num_layers, 0.8, value, score, head=head)
        matrices = value.numpy(), score.numpy(), 0.8, num_layers
        assert (
            error(model.values(prompt), literal_forward(prompt.numpy(), *matrices, dual=head == "dual"))
            <= 1e-12
        )
    assert control_misses(np.random.default_rng(seed), None) <= 1e-12


# ------------------------------------------------------------------------------------------- Queries


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.sampled_from([3, 30]), st.sampled_from(HEADS))
def test_several_queries_are_each_the_last_state_of_a_context(seed, n, head):
    """Each further column gets what it would get in the place of S_n; the others do not notice."""
    features, states, rewards = context(np.random.default_rng(seed), 4, n, 2)
    model = SoftmaxTransformer(5, 0.8, *softmax_td_weights(2), head=head)
    alone = model.values(softmax_td_prompt(features, states, rewards))
    queries = np.array([3, 0, 1, 2, 2])
    read = model.values(softmax_td_prompt(features, states, rewards, queries=queries), num_queries=6)
    assert error(read[:, : n + 1], alone) <= 1e-12
    for column, query in enumerate(queries, start=n + 1):
        td_errors = rewards + 0.8 * alone[:-1, 1:].numpy() - alone[:-1, :-1].numpy()
        scores = features[states[:-1]] @ features[query]
        kernel = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        assert error(read[1:, column], (td_errors @ kernel).cumsum()) <= 1e-12


def test_no_queries_are_the_plain_prompt():
    """An empty list of further queries adds no column."""
    features, states, rewards = context(np.random.default_rng(0), 3, 5, 2)
    plain = softmax_td_prompt(features, states, rewards)
    empty = softmax_td_prompt(features, states, rewards, queries=np.array([], dtype=int))
    assert torch.equal(plain, empty)


# --------------------------------------------------------------------------------------------- Batches


def batch_of_contexts(batch, n, queries=0, seed=0):
    """Arguments of the prompt with these leading dimensions."""
    rng = np.random.default_rng(seed)
    arguments = (
        rng.normal(size=(*batch, 3, 2)),
        rng.integers(0, 3, (*batch, n + 1)),
        rng.normal(size=(*batch, n)),
    )
    return (*arguments, rng.integers(0, 3, (*batch, queries)) if queries else None)


@pytest.mark.parametrize("batch", [(1,), (4,), (2, 3)])
@pytest.mark.parametrize("queries", [0, 2])
def test_a_batch_of_prompts_is_its_elements(batch, queries):
    """With or without further queries, one prompt each."""
    arguments = batch_of_contexts(batch, 6, queries)
    prompts = softmax_td_prompt(*arguments)
    assert prompts.shape == (*batch, 5, 7 + queries)
    for i in np.ndindex(batch):
        assert torch.equal(prompts[i], softmax_td_prompt(*(a if a is None else a[i] for a in arguments)))


@pytest.mark.parametrize("n", [6, 40], ids=["few tokens", "tabular"])
@pytest.mark.parametrize("constructed", [True, False], ids=["constructed", "random weights"])
@pytest.mark.parametrize("fused", [False, True], ids=["formed", "fused"])
@pytest.mark.parametrize(
    ("b_prompt", "lead_value", "lead_score"),
    [
        ((4,), (), ()),
        ((2, 3), (), ()),
        ((4,), (3,), ()),
        ((4,), (1, 4), (1, 4)),
        ((4,), (3, 4), (3, 1)),
        ((), (3, 4), ()),
        ((), (1, 4), ()),
        ((), (), (1, 4)),
        ((4,), (1,), (3, 2, 1)),
        ((2, 1), (3, 4), (1, 2, 4)),
        ((1,), (3, 2, 4), ()),
    ],
)
def test_a_batch_is_its_elements(monkeypatch, n, constructed, fused, b_prompt, lead_value, lead_score):
    """Any batch of prompts with shared weights, weights for each layer, for each element, for both."""
    forbid_score_matrix(monkeypatch, fused)
    rng = np.random.default_rng(0)
    prompt = softmax_td_prompt(*batch_of_contexts(b_prompt, n)[:3])
    prompt[..., -2:, :] = torch.from_numpy(rng.normal(size=(*b_prompt, 2, n + 1)))
    value, score = softmax_td_weights(2) if constructed else torch.from_numpy(rng.normal(size=(2, 5, 5)) / 5)
    value = value * torch.from_numpy(rng.uniform(0.2, 1, size=(*lead_value, 1, 1)))
    score = score * torch.from_numpy(rng.uniform(0.2, 1, size=(*lead_score, 1, 1)))
    model = SoftmaxTransformer(3, 0.8, value, score)
    stages = run(model, prompt)
    batch = np.broadcast_shapes(b_prompt, lead_value[1:], lead_score[1:])
    assert model(prompt).shape == (*batch, 5, n + 1)
    assert torch.equal(model.values(prompt), stages[..., -1, :])
    prompts, values, scores = prompt.expand(*batch, 5, n + 1), spread(value, batch), spread(score, batch)
    for i in np.ndindex(batch):
        each_layer = (slice(None), *i)
        assert (
            error(stages[each_layer], literal(prompts[i], values[each_layer], scores[each_layer], 0.8))
            <= 1e-12
        )


# ----------------------------------------------------------------------------------------- Fast paths


def spy(monkeypatch):
    """Returns a function that says how often each way to attend has been used since it was last asked."""
    spies = {n: Mock(wraps=getattr(MODULES[n], n)) for n in MODULES}
    for name, wrapped in spies.items():
        monkeypatch.setattr(MODULES[name], name, wrapped)

    def used():
        counts = {name: wrapped.call_count for name, wrapped in spies.items() if wrapped.called}
        for wrapped in spies.values():
            wrapped.reset_mock()
        if STREAMED in counts:  # _attend has handed over to it
            counts.pop(GROUPED)
        return counts

    return used


def random_weights(rng, kind, num_layers, size):
    """Random weights that allow the fast paths, but for the one thing that `kind` names."""
    value, score = rng.normal(size=(2, num_layers, size, size)) / size
    value[:, :-2] = 0
    score[:, -2:, :] = score[:, :, -2:] = 0
    score[:, -3, :] = score[:, :, -3] = 0  # rewards are not read, so that tokens can be alike
    if kind == "scores of two layers, then of two others":
        score = score[[0, 0, *(1 for _ in range(num_layers - 2))]]
    elif kind not in ("scores of each layer", *ONE_LAYER):
        score = score[:1]
    if kind == "V writes a feature row":
        value[:, 0, -1] = 0.3
    if kind.startswith("V writes the reward row"):
        value[:, -3, 0] = 0.3
    if kind == "V writes the reward row, and A reads it":
        score[:, -3, 0] = 0.3
    if kind == "A reads the sources' target row":
        score[:, -2, 0] = 0.3
    if kind == "A reads the queries' current row":
        score[:, 0, -1] = 0.3
    if kind == "one layer writes what another reads":
        value[0, 0, -1] = 0.3
        score[:-1, 0, :] = score[:-1, :, 0] = 0
    if kind == "the last layer alone reads the memory":
        score[-1, -1, -1] = 0.3
    return torch.from_numpy(value), torch.from_numpy(score)


EVERY_LAYER, ONCE, GROUPED = "softmax_attention", "softmax_weights", "_attend"
STREAMED = "StreamedWeights"
MODULES = dict.fromkeys((EVERY_LAYER, ONCE), softmax_transformer)
MODULES |= dict.fromkeys((GROUPED, STREAMED), long_contexts)
ALLOWED = {
    "nothing forbids it": 1,
    "V writes the reward row": 1,  # which the scores do not read
    "scores of each layer": 4,
    "scores of two layers, then of two others": 2,
}
"""Kinds of weights with the fast paths, and how often attention weights are worked out in four layers."""

ONE_LAYER = ["one layer writes what another reads", "the last layer alone reads the memory"]
FORBIDDEN = [
    *ONE_LAYER,
    "V writes a feature row",
    "V writes the reward row, and A reads it",
    "A reads the sources' target row",
    "A reads the queries' current row",
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [*ALLOWED, *FORBIDDEN])
@pytest.mark.parametrize("fused", [False, True], ids=["formed", "fused"])
@pytest.mark.parametrize("n", [5, 50], ids=["few tokens", "tabular"])
@pytest.mark.parametrize("num_queries", [1, 4])
def test_fast_paths_are_exact(monkeypatch, head, kind, fused, n, num_queries):
    """Equal to the formula at every layer and entry, and taken where they may be, only there."""
    forbid_score_matrix(monkeypatch, fused)
    rng = np.random.default_rng(0)
    features, states, rewards = context(rng, 4, n, 2)
    queries = rng.integers(0, 4, size=num_queries - 1)
    prompt = softmax_td_prompt(features, states, rewards, queries=queries)
    prompt[-2:] = torch.from_numpy(rng.normal(size=(2, n + num_queries)))
    value, score = random_weights(rng, kind, 4, 5)
    model = SoftmaxTransformer(4, 0.9, value, score, head=head)
    used = spy(monkeypatch)
    stages = run(model, prompt, num_queries)
    expected = literal(prompt, value, score.expand(4, 5, 5), 0.9, head, num_queries)
    assert error(stages, expected) <= 1e-12
    if kind not in ALLOWED:
        assert used() == {EVERY_LAYER: 4}
    else:
        assert used() == {STREAMED if fused else GROUPED if n == 50 else ONCE: ALLOWED[kind]}


@pytest.mark.parametrize(
    ("batch", "limit", "expected"),
    [
        ((2,), 56, {ONCE: 1}),
        ((2,), 55, {EVERY_LAYER: 3}),
        ((), 56, {ONCE: 1}),  # eight kinds are no help
        ((), 55, {STREAMED: 1}),
        ("five kinds", 56, {ONCE: 1}),
        ("five kinds", 55, {GROUPED: 1}),
        ("five kinds", 25, {GROUPED: 1}),
        ("five kinds", 24, {STREAMED: 1}),
    ],
)
def test_score_matrices_are_formed_up_to_the_limit(monkeypatch, batch, limit, expected):
    """Seven sources and a query: 7 x 8 scores, and as many as pairs of kinds where tokens are grouped."""
    for module in (attention, softmax_transformer, long_contexts):
        monkeypatch.setattr(module, "LARGEST_SCORE_MATRIX", limit)
    prompt = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 8)))
    if batch == "five kinds":
        prompt[:, 5:], batch = prompt[:, :3].clone(), ()
    model, used = SoftmaxTransformer(3, 0.9, *softmax_td_weights(2)), spy(monkeypatch)
    stages = run(model, prompt.expand(*batch, 5, 8))
    assert used() == expected
    formula = torch.from_numpy(literal(prompt, *(w.expand(3, 5, 5) for w in softmax_td_weights(2)), 0.9))
    assert error(stages, formula.reshape(4, *(1 for _ in batch), 5, 8).expand_as(stages)) <= 1e-12


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 60), st.sampled_from([*ALLOWED, *FORBIDDEN]), st.sampled_from(HEADS))
def test_random_weights_give_the_formula(seed, n, kind, head):
    """Whatever the weights and the initial memory."""
    rng = np.random.default_rng(seed)
    prompt = softmax_td_prompt(*context(rng, 3, n, 2))
    prompt[-2:] = torch.from_numpy(rng.normal(size=(2, n + 1)))
    value, score = random_weights(rng, kind, 3, 5)
    model = SoftmaxTransformer(3, 0.9, value, score, head=head)
    assert error(run(model, prompt), literal(prompt, value, score.expand(3, 5, 5), 0.9, head)) <= 1e-12


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n", [3, 50, 5000], ids=["few tokens", "tabular", "long"])
def test_priced_weights_take_the_fast_paths(monkeypatch, head, n):
    """Two sets of attention weights for seven layers, exact; zero scores make one kind of all tokens."""
    rng = np.random.default_rng(1)
    features, states, rewards = context(rng, 4, n, 2)
    model = SoftmaxTransformer(7, 0.9, *priced_td_weights(2, 6, 0.9), head=head)
    used = spy(monkeypatch)
    values = model.values(softmax_td_prompt(features, states, rewards))
    assert error(values, priced_softmax_td(features, states, rewards, 0.9, 6)) <= 1e-12
    assert used() == {(ONCE if n == 3 else GROUPED): 2}


@pytest.mark.parametrize("far", [9.0, 90.0], ids=["far", "beyond what exp can take"])
def test_a_query_unlike_every_source_is_grouped_exactly(far):
    """Kinds of tokens that occur as queries only must not enter the normaliser."""
    features = np.array([[1.0], [2.0], [far]])
    states, rewards = np.append(np.arange(40) % 2, 2), np.random.default_rng(0).normal(size=40)
    prompt = softmax_td_prompt(features, states, rewards, queries=np.array([2, 0]))
    value, score = softmax_td_weights(1)
    stages = run(SoftmaxTransformer(3, 0.9, value, score), prompt, num_queries=3)
    expected = literal(prompt, value.expand(3, 4, 4), score.expand(3, 4, 4), 0.9, num_queries=3)
    assert error(stages, expected) <= 1e-12


@pytest.mark.parametrize("head", HEADS)
def test_a_hundred_thousand_transitions(head):
    """A tabular context of any length costs little; against the operator form from counts alone."""
    rng = np.random.default_rng(0)
    process, features = random_mrp(7, 0.9, rng), rng.normal(size=(7, 3))
    states = process.sample(100_000, rng)
    sources, rewards = states[:-1], rng.normal(size=100_000)
    model = SoftmaxTransformer(10, 0.9, *softmax_td_weights(3, 0.7), head=head)
    values = model.values(softmax_td_prompt(features, states, rewards)).numpy()
    counts = np.bincount(sources)
    moves = np.zeros((7, 7))
    np.add.at(moves, (sources, states[1:]), 1)
    reward, transition = np.bincount(sources, rewards) / counts, moves / counts[:, None]
    matching = np.exp(features @ features.T) * counts
    matching /= matching.sum(axis=1, keepdims=True)
    v = np.zeros(7)
    for layer in values:
        assert error(layer, v[states]) <= 1e-11  # sums over 100 000 terms
        v = v + 0.7 * matching @ (reward + 0.9 * transition @ v - v)


def test_a_long_context_without_equal_tokens(monkeypatch):
    """Above the limit the score matrix is not formed; some columns against their own softmax."""
    rng = np.random.default_rng(0)
    n = 6000
    assert n * (n + 1) > attention.LARGEST_SCORE_MATRIX
    features, states, rewards = rng.normal(size=(n + 1, 2)), np.arange(n + 1), rng.normal(size=n)
    used = spy(monkeypatch)
    values = SoftmaxTransformer(2, 0.9, *softmax_td_weights(2)).values(
        softmax_td_prompt(features, states, rewards)
    )
    assert used() == {STREAMED: 1}
    for v, v_next in zip(values[:-1].numpy(), values[1:].numpy(), strict=True):
        for j in (0, 17, n):
            weights = np.exp(features[:-1] @ features[j])
            update = weights @ (rewards + 0.9 * v[1:] - v[:-1]) / weights.sum()
            assert error(v_next[j], v[j] + update) <= 1e-12


# ---------------------------------------------------------------------------- Precision and gradients


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fused", [False, True], ids=["formed", "fused"])
@pytest.mark.parametrize("n", [6, 60], ids=["few tokens", "grouped"])
def test_float32(monkeypatch, head, fused, n):
    """The dtype of the prompt is kept and decides; the weights follow it."""
    forbid_score_matrix(monkeypatch, fused)
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 4, n, 3))
    model = SoftmaxTransformer(6, 0.9, *softmax_td_weights(3), head=head)
    single = model.values(prompt.float())
    assert single.dtype == model(prompt.float()).dtype == torch.float32
    assert model(prompt).dtype == model.value_weights.dtype == torch.float64
    assert error(single, model.values(prompt)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    """Kept as well; long tabular contexts too, which are not grouped then."""
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 4, 60, 3))
    model = SoftmaxTransformer(4, 0.9, *softmax_td_weights(3))
    half = model.values(prompt.to(dtype))
    assert half.dtype == dtype
    assert error(half.double(), model.values(prompt)) < 0.1


def as_function(model, num_queries=1):
    """The forward pass as a function of V, A and the prompt."""
    return lambda value, score, prompt: functional_call(
        model, {"value_weights": value, "score_weights": score}, (prompt, num_queries)
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("constructed", [True, False], ids=["constructed", "random weights"])
@pytest.mark.parametrize("fused", [False, True], ids=["formed", "fused"])
@pytest.mark.parametrize("lead", [(), (2, 3)], ids=["shared", "each layer and element"])
def test_gradients_against_finite_differences(monkeypatch, head, constructed, fused, lead):
    """Of the whole pass, with respect to every entry of V, A and the prompt."""
    forbid_score_matrix(monkeypatch, fused)
    rng = np.random.default_rng(0)
    prompt = softmax_td_prompt(*batch_of_contexts(lead[1:], 3)[:3])
    value, score = softmax_td_weights(2) if constructed else torch.from_numpy(rng.normal(size=(2, 5, 5)) / 5)
    value, score = (w.expand(*lead, 5, 5).clone().requires_grad_() for w in (value, score))
    function = as_function(SoftmaxTransformer(2, 0.9, value, score, head=head))
    inputs = value, score, prompt.requires_grad_()
    assert torch.autograd.gradcheck(function, inputs, fast_mode=bool(lead))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n", [5, 30], ids=["few tokens", "tabular"])
def test_memory_entries_of_the_scores_have_their_gradient(head, n):
    """At the construction, where they are zero, against differences.

    The differences are taken without autograd, where the construction itself runs on the fast path.
    """
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 3, n, 2))
    value, score = softmax_td_weights(2)

    def read(score):
        model = SoftmaxTransformer(4, 0.9, value, score, head=head)
        return as_function(model)(value, score, prompt)[-1, -1]

    reverse = torch.autograd.functional.jacobian(read, score)
    for entry in np.ndindex(5, 5):
        step = torch.zeros_like(score)
        step[entry] = 1e-5
        with torch.no_grad():
            difference = (read(score + step) - read(score - step)) / 2e-5
        assert abs(difference - reverse[entry]) < 1e-9
    assert reverse[-2:, :3].abs().min() > 1e-5  # the comparison is of something


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, of changing kind
def test_forward_mode_is_reverse_mode():
    """At the construction, along a random direction of the scores that is not zero on the memory."""
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 3, 30, 2))
    value, score = softmax_td_weights(2)
    tangent = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 5)))
    function = as_function(SoftmaxTransformer(4, 0.9, value, score))
    with forward_ad.dual_level():
        result = function(value, forward_ad.make_dual(score, tangent), prompt)
        forward = forward_ad.unpack_dual(result).tangent
    (reverse,) = torch.autograd.grad(function(value, score.requires_grad_(), prompt)[-1, -1], score)
    assert error(forward[-1, -1], (reverse * tangent).sum()) <= 1e-12


@pytest.mark.parametrize("n", [5, 30], ids=["few tokens", "tabular"])
@pytest.mark.parametrize("wanted", ["value", "score", "prompt"])
def test_no_fast_path_where_a_gradient_is_wanted(monkeypatch, n, wanted):
    """Whichever of the three it is wanted for; without autograd the fast path is back."""
    prompt = softmax_td_prompt(*context(np.random.default_rng(0), 3, n, 2))
    value, score = softmax_td_weights(2)
    {"value": value, "score": score, "prompt": prompt}[wanted].requires_grad_()
    model = SoftmaxTransformer(4, 0.9, value, score)
    assert (model.value_weights.requires_grad, model.score_weights.requires_grad) == (
        wanted == "value",
        wanted == "score",
    )
    used = spy(monkeypatch)
    differentiable = model(prompt)
    assert differentiable.requires_grad
    assert used() == {EVERY_LAYER: 4}
    with torch.no_grad():
        assert error(model(prompt), differentiable) <= 1e-12
    assert used() == {GROUPED if n == 30 else ONCE: 1}


def test_the_weights_given_are_copied():
    """Training the module leaves the caller's tensors alone."""
    value, score = softmax_td_weights(2)
    model = SoftmaxTransformer(2, 0.9, value, score).requires_grad_()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(value, softmax_td_weights(2)[0])
    assert torch.equal(score, softmax_td_weights(2)[1])


# ------------------------------------------------------------------------------------- The price head


@pytest.mark.parametrize("head", HEADS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seeds,
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.3, 0.9, 0.999]),
    st.booleans(),
)
@example(0, 1, 1, 1, 0.0, False)
def test_priced_weights_are_the_priced_loop(head, seed, size, n, num_layers, discount, alike):
    """At every layer and column; the loop averages the TD errors one by one."""
    rng = np.random.default_rng(seed)
    features, states, rewards = context(rng, size, n, 3, alike=alike)
    steps = rng.uniform(0.2, 1.5, size=num_layers)
    weights = priced_td_weights(3, num_layers, discount, steps)
    assert all(w.shape == (num_layers + 1, 6, 6) and w.dtype == torch.float64 for w in weights)
    model = SoftmaxTransformer(num_layers + 1, discount, *weights, head=head)
    values = model.values(softmax_td_prompt(features, states, rewards))
    loop = priced_softmax_td(features, states, rewards, discount, num_layers, steps)
    assert error(values, loop) <= 1e-12


def test_the_two_heads_agree_on_the_whole_prompt():
    """The target row too: the price reaches it, moved one column back."""
    features, states, rewards = context(np.random.default_rng(3), 4, 30, 2)
    prompt = softmax_td_prompt(features, states, rewards)
    stages = [
        run(SoftmaxTransformer(4, 0.9, *priced_td_weights(2, 3, 0.9), head=head), prompt) for head in HEADS
    ]
    assert error(*stages) <= 1e-12
    v = priced_softmax_td(features, states, rewards, 0.9, 3)[-1]
    assert error(stages[0][-1, -2], 0.9 * np.append(v[1:], 0)) <= 1e-12


def test_priced_weights_default_to_step_one():
    for priced, plain in zip(priced_td_weights(2, 3, 0.5), priced_td_weights(2, 3, 0.5, 1.0), strict=True):
        assert torch.equal(priced, plain)
    value, score = priced_td_weights(2, 3, 0.5)
    assert torch.equal(value[:3, -1], torch.tensor([[0.0, 0, 1, 1, -1]] * 3, dtype=torch.float64))
    assert torch.equal(value[3, -1], torch.tensor([0.0, 0, 2, 2, -2], dtype=torch.float64))
    assert not value[:, :-1].any()
    assert not score[-1].any()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"num_layers": 2.0}, "num_layers is 2.0; it must be an integer"),
        ({"num_features": 0}, "num_features is 0; it must be at least 1"),
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"discount": float("nan")}, "discount is nan; it must be finite"),
        ({"discount": np.nextafter(1, 0)}, "discount is 1 - 1.11e-16 and prices at 9.01e"),
        ({"step_size": 0.0}, "step_size is 0; it must be positive"),
        ({"step_size": [1.0, 1.0]}, "one for each of the 3 layers"),
    ],
)
def test_priced_weights_refuse(arguments, words):
    with pytest.raises(ValueError, match=words):
        priced_td_weights(**({"num_features": 2, "num_layers": 3, "discount": 0.9} | arguments))


@pytest.mark.bad_input
def test_the_price_may_be_two_to_the_42():
    """At most: that is the last which rounding leaves ten bits."""
    value, _ = priced_td_weights(1, 1, 1 - 2.0**-42)
    assert value[-1, -1].tolist() == [0, 2.0**42, 2.0**42, -(2.0**42)]
    message = "discount is 1 - 2.27e-13 and prices at 4.4e+12; it must be at most 1 - 2.27e-13, ..."
    refused(message, priced_td_weights, 1, 1, 1 - 2.0**-42 + 2.0**-53)


@pytest.mark.bad_input
def test_a_price_beyond_the_prompts_dtype_is_refused():
    """1 / (1 - gamma) = 1e5 is no number of float16; it would turn to infinity on the way."""
    discount = 1 - 1e-5
    model = SoftmaxTransformer(3, discount, *priced_td_weights(1, 2, discount))
    prompt = softmax_td_prompt(np.ones((1, 1)), np.zeros(3, dtype=int), np.ones(2))
    assert model.values(prompt.float()).isfinite().all()
    with pytest.raises(ValueError, match=r"value_weights has entries up to 1e\+05"):
        model.values(prompt.half())


FEATURES, STATES, REWARDS = np.eye(2), np.array([0, 1, 0]), np.ones(2)


NAN, INF, RAGGED = np.nan, np.inf, [[1.0, 0.0], [1.0]]


def prompt(*batch, columns=3):
    """A valid prompt for one feature, D = 4."""
    return torch.zeros(*batch, 4, columns, dtype=torch.float64)


def weights(*lead, size=4):
    """Valid weights."""
    return torch.zeros(*lead, size, size, dtype=torch.float64)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("features", "states", "rewards", "queries", "message"),
    [
        (FEATURES, STATES, REWARDS, [2], "queries[0] is 2; states run from 0 to 1"),
        (FEATURES, STATES, REWARDS, [0, -1], "queries[1] is -1; states run from 0 to 1"),
        (FEATURES, STATES, REWARDS, [0.0], "queries has dtype float64; states are integers"),
        (FEATURES, STATES, REWARDS, 1, "queries has shape (); it must be that of the states, (3,), but ..."),
        (
            FEATURES,
            STATES,
            REWARDS,
            [[1]],
            "queries has shape (1, 1); it must be that of the states, (3,), ...",
        ),
        (
            [FEATURES] * 2,
            [STATES] * 2,
            [REWARDS] * 2,
            [1],
            "queries has shape (1,); it must be that ... (2, 3), ...",
        ),
        (
            FEATURES,
            [STATES] * 2,
            [REWARDS] * 2,
            None,
            "features has batch dimensions () and states (2,); they ...",
        ),
        (
            [FEATURES] * 3,
            [STATES] * 2,
            [REWARDS] * 2,
            None,
            "features has batch dimensions (3,) and states (2,); ...",
        ),
        (
            [FEATURES] * 2,
            STATES,
            REWARDS,
            None,
            "features has batch dimensions (2,) and states (); they must ...",
        ),
        (
            [FEATURES] * 2,
            [STATES] * 2,
            [REWARDS] * 3,
            None,
            "rewards has shape (3, 2); it must be (2, 2), one ...",
        ),
        ([FEATURES] * 2, [STATES] * 2, REWARDS, None, "rewards has shape (2,); it must have 2 axes"),
    ],
)
def test_refuses_prompt_arguments(features, states, rewards, queries, message):
    """Queries in range; batch dimensions that agree."""
    refused(message, softmax_td_prompt, features, states, rewards, queries)


@pytest.mark.bad_input
@pytest.mark.parametrize("head", ["both", "Shift", None, ["shift"]])
def test_refuses_head(head):
    """One of two words."""
    message = f"head is {head!r}; it must be one of shift, dual"
    refused(message, SoftmaxTransformer, 2, 0.5, weights(), weights(), head)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("num_layers", "discount", "message"),
    [
        (-1, 0.5, "num_layers is -1; it must be at least 0"),
        (1.0, 0.5, "num_layers is 1.0; it must be an integer"),
        (1, 1.0, "discount is 1; it must lie in [0, 1)"),
        (1, -0.5, "discount is -0.5; it must lie in [0, 1)"),
    ],
)
def test_refuses_numbers(num_layers, discount, message):
    """Layers are counted, and the discount is below 1."""
    refused(message, SoftmaxTransformer, num_layers, discount, weights(), weights())


def test_three_rows_are_enough():
    """No feature: all tokens look alike. One layer gives each column the mean reward."""
    score, value = weights(size=3), weights(size=3)
    value[-1, 0] = 1
    rewards = torch.tensor([[1.0, 3, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    assert SoftmaxTransformer(1, 0.5, value, score).values(rewards)[1].tolist() == [2, 2, 2]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["value_weights", "score_weights"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(4, 5), "has shape (4, 5); it must end in D x D with D >= 3"),
        (torch.zeros(2, 2), "has shape (2, 2); it must end in D x D with D >= 3"),
        (torch.zeros(4), "has shape (4,); it must end in D x D with D >= 3"),
        (torch.zeros(3, 4, 4), "has shape (3, 4, 4); its first axis, the layer, must be 1 or 2"),
        (torch.zeros(4, 4, dtype=torch.int64), "has dtype torch.int64; it must be floating point"),
        (torch.zeros(4, 4) * 1j, "has dtype torch.complex64; it must be floating point"),
        (torch.full((4, 4), NAN), "[0, 0] is nan; every entry must be finite"),
        (torch.diag(torch.tensor([0, 0, INF, 0])), "[0, 2] is nan; every entry must be finite"),
        (np.zeros((4, 4)), "is a ndarray; it must be a torch.Tensor"),
    ],
)
def test_refuses_weights(name, bad, message):
    """Square, finite, floating point, for one layer or for each."""
    if message.startswith("[0, 2]"):
        bad, message = torch.where(torch.eye(4) > 0, bad, 0.0), "[2, 2] is inf; every entry must be finite"
    arguments = {"value_weights": weights(), "score_weights": weights(), name: bad}
    gap = "" if message.startswith("[") else " "
    refused(name + gap + message, SoftmaxTransformer, 2, 0.5, **arguments)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("value", "score", "message"),
    [
        (
            weights(),
            weights(size=5),
            "score_weights has shape (5, 5) and value_weights (4, 4); both must be ...",
        ),
        (
            *(weights(1, 2), weights(1, 3)),
            "batch dimensions must broadcast together; value_weights has (2,), score_weights has (3,)",
        ),
    ],
)
def test_refuses_weights_that_do_not_fit(value, score, message):
    """The same number of rows, batches that broadcast."""
    refused(message, SoftmaxTransformer, 2, 0.5, value, score)


@pytest.mark.bad_input
@pytest.mark.parametrize("method", ["forward", "values", "layers"])
@pytest.mark.parametrize(
    ("z", "num_queries", "message"),
    [
        (prompt()[:3], 1, "prompt has shape (3, 3); it must be (..., 4, N)"),
        (prompt()[0], 1, "prompt has shape (3,); it must be (..., 4, N)"),
        (prompt().int(), 1, "prompt has dtype torch.int32; it must be floating point"),
        (prompt() > 0, 1, "prompt has dtype torch.bool; it must be floating point"),
        (prompt() * NAN, 1, "prompt[0, 0] is nan; every entry must be finite"),
        (prompt(2) + INF, 1, "prompt[0, 0, 0] is inf; every entry must be finite"),
        (prompt().numpy(), 1, "prompt is a ndarray; it must be a torch.Tensor"),
        (
            prompt(columns=1),
            1,
            "prompt has 1 columns and num_queries is 1; at least one column must be a source",
        ),
        (
            prompt(columns=0),
            1,
            "prompt has 0 columns and num_queries is 1; at least one column must be a source",
        ),
        (prompt(), 3, "prompt has 3 columns and num_queries is 3; at least one column must be a source"),
        (prompt(), 0, "num_queries is 0; it must be at least 1"),
        (
            prompt(3),
            1,
            "batch dimensions must broadcast together; prompt has (3,), value_weights has (2,), ...",
        ),
    ],
)
def test_refuses_prompt(method, z, num_queries, message):
    """D finite rows of floats, a source and the queries, and a batch that fits the weights."""
    model = SoftmaxTransformer(2, 0.5, weights(2, 2), weights())
    refused(message, getattr(model, method), z, num_queries)


@pytest.mark.bad_input
@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 1e200), (torch.float32, 1e20)])
def test_refuses_scores_out_of_range(dtype, size):
    """Finite features whose scores are not: softmax would turn them into NaN."""
    model = SoftmaxTransformer(2, 0.5, *softmax_td_weights(2))
    z = softmax_td_prompt(size * FEATURES, STATES, REWARDS).to(dtype)
    refused(f"prompt has entries up to {size:.3g}; with these score_weights a score may reach ...", model, z)
    in_range = softmax_td_prompt(1e15 * FEATURES, STATES, 1e30 * REWARDS).to(dtype)
    assert model.values(in_range).isfinite().all()


@pytest.mark.bad_input
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("row", [0, 1])
def test_refuses_scores_out_of_range_wherever_they_are(sign, row):
    """One column of one prompt of a batch is large, of either sign, or the scores of one layer are."""
    model = SoftmaxTransformer(2, 0.5, *softmax_td_weights(2))
    batch = torch.stack([softmax_td_prompt(FEATURES, STATES, REWARDS)] * 2)
    batch[row, 0, 1] = sign * 1e160
    refused("prompt has entries up to 1e+160; with these score_weights a score may reach ...", model, batch)
    value, score = weights(), weights(2)
    score[row, 0, 0] = sign * torch.finfo(torch.float64).max
    z = prompt()
    z[0] = 1
    assert SoftmaxTransformer(2, 0.5, value, score)(z).isfinite().all()  # up to the limit
    z[0, -1] = -2
    message = "prompt has entries up to 2; with these score_weights a score may reach ..."
    refused(message, SoftmaxTransformer(2, 0.5, value, score), z)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["value_weights", "score_weights"])
@pytest.mark.parametrize("sign", [1, -1])
def test_refuses_weights_beyond_the_prompts_dtype(name, sign):
    """The largest number of float16 is 65504; both signs count."""
    given = {"value_weights": weights(), "score_weights": weights()}
    given[name][-1, 0] = sign * 65504
    assert SoftmaxTransformer(1, 0.5, **given)(prompt().half()).isfinite().all()
    given[name] *= 2
    message = (
        f"{name} has entries up to 1.31e+05; none may leave the range of the prompt's torch.float16, ..."
    )
    refused(message, SoftmaxTransformer(1, 0.5, **given), prompt().half())


@pytest.mark.bad_input
@pytest.mark.parametrize("read", ["forward", "values", lambda model: lambda z: [*model.layers(z)]])
def test_refuses_what_overflows_on_the_way(read):
    """Rewards near the end of float64: the second layer passes it."""
    model = SoftmaxTransformer(2, 0.9, *softmax_td_weights(2))
    z = softmax_td_prompt(FEATURES, STATES, 1.5e308 * REWARDS)
    message = "prompt or value_weights has entries so large that the result leaves the range of torch.float64"
    refused(message, getattr(model, read) if isinstance(read, str) else read(model), z)
