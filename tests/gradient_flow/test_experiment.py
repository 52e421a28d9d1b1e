"""Algorithm 1 side by side: lessons by reference loops, blocks by the whole pass, steps by hand."""

import itertools

import numpy as np
import pytest
import torch

from icrl.gradient_flow import (
    Experiment,
    train_side_by_side,
    training_start,
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

SMALL = {"num_states": 3, "num_actions": 2, "num_transitions": 7, "discount": 0.7, "step_size": 0.3}


def some_lesson(method, seed=0, batch=4):
    """A lesson with its worlds, window and parameters."""
    setting, rng = Experiment(method=method, actor_step=0.4, **SMALL), np.random.default_rng(seed)
    worlds = setting.worlds(batch, rng)
    parameters = setting.parameters(batch, rng)
    policies = room.behaviour(setting, worlds, parameters)
    window = worlds.window(policies, setting.num_transitions, rng)
    return setting, worlds, window, parameters, room.lesson(setting, worlds, window, parameters)


def test_what_is_done_if_nothing_is_said():
    """The settings in which the chapter trains: Algorithm 1 at the size of the experiment."""
    said = {"method": "sarsa", "num_states": 9, "num_actions": 4, "discount": 0.5, "num_transitions": 20}
    said |= {"epsilon": 0.1, "step_size": 0.2, "actor_step": 0.2, "features": "fresh", "concentration": 1.0}
    said |= {"spread": 1.0, "follow": True, "windows_from": "rollouts", "batch": 50, "windows": 100}
    said |= {"at_once": 1, "optimizer": "adam", "learning_rate": 2e-3, "schedule": "cosine", "gain": 0.1}
    assert vars(Experiment()) == said
    setting = Experiment(num_states=1, num_actions=1, num_transitions=1, batch=1, windows=1)  # all may be 1
    blocks = training_start(setting, 1, np.random.default_rng(0))
    shortest = train_side_by_side(setting, 1, *blocks, np.random.default_rng(0), records=2)
    assert list(shortest.steps) == [0, 1]
    run = train_side_by_side(setting, 40, *blocks, np.random.default_rng(0))
    assert list(run.steps) == list(range(0, 41, 2))


def test_a_title_is_for_a_progress_bar(capsys):
    setting = Experiment(batch=1, **SMALL)
    blocks = training_start(setting, 1, np.random.default_rng(0))
    for title in (None, "a training"):
        train_side_by_side(setting, 1, *blocks, np.random.default_rng(0), records=2, progress=title)
        shown = capsys.readouterr().err
        assert ("a training: 100%" in shown) if title else not shown


def test_worlds_are_those_of_the_setting():
    """Every option off its default: against the same draws by hand, and what each is seen by."""
    options = {"num_states": 3, "num_actions": 2, "discount": 0.7, "concentration": 0.2}
    for method, features in (("sarsa", "fresh"), ("actor-critic", "fresh"), ("sarsa", "one-hot")):
        setting = Experiment(method=method, features=features, **options)
        worlds = setting.worlds(200, np.random.default_rng(0))
        assert worlds.discount == 0.7
        assert worlds.transition.shape == (200, 3, 2, 3)
        # Rows of a Dirichlet distribution at 0.2: second moment (1 + 0.2) / (3 (1 + 0.6)), 1/4.
        assert abs((worlds.transition**2).mean() - 0.25) < 0.02
        assert (worlds.state_features is not None) == setting.actor
        assert setting.actor is False or worlds.state_features.shape == (200, 3, 3)
        assert (features == "one-hot") == bool(np.isin(worlds.features, (0, 1)).all())


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
def test_lessons_of_learners_side_by_side(method):
    """Learners in the same worlds with parameters of their own: each is taught as if it were alone."""
    setting, worlds, _, _, _ = some_lesson(method)
    rng = np.random.default_rng(7)
    parameters = 2 * rng.normal(size=(3, 2, 4, setting.shape[2]))
    policies = room.behaviour(setting, worlds, parameters)
    window = worlds.window(policies, 7, rng)
    together = room.lesson(setting, worlds, window, parameters)
    for i in np.ndindex(3, 2):
        assert np.allclose(policies[i], room.behaviour(setting, worlds, parameters[i]))
        own = room.lesson(setting, worlds, type(window)(*(x[i] for x in window)), parameters[i])
        for x, y in zip(together, own, strict=True):
            assert np.allclose(x[i], y, atol=1e-14)


def test_softmax_of_any_size():
    """Rows by themselves, however large or unlike."""
    found = room.softmax(np.array([[1000.0, 1000.0, 0.0], [-3000.0, -3000.0, -3000.0], np.log([1, 2, 5])]))
    assert np.allclose(found, [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [1 / 8, 2 / 8, 5 / 8]])


def test_adam_by_hand():
    """Four steps with rates of their own, entry by entry; some gradients are as small as its epsilon."""
    rng = np.random.default_rng(0)
    flat = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x, mean, square, step = flat.numpy().copy(), np.zeros(3), np.zeros(3), room.adam_steps(flat)
    for t in range(1, 5):
        slope, rate = rng.normal(size=3) * [1, 1e-3, 1e-8], 0.1 / t
        step(torch.from_numpy(slope), rate)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        x -= rate * mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        assert np.allclose(flat, x, rtol=1e-12)


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
    asked = torch.einsum("bk,imk->ibm", column, score)
    heard = torch.einsum("bnm,bnl,ibl->ibm", data, data, asked) / data.shape[1]
    answer = torch.einsum("iqm,ibm->ibq", value, heard)
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


def lessons(count=3, rng=3, **changes):
    """The first lessons of a training."""
    setting = Experiment(**(SMALL | {"batch": 2, "windows": 3} | changes))
    stream = room._lessons(setting, np.random.default_rng(rng))
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


def test_one_table_is_uniform_between_minus_one_and_one():
    table = room.fixed_table(Experiment(), np.random.default_rng(0))
    assert table.shape == (9, 4, 36)
    assert -1 <= table.min() < -0.99
    assert 0.99 < table.max() <= 1
    assert abs(table.mean()) < 0.1  # six standard errors


@pytest.mark.parametrize(("batch", "at_once"), [(1, 4), (2, 4), (2, 2)])
def test_all_windows_of_a_batch_are_shown_before_the_next(batch, at_once):
    """Drawn side by side, shown one after the other: the teacher's chain of weights, broken between them."""
    setting = Experiment(batch=batch, windows=3, at_once=at_once, **SMALL)
    draws = room._lessons(setting, np.random.default_rng(2))
    given = [next(draws) for _ in range(3 * at_once + 2)]  # into the next draw of processes
    wide = lessons(1, batch=at_once * batch, rng=2)[0].data  # drawn together
    assert np.array_equal(wide, np.concatenate([x.data for x in given[: 3 * at_once : 3]]))
    for k, (one, other) in enumerate(itertools.pairwise(given)):
        assert one.data.shape[0] == batch
        follows = np.allclose(other.column[:, 1:], one.column[:, 1:] + one.update)
        assert follows == ((k + 1) % 3 != 0)
    assert len({w for x in given[::3] for w in x.column[:, 1]}) == (at_once + 1) * batch


def test_exchanged_weights_are_those_of_the_world_before():
    """The windows are those of rollouts, and so are the weights, each of them beside another window."""
    changes = {"batch": 3, "features": "one-hot"}
    for own, given in zip(
        lessons(5, **changes), lessons(5, windows_from="exchanged", **changes), strict=True
    ):
        assert np.array_equal(given.data, own.data)
        assert np.array_equal(given.column, own.column[[2, 0, 1]])
        for x, column, update in zip(*given, strict=True):
            shown = column[1:], x[:, :6], x[:, 6:12] / 0.7, x[:, 12]
            assert np.allclose(column[1:] + update, sarsa_update(*shown, 0.7, 0.3))


def test_independent_windows_have_no_process():
    """Successors are drawn apart from what follows; the update is still SARSA's."""
    given = lessons(1, windows_from="independent", batch=3, features="one-hot")[0]
    after, before = given.data[:, :-1, 6:12] / 0.7, given.data[:, 1:, :6]
    assert not np.array_equal(after, before)
    for x, column, update in zip(*given, strict=True):
        shown = column[1:], x[:, :6], x[:, 6:12] / 0.7, x[:, 12]
        assert np.allclose(column[1:] + update, sarsa_update(*shown, 0.7, 0.3))
    first, second = lessons(2, windows_from="independent", batch=2, features="one-hot", num_transitions=900)
    assert np.abs(first.data[..., :6].mean((0, 1)) - 1 / 6).max() < 0.05  # pairs and successors, uniform
    assert np.abs(first.data[..., 6:12].mean((0, 1)) / 0.7 - 1 / 6).max() < 0.05
    rewards = first.data[..., 12]
    assert -1 <= rewards.min() < -0.98
    assert 0.98 < rewards.max() <= 1
    assert np.array_equal(first.column[:, 0], [1, 1])
    assert not np.isclose(first.column[:, 1:], second.column[:, 1:]).any()  # drawn for every window


def test_the_start_is_xaviers():
    """Uniform with bound gain sqrt(6 / 2D), D = 3 d + 2."""
    setting = Experiment(gain=0.5)
    blocks = training_start(setting, 40, np.random.default_rng(0))
    for x in blocks:
        bound = 0.5 * np.sqrt(3 / 110)
        assert 0.99 * bound < np.abs(x).max() < bound
        assert abs(x.std() / (bound / 3**0.5) - 1) < 0.02


BAD = [
    ({"method": "q-learning"}, "method is 'q-learning'"),
    ({"features": "random"}, "features is 'random'"),
    ({"windows_from": "files"}, "windows_from is 'files'"),
    ({"optimizer": "Adam"}, "optimizer is 'Adam'"),
    ({"schedule": "step"}, "schedule is 'step'"),
    ({"num_states": 0}, "num_states is 0"),
    ({"num_actions": 2.0}, "num_actions is 2.0"),
    ({"batch": 0}, "batch is 0"),
    ({"batch": 1, "windows_from": "exchanged"}, "batch is 1; with windows_from"),
    ({"windows": -1}, "windows is -1"),
    ({"at_once": 0}, "at_once is 0"),
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
def test_refuses_blocks_that_do_not_fit():
    rng = np.random.default_rng(0)
    setting = Experiment(**SMALL)
    blocks = training_start(setting, 2, rng)
    with pytest.raises(ValueError, match="value has shape"):
        train_side_by_side(setting, 1, blocks[0], blocks[1][:, :2], rng)
    with pytest.raises(ValueError, match=r"score has shape \(2, 13, 6\); it must be \(2, 13, 7\)"):
        train_side_by_side(setting, 1, blocks[0][..., 1:], blocks[1], rng)
    with pytest.raises(ValueError, match="num_seeds is 0; it must be at least 1"):
        training_start(setting, 0, rng)
    with pytest.raises(ValueError, match="num_steps is 0"):
        train_side_by_side(setting, 0, *blocks, rng)
    with pytest.raises(ValueError, match="records is 1"):
        train_side_by_side(setting, 3, *blocks, rng, records=1)
