"""Algorithm 1 on a device: its windows and steps are those of the reference, its draws have the same law."""

import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.gradient_flow import (
    Experiment,
    full_count,
    full_count_rows,
    recovery,
    train_on_device,
    training_start,
)
from icrl.gradient_flow import experiment as room
from icrl.gradient_flow.worlds import Worlds

SMALL = {"num_states": 3, "num_actions": 2, "num_transitions": 7, "discount": 0.7, "step_size": 0.3}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Uniform(np.random.Generator):
    """A source of randomness that gives back what it was given."""

    def __init__(self, drawn):
        super().__init__(np.random.PCG64())
        self.drawn = drawn

    def random(self, shape):
        assert self.drawn.shape == shape
        return self.drawn


@pytest.mark.parametrize(("parameters", "epsilon"), [("drawn", 0.3), ("zero", 0.3), ("drawn", 0.0)])
def test_a_window_is_the_references_window(parameters, epsilon):
    """The same processes, parameters and uniform numbers: the same states, rows, updates; ties as well."""
    setting, rng, batch = Experiment(epsilon=epsilon, **SMALL), np.random.default_rng(0), 40
    worlds = setting.worlds(batch, rng)
    if epsilon == 0:  # some successors are impossible
        transition = worlds.transition.copy()
        transition[:5, ..., 0] = 0
        worlds = replace(worlds, transition=transition / transition.sum(-1, keepdims=True))
    w = setting.parameters(batch, rng) * (parameters == "drawn")
    starts, drawn = rng.integers(3, size=batch), rng.random((8, 3, batch))
    drawn[..., :5] *= epsilon > 0  # the smallest uniform number: what is impossible is not drawn
    window = worlds.window(room.behaviour(setting, worlds, w), 7, Uniform(drawn), starts)
    wanted = room.lesson(setting, worlds, window, w)
    rows = np.cumsum(worlds.transition, -1)
    world = worlds.features, rows / rows[..., -1:], worlds.outcome_reward
    world, (w, starts, drawn) = ([torch.tensor(x) for x in some] for some in (world, (w, starts, drawn)))
    data, update, last = full_count._follow(setting, world, w, drawn[:, 1:].permute(1, 0, 2), starts)
    assert np.allclose(data, wanted.data, atol=1e-14)
    assert np.allclose(update, wanted.update, atol=1e-14)
    assert np.array_equal(last, window.states[:, -1])
    assert len(np.unique(window.states)) == 3


def test_processes_have_the_law_of_the_reference():
    """Means and second moments of 4000 processes, against the distributions that are named."""
    setting = Experiment(concentration=0.5, spread=0.6, batch=4000, **SMALL)
    (features, rows, paid), start = full_count._worlds(setting, 4000, generator())
    transition = rows.diff(dim=-1, prepend=torch.zeros_like(rows[..., :1]))
    assert transition.min() >= 0
    assert torch.equal(rows[..., -1], torch.ones_like(rows[..., -1]))
    # A Dirichlet distribution on 3 states with concentration 1/2: mean 1/3, second moment 1/5.
    assert abs(transition.mean((0, 1, 2)) - 1 / 3).max() < 0.01
    assert abs(transition.square().mean((0, 1, 2)) - 1 / 5).max() < 0.01
    for x in (features, paid):
        assert x.min() > -1
        assert x.max() < 1
        assert abs(x.mean()) < 0.01
        assert abs(x.square().mean() - 1 / 3) < 0.01
    assert abs(torch.bincount(start) / 4000 - 1 / 3).max() < 0.03
    given = next(full_count.device_lessons(setting, generator()))
    assert (given.column[:, 0] == 1).all()
    assert abs(given.column[:, 1:].square().mean() - 0.6**2 / 3) < 0.01


def test_weights_and_state_go_on_from_window_to_window():
    """The next column is the last one plus the update; frozen weights stay; then come new processes."""
    for follow in (True, False):
        setting = Experiment(batch=4, windows=3, follow=follow, **SMALL)
        first, second, third, new = itertools.islice(full_count.device_lessons(setting, generator()), 4)
        for a, b in ((first, second), (second, third)):
            assert torch.allclose(b.column[:, 1:], a.column[:, 1:] + follow * a.update)
            assert a.data.shape == (4, 7, 13)
        assert (new.column - third.column).abs().max() > 0.1


