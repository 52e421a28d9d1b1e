"""Features in the plane: what is computed, by hand, and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from icrl import divergence
from icrl.divergence import exact_chains, smooth_limit

CYCLE = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("transition", "expected"),
    [
        ([["1/2", "1/4", "1/4"]] * 3, (0, "1/2", "1/4", "1/4")),
        ([[0, "1/2", "1/2"], ["1/2", 0, "1/2"], ["1/2", "1/2", 0]], ("-1/2", "1/2", "1/2", "1/2")),
        ([[0, 1], [1, 0]], (-1, 1, 1)),
        ([["9/10", "1/10"], ["7/10", "3/10"]], ("1/5", "7/10", "1/10")),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (1, 0, 0, 0)),
        ([[1]], (1, 0)),
    ],
)
def test_independent_part(transition, expected):
    c, p = divergence.independent_part(transition)
    assert [c, *p] == [fmpq(*map(int, str(Fraction(x)).split("/"))) for x in expected]


@pytest.mark.parametrize(
    "transition",
    [
        CYCLE,
        [["1/2", "1/4", "1/4"], ["1/2", "26/100", "24/100"], ["1/2", "1/4", "1/4"]],
        [["1/2", "1/2", 0], [0, "1/2", "1/2"], ["1/2", 0, "1/2"]],
    ],
)
def test_no_independent_part(transition):
    assert divergence.independent_part(transition) is None


def test_form_by_hand():
    """The cycle with y = (1, 2, -3), w = 1: sum y^2 = 14, sum y(s) y(s+1) = 2 - 6 - 3 = -7."""
    assert divergence.smooth_form(CYCLE, "1/2", [1, 1, 1], [1, 2, -3]) == fmpq(35, 2)


def test_features_are_those_of_the_lemma():
    """(R + log a / R, eps y) with a = w / mu."""
    chain = divergence.smooth_chain(CYCLE, "1/2", [1, 1, 1], [1, 2, -3], [1, 2, 3], smoothness=4)
    assert [x[1] for x in chain.features] == [fmpq(y, 48) for y in (1, 2, -3)]
    for x, share in zip(chain.features, (1 / 6, 1 / 3, 1 / 2), strict=True):
        assert float(x[0]().mid()) == pytest.approx(4096 - np.log(share) / 4096, abs=1e-12)
    assert chain.distribution == (fmpq(1, 6), fmpq(1, 3), fmpq(1, 2))


def test_unsafe_features_of_a_cycle_are_unstable_by_their_eigenvalues():
    chain = divergence.unsafe_features(CYCLE, "9/10")
    assert divergence.proves_divergence(chain)
    assert not chain.converges()


def test_unsafe_features_of_a_dense_chain():
    """Those that stay longest are not those that come from elsewhere."""
    chain = divergence.unsafe_features(
        [["8/10", "1/10", "1/10"], ["1/10", "8/10", "1/10"], ["1/3"] * 3], "9/10"
    )
    assert divergence.proves_divergence(chain)


def test_a_stable_chain_is_not_proved_to_diverge():
    assert not divergence.proves_divergence(exact_chains.three_states_equal_norms())
    assert divergence.proves_divergence(exact_chains.three_states())
    alone = divergence.exact_chain([["1/2", "1/2"], ["1/2", "1/2"]], "1/2", [[0], [1]])
    assert 0 < alone.excess() < 1
    assert not divergence.proves_divergence(alone)


def test_the_largest_precision_is_tried(monkeypatch):
    monkeypatch.setattr(smooth_limit, "LARGEST_PRECISION", 128)
    assert divergence.proves_divergence(exact_chains.three_states())


def test_excess_is_the_first_symmetric_function():
    for chain in (exact_chains.three_states(), exact_chains.four_states_off_policy()):
        assert (chain.excess() - chain.symmetric_functions()[0]).contains(0)
        assert chain.excess().rad() < 1e-20


def test_inflow_condition_is_the_one_in_floating_point():
    for chain in (exact_chains.three_states(), exact_chains.five_states_equal_norms()):
        process, features = chain.floats()
        expected = divergence.normaliser_condition(features, process)[1]
        assert float(chain.inflow_condition().mid()) == pytest.approx(expected)


def test_long_cycle_has_the_condition_of_its_root():
    chain = divergence.long_cycle("9/10", "121716/100000", 14)
    assert float(chain.inflow_condition(1024).mid()) == pytest.approx(0.81 * 1.21716**2, rel=1e-5)
    assert chain.excess(2048) < 0
    assert divergence.long_cycle("9/10", "121716/100000", 4).excess(2048) > 0


def limit(chain):
    """Weights and values that features stand for, in units of the first state's, and their form F."""
    share, (process, _) = [float(arb(mu).mid()) for mu in chain.distribution], chain.floats()
    with ctx.workprec(512):
        first = [x[0]() for x in chain.features]
        large = arb(2) ** round(float(first[0].log().mid()) / np.log(2))
        loud = np.array([float(((x - large) * large).exp().mid()) for x in first])
    w, y = share * loud, np.array([float(arb(x[1]).mid()) for x in chain.features])
    w, y = w / w[0], y / y[0]
    return w, y, w * y @ (y - process.discount * process.transition @ y)


