"""Sets of training tasks."""

from functools import partial

import numpy as np
import pytest

from icrl.gradient_flow.richness import richness
from icrl.gradient_flow.tasks import (
    ACTOR_CRITIC_KINDS,
    SARSA_KINDS,
    random_actor_critic_tasks,
    random_tasks,
)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_scores_of_a_softmax_policy_sum_to_zero_in_each_state(rng):
    loss = random_actor_critic_tasks("one-hot", 3, 2, 300, rng, discount=0.5)
    seen = richness(loss)
    assert seen.data_null.shape == (13, 4)
    for s in range(3):
        z = np.zeros(13)
        z[7 + 2 * s : 9 + 2 * s] = 1
        assert np.abs(loss.moments @ z).max() < 1e-14
    assert "x0 + x1 + x2 - 2 x3 - 2 x4 - 2 x5\n" in seen.describe()
    assert "x11 + x12" in seen.describe()


@pytest.mark.parametrize(("kind", "h"), [("gaussian", 4), ("ended", 4), ("reference action", 2)])
def test_actor_critic_shapes(kind, h, rng):
    loss = random_actor_critic_tasks(kind, 2, 2, 20, rng, critic_step=0.5, actor_step=2.0)
    assert loss.moments.shape == (20, 5 + h, 5 + h)
    assert loss.teacher_value.shape == (2 + h, 5 + h)
    assert np.array_equal(np.unique(loss.teacher_value), [0, 0.5, 2])


def moments_by_loops(phi, phi_next, rewards, discount, scores=None):
    """``(1/n) sum_i x_i x_i'`` of each task, transition by transition."""
    found = []
    for task in range(len(rewards)):
        total = 0
        for i in range(rewards.shape[1]):
            x = [phi[task, i], discount * phi_next[task, i], rewards[task, i : i + 1]]
            x = np.concatenate(x if scores is None else [*x, scores[task, i]])
            total = total + np.outer(x, x)
        found.append(total / rewards.shape[1])
    return np.array(found)


@pytest.mark.parametrize("kind", SARSA_KINDS)
def test_sarsa_tasks_are_what_they_say(kind):
    """The same draws in the same order, put together by loops; nothing at its default."""
    tasks, n, d, rng = 6, 5, 3, np.random.default_rng(8)
    loss = random_tasks(
        kind, d, tasks, np.random.default_rng(8), num_transitions=n, step_size=0.3, discount=0.6
    )
    if kind in ("gaussian", "copied"):
        phi, after = rng.normal(size=(2, tasks, n, d))
    else:
        phi, after = np.eye(d)[rng.integers(d, size=(2, tasks, n))]
    if kind == "copied":
        phi[..., 2], after[..., 2] = phi[..., 0], after[..., 0]
    if kind == "ended":
        after[rng.random((tasks, n)) < 0.3] = 0
    weights, rewards = rng.normal(size=(tasks, d)), rng.normal(size=(tasks, n))
    if kind == "fixed rewards":
        rewards = rng.normal(size=d)[phi.argmax(axis=-1)]
    discount = (
        np.where(np.arange(tasks) % 2 == 0, 0.3, 0.6) if kind == "two discounts" else np.full(tasks, 0.6)
    )
    scaled = discount[:, None, None] * after
    np.testing.assert_allclose(loss.moments, moments_by_loops(phi, scaled, rewards, 1), atol=1e-13)
    np.testing.assert_allclose(loss.parameters, np.column_stack([np.ones(tasks), weights]), atol=1e-13)
    assert np.array_equal(loss.teacher_value, 0.3 * np.eye(d, 7))


