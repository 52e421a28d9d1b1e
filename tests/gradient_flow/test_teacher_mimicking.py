"""Algorithm 1 at a small size."""

import numpy as np
import pytest

from icrl.gradient_flow.teacher_mimicking import alignment, train


def test_algorithm_1_learns():
    run = train(2, 1, 100, np.random.default_rng(0), learning_rate=0.05, batch=8, records=4)
    assert list(run.steps) == [0, 33, 66, 99]
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert not run.P[:, :, :5].any()  # Proposition 3.1, under Adam
    assert not run.P[:, 5:].any()
    assert not run.V[:, :6].any()
    assert not run.V[:, :, 5:].any()


def test_algorithm_1_is_seeded():
    once, again = (train(2, 1, 5, np.random.default_rng(3), batch=2, records=2) for _ in range(2))
    assert np.array_equal(once.P, again.P)


def test_alignment_of_the_construction():
    from icrl.linear_transformer import sarsa_weights

    P, V = (x.numpy() for x in sarsa_weights(3, 1.0, -2.0))
    assert np.allclose(alignment(P, V, 0.9), -1)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["num_states", "num_steps", "batch", "windows", "init_scale", "records"])
def test_refuses_training(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        train(
            **(
                {"num_states": 2, "num_actions": 1, "num_steps": 2, "rng": np.random.default_rng(0)}
                | {name: 0}
            )
        )
