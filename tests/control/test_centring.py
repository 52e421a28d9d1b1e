"""Centred and started learners, features of pairs, the updates without prompts: by hand, and refusals."""

import numpy as np
import pytest

from icrl.control import (
    Centred,
    LinearFeatures,
    LinearOperator,
    LinearSarsa,
    SoftmaxFeatures,
    SoftmaxOperator,
    Started,
    Tabular,
    control,
    one_hot_pairs,
    pass_operator,
    random_pairs,
    with_constant,
)
from icrl.mdp import random_mdp
from icrl.rollouts import Rollout

PROCESS = random_mdp(3, 2, 0.9, np.random.default_rng(0))
ROLL = Rollout(*(np.array([x]) for x in ([0, 1, 0], [0, 1, 1], [2.0, 4.0], [False, True])))
HALVES = np.full((1, 2, 2), 0.5)


def test_the_mean_is_of_all_rewards_so_far():
    learner = Centred(Tabular("q-learning", 0.5))
    memory = learner.start(1, 2, 2)
    once = learner.update(memory, ROLL, HALVES, 0.5)
    assert once[0, :, -2:].tolist() == [[3.0, 2.0]] * 2
    assert once[0, 0, 0] == pytest.approx(-0.5)
    assert once[0, 1, 1] == pytest.approx(0.5)
    twice = learner.update(once, ROLL._replace(rewards=np.array([[0.0, 0.0]])), HALVES, 0.5)
    assert twice[0, 0, -2:].tolist() == [1.5, 4.0]
    assert not memory.any()


def test_behaviour_is_the_inner_one():
    learner = Centred(Tabular("sarsa", 0.5))
    memory = learner.start(1, 2, 2)
    memory[0, 0, :2], memory[..., -2:] = [1.0, 2.0], 9.0
    assert learner.behaviour(memory, 0.2)[0, 0] == pytest.approx([0.1, 0.9])
    assert learner.deployed(memory)[0, 1] == pytest.approx([0.5, 0.5])


def test_started():
    learner = Started(Tabular("sarsa", 0.5), 3.0)
    assert (learner.start(1, 2, 2) == 3).all()
    assert learner.update(learner.start(1, 2, 2), ROLL, HALVES, 0.5)[0, 0, 0] == pytest.approx(3.25)


def test_features():
    rng = np.random.default_rng(1)
    assert np.array_equal(one_hot_pairs(2, 3, 2)[1].reshape(6, 6), np.eye(6))
    drawn = random_pairs(2, 3, 2, rng)
    assert drawn.shape == (2, 3, 2, 6)
    assert np.abs(drawn).max() < 1
    assert not np.array_equal(drawn[0], drawn[1])
    assert (with_constant(drawn)[..., -1] == 1).all()


def test_a_constant_feature_moves_every_pair():
    one = with_constant(one_hot_pairs(1, 2, 2))
    learner = LinearOperator(one, 1.0)
    table = learner.table(learner.update(learner.start(1, 2, 2), ROLL, HALVES, 0.5))
    assert table[0].ravel() == pytest.approx([1 + 3, 3, 3, 2 + 3])


def test_loud_features_of_one_world_do_not_silence_another():
    """Scores of 1e4 in one, of 1 in the other: each as it is alone."""
    both = np.concatenate([one_hot_pairs(1, 2, 2), 100 * one_hot_pairs(1, 2, 2)])
    twice = Rollout(*(np.repeat(x, 2, axis=0) for x in ROLL))
    halves, memory = np.repeat(HALVES, 2, axis=0), np.arange(8.0).reshape(2, 2, 2)
    together = SoftmaxOperator(both).update(memory, twice, halves, 0.5)
    for i in range(2):
        alone = SoftmaxOperator(both[i : i + 1]).update(memory[i : i + 1], ROLL, HALVES, 0.5)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-12)


def test_an_update_leaves_the_memory_it_was_given():
    for queries in ("visited", "all"):
        memory = np.arange(4.0).reshape(1, 1, 2, 2)[:, 0]
        learner = SoftmaxOperator(one_hot_pairs(1, 2, 2), queries=queries)
        assert not np.array_equal(learner.update(memory, ROLL, HALVES, 0.5), np.arange(4.0).reshape(1, 2, 2))
        assert np.array_equal(memory, np.arange(4.0).reshape(1, 2, 2))


def test_one_hot_features_are_the_block_in_slots():
    given = [PROCESS] * 2, range(6)
    one = one_hot_pairs(2, 3, 2)
    runs = [
        control(given[0], learner, given[1], np.random.default_rng(2)).policies
        for learner in (LinearSarsa(3.0), LinearFeatures(one, 3.0), LinearOperator(one, 3.0))
    ]
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])


def test_pass_operator_of_a_window_that_misses_a_pair():
    """Two pairs in turn; the third, of equal features, hears both alike and nobody hears it."""
    matrix, offset = pass_operator(np.zeros((3, 1)), np.array([0, 1, 0]), np.array([1.0, 3.0]), 0.5, 0.8)
    assert matrix[2] == pytest.approx([-0.2, -0.2, 1.0])
    assert offset == pytest.approx([1.6] * 3)
    assert matrix.sum(axis=1) == pytest.approx([1 - 0.8 * 0.5] * 3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Centred("sarsa"), "inner is 'sarsa'; it must be an Updater"),
        (lambda: Started("sarsa", 1.0), "inner is 'sarsa'; it must be an Updater"),
        (lambda: Started(Tabular("sarsa", 0.5), np.inf), "value is inf"),
        (lambda: LinearFeatures(np.zeros((2, 3, 4)), 1.0), r"features has shape \(2, 3, 4\)"),
        (lambda: LinearFeatures(one_hot_pairs(1, 2, 2), 0.0), "step_size is 0"),
        (lambda: LinearOperator(one_hot_pairs(1, 2, 2), 1.0, 0), "num_layers is 0"),
        (lambda: SoftmaxFeatures(one_hot_pairs(1, 2, 2), 0), "num_layers is 0"),
        (lambda: SoftmaxOperator(one_hot_pairs(1, 2, 2), queries="some"), "queries is 'some'"),
        (lambda: SoftmaxOperator(one_hot_pairs(1, 2, 2), step_size=-1.0), "step_size is -1"),
        (lambda: SoftmaxOperator(one_hot_pairs(1, 2, 2), num_layers=0), "num_layers is 0"),
        (lambda: with_constant(np.zeros((2, 2))), r"features has shape \(2, 2\)"),
        (lambda: one_hot_pairs(0, 2, 2), "batch is 0"),
        (
            lambda: SoftmaxFeatures(one_hot_pairs(2, 3, 2)).start(1, 3, 2),
            r"features has shape \(2, 3, 2, 6\); it must begin with \(1, 3, 2\)",
        ),
        (
            lambda: LinearOperator(one_hot_pairs(2, 3, 2), 1.0).start(2, 2, 3),
            r"it must begin with \(2, 2, 3\)",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
