"""The claims of the chapter hold, and each fails when one sign or one term of its operator is changed."""

import contextlib

import numpy as np
import pytest
from early import still_holds

from icrl import contraction, softmax_td
from icrl.claims import divergence as chapter
from icrl.divergence import exact_chains, operators, search

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


def holds(name, seed=0):
    return still_holds(CLAIMS[name], seed)


def operator_with_plus_gamma(features, process):
    matching = contraction.population_matching(features, process.stationary_distribution())
    return matching @ (np.eye(process.num_states) + process.discount * process.transition)


def far(features, distribution):
    """Attention with the sign of the scores flipped: it prefers what is unlike."""
    weights = distribution * np.exp(-(features @ features.T))
    return weights / weights.sum(axis=1, keepdims=True)


def flip_kernel(monkeypatch):
    def kernel(self, x, y):
        return (
            -self.inverse_temperature * sum((a * b for a, b in zip(x, y, strict=True)), exact_chains.arb(0))
        ).exp()

    monkeypatch.setattr(exact_chains.ExactChain, "_kernel", kernel)


def flip_gamma(monkeypatch):
    operator = exact_chains.ExactChain.operator

    def flipped(self, precision=128):
        matching = operator(exact_chains.replace(self, discount=exact_chains.fmpq(0)), precision)
        return matching * 2 - operator(self, precision)

    monkeypatch.setattr(exact_chains.ExactChain, "operator", flipped)


@pytest.mark.parametrize("flip", [flip_kernel, flip_gamma])
@pytest.mark.parametrize(
    "name",
    [
        "three-states-diverge",
        "divergence-temperature",
        "equal-norms-rescue",
        "equal-norms-four",
        "equal-norms-five",
    ],
)
def test_proofs_fail_on_a_flipped_sign(name, flip, monkeypatch):
    flip(monkeypatch)
    with contextlib.suppress(ArithmeticError):  # no verdict is no proof
        assert not holds(name)


@pytest.mark.parametrize("always", ["2/5", "1/2"])
def test_one_temperature_for_both(always, monkeypatch):
    at = exact_chains.ExactChain.at
    monkeypatch.setattr(
        exact_chains.ExactChain, "at", lambda self, inverse_temperature: at(self, inverse_temperature=always)
    )
    assert not holds("divergence-temperature")


def test_a_table_that_grows_too(monkeypatch):
    table = softmax_td.tabular_td
    monkeypatch.setattr(softmax_td, "tabular_td", lambda *arguments: 1e5 * table(*arguments))
    assert not holds("sampled-divergence")


def test_tight_chain_fails_on_a_flipped_sign(monkeypatch):
    flip_gamma(monkeypatch)
    with contextlib.suppress(ArithmeticError):
        assert not holds("normaliser-condition-sharp")


def test_a_larger_constant_in_the_condition_is_seen(monkeypatch):
    monkeypatch.setattr(chapter, "LIMIT", exact_chains.fmpq(101, 100))
    assert not holds("normaliser-condition-mean")
    assert not holds("normaliser-condition-sharp")


@pytest.mark.parametrize("name", ["two-states", "three-states-criterion"])
def test_flipped_gamma_in_the_operator(name, monkeypatch):
    monkeypatch.setattr(operators, "population_operator", operator_with_plus_gamma)
    assert not holds(name)


def test_negative_operator(monkeypatch):
    """The theorem holds for I + gamma P as well, so the whole sign is flipped."""
    operator = operators.population_operator
    monkeypatch.setattr(operators, "population_operator", lambda x, p: -operator(x, p))
    assert not holds("normaliser-condition")
    assert not holds("normaliser-condition-mean")


def test_flipped_scores(monkeypatch):
    monkeypatch.setattr(contraction, "population_matching", far)
    monkeypatch.setattr(operators, "population_matching", far)
    monkeypatch.setattr(chapter, "population_matching", far)
    for name in ("two-states", "three-states-criterion", "equal-norms-three", "loudness"):
        assert not holds(name)


def test_a_large_trace_is_not_all(monkeypatch):
    """With the trace that equal norms promise, and yet an eigenvalue below zero."""

    def indefinite(features, process):
        basis = np.linalg.qr(np.column_stack([np.ones(3), np.eye(3)[:, :2]]))[0]
        return basis @ np.diag([1 - process.discount, 1e3, -0.1]) @ basis.T

    monkeypatch.setattr(operators, "population_operator", indefinite)
    assert not holds("equal-norms-three")


def test_flipped_step_range(monkeypatch):
    largest = operators.largest_step_size
    monkeypatch.setattr(operators, "largest_step_size", lambda operator: 2 * largest(operator))
    assert not holds("step-size-range")
    monkeypatch.setattr(operators, "largest_step_size", lambda operator: 0.5 * largest(operator))
    assert not holds("step-size-range")
    monkeypatch.setattr(operators, "largest_step_size", lambda operator: largest(operator) or 1e-3)
    assert not holds("step-size-range")


def test_flipped_inflow(monkeypatch):
    """nu P with time reversed in place of nu P."""
    measure = search.measure

    def reversed_chain(features, transition, discount):
        mu = operators.stationary(transition)
        flow = mu[..., None] * transition
        return measure(features, flow.swapaxes(-1, -2) / mu[..., None], discount)

    monkeypatch.setattr(operators, "measure", reversed_chain)
    assert not holds("normaliser-condition")


def test_kept_normaliser(monkeypatch):
    """With the softmax's normalisation the last claim is wrong."""
    monkeypatch.setattr(operators, "unnormalised_operator", operators.population_operator)
    assert not holds("no-normalisation")


def test_flipped_bare_kernel(monkeypatch):
    def flipped(features, process):
        kernel = np.exp(-features @ features.T) * process.stationary_distribution()
        return kernel @ (np.eye(process.num_states) - process.discount * process.transition)

    monkeypatch.setattr(operators, "unnormalised_operator", flipped)
    assert not holds("no-normalisation")


def test_transformer_that_attends_to_the_unlike_does_not_blow_up(monkeypatch):
    weights = chapter.softmax_td_weights

    def flipped(num_features, step_size=1.0):
        value, score = weights(num_features, step_size)
        return value, 0 * score

    monkeypatch.setattr(chapter, "softmax_td_weights", flipped)
    assert not holds("sampled-divergence")


def test_context_sign(monkeypatch):
    """The contexts of the two-state claim see a flipped sign of the discount, too."""
    matrix = softmax_td.iteration_matrix
    monkeypatch.setattr(
        softmax_td,
        "iteration_matrix",
        lambda x, s, gamma, a=1.0: matrix(x, s, 0.0) - (matrix(x, s, gamma) - matrix(x, s, 0.0)),
    )
    assert not holds("two-states")