@pytest.mark.parametrize("kind", ACTOR_CRITIC_KINDS)
def test_actor_critic_tasks_are_what_they_say(kind):
    tasks, n, S, A, rng = 5, 6, 3, 2, np.random.default_rng(9)
    loss = random_actor_critic_tasks(
        kind, S, A, tasks, np.random.default_rng(9), num_transitions=n, discount=0.6
    )
    h = S if kind == "reference action" else S * A
    weights, preferences = rng.normal(size=(tasks, S)), rng.normal(size=(tasks, h))
    rewards = rng.normal(size=(tasks, n))
    if kind == "gaussian":
        phi, after = rng.normal(size=(2, tasks, n, S))
        scores = rng.normal(size=(tasks, n, h))
    else:
        here, there = rng.integers(S, size=(2, tasks, n))
        phi, after, actions = np.eye(S)[here], np.eye(S)[there], rng.integers(A, size=(tasks, n))
        scores = np.zeros((tasks, n, S * A))
        for t, i in np.ndindex(tasks, n):
            s, free = here[t, i], np.zeros((S, A))
            free[:, A - h // S :] = preferences[t].reshape(S, -1)
            chance = np.exp(free[s]) / np.exp(free[s]).sum()
            scores[t, i].reshape(S, A)[s] = np.eye(A)[actions[t, i]] - chance
        scores = scores.reshape(tasks, n, S, A)[..., A - h // S :].reshape(tasks, n, h)
    if kind in ("ended", "reference action"):
        after[rng.random((tasks, n)) < 0.3] = 0
    expected = moments_by_loops(phi, after, rewards, 0.6, scores)
    np.testing.assert_allclose(loss.moments, expected, atol=1e-13)
    columns = np.column_stack([np.ones(tasks), weights, preferences])
    np.testing.assert_allclose(loss.parameters, columns, atol=1e-13)


def test_defaults_of_tasks():
    said = {"num_transitions": 10, "discount": 0.8}
    steps = {"step_size": 1.0}, {"critic_step": 1.0, "actor_step": 1.0}
    for make, sizes, step in ((random_tasks, (2,), steps[0]), (random_actor_critic_tasks, (2, 2), steps[1])):
        once = make("gaussian", *sizes, 3, np.random.default_rng(1))
        again = make("gaussian", *sizes, 3, np.random.default_rng(1), **said, **step)
        assert np.array_equal(once.moments, again.moments)
        assert np.array_equal(once.teacher_value, again.teacher_value)
    assert random_tasks("gaussian", 1, 1, np.random.default_rng(1)).moments.shape == (1, 3, 3)
    fewest = random_actor_critic_tasks("one-hot", 1, 2, 1, np.random.default_rng(1), num_transitions=1)
    assert fewest.moments.shape == (1, 5, 5)


@pytest.mark.bad_input
@pytest.mark.parametrize(("kind", "least"), [("fixed rewards", 1), ("copied", 2), ("ended", 2)])
def test_fewest_features(kind, least):
    rng = np.random.default_rng(0)
    assert random_tasks(kind, least, 2, rng).moments.shape == (2, 2 * least + 1, 2 * least + 1)
    with pytest.raises(ValueError, match=f"num_features is {least - 1}; it must be at least {least}"):
        random_tasks(kind, least - 1, 2, rng)


@pytest.mark.bad_input
def test_refuses_kind():
    with pytest.raises(ValueError, match="kind is 'uniform'; it must be one of gaussian"):
        random_tasks("uniform", 2, 10, np.random.default_rng(0))


@pytest.mark.bad_input
def test_refuses_actor_critic_tasks():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="kind is 'copied'; it must be one of gaussian, one-hot, ended"):
        random_actor_critic_tasks("copied", 2, 2, 10, rng)
    with pytest.raises(ValueError, match="num_actions is 1; it must be at least 2"):
        random_actor_critic_tasks("one-hot", 2, 1, 10, rng)
    for draw in (partial(random_tasks, "one-hot", 2), partial(random_actor_critic_tasks, "one-hot", 2, 2)):
        with pytest.raises(ValueError, match="num_tasks is 0; it must be at least 1"):
            draw(0, rng)
        with pytest.raises(ValueError, match="num_transitions is 0; it must be at least 1"):
            draw(10, rng, num_transitions=0)
