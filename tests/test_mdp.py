"""Decision processes: the optimum, induced chains, freezing."""

from dataclasses import FrozenInstanceError
from itertools import product

import numpy as np
import pytest
from scipy.stats import kstest

from icrl.mdp import MarkovDecisionProcess, random_mdp
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


def test_random_mdp_has_the_described_law():
    """Rewards uniform in [-1, 1], rows uniform on the simplex, by the test of Kolmogorov and Smirnov."""
    process = random_mdp(5, 150, 0.9, np.random.default_rng(2))
    assert kstest(process.reward.ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    for t in (0, 4):
        assert kstest(process.transition[..., t].ravel(), "beta", (1, 4)).pvalue > 1e-3


def test_greedy_policy_of_the_optimum_is_optimal():
    """Its value is the maximum of the optimal action values."""
    process, _, _ = world()
    q = process.optimal_q()
    value = process.under(epsilon_greedy(q, epsilon=0.0)).value()
    np.testing.assert_allclose(value, q.max(axis=1), rtol=1e-12)


TRANSITION, REWARD = np.full((2, 3, 2), 0.5), np.zeros((2, 3))


ABSORBING = np.array([[[0.5, 0.5]] * 3, [[0.0, 1.0]] * 3])


LAST = np.array([False, True])


def process(transition=TRANSITION, reward=REWARD, discount=0.9, **fields):
    return MarkovDecisionProcess(transition, reward, discount, **fields)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"transition": np.full((2, 3, 2), 0.4)}, "transition row 0, 0 sums to 0.8; every row must sum to 1"),
        (
            {"transition": np.full((2, 3, 3), 1 / 3)},
            r"transition has shape \(2, 3, 3\); it must be \(S, A, S\)",
        ),
        ({"transition": np.full((2, 2), 0.5)}, r"transition has shape \(2, 2\); it must have 3 axes"),
        ({"transition": np.zeros((2, 0, 2))}, r"transition has shape \(2, 0, 2\); no axis may be empty"),
        ({"reward": np.zeros((3, 2))}, r"reward has shape \(3, 2\); it must be \(2, 3\)"),
        ({"reward": np.full((2, 3), np.nan)}, r"reward\[0, 0\] is nan; every entry must be finite"),
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"discount": -0.1}, r"discount is -0.1"),
        ({"start": np.array([0.5, 0.4])}, "start sums to 0.9"),
        ({"start": np.ones(3) / 3}, r"start has shape \(3,\); it must be \(2,\)"),
        ({"terminal": np.array([0, 1])}, "terminal is .* of dtype int64; it must be an array of booleans"),
        ({"terminal": np.array([True])}, r"terminal has shape \(1,\); it must be \(2,\)"),
        ({"terminal": [[True], [True, False]]}, "terminal is .*; it must be an array of booleans"),
        ({"terminal": np.ma.masked_array([True, False], [True, False])}, "terminal is a masked array"),
        ({"terminal": LAST}, "terminal holds state 1, which is not absorbing with reward 0"),
        (
            {"transition": ABSORBING, "reward": np.ones((2, 3)), "terminal": LAST},
            "terminal holds state 1, which is not absorbing with reward 0",
        ),
        (
            {"transition": ABSORBING, "reward": np.eye(2, 3), "terminal": LAST},
            "terminal holds state 1, which is not absorbing with reward 0",
        ),
        ({"transition": ABSORBING, "terminal": LAST}, "start gives the terminal state 1 probability 0.5"),
        ({"outcome_reward": np.zeros((2, 3))}, r"outcome_reward has shape \(2, 3\); it must have 3 axes"),
        (
            {"outcome_reward": np.ones((2, 3, 2))},
            r"outcome_reward\[0, 0\] has an expectation 1 away from reward\[0, 0\]",
        ),
    ],
)
def test_refuses_processes_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        process(**fields)


@pytest.mark.parametrize(
    ("reward", "off", "allowed"),
    [
        (0.1, 1e-8, True),
        (0.1, 1.2e-8, False),
        (0.1, -1.2e-8, False),
        (1e6, 0.8e-2, True),
        (-1e6, 0.8e-2, True),
        (1e6, 1.2e-2, False),
    ],
)
def test_outcome_rewards_agree_with_rewards_to_1e_8_of_the_largest(reward, off, allowed):
    """Of 1 at least. The pair that is farthest off is named."""
    rewards = np.array([[reward, 0, 0], [0, 0, 0]])
    paid = np.repeat(rewards[..., None], 2, axis=2) + off * np.array([[[0.0], [0], [0]], [[0], [0], [1]]])
    if allowed:
        np.testing.assert_array_equal(process(reward=rewards, outcome_reward=paid).outcome_reward, paid)
    else:
        with pytest.raises(ValueError, match=r"outcome_reward\[1, 2\] has an expectation .* reward\[1, 2\]"):
            process(reward=rewards, outcome_reward=paid)


@pytest.mark.bad_input
def test_a_terminal_state_absorbs_under_every_action():
    transition = ABSORBING.copy()
    transition[1, 2] = 0.5
    with pytest.raises(ValueError, match="terminal holds state 1, which is not absorbing"):
        process(transition, start=np.array([1.0, 0]), terminal=LAST)


@pytest.mark.bad_input
def test_refuses_other_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="num_states is 0"):
        random_mdp(0, 2, 0.9, rng)
    with pytest.raises(ValueError, match="num_actions is 0; it must be at least 1"):
        random_mdp(2, 0, 0.9, rng)
    with pytest.raises(ValueError, match=r"rng is 0; it must be a numpy\.random\.Generator"):
        random_mdp(2, 1, 0.9, 0)
    assert random_mdp(1, 1, 0.9, rng).transition == 1
    with pytest.raises(ValueError, match="num_iterations is -1"):
        process().value_iteration(-1)
    with pytest.raises(ValueError, match="reward has entries so large"):  # and no warning
        process(reward=np.full((2, 3), 1.5e308)).value_iteration(2)
    for epsilon in (-0.1, 1.1, np.nan, "much"):
        with pytest.raises(ValueError, match="epsilon is"):
            epsilon_greedy(np.zeros((2, 3)), epsilon)
    with pytest.raises(ValueError, match=r"q has shape \(3,\)"):
        epsilon_greedy(np.zeros(3), 0.1)
    with pytest.raises(ValueError, match=r"q\[0, 1\] is nan"):
        epsilon_greedy(np.array([[0.0, np.nan]]), 0.1)
