"""The reference algorithms of Part II, against numbers worked out by hand."""

import numpy as np
import pytest
from refusals import refused

from icrl.policy_improvement import actor_critic_update, sarsa_update

WINDOW = {
    "phi": np.array([[1.0, 0.0], [0.0, 2.0]]),
    "phi_next": np.array([[0.0, 2.0], [0.0, 0.0]]),  # the second transition ends its episode
    "rewards": np.array([1.0, -1.0]),
    "discount": 0.5,
}
W = np.array([1.0, 3.0])  # TD errors: 1 + .5 * 6 - 1 = 3 and -1 + 0 - 6 = -7


def test_sarsa_by_hand():
    after = sarsa_update(weights=W, **WINDOW, step_size=0.1)
    np.testing.assert_allclose(after, [1 + 0.1 / 2 * 3, 3 - 0.1 / 2 * 14], rtol=1e-15)


def test_actor_critic_by_hand():
    critic, actor = actor_critic_update(
        weights=W,
        policy_weights=np.array([0.5]),
        **WINDOW,
        scores=np.array([[1.0], [-2.0]]),
        critic_step=0.1,
        actor_step=0.2,
    )
    np.testing.assert_allclose(critic, sarsa_update(W, **WINDOW, step_size=0.1), rtol=1e-15)
    np.testing.assert_allclose(actor, [0.5 + 0.2 / 2 * (3 + 14)], rtol=1e-15)


def test_the_arguments_are_left_alone():
    before = W.copy()
    sarsa_update(W, **WINDOW, step_size=0.1)
    np.testing.assert_array_equal(W, before)


def test_one_hot_pairs_move_by_their_share_of_the_window():
    pairs = np.array([0, 1, 0, 0])
    rewards = np.array([1.0, 4.0, 2.0, 3.0])
    after = sarsa_update(np.zeros(3), np.eye(3)[pairs], np.zeros((4, 3)), rewards, 0.9, 1.0)
    np.testing.assert_allclose(after, [6 / 4, 4 / 4, 0])


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_least_squares_weights_stay(scale):
    rng = np.random.default_rng(0)
    phi, phi_next, rewards = (
        scale * rng.normal(size=(7, 3)),
        scale * rng.normal(size=(7, 3)),
        rng.normal(size=7),
    )
    rest = np.linalg.solve(phi.T @ (phi - 0.9 * phi_next), phi.T @ rewards)
    after = sarsa_update(rest, phi, phi_next, rewards, 0.9, 0.1 / scale**2)
    np.testing.assert_allclose(after, rest, rtol=1e-10)


@pytest.mark.bad_input
def test_refuses_what_overflows():
    """The critic's or the actor's update, from finite arguments."""
    given = {**WINDOW, "weights": W, "step_size": 0.1}
    rule = "has entries so large that the update leaves the range of float64"
    refused(f"phi, rewards or weights {rule}", sarsa_update, **given | {"phi": 1e200 * WINDOW["phi"]})
    del given["step_size"]
    given |= {"policy_weights": W[:1], "scores": np.ones((2, 1)), "critic_step": 0.1, "actor_step": 0.1}
    for change in ({"phi": 1e200 * WINDOW["phi"]}, {"rewards": [1e200, 0.0], "scores": [[1e200], [0.0]]}):
        refused(f"phi, rewards, scores or weights {rule}", actor_critic_update, **given | change)
