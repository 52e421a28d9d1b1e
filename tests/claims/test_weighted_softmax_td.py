"""The claims of the chapter `weighted-softmax-td` hold, and each can fail."""

import numpy as np
import pytest
from early import still_holds
from mutants import (
    COLUMNS_ROLLED,
    LAYERS,
    NO_DISCOUNT,
    NOT_SUBTRACTED,
    SAME_STATE,
    SIGN_FLIPPED,
    ST_CLAIMS,
    TD,
    TD_CLAIMS,
    ZERO_IF_UNVISITED,
    changed,
    discount_ignored,
    drifts_apart,
    kernel_bent,
    kernel_over_queries,
    kernel_shifted,
    kernel_telling_equal_features_apart,
    kernel_uniform_for_unvisited_states,
    kernel_with_flipped_scores,
    kernel_without_mask,
    linear_td_by_sums,
    loop,
    never_arrives,
    never_diverges,
    never_grows,
    one_kernel_for_all,
    rewards_off_by_one,
    row,
    shift,
    stays,
    step_size_forgotten,
    step_size_ignored,
    tabular_td_by_sums,
    tabular_td_without_steps,
    time_reversed,
    too_far_alone,
)

from icrl.claims.weighted_softmax_td import CLAIMS

INTACT = ["operator-form", "linear-td", "tabular-td"]

# What is replaced, by what, and the claims that must see it.
MUTATIONS = [
    (TD, "softmax_kernel", kernel_without_mask, "factor-gamma tabular-limit high-temperature"),
    (TD, "softmax_kernel", kernel_over_queries, "factor-gamma operator-form"),
    (TD, "softmax_kernel", kernel_bent, "high-temperature"),
    (TD, "softmax_kernel", kernel_with_flipped_scores, "tabular-limit high-temperature"),
    (TD, "softmax_kernel", kernel_shifted, "operator-form tabular-td"),
    (TD, "softmax_kernel", kernel_telling_equal_features_apart, "equal-features"),
    (TD, "softmax_kernel", kernel_uniform_for_unvisited_states, "unvisited-query"),
    (TD, "kernel_td", NO_DISCOUNT, "operator-form fixed-point linear-td tabular-td"),
    (TD, "kernel_td", NO_DISCOUNT, "equal-features unvisited-query"),
    (TD, "kernel_td", SAME_STATE, "fixed-point linear-td tabular-td"),
    (TD, "kernel_td", NOT_SUBTRACTED, "linear-td"),
    (TD, "kernel_td", step_size_ignored, "operator-form"),
    (
        TD,
        "matching_matrix",
        changed(TD.matching_matrix, np.transpose),
        "operator-form factor-gamma tabular-limit",
    ),
    (TD, "matching_matrix", COLUMNS_ROLLED, "operator-form tabular-limit"),
    (TD, "empirical_model", rewards_off_by_one, "operator-form fixed-point equal-features"),
    (TD, "empirical_model", time_reversed, "operator-form fixed-point"),
    (TD, "iteration_matrix", discount_ignored, "factor-gamma converges-iff-radius"),
    (TD, "iteration_matrix", SIGN_FLIPPED, "factor-gamma"),
    (TD, "softmax_kernel", kernel_telling_equal_features_apart, "invertible-iff-distinct"),
    (TD, "softmax_kernel", kernel_shifted, "invertible-iff-distinct"),
    (TD_CLAIMS, "started_at", stays, "converges-iff-radius"),
    (TD_CLAIMS, "started_at", step_size_forgotten, "converges-iff-radius"),
    (TD_CLAIMS, "started_at", never_arrives, "converges-iff-radius"),
    (TD_CLAIMS, "started_at", never_grows, "converges-iff-radius"),
    (TD_CLAIMS, "SoftmaxTransformer", one_kernel_for_all, "alternating-kernels"),
    (TD_CLAIMS, "SoftmaxTransformer", too_far_alone, "alternating-kernels"),
    (TD_CLAIMS, "SoftmaxTransformer", never_diverges, "alternating-kernels"),
    (TD, "fixed_point", ZERO_IF_UNVISITED, "unvisited-query"),
    (TD, "tabular_td", tabular_td_by_sums, "tabular-td"),
    (TD, "tabular_td", tabular_td_without_steps, "tabular-td"),
    (TD_CLAIMS, "started_at", drifts_apart, "equal-features"),
    (TD, "linear_td", linear_td_by_sums, "linear-td"),
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
