"""Rates, bounds and the certificate: examples worked out on paper, and agreement with the plain loops."""

import numpy as np
import pytest
from refusals import refused

from icrl import contraction as con
from icrl import mrp, softmax_td

# One feature, 0 or sqrt(log 2): state 1 listens to itself two to one, state 0 to both alike.
HALF = np.array([[0.0], [np.sqrt(np.log(2))]])
ROUND = np.array([0, 1, 0])  # the context 0 -> 1 -> 0 with rewards 1 and 2
REWARDS = np.array([1.0, 2.0])


def certify(features=HALF, states=ROUND, rewards=REWARDS, discount=0.5, limits=(1, 2), layers=1, **more):
    return con.certificate(features, states, rewards, discount, limits, layers, 0.1, **more)


def test_population_matching_by_hand():
    np.testing.assert_allclose(
        con.population_matching(HALF, np.array([0.5, 0.5])), [[1 / 2, 1 / 2], [1 / 3, 2 / 3]]
    )
    np.testing.assert_allclose(con.population_matching(HALF, np.array([1.0, 0.0])), [[1, 0], [1, 0]])
    # Scores 0, 0 and 0, 1600: each state's own largest score is moved to 0.
    unlike = con.population_matching(np.array([[0.0], [40.0]]), np.array([0.25, 0.75]))
    np.testing.assert_allclose(unlike, [[1 / 4, 3 / 4], [0, 1]])


def test_iteration_matrix_and_margin_by_hand():
    """I - M (I - P/2) with the matching matrix above and a chain that alternates."""
    process = mrp.MarkovRewardProcess(np.array([[0.0, 1.0], [1.0, 0.0]]), REWARDS, 0.5)
    matrix = con.population_iteration_matrix(HALF, process)
    np.testing.assert_allclose(matrix, [[3 / 4, -1 / 4], [0, 1 / 2]], atol=1e-15)
    half_step = con.population_iteration_matrix(HALF, process, step_size=0.5)
    np.testing.assert_allclose(half_step, [[7 / 8, -1 / 8], [0, 3 / 4]], atol=1e-15)
    assert con.assumption_margin(HALF, process) == pytest.approx(1 / 2 - 3 / 4)


def test_states_count_by_how_often_the_chain_visits_them():
    """mu = (2/3, 1/3): with features 0 all attend alike, each row of M is mu."""
    process = mrp.MarkovRewardProcess(np.array([[0.5, 0.5], [1.0, 0.0]]), REWARDS, 0.5)
    matrix = con.population_iteration_matrix(np.zeros((2, 1)), process)
    np.testing.assert_allclose(matrix, [[2 / 3, -1 / 6], [-1 / 3, 5 / 6]], atol=1e-15)


def test_certificate_by_hand():
    """vhat = (8/3, 10/3), and one layer gives (3/2, 5/3)."""
    seen = certify()
    np.testing.assert_allclose(seen.estimate, [8 / 3, 10 / 3])
    assert seen.rate == pytest.approx(1)
    assert seen.initial == pytest.approx(10 / 3)
    assert seen.distance == pytest.approx(5 / 3)
    # The span is (2 - 1) / (1 - 1/2) = 2, and gamma / (1 - gamma) = 1.
    # At two transitions Hoeffding allows more than that, so the floor is capped at the span.
    assert seen.floor == 2 < 2 * np.sqrt(np.log(80) / 2)
    long = certify(states=np.append(np.tile([0, 1], 100), 0), rewards=np.tile(REWARDS, 100))
    assert long.floor == pytest.approx(2 * np.sqrt(np.log(2 * 2 * 200 / 0.1) / (2 * 100)))
    assert seen.bound == pytest.approx(10 / 3 + seen.floor)
    np.testing.assert_allclose(seen.interval[:, 1] - seen.interval[:, 0], 2 * seen.radius)
    assert len(seen.unvisited) == 0
    assert "rate is 1, not below 1" in " ".join(seen.remarks)


def test_certificate_agrees_with_the_loops():
    rng = np.random.default_rng(1)
    for _ in range(20):
        process, features = mrp.random_mrp(4, 0.8, rng), rng.normal(size=(5, 3))
        states = process.sample(30, rng)
        states[-1] = states[0]
        rewards = process.reward[states[:-1]]
        seen = con.certificate(features, states, rewards, 0.8, (-1, 1), 6, 0.1)
        run = softmax_td.weighted_softmax_td(features, states, rewards, 0.8, 6)[-1]
        visited, empirical = softmax_td.empirical_process(states, rewards, 0.8)
        columns = [list(states[:-1]).index(s) for s in visited]
        np.testing.assert_array_equal(seen.visited, visited)
        np.testing.assert_allclose(seen.estimate, empirical.value(), atol=1e-12)
        assert seen.distance == pytest.approx(np.abs(run[columns] - seen.estimate).max())
        matrix = softmax_td.iteration_matrix(features, states, 0.8)
        assert seen.rate == pytest.approx(np.linalg.norm(matrix, np.inf))


def test_unvisited_states_are_named_and_the_others_certified():
    seen = certify(features=np.vstack([HALF, [[3.0]]]))
    assert seen.unvisited.tolist() == [2]
    assert "state 2 is not certified: it is never left" in seen.remarks[0]
    assert seen.visited.tolist() == [0, 1]
    # Only the union over states feels the third: log(2 * 3 * 2 / 0.1) in place of log(80).
    assert seen.floor == pytest.approx(min(2 * np.sqrt(np.log(120) / 2), 2))  # capped at the range


def test_the_sign_of_rewards_does_not_matter():
    seen, turned = certify(), certify(rewards=-REWARDS, limits=(-2, -1))
    np.testing.assert_allclose(turned.estimate, -seen.estimate)
    for field in ("rate", "initial", "floor", "bound", "distance"):
        assert getattr(turned, field) == pytest.approx(getattr(seen, field))


