"""The growth of the update in depth, where contexts are as long as networks are deep."""

import numpy as np
import pytest

from icrl.mrp import MarkovRewardProcess, random_mrp
from icrl.neu import (
    TaskDistribution,
    joint,
    joint_slope,
    moments_by_counts,
    neu_terms,
    own_entries,
    pair_entries,
)
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
    found = moments_by_counts(process, tasks.features, n, [2], step_size=0.6)
    np.testing.assert_allclose(found.update[0][pairs], literal[pairs], atol=1e-12)
    assert not found.update[0][~pairs].any()
    own = own_entries(d)
    for spread, updates in ((found.td_spread, terms.td_updates), (found.error_spread, terms.error_updates)):
        mean = np.average(updates[:, own], axis=0, weights=windows.probability)
        variance = np.average((updates[:, own] - mean) ** 2, axis=0, weights=windows.probability)
        assert spread[0] == pytest.approx(np.sqrt(variance.sum()), abs=1e-12)


def test_depths_are_independent_of_each_other():
    """No layer, no gradient; the step size is 1 if not given."""
    process = random_mrp(2, 0.5, np.random.default_rng(1))
    features = np.array([[1.0, 0.2], [-0.4, 0.7]])
    together = moments_by_counts(process, features, 4, [0, 1, 3])
    for k, depth in enumerate([0, 1, 3]):
        alone = moments_by_counts(process, features, 4, [depth], step_size=1.0)
        for some, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(some[k], one[0])
    assert not any(part[0].any() for part in together)
    assert all(part[1:].any() for part in together)


def test_longest_context(monkeypatch):
    process = random_mrp(2, 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"num_transitions is 513; .* at most LARGEST_LENGTH = 512"):
        moments_by_counts(process, np.eye(2), 513, [1])
    monkeypatch.setattr(joint, "LARGEST_LENGTH", 4)
    assert moments_by_counts(process, np.eye(2), 4, [1]).td_spread.shape == (1,)
    with pytest.raises(ValueError, match="num_transitions is 5; it must be at most LARGEST_LENGTH = 4"):
        moments_by_counts(process, np.eye(2), 5, [1])


@pytest.mark.bad_input
def test_refuses():
    process = random_mrp(2, 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="num_transitions is 0; it must be at least 1"):
        moments_by_counts(process, np.eye(2), 0, [1])
    for depths, words in (
        ([2, 1], "depths are"),
        ([1, 1], "depths are"),
        ([], "depths are"),
        ([-1, 1], "depths is -1; it must be at least 0"),
    ):
        with pytest.raises(ValueError, match=words):
            moments_by_counts(process, np.eye(2), 3, depths)
    with pytest.raises(ValueError, match="step_size is 0; it must be positive"):
        moments_by_counts(process, np.eye(2), 3, [1], step_size=0)
    with pytest.raises(ValueError, match="process has 3 states; tables of pairs are formed for 2"):
        moments_by_counts(random_mrp(3, 0.5, np.random.default_rng(0)), np.eye(2), 3, [1])
    with pytest.raises(ValueError, match="num_features is 0; it must be at least 1"):
        pair_entries(0)