@pytest.mark.parametrize("length", [2, 5])
def test_long_cycle_by_hand(length):
    """In the cycle each state is root^2 times less loud and worth root times more; the last balances them."""
    chain = divergence.long_cycle("9/10", "3/2", length, smoothness=6)
    w, y, form = limit(chain)
    steps = np.arange(length)
    np.testing.assert_allclose(w[:-1], 1.5 ** (-2.0 * steps), rtol=1e-9)
    np.testing.assert_allclose(y[:-1], 1.5**steps, rtol=1e-12)
    assert abs(w @ y) < 1e-9
    assert w[-1] > 1e9 * w[0]
    expected = length - 0.9 * 1.5 * (length - 1) - 0.9 * 1.5 ** (1 - length)
    assert form == pytest.approx(expected, abs=1e-4)
    around = chain.floats()[0].transition
    np.testing.assert_allclose(around[:-1, :-1], np.roll(np.eye(length), 1, axis=1), atol=1e-5)
    assert around[-1, -1] > 1 - 1e-12
    assert max(abs(x[1]) for x in chain.features) == fmpq(1, 2**6)
    assert float(chain.features[0][0]().mid()) == pytest.approx(2**18)


def test_smoothness_if_not_given():
    """eps max|y| = 2^-16."""
    for chain in (
        divergence.smooth_chain(CYCLE, "1/2", [3, 2, 1], [1, -2, 1]),
        divergence.long_cycle("9/10", "3/2", 2),
    ):
        assert max(abs(x[1]) for x in chain.features) == fmpq(1, 2**16)


def test_unsafe_features_for_given_sources():
    """Four states, so that one is neither of the three on which the proof turns."""
    rows = [["1/2", "1/2", 0, 0], [0, "1/2", "1/2", 0], ["1/4"] * 4, ["1/3", 0, "1/3", "1/3"]]
    chain = divergence.unsafe_features(rows, "1/2", [1, 2, 3, 4])
    assert divergence.proves_divergence(chain)
    assert chain.distribution == tuple(fmpq(k, 10) for k in (1, 2, 3, 4))
    assert chain.transition.tolist() == [[exact_chains.rational("p", p) for p in row] for row in rows]
    assert chain.discount == fmpq(1, 2)
    assert len({x[1] for x in chain.features}) == 4


def test_search_for_features_may_be_given_up(monkeypatch):
    monkeypatch.setattr(smooth_limit, "smooth_form", lambda *given: fmpq(1))
    with pytest.raises(ArithmeticError, match="no features found; the chain is too near to a safe one"):
        divergence.unsafe_features(CYCLE, "9/10")


def test_an_excess_of_zero_is_not_decided():
    """One state hears itself: tr B is exactly 1 - gamma, and every ball around the excess holds 0."""
    with pytest.raises(ArithmeticError, match="could not be decided with 4096 bits"):
        divergence.proves_divergence(divergence.exact_chain([[1]], "1/3", [["1/3"]]))


def test_safe_spread_by_hand():
    """cosh(half of it) is 1 / gamma."""
    assert [round(divergence.safe_spread(g), 2) for g in (0.5, 0.9, 0.99)] == [2.63, 0.93, 0.28]
    assert divergence.safe_spread(0.0) == np.inf


def test_one_hot_radius_by_hand():
    mu = np.array([0.2, 0.8])
    assert divergence.one_hot_radius(mu, np.log(11), 0.6) == pytest.approx(1 - 0.4 * 2 / 3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: divergence.unsafe_features([[0, 1], [1, 0]], "1/2"), "it must not be c I"),
        (lambda: divergence.unsafe_features(CYCLE, 0), "nor the discount 0"),
        (lambda: divergence.unsafe_features([[0.5, 0.5], [1, 0]], "1/2"), "holds the float 0.5"),
        (lambda: divergence.smooth_form(CYCLE, "1/2", [1, 1, 1], [1, 2, -4]), "sum w y exactly 0"),
        (lambda: divergence.smooth_form(CYCLE, "1/2", [1, 1, 1], [1, 1, -2]), "values distinct"),
        (lambda: divergence.smooth_form(CYCLE, "1/2", [1, 1], [1, -1]), "weights has 2 entries, values 2; "),
        (lambda: divergence.smooth_form(CYCLE, "1/2", [1, 0, 1], [1, 2, -1]), "weights must be positive"),
        (lambda: divergence.smooth_form([], "1/2", [], []), "weights has 0 entries, values 0; transition"),
        (lambda: divergence.smooth_chain([], "1/2", [], []), "values is empty; it must have one entry"),
        (lambda: divergence.long_cycle("9/10", 1, 5), "root must exceed 1"),
        (lambda: divergence.long_cycle("9/10", 2, 1), "the length be at least 2"),
        (lambda: divergence.exact_chain(CYCLE, 0, [[1], [2], [3]], 1, [1, 0, 2]), "3 positive entries"),
        (lambda: divergence.exact_chain(CYCLE, 0, [[1], [2], [3]], 1, [1, 2]), "3 positive entries"),
        (lambda: divergence.safe_spread(1.0), "discount is 1"),
        (lambda: divergence.one_hot_radius(np.array([0.5, 0.5]), 0, 0.5), "inverse_temperature is 0"),
        (lambda: divergence.one_hot_radius(np.array([0.5, 0.6]), 1, 0.5), "sum to 1"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
