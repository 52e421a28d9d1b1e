"""The growth of the update in depth, where contexts are as long as networks are deep."""

import numpy as np
import pytest

from icrl.mrp import MarkovRewardProcess, random_mrp
from icrl.neu import TaskDistribution, joint_slope, moments_by_counts, neu_terms, pair_entries
from icrl.softmax_transformer import softmax_td_weights


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_slope_with_mild_features_and_uneven_states(scale):
    """Against exact expectations, extrapolated: attention that is not sharp weighs by visits."""
    process = MarkovRewardProcess(np.array([[0.3, 0.7], [0.4, 0.6]]), np.array([0.8, -0.5]), 0.4)
    features, grown = scale * np.eye(2), []
    for n in (24, 48):
        now, then = moments_by_counts(process, features, n, [n, n + 1]).update
        grown.append(n * (then - now)[0, 2])  # the reward row of V
    wanted = joint_slope(process, features)
    assert np.linalg.norm(2 * grown[1] - grown[0] - wanted) < 0.01 * np.linalg.norm(wanted)


def test_order_of_states_does_not_matter():
    """Three states."""
    rng = np.random.default_rng(0)
    process, features, order = random_mrp(3, 0.5, rng), rng.normal(size=(3, 2)), [2, 0, 1]
    turned = MarkovRewardProcess(process.transition[np.ix_(order, order)], process.reward[order], 0.5)
    np.testing.assert_allclose(
        joint_slope(turned, features[order]), joint_slope(process, features), rtol=1e-9
    )


@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 2), (3, 2), (4, 2), (2, 1), (2, 3)])
def test_short_contexts_all_windows_one_by_one(n, d):
    """Every table of so few pairs is there: against a pass of the transformer over each window."""
    process = MarkovRewardProcess(np.array([[0.3, 0.7], [0.4, 0.6]]), np.array([0.8, -0.5]), 0.4)
    tasks = TaskDistribution([process], np.array([[1.0, 0.2, 0.3], [-0.4, 0.7, 0.1]])[:, :d])
    windows = tasks.enumerate(n)
    terms = neu_terms(tasks, windows, *softmax_td_weights(d, 0.6), num_layers=2)
    literal = terms.mean(terms.td_updates)
    pairs = pair_entries(d)
    found = moments_by_counts(process, tasks.features, n, [2], step_size=0.6).update[0]
    np.testing.assert_allclose(found[pairs], literal[pairs], atol=1e-12)


@pytest.mark.bad_input
def test_refuses():
    process = random_mrp(2, 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="num_transitions is 0"):
        moments_by_counts(process, np.eye(2), 0, [1])
    with pytest.raises(ValueError, match="depths are"):
        moments_by_counts(process, np.eye(2), 3, [2, 1])
    with pytest.raises(ValueError, match="num_features is 0"):
        pair_entries(0)
