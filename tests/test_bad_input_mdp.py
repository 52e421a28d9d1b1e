"""What decision processes and policies refuse."""

import numpy as np
import pytest

from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp, rollout_batch
from icrl.policies import epsilon_greedy, softmax_policy, softmax_score

pytestmark = pytest.mark.bad_input
TRANSITION, REWARD = np.full((2, 3, 2), 0.5), np.zeros((2, 3))
UNIFORM = np.full((2, 3), 1 / 3)
ABSORBING = np.array([[[0.5, 0.5]] * 3, [[0.0, 1.0]] * 3])
LAST = np.array([False, True])


def process(transition=TRANSITION, reward=REWARD, discount=0.9, **fields):
    return MarkovDecisionProcess(transition, reward, discount, **fields)


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
        (
            {"terminal": np.array([0, 1])},
            r"terminal has shape \(2,\) and dtype int64; it must be \(2,\), bool",
        ),
        ({"terminal": LAST}, "terminal holds state 1, which is not absorbing with reward 0"),
        (
            {"transition": ABSORBING, "reward": np.ones((2, 3)), "terminal": LAST},
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
def test_processes_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        process(**fields)


@pytest.mark.parametrize("call", ["under", "under_pairs", "q_values", "rollout"])
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((2, 3), 0.3), "policy row 0 sums to 0.9; every row must sum to 1"),
        (np.array([[1.0, 0, 0], [1.5, -0.5, 0]]), "policy row 1 holds -0.5"),
        (np.full((3, 2), 0.5), r"policy has shape \(3, 2\); it must be \(2, 3\)"),
        (np.full((2, 3), np.inf), r"policy\[0, 0\] is inf"),
        (np.array([0, 1]), r"policy has shape \(2,\); it must have 2 axes"),
    ],
)
def test_policies_refused(call, policy, message):
    rest = (5, np.random.default_rng(0)) if call == "rollout" else ()
    with pytest.raises(ValueError, match=message):
        getattr(process(), call)(policy, *rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_transitions": 0}, "num_transitions is 0; it must be at least 1"),
        ({"num_transitions": 2.5}, "num_transitions is 2.5; it must be an integer"),
        ({"start": 2}, r"starts\[0\] is 2; states run from 0 to 1"),
        ({"start": -1}, r"starts\[0\] is -1; states run from 0 to 1"),
        ({"start": 0.5}, "starts has dtype float64; states are integers"),
        ({"start": 1}, "starts holds 1, a terminal state; no episode may start in one"),
    ],
)
def test_rollouts_refused(arguments, message):
    task = process(ABSORBING, terminal=LAST, start=np.array([1.0, 0.0]))
    arguments = {"policy": UNIFORM, "num_transitions": 4, "rng": np.random.default_rng(0)} | arguments
    with pytest.raises(ValueError, match=message):
        task.rollout(**arguments)


def test_batches_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="processes is empty"):
        rollout_batch([], UNIFORM[None], 4, rng)
    with pytest.raises(ValueError, match="they must be the same"):
        rollout_batch([process(), random_mdp(4, 3, 0.9, rng)], np.stack([UNIFORM] * 2), 4, rng)
    with pytest.raises(ValueError, match=r"policies has shape \(1, 2, 3\); it must be \(2, 2, 3\)"):
        rollout_batch([process()] * 2, UNIFORM[None], 4, rng)
    with pytest.raises(ValueError, match=r"starts has shape \(2,\); it must be \(1,\)"):
        rollout_batch([process()], UNIFORM[None], 4, rng, starts=np.array([0, 1]))


def test_features_of_windows_refused():
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


@pytest.mark.parametrize("env_id", ["NoSuchTask-v0", "Taxi-v0", "", "a/b/c", "no_module:x", 7, None])
def test_unknown_tasks_refused(env_id):
    with pytest.raises(ValueError, match=r"env_id is .*, which Gymnasium cannot make"):
        from_gymnasium(env_id, 0.9)


@pytest.mark.parametrize("env_id", ["Blackjack-v1", "CartPole-v1"])
def test_tasks_without_a_table_refused(env_id):
    with pytest.raises(ValueError, match=f"env_id is '{env_id}', which publishes no transition table"):
        from_gymnasium(env_id, 0.9)


def test_other_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="num_states is 0"):
        random_mdp(0, 2, 0.9, rng)
    with pytest.raises(ValueError, match="num_actions is -1"):
        random_mdp(2, -1, 0.9, rng)
    with pytest.raises(ValueError, match="num_iterations is -1"):
        process().value_iteration(-1)
    for epsilon in (-0.1, 1.1, np.nan, "much"):
        with pytest.raises(ValueError, match="epsilon is"):
            epsilon_greedy(np.zeros((2, 3)), epsilon)
    with pytest.raises(ValueError, match=r"q has shape \(3,\)"):
        epsilon_greedy(np.zeros(3), 0.1)
    with pytest.raises(ValueError, match=r"q\[0, 1\] is nan"):
        epsilon_greedy(np.array([[0.0, np.nan]]), 0.1)


@pytest.mark.parametrize("function", [softmax_policy, softmax_score])
def test_mismatched_policy_features_refused(function):
    with pytest.raises(ValueError, match=r"policy_weights has shape \(2,\); it must be \(\*batch, 3\)"):
        function(np.zeros(2), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"policy_features has shape \(4, 3\); it must have 3 axes"):
        function(np.zeros(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"policy_weights\[1\] is inf"):
        function(np.array([0, np.inf, 0]), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="overflow"):
        function(np.full(3, 1e300), np.full((4, 5, 3), 1e300))
