"""What learns: transformers in slots against blocks of full size, and tabular updates by hand."""

import numpy as np
import pytest
import torch

from icrl.control.features import SoftmaxFeatures, one_hot_pairs
from icrl.control.loop import control
from icrl.control.operators import WindowSarsa, WindowSoftmax
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
from icrl.mdp import random_mdp
from icrl.rollouts import Rollout, rollout_batch


def test_slots_name_pairs_by_first_occurrence():
    assert slots(np.array([[7, 3, 7, 7, 5, 3]])).tolist() == [[0, 1, 0, 0, 4, 1]]


def test_tables_start_at_zero():
    """One column of values for each action; actor-critic has one more, of the states."""
    learners = LinearSarsa(1.0), SoftmaxPairs(2, 4.0, 0.5), Tabular("sarsa", 0.1), ActorCritic(0.1, 0.1)
    for learner, columns in zip(learners, (2, 2, 2, 3), strict=True):
        assert np.array_equal(learner.start(4, 3, 2), np.zeros((4, 3, columns)))


def test_softmax_on_features_is_one_whole_step_by_default():
    learner = SoftmaxFeatures(np.ones((1, 3, 2, 4)))
    assert (learner.num_layers, learner.step_size, learner.priced) == (1, 1.0, False)


def test_ties_within_rounding_share():
    """To ten decimals, also where no decimals are left."""
    for more, best in ((1e-13, [0.5, 0.5, 0.0]), (4e-11, [0.5, 0.5, 0.0]), (4e-10, [0.0, 1.0, 0.0])):
        assert greedy(np.array([[1.0, 1.0 + more, 0.0]])).tolist() == [best]
    assert greedy(np.array([[-2e300, -1e300, -3e300], [3e300, 1e300, 2e300]])).tolist() == [
        [0, 1, 0],
        [1, 0, 0],
    ]


def test_tabular_updates_by_hand():
    roll = Rollout(*(np.array([x]) for x in ([0, 1, 0], [0, 1, 1], [2.0, 4.0], [False, True])))
    policies, memory = np.full((1, 2, 2), 0.5), np.array([[[0.0, 0.0], [5.0, 3.0]]])
    for kind, target in (
        ("sarsa", 2 + 0.5 * 3),
        ("q-learning", 2 + 0.5 * 5),
        ("expected-sarsa", 2 + 0.5 * 4),
    ):
        before, q = memory.copy(), Tabular(kind, 0.5).update(memory, roll, policies, 0.5)
        assert np.array_equal(memory, before)
        assert q[0, 0, 0] == pytest.approx(0.5 * target)
        assert q[0, 1, 1] == pytest.approx(3.5)  # ended: nothing is bootstrapped
        assert q[0, 1, 0] == 5
        assert q[0, 0, 1] == 0
        whole = Tabular(kind, 1.0).update(memory, roll, policies, 0.5)
        assert (whole[0, 0, 0], whole[0, 1, 1]) == (target, 4)  # a whole step, the largest there is


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


def window(rng, batch, states, actions, n):
    """Transitions of no process, with repeated pairs and ends."""
    visited = rng.integers(0, states, (batch, n + 1)), rng.integers(0, actions, (batch, n + 1))
    return Rollout(*visited, rng.normal(size=(batch, n)), rng.random((batch, n)) < 0.3)


def test_any_frozen_block_by_its_prompts():
    """Every entry at random: one run at a time, its pairs in slots or with features of their own."""
    rng = np.random.default_rng(10)
    roll, memory = window(rng, 3, 4, 2, 5), rng.normal(size=(3, 4, 2))
    for d in (7, 8):  # one slot more than there are columns; as many features as there are pairs
        P, V = (torch.from_numpy(rng.normal(size=(3 * d + 2, 3 * d + 2))).requires_grad_() for _ in range(2))
        new, before = FrozenBlock(P, V, 0.5).update(memory, roll, None, 0.6), memory.copy()
        for b in range(3):
            pairs = (2 * roll.states[b] + roll.actions[b]).tolist()
            names = pairs if d == 8 else [pairs.index(x) for x in pairs]
            w, phi = np.zeros(d), np.eye(d)[names]
            w[names] = memory[b].ravel()[pairs]
            if d == 8:
                w = memory[b].ravel()
            following = np.where(roll.ended[b][:, None], 0.0, phi[1:])
            prompt = sarsa_prompt(w, phi[:-1], following, roll.rewards[b], 0.6)
            read = LinearTransformer(P.detach(), 0.5 * V.detach()).readout(prompt).numpy()
            expected = read.copy() if d == 8 else memory[b].ravel().copy()
            expected[pairs] = read[names]
            np.testing.assert_allclose(new[b].ravel(), expected, rtol=1e-9, atol=1e-12)
        assert np.array_equal(memory, before)


