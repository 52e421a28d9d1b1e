"""Learners in worlds with features: loop, what data allow, exact values, shares; each by another hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from icrl.control import (
    Blocks,
    ExpectedSarsa,
    Teacher,
    deploy,
    deployment,
    from_data,
    shares,
    values,
)
from icrl.gradient_flow import Experiment, Window, Worlds, random_worlds
from icrl.gradient_flow.experiment import lesson
from icrl.mdp import MarkovDecisionProcess
from icrl.policies import epsilon_greedy
from icrl.policy_improvement import sarsa_update

SETTING = Experiment(num_states=4, num_actions=2, num_transitions=6, discount=0.7, step_size=0.3, epsilon=0.2)
WORLDS = SETTING.worlds(5, np.random.default_rng(0))
WEIGHTS = SETTING.parameters(5, np.random.default_rng(1))


def play(learner, windows=(0, 2, 5), worlds=WORLDS, weights=WEIGHTS):
    return deploy(worlds, learner, weights, windows, np.random.default_rng(2), num_transitions=6)


def test_the_loop_by_hand():
    """Two windows of the teacher: policies, windows that continue, updates by the plain loop."""
    run, rng = play(Teacher(SETTING), (0, 1, 2)), np.random.default_rng(2)
    w, starts = WEIGHTS, None
    for number in range(3):
        q = WORLDS.action_values(w)
        assert np.array_equal(run.policies[number], epsilon_greedy(q, 0.0))
        if number == 2:
            break
        window = WORLDS.window(epsilon_greedy(q, 0.2), 6, rng, starts)
        assert np.array_equal(window.states, run.history[number].states)
        phi = WORLDS.seen(window)
        rows = zip(w, phi[:, :-1], phi[:, 1:], window.rewards, strict=True)
        w, starts = np.stack([sarsa_update(*row, 0.7, 0.3) for row in rows]), window.states[:, -1]
    assert not run.diverged.any()


def test_the_constructions_blocks_do_what_the_teacher_does():
    """Both methods, two scales at once; other entries do something else."""
    for method in ("sarsa", "actor-critic"):
        setting = replace(SETTING, method=method, actor_step=0.4)
        worlds = setting.worlds(5, np.random.default_rng(3))
        weights = setting.parameters(5, np.random.default_rng(4))
        P, V = setting.teacher()
        c = np.array([0.5, -2.0])[:, None, None]
        wanted = play(Teacher(setting), worlds=worlds, weights=weights)
        for factor in (1.0, 1.5):
            run = play(Blocks(setting, c * P, factor * V / c), worlds=worlds, weights=weights)
            same = np.allclose(run.policies, wanted.policies[:, None], atol=1e-9)
            assert run.policies.shape == (3, 2, 5, 4, 2)
            assert same == (factor == 1.0)


def test_expected_sarsa_by_a_loop():
    """One world at a time, one transition after the other, with and without the running mean."""
    for centred in (False, True):
        learner = ExpectedSarsa(0.4, 0.2, centred)
        run = play(learner, (0, 3))
        for b in range(5):
            q, paid = np.zeros((4, 2)), []
            for window in run.history:
                policy = epsilon_greedy(q, 0.2)
                for k, reward in enumerate(window.rewards[b]):
                    paid.append(reward)
                    s, a, t = window.states[b, k], window.actions[b, k], window.states[b, k + 1]
                    target = reward - centred * np.mean(paid) + 0.7 * policy[t] @ q[t]
                    q[s, a] += 0.4 * (target - q[s, a])
            assert np.allclose(run.policies[-1, b], epsilon_greedy(q, 0.0))
            memory = learner.start(WORLDS, WEIGHTS)
            for window in run.history:
                before, memory = memory, learner.update(WORLDS, window, kept := memory.copy())
                assert np.array_equal(kept, before)  # what it is given stays as it was
            assert np.allclose(memory[b], [*q.ravel(), sum(paid), 18])
    assert vars(ExpectedSarsa(1.0)) == vars(ExpectedSarsa(1.0, epsilon=0.1, centred=True))


def test_blocks_of_any_entries_by_their_formula():
    """`V21 S P12 w` with the data of each world summed row by row, also where no construction has entries."""
    rng = np.random.default_rng(6)
    for method in ("sarsa", "actor-critic"):
        setting = replace(SETTING, method=method)
        worlds, weights = setting.worlds(3, rng), rng.normal(size=(2, 3, setting.shape[2]))
        m, k, q = setting.shape
        scores, values = rng.normal(size=(2, m, k)), rng.normal(size=(2, q, m))
        learner = Blocks(setting, scores, values)
        window = worlds.window(learner.behaviour(worlds, weights), 6, rng)
        rows = lesson(setting, worlds, window, weights).data
        found = learner.update(worlds, window, weights)
        for i, b in np.ndindex(2, 3):
            data = rows[i, b] if rows.ndim == 4 else rows[b]
            asked = scores[i] @ [1, *weights[i, b]]
            heard = sum(x * (x @ asked) for x in data) / 6
            np.testing.assert_allclose(found[i, b], weights[i, b] + values[i] @ heard, rtol=1e-10)


class Scripted:
    """Two numbers for each world, told in advance; its policies are its memory."""

    def __init__(self, *memories):
        self.memories = iter(np.array(memories, dtype=float))

    def start(self, worlds, weights):
        return next(self.memories)

    def behaviour(self, worlds, memory):
        return deployment.uniform(worlds)

    def deployed(self, worlds, memory):
        return np.repeat(memory[:, None], 4, axis=1)

    def update(self, worlds, window, memory):
        return next(self.memories)


def test_which_memories_are_lost():
    """A number beyond 1e9 of either sign, or none; then nothing moves any more, come what may."""
    first = [[1e9, 0], [0, 1.1e9], [-2e9, 0], [np.nan, 0], [3, 4]]
    run = play(Scripted(np.ones((5, 2)), first, np.full((5, 2), 5), 5 * [[-1e9 - 1, 0]]), (0, 1, 2, 3))
    assert run.diverged.tolist() == [3, 1, 1, 1, 3]
    assert run.diverged.dtype == np.int64
    assert run.policies[1, :, 0].tolist() == [[1e9, 0], [1, 1], [1, 1], [1, 1], [3, 4]]
    assert run.policies[2, :, 0].tolist() == run.policies[3, :, 0].tolist() == [[5, 5], *3 * [[1, 1]], [5, 5]]
    assert (
        deploy(WORLDS, Teacher(SETTING), WEIGHTS, [1], np.random.default_rng(0)).history[0].rewards.size
        == 100
    )


def test_the_first_memory_is_a_copy():
    given = WEIGHTS.copy()
    Teacher(SETTING).start(WORLDS, given)[:] = 0
    assert np.array_equal(given, WEIGHTS)


def test_a_run_that_diverges_is_counted_and_stops():
    """A huge step: the number of the window, and the policy from before."""
    run = play(Teacher(replace(SETTING, step_size=1e4)), (0, 1, 2, 30, 40))
    assert (run.diverged > 0).all()
    assert (run.diverged < 30).all()
    assert np.array_equal(run.policies[3], run.policies[4])


def test_values_and_references_against_the_process():
    """Uniform, optimal, myopic: each world solved by itself; the best policy that explores beats its like."""
    best, soft = deployment.optimal(WORLDS), deployment.optimal(WORLDS, 0.2)
    for b in range(5):
        process = WORLDS.process(b)
        q = process.optimal_q()
        assert np.array_equal(best[b], epsilon_greedy(q.round(10), 0.0))
        assert np.array_equal(deployment.myopic(WORLDS)[b], epsilon_greedy(process.reward, 0.0))
        value = process.under(soft[b]).value()
        assert np.isclose(values(WORLDS, soft)[b], process.start @ value)
        assert np.isclose(values(WORLDS, soft, "states")[b], value.mean())
    assert np.allclose(deployment.uniform(WORLDS), 0.5)
    assert (values(WORLDS, best) > values(WORLDS, soft)).all()
    every = np.eye(2)[list(product((0, 1), repeat=4))][:, None] * np.ones((5, 1, 1))  # (16, 5, 4, 2)
    assert np.allclose(values(WORLDS, soft), values(WORLDS, 0.8 * every + 0.1).max(axis=0))
    assert np.allclose(values(WORLDS, np.stack([best, soft]), "states")[1], values(WORLDS, soft, "states"))


def test_the_optimum_is_exact_however_long_it_takes():
    """Once 9 now, or 1 in every step after this one at the discount 0.9, but for 3e-10."""
    transition = np.zeros((2, 3, 2, 3))
    transition[:, 0, 0, 1] = transition[:, 0, 1, 2] = transition[:, 1, :, 1] = transition[:, 2, :, 2] = 1
    paid = np.zeros_like(transition)
    paid[:, 1], paid[0, 0, 1], paid[1, 0, 1] = 1, 9 - 3e-10, 9 + 3e-10
    worlds = Worlds(transition, paid, np.full((2, 3), 1 / 3), np.ones((2, 3, 2, 1)), 0.9)
    assert deployment.optimal(worlds)[:, 0].tolist() == [[1, 0], [0, 1]]
    seen = [(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 1), (2, 0, 2), (2, 1, 2)]  # each pair once tells all
    told = [
        Window(np.full((2, 2), (s, t)), np.full((2, 2), (a, 0)), paid[:, s, a, t, None]) for s, a, t in seen
    ]
    assert np.array_equal(from_data("certainty equivalence", worlds, told), deployment.optimal(worlds))


def test_what_data_allow_by_hand():
    """Enough data: certainty equivalence is optimal and averages are myopic. One window: counted by hand."""
    rng = np.random.default_rng(5)
    long = [WORLDS.window(deployment.uniform(WORLDS), 40_000, rng)]
    made = {kind: from_data(kind, WORLDS, long) for kind in ("certainty equivalence", "LSTD-Q", "myopic")}
    for b in range(5):
        process = WORLDS.process(b)
        tables = process.optimal_q(), process.q_values(np.full((4, 2), 0.5)), process.reward
        for q, policies in zip(tables, made.values(), strict=True):
            clear = np.abs(np.diff(q)[:, 0]) > 0.03
            assert clear.sum() >= 2
            assert np.array_equal(policies[b].argmax(-1)[clear], q.argmax(-1)[clear])
    # Never seen: the mean of all. It is 0.2 in both worlds, and in state 1 better than what was seen, or not.
    states, actions = np.array(2 * [[0, 0, 1, 2]]), np.array(2 * [[0, 1, 0, 0]])
    one = Window(states, actions, np.array([[1.0, -0.5, 0.1], [1.0, -0.7, 0.3]]))
    few = random_worlds(2, rng, num_states=4, num_actions=2)
    tied = [0.5, 0.5]
    found = from_data("myopic", few, [one])
    assert np.array_equal(found, [[[1, 0], [0, 1], tied, tied], [[1, 0], [1, 0], tied, tied]])


def test_what_few_data_allow_by_loops():
    """Two short windows, in which most pairs are missing: counts, means and least squares one by one."""
    rng = np.random.default_rng(7)
    worlds = random_worlds(150, rng, num_states=4, num_actions=2, discount=0.7)
    history = [worlds.window(deployment.uniform(worlds), n, rng) for n in (6, 3)]
    model = from_data("certainty equivalence", worlds, history)
    least = from_data("LSTD-Q", worlds, history)
    for b in range(150):
        counts, paid = np.zeros((4, 2, 4)), np.zeros((4, 2))
        matrix, vector = np.zeros((8, 8)), np.zeros(8)
        for window in history:
            for k, reward in enumerate(window.rewards[b]):
                (s, t), (a, u) = window.states[b, k : k + 2], window.actions[b, k : k + 2]
                counts[s, a, t] += 1
                paid[s, a] += reward
                phi, following = worlds.features[b, s, a], worlds.features[b, t, u]
                matrix += np.outer(phi, phi - 0.7 * following)
                vector += reward * phi
        seen = counts.sum(axis=2)
        reward = np.array(
            [[paid[x] / seen[x] if seen[x] else paid.sum() / 9 for x in ((s, 0), (s, 1))] for s in range(4)]
        )
        transition = np.where(seen[..., None] > 0, counts / np.maximum(seen, 1)[..., None], 0.25)
        q = MarkovDecisionProcess(transition, reward, 0.7).optimal_q()
        assert np.array_equal(model[b], epsilon_greedy(q.round(10), 0.0))
        weights = np.linalg.solve(matrix + np.trace(matrix) / 8000 * np.eye(8), vector)
        assert np.array_equal(least[b].argmax(axis=1), (worlds.features[b] @ weights).argmax(axis=1))


def test_ties_are_equal_to_ten_digits():
    """Two actions that differ by their rewards alone, by less and by more than what is rounded off."""
    alike = replace(WORLDS, transition=np.full_like(WORLDS.transition, 1 / 4))
    for more, best in ((4e-12, 0.5), (4e-10, 1.0)):
        paid = np.zeros_like(alike.outcome_reward)
        paid[:, :, 1] = more
        assert np.array_equal(
            deployment.optimal(replace(alike, outcome_reward=paid))[..., 1], np.full((5, 4), best)
        )


def test_shares_are_ratios_of_means():
    """Two worlds, one with a tiny gap, by hand; intervals over worlds and over learners apart."""
    floor, ceiling = np.zeros(2), np.array([1.0, 0.01])
    found = shares(np.array([0.5, 0.02]), floor, ceiling, np.random.default_rng(0))
    assert np.isclose(found.share, 0.52 / 1.01)
    assert np.isclose([found.low, found.high], [0.5, 2.0]).all()
    # Worlds all alike: nothing but learners vary, and the reverse.
    alike = np.repeat([[0.2], [0.6]], 50, axis=1)
    wide = shares(alike, np.zeros(50), np.ones(50), np.random.default_rng(1))
    assert np.allclose(wide, (0.4, 0.2, 0.6))
    assert np.allclose(shares(alike[:1], np.zeros(50), np.ones(50), np.random.default_rng(1)), 0.2)
    rng = np.random.default_rng(2)
    gain = rng.normal(0.5, 1, 400)
    found = shares(gain, np.zeros(400), np.ones(400), rng)
    assert abs((found.high - found.low) / (2 * 1.96 * gain.std() / 20) - 1) < 0.1
    given, said = (gain, np.zeros(400), np.ones(400)), {"draws": 2000, "level": 0.95}
    default = shares(*given, np.random.default_rng(3))
    assert default == shares(*given, np.random.default_rng(3), **said)
    one = shares(*given, np.random.default_rng(3), draws=1)
    assert one.low == one.high  # a single draw is an interval of no width


@pytest.mark.bad_input
def test_refuses():
    rng = np.random.default_rng(0)
    P, V = SETTING.teacher()
    with pytest.raises(ValueError, match="scores has shape"):
        Blocks(SETTING, P, V)
    with pytest.raises(ValueError, match="values has shape"):
        Blocks(SETTING, P[None], V[None, :2])
    with pytest.raises(ValueError, match=r"step_size is 1.5"):
        ExpectedSarsa(1.5)
    for records in ([], [3, 2], [1, 1], [1, 3, 2]):
        with pytest.raises(ValueError, match="records is"):
            deploy(WORLDS, Teacher(SETTING), WEIGHTS, records, rng)
    with pytest.raises(ValueError, match="must be finite"):
        deploy(WORLDS, Teacher(SETTING), np.nan * WEIGHTS, [1], rng)
    with pytest.raises(ValueError, match="kind is 'oracle'"):
        from_data("oracle", WORLDS, [])
    with pytest.raises(ValueError, match="history is empty"):
        from_data("myopic", WORLDS, [])
    both = WORLDS.window(np.full((2, 5, 4, 2), 0.5), 3, rng)
    with pytest.raises(ValueError, match=r"history must hold at least one window, each \(B, n \+ 1\)"):
        from_data("myopic", WORLDS, [both])
    with pytest.raises(ValueError, match=r"^history gives a linear system"):  # features that are 0
        from_data("LSTD-Q", replace(WORLDS, features=0 * WORLDS.features), play(Teacher(SETTING)).history)
    with pytest.raises(ValueError, match=r"discount is 0.9998; it must be below 0.9997"):
        deployment.optimal(replace(WORLDS, discount=0.9998))
    with pytest.raises(ValueError, match="weighting is 'mean'"):
        values(WORLDS, deployment.uniform(WORLDS), "mean")
    with pytest.raises(ValueError, match="ceiling lies 0 above floor"):
        shares(np.ones(3), np.ones(3), np.ones(3), rng)
    with pytest.raises(ValueError, match="floor has shape"):
        shares(np.ones(3), np.ones(2), np.ones(3), rng)
    with pytest.raises(ValueError, match="level is 1"):
        shares(np.ones(3), np.zeros(3), np.ones(3), rng, level=1.0)
    with pytest.raises(ValueError, match="draws is 0"):
        shares(np.ones(3), np.zeros(3), np.ones(3), rng, draws=0)
