"""Policies: epsilon-greedy with ties, softmax and its score."""

import numpy as np
import pytest
import torch

from icrl.mdp import MarkovDecisionProcess
from icrl.policies import epsilon_greedy, softmax_policy, softmax_score


def test_epsilon_greedy_by_hand():
    """Ties share the greedy part; epsilon is spread over all actions."""
    policy = epsilon_greedy(np.array([[1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), epsilon=0.2)
    np.testing.assert_allclose(policy, [[0.05, 0.45, 0.45, 0.05], [0.25] * 4])
    batch = epsilon_greedy(np.zeros((5, 2, 3)), epsilon=0.0)
    np.testing.assert_allclose(batch, 1 / 3)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_greedy_in_batches(epsilon):
    """Each state of each batch has its own best action; unlike numbers on all axes."""
    q = np.random.default_rng(1).normal(size=(2, 4, 3))
    policy = epsilon_greedy(q, epsilon)
    for i, s in np.ndindex(2, 4):
        expected = np.full(3, epsilon / 3)
        expected[np.argmax(q[i, s])] += 1 - epsilon
        np.testing.assert_allclose(policy[i, s], expected, atol=1e-15)


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


TRANSITION, REWARD = np.full((2, 3, 2), 0.5), np.zeros((2, 3))


def process(transition=TRANSITION, reward=REWARD, discount=0.9, **fields):
    return MarkovDecisionProcess(transition, reward, discount, **fields)


@pytest.mark.bad_input
@pytest.mark.parametrize("call", ["under", "under_pairs", "q_values", "rollout"])
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((2, 3), 0.3), "policy row 0 sums to 0.9; every row must sum to 1"),
        (np.array([[1.0, 0, 0], [1.5, -0.5, 0]]), "policy row 1 holds -0.5"),
        (np.full((3, 2), 0.5), r"policy has shape \(3, 2\); it must be \(2, 3\)"),
        (np.full((2, 3), np.inf), r"policy\[0, 0\] is inf"),
        (np.array([0, 1]), r"policy has shape \(2,\); it must have 2 axes"),
    ],
)
def test_refuses_policies_refused(call, policy, message):
    rest = (5, np.random.default_rng(0)) if call == "rollout" else ()
    with pytest.raises(ValueError, match=message):
        getattr(process(), call)(policy, *rest)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [softmax_policy, softmax_score])
def test_refuses_mismatched_policy_features_refused(function):
    with pytest.raises(ValueError, match=r"policy_weights has shape \(2,\); it must be \(\*batch, 3\)"):
        function(np.zeros(2), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"policy_features has shape \(4, 3\); it must have 3 axes"):
        function(np.zeros(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"policy_weights\[1\] is inf"):
        function(np.array([0, np.inf, 0]), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"policy_weights has shape \(\); it must be \(\*batch, 3\)"):
        function(1.0, np.zeros((4, 5, 3)))
    large = np.zeros((4, 5, 3))
    large[2, 1] = 1e300  # in one preference alone
    for weights in ([1e300, 1e300, 1e300], [1e300, -1e300, 0]):  # inf; inf - inf
        with pytest.raises(ValueError, match="overflow"):
            function(np.array(weights), large)