def test_actor_critic_by_loops():
    """Eq. (3) for tables: each transition's error moves its state's value and the score of its action."""
    rng = np.random.default_rng(11)
    roll, memory = window(rng, 3, 4, 3, 7), rng.normal(size=(3, 5, 4))
    before, new = memory.copy(), ActorCritic(0.7, 1.3).update(memory, roll, None, 0.8)
    for b in range(3):
        expected = before[b].copy()
        for k, reward in enumerate(roll.rewards[b]):
            s, t, a = roll.states[b, k], roll.states[b, k + 1], roll.actions[b, k]
            error = reward + 0.8 * before[b, t, 0] * (not roll.ended[b, k]) - before[b, s, 0]
            odds = np.exp(before[b, s, 1:])
            expected[s, 0] += 0.7 * error / 7
            expected[s, 1:] += 1.3 * error / 7 * (np.eye(3)[a] - odds / odds.sum())
        np.testing.assert_allclose(new[b], expected, rtol=1e-10, atol=1e-12)
    assert np.array_equal(memory, before)


def test_priced_updates_in_slots_are_those_on_features():
    """One more layer that prices the errors of the window; every pair read."""
    rng = np.random.default_rng(12)
    roll, memory = window(rng, 3, 4, 2, 9), rng.normal(size=(3, 4, 2))
    for layers in (1, 2):
        slow = SoftmaxFeatures(2 * one_hot_pairs(3, 4, 2), layers, 0.6, True).update(memory, roll, None, 0.8)
        new = SoftmaxPairs(layers, 4.0, 0.6, "all", True).update(memory, roll, None, 0.8)
        np.testing.assert_allclose(new, slow, rtol=1e-10, atol=1e-12)
        assert np.abs(new - SoftmaxPairs(layers, 4.0, 0.6).update(memory, roll, None, 0.8)).max() > 0.01


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


def test_updates_without_prompts_are_those_of_the_transformers():
    """Windows with repeated pairs, ends, and pairs that are never seen."""
    rng = np.random.default_rng(7)
    states, actions = rng.integers(0, 4, (5, 13)), rng.integers(0, 2, (5, 13))
    roll = Rollout(states, actions, rng.normal(size=(5, 12)), rng.random((5, 12)) < 0.3)
    memory = rng.normal(size=(5, 9, 2))
    for fast, slow in (
        (WindowSarsa(3.0, 2), LinearSarsa(3.0, 2)),
        (WindowSoftmax(3, 2.0, 0.4, "visited"), SoftmaxPairs(3, 2.0, 0.4, "visited")),
        (WindowSoftmax(3, 2.0, 0.4, "all"), SoftmaxPairs(3, 2.0, 0.4, "all")),
    ):
        new, before = fast.update(memory, roll, None, 0.9), memory.copy()
        assert np.abs(new - slow.update(memory, roll, None, 0.9)).max() < 1e-13
        assert np.abs(new - memory).max() > 0.1
        assert np.array_equal(memory, before)


def test_softmax_pairs_are_sharp_by_default():
    """As in the chapter: one layer, features twice one-hot, the paper's step, every pair read."""
    assert vars(SoftmaxPairs()) == vars(SoftmaxPairs(1, 4.0, 1.0, "all", False))
    assert vars(WindowSarsa(2.0)) == vars(WindowSarsa(2.0, 1))


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


