"""Rollouts and their windows."""

from unittest.mock import Mock

import numpy as np
import pytest
from scipy.stats import chisquare

from icrl.mdp import MarkovDecisionProcess, random_mdp, rollout_batch

TRANSITION, REWARD = np.full((2, 3, 2), 0.5), np.zeros((2, 3))


UNIFORM = np.full((2, 3), 1 / 3)


ABSORBING = np.array([[[0.5, 0.5]] * 3, [[0.0, 1.0]] * 3])


LAST = np.array([False, True])


def process(transition=TRANSITION, reward=REWARD, discount=0.9, **fields):
    return MarkovDecisionProcess(transition, reward, discount, **fields)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_transitions": 0}, "num_transitions is 0; it must be at least 1"),
        ({"num_transitions": 2.5}, "num_transitions is 2.5; it must be an integer"),
        ({"start": 2}, r"starts\[0\] is 2; states run from 0 to 1"),
        ({"start": -1}, "start is -1; it must be at least 0"),
        ({"start": 0.5}, "start is 0.5; it must be an integer"),
        ({"start": 1}, "starts holds 1, a terminal state; no episode may start in one"),
    ],
)
def test_refuses_rollouts_refused(arguments, message):
    task = process(ABSORBING, terminal=LAST, start=np.array([1.0, 0.0]))
    arguments = {"policy": UNIFORM, "num_transitions": 4, "rng": np.random.default_rng(0)} | arguments
    with pytest.raises(ValueError, match=message):
        task.rollout(**arguments)


@pytest.mark.bad_input
def test_refuses_batches_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="processes is empty"):
        rollout_batch([], UNIFORM[None], 4, rng)
    with pytest.raises(ValueError, match="they must be the same"):
        rollout_batch([process(), random_mdp(4, 3, 0.9, rng)], np.stack([UNIFORM] * 2), 4, rng)
    with pytest.raises(ValueError, match=r"policies has shape \(1, 2, 3\); it must be \(2, 2, 3\)"):
        rollout_batch([process()] * 2, UNIFORM[None], 4, rng)
    with pytest.raises(ValueError, match="processes must all be instances of MarkovDecisionProcess"):
        rollout_batch([process(), 3], np.stack([UNIFORM] * 2), 4, rng)
    task = process(ABSORBING, terminal=LAST, start=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="starts holds 1, a terminal state"):
        rollout_batch([task] * 2, np.stack([UNIFORM] * 2), 4, rng, starts=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"starts has shape \(2,\); its axis B must have length 1"):
        rollout_batch([process()], UNIFORM[None], 4, rng, starts=np.array([0, 1]))


