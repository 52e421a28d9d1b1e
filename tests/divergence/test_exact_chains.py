"""Ball arithmetic: enclosures hold, exactness is insisted on, verdicts are proofs."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, fmpq

from icrl import divergence, softmax_td
from icrl.divergence import exact_chains
from icrl.mrp import divergent_mrp

EXAMPLES = [
    divergence.three_states,
    divergence.three_states_equal_norms,
    divergence.four_states_equal_norms,
    divergence.five_states_equal_norms,
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_floating_point_agrees(example):
    process, features = example().floats()
    expected = np.sort_complex(np.linalg.eigvals(divergence.population_operator(features, process)))
    enclosed = np.sort_complex([complex(value) for value in example().eigenvalues()])
    np.testing.assert_allclose(enclosed, expected, atol=1e-7)


@pytest.mark.parametrize("example", EXAMPLES[1:])
def test_norms_are_equal(example):
    features = [
        [x() if callable(x) else arb(exact_chains.rational("x", x)) for x in row]
        for row in example().features
    ]
    norms = [sum((x * x for x in row), arb(0)) for row in features]
    assert all(norm.overlaps(norms[0]) and (norm - norms[0]).rad() < 1e-10 for norm in norms)


def test_three_states_are_those_of_the_package():
    process, features = divergence.three_states().floats()
    expected, expected_features = divergent_mrp()
    np.testing.assert_array_equal(process.transition, expected.transition)
    np.testing.assert_array_equal(features, expected_features)
    assert process.discount == expected.discount


def test_distribution_is_exact():
    assert divergence.three_states().distribution == (fmpq(5, 11), fmpq(5, 11), fmpq(1, 11))


def test_symmetric_functions_are_those_of_the_other_eigenvalues():
    e = divergence.four_states_equal_norms().symmetric_functions()
    values = sorted(
        divergence.four_states_equal_norms().eigenvalues(), key=lambda v: abs(complex(v) - 0.001)
    )[1:]
    x, y, z = (value.real for value in values)
    for computed, expected in zip(e, (x + y + z, x * y + x * z + y * z, x * y * z), strict=True):
        assert (computed - expected).contains(0)
        assert computed.rad() < 1e-25


def test_four_states_have_equal_norms():
    """Unit vectors at the inverse temperature 14."""
    chain = divergence.four_states_equal_norms()
    assert chain.inverse_temperature == 14
    assert all((x * x + y * y - 1).contains(0) for x, y in ((f(), g()) for f, g in chain.features))


def test_context_is_its_own_iteration():
    process, features = divergent_mrp()
    states = np.append(process.sample(50, np.random.default_rng(0), start=0), [0, 1, 2, 0])
    exact = divergence.exact_context(states, "9/10", [[1], [4], [5]])
    operator = np.array([[float(x.mid()) for x in row] for row in exact.operator().tolist()])
    expected = np.eye(3) - softmax_td.iteration_matrix(features, states, 0.9)
    np.testing.assert_allclose(operator, expected, atol=1e-12)


def test_undecided_is_no_verdict():
    """Two chains side by side in one: 1 - gamma is a double eigenvalue, which no ball can isolate."""
    transition = [["1/2", "1/2", 0], ["1/2", "1/2", 0], ["1/3", "1/3", "1/3"]]
    with pytest.raises(ValueError, match="positive"):
        divergence.exact_chain(transition, "1/2", [[0], [1], [2]])
    pair = divergence.exact_context(np.array([0, 0]), 0, [[1]])
    assert pair.converges()


def test_tight_chain_at_fractions():
    """The condition is that of its three numbers, and the verdict turns where it ends."""
    for root, safe in ((Fraction(8, 5), False), (Fraction(3, 2), True)):
        chain = divergence.tight_chain(Fraction(9, 10), root)
        assert chain.converges() == safe
        expected = 0.9 * (float(root) + 1 / float(root)) / 2
        assert float(chain.mean_condition(256).mid()) == pytest.approx(expected, abs=1e-3)
        assert (chain.mean_condition(256) < 1) == safe


@pytest.mark.parametrize("example", EXAMPLES)
def test_mean_condition_is_that_of_the_normalisers(example):
    process, features = example().floats()
    z = np.exp(features @ features.T) @ process.stationary_distribution()
    root = np.sqrt(z.max() / z.min())
    expected = process.discount * (root + 1 / root) / 2
    assert float(example().mean_condition().mid()) == pytest.approx(expected, rel=1e-9)


def test_a_sign_that_no_precision_decides(monkeypatch):
    """Two states with the same features: an eigenvalue is exactly 0, and every ball around it holds 0."""
    monkeypatch.setattr(exact_chains, "LARGEST_PRECISION", 300)
    chain = divergence.exact_chain(divergence.three_states().transition.tolist(), "1/2", [[1], [4], [4]])
    with pytest.raises(ArithmeticError, match="the sign of a real part could not be decided with 300 bits"):
        chain.converges()


def test_a_double_eigenvalue_is_not_isolated(monkeypatch):
    """Independent draws, three states alike: (1 - gamma c) times a double eigenvalue of M."""
    monkeypatch.setattr(exact_chains, "LARGEST_PRECISION", 300)
    chain = divergence.exact_chain([["1/3"] * 3] * 3, "1/2", np.eye(3, dtype=int).tolist())
    with pytest.raises(ArithmeticError, match="no isolated eigenvalues with 300 bits; two may be equal"):
        chain.eigenvalues()


def test_precision_grows_until_a_sign_is_decided(monkeypatch):
    """Features that differ by 1e-25: an eigenvalue near 1e-50, lost with 128 bits and found with 256."""
    near = [[1], [4], [4 + Fraction(1, 10**25)]]
    chain = divergence.exact_chain(divergence.three_states().transition.tolist(), "1/10", near)
    monkeypatch.setattr(exact_chains, "LARGEST_PRECISION", 256)
    assert chain.converges()
    monkeypatch.setattr(exact_chains, "LARGEST_PRECISION", 128)
    with pytest.raises(ArithmeticError, match="128 bits"):
        chain.converges()


@pytest.mark.parametrize("example", EXAMPLES)
def test_inflow_condition_is_that_of_the_normalisers(example):
    process, features = example().floats()
    nu = process.stationary_distribution() * (
        np.exp(features @ features.T) @ process.stationary_distribution()
    )
    expected = process.discount**2 * (nu @ process.transition / nu).max()
    assert float(example().inflow_condition().mid()) == pytest.approx(expected, rel=1e-7)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("rows", "discount", "features", "message"),
    [
        ([[1, 0]], 0, [[1]], "transition row 0 has 2 entries; the matrix must be 1 x 1"),
        ([["3/2", "-1/2"], [1, 0]], 0, [[1], [2]], "transition row 0 is .*; it must be non-negative and sum"),
        ([["1/2", "a"], [1, 0]], 0, [[1], [2]], "transition holds 'a'; it must be a rational number"),
        ([[0, 1], [1, 0]], "-1/9", [[1], [2]], r"discount is -1/9; it must lie in \[0, 1\)"),
        ([[0, 1], [1, 0]], 0, [[1]], r"features has rows of lengths \[1\]; give 2 alike"),
    ],
)
def test_refuses_what_is_not_exact(rows, discount, features, message):
    with pytest.raises(ValueError, match=message):
        divergence.exact_chain(rows, discount, features)