def test_what_the_gauge_sets():
    """Middle columns of V21 have mean 0, first and middle rows of P12 opposite means; the rest stays."""
    rng = np.random.default_rng(9)
    given = [torch.from_numpy(rng.normal(size=(11, 11))).requires_grad_() for _ in range(2)]  # d = 3, m = 7
    before = [x.detach().clone() for x in given]
    P, V = regauge(*given, 0.6)
    assert not any(x.requires_grad for x in (P, V))
    assert V[8:, 3:6].mean(dim=1).abs().max() < 1e-14
    assert (P[:3, 7:].mean(dim=0) + P[3:6, 7:].mean(dim=0)).abs().max() < 1e-13
    moved_P, moved_V = P - before[0], V - before[1]
    direction = torch.tensor([0.6] * 3 + [-1.0] * 3 + [0.0], dtype=torch.float64)
    for moved, along in ((moved_P[:7, 7:].T, moved_P), (moved_V[8:, :7], moved_V)):
        shares = moved[:, 3:4] / -1.0
        assert (moved - shares * direction).abs().max() < 1e-13
        assert along.count_nonzero() == moved.shape[0] * 6
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
    again = regauge(P, V, 0.6)
    assert max((x - y).abs().max() for x, y in zip(again, (P, V), strict=True)) < 1e-13


def test_updaters_by_name():
    assert updater("linear", step_size=2.0).step_size == 2.0
    assert updater("tabular", kind="sarsa", step_size=0.1).kind == "sarsa"


PROCESS = random_mdp(3, 2, 0.9, np.random.default_rng(0))


def run(processes=(PROCESS,), learner=None, records=(0, 2), **options):
    learner = LinearSarsa(1.0) if learner is None else learner
    return control(processes, learner, records, np.random.default_rng(0), **options)


@pytest.mark.bad_input
def test_refuses_unknown_updater():
    with pytest.raises(ValueError, match="name is 'dqn'; it must be one of linear, actor-critic, softmax"):
        updater("dqn")
    with pytest.raises(ValueError, match=r"name is 'linear', which does not take the settings \{'rate': 1\}"):
        updater("linear", rate=1)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearSarsa(0.0), "step_size is 0; it must be positive"),
        (lambda: LinearSarsa(1.0, 0), "num_layers is 0"),
        (lambda: SoftmaxPairs(0), "num_layers is 0"),
        (lambda: SoftmaxPairs(step_size=0.0), "step_size is 0"),
        (lambda: FrozenBlock(torch.eye(5), torch.eye(5), 0.0), "step_size is 0"),
        (lambda: FrozenBlock(torch.eye(5), torch.eye(5)[:4]), "V"),
        (lambda: regauge(torch.eye(5), torch.eye(5), 1.0), "discount is 1"),
        (lambda: ActorCritic(1.0, -1.0), "actor_step is -1"),
        (lambda: ActorCritic(np.nan, 1.0), "critic_step is nan"),
        (lambda: SoftmaxPairs(inverse_temperature=0.0), "inverse_temperature is 0"),
        (lambda: SoftmaxPairs(queries="some"), "queries is 'some'; it must be one of visited, all"),
        (lambda: Tabular("sarsa", 1.5), r"step_size is 1.5; it must lie in \(0, 1\]"),
        (lambda: Tabular("td", 0.5), "kind is 'td'"),
        (lambda: FrozenBlock(torch.eye(6), torch.eye(6)), "P has 6 rows; it must have 3 d"),
        (lambda: FrozenBlock(torch.eye(2), torch.eye(2)), "P has 2 rows; it must have 3 d"),
        (lambda: slots(np.arange(3)), r"keys has shape \(3,\); it must be \(B, N\)"),
    ],
)
def test_refuses_updaters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.bad_input
def test_refuses_a_block_of_another_size():
    block = FrozenBlock(*sarsa_weights(8, 1.0))
    with pytest.raises(
        ValueError, match="P serves 8 features; the world has 6 pairs and the window 21 columns"
    ):
        run(learner=block)
    run(learner=block, num_transitions=7)
    FrozenBlock(*sarsa_weights(1, 1.0))  # the smallest there is
