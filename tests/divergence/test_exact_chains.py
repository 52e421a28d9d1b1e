"""Ball arithmetic: enclosures hold, exactness is insisted on, verdicts are proofs."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

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


def test_conditions_of_one_state():
    """There is one normaliser, so both means are 1, and nothing flows in from elsewhere."""
    chain = divergence.exact_chain([[1]], "9/10", [[3]])
    assert float(chain.mean_condition().mid()) == pytest.approx(0.9)
    assert float(chain.inflow_condition().mid()) == pytest.approx(0.81)


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


def ring(*, staying):
    """Each state is followed by the next, state 0 stays with this probability."""

    def of(size):
        transition = np.roll(np.eye(size), 1, axis=1)
        transition[0, :2] = staying, 1 - staying
        return transition

    return of


THETA = np.array([0, -1.20, -0.77, -1.17])


@pytest.mark.parametrize(
    ("example", "transition", "features", "discount"),
    [
        (EXAMPLES[1], [[0, 0.9, 0.1], [1, 0, 0], [0, 0.5, 0.5]], [[1, 5], [4, 10**0.5], [5, 1]], 0.9),
        (
            EXAMPLES[2],
            ring(staying=0.99997)(4),
            14**0.5 * np.column_stack([np.cos(THETA), np.sin(THETA)]),
            0.999,
        ),
        (
            EXAMPLES[3],
            ring(staying=0.999)(5),
            (4 / 325) ** 0.5 * np.array([[-18, -1], [-1, 18], [-15, 10], [1, 18], [-10, 15]]),
            0.9,
        ),
        (divergence.four_states_off_policy, np.eye(4)[[3, 0, 2, 2]], 6.6**0.5 * np.eye(4), 0.99),
    ],
)
def test_examples_are_those_of_the_chapter(example, transition, features, discount):
    process, x = example().floats()
    np.testing.assert_allclose(process.transition, transition, rtol=0, atol=1e-15)
    np.testing.assert_allclose(x, features, rtol=0, atol=1e-14)
    assert process.discount == discount
    assert not process.reward.any()


def test_sources_off_policy_are_those_of_the_chapter():
    weights = 1, 162_755, 227, 2
    assert divergence.four_states_off_policy().distribution == tuple(fmpq(w, sum(weights)) for w in weights)


@pytest.mark.parametrize("root", [Fraction(3, 2), Fraction(8)])
def test_tight_chain_is_balanced(root):
    """States 0 and 1 follow each other; the features' first coordinate makes state 0 louder by root^2.

    What everybody listens to weighs the second coordinates, 1 and root and a small one, to a mean of 0.
    """
    chain, b = divergence.tight_chain("9/10", root), fmpq(root.numerator, root.denominator)
    assert chain.distribution[0] == chain.distribution[1] < chain.distribution[2] / 100_000
    rows = chain.transition.tolist()
    assert (rows[0], rows[1][1], rows[2][1]) == ([0, 1, 0], 0, 0)
    assert 0 < rows[1][2] < fmpq(1, 10_000)
    small = [row[1] for row in chain.features]
    assert small[1] == b * small[0] > 0
    assert -small[0] / 100_000 < small[2] < 0
    weighted = zip((b * b, 1, 1), chain.distribution, small, strict=True)
    assert sum(a * mu * y for a, mu, y in weighted) == 0
    with ctx.workprec(256):
        first, large, also = (exact_chains._enclose(row[0]) for row in chain.features)
        assert large == also
        assert float(abs((large * (first - large)).exp() - b * b).mid()) < 1e-12


def test_inverse_temperature_multiplies_the_scores():
    """Given to a chain, to a context, or changed afterwards: as features times its root, here 3."""
    states, features = np.array([0, 1, 2, 1, 0, 2, 2, 0]), [["1/2"], ["1/3"], [1]]
    rows, tripled = divergence.three_states().transition.tolist(), [["3/2"], [1], [3]]
    for given in (rows, states):
        make = divergence.exact_chain if given is rows else divergence.exact_context
        expected = make(given, "1/2", tripled)
        for chain in (
            make(given, "1/2", features, 9),
            make(given, "2/3", features).at(discount="1/2", inverse_temperature=9),
        ):
            difference = chain.operator() - expected.operator()
            assert max(float(abs(x.mid())) for x in difference.entries()) < 1e-30
            np.testing.assert_allclose(chain.floats()[1], expected.floats()[1], rtol=1e-15)


@pytest.mark.parametrize(
    "method",
    ["operator", "excess", "inflow_condition", "mean_condition", "symmetric_functions", "eigenvalues"],
)
def test_precision(method):
    """128 bits unless asked for another number, and never fewer than 2."""
    compute = getattr(divergence.three_states(), method)

    def radius(*precision):
        found = compute(*precision)
        balls = found.entries() if method == "operator" else found if isinstance(found, list) else [found]
        return max(float(x.rad()) for x in balls)

    assert radius() == radius(128) < 0.7 * radius(127)
    compute(2)
    with pytest.raises(ValueError, match="precision is 1; it must be at least 2"):
        compute(1)


@pytest.mark.bad_input
def test_refuses_no_states():
    with pytest.raises(ValueError, match="transition is empty; it must be a square matrix"):
        divergence.exact_chain([], 0, [])


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
