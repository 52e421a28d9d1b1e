"""Algorithm 1 at a small size."""

import numpy as np
import pytest

from icrl.gradient_flow.teacher_mimicking import alignment, train
from icrl.mdp import random_mdp
from icrl.rollouts import rollout_batch


def test_algorithm_1_learns():
    run = train(2, 1, 100, np.random.default_rng(0), learning_rate=0.05, batch=8, records=4)
    assert list(run.steps) == [0, 33, 66, 99]
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert not run.P[:, :, :5].any()  # Proposition 3.1, under Adam
    assert not run.P[:, 5:].any()
    assert not run.V[:, :6].any()
    assert not run.V[:, :, 5:].any()


def literal(rng, *, discount, alpha, n, batch, windows, epsilon, rate, scale, steps):
    """Algorithm 1 as loops over tasks and transitions, on the two blocks alone, with Adam written out."""
    S, A, d = 2, 2, 4
    theta = [scale * rng.normal(size=(2 * d + 1, d + 1)), scale * rng.normal(size=(d, 2 * d + 1))]
    first, second, losses = [0.0, 0.0], [0.0, 0.0], []
    for step in range(steps):
        if step % windows == 0:
            worlds = [random_mdp(S, A, discount, rng) for _ in range(batch)]
            w, starts = rng.normal(size=(batch, d)), None
        policies = np.full((batch, S, A), epsilon / A)
        best = w.reshape(batch, S, A).argmax(axis=2)
        policies[np.arange(batch)[:, None], np.arange(S), best] += 1 - epsilon
        roll = rollout_batch(worlds, policies, n, rng, starts)
        P, V = theta
        gradient, loss, new = [np.zeros_like(P), np.zeros_like(V)], 0.0, w.copy()
        for b in range(batch):
            moment, column = np.zeros((2 * d + 1, 2 * d + 1)), np.append(1.0, w[b])
            for k in range(n):
                here, there = (A * roll.states[b, i] + roll.actions[b, i] for i in (k, k + 1))
                x = np.concatenate([np.eye(d)[here], discount * np.eye(d)[there], roll.rewards[b, k : k + 1]])
                moment += np.outer(x, x) / n
                error = roll.rewards[b, k] + discount * w[b, there] - w[b, here]
                new[b, here] += alpha / n * error
            miss = w[b] + V @ moment @ P @ column - new[b]
            loss += miss @ miss / 2 / batch
            gradient[0] += np.outer(moment @ V.T @ miss, column) / batch
            gradient[1] += np.outer(miss, moment @ P @ column) / batch
        losses.append(loss)
        yield losses[-1], [block.copy() for block in theta]
        now = rate * (1 + np.cos(np.pi * step / steps)) / 2
        for i, g in enumerate(gradient):
            first[i], second[i] = 0.9 * first[i] + 0.1 * g, 0.999 * second[i] + 0.001 * g**2
            move = first[i] / (1 - 0.9 ** (step + 1))
            theta[i] = theta[i] - now * move / (np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8)
        w, starts = new, roll.states[:, -1]


def test_algorithm_1_is_its_loops():
    """Two rounds of fresh processes and part of a third; every parameter off its default."""
    given = {"discount": 0.7, "batch": 3, "windows": 3, "epsilon": 0.3}
    names = {"step_size": 0.4, "num_transitions": 6, "learning_rate": 0.05, "init_scale": 0.2}
    run = train(2, 2, 8, np.random.default_rng(6), **given, **names, records=8)
    plain = literal(np.random.default_rng(6), **given, alpha=0.4, n=6, rate=0.05, scale=0.2, steps=8)
    for step, (loss, (P, V)) in enumerate(plain):
        assert run.steps[step] == step
        np.testing.assert_allclose(run.losses[step], loss, rtol=1e-9)
        np.testing.assert_allclose(run.P[step, :9, 9:], P, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(run.V[step, 10:, :9], V, rtol=1e-7, atol=1e-10)


def test_defaults_of_algorithm_1():
    said = {"discount": 0.5, "step_size": 1.0, "num_transitions": 20, "batch": 32, "windows": 20}
    said |= {"epsilon": 0.1, "learning_rate": 1e-2, "init_scale": 0.1, "records": 25}
    once, again = (train(2, 1, 26, np.random.default_rng(3), **options) for options in ({}, said))
    assert all(np.array_equal(x, y) for x, y in zip(once, again, strict=True))
    assert len(once.steps) == 25
    fewest = train(1, 1, 1, np.random.default_rng(3), batch=1, windows=1, records=2)
    assert list(fewest.steps) == [0]


def test_algorithm_1_is_seeded():
    once, again = (train(2, 1, 5, np.random.default_rng(3), batch=2, records=2) for _ in range(2))
    assert np.array_equal(once.P, again.P)


def test_alignment_of_the_construction():
    from icrl.linear_transformer import sarsa_weights

    P, V = (x.numpy() for x in sarsa_weights(3, 1.0, -2.0))
    assert np.allclose(alignment(P, V, 0.9), -1)


def test_alignment_off_what_the_loss_does_not_see():
    """One feature, both blocks moved along z = (gamma, -1, 0) from the construction: cosines by hand."""
    P, V, z = np.zeros((5, 5)), np.zeros((5, 5)), np.array([0.6, -1.0, 0.0])
    P[:3, 3:] = [[0, -1 + 2 * 0.6], [0, 1 - 2], [1, 0]]
    V[4, :3] = [1, 0, 0] + 3 * z
    raw = -0.2 / np.sqrt(3 * 2.04), 2.8 / np.hypot(2.8, 3)
    np.testing.assert_allclose(alignment(P, V, 0.6), [*raw, 1, 1], rtol=1e-12)


COUNTS = dict.fromkeys(("num_states", "num_actions", "num_steps", "batch", "windows"), 0)
COUNTS |= {"records": 1, "init_scale": 0, "learning_rate": 0}


@pytest.mark.bad_input
@pytest.mark.parametrize(("name", "value"), COUNTS.items())
def test_refuses_training(name, value):
    given = {"num_states": 2, "num_actions": 1, "num_steps": 2, "rng": np.random.default_rng(0), name: value}
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be"):
        train(**given)