def test_a_window_begins_where_the_last_one_ended():
    """With one action a state has one row of features: the last successor's is the first of the next."""
    setting = Experiment(batch=4, windows=3, **SMALL | {"num_actions": 1})
    first, second, third, new = itertools.islice(full_count.device_lessons(setting, generator()), 4)
    for a, b in ((first, second), (second, third)):
        assert torch.allclose(b.data[:, 0, :3], a.data[:, -1, 3:6] / 0.7)
    assert not torch.isclose(new.data[:, 0, :3], third.data[:, -1, 3:6] / 0.7).any()


def test_all_draws_come_from_the_generator():
    """Parameters, processes and windows, those of the next processes too."""
    setting = Experiment(batch=2, windows=2, **SMALL)
    once, again = (list(itertools.islice(full_count.device_lessons(setting, generator(3)), 3)) for _ in "ab")
    for one, other in zip(once, again, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_work_is_recorded_once_and_replayed(device, monkeypatch):
    """On CUDA the first call works, the second records (which does nothing) and replays, as do all others."""
    done, recording = [], []

    class Graph:
        replay = staticmethod(lambda: done.append("replayed"))

    @contextlib.contextmanager
    def graph(given):
        assert isinstance(given, Graph)
        recording.append("now")
        yield
        recording.append("over")

    def work():
        if recording[-1:] == ["now"]:
            recording[-1] = "work"
        else:
            done.append("worked")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    recorded = full_count._Recorded(work, torch.device(device))
    for calls in range(1, 5):
        recorded()
        assert len(done) == calls
    assert recording == (["work", "over"] if device == "cuda" else [])
    assert done == ["worked", *(["replayed"] * 3 if device == "cuda" else ["worked"] * 3)]


def test_the_strict_gradient_is_the_gradient_of_one_window():
    setting = Experiment(batch=1, **SMALL)
    given = next(full_count.device_lessons(setting, generator()))
    blocks = [torch.from_numpy(x) for x in training_start(setting, 3, np.random.default_rng(0))]
    _, *wanted = room.gradients(*blocks, *given)
    data = given.data[0]
    found = full_count._strict_gradients(*blocks, data.mT @ data / 7, given.column[0], given.update[0])
    for x, y in zip(found, wanted, strict=True):
        assert torch.allclose(x, y, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("batch", [1, 3], ids=["one window", "batched"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_training_is_that_of_the_reference(monkeypatch, batch, schedule):
    """The same lessons to `train_side_by_side`: losses and blocks at every moment."""
    at_once = 2 if batch == 1 else 1
    setting = Experiment(batch=batch, at_once=at_once, windows=6, schedule=schedule, **SMALL)
    blocks = training_start(setting, 2, np.random.default_rng(0))
    run = train_on_device(setting, 36, *blocks, generator(5), records=4)

    def lessons(c, rng):
        draws = full_count.device_lessons(
            replace(setting, batch=max(batch, at_once), at_once=1), generator(5)
        )
        while batch > 1:
            yield room.Lesson(*(x.numpy() for x in next(draws)))
        while True:  # all windows of one process, then those of the next
            kept = [next(draws) for _ in range(6)]
            for b in range(at_once):
                yield from (room.Lesson(*(x[b : b + 1].numpy() for x in given)) for given in kept)

    monkeypatch.setattr(room, "_lessons", lessons)
    wanted = room.train_side_by_side(
        replace(setting, at_once=1), 36, *blocks, np.random.default_rng(0), records=4
    )
    for x, y in zip(run, wanted, strict=True):
        assert np.allclose(x, y, rtol=1e-6, atol=1e-8)  # rates are rounded to float32
    assert abs(run.scores[-1] - run.scores[0]).max() > 0.01


def test_fewest_steps_and_moments_if_none_are_named():
    setting = Experiment(batch=2, **SMALL)
    blocks = training_start(setting, 1, np.random.default_rng(0))
    assert list(train_on_device(setting, 1, *blocks, generator(), records=2).steps) == [0, 1]
    assert list(train_on_device(setting, 20, *blocks, generator()).steps) == list(range(0, 21, 2))


def test_rows_of_the_table():
    """Against a training by hand: quantiles over the starts at each moment."""
    change = {"batch": 3, "windows": 5, **SMALL}
    given = {"variant": "v", "changes": change, "steps": 10, "draws": 2, "starts": 3, "records": 2}
    rows = full_count_rows(**given, device="cpu", seed=14)
    assert [(row["step"], row["windows"], row["starts"]) for row in rows] == [(5, 15, 3), (10, 30, 3)]
    setting, start = Experiment(**change), np.random.default_rng([14, 2, 0])
    word = int(np.random.SeedSequence([14, 2, 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    run = train_on_device(setting, 10, *training_start(setting, 3, start), generator(word), records=3)
    found = recovery(setting, run.scores, run.values)
    assert (found.scale[1:] < 0).any(axis=1).all()
    for r, row in enumerate(rows, 1):
        assert row["positive"] == (found.scale[r] > 0).sum()
        size = np.sort(abs(found.scale[r]))
        assert np.allclose([row[f"scale_{x}"] for x in ("least", "median", "largest")], size, rtol=6e-3)
        for name in ("score_error", "value_error"):
            wanted = np.sort(getattr(found, name)[r])[1:]
            assert np.allclose([row[f"{name}_{x}"] for x in ("median", "largest")], wanted, rtol=6e-3)
        assert np.isclose(row["loss"], np.median(run.losses[r]), rtol=6e-3)
        cosine = min(abs(found.score_cosine[r]).min(), abs(found.value_cosine[r]).min())
        assert np.isclose(row["cosine_off"], 1 - cosine, rtol=6e-3)
    assert rows != full_count_rows(**given, device="cpu", seed=8)


def test_worlds_can_be_given_to_the_reference():
    """Rows that were summed here are distributions there."""
    setting = Experiment(**SMALL)
    (features, rows, paid), _ = full_count._worlds(setting, 5, generator())
    transition = rows.diff(dim=-1, prepend=torch.zeros_like(rows[..., :1])).numpy()
    Worlds(transition, paid.numpy(), np.full((5, 3), 1 / 3), features.numpy(), 0.7)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change",
    [
        {"method": "actor-critic"},
        {"features": "fixed"},
        {"windows_from": "independent"},
        {"optimizer": "sgd"},
    ],
)
def test_refuses_what_is_not_drawn_on_a_device(change):
    setting = Experiment(**SMALL, **change)
    blocks = training_start(setting, 1, np.random.default_rng(0))
    ((name, value),) = change.items()
    for call in (
        lambda: full_count.device_lessons(setting, generator()),
        lambda: train_on_device(setting, 2, *blocks, generator(), records=2),
    ):
        with pytest.raises(ValueError, match=f"{name} is '{value}'; drawn on a device it must be"):
            call()


@pytest.mark.bad_input
def test_refuses_moments_that_do_not_fit_blocks_of_another_size_and_missing_devices():
    setting = Experiment(**SMALL)
    score, value = training_start(setting, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="num_steps is 7; it must be a multiple of records - 1, 2"):
        train_on_device(setting, 7, score, value, generator(), records=3)
    with pytest.raises(ValueError, match=r"score has shape \(1, 12, 7\); it must be \(1, 13, 7\)"):
        train_on_device(setting, 2, score[:, 1:], value[..., 1:], generator(), records=3)
    with pytest.raises(ValueError, match=r"value has shape \(1, 5, 13\); it must be \(1, 6, 13\)"):
        train_on_device(setting, 2, score, value[:, 1:], generator(), records=3)
    with pytest.raises(ValueError, match="num_steps is 0; it must be at least 1"):
        train_on_device(setting, 0, score, value, generator(), records=3)
    with pytest.raises(ValueError, match="records is 1; it must be at least 2"):
        train_on_device(setting, 2, score, value, generator(), records=1)
    with pytest.raises(ValueError, match="at_once is 2 and batch 2; drawn on a device one of the two must"):
        train_on_device(replace(setting, at_once=2, batch=2), 2, score, value, generator(), records=3)
    with pytest.raises(ValueError, match="at_once is 2 and batch 50; drawn on a device one of the two must"):
        train_on_device(replace(setting, at_once=2), 2, score, value, generator(), records=3)
    with pytest.raises(ValueError, match="device is 'abacus'; this machine has none"):
        full_count.available("abacus")
    with pytest.raises(ValueError, match="device is 'cuda:99'; this machine has none"):
        full_count.available("cuda:99")
