"""The experiment at its size: worlds and windows, lessons, blocks side by side, recovery, what tasks tell."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.gradient_flow import (
    Experiment,
    experiment_tasks,
    null_dimension,
    random_worlds,
    recovery,
    richness,
    spectrum,
    train_side_by_side,
    training_rows,
    training_start,
    unseen_data,
)
from icrl.gradient_flow import experiment as room
from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.policies import softmax_score
from icrl.policy_improvement import actor_critic_update, sarsa_update
from icrl.rollouts import rollout_batch

SMALL = {"num_states": 3, "num_actions": 2, "num_transitions": 7, "discount": 0.7, "step_size": 0.3}


def some_lesson(method, seed=0, batch=4):
    """A lesson with its worlds, window and parameters."""
    setting, rng = Experiment(method=method, actor_step=0.4, **SMALL), np.random.default_rng(seed)
    worlds = setting.worlds(batch, rng)
    parameters = setting.parameters(batch, rng)
    policies = room.behaviour(setting, worlds, parameters)
    window = worlds.window(policies, setting.num_transitions, rng)
    return setting, worlds, window, parameters, room.lesson(setting, worlds, window, parameters)


# ------------------------------------------------------------------------------------------------ Worlds


def test_worlds_are_drawn_as_the_paper_reports():
    """Sizes, uniform rewards and features on (-1, 1), rows uniform on the simplex"""
    worlds = random_worlds(400, np.random.default_rng(0))
    assert worlds.features.shape == (400, 9, 4, 36)
    assert worlds.discount == 0.5
    for drawn in (worlds.outcome_reward, worlds.features):
        assert abs(drawn.mean()) < 0.01
        assert abs(drawn.var() - 1 / 3) < 0.01
        assert drawn.min() > -1
        assert drawn.max() < 1
    # Dirichlet(1, ..., 1) on 9 states: the variance of an entry is 8 / (81 * 10).
    for rows, tolerance in ((worlds.transition, 0.03), (worlds.start, 0.2)):
        assert abs(rows.var() / (8 / 810) - 1) < tolerance
    assert np.abs(np.corrcoef(worlds.features[:2].reshape(2, -1))[0, 1]) < 0.1


def test_concentration_makes_rows_sparser_not_the_start():
    """Concentration c: the variance of an entry is 8 / (81 (9 c + 1))."""
    worlds = random_worlds(300, np.random.default_rng(1), concentration=0.1)
    assert abs(worlds.transition.var() / (8 / 81 / 1.9) - 1) < 0.05
    assert abs(worlds.start.var() / (8 / 810) - 1) < 0.2


def test_reward_and_process_agree():
    """Expected rewards by the process' own check, and its features left out."""
    worlds = random_worlds(3, np.random.default_rng(2), num_states=4, num_actions=2)
    process = worlds.process(2)
    assert np.allclose(process.reward, worlds.reward[2])
    assert np.array_equal(process.start, worlds.start[2])
    with pytest.raises(ValueError, match="index is 3"):
        worlds.process(3)


