"""What the rooms of in-context control refuse, and what they say."""

import numpy as np
import pytest
import torch

from icrl.control.comparison import raised
from icrl.control.loop import control
from icrl.control.scores import first_reward_time, interval, score, uniform
from icrl.control.updaters import ActorCritic, FrozenBlock, LinearSarsa, SoftmaxPairs, Tabular, slots, updater
from icrl.linear_transformer import sarsa_weights
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp

pytestmark = pytest.mark.bad_input

PROCESS = random_mdp(3, 2, 0.9, np.random.default_rng(0))


def run(processes=(PROCESS,), learner=None, records=(0, 2), **options):
    learner = LinearSarsa(1.0) if learner is None else learner
    return control(processes, learner, records, np.random.default_rng(0), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": ()}, "processes is empty; give at least one"),
        (
            {"processes": (PROCESS, random_mdp(3, 2, 0.8, np.random.default_rng(0)))},
            r"processes have the sizes \(S, A\) \[\(3, 2\)\] and the discounts \[0.8, 0.9\]",
        ),
        ({"learner": "linear"}, "updater is 'linear'.*must be an icrl.control.Updater"),
        ({"leader": "linear"}, "leader 'linear'"),
        ({"records": ()}, r"records is \[\]; it must be a rising list"),
        ({"records": (5, 5)}, r"records is \[5, 5\]; it must be a rising list"),
        ({"records": (0, -1)}, r"records\[1\] is -1"),
        ({"num_transitions": 0}, "num_transitions is 0"),
        ({"epsilon": 1.5}, "epsilon is 1.5"),
    ],
)
def test_loop(change, message):
    with pytest.raises(ValueError, match=message):
        run(**change)


def test_unknown_updater():
    with pytest.raises(ValueError, match="updater is 'dqn'; it must be one of linear, actor-critic, softmax"):
        updater("dqn")
    with pytest.raises(ValueError, match=r"updater 'linear' does not take the settings \{'rate': 1\}"):
        updater("linear", rate=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearSarsa(0.0), "step_size is 0; it must be positive"),
        (lambda: LinearSarsa(1.0, 0), "num_layers is 0"),
        (lambda: ActorCritic(1.0, -1.0), "actor_step is -1"),
        (lambda: ActorCritic(np.nan, 1.0), "critic_step is nan"),
        (lambda: SoftmaxPairs(inverse_temperature=0.0), "inverse_temperature is 0"),
        (lambda: SoftmaxPairs(queries="some"), "queries is 'some'; it must be 'visited' or 'all'"),
        (lambda: Tabular("sarsa", 1.5), r"step_size is 1.5; it must lie in \(0, 1\]"),
        (lambda: Tabular("td", 0.5), "kind is 'td'"),
        (lambda: FrozenBlock(torch.eye(6), torch.eye(6)), "P has 6 rows; it must have 3 d"),
        (lambda: slots(np.arange(3)), r"keys has shape \(3,\); it must be \(B, N\)"),
    ],
)
def test_updaters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_block_of_another_size():
    block = FrozenBlock(*sarsa_weights(8, 1.0))
    with pytest.raises(
        ValueError, match="P serves 8 features; the world has 6 pairs and the window 21 columns"
    ):
        run(learner=block)
    run(learner=block, num_transitions=7)


def test_no_transition_table():
    with pytest.raises(ValueError, match="'CartPole-v1', which publishes no transition table"):
        from_gymnasium("CartPole-v1", 0.9)
    with pytest.raises(ValueError, match="which Gymnasium cannot make"):
        from_gymnasium("FrozenLake-v1", 0.9, is_frozen=True)


def test_scores():
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


def test_raising_where_episodes_end():
    with pytest.raises(ValueError, match="process has terminal states"):
        raised(from_gymnasium("FrozenLake-v1", 0.9))