@pytest.mark.bad_input
def test_refuses_features_of_windows_refused():
    run = process().rollout(UNIFORM, 40, np.random.default_rng(0))
    batch = rollout_batch([process()] * 2, np.stack([UNIFORM] * 2), 40, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"features has shape \(2,\); it must be \(S, d\) or \(S, A, d\)"):
        run.window(np.zeros(2))
    with pytest.raises(ValueError, match=r"states\[\d+\] is 1; states of features run from 0 to 0"):
        run.window(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"actions\[\d+\] is 2; actions of features run from 0 to 1"):
        run.window(np.zeros((2, 2, 4)))
    with pytest.raises(ValueError, match=r"features\[0, 0\] is nan"):
        run.window(np.full((2, 4), np.nan))
    with pytest.raises(
        ValueError, match=r"features has shape \(3, 2, 3, 4\); its first axis is the batch, 2"
    ):
        batch.window(np.zeros((3, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"features has shape \(2, 2, 3, 4\); it must be"):
        run.window(np.zeros((2, 2, 3, 4)))


def world(seed=0, num_states=4, num_actions=3, discount=0.9):
    """A random process, a random policy of full support, and the generator that made them."""
    rng = np.random.default_rng(seed)
    process = random_mdp(num_states, num_actions, discount, rng)
    return process, rng.dirichlet(np.ones(num_actions), size=num_states), rng


def corridor(num_states=4, **fields):
    """Action 1 moves right, action 0 stays; reaching the last state pays 1 and ends the episode."""
    transition = np.zeros((num_states, 2, num_states))
    paid = np.zeros_like(transition)
    for s in range(num_states - 1):
        transition[s, 0, s] = transition[s, 1, s + 1] = 1
    transition[-1, :, -1] = 1
    paid[-2, 1, -1] = 1
    start, terminal = np.eye(num_states)[0], np.arange(num_states) == num_states - 1
    given = {"start": start, "terminal": terminal, "outcome_reward": paid, "discount": 0.5} | fields
    return MarkovDecisionProcess(transition, (transition * paid).sum(axis=2), **given)


def test_rollout_follows_the_process():
    """Actions and successors have the frequencies of policy and transition; rewards are those of the pair."""
    process, policy, rng = world(num_states=3, num_actions=2)
    states, actions, rewards, ended = process.rollout(policy, 20_000, rng)
    assert states.shape == actions.shape == (20_001,)
    assert rewards.shape == ended.shape == (20_000,)
    np.testing.assert_array_equal(rewards, process.reward[states[:-1], actions[:-1]])
    assert not ended.any()
    for s in range(3):
        seen = np.bincount(actions[states == s], minlength=2)
        assert chisquare(seen, policy[s] * seen.sum()).pvalue > 1e-4
        for a in range(2):
            here = (states[:-1] == s) & (actions[:-1] == a)
            seen = np.bincount(states[1:][here], minlength=3)
            assert chisquare(seen, process.transition[s, a] * seen.sum()).pvalue > 1e-4


def test_episodes_end_and_restart():
    """Always right: three steps to the end, then the start state again; the terminal state never shows."""
    states, actions, rewards, ended = corridor().rollout(np.eye(2)[[1, 1, 1, 1]], 7, np.random.default_rng(0))
    np.testing.assert_array_equal(states, [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(actions, 1)
    np.testing.assert_array_equal(rewards, [0, 0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(ended, [False, False, True, False, False, True, False])


def test_windows_of_features():
    """What is left and what is reached, zero after an end; by state, by pair, and for each of a batch."""
    run = corridor().rollout(np.eye(2)[[1, 1, 1, 1]], 4, np.random.default_rng(0))
    phi, phi_next = run.window(np.array([[1.0], [2.0], [3.0], [4.0]]))
    np.testing.assert_array_equal(phi.ravel(), [1, 2, 3, 1])
    np.testing.assert_array_equal(phi_next.ravel(), [2, 3, 0, 2])
    pairs = np.arange(1.0, 9).reshape(4, 2, 1)
    np.testing.assert_array_equal(run.window(pairs)[0].ravel(), [2, 4, 6, 2])
    np.testing.assert_array_equal(run.window(pairs)[1].ravel(), [4, 6, 0, 4])
    batch = rollout_batch([corridor()] * 2, np.eye(2)[np.ones((2, 4), int)], 4, np.random.default_rng(0))
    phi, phi_next = batch.window(np.stack([pairs, 10 * pairs]))
    np.testing.assert_array_equal(phi[..., 0], [[2, 4, 6, 2], [20, 40, 60, 20]])
    np.testing.assert_array_equal(phi_next[..., 0], [[4, 6, 0, 4], [40, 60, 0, 40]])
    np.testing.assert_array_equal(batch.window(pairs)[0], np.stack([phi[0]] * 2))


def test_rollout_can_go_on_where_another_stopped():
    """`start` is the first state."""
    states = corridor().rollout(np.eye(2)[[1, 1, 1, 1]], 1, np.random.default_rng(0), start=2).states
    np.testing.assert_array_equal(states, [2, 0])


def test_outcome_rewards_are_paid_by_outcome():
    """One action, reward 3 for one successor and -1 for the other; without the table, their mean."""
    transition, paid = np.full((2, 1, 2), 0.5), np.array([[[3.0, -1.0]]] * 2)
    process = MarkovDecisionProcess(transition, np.ones((2, 1)), 0.5, outcome_reward=paid)
    rollout = process.rollout(np.ones((2, 1)), 50, np.random.default_rng(0))
    np.testing.assert_array_equal(rollout.rewards, np.where(rollout.states[1:] == 0, 3, -1))
    mean = MarkovDecisionProcess(transition, np.ones((2, 1)), 0.5)
    assert (mean.rollout(np.ones((2, 1)), 50, np.random.default_rng(0)).rewards == 1).all()


def test_a_batch_of_one_is_a_rollout_and_each_row_follows_its_own_process():
    """The same draws give the same trajectory; a batch of corridors of unlike policies keeps them apart."""
    process, policy, _ = world()
    one = process.rollout(policy, 200, np.random.default_rng(1))
    batch = rollout_batch([process], policy[None], 200, np.random.default_rng(1))
    for single, row in zip(one, batch, strict=True):
        np.testing.assert_array_equal(single, row[0])
    policies = np.stack([np.eye(2)[[a] * 4] for a in (0, 1)])
    batch = rollout_batch([corridor()] * 2, policies, 3, np.random.default_rng(0), starts=np.array([2, 1]))
    np.testing.assert_array_equal(batch.states, [[2, 2, 2, 2], [1, 2, 0, 1]])


def test_each_draw_is_used_once():
    """First states, actions, ends and successors of two steps: 128 cases, all equally frequent."""
    transition = np.zeros((3, 2, 3))
    transition[:2], transition[2, :, 2] = [0.25, 0.25, 0.5], 1
    ends = np.array([False, False, True])
    task = MarkovDecisionProcess(transition, np.zeros((3, 2)), 0.5, np.array([0.5, 0.5, 0]), ends)
    rng, count = np.random.default_rng(3), 6400
    states, actions, _, ended = rollout_batch([task] * count, np.full((count, 3, 2), 0.5), 2, rng)
    cases = np.column_stack([states, actions[:, :2], ended]) @ 2 ** np.arange(7)
    assert chisquare(np.bincount(cases, minlength=128)).pvalue > 1e-3


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0)], ids=["smallest", "largest"])
def test_extreme_draws_choose_nothing_impossible(draw):
    """The two ends of the unit interval; first states, actions, successors."""
    row = np.array([0, 0.5, 0.5, 0])
    task = MarkovDecisionProcess(np.tile(row, (4, 4, 1)), np.zeros((4, 4)), 0.5, row)
    rng = Mock(spec=np.random.Generator)
    rng.random.side_effect = lambda size: np.full(size, draw)
    states, actions, *_ = task.rollout(np.tile(row, (4, 1)), 3, rng)
    assert set(states) == set(actions) == {1 if draw == 0 else 2}


def test_rewards_are_those_of_each_process():
    """Of the pair that is left, or of that and what is reached; unlike processes in one batch, one twice."""
    rng = np.random.default_rng(4)
    some = [random_mdp(3, 2, 0.9, rng) for _ in range(3)]
    paid = rng.normal(size=(3, 2, 3))
    mean = (paid * some[2].transition).sum(axis=2)
    some[2] = MarkovDecisionProcess(some[2].transition, mean, 0.9, outcome_reward=paid)
    for batch in ([some[0], some[1]], [some[0], some[2], some[1], some[0]]):
        policies = np.full((len(batch), 3, 2), 0.5)
        states, actions, rewards, _ = rollout_batch(batch, policies, 30, rng)
        for process, s, a, seen in zip(batch, states, actions, rewards, strict=True):
            left = s[:-1], a[:-1]
            expected = paid[(*left, s[1:])] if process is some[2] else process.reward[left]
            np.testing.assert_array_equal(seen, expected)


def test_successors_are_those_of_each_process():
    """Three deterministic worlds side by side: on, back, and standing still."""
    turns = [np.roll(np.eye(3), shift, axis=1)[:, None] for shift in (1, -1, 0)]
    batch = [MarkovDecisionProcess(turn, np.zeros((3, 1)), 0.5, np.eye(3)[i]) for i, turn in enumerate(turns)]
    states = rollout_batch(batch, np.ones((3, 3, 1)), 4, np.random.default_rng(5)).states
    np.testing.assert_array_equal(states, [[0, 1, 2, 0, 1], [1, 0, 2, 1, 0], [2] * 5])