def test_a_window_draws_what_rollouts_draw():
    """The same uniforms in the same order: states, actions and rewards are equal, starts given or not."""
    rng = np.random.default_rng(3)
    worlds = random_worlds(5, rng, num_states=4, num_actions=3)
    policies = rng.dirichlet(np.ones(3), size=(5, 4))
    processes = [worlds.process(i) for i in range(5)]
    for starts in (None, np.array([0, 3, 1, 2, 2])):
        ours = worlds.window(policies, 12, np.random.default_rng(4), starts)
        theirs = rollout_batch(processes, policies, 12, np.random.default_rng(4), starts)
        for name in ("states", "actions", "rewards"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert np.array_equal(
            worlds.seen(ours)[2, 5], worlds.features[2, ours.states[2, 5], ours.actions[2, 5]]
        )


def test_learners_side_by_side_share_draws():
    """Each of two learners sees what it would see alone, and the same if it acts the same."""
    rng = np.random.default_rng(5)
    worlds = random_worlds(3, rng, num_states=4, num_actions=3)
    policies = rng.dirichlet(np.ones(3), size=(2, 3, 4))
    both = worlds.window(policies, 9, np.random.default_rng(6))
    for k in range(2):
        alone = worlds.window(policies[k], 9, np.random.default_rng(6))
        assert all(np.array_equal(x[k], y) for x, y in zip(both, alone, strict=True))


def test_action_values_by_a_loop():
    """One world and one pair at a time."""
    worlds = random_worlds(2, np.random.default_rng(7), num_states=3, num_actions=2)
    w = np.random.default_rng(8).normal(size=(2, 6))
    values = worlds.action_values(w)
    for b, s, a in np.ndindex(2, 3, 2):
        assert np.isclose(values[b, s, a], w[b] @ worlds.features[b, s, a])


# ------------------------------------------------------------------------------------- Teacher and block


def test_the_lesson_is_the_reference_update():
    """SARSA's batched update against the plain loop of `policy_improvement`, and the prompt's columns."""
    _, worlds, window, w, given = some_lesson("sarsa")
    phi = worlds.seen(window)
    for b in range(len(worlds)):
        wanted = sarsa_update(w[b], phi[b, :-1], phi[b, 1:], window.rewards[b], 0.7, 0.3)
        assert np.allclose(w[b] + given.update[b], wanted, atol=1e-14)
    prompt = sarsa_prompt(w, phi[:, :-1], phi[:, 1:], window.rewards, 0.7).numpy()
    assert np.allclose(given.data.swapaxes(1, 2), prompt[:, :13, :-1])
    assert np.allclose(given.column, prompt[:, 13:, -1])


def test_the_actor_critics_lesson_is_the_reference_update():
    """Scores of the policy that acts, both parts of the update, and the prompt's columns."""
    _, worlds, window, parameters, given = some_lesson("actor-critic")
    d, each = 3, range(len(worlds))
    for b in each:
        w, policy_weights = parameters[b, :d], parameters[b, d:]
        table = softmax_score(policy_weights, worlds.features[b])
        scores = table[window.states[b, :-1], window.actions[b, :-1]]
        phi = worlds.state_features[b, window.states[b]]
        shown = w, policy_weights, phi[:-1], phi[1:], window.rewards[b], scores
        wanted = np.concatenate(actor_critic_update(*shown, 0.7, 0.3, 0.4))
        assert np.allclose(parameters[b] + given.update[b], wanted, atol=1e-14)
        prompt = actor_critic_prompt(*shown, 0.7).numpy()
        assert np.allclose(given.data[b].T, prompt[:13, :-1])
        assert np.allclose(given.column[b], prompt[13:, -1])


@pytest.mark.parametrize("method", ["sarsa", "actor-critic"])
def test_the_teachers_blocks_are_those_of_the_construction(method):
    """Entry by entry, cut out of the whole matrices."""
    setting = Experiment(method=method, actor_step=0.4, **SMALL)
    P, V = actor_critic_weights(3, 6, 0.3, 0.4) if setting.actor else sarsa_weights(6, 0.3)
    m = setting.shape[0]
    score, value = setting.teacher()
    assert np.array_equal(score, P[:m, m:])
    assert np.array_equal(value, V[m + 1 :, :m])
    assert np.isclose(setting.balanced_scale() ** 2, np.linalg.norm(V) / np.linalg.norm(P))


def test_the_balanced_scale_at_the_papers_size():
    """(alpha sqrt(d) / sqrt(2 d + 1)) ** 1/2 with alpha = .2, d = 36."""
    assert np.isclose(Experiment().balanced_scale(), (1.2 / np.sqrt(73)) ** 0.5)
    assert round(Experiment().balanced_scale(), 3) == 0.375


@pytest.mark.parametrize("method", ["sarsa", "actor-critic"])
def test_side_by_side_is_the_whole_block(method):
    """Readout of random blocks against the forward pass of D x D blocks, and gradients against autograd."""
    setting, _, _, parameters, given = some_lesson(method)
    (m, k, q), rng = setting.shape, np.random.default_rng(9)
    score, value = (torch.from_numpy(rng.normal(size=(2, *s))).requires_grad_() for s in ((m, k), (q, m)))
    data, column, update = (torch.from_numpy(x) for x in given)
    _, answer = room.respond(score, value, data, column)
    prompt = data.new_zeros(len(data), m + k, data.shape[1] + 1)
    prompt[:, :m, :-1], prompt[:, m:, -1] = data.mT, column
    for i in range(2):
        P, V = torch.zeros(2, m + k, m + k, dtype=torch.float64)
        P[:m, m:], V[m + 1 :, :m] = score[i].detach(), value[i].detach()
        whole = LinearTransformer(P, V, q).readout(prompt) - torch.from_numpy(parameters)
        assert torch.allclose(answer[i], whole, atol=1e-12)
    loss, by_score, by_value = room.gradients(score, value, data, column, update)
    by_hand = ((answer - update) ** 2).sum(-1).mean(1) / 2
    assert torch.allclose(loss, by_hand)
    wanted = torch.autograd.grad(by_hand.sum(), (score, value))
    assert torch.allclose(by_score, wanted[0])
    assert torch.allclose(by_value, wanted[1])


def test_training_side_by_side_is_training_alone():
    """Three seeds together against each alone, a torch optimiser for each: the same numbers."""
    setting = Experiment(batch=3, windows=4, **SMALL)
    blocks = training_start(setting, 3, np.random.default_rng(0))
    together = train_side_by_side(setting, 9, *blocks, np.random.default_rng(1), records=4)
    for i in range(3):
        alone = train_side_by_side(
            setting, 9, *(x[i : i + 1] for x in blocks), np.random.default_rng(1), records=4
        )
        for x, y in zip(together[1:], alone[1:], strict=True):
            assert np.allclose(x[:, i], y[:, 0], atol=1e-15)
    assert np.array_equal(together.steps, [0, 3, 6, 9])
    assert np.array_equal(together.scores[0], blocks[0])
    assert np.array_equal(together.values[0], blocks[1])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_step_of_gradient_descent_by_hand(schedule):
    """Two steps of SGD on the first two windows, the second of which follows the teacher's weights."""
    setting = Experiment(batch=2, windows=5, optimizer="sgd", learning_rate=0.3, schedule=schedule, **SMALL)
    blocks = training_start(setting, 1, np.random.default_rng(0))
    run = train_side_by_side(setting, 2, *blocks, np.random.default_rng(1), records=3)
    rng, point = np.random.default_rng(1), [torch.from_numpy(x) for x in blocks]
    worlds, starts = setting.worlds(2, rng), None
    w = rng.uniform(-1, 1, (2, 6))
    for step, share in enumerate((1.0, 0.5 if schedule == "cosine" else 1.0)):
        policies = room.behaviour(setting, worlds, w)
        window = worlds.window(policies, 7, rng, starts)
        given = room.lesson(setting, worlds, window, w)
        loss, *slopes = room.gradients(*point, *(torch.from_numpy(x) for x in given))
        assert np.isclose(loss.item(), run.losses[step, 0])
        point = [x - 0.3 * share * y for x, y in zip(point, slopes, strict=True)]
        w, starts = w + given.update, window.states[:, -1]
    assert np.allclose(point[0], run.scores[-1])
    assert np.allclose(point[1], run.values[-1])


def lessons(count=3, **changes):
    """The first lessons of a training."""
    stream = room._lessons(
        Experiment(**(SMALL | {"batch": 2, "windows": 3} | changes)), np.random.default_rng(3)
    )
    return [next(stream) for _ in range(count)]


def test_parameters_follow_the_teacher_or_stay():
    """Within the visit of one world; the next world begins with fresh ones; spread 0 begins at 0."""
    for follow in (True, False):
        first, second, _, fresh = lessons(4, follow=follow)
        expected = first.column[:, 1:] + (first.update if follow else 0)
        assert np.array_equal(second.column[:, 1:], expected)
        assert np.abs(fresh.column[:, 1:]).max() <= 1
        assert not np.allclose(fresh.column, first.column)
    assert not lessons(spread=0.0)[0].column[:, 1:].any()
    assert 1.5 < np.abs(lessons(spread=2.0, batch=50)[0].column[:, 1:]).max() < 2


def test_epsilon_is_the_share_of_uniform_actions():
    """At 0 the first action is greedy in w, at 1 it hardly ever is more often than by chance."""
    shares = []
    for epsilon in (0.0, 0.5, 1.0):
        setting, rng = Experiment(epsilon=epsilon, **SMALL), np.random.default_rng(4)
        worlds, w = setting.worlds(2000, rng), rng.normal(size=(2000, 6))
        window = worlds.window(room.behaviour(setting, worlds, w), 1, rng)
        best = worlds.action_values(w).argmax(-1)[np.arange(2000), window.states[:, 0]]
        shares.append((best == window.actions[:, 0]).mean())
    assert np.allclose(shares, [1.0, 0.75, 0.5], atol=0.04)


def test_features_fixed_one_hot_and_fresh():
    """A table of its own for each world, one for all worlds of a training, or unit vectors."""
    seen = {}
    for kind in ("fresh", "fixed", "one-hot"):
        given = lessons(7, features=kind, batch=1, windows=1, num_transitions=40)
        seen[kind] = np.unique(np.concatenate([x.data[0, :, :6] for x in given]).round(9), axis=0)
    assert len(seen["fresh"]) > 20
    assert len(seen["fixed"]) == 6
    assert np.array_equal(seen["one-hot"], np.eye(6)[::-1])


def test_independent_windows_have_no_process():
    """Successors are drawn apart from what follows; the update is still SARSA's."""
    given = lessons(1, windows_from="independent", batch=3, features="one-hot")[0]
    after, before = given.data[:, :-1, 6:12] / 0.7, given.data[:, 1:, :6]
    assert not np.array_equal(after, before)
    for x, column, update in zip(*given, strict=True):
        shown = column[1:], x[:, :6], x[:, 6:12] / 0.7, x[:, 12]
        assert np.allclose(column[1:] + update, sarsa_update(*shown, 0.7, 0.3))


def test_the_start_is_xaviers():
    """Uniform with bound gain sqrt(6 / 2D), D = 3 d + 2."""
    setting = Experiment(gain=0.5)
    blocks = training_start(setting, 40, np.random.default_rng(0))
    for x in blocks:
        bound = 0.5 * np.sqrt(3 / 110)
        assert 0.99 * bound < np.abs(x).max() < bound
        assert abs(x.std() / (bound / 3**0.5) - 1) < 0.02


# ------------------------------------------------------------------------------------- Recovery, richness


def test_recovery_of_the_construction_itself():
    """Any scale, both signs; a disturbed entry shows in the error of its block and in no other."""
    setting = Experiment(**SMALL)
    P, V = setting.teacher()
    for c in (0.3, -2.0):
        seen = recovery(setting, c * P, V / c)
        assert np.isclose(seen.scale, c)
        assert max(seen.score_error, seen.value_error) < 1e-15
        assert np.isclose(seen.score_cosine, np.sign(c))
        assert np.isclose(seen.value_cosine, np.sign(c))
    other = V.copy()
    other[0, 1] += 0.1  # where the teacher has 0: the scale stays
    seen = recovery(setting, P, other)
    assert seen.score_error < 1e-15
    assert np.isclose(seen.value_error, 0.1 / np.linalg.norm(V))
    # Blocks with the wrong product are not the construction at any scale.
    seen = recovery(setting, 2 * P, 2 * V)
    assert np.isclose(seen.scale, 1)
    assert np.isclose(seen.score_error, 1)
    assert np.isclose(seen.value_error, 1)


def test_unseen_directions_change_nothing_and_are_projected_off():
    """z' x = 0 in every column of a lesson; moves along z are not seen by the projected measure."""
    for kind in ("one-hot", "fixed"):
        setting, rng = Experiment(features=kind, **SMALL), np.random.default_rng(5)
        table = room.fixed_table(setting, np.random.default_rng(3)) if kind == "fixed" else None
        z = unseen_data(setting, table)
        assert z.shape == (13, 1)
        assert np.isclose(np.linalg.norm(z), 1)
        for given in lessons(4, features=kind):
            assert np.abs(given.data @ z).max() < 1e-12
        P, V = setting.teacher()
        moved = P + z @ rng.normal(size=(1, 7)), V + rng.normal(size=(6, 1)) @ z.T
        assert recovery(setting, *moved).score_error > 0.1
        off = recovery(setting, *moved, z)
        assert max(off.score_error, off.value_error) < 1e-12
    assert unseen_data(Experiment(**SMALL)).shape == (13, 0)


def test_experiment_tasks_are_rich_with_fresh_features_only():
    """One null direction and the full span, against 2 d + 2 = 14 with one table for all."""
    rng = np.random.default_rng(0)
    for kind, null in (("fresh", 1), ("fixed", 14), ("one-hot", 14)):
        loss = experiment_tasks(Experiment(num_states=3, num_actions=2, features=kind), 900, rng)
        seen = richness(loss)
        assert seen.null_dimension == null
        assert seen.rich == (kind == "fresh")
        values = spectrum(loss, chunk=250)
        assert null_dimension(values) == null
        assert np.allclose(values, seen.spectrum / seen.spectrum[0], atol=1e-10)


def test_tasks_of_a_later_window_use_the_evolved_weights():
    """The parameter column of window 3 is that of the stream's third lesson."""
    setting = Experiment(**SMALL)
    loss = experiment_tasks(setting, 2, np.random.default_rng(3), windows=3)
    assert np.allclose(loss.parameters, lessons(3)[2].column)


def test_training_rows_name_what_they_measured():
    """A row for each seed and moment, the start left out; projected errors where something is unseen."""
    change = {"num_states": 2, "num_actions": 2, "batch": 2, "windows": 2, "features": "fixed"}
    rows = training_rows("part", "name", change, steps=4, draws=1, seeds=2, records=3, seed=0)
    assert [(row["seed"], row["step"]) for row in rows] == [(0, 2), (1, 2), (0, 4), (1, 4)]
    assert all(row["score_off"] != row["score_error"] for row in rows)
    setting = replace(Experiment(), **change)
    blocks = training_start(setting, 2, np.random.default_rng([0, 1, 0]))
    run = train_side_by_side(setting, 4, *blocks, np.random.default_rng([0, 1, 1]), records=3)
    assert rows[-1]["loss"] == float(f"{run.losses[-1, 1]:.4g}")


# ---------------------------------------------------------------------------------------------- Bad input

BAD = [
    ({"method": "q-learning"}, "method is 'q-learning'"),
    ({"features": "random"}, "features is 'random'"),
    ({"windows_from": "files"}, "windows_from is 'files'"),
    ({"optimizer": "Adam"}, "optimizer is 'Adam'"),
    ({"schedule": "step"}, "schedule is 'step'"),
    ({"num_states": 0}, "num_states is 0"),
    ({"num_actions": 2.0}, "num_actions is 2.0"),
    ({"batch": 0}, "batch is 0"),
    ({"windows": -1}, "windows is -1"),
    ({"discount": 1.0}, "discount is 1"),
    ({"epsilon": 1.5}, "epsilon is 1.5"),
    ({"spread": -1.0}, "spread is -1"),
    ({"spread": np.nan}, "spread is nan"),
    ({"step_size": 0.0}, "step_size is 0"),
    ({"gain": np.inf}, "gain is inf"),
    ({"follow": 1}, "follow is 1"),
    ({"concentration": -0.1}, "concentration is -0.1"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("options", "message"), BAD)
def test_refuses_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**options)


@pytest.mark.bad_input
def test_refuses_worlds_and_blocks_that_do_not_fit():
    worlds = random_worlds(2, np.random.default_rng(0), num_states=3, num_actions=2)
    for name, value, message in (
        ("transition", worlds.transition[:, :, 0], "transition has shape"),
        ("transition", 0.5 * worlds.transition, "transition row 0, 0, 0 sums to 0.5"),
        ("outcome_reward", worlds.outcome_reward[:1], "outcome_reward has shape"),
        ("start", worlds.start + 1, "start row 0 sums to"),
        ("features", worlds.features[:, :2], "features has shape"),
        ("features", np.full_like(worlds.features, np.nan), "must be finite"),
        ("discount", 1.0, "discount is 1"),
        ("state_features", np.ones((2, 2, 3)), "state_features has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(worlds, **{name: value})
    rng = np.random.default_rng(0)
    for options, message in (
        ({"features": "dense"}, "features is 'dense'"),
        ({"features": np.ones((2, 2, 4))}, "features has shape"),
        ({"concentration": 0.0}, "concentration is 0"),
        ({"num_state_features": 0}, "num_state_features is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            random_worlds(2, rng, num_states=3, num_actions=2, **options)
    with pytest.raises(ValueError, match="batch is 0"):
        random_worlds(0, rng)
    setting = Experiment(**SMALL)
    blocks = training_start(setting, 2, rng)
    with pytest.raises(ValueError, match="value has shape"):
        train_side_by_side(setting, 1, blocks[0], blocks[1][:, :2], rng)
    with pytest.raises(ValueError, match="num_steps is 0"):
        train_side_by_side(setting, 0, *blocks, rng)
    with pytest.raises(ValueError, match="records is 1"):
        train_side_by_side(setting, 3, *blocks, rng, records=1)
    with pytest.raises(ValueError, match="scores has shape"):
        recovery(setting, blocks[0][:, 1:], blocks[1])
    with pytest.raises(ValueError, match="num_tasks is 0"):
        experiment_tasks(setting, 0, rng)
