"""Gymnasium's tasks: the conversion against the tasks' own steps, and against their tables."""

from contextlib import contextmanager
from functools import lru_cache

import gymnasium
import numpy as np
import pytest
from scipy.stats import chisquare

from icrl.gymnasium_tasks import toy_text_tasks
from icrl.mdp import from_gymnasium

TASKS = [
    name
    for name, spec in gymnasium.registry.items()
    if "gymnasium.envs.toy_text" in str(spec.entry_point) and "Blackjack" not in name
]


@lru_cache
def sampled_steps(env_id, num_steps, **options):
    """Steps of the task itself under uniformly random actions."""
    rng = np.random.default_rng(0)
    environment = gymnasium.make(env_id, **options)
    steps, starts = [], [environment.reset(seed=0)[0]]
    state = starts[0]
    for action in rng.integers(environment.action_space.n, size=num_steps).tolist():
        successor, reward, terminated, truncated, _ = environment.step(action)
        steps.append((int(state), action, int(successor), float(reward), bool(terminated)))
        state = successor
        if terminated or truncated:
            starts.append(environment.reset()[0])
            state = starts[-1]
    environment.close()
    return steps, starts


def test_all_toy_text_tasks_are_found():
    """FrozenLake (two sizes), CliffWalking (also slippery), Taxi."""
    assert {name.split("-v")[0].rstrip("0123456789x") for name in TASKS} >= {
        "FrozenLake",
        "CliffWalking",
        "Taxi",
    }
    assert sorted(toy_text_tasks()) == sorted(TASKS)


@pytest.mark.parametrize("env_id", TASKS)
def test_conversion_agrees_with_sampled_steps(env_id):
    """Every step is possible, pays what the process pays, and ends exactly in terminal states."""
    process = from_gymnasium(env_id, 0.9)
    steps, starts = sampled_steps(env_id, 4000)
    assert process.start[starts].min() > 0
    for s, a, t, reward, terminated in steps:
        assert process.transition[s, a, t] > 0
        assert process.terminal[t] == terminated
        if env_id.startswith("CliffWalkingSlippery"):
            # Falling off the cliff and bumping into the wall beside it both end in the start state.
            assert -100 <= process.outcome_reward[s, a, t] <= -1
        else:
            assert process.outcome_reward[s, a, t] == reward


@pytest.mark.parametrize("env_id", [name for name in TASKS if "Lake" in name or "Slippery" in name])
def test_frequencies_and_mean_rewards_agree(env_id):
    """Chi-square of the successors of the start state, and the mean reward of its pairs within 4.5 sigma."""
    process = from_gymnasium(env_id, 0.9)
    steps, starts = sampled_steps(env_id, 4000)
    for a in range(4):
        here = [step for step in steps if step[:2] == (starts[0], a)]
        seen = np.bincount([t for _, _, t, _, _ in here], minlength=process.num_states)
        expected = process.transition[starts[0], a] * len(here)
        possible = expected > 0
        assert not seen[~possible].any()
        assert not chisquare(seen[possible], expected[possible]).pvalue < 1e-4  # NaN if only one is possible
        rewards = np.array([reward for _, _, _, reward, _ in here])
        slack = 4.5 * rewards.std() / np.sqrt(len(here)) + 1e-12
        assert abs(rewards.mean() - process.reward[starts[0], a]) <= slack


@pytest.mark.parametrize("env_id", TASKS)
def test_optimum_agrees_with_value_iteration_on_the_table(env_id):
    """Loops over the published outcomes, bootstrapped unless terminated, where the task can act."""
    process = from_gymnasium(env_id, 0.5)
    environment = gymnasium.make(env_id)
    table = environment.unwrapped.P
    environment.close()
    q = np.zeros((len(table), len(table[0])))
    for _ in range(60):
        v = q.max(axis=1)
        for s, a in np.ndindex(*q.shape):
            q[s, a] = sum(p * (r + 0.5 * v[t] * (not end)) for p, t, r, end in table[s][a])
    chain = process.under(np.full(q.shape, 1 / q.shape[1])).transition
    reached = process.start > 0
    for _ in range(process.num_states):
        reached |= chain[reached].any(axis=0)
    reached &= ~process.terminal
    assert reached.sum() > 10
    bound = 0.5**60 * 100 / 0.5
    np.testing.assert_allclose(process.optimal_q()[reached], q[reached], atol=bound)
    np.testing.assert_allclose(process.optimal_q()[process.terminal], 0, atol=1e-13)


