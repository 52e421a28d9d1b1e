"""Small inputs of public reports by people who do this work, tried here; CONTRIBUTING.md has the log."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from refusals import refused

from icrl.attention import softmax_attention
from icrl.constructions import poisson_solution
from icrl.mdp import MarkovDecisionProcess, from_gymnasium
from icrl.mrp import MarkovRewardProcess
from icrl.policies import epsilon_greedy, softmax_policy, softmax_score
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_weights

NOTEBOOKS = sorted((Path(__file__).parents[1] / "book").glob("*.ipynb"))


def chain(rows):
    return MarkovRewardProcess(np.array(rows), np.zeros(len(rows)), 0.9)


@pytest.mark.bad_input
def test_rows_that_do_not_sum_to_one():
    """QuantEcon/lecture-python.myst 1030: published numbers of a matrix whose second row sums to 1.8."""
    rows = [[0.1, 0.9, 0], [0.45, 0.9, 0.45], [0.475, 0.475, 0.05]]
    refused("transition row 1 sums to 1.8; every row must sum to 1", chain, rows)
    columns = np.array([[0, 0, 0.5], [0, 0, 0.5], [1, 1, 0]])  # markovchain 209: columns in place of rows
    refused("transition row 0 sums to 0.5; ...", chain, columns)
    assert columns.tolist() == [[0, 0, 0.5], [0, 0, 0.5], [1, 1, 0]]  # nothing renormalised in place


def test_rows_that_sum_to_one_but_for_rounding():
    """odow/SDDP.jl 353, heemod 23: refused at 0.9999999999999998; here the last digit is nobody's mistake."""
    row = np.concatenate([np.full(16, 0.9 / 16), np.full(16, 0.1 / 16)])
    process = chain(np.tile(row * (1 - 2.0**-52), (32, 1)))
    np.testing.assert_allclose(process.stationary_distribution(), row, rtol=1e-14)


@pytest.mark.bad_input
def test_two_classes_that_are_never_left():
    """spedygiorgio/markovchain 65: powers converge to a mixture that depends on the start."""
    rows = np.zeros((6, 6))
    rows[0, [1, 2]], rows[1, [2, 5]], rows[2, [1, 3]] = 0.5, (0.99, 0.01), (0.8, 0.2)
    rows[3, 4] = rows[4, 3] = rows[5, 5] = 1
    refused("transition has the closed classes [[3, 4], [5]]; ...", chain(rows).stationary_distribution)


def test_probabilities_of_a_wide_range():
    """spedygiorgio/markovchain 233: negative hitting probabilities beside entries of 1e-134."""
    rare = 1.0457258192206783e-134
    rows = [[1 - rare, rare, 0], [0.5, 0, 0.5], [1 - 1e-55, 1e-55, 0]]
    mu = chain(rows).stationary_distribution()
    np.testing.assert_allclose(mu, [1, rare, rare / 2], rtol=1e-14)
    assert np.isfinite(poisson_solution(chain(rows))).all()


def corridor(states, success=1.0):
    """Action 1 moves on with this probability, action 0 stays; the last state ends with reward 1."""
    transition, reward = np.zeros((states, 2, states)), np.zeros((states, 2))
    for s in range(states - 1):
        transition[s, 0, s] = 1
        transition[s, 1, s + 1], transition[s, 1, s] = success, 1 - success
    transition[-1, :, -1], reward[-2, 1] = 1, success
    return transition, reward


def test_values_spread_from_a_goal_however_silent_the_rest():
    """jsboige/CoursIA 14836: an iteration that stopped before the goal was heard of. The numbers are theirs.

    There the goal itself is worth 1, so it comes one step later than a reward on arrival.
    """
    process = MarkovDecisionProcess(*corridor(3, 0.8), 0.9)
    value = process.optimal_q().max(axis=1)
    np.testing.assert_allclose(0.9 * value, [0.77096966, 0.87804878, 0], atol=1e-8)
    np.testing.assert_allclose(process.value_iteration(300).max(axis=1), value, atol=1e-12)


def test_policies_that_never_arrive_are_evaluated_too():
    """jlm429/bettermdptools 19: at -1 a step, the sweeps for a policy that runs in circles did not end."""
    transition, _ = corridor(5)
    process = MarkovDecisionProcess(
        transition, np.where(np.arange(5)[:, None] < 4, -1.0, 0.0) * [1, 1], 1 - 1e-9
    )
    np.testing.assert_allclose(process.optimal_q().max(axis=1), [-4, -3, -2, -1, 0], rtol=1e-7, atol=1e-9)
    still = process.q_values(np.tile([1.0, 0.0], (5, 1)))
    np.testing.assert_allclose(still[:4, 0], -1e9, rtol=1e-6)


