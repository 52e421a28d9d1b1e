"""Sets of training tasks."""

import numpy as np
import pytest

from icrl.gradient_flow.richness import richness
from icrl.gradient_flow.tasks import random_actor_critic_tasks, random_tasks


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
