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