def test_the_floor_is_the_radius_of_the_state_least_seen():
    """A hundred rounds 0 -> 0 -> 0 -> 1 -> 0: each radius is its noise and half of its successors' radii."""
    rewards = np.tile([1.0, 1.0, 1.0, 2.0], 100)
    seen = certify(states=np.append(np.tile([0, 0, 0, 1], 100), 0), rewards=rewards)
    noise = 2 * np.sqrt(np.log(2 * 2 * 400 / 0.1) / (2 * np.array([300, 100])))
    chain = np.array([[2 / 3, 1 / 3], [1, 0]])
    radius = np.linalg.solve(np.eye(2) - 0.5 * chain, 0.5 * noise)
    np.testing.assert_allclose(seen.radius, radius)
    assert radius[0] < radius[1] == pytest.approx(seen.floor)
    np.testing.assert_array_equal(seen.visits, [300, 100])


def test_edges():
    """No layers; no discount; equal rewards; a divergent run, whose bound is infinite and not NaN."""
    assert certify(layers=0).bound == pytest.approx(certify().initial + certify().floor)
    assert certify(discount=0.0).floor == 0
    assert certify(rewards=np.array([0.0, 0.0]), limits=(0, 0)).bound == 0
    trap, features = mrp.divergent_mrp()
    states = trap.sample(500, np.random.default_rng(0), start=0)
    states[-1] = 0
    seen = certify(features, states, trap.reward[states[:-1]], 0.9, (-1, 1), layers=5000)
    assert seen.rate > 1
    assert seen.bound == seen.distance == np.inf


def test_long_contexts_are_cheap():
    process = mrp.random_mrp(5, 0.5, np.random.default_rng(0))
    states = process.sample(100_000, np.random.default_rng(1))
    rewards = process.reward[states[:-1]]
    seen = con.certificate(3 * np.eye(5), states, rewards, 0.5, (-1, 1), 200, 0.1)
    assert np.abs(seen.estimate - process.value()).max() < seen.floor < 1
    assert seen.bound < 1


def test_one_state():
    process = mrp.MarkovRewardProcess(np.ones((1, 1)), np.ones(1), 0.5)
    assert con.assumption_margin(np.ones((1, 1)), process) == 0.25
    seen = con.certificate(np.ones((1, 1)), np.array([0, 0]), np.ones(1), 0.5, (1, 1), 3, 0.1)
    assert seen.bound == pytest.approx(2 * 0.5**3)


GOOD = {
    "features": np.eye(3),
    "states": np.array([0, 1, 0, 2, 0]),
    "rewards": np.array([1.0, 0.0, 1.0, 2.0]),
    "discount": 0.5,
    "reward_range": (0.0, 2.0),
    "num_layers": 3,
    "delta": 0.1,
}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward_range": (2.0, 0.0)}, r"reward_range is \(2, 0\); the lowest reward must come first"),
        ({"reward_range": (0.0, 1.5)}, r"rewards\[3\] is 2; it must lie in reward_range, 0 to 1.5"),
        ({"reward_range": (0.0, np.inf)}, r"reward_range\[1\] is inf; every entry must be finite"),
        ({"reward_range": 2.0}, r"reward_range has shape \(\); it must have 1 axes"),
        ({"delta": 0.0}, r"delta is 0; it must lie in \(0, 1\)"),
        ({"delta": 1.0}, r"delta is 1; it must lie in \(0, 1\)"),
        ({"delta": np.nan}, "delta is nan; it must be finite"),
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_layers": -1}, "num_layers is -1; it must be at least 0"),
        ({"step_size": 0.0}, "step_size is 0; it must be positive"),
        ({"features": np.eye(2)}, r"states\[3\] is 2; states run from 0 to 1"),
        ({"rewards": np.zeros(3)}, r"rewards has shape \(3,\); it must be \(4,\)"),
        (
            {"rewards": np.array([1.0, 0.0, 1.5, 2.0])},
            r"rewards\[0\] is 1 in state 0, whose last reward is 1.5",
        ),
        ({"states": np.array([0, 1, 0, 1, 2])}, "states ends in 2, which it never leaves"),
    ],
)
def test_refuses_certificate(change, message):
    con.certificate(**GOOD)
    if "states" in change:
        change["rewards"] = np.array([1.0, 0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=message):
        con.certificate(**{**GOOD, **change})


@pytest.mark.bad_input
def test_refuses_population():
    process = mrp.random_mrp(3, 0.9, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"distribution has shape \(2,\); it must be \(3,\)"):
        con.population_matching(np.eye(3), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"distribution sums to 1\.5"):
        con.population_matching(np.eye(3), np.full(3, 0.5))
    with pytest.raises(
        ValueError, match=r"features has .* axis S must have length 3, as process\.transition"
    ):
        con.population_iteration_matrix(np.eye(2), process)
    with pytest.raises(ValueError, match="step_size is -1; it must be positive"):
        con.population_iteration_matrix(np.eye(3), process, step_size=-1)


@pytest.mark.bad_input
def test_refuses_what_overflows_or_is_lost_to_rounding():
    large = np.full((2, 1), 1e200)
    refused("features has entries so large that a score, ...", con.population_matching, large, [0.5, 0.5])
    sharp = con.population_matching(np.array([[1e154], [-1e154]]), np.array([0.5, 0.5]))
    np.testing.assert_array_equal(sharp, np.eye(2))
    refused(
        "reward_range is (-1e+308, 1e+308), wider than the range of float64",
        con.certificate, np.eye(2), [0, 1, 0], [0.0, 0.0], 0.9, (-1e308, 1e308), 3, 0.1,
    )  # fmt: skip
