"""Exact scores of policies, and intervals."""

import numpy as np
import pytest

from icrl.control.scores import first_reward_time, goals, interval, myopic, optimal, score, uniform
from icrl.control.updaters import (
    greedy,
)
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)


def corridor(paid=1.0):
    """State 0 leads to 1 under action 0 and stays under action 1; 1 ends the episode in 2, paid."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 1] = transition[0, 1, 0] = transition[1, :, 2] = transition[2, :, 2] = 1
    reward = np.zeros((3, 2))
    reward[1] = paid
    ends = np.array([False, False, True])
    return MarkovDecisionProcess(transition, reward, 0.5, np.array([1.0, 0, 0]), ends)


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


def test_a_trap_beside_the_reward_is_for_ever():
    """Half of the episodes end, paid; the other half stay where nothing is."""
    transition, outcome = np.zeros((3, 1, 3)), np.zeros((3, 1, 3))
    transition[0, 0, 1:] = 0.5
    transition[1, 0, 1] = transition[2, 0, 2] = outcome[0, 0, 1] = 1
    reward, ends = np.array([[0.5], [0.0], [0.0]]), np.array([False, True, False])
    process = MarkovDecisionProcess(transition, reward, 0.5, np.array([1.0, 0, 0]), ends, outcome)
    assert first_reward_time(process, np.ones((3, 1))) == np.inf


def test_a_chain_beside_a_trap_that_nobody_enters():
    """Three steps one after the other, the last one paid; what is never met does not count."""
    transition = np.zeros((5, 1, 5))
    transition[[0, 1, 2, 3, 4], 0, [1, 2, 3, 3, 4]] = 1
    ends, reward = np.arange(5) == 3, np.array([[0.0], [0.0], [1.0], [0.0], [0.0]])
    for start, steps in ((0, 3), (1, 2)):
        process = MarkovDecisionProcess(transition, reward, 0.5, np.eye(5)[start], ends)
        assert first_reward_time(process, np.ones((5, 1))) == steps
    process = MarkovDecisionProcess(transition, reward, 0.5, np.array([0.5, 0, 0, 0, 0.5]), ends)
    assert first_reward_time(process, np.ones((5, 1))) == np.inf


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


def test_many_states_are_scored_alike(monkeypatch):
    """The sparse way, which Taxi takes, and the other one: with ends, without, unlike worlds."""
    rng = np.random.default_rng(4)
    unlike = [random_mdp(6, 3, 0.7, rng) for _ in range(3)]
    for processes in ([LAKE] * 3, unlike[:1] * 3, unlike):
        policies = rng.dirichlet(np.ones(processes[0].reward.shape[1]), size=(2, 3, len(processes[0].reward)))
        dense = score(processes, policies, 9)
        monkeypatch.setattr("icrl.control.scores.MANY_STATES", 2)
        for x, y in zip(score(processes, policies, 9), dense, strict=True):
            assert np.allclose(x, y, rtol=1e-10, atol=1e-12, equal_nan=True)
        monkeypatch.undo()


def test_interval_by_hand():
    low, high = interval(np.array([0.0] * 50 + [1.0] * 50), np.random.default_rng(7))
    assert low == pytest.approx(0.40, abs=0.03)
    assert high == pytest.approx(0.60, abs=0.03)
    assert interval(np.ones((3, 5)), np.random.default_rng(7)).tolist() == [[1.0, 1.0]] * 3


PROCESS = random_mdp(3, 2, 0.9, np.random.default_rng(0))


@pytest.mark.bad_input
def test_refuses_scores():
    with pytest.raises(ValueError, match=r"policies has shape \(1, 2, 2\); it must end in \(1, 3, 2\)"):
        score([PROCESS], np.full((1, 2, 2), 0.5))
    with pytest.raises(ValueError, match="horizon is 0"):
        score([PROCESS], uniform([PROCESS]), 0)
    same = MarkovDecisionProcess(PROCESS.transition, np.ones((3, 2)), 0.9)
    with pytest.raises(ValueError, match=r"processes\[0\] has the gap .* between uniform and optimal"):
        score([same], uniform([same]))
    costs = MarkovDecisionProcess(
        PROCESS.transition, PROCESS.reward * 1e-3 - 1e9, 0.9
    )  # lost in what both pay
    with pytest.raises(ValueError, match=r"processes\[0\] has the gap .* between uniform and optimal"):
        score([costs], uniform([costs]))
    other = random_mdp(3, 2, 0.8, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"processes have .* the discounts \[0.8, 0.9\]"):
        score([PROCESS, other], uniform([PROCESS, PROCESS]))
    larger = random_mdp(4, 2, 0.9, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"processes have the sizes \(S, A\) \[\(3, 2\), \(4, 2\)\]"):
        score([PROCESS, larger], uniform([PROCESS, PROCESS]))
    with pytest.raises(ValueError, match=r"processes\[1\] has the gap 0 between uniform and optimal"):
        score([PROCESS, same], uniform([PROCESS] * 2))
    with pytest.raises(ValueError, match="draws is 0"):
        interval(np.ones(3), np.random.default_rng(0), draws=0)
    with pytest.raises(ValueError, match="level is 1"):
        interval(np.ones(3), np.random.default_rng(0), level=1.0)
    with pytest.raises(ValueError, match=r"policy has shape \(1, 3, 2\)"):
        first_reward_time(PROCESS, uniform([PROCESS]))


@pytest.mark.bad_input
def test_refuses_success_without_a_goal():
    """On a lake with holes only, drowning would count as success; an ending that costs may be a goal."""
    for paid in ((1, 0, 0), (0, -1, 0)):
        lake = from_gymnasium("FrozenLake-v1", 0.9, desc=("SF", "FH"), reward_schedule=paid)
        with pytest.raises(ValueError, match=r"process pays -?\d for its best ending.* there is no success"):
            goals(lake)
    assert goals(from_gymnasium("CliffWalking-v1", 0.9)).nonzero()[0].tolist() == [47]


def windy(rng, size=5, actions=2):
    """A random world that ends in its last two states, a hole and a goal, with rewards for arriving there."""
    transition = rng.dirichlet(np.ones(size), size=(size, actions))
    transition[-2:] = np.eye(size)[-2:, None]
    paid = np.zeros_like(transition)
    paid[:-2, :, -1], paid[:-2, :, -2] = 2.0, -1.0
    ends = np.arange(size) >= size - 2
    start = rng.dirichlet(np.ones(size - 2))
    return MarkovDecisionProcess(
        transition, (transition * paid).sum(axis=2), 0.8, np.append(start, [0, 0]), ends, paid
    )


def test_scores_of_unlike_worlds_by_loops():
    """Three worlds, one of them twice, unlike policies, two leading axes: every number by its definition."""
    rng = np.random.default_rng(11)
    worlds = [windy(rng) for _ in range(3)]
    worlds.append(worlds[0])
    policies = rng.dirichlet(np.ones(2), size=(2, 4, 5))
    found = score(worlds, policies, horizon=3)
    for k, b in np.ndindex(2, 4):
        world, policy = worlds[b], policies[k, b]
        chain = np.einsum("sa,sat->st", policy, world.transition)
        reward = (policy * world.reward).sum(axis=1)
        state, total, value = world.start, 0.0, 0.0
        for step in range(400):
            total += state @ reward if step < 3 else 0
            value += 0.8**step * state @ reward
            state = state @ chain
            if step == 2:
                success = state[-1]
        assert found.success[k, b] == pytest.approx(success)
        assert found.episode_return[k, b] == pytest.approx(total)
        assert found.value[k, b] == pytest.approx(value)
        best = world.start @ world.optimal_q().max(axis=1)
        plain = np.einsum("sat->st", world.transition) / 2
        even = world.start @ np.linalg.solve(np.eye(5) - 0.8 * plain, world.reward.mean(axis=1))
        assert found.share[k, b] == pytest.approx((value - even) / (best - even))


def test_first_reward_by_a_series():
    """Chance that nothing was paid in so many steps, summed; ended episodes start anew."""
    rng = np.random.default_rng(12)
    world, policy = windy(rng), rng.dirichlet(np.ones(2), size=5)
    silent = np.einsum("sa,sat->st", policy, world.transition)
    silent[:, -2:] = 0  # both endings pay
    state, expected = world.start.copy(), 0.0
    for _ in range(2000):
        expected += state.sum()
        state = state @ silent
    assert first_reward_time(world, policy) == pytest.approx(expected)
    free = world.outcome_reward.copy()
    free[:, :, -2] = 0  # the hole pays nothing: the episode begins again
    reward = (world.transition * free).sum(axis=2)
    quiet = MarkovDecisionProcess(world.transition, reward, 0.8, world.start, world.terminal, free)
    again = np.einsum("sa,sat->st", policy, world.transition)
    again = again[:, :-2] + again[:, -2:-1] * world.start[:-2]
    steps = np.linalg.solve(np.eye(3) - again[:3], np.ones(3))
    assert first_reward_time(quiet, policy) == pytest.approx(world.start[:3] @ steps)


def test_intervals_by_their_level_and_runs():
    """Normal data: as wide as 1.96 or 1 standard errors, around the mean, for each row of its own."""
    values = np.random.default_rng(13).normal(size=(2, 400)) * [[1.0], [3.0]] + [[0.0], [5.0]]
    error = values.std(axis=1) / 20
    for level, width in ((0.95, 1.96), (0.6827, 1.0)):
        found = interval(values, np.random.default_rng(1), level=level)
        np.testing.assert_allclose((found[:, 1] - found[:, 0]) / 2, width * error, rtol=0.1)
        np.testing.assert_allclose(found.mean(axis=1), values.mean(axis=1), atol=0.2)
    default = interval(values, np.random.default_rng(1))
    said = interval(values, np.random.default_rng(1), level=0.95, draws=2000)
    assert np.array_equal(default, said)
    assert score([LAKE], uniform([LAKE])).success == score([LAKE], uniform([LAKE]), 200).success


@pytest.mark.parametrize(("pays", "refused"), [(0.9e-9, True), (1.1e-9, False)])
@pytest.mark.parametrize("size", [1.0, 1e3, -1e3])
@pytest.mark.bad_input
def test_the_smallest_gap_there_is(pays, refused, size):
    """1e-9, or that share of what is paid: half of what one of two actions pays more, here for one step."""
    reward = (
        np.array([[size, size + 2 * pays * max(1, abs(size))]])
        if abs(size) > 1
        else np.array([[0, 2 * pays]])
    )
    process = MarkovDecisionProcess(np.ones((1, 2, 1)), reward, 0.0)
    if refused:
        with pytest.raises(ValueError, match=r"has the gap .* between uniform and optimal"):
            score([process], uniform([process]))
    else:
        assert score([process], optimal([process])).share == pytest.approx(1)
    assert len(interval(np.ones(3), np.random.default_rng(0), draws=1)) == 2


def test_success_is_known_where_all_worlds_end():
    """One that goes on for ever beside one that ends: neither is said."""
    endless = random_mdp(5, 2, 0.8, np.random.default_rng(2))
    both = [windy(np.random.default_rng(1)), endless]
    assert np.isnan(score(both, uniform(both)).success).all()
    assert not np.isnan(score(both[:1], uniform(both[:1])).success).any()


def test_goals_of_endings_by_hand():
    """Of three endings the one that pays best; where going on pays more than it, none."""

    def world(endings, step, discount=0.5):
        transition, paid = np.zeros((5, 2, 5)), np.zeros((5, 2, 5))
        transition[0, 0, 1:4], transition[0, 1, 4], transition[4, 0, 0], transition[4, 1, 4] = 1 / 3, 1, 1, 1
        transition[1:4] = np.eye(5)[1:4, None]
        paid[0, 0, 1:4] = endings
        paid[0, 1, 4] = paid[4, 1, 4] = paid[4, 0, 0] = step
        ends = np.array([False, True, True, True, False])
        reward = (transition * paid).sum(axis=2)
        return MarkovDecisionProcess(transition, reward, discount, np.eye(5)[0], ends, paid)

    for endings, step, found in (
        ([1, 3, 2], 0, [2]),
        ([2, 2, 1], 0, [1, 2]),
        ([-1, -3, -2], -1, [1]),  # 1 once is less than 1 again and again
        ([0, 1.01, 0], 0.5, [2]),  # 0.5 for ever is 1
    ):
        assert np.flatnonzero(goals(world(endings, step))).tolist() == found
    for endings, step in (([1.0, 0.5, 0.9], 0.5), ([-2.1, -3, -4], -1)):
        with pytest.raises(ValueError, match="for its best ending"):
            goals(world(endings, step))


def test_reference_policies_by_hand():
    """Ties share: two equal actions of three get a half each."""
    transition = np.full((2, 3, 2), 0.5)
    tied = MarkovDecisionProcess(transition, np.array([[1.0, 1, 0], [0, 2, 2]]), 0.5)
    expected = [[[0.5, 0.5, 0], [0, 0.5, 0.5]]]
    assert myopic([tied]).tolist() == optimal([tied]).tolist() == expected
    assert uniform([tied]) == pytest.approx(np.full((1, 2, 3), 1 / 3))
