"""Policies: epsilon-greedy with ties, softmax and its score."""

import numpy as np
import torch

from icrl.policies import epsilon_greedy, softmax_policy, softmax_score


def test_epsilon_greedy_by_hand():
    """Ties share the greedy part; epsilon is spread over all actions."""
    policy = epsilon_greedy(np.array([[1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), epsilon=0.2)
    np.testing.assert_allclose(policy, [[0.05, 0.45, 0.45, 0.05], [0.25] * 4])
    batch = epsilon_greedy(np.zeros((5, 2, 3)), epsilon=0.0)
    np.testing.assert_allclose(batch, 1 / 3)


def test_score_is_the_gradient_of_the_log_probability():
    """Against automatic differentiation of log softmax."""
    rng = np.random.default_rng(0)
    weights, features = rng.normal(size=3), rng.normal(size=(4, 5, 3))
    score = softmax_score(weights, features)
    for s, a in np.ndindex(4, 5):
        x = torch.tensor(weights, requires_grad=True)
        (torch.from_numpy(features[s]) @ x).log_softmax(0)[a].backward()
        np.testing.assert_allclose(score[s, a], x.grad.numpy(), atol=1e-14)
    mean = np.einsum("sa,sam->sm", softmax_policy(weights, features), score)
    np.testing.assert_allclose(mean, 0, atol=1e-14)


def test_batches_of_weights():
    """Each row of weights has its own policy and score."""
    rng = np.random.default_rng(0)
    weights, features = rng.normal(size=(2, 6, 3)), rng.normal(size=(4, 5, 3))
    for function in (softmax_policy, softmax_score):
        batch = function(weights, features)
        for i, j in np.ndindex(2, 6):
            np.testing.assert_allclose(batch[i, j], function(weights[i, j], features), atol=1e-15)


def test_saturated_softmax_is_finite():
    """Preferences of 1e6 give probabilities 0 and 1, and scores without NaN."""
    features = np.eye(3)[None]
    weights = np.array([1e6, 0.0, -1e6])
    np.testing.assert_array_equal(softmax_policy(weights, features), [[1, 0, 0]])
    np.testing.assert_array_equal(softmax_score(weights, features)[0, 0], 0)
    np.testing.assert_array_equal(softmax_score(weights, features)[0, 1], [-1, 1, 0])
