"""Exact means of an actor-critic step: a world worked out by hand, and a derivative by differences."""

import numpy as np
import pytest

from icrl.constructions import expectations, objective_gradient
from icrl.mdp import MarkovDecisionProcess, random_mdp
from icrl.policies import softmax_policy, softmax_score


def test_expectations_by_hand():
    """Two states that swap, whatever is done; action 1 pays 1 in state 0."""
    swap = np.zeros((2, 2, 2))
    swap[0, :, 1] = swap[1, :, 0] = 1
    process = MarkovDecisionProcess(swap, np.array([[0.0, 1], [0, 0]]), 0.5)
    policy, score = np.full((2, 2), 0.5), np.array([[[-1.0], [1.0]], [[0.0], [0.0]]])
    td, step = expectations(process, policy, score, np.array([2.0, 4.0]))
    np.testing.assert_allclose(td, [[0, 1], [-3, -3]])  # r + v(other) / 2 - v
    np.testing.assert_allclose(step, [0.5 * 0.5 * 1])
    td, _ = expectations(process, policy, score, np.array([[2.0, 4.0], [0.0, 8.0]]))
    np.testing.assert_allclose(td, [[0, -1], [1.5, -6.5]])  # r + mean q(other) / 2 - q


def test_gradient_by_differences():
    rng = np.random.default_rng(1)
    process, features, lam = random_mdp(4, 3, 0.8, rng), rng.normal(size=(4, 3, 5)), rng.normal(size=5)
    mu = process.under(softmax_policy(lam, features)).stationary_distribution()

    def objective(x):
        return 0.2 * mu @ process.under(softmax_policy(x, features)).value()

    steps = 1e-5 * np.eye(5)
    slopes = [(objective(lam + step) - objective(lam - step)) / 2e-5 for step in steps]
    gradient = objective_gradient(process, lam, features)
    np.testing.assert_allclose(gradient, slopes, atol=1e-9)
    policy, score = softmax_policy(lam, features), softmax_score(lam, features)
    _, step = expectations(process, policy, score, process.under(policy).value())
    np.testing.assert_allclose(step, gradient, atol=1e-12)


@pytest.mark.bad_input
def test_features_of_another_process_are_refused():
    process = random_mdp(4, 3, 0.8, np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"features has shape \(3, 3, 5\)"):
        objective_gradient(process, np.ones(5), np.ones((3, 3, 5)))
