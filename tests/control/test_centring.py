"""Centred and started learners, features of pairs, the updates without prompts: by hand, and refusals."""

import numpy as np
import pytest

from icrl.control import (
    Beside,
    Centred,
    LinearFeatures,
    LinearOperator,
    LinearSarsa,
    SoftmaxFeatures,
    SoftmaxOperator,
    Started,
    Tabular,
    WindowSarsa,
    WindowSoftmax,
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


def window(rng, batch=3, states=4, actions=2, n=7):
    """Transitions of no process, with repeated pairs and ends."""
    visited = rng.integers(0, states, (batch, n + 1)), rng.integers(0, actions, (batch, n + 1))
    return Rollout(*visited, rng.normal(size=(batch, n)), rng.random((batch, n)) < 0.3)


def test_each_run_has_its_own_mean():
    """Two windows of three runs: what the inner learner would make of rewards minus the mean so far."""
    rng = np.random.default_rng(3)
    learner, plain = Centred(Tabular("sarsa", 0.5)), Tabular("sarsa", 0.5)
    memory = learner.start(3, 4, 2)
    assert memory.shape == (3, 4, 4)
    expected, rewards = plain.start(3, 4, 2), np.zeros((3, 0))
    for n in (7, 5):
        roll = window(rng, n=n)
        memory = learner.update(memory, roll, None, 0.8)
        rewards = np.concatenate([rewards, roll.rewards], axis=1)
        mean = rewards.mean(axis=1)
        expected = plain.update(expected, roll._replace(rewards=roll.rewards - mean[:, None]), None, 0.8)
        np.testing.assert_allclose(memory[..., :2], expected, atol=1e-12)
        for row in range(4):
            np.testing.assert_allclose(memory[:, row, 2], mean)
            assert (memory[:, row, 3] == rewards.shape[1]).all()


def test_a_started_learner_acts_like_the_inner_one():
    learner, q = Started(Tabular("sarsa", 0.5), 3.0), np.arange(24.0).reshape(3, 4, 2)
    assert learner.start(3, 4, 2).shape == (3, 4, 2)
    assert learner.behaviour(q, 0.2)[2, 3] == pytest.approx([0.1, 0.9])
    assert learner.deployed(q)[2, 3].tolist() == [0, 1]


def test_updates_on_any_features_are_those_of_the_transformers():
    """Windows with repeated pairs, ends and pairs that are never seen, three layers."""
    rng = np.random.default_rng(4)
    features, roll = rng.normal(size=(3, 4, 2, 5)), window(rng)
    w, q = rng.normal(size=(3, 1, 5)), rng.normal(size=(3, 4, 2))
    block = LinearFeatures(features, 0.3)
    once = block.update(w, roll, None, 0.8)
    np.testing.assert_allclose(LinearOperator(features, 0.3).update(w, roll, None, 0.8), once, rtol=1e-10)
    again = block.update(block.update(once, roll, None, 0.8), roll, None, 0.8)
    np.testing.assert_allclose(LinearOperator(features, 0.3, 3).update(w, roll, None, 0.8), again, rtol=1e-10)
    table = [[[features[b, s, a] @ w[b, 0] for a in range(2)] for s in range(4)] for b in range(3)]
    np.testing.assert_allclose(block.table(w), table)
    assert np.array_equal(block.deployed(w).argmax(-1), np.argmax(table, axis=-1))
    assert block.behaviour(w, 0.4).min() == pytest.approx(0.2)

    new = SoftmaxOperator(features, 3, 0.4).update(q, roll, None, 0.8)
    slow = SoftmaxFeatures(features, 3, 0.4).update(q, roll, None, 0.8)
    np.testing.assert_allclose(new, slow, rtol=1e-10)
    assert np.abs(new - q).max() > 0.1
    roll = window(rng, n=3)
    new = SoftmaxOperator(features, 3, 0.4).update(q, roll, None, 0.8)
    visited = SoftmaxOperator(features, 3, 0.4, "visited").update(q, roll, None, 0.8)
    for b, s, a in np.ndindex(3, 4, 2):
        left = ((roll.states[b, :-1] == s) & (roll.actions[b, :-1] == a)).any()
        assert visited[b, s, a] == (new if left else q)[b, s, a]


@pytest.mark.parametrize("make", [LinearFeatures, LinearOperator, SoftmaxFeatures, SoftmaxOperator])
def test_start_on_features(make):
    """Zeros: weights of as many features, or a table; runs, states and actions in that order."""
    features = one_hot_pairs(2, 3, 4)
    learner = make(features, 1.0) if issubclass(make, LinearFeatures) else make(features)
    memory = learner.start(2, 3, 4)
    assert memory.shape == ((2, 1, 12) if issubclass(make, LinearFeatures) else (2, 3, 4))
    assert not memory.any()


def test_a_pass_is_affine():
    """What a layer makes of any table, by its matrix and offset; a pair is never left, one is never met."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(1, 3, 2, 4))
    pairs = np.array([0, 3, 1, 0, 0, 2, 1, 4])  # 4 comes last, 5 never
    roll = Rollout(
        pairs[None] // 2, pairs[None] % 2, np.array([[2.0, -1, 0.5, 2, 2, 3, 0.5]]), np.zeros((1, 7), bool)
    )
    for step, operator in ((0.7, SoftmaxOperator(features, 1, 0.7)), (1.0, SoftmaxOperator(features))):
        given = features.reshape(6, 4), pairs, roll.rewards[0], 0.8
        matrix, offset = pass_operator(*given, step) if step != 1 else pass_operator(*given)
        for q in rng.normal(size=(3, 1, 3, 2)):
            new = operator.update(q, roll, None, 0.8)
            np.testing.assert_allclose(matrix @ q.ravel() + offset, new.ravel(), rtol=1e-10)


def test_learners_beside_each_other_are_alone():
    """Each with its own part of the batch."""
    rng = np.random.default_rng(6)
    alone = Tabular("sarsa", 0.5), Started(Tabular("q-learning", 0.3), 2.0)
    both, roll = Beside(alone), window(rng, batch=6)
    memory, policies = both.start(6, 4, 2), rng.dirichlet([1, 1], size=(6, 4))
    assert memory.shape == (6, 4, 2)
    assert (memory[:3].max(), memory[3:].min()) == (0, 2)
    memory = rng.normal(size=(6, 4, 2))
    for part, learner in zip((slice(3), slice(3, 6)), alone, strict=True):
        own = Rollout(*(x[part] for x in roll))
        new = learner.update(memory[part], own, policies[part], 0.8)
        assert np.array_equal(both.update(memory, roll, policies, 0.8)[part], new)
        assert np.array_equal(both.behaviour(memory, 0.4)[part], learner.behaviour(memory[part], 0.4))
        assert np.array_equal(both.deployed(memory)[part], learner.deployed(memory[part]))


def test_features():
    rng = np.random.default_rng(1)
    assert np.array_equal(one_hot_pairs(2, 3, 2)[1].reshape(6, 6), np.eye(6))
    assert one_hot_pairs(1, 1, 1).tolist() == [[[[1.0]]]]
    drawn = random_pairs(2, 3, 2, rng)
    assert drawn.shape == (2, 3, 2, 6)
    assert 0.5 < drawn.max() < 1
    assert -1 < drawn.min() < -0.5
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
        (lambda: one_hot_pairs(1, 0, 2), "num_states is 0"),
        (lambda: one_hot_pairs(1, 2, 0), "num_actions is 0"),
        (lambda: LinearOperator(np.zeros((2, 3, 4)), 1.0), r"features has shape \(2, 3, 4\)"),
        (lambda: LinearOperator(one_hot_pairs(1, 2, 2), 0.0), "step_size is 0"),
        (lambda: SoftmaxFeatures(np.zeros((2, 3, 4))), r"features has shape \(2, 3, 4\)"),
        (lambda: SoftmaxFeatures(one_hot_pairs(1, 2, 2), step_size=0.0), "step_size is 0"),
        (lambda: SoftmaxOperator(np.zeros((2, 3, 4))), r"features has shape \(2, 3, 4\)"),
        (lambda: WindowSarsa(0.0), "step_size is 0"),
        (lambda: WindowSarsa(1.0, 0), "num_layers is 0"),
        (lambda: WindowSoftmax(0, 4.0, 1.0), "num_layers is 0"),
        (lambda: pass_operator(np.eye(2), np.array([0, 1, 0]), np.ones(2), 0.5, 0.0), "step_size is 0"),
        (
            lambda: SoftmaxOperator(one_hot_pairs(2, 3, 2)).start(2, 2, 3),
            r"features has shape \(2, 3, 2, 6\); it must begin with \(2, 2, 3\)",
        ),
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
