"""The loop, its scores, its updaters: small cases worked out by hand."""

import numpy as np
import pytest
import torch

from icrl.control.comparison import (
    few_successors,
    raised,
    with_rewards,
)
from icrl.control.loop import control
from icrl.control.scores import first_reward_time, goals, interval, myopic, optimal, score, uniform
from icrl.control.updaters import (
    ActorCritic,
    FrozenBlock,
    LinearSarsa,
    SoftmaxPairs,
    Tabular,
    greedy,
    regauge,
    slots,
    updater,
)
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp
from icrl.rollouts import Rollout, rollout_batch

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)


def corridor(paid=1.0):
    """State 0 leads to 1 under action 0 and stays under action 1; 1 ends the episode in 2, paid."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 1] = transition[0, 1, 0] = transition[1, :, 2] = transition[2, :, 2] = 1
    reward = np.zeros((3, 2))
    reward[1] = paid
    ends = np.array([False, False, True])
    return MarkovDecisionProcess(transition, reward, 0.5, np.array([1.0, 0, 0]), ends)


def test_slots_name_pairs_by_first_occurrence():
    assert slots(np.array([[7, 3, 7, 7, 5, 3]])).tolist() == [[0, 1, 0, 0, 4, 1]]


def test_ties_within_rounding_share():
    assert greedy(np.array([[1.0, 1.0 + 1e-13, 0.0]])).tolist() == [[0.5, 0.5, 0.0]]


def test_tabular_updates_by_hand():
    roll = Rollout(*(np.array([x]) for x in ([0, 1, 0], [0, 1, 1], [2.0, 4.0], [False, True])))
    policies, memory = np.full((1, 2, 2), 0.5), np.array([[[0.0, 0.0], [5.0, 3.0]]])
    for kind, target in (
        ("sarsa", 2 + 0.5 * 3),
        ("q-learning", 2 + 0.5 * 5),
        ("expected-sarsa", 2 + 0.5 * 4),
    ):
        q = Tabular(kind, 0.5).update(memory, roll, policies, 0.5)
        assert q[0, 0, 0] == pytest.approx(0.5 * target)
        assert q[0, 1, 1] == pytest.approx(3.5)  # ended: nothing is bootstrapped
        assert q[0, 1, 0] == 5
        assert q[0, 0, 1] == 0


def test_block_in_slots_is_the_block_with_a_feature_for_each_pair():
    rng = np.random.default_rng(0)
    processes = [random_mdp(4, 3, 0.8, rng) for _ in range(5)]
    policies = rng.dirichlet(np.ones(3), size=(5, 4))
    roll = rollout_batch(processes, policies, 9, rng)
    memory = rng.normal(size=(5, 4, 3))
    prompt = sarsa_prompt(
        memory.reshape(5, 12), *roll.window(np.eye(12).reshape(4, 3, 12)), roll.rewards, 0.8
    )
    literal = LinearTransformer(*sarsa_weights(12, 2.0)).readout(prompt).numpy().reshape(5, 4, 3)
    in_slots = LinearSarsa(2.0).update(memory, roll, policies, 0.8)
    assert np.abs(in_slots - literal).max() < 1e-14
    own = FrozenBlock(*sarsa_weights(12, 1.0), step_size=2.0).update(memory, roll, policies, 0.8)
    assert np.abs(own - literal).max() < 1e-14
    lent = FrozenBlock(*sarsa_weights(11, 2.0)).update(memory, roll, policies, 0.8)
    assert np.abs(lent - literal).max() < 1e-14
    assert not np.array_equal(memory, literal)


def test_layers_are_repetitions():
    rng = np.random.default_rng(1)
    process = random_mdp(3, 2, 0.7, rng)
    policies, memory = np.full((1, 3, 2), 0.5), rng.normal(size=(1, 3, 2))
    roll = process.rollout(policies[0], 8, rng)
    roll = Rollout(*(x[None] for x in roll))
    once = memory
    for _ in range(3):
        once = LinearSarsa(1.5).update(once, roll, policies, 0.7)
    assert np.allclose(LinearSarsa(1.5, 3).update(memory, roll, policies, 0.7), once, rtol=0, atol=1e-14)


def test_visited_queries_leave_other_pairs_alone():
    rng = np.random.default_rng(2)
    process, memory = random_mdp(5, 3, 0.7, rng), rng.normal(size=(1, 5, 3))
    policies = np.full((1, 5, 3), 1 / 3)
    roll = Rollout(*(x[None] for x in process.rollout(policies[0], 4, rng)))
    pairs = roll.states * 3 + roll.actions
    new = SoftmaxPairs(2, 4.0, 0.5, "visited").update(memory, roll, policies, 0.7)
    same = np.setdiff1d(np.arange(15), pairs[0, :-1])
    assert np.array_equal(new.reshape(-1)[same], memory.reshape(-1)[same])
    everywhere = SoftmaxPairs(2, 4.0, 0.5, "all").update(memory, roll, policies, 0.7)
    moved = (everywhere - memory).reshape(-1)[np.setdiff1d(np.arange(15), pairs[0])]
    assert np.ptp(moved) < 1e-14
    assert abs(moved[0]) > 1e-6


def test_score_of_a_corridor():
    process = corridor()
    always = np.array([[[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]])
    found = score([process], always, horizon=2)
    assert found.value[0] == pytest.approx(0.5)
    assert found.share[0] == pytest.approx(1.0)
    assert found.success[0] == 1
    assert found.episode_return[0] == 1
    assert score([process], uniform([process]), 2).success[0] == pytest.approx(0.5)
    assert score([process], always, 1).success[0] == 0
    assert first_reward_time(process, always[0]) == pytest.approx(2)
    assert first_reward_time(process, uniform([process])[0]) == pytest.approx(3)
    assert first_reward_time(process, always[0][:, ::-1]) == np.inf


def test_shares_of_known_policies():
    rng = np.random.default_rng(3)
    processes = [random_mdp(4, 3, 0.8, rng) for _ in range(6)]
    assert np.allclose(score(processes, optimal(processes)).share, 1)
    assert np.allclose(score(processes, uniform(processes)).share, 0)
    shares = score(processes, myopic(processes)).share
    assert (shares <= 1 + 1e-12).all()
    worst = greedy(-np.stack([process.optimal_q() for process in processes]))
    assert (score(processes, worst).share < 0).all()
    assert np.isnan(score(processes, myopic(processes)).success).all()


def test_holes_are_no_goals():
    assert np.flatnonzero(goals(LAKE)).tolist() == [15]
    assert np.flatnonzero(goals(from_gymnasium("CliffWalking-v1", 0.9))).tolist() == [47]
    taxi = from_gymnasium("Taxi-v4", 0.9)
    assert (goals(taxi) == taxi.terminal).all()


def test_batch_of_runs_is_runs_of_one():
    process = corridor()
    one = control([process], Tabular("sarsa", 0.5), [0, 3], np.random.default_rng(4))
    assert one.windows.tolist() == [0, 3]
    assert one.memories.shape == (2, 1, 3, 2)
    assert not one.memories[0].any()
    assert one.collapsed.tolist() == [0]
    many = control([process] * 7, Tabular("sarsa", 0.5), [0, 3], np.random.default_rng(4))
    assert many.policies.shape == (2, 7, 3, 2)


def test_the_leader_acts():
    """Beside a leader of its own kind a follower learns the same; beside another, something else."""
    given = [LAKE] * 3, LinearSarsa(4.0), [60]
    alone, beside, other = (
        control(*given, np.random.default_rng(5), leader=leader).memories
        for leader in (None, LinearSarsa(4.0), Tabular("q-learning", 0.5))
    )
    assert np.array_equal(alone, beside)
    assert not np.array_equal(alone, other)


def test_a_collapse_is_said_and_the_last_memory_kept():
    rng = np.random.default_rng(6)
    processes = [random_mdp(4, 2, 0.9, rng) for _ in range(4)]
    run = control(processes, LinearSarsa(400.0), [0, 50], rng)
    assert (run.collapsed > 0).all()
    assert np.isfinite(run.memories).all()
    assert np.isfinite(score(processes, run.policies).share).all()


def test_interval_by_hand():
    low, high = interval(np.array([0.0] * 50 + [1.0] * 50), np.random.default_rng(7))
    assert low == pytest.approx(0.40, abs=0.03)
    assert high == pytest.approx(0.60, abs=0.03)
    assert interval(np.ones((3, 5)), np.random.default_rng(7)).tolist() == [[1.0, 1.0]] * 3


def test_actor_critic_acts_by_its_own_policy():
    learner = ActorCritic(1.0, 1.0)
    memory = learner.start(2, 3, 2)
    memory[0, 0, 1:] = [np.log(3), 0]
    assert learner.behaviour(memory, 0.3)[0, 0] == pytest.approx([0.75, 0.25])
    assert learner.deployed(memory)[1, 2] == pytest.approx([0.5, 0.5])


def test_gauge_keeps_the_block_on_its_own_tasks():
    rng = np.random.default_rng(8)
    P, V = (torch.from_numpy(rng.normal(size=(11, 11))) for _ in range(2))
    P[:, :7] = V[:8] = 0
    P[7:] = V[:, 7:] = 0
    one_hot = np.eye(3)[rng.integers(3, size=9)]
    prompt = sarsa_prompt(rng.normal(size=3), one_hot[:-1], one_hot[1:], rng.normal(size=8), 0.6)
    readouts = [LinearTransformer(*block).readout(prompt) for block in ((P, V), regauge(P, V, 0.6))]
    assert (readouts[0] - readouts[1]).abs().max() < 1e-12


def test_raising_rewards_keeps_the_optimal_policy():
    process = few_successors(5, 3, 0.9, np.random.default_rng(9))
    assert np.array_equal(optimal([process]), optimal([raised(process, 2.0)]))


def test_updaters_by_name():
    assert updater("linear", step_size=2.0).step_size == 2.0
    assert updater("tabular", kind="sarsa", step_size=0.1).kind == "sarsa"


def test_holes_and_steps_are_paid_the_goal_is_not():
    told = with_rewards(LAKE, step=-0.1, hole=-2.0)
    assert told.outcome_reward[0, 2, 1] == -0.1
    assert told.outcome_reward[1, 1, 5] == -2.0
    assert told.outcome_reward[14, 2, 15] == 1.0
    assert not told.outcome_reward[told.terminal].any()
