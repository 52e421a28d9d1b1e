"""What a statement leaves out, it leaves out for a reason: beyond each of these conditions it is false."""

import numpy as np
import pytest
import torch

from icrl import contraction, mrp, softmax_td
from icrl.claims import weighted_softmax_td
from icrl.claims.passes import lost_on_the_ladder
from icrl.constructions.certified_runs import floor_errors
from icrl.control.scores import score
from icrl.mdp import from_gymnasium
from icrl.neu.limits import limit_update
from icrl.neu.loss import TaskDistribution, construction_gradient, squared_norm
from icrl.pretraining import emergence


def test_high_temperature_where_features_nearly_agree(monkeypatch):
    """A temperature that does not know how far scores are apart would measure rounding there."""

    def alike(rng):
        return np.array([[1.0], [1.0001]]), np.array([0, 1, 1, 0, 1, 0]), rng.normal(size=5), 0.5

    monkeypatch.setattr(weighted_softmax_td, "random_context", alike)
    assert weighted_softmax_td.CLAIMS["high-temperature"].check(np.random.default_rng(0)).holds


def test_an_unvisited_state_keeps_its_share_of_a_start():
    """`unvisited-query` starts from zero."""
    rng = np.random.default_rng(0)
    features, states, rewards = rng.normal(size=(4, 3)), np.array([0, 1, 2, 1, 0]), rng.normal(size=4)
    kernel, v = softmax_td.softmax_kernel(features, states), rng.normal(size=4)
    for _ in range(500):
        v = v + (rewards + 0.5 * v[states[1:]] - v[states[:-1]]) @ kernel
    matching = softmax_td.matching_matrix(features, states)
    assert abs(matching[3, :3] @ np.linalg.solve(matching[:3, :3], v[:3]) - v[3]) > 0.01


def test_counts_off_by_more_than_all_of_them():
    """`population-operator` at a relative error above 1 would promise more than everything."""
    m, off = 0.9, 1.5
    assert m * (1 - off) / (1 - off * (2 * m - 1)) > 1


def test_safe_chains_with_equal_features_do_not_converge():
    features, uniform = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.full(3, 1 / 3)
    chain = mrp.MarkovRewardProcess(np.tile(uniform, (3, 1)), np.zeros(3), 0.9)
    values = np.linalg.eigvals(contraction.population_iteration_matrix(features, chain))
    assert np.abs(values - 1).min() < 1e-12


def test_zero_temperature_at_half_a_step():
    """The limit gamma belongs to the step size 1."""
    chain = mrp.MarkovRewardProcess(np.tile([0.5, 0.5], (2, 1)), np.zeros(2), 0.2)
    matrix = contraction.population_iteration_matrix(np.sqrt(60) * np.eye(2), chain, 0.5)
    assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(0.6)


def test_the_floor_of_a_chain_without_chance_has_no_slope():
    ring = mrp.MarkovRewardProcess(np.eye(3)[[1, 2, 0]], np.array([1.0, 0.0, -1.0]), 0.8)
    assert np.nanmax(floor_errors([ring], (20, 40), 2, np.random.default_rng(0))) < 1e-12


@pytest.mark.parametrize(("mean", "entries", "least"), [(0.0, 3, 1.15), (0.1, 100, 1.3)])
def test_standard_error_of_the_square_is_too_large(mean, entries, least):
    """Where the mean is 0, and with more entries than draws."""
    rng = np.random.default_rng(0)
    seen = np.array([squared_norm(mean + rng.normal(size=(40, entries))) for _ in range(400)])
    assert np.sqrt((seen[:, 1] ** 2).mean()) / seen[:, 0].std() > least


def test_other_rows_grow_where_layers_diverge_without_coverage():
    """`neu-without-coverage` asks that they converge."""
    states = np.append(np.tile([0, 1, 0, 1, 0, 2, 1], 2), 3)
    context = np.array([[1.0], [4.0], [5.0], [0.0]]), states, np.array([1.0, 0, -1, 0])[states[:-1]], 0.9
    grown = []
    for depth in (10, 50):
        (_, now), (_, then) = (construction_gradient(*context, k, 1.5) for k in (depth, depth + 1))
        grown.append(np.abs(np.delete((then - now)[1], 2, axis=0)).max())
    assert grown[1] > 100 * grown[0] > 0


def test_constant_rewards_do_not_push_beyond_the_range():
    """Their error has no share in what diverges (but for rounding, which soon has)."""
    process = mrp.random_mrp(3, 0.5, np.random.default_rng(0))
    tasks = TaskDistribution([mrp.MarkovRewardProcess(process.transition, np.ones(3), 0.5)], 3 * np.eye(3))
    values = 1 - np.linalg.eigvals(contraction.population_iteration_matrix(tasks.features, process))
    beyond = 1.1 * (2 * values.real / np.abs(values) ** 2).min()
    few, more = (np.linalg.norm(limit_update(tasks, k, step_size=beyond)) for k in (5, 15))
    assert more < 1e-3 * few


def test_a_row_without_successors_has_no_root():
    """`shared-row-roots` at b = 0: a constant, for even L too."""
    row = torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64)
    coefficients = emergence.response(row, 4, discount=0.5).coefficients.numpy()
    assert coefficients[0] > 0.5
    assert not coefficients[1:].any()


def test_24_rungs_are_too_few_at_a_large_discount():
    assert lost_on_the_ladder(24, 10, 0.95, 0.2)[0] < 0.8


def test_standing_still_closes_less_of_the_gap_at_a_discount_near_1():
    still = np.zeros((1, 48, 4))
    still[..., 3] = 1
    assert score([from_gymnasium("CliffWalking-v1", 0.999)], still, 200).share[0] < 0.9


def test_a_price_put_first_that_changes_no_difference_at_an_end():
    """All features equal: every state hears the same."""
    states, rewards, v = np.array([0, 1, 2, 0]), np.array([1.0, -1.0, 0.5]), np.full(3, 7.0)
    ends, kernel = np.array([False, True, False]), softmax_td.softmax_kernel(np.ones((3, 1)), states)
    for _ in range(3):
        v = v + (rewards + 0.9 * ~ends * v[states[1:]] - v[states[:-1]]) @ kernel
    assert np.ptp(v) < 1e-12
