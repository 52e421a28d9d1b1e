"""The claims of the chapter `softmax-transformer` hold, and each can fail."""

import pytest
from early import still_holds
from mutants import (
    ALWAYS_NAN,
    ALWAYS_WRONG,
    LAYERS,
    LC,
    NO_DISCOUNT,
    NOT_SUBTRACTED,
    ST,
    ST_CLAIMS,
    TD,
    attention_masking_one_query,
    attention_without_mask,
    groups_with_queries_as_sources,
    groups_without_counts,
    kernel_shifted,
    kernel_with_flipped_scores,
    kernel_without_mask,
    literal_forward_that_cannot_be_broken,
    loop,
    prompt_off_by_one,
    row,
    rows_that_change,
    shift,
    shift_with_last_target,
    step_size_ignored,
    weights_with_flipped_scores,
    weights_with_one_step_for_all,
)

from icrl.claims.softmax_transformer import CLAIMS

INTACT = ["per-layer-step-sizes", "lemma-1"]

WRAPS = shift_with_last_target(lambda model, prompt: model.discount * prompt[..., -1, 0])
SEVEN = shift_with_last_target(lambda model, prompt: 7.0)

# What is replaced, by what, and the claims that must see it.
MUTATIONS = [
    (TD, "softmax_kernel", kernel_without_mask, "theorem-1-shift"),
    (TD, "softmax_kernel", kernel_with_flipped_scores, "several-queries"),
    (TD, "softmax_kernel", kernel_shifted, "per-layer-step-sizes"),
    (TD, "kernel_td", NO_DISCOUNT, "per-layer-step-sizes"),
    (TD, "kernel_td", NO_DISCOUNT, "several-queries"),
    (TD, "kernel_td", NOT_SUBTRACTED, "per-layer-step-sizes"),
    (TD, "kernel_td", step_size_ignored, "per-layer-step-sizes theorem-1-dual"),
    (ST_CLAIMS, "softmax_td_weights", row(1, 1, 1), "symbolic-layer several-queries"),
    (ST_CLAIMS, "softmax_td_weights", row(1, -1, -1), "symbolic-layer several-queries"),
    (ST_CLAIMS, "softmax_td_weights", row(1, 1, 0), "symbolic-layer per-layer-step-sizes"),
    (ST_CLAIMS, "softmax_td_weights", weights_with_one_step_for_all, "per-layer-step-sizes"),
    (ST_CLAIMS, "softmax_td_weights", weights_with_flipped_scores, "per-layer-step-sizes several-queries"),
    (ST_CLAIMS, "softmax_td_prompt", prompt_off_by_one, "per-layer-step-sizes several-queries"),
    (ST, "softmax_weights", attention_without_mask, "per-layer-step-sizes several-queries"),
    (ST, "softmax_weights", attention_masking_one_query, "several-queries"),
    (LC, "_attend", groups_without_counts, "theorem-1-shift several-queries"),
    (LC, "_attend", groups_with_queries_as_sources, "theorem-1-dual several-queries"),
    (LAYERS, "_shift", shift(way=1), "theorem-1-shift theorem-1-dual lemma-1"),
    (LAYERS, "_shift", shift(way=0), "per-layer-step-sizes"),
    (LAYERS, "_shift", shift(scaled=False), "several-queries"),
    (LAYERS, "_shift", shift(cleared=False), "per-layer-step-sizes lemma-1"),
    (LAYERS, "_shift", WRAPS, "theorem-1-shift theorem-1-dual per-layer-step-sizes several-queries"),
    (LAYERS, "_shift", SEVEN, "theorem-1-shift theorem-1-dual per-layer-step-sizes several-queries"),
    (
        LAYERS,
        "layers",
        rows_that_change,
        "theorem-1-shift theorem-1-dual per-layer-step-sizes several-queries",
    ),
    (ST_CLAIMS, "literal_forward", literal_forward_that_cannot_be_broken, "broken-constructions-miss"),
    (ST_CLAIMS, "literal_forward", ALWAYS_WRONG, "broken-constructions-miss"),
    (ST_CLAIMS, "literal_forward", ALWAYS_NAN, "broken-constructions-miss"),
]

KILLED = [(*where, mutant, name) for *where, mutant, names in MUTATIONS for name in names.split()]


@pytest.mark.parametrize(("module", "attribute", "mutant", "name"), KILLED)
def test_mutation_is_seen(monkeypatch, module, attribute, mutant, name):
    """Something is broken on purpose, and the claim that rests on it fails."""
    monkeypatch.setattr(module, attribute, mutant)
    assert not still_holds(CLAIMS[name], 0)


def test_every_claim_is_killed_by_a_mutation():
    """A claim that nothing can break says nothing."""
    assert {name for *_, name in KILLED} == {claim.id for claim in CLAIMS}


def test_intact_mutants_change_nothing(monkeypatch):
    """What the mutants are built from is right: unbroken, the same claims hold."""
    monkeypatch.setattr(TD, "kernel_td", loop(lambda reward, after, before, g: reward + g * after - before))
    monkeypatch.setattr(ST_CLAIMS, "softmax_td_weights", row(1, 1, -1))
    monkeypatch.setattr(LAYERS, "_shift", shift())
    for name in INTACT:
        assert still_holds(CLAIMS[name], 0), name


@pytest.mark.parametrize("name", ST_CLAIMS.SOFTMAX_FAULTS)
def test_each_broken_construction_must_miss(monkeypatch, name):
    monkeypatch.setitem(ST_CLAIMS.SOFTMAX_FAULTS, name, {})
    assert not still_holds(CLAIMS["broken-constructions-miss"], 0)
