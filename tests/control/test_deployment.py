"""Learners in worlds with features: loop, what data allow, exact values, shares; each by another hand."""

from dataclasses import replace

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
from icrl.gradient_flow import Experiment, Window, random_worlds
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
    for other in (epsilon_greedy(WORLDS.reward, 0.2), 0.8 * best + 0.1):
        assert (values(WORLDS, soft) >= values(WORLDS, other) - 1e-12).all()


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
    states, actions = np.array([[0, 0, 1, 2]]), np.array([[0, 1, 0, 0]])
    one = Window(states, actions, np.array([[1.0, -1.0, 0.6]]))
    few = random_worlds(1, rng, num_states=4, num_actions=2)
    # Never seen: the mean of all, 0.2. So 0 in state 0, unseen 1 in state 2 and 3 ties with 0.
    assert np.array_equal(from_data("myopic", few, [one])[0], [[1, 0], [1, 0], [0.5, 0.5], [0.5, 0.5]])


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
    for records in ([], [3, 2], [1, 1]):
        with pytest.raises(ValueError, match="records is"):
            deploy(WORLDS, Teacher(SETTING), WEIGHTS, records, rng)
    with pytest.raises(ValueError, match="must be finite"):
        deploy(WORLDS, Teacher(SETTING), np.nan * WEIGHTS, [1], rng)
    with pytest.raises(ValueError, match="kind is 'oracle'"):
        from_data("oracle", WORLDS, [])
    with pytest.raises(ValueError, match="history is empty"):
        from_data("myopic", WORLDS, [])
    with pytest.raises(ValueError, match="weighting is 'mean'"):
        values(WORLDS, deployment.uniform(WORLDS), "mean")
    with pytest.raises(ValueError, match="ceiling lies 0 above floor"):
        shares(np.ones(3), np.ones(3), np.ones(3), rng)
    with pytest.raises(ValueError, match="floor has shape"):
        shares(np.ones(3), np.ones(2), np.ones(3), rng)
    with pytest.raises(ValueError, match="level is 1"):
        shares(np.ones(3), np.zeros(3), np.ones(3), rng, level=1.0)
