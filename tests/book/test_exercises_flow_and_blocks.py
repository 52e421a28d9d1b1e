"""Solutions of exercises, carried out: `global-minimizer` to `teacher-mimicking`, and `control`."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from icrl import mdp, mrp
from icrl.constructions import expectations, objective_gradient
from icrl.contraction import population_matching
from icrl.control import LinearSarsa, comparison, control, score
from icrl.gradient_flow import (
    Experiment,
    experiment,
    mimicking_loss,
    richness,
    train_side_by_side,
    training_start,
)
from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.neu import TaskDistribution, limit_gradient, limit_update, neu_terms
from icrl.policies import epsilon_greedy, softmax_policy, softmax_score
from icrl.policy_improvement import sarsa_update
from icrl.softmax_transformer import softmax_td_weights


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def window(rng, n=6, d=2):
    """Gaussian weights, phi, phi_next and rewards."""
    return rng.normal(size=d), *rng.normal(size=(2, n, d)), rng.normal(size=n)


# ------------------------------------------------------------------------------------ global-minimizer


def test_minimizer_1_no_discount(rng):
    """Only the reward row grows, by M F; the error is -(I - M)^L r, and J vanishes like its power."""
    process, features = mrp.random_mrp(3, 0.0, rng), np.sqrt(6) * np.eye(3)
    matching = population_matching(features, process.stationary_distribution())
    now, then = (limit_gradient(features, process, k) for k in (60, 61))
    tokens = np.column_stack([features, process.reward, np.zeros(3), process.reward])
    grown = then.gradients - now.gradients
    assert np.allclose(grown[:, 0, 3], matching @ tokens, rtol=0, atol=1e-12)
    grown[:, 0, 3] = 0
    assert np.abs(grown).max() < 1e-12
    error = limit_gradient(features, process, 3).values - process.reward
    decay = np.eye(3) - matching
    assert np.allclose(error, -np.linalg.matrix_power(decay, 3) @ process.reward, rtol=0, atol=1e-14)
    radius = np.abs(np.linalg.eigvals(decay)).max()
    tasks = TaskDistribution([process], features)
    losses = [np.linalg.norm(limit_update(tasks, k)) for k in (4, 6)]
    assert losses[1] < 10 * losses[0] * radius**2 < 1e-2 * losses[0]


def test_minimizer_3_mean_of_the_next_output(rng):
    """The conditional mean of TF(Z') leaves J as it is, and the spread can only fall."""
    tasks = TaskDistribution([mrp.random_mrp(2, 0.7, rng)], rng.normal(size=(2, 2)))
    terms = neu_terms(tasks, windows := tasks.enumerate(4), *softmax_td_weights(2), 3)
    first = windows.states[:, :-1] @ (2 ** np.arange(5))
    weight = np.bincount(first, windows.probability)
    mean = (np.bincount(first, windows.probability * terms.next_value) / weight)[first]
    smooth = dataclasses.replace(terms, next_value=mean)
    assert np.allclose(terms.mean(terms.td_updates), smooth.mean(smooth.td_updates), rtol=0, atol=1e-13)
    squares = [x.mean((x.td_updates**2).sum(axis=(1, 2, 3))) for x in (terms, smooth)]
    assert squares[1] < squares[0]


# ----------------------------------------------------------------------------------------------- sarsa


def test_sarsa_1_expected_and_greedy_targets(rng):
    """Expected features in the prompt give expected SARSA; greedy ones, which depend on w, Q-learning."""
    w, phi, _, rewards = window(rng)
    choices, policy = rng.normal(size=(6, 3, 2)), rng.dirichlet(np.ones(3), size=6)
    block = LinearTransformer(*sarsa_weights(2, 0.5))
    greedy = choices[np.arange(6), (choices @ w).argmax(axis=1)]
    values = choices @ w
    targets = {"expected": (policy * values).sum(axis=1), "greedy": values.max(axis=1)}
    features = {"expected": (policy[..., None] * choices).sum(axis=1), "greedy": greedy}
    for name, target in targets.items():
        error = rewards + 0.9 * target - phi @ w
        read = block.readout(sarsa_prompt(w, phi, features[name], rewards, 0.9)).numpy()
        assert np.allclose(read, w + 0.5 * phi.T @ error / 6, rtol=0, atol=1e-14)


def test_sarsa_2_data_above_the_weights(rng):
    """One more transition, divided by n all the same."""
    w, phi, phi_next, rewards = window(rng)
    prompt = sarsa_prompt(w, phi[:5], phi_next[:5], rewards[:5], 0.9)
    prompt[:5, -1] = torch.from_numpy(np.concatenate([phi[5], 0.9 * phi_next[5], rewards[5:]]))
    read = LinearTransformer(*sarsa_weights(2, 0.5), num_parameters=2).readout(prompt).numpy()
    assert np.allclose(read, w + 6 / 5 * (sarsa_update(w, phi, phi_next, rewards, 0.9, 0.5) - w), atol=1e-14)


def test_sarsa_3_repeated_and_shuffled(rng):
    """The constructed block does not notice; an arbitrary one does."""
    w, *data = window(rng)
    order = rng.permutation(np.repeat(np.arange(6), 3))
    once, thrice = (sarsa_prompt(w, *(x[i] for x in data), 0.9) for i in (np.arange(6), order))
    constructed = LinearTransformer(*sarsa_weights(2, 0.5))
    assert torch.allclose(constructed.readout(once), constructed.readout(thrice), rtol=0, atol=1e-14)
    arbitrary = LinearTransformer(*torch.from_numpy(rng.normal(size=(2, 8, 8))))
    assert (arbitrary.readout(once) - arbitrary.readout(thrice)).abs().max() > 0.01


def test_sarsa_4_a_step_too_large():
    """Weights explode; the gap to the loop is far above 1e-12, and near rounding relative to them."""
    lake, rng = mdp.from_gymnasium("FrozenLake-v1", discount=0.95), np.random.default_rng(1)
    one_hot, starts = np.eye(64).reshape(16, 4, 64), None
    block = LinearTransformer(*sarsa_weights(64, 40.0, scale=3.0))
    own = w = np.zeros((4, 64))
    for _ in range(200):
        policies = epsilon_greedy(own.reshape(4, 16, 4), 0.3)
        roll = mdp.rollout_batch([lake] * 4, policies, 100, rng, starts)
        starts, windows = roll.states[:, -1], (*roll.window(one_hot), roll.rewards)
        own = block.readout(sarsa_prompt(own, *windows, 0.95)).numpy()
        w = np.array([sarsa_update(*x, 0.95, step_size=40.0) for x in zip(w, *windows, strict=True)])
    assert np.abs(w).max() > 1e60
    gap = np.abs(own - w).max(axis=1)
    assert gap.max() > 1e-12
    assert (gap / np.maximum(1, np.abs(w).max(axis=1))).max() < 1e-8


# ---------------------------------------------------------------------------------------- actor-critic


def test_actor_critic_1_features_for_scores(rng):
    """With the exact critic the mean actor step is the same; with a wrong one it is not."""
    world, features = mdp.random_mdp(3, 2, 0.8, rng), rng.normal(size=(3, 2, 4))
    lam = rng.normal(size=4)
    policy = softmax_policy(lam, features)
    value = world.under(policy).value()
    for critic, same in ((value, True), (value + rng.normal(size=3), False)):
        steps = [expectations(world, policy, g, critic)[1] for g in (softmax_score(lam, features), features)]
        assert np.allclose(*steps, rtol=0, atol=1e-12) == same


def test_actor_critic_2_two_heads(rng):
    """Critic moved by the TD error, actor by the critic's value: the sum of two heads."""
    w, phi, phi_next, rewards = window(rng)
    lam, scores = rng.normal(size=3), rng.normal(size=(6, 3))
    prompt = actor_critic_prompt(w, lam, phi, phi_next, rewards, scores, 0.9)
    P, V = actor_critic_weights(2, 3, 0.5, 0.2)
    V[-3:] = 0  # the first head moves the critic alone
    second_P, second_V = torch.zeros_like(P), torch.zeros_like(V)
    second_P[:2, 9:11] = torch.eye(2)  # phi against w
    second_V[-3:, 5:8] = torch.eye(3).double() / 5  # g to lambda
    start = np.concatenate([w, lam])
    heads = [
        LinearTransformer(*x, num_parameters=5).readout(prompt).numpy()
        for x in ((P, V), (second_P, second_V))
    ]
    error = rewards + 0.9 * phi_next @ w - phi @ w
    wanted = np.concatenate([w + 0.5 * phi.T @ error / 6, lam + 0.2 * scores.T @ (phi @ w) / 6])
    assert np.allclose(heads[0] + heads[1] - start, wanted, rtol=0, atol=1e-12)


def test_actor_critic_3_average_reward(rng):
    """(1 - gamma) mu'v is the average reward; the actor's step is not its gradient, but nearly at gamma 1."""
    features, lam, gaps = np.eye(6).reshape(3, 2, 6), rng.normal(size=6), []
    for gamma in (0.5, 0.9999):
        world = mdp.random_mdp(3, 2, gamma, np.random.default_rng(3))

        def average(x, world=world):
            policy = softmax_policy(x, features)
            return world.under(policy).stationary_distribution() @ (policy * world.reward).sum(axis=1)

        chain = world.under(softmax_policy(lam, features))
        scaled = (1 - gamma) * chain.stationary_distribution() @ chain.value()
        assert np.isclose(scaled, average(lam), rtol=0, atol=1e-12)
        steps = 1e-5 * np.eye(6)
        slope = np.array([(average(lam + e) - average(lam - e)) / 2e-5 for e in steps])
        gaps.append(np.abs(slope - objective_gradient(world, lam, features)).max() / np.abs(slope).max())
    assert gaps[0] > 0.05
    assert gaps[1] < 1e-3


def ring():
    """The chapter's world: stay pays 0.2, on costs 0.1 and pays 3 in the last of five states."""
    transition, reward = np.zeros((5, 2, 5)), np.tile([0.2, -0.1], (5, 1))
    for s in range(5):
        transition[s, 0, s], transition[s, 1, s], transition[s, 1, (s + 1) % 5] = 1, 0.1, 0.9
    reward[-1, 1] = 3
    return mdp.MarkovDecisionProcess(transition, reward, discount=0.9)


def test_actor_critic_4_time_to_unlearn():
    """Medians near 45, 140, 350 and 1600 windows; the numbers about staying for ever."""
    world, pairs, medians = ring(), np.eye(10).reshape(5, 2, 10), []
    block = LinearTransformer(*actor_critic_weights(5, 10, 2.0, 1.0), num_parameters=15)
    for first in range(4):
        rng, starts, theta = np.random.default_rng(3), None, np.zeros((10, 15))
        theta[:, 5::2], reached = first, np.full(10, 6001)
        for k in range(6000):
            policies = softmax_policy(theta[:, 5:], pairs)
            reached[(policies[..., 1] > 0.5).all(axis=1) & (reached > k)] = k
            if (reached <= k).sum() >= 6:  # what the median of ten needs
                break
            roll = mdp.rollout_batch([world] * 10, policies, 20, rng, starts)
            scores, starts = roll.window(softmax_score(theta[:, 5:], pairs))[0], roll.states[:, -1]
            data = *roll.window(np.eye(5)), roll.rewards, scores, 0.9
            theta = block.readout(actor_critic_prompt(theta[:, :5], theta[:, 5:], *data)).numpy()
        medians.append(np.median(reached))
    assert np.abs(np.log(np.array(medians) / [45, 140, 350, 1600])).max() < np.log(1.3)
    still = np.tile([1.0, 0.0], (5, 1))
    advantage = world.q_values(still)[:, 1] - world.under(still).value()
    assert np.allclose(advantage, [-0.3, -0.3, -0.3, -0.3, 2.8], rtol=0, atol=1e-12)
    assert round(np.exp(10) / 20, -2) == 1100


# --------------------------------------------------------------------------------------- gradient-flow


def test_flow_1_one_entry_each():
    """From p = 2, v = 0 to c = sqrt(2 + sqrt 5)."""
    slope = lambda t, x: -(x[0] * x[1] - 1) * x[::-1]  # noqa: E731
    end = solve_ivp(slope, (0, 40), [2.0, 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
    assert np.isclose(end[0], np.sqrt(2 + np.sqrt(5)), rtol=0, atol=1e-7)
    assert np.isclose(end[0], 2.06, rtol=0, atol=0.005)


def gaussian_windows(rng, d=2, tasks=200):
    """Weights, phi, phi_next, rewards of a set of tasks."""
    return rng.normal(size=(tasks, d)), *rng.normal(size=(2, tasks, 8, d)), rng.normal(size=(tasks, 8))


def test_flow_2_a_constant_feature(rng):
    """One null vector of the moments, gamma for the feature and -1 for its successor."""
    w, phi, phi_next, rewards = gaussian_windows(rng)
    phi[..., 0] = phi_next[..., 0] = 1
    seen = richness(mimicking_loss(sarsa_prompt(w, phi, phi_next, rewards, 0.8), *sarsa_weights(2, 1.0)))
    z = np.array([0.8, 0, -1, 0, 0])
    assert seen.data_null.shape[1] == 1
    assert np.isclose(abs(seen.data_null[:, 0] @ z), np.linalg.norm(z), rtol=1e-9)
    assert seen.null_dimension == 1 + 2 + 3  # scaling, b z' and z eta'


@pytest.mark.parametrize("d", [1, 2, 3])
def test_flow_3_no_weights(rng, d):
    """1 + d m null directions."""
    w, *data = gaussian_windows(rng, d)
    seen = richness(mimicking_loss(sarsa_prompt(0 * w, *data, 0.8), *sarsa_weights(d, 1.0)))
    assert seen.null_dimension == 1 + d * (2 * d + 1)


# --------------------------------------------------------------------------------------------- control


def test_control_2_where_the_gauge_shows():
    """z' x on the lake: 0 with a successor, gamma at both kinds of ends; at another discount everywhere."""
    lake, policy = comparison.WORLDS["lake"].draw(1, np.random.default_rng(0))[0], np.full((16, 4), 0.25)
    roll = lake.rollout(policy, 4000, np.random.default_rng(1))
    phi, after = roll.window(np.eye(64).reshape(16, 4, 64))
    z = (0.9 * phi - 0.9 * after).sum(axis=1)
    np.testing.assert_allclose(z, np.where(roll.ended, 0.9, 0), atol=1e-12)
    assert set(roll.rewards[roll.ended]) == {0, 1}  # holes and the goal
    other = (0.9 * phi - 0.95 * after).sum(axis=1)
    np.testing.assert_allclose(other[~roll.ended], -0.05, atol=1e-12)


def test_control_3_circles_are_worth_more_than_the_goal():
    """With every reward raised by 1, at 0.95, the best in the sure-footed lake never arrives."""
    lake = comparison.WORLDS["lake"].draw(1, np.random.default_rng(0))[0]
    values = comparison.with_rewards(lake, 1.0, 1.0).optimal_q()
    assert np.isclose(values[0].max(), 20)
    assert score([lake], np.eye(4)[values.argmax(axis=1)][None], 200).success[0] == 0
    assert sum(0.95**t for t in range(6)) + 0.95**5 < 7


def test_control_4_other_rewards_in_the_large_lake():
    """A bad hole alone helps little; equal costs, or two positive rewards, do harm."""
    lake = comparison.WORLDS["large lake"].draw(1, np.random.default_rng(0))[0]
    worlds = [comparison.with_rewards(lake, *x) for x in ((0, -0.02), (-0.02, -0.02), (0.02, 0.02))]
    tasks = [world for world in worlds for _ in range(12)]
    run = control(tasks, LinearSarsa(4.0), [150], np.random.default_rng(0))
    holes, equal, positive = score([lake] * 36, run.policies, 200).success[0].reshape(3, 12).mean(axis=1)
    assert holes < 0.25
    assert equal == positive == 0


# ----------------------------------------------------------------------------------- teacher-mimicking


def test_mimicking_1_windows_for_all_blocks(rng):
    """Side by side or alone, a block ends where it does; and what one at its start would add is little."""
    setting = Experiment(num_states=3, num_actions=2, num_transitions=7, batch=4, windows=5)
    starts = training_start(setting, 3, rng)
    together = train_side_by_side(setting, 30, *starts, np.random.default_rng(1), records=2)
    for k in range(3):
        alone = (x[k : k + 1] for x in starts)
        run = train_side_by_side(setting, 30, *alone, np.random.default_rng(1), records=2)
        assert np.abs(run.scores[-1, 0] - together.scores[-1, k]).max() < 1e-10
        assert np.abs(run.values[-1, 0] - together.values[-1, k]).max() < 1e-10
        assert np.abs(together.scores[-1, k] - starts[0][k]).max() > 0.01
    shown = next(experiment._lessons(setting, rng))
    score, value = starts
    heard = np.einsum("kmc,bc->kbm", score, shown.column)
    moved = np.einsum("bnm,bnj,kbj->kbm", shown.data, shown.data, heard) / shown.data.shape[1]
    said = np.einsum("kqm,kbm->kbq", value, moved)
    assert (said**2).mean() < 0.1**2 * (shown.update**2).mean()


def test_mimicking_3_the_scale_of_many_features():
    def scale(states, actions=1, **options):
        return Experiment(num_states=states, num_actions=actions, **options).balanced_scale()

    d = 20
    assert abs(scale(d) - (0.2 * d**0.5 / (2 * d + 1) ** 0.5) ** 0.5) < 1e-12
    assert abs((0.2 / 2**0.5) ** 0.5 - 0.376) < 5e-4
    far = scale(400)
    assert abs(far - 0.376) < 1e-3 < 0.376 - scale(20)
    both = {"method": "actor-critic", "step_size": 0.3, "actor_step": 0.3}
    for states, actions in ((4, 3), (3, 7)):
        h = states * actions
        norm = (0.09 * states + 0.09 * h) ** 0.5
        assert abs(scale(states, actions, **both) - (norm / (2 * states + 1) ** 0.5) ** 0.5) < 1e-12
    assert abs(scale(4, 400, **both) / scale(4, 25, **both) - 2) < 0.04  # h / d grew sixteenfold