def test_an_ending_state_that_can_be_reached_alive_gets_a_stand_in():
    """Action 0 passes through state 1 alive, action 1 ends the episode there: one state more."""

    class Ambiguous(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)
        initial_state_distrib = np.array([1.0, 0.0])
        P = {  # noqa: RUF012
            0: {0: [(1.0, 1, 0.0, False)], 1: [(1.0, 1, 2.0, True)]},
            1: {0: [(1.0, 0, 5.0, False)], 1: [(0.5, 0, 1.0, False), (0.5, 0, 3.0, True)]},
        }

    gymnasium.register("Ambiguous-v0", entry_point=Ambiguous, disable_env_checker=True)
    try:
        process = from_gymnasium("Ambiguous-v0", 0.5)
    finally:
        del gymnasium.registry["Ambiguous-v0"]
    np.testing.assert_array_equal(process.terminal, [False, False, True])
    np.testing.assert_array_equal(process.transition[0], [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(process.transition[1], [[1, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_array_equal(process.outcome_reward[1], [[5, 0, 0], [1, 0, 3]])
    v0, v1 = 5 * 0.5 / 0.75, 5 / 0.75  # go round for ever: v1 = 5 + v0/2, v0 = v1/2
    np.testing.assert_allclose(process.optimal_q().max(axis=1), [v0, v1, 0])


@contextmanager
def registered(table, start, name="Custom-v0", **fields):
    """A task of one's own with this table; the classes that were closed."""
    closed = []
    if start is not None:
        fields["initial_state_distrib"] = np.array(start)

    class Custom(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

        def close(self):
            closed.append(name)

    for field, value in (fields | {"P": table}).items():
        setattr(Custom, field, value)
    gymnasium.register(name, entry_point=Custom, disable_env_checker=True)
    try:
        yield closed
    finally:
        del gymnasium.registry[name]


def test_outcomes_that_share_a_successor_pay_their_mean():
    """A quarter pays 1, the rest 5; an outcome of probability 0 counts for nothing. The task is closed."""
    outcomes = [(0.25, 0, 1.0, False), (0.75, 0, 5.0, False), (0.0, 0, 9.0, True)]
    with registered({0: {0: outcomes}}, [1]) as closed:
        process = from_gymnasium("Custom-v0", 0.5)
    assert process.reward.item() == process.outcome_reward.item() == 4
    assert not process.terminal.any()
    assert closed == ["Custom-v0"]


def test_states_that_are_reached_alive_in_two_steps():
    """0, then 1, then 2; there an episode may also end. So 2 itself is no end, and a state is added."""
    table = {s: {0: [(1.0, t, 0.0, False)]} for s, t in enumerate((1, 2, 0))}
    table[0][1], table[1][1], table[2][1] = ([(1.0, t, 1.0, True)] for t in (2, 2, 2))
    with registered(table, [1.0, 0, 0]):
        process = from_gymnasium("Custom-v0", 0.5)
    np.testing.assert_array_equal(process.terminal, [False, False, False, True])
    np.testing.assert_array_equal(process.transition[:, 1], np.eye(4)[[3, 3, 3, 3]])
    np.testing.assert_array_equal(process.start, [1, 0, 0, 0])


def test_older_versions_are_read_without_a_warning():
    with (
        registered({0: {0: [(1.0, 0, 0.0, True)]}}, [1.0], "Custom-v1"),
        registered({0: {0: [(1.0, 0, 3.0, False)]}}, [1.0]),
    ):
        assert from_gymnasium("Custom-v0", 0.5).reward.item() == 3


MAP = "SFFF", "FHFH", "FFFH", "HFFG"
OPTIONS = [
    ("FrozenLake-v1", {"is_slippery": False}),
    ("FrozenLake-v1", {"success_rate": 0.9}),
    ("FrozenLake-v1", {"success_rate": 0.0}),
    ("FrozenLake-v1", {"reward_schedule": (5, -2, -0.25)}),
    ("FrozenLake-v1", {"map_name": "8x8"}),
    ("FrozenLake-v1", {"desc": MAP, "reward_schedule": (0, 0, 1)}),
    ("FrozenLake-v1", {"desc": ("SFSF", "FHFG"), "is_slippery": False}),
    ("FrozenLake-v1", {"desc": ("SG",)}),
    ("CliffWalking-v1", {"is_slippery": True}),
    ("Taxi-v4", {"is_rainy": True}),
    ("Taxi-v4", {"is_rainy": True, "rainy_probability": 0.5}),
    ("Taxi-v4", {"fickle_passenger": False, "fickle_probability": 0.9}),
]


def given(options):
    return ", ".join(options) or "nothing"


@pytest.mark.parametrize(("env_id", "options"), OPTIONS, ids=lambda x: x if isinstance(x, str) else given(x))
def test_every_option_is_in_the_process_as_it_is_played(env_id, options):
    """Played steps are possible, pay what the process pays, end where it ends, with its frequencies."""
    if options.get("desc"):
        options = options | {"desc": tuple(options["desc"])}
    process = from_gymnasium(env_id, 0.9, **options)
    steps, starts = sampled_steps(env_id, 3000, **options)
    assert process.start[starts].min() > 0
    s, a, t, reward, ended = (np.array(x) for x in zip(*steps, strict=True))
    assert process.transition[s, a, t].min() > 0
    np.testing.assert_array_equal(process.terminal[t], ended)
    if env_id == "CliffWalking-v1":  # two rewards for one successor: on average
        spread = 4.5 * np.std(reward) / np.sqrt(len(reward))
        assert abs(np.mean(reward - process.outcome_reward[s, a, t])) < spread
    else:
        np.testing.assert_array_equal(process.outcome_reward[s, a, t], reward)
    pair = s * process.num_actions + a
    seen = np.zeros((process.reward.size, process.num_states))
    np.add.at(seen, (pair, t), 1)
    expected = seen.sum(1, keepdims=True) * process.transition.reshape(seen.shape)
    often = expected > 5
    if often.sum() > often.any(axis=1).sum():  # not deterministic
        z = (seen - expected)[often] / np.sqrt(expected[often])
        assert np.mean(z**2) < 1 + 6 * np.sqrt(2 / often.sum())


def test_a_wrong_option_would_be_seen():
    """Steps played with rain against the process without: impossible ones occur."""
    steps, _ = sampled_steps("Taxi-v4", 3000, is_rainy=True)
    dry = from_gymnasium("Taxi-v4", 0.9)
    assert min(dry.transition[s, a, t] for s, a, t, _, _ in steps) == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("Taxi-v4", {"fickle_passenger": True}, "fickle_passenger is True, which Taxi's table leaves out"),
        ("FrozenLake-v1", {"map_name": "5x5"}, "cannot make: KeyError.*5x5"),
        ("FrozenLake-v1", {"reward_schedule": (1, 0)}, "cannot make: IndexError.*reward_schedule"),
        ("FrozenLake-v1", {"success_rate": 1.5}, r"holds \(-0.25, "),
        ("FrozenLake-v1", {"success_rate": np.nan}, r"holds \(nan, "),
        ("FrozenLake-v1", {"reward_schedule": (np.inf, 0, 0)}, r"holds .*inf.* a finite reward"),
        ("FrozenLake-v1", {"desc": ("FF", "FG")}, ""),
        ("Taxi-v4", {"is_rainy": True, "rainy_probability": 2.0}, r"holds \(2.0, "),
        ("CliffWalking-v1", {"fog": True}, "cannot make: .*fog"),
    ],
)
def test_refuses_options(env_id, options, message):
    """What the task does not take, and what its table would not describe, with the reason."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        from_gymnasium(env_id, 0.9, **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "table",
    [
        {0: {0: [(1.0, 0, 0.0)]}},
        {0: {1: [(1.0, 0, 0.0, True)]}},
        {1: {0: [(1.0, 1, 0.0, True)]}},
        {0: {0: [(1.0, -1, 0.0, True)]}},
        {0: {0: [(1.0, 1, 0.0, True)]}},
        {0: {0: [(1.0, 0, 0.0, False)]}, 1: {0: [(1.0, 0, 0.0, False)]}},
        {0: {0: [(1.0, 0.5, 0.0, True)]}},
        [[[]]],
        {},
        7,
    ],
)
def test_refuses_other_layouts(table):
    """No KeyError, no wrapped index: the task is named."""

    with (
        registered(table, [1.0]),
        pytest.raises(ValueError, match=r"env_id is 'Custom-v0', |transition row 0"),
    ):
        from_gymnasium("Custom-v0", 0.5)


@pytest.mark.bad_input
@pytest.mark.parametrize("env_id", ["NoSuchTask-v0", "Taxi-v0", "", "a/b/c", "no_module:x", 7, None])
def test_refuses_unknown_tasks_refused(env_id):
    with pytest.raises(ValueError, match=r"env_id is .*, which Gymnasium cannot make"):
        from_gymnasium(env_id, 0.9)


@pytest.mark.bad_input
@pytest.mark.parametrize("env_id", ["Blackjack-v1", "CartPole-v1"])
def test_refuses_tasks_without_a_table_refused(env_id):
    with pytest.raises(ValueError, match=f"env_id is '{env_id}', which publishes no transition table"):
        from_gymnasium(env_id, 0.9)


@pytest.mark.bad_input
def test_refuses_no_transition_table():
    with pytest.raises(ValueError, match="'CartPole-v1', which publishes no transition table"):
        from_gymnasium("CartPole-v1", 0.9)
    table = {0: {0: [(1.0, 0, 0.0, False)]}}
    with (
        registered(table, None),
        pytest.raises(ValueError, match="'Custom-v0', which publishes no transition"),
    ):
        from_gymnasium("Custom-v0", 0.9)
    with pytest.raises(ValueError, match="which Gymnasium cannot make"):
        from_gymnasium("FrozenLake-v1", 0.9, is_frozen=True)
