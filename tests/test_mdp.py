"""Markov decision processes: exact solutions, induced processes, rollouts."""

from dataclasses import FrozenInstanceError
from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from icrl.mdp import MarkovDecisionProcess, random_mdp, rollout_batch
from icrl.policies import epsilon_greedy


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


def test_optimal_q_by_hand():
    """In the corridor the value of moving on halves with every further step to the end."""
    np.testing.assert_allclose(corridor().optimal_q(), [[1 / 8, 1 / 4], [1 / 4, 1 / 2], [1 / 2, 1], [0, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_optimal_q_is_the_best_of_all_policies(seed):
    """All 27 deterministic policies of a small process, each evaluated by its own linear system."""
    process, _, _ = world(seed, num_states=3)
    every = np.arange(3)
    values = []
    for actions in product(range(3), repeat=3):
        chain = process.transition[every, list(actions)]
        values.append(np.linalg.solve(np.eye(3) - 0.9 * chain, process.reward[every, list(actions)]))
    best = process.reward + 0.9 * process.transition @ np.max(values, axis=0)
    np.testing.assert_allclose(process.optimal_q(), best, rtol=1e-12, atol=1e-12)


def test_value_iteration_converges_within_its_bound():
    """After k backups the error is at most gamma^k max|q*|."""
    process, _, _ = world()
    optimum = process.optimal_q()
    for k in (0, 1, 5, 50):
        error = np.abs(process.value_iteration(k) - optimum).max()
        assert error <= 0.9**k * np.abs(optimum).max() + 1e-12


def test_ties_do_not_cycle():
    """All actions alike, up to rounding in their rows."""
    process, _, _ = world(discount=0.999)
    row = process.transition[:, :1]
    alike = MarkovDecisionProcess(np.repeat(row, 3, axis=1), np.full((4, 3), 0.1), 0.999)
    np.testing.assert_allclose(alike.optimal_q(), 100, rtol=1e-10)


def test_induced_processes_agree():
    """Action values from the chain of pairs, from the chain of states, and by a plain loop."""
    process, policy, _ = world()
    q = process.q_values(policy)
    np.testing.assert_allclose(process.under_pairs(policy).value(), q.ravel(), rtol=1e-12)
    np.testing.assert_allclose(process.under(policy).value(), (policy * q).sum(axis=1), rtol=1e-12)
    for s, a in np.ndindex(4, 3):
        successors = process.under_pairs(policy).transition[3 * s + a].reshape(4, 3)
        np.testing.assert_allclose(successors, process.transition[s, a][:, None] * policy)


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


def test_random_mdp_and_freezing():
    """Shapes, ranges, and arrays that cannot be written to; the caller's own arrays stay writable."""
    process, _, _ = world()
    assert (process.num_states, process.num_actions) == (4, 3)
    assert np.abs(process.reward).max() <= 1
    np.testing.assert_array_equal(process.start, 0.25)
    with pytest.raises(FrozenInstanceError):
        process.discount = 0.5
    with pytest.raises(ValueError, match="read-only"):
        process.transition[0, 0, 0] = 1
    transition = process.transition.copy()
    MarkovDecisionProcess(transition, process.reward.copy(), 0.9)
    transition[0, 0, 0] = 1


def test_greedy_policy_of_the_optimum_is_optimal():
    """Its value is the maximum of the optimal action values."""
    process, _, _ = world()
    q = process.optimal_q()
    value = process.under(epsilon_greedy(q, epsilon=0.0)).value()
    np.testing.assert_allclose(value, q.max(axis=1), rtol=1e-12)