def test_policies_of_equal_value_do_not_alternate():
    """dennybritz/reinforcement-learning 203: with several optimal policies improvement went on for ever."""
    transition = np.zeros((3, 3, 3))
    transition[0, :, 1], transition[1, :, 2], transition[2, :, 0] = 1, 1, 1
    process = MarkovDecisionProcess(transition, 0.1 * np.ones((3, 3)), 0.9)
    np.testing.assert_allclose(process.optimal_q(), 1.0, rtol=1e-14)


def test_the_gamblers_problem():
    """ShangtongZhang/reinforcement-learning-an-introduction 83 and 121: near-ties; the value is known."""
    goal, heads = 32, 0.4
    transition, reward = np.zeros((goal + 1, goal // 2 + 1, goal + 1)), np.zeros((goal + 1, goal // 2 + 1))
    for s, a in np.ndindex(*reward.shape):
        stake = min(a, s, goal - s)
        transition[s, a, s + stake] += heads
        transition[s, a, s - stake] += 1 - heads
        reward[s, a] = heads * (s > 0 and s + stake == goal and stake > 0)
    transition[[0, goal]] = np.eye(goal + 1)[[0, goal]][:, None]
    value = MarkovDecisionProcess(transition, reward, 1 - 1e-12).optimal_q().max(axis=1)
    bold = {16: heads, 8: heads**2, 24: heads + (1 - heads) * heads, 4: heads**3}
    np.testing.assert_allclose(value[list(bold)], list(bold.values()), rtol=1e-9)


def test_outcomes_that_share_a_successor_are_added():
    """openai/gym 1935: at the wall two of three outcomes name one state, 1/3 each."""
    lake = from_gymnasium("FrozenLake-v1", 0.9)
    np.testing.assert_allclose(lake.transition[0, 0, [0, 4]], [2 / 3, 1 / 3])
    np.testing.assert_allclose(lake.transition[0].sum(axis=1), 1)


def test_nothing_follows_an_end():
    """aimacode/aima-python 1247, dennybritz/reinforcement-learning 125: targets that read beyond the end."""
    transition, reward = corridor(3)
    terminal, start = np.array([False, False, True]), np.array([1.0, 0, 0])
    process = MarkovDecisionProcess(transition, reward, 0.9, start, terminal)
    roll = process.rollout(np.full((3, 2), 0.5), 200, np.random.default_rng(0))
    _, phi_next = roll.window(np.eye(6).reshape(3, 2, 6))
    assert roll.ended.any()
    assert not phi_next[roll.ended].any()
    np.testing.assert_array_equal(roll.rewards, roll.ended)
    np.testing.assert_array_equal(roll.states[1:][roll.ended], 0)  # a new episode begins


def test_ties_are_shared():
    """IntelLabs/coach 414: on a table of zeros argmax always takes the first action."""
    np.testing.assert_allclose(epsilon_greedy(np.zeros((2, 4)), 0.1), 0.25)
    np.testing.assert_allclose(epsilon_greedy(np.array([[1.0, 0, 1, 0]]), 0.0), [[0.5, 0, 0.5, 0]])


def test_softmax_of_large_preferences():
    """dwavesystems/dwave-optimization 555 and FluxML/NNlib.jl 68, with their numbers; the score is finite."""
    for given in ([800.0, 1, 1], [-1047.0, -981, 1891], [-1e300, 0, 1e300]):
        features = np.eye(3)[None]
        expected = np.eye(3)[[int(np.argmax(given))]]
        np.testing.assert_array_equal(softmax_policy(np.array(given), features), expected)
        assert np.isfinite(softmax_score(np.array(given), features)).all()
    prompt = torch.tensor([[-431.0, 279, 427, 30], [1, 1, 1, 1], [0, 0, 0, 0]], requires_grad=True)
    softmax_attention(prompt, torch.eye(3), torch.eye(3)).sum().backward()
    assert prompt.grad.isfinite().all()


@pytest.mark.bad_input
def test_no_key_to_attend_to():
    """pytorch/pytorch 131060: a fully masked row is NaN; a prompt of queries alone is refused."""
    prompt, weights = torch.ones(5, 2, dtype=torch.float64), softmax_td_weights(2)
    message = "prompt has 2 columns and num_queries is 2; at least one column must be a source"
    refused(message, SoftmaxTransformer(1, 0.9, *weights), prompt, 2)
    refused(message, softmax_attention, prompt, *weights, 2)


def test_weights_are_copied():
    """hiyouga/LlamaFactory 900: what holds references to parameters changes when they are trained."""
    value, score = softmax_td_weights(2)
    model = SoftmaxTransformer(1, 0.9, value, score)
    value.zero_()
    assert model.value_weights.abs().sum() == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_shows_the_repr_of_a_plot(path):
    """computationalmodelling/nbval 204: a last line that returns ``Text(0.5, 91.2, ...)`` is noise."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/plain", "")
            assert not text.startswith(("Text(", "[<matplotlib", "<matplotlib", "(array(", "<Axes"))
