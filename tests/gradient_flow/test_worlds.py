"""Worlds as the paper reports them, and their windows: the same draws as rollouts, learners side by side."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.gradient_flow import (
    random_worlds,
)
from icrl.rollouts import rollout_batch


def test_worlds_are_drawn_as_the_paper_reports():
    """Sizes, uniform rewards and features on (-1, 1), rows uniform on the simplex"""
    worlds = random_worlds(400, np.random.default_rng(0))
    assert worlds.features.shape == (400, 9, 4, 36)
    assert worlds.discount == 0.5
    for drawn in (worlds.outcome_reward, worlds.features):
        assert abs(drawn.mean()) < 0.01
        assert abs(drawn.var() - 1 / 3) < 0.01
        assert drawn.min() > -1
        assert drawn.max() < 1
    # Dirichlet(1, ..., 1) on 9 states: the variance of an entry is 8 / (81 * 10).
    for rows, tolerance in ((worlds.transition, 0.03), (worlds.start, 0.2)):
        assert abs(rows.var() / (8 / 810) - 1) < tolerance
    assert np.abs(np.corrcoef(worlds.features[:2].reshape(2, -1))[0, 1]) < 0.1


def test_concentration_makes_rows_sparser_not_the_start():
    """Concentration c: the variance of an entry is 8 / (81 (9 c + 1))."""
    worlds = random_worlds(300, np.random.default_rng(1), concentration=0.1)
    assert abs(worlds.transition.var() / (8 / 81 / 1.9) - 1) < 0.05
    assert abs(worlds.start.var() / (8 / 810) - 1) < 0.2


def test_reward_and_process_agree():
    """Expected rewards by the process' own check, and its features left out."""
    worlds = random_worlds(3, np.random.default_rng(2), num_states=4, num_actions=2)
    process = worlds.process(2)
    assert np.allclose(process.reward, worlds.reward[2])
    for name in ("start", "transition", "outcome_reward", "discount"):
        theirs = getattr(worlds, name)
        assert np.array_equal(getattr(process, name), theirs if name == "discount" else theirs[2])
    for index in (3, -1):
        with pytest.raises(ValueError, match=f"index is {index}"):
            worlds.process(index)


def test_features_of_states_one_hot_and_from_a_table():
    """Drawn uniformly on (-1, 1); one unit vector for each pair; or one table for all worlds."""
    rng = np.random.default_rng(0)
    given = {"num_states": 3, "num_actions": 2}
    states = random_worlds(500, rng, num_state_features=4, **given).state_features
    assert states.shape == (500, 3, 4)
    assert -1 <= states.min() < -0.99
    assert 0.99 < states.max() <= 1
    assert abs(states.mean()) < 0.03
    unit = random_worlds(2, rng, features="one-hot", **given)
    assert unit.state_features is None
    for b, s, a in np.ndindex(2, 3, 2):
        assert np.array_equal(unit.features[b, s, a], np.arange(6) == 2 * s + a)
    table = rng.normal(size=(3, 2, 5))
    assert np.array_equal(random_worlds(2, rng, features=table, **given).features, [table, table])
    assert len(random_worlds(1, rng, num_states=1, num_actions=1, num_state_features=1)) == 1


class Zero(np.random.Generator):
    """Uniform numbers at their smallest."""

    def random(self, shape):
        return np.zeros(shape)


def test_what_has_probability_zero_is_not_drawn():
    """Not even by a uniform number that is exactly 0; and policies count by their shares."""
    rng = np.random.default_rng(0)
    worlds = random_worlds(2, rng, num_states=3, num_actions=3)
    start, transition = np.tile([0, 0.5, 0.5], (2, 1)), worlds.transition.copy()
    transition[..., :2] = [0, 0.3]
    transition[..., 2] = 0.7
    worlds = replace(worlds, start=start, transition=transition)
    window = worlds.window(np.tile([0, 0.4, 0.6], (2, 3, 1)), 4, Zero(np.random.PCG64()))
    assert (window.states == 1).all()
    assert (window.actions == 1).all()
    policies = rng.dirichlet(np.ones(3), size=(2, 3))
    whole, half = (worlds.window(c * policies, 30, np.random.default_rng(1)) for c in (1, 0.5))
    assert np.array_equal(whole.actions, half.actions)


def test_a_window_draws_what_rollouts_draw():
    """The same uniforms in the same order: states, actions and rewards are equal, starts given or not."""
    rng = np.random.default_rng(3)
    worlds = random_worlds(5, rng, num_states=4, num_actions=3)
    policies = rng.dirichlet(np.ones(3), size=(5, 4))
    processes = [worlds.process(i) for i in range(5)]
    for starts in (None, np.array([0, 3, 1, 2, 2])):
        ours = worlds.window(policies, 12, np.random.default_rng(4), starts)
        theirs = rollout_batch(processes, policies, 12, np.random.default_rng(4), starts)
        for name in ("states", "actions", "rewards"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert np.array_equal(
            worlds.seen(ours)[2, 5], worlds.features[2, ours.states[2, 5], ours.actions[2, 5]]
        )


def test_learners_side_by_side_share_draws():
    """Each of two learners sees what it would see alone, and the same if it acts the same."""
    rng = np.random.default_rng(5)
    worlds = random_worlds(3, rng, num_states=4, num_actions=3)
    policies = rng.dirichlet(np.ones(3), size=(2, 3, 4))
    both = worlds.window(policies, 9, np.random.default_rng(6))
    for k in range(2):
        alone = worlds.window(policies[k], 9, np.random.default_rng(6))
        assert all(np.array_equal(x[k], y) for x, y in zip(both, alone, strict=True))


def test_action_values_by_a_loop():
    """One world and one pair at a time."""
    worlds = random_worlds(2, np.random.default_rng(7), num_states=3, num_actions=2)
    w = np.random.default_rng(8).normal(size=(2, 6))
    values = worlds.action_values(w)
    for b, s, a in np.ndindex(2, 3, 2):
        assert np.isclose(values[b, s, a], w[b] @ worlds.features[b, s, a])
    many = np.random.default_rng(9).normal(size=(3, 4, 2, 6))  # of learners side by side
    for i in np.ndindex(3, 4):
        assert np.allclose(worlds.action_values(many)[i], worlds.action_values(many[i]))


@pytest.mark.bad_input
def test_refuses_worlds_that_do_not_fit():
    worlds = random_worlds(2, np.random.default_rng(0), num_states=3, num_actions=2)
    for name, value, message in (
        ("transition", worlds.transition[:, :, 0], "transition has shape"),
        ("transition", 0.5 * worlds.transition, "transition row 0, 0, 0 sums to 0.5"),
        ("outcome_reward", worlds.outcome_reward[:1], "outcome_reward has shape"),
        ("start", worlds.start + 1, "start row 0 sums to"),
        ("features", worlds.features[:, :2], "features has shape"),
        ("features", np.full_like(worlds.features, np.nan), "must be finite"),
        ("discount", 1.0, "discount is 1"),
        ("state_features", np.ones((2, 2, 3)), "state_features has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(worlds, **{name: value})
    rng = np.random.default_rng(0)
    for options, message in (
        ({"features": "dense"}, "features is 'dense'"),
        ({"features": np.ones((2, 2, 4))}, "features has shape"),
        ({"concentration": 0.0}, "concentration is 0"),
        ({"num_state_features": 0}, "num_state_features is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            random_worlds(2, rng, num_states=3, num_actions=2, **options)
    for name in ("batch", "num_states", "num_actions"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
            random_worlds(**{"batch": 1, "rng": rng, name: 0})
    for shape in ((2, 5), (3, 6), (6,)):
        with pytest.raises(ValueError, match="weights has shape"):
            worlds.action_values(np.ones(shape))
