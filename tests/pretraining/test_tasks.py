"""Worlds and trajectories in torch."""

from dataclasses import asdict, replace

import pytest
import torch
from scipy.stats import kstest

from icrl.pretraining import tasks
from icrl.pretraining.tasks import (
    WORLDS,
    Configuration,
    draw_tasks,
    random_worlds,
    sample_states,
    transition_counts,
)
from icrl.pretraining.trainer import pretrain


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", WORLDS)
def test_worlds_are_chains(kind):
    worlds = random_worlds(kind, (3, 200), 5, generator())
    assert torch.allclose(worlds.transition.sum(-1), torch.ones(3, 200, 5, dtype=torch.float64))
    assert (worlds.transition >= 0).all()
    assert worlds.reward.abs().max() <= 1
    mu = worlds.stationary_distribution()
    assert torch.allclose(mu[..., None, :] @ worlds.transition, mu[..., None, :], atol=1e-12)
    moves = (worlds.transition > 0).sum(-1)
    assert moves.unique().tolist() == {"boyan": [1, 2, 5], "loop": [2], "random": [5]}[kind]


def test_trajectories_follow_their_chains():
    worlds = random_worlds("random", (2,), 3, generator())
    transition = worlds.transition[:, None].expand(2, 4000, 3, 3)
    states = sample_states(transition, 20, generator())
    counts = transition_counts(states, 3)
    assert counts.sum() == 2 * 4000 * 20
    total = counts.sum(1)
    frequencies = total / total.sum(-1, keepdim=True)
    errors = (worlds.transition * (1 - worlds.transition) / total.sum(-1, keepdim=True)).sqrt()
    assert ((frequencies - worlds.transition).abs() < 5 * errors).all()


@pytest.mark.parametrize("kind", WORLDS)
def test_worlds_have_the_described_laws(kind):
    """By the test of Kolmogorov and Smirnov; an entry of a row uniform on the simplex is Beta(1, S - 1)."""
    rows, reward = random_worlds(kind, (500,), 4, generator(1))
    laws = [(reward[:, s], "uniform", (-1, 2)) for s in (0, 3)]
    if kind == "loop":
        laws += [(rows[:, s, (s + 1) % 4], "uniform", (0, 1)) for s in (0, 3)]
    else:
        laws += [(rows[:, -1, s], "beta", (1, 3)) for s in (0, 3)]
    if kind == "boyan":
        laws += [(rows[:, s, s + 1], "uniform", (0, 1)) for s in (0, 1)]
        assert (rows[:, 2, 3] == 1).all()
    assert min(kstest(x.numpy(), *law).pvalue for x, *law in laws) > 1e-3
    assert abs(torch.corrcoef(torch.stack([reward[:, 0], reward[:, 1], rows[:, -1, 0]]))).triu(1).max() < 0.2


def test_trajectories_start_where_they_are_told():
    """In unlike chains of one batch: a distribution for each, or the uniform one."""
    ring = torch.eye(4, dtype=torch.float64).roll(1, 1)
    chains = torch.stack([ring, ring.mT]).repeat_interleave(3000, 0)
    start = torch.tensor([[0, 0, 1, 0], [0.7, 0, 0, 0.3]], dtype=torch.float64).repeat_interleave(3000, 0)
    states = sample_states(chains, 5, generator(2), start)
    assert (states[:3000] == torch.tensor([2, 3, 0, 1, 2, 3])).all()
    assert (states[3000:].diff() % 4 == 3).all()
    assert abs((states[3000:, 0] == 3).double().mean() - 0.3) < 0.04
    first = sample_states(chains, 1, generator(3))[:, 0].bincount(minlength=4) / 6000
    assert (first - 0.25).abs().max() < 0.03


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_extreme_draws_never_land_on_an_impossible_state(draw, monkeypatch):
    """The smallest and the largest number that a generator returns; states 0 and 3 have probability 0."""
    monkeypatch.setattr(tasks, "_uniform", lambda shape, *_: torch.full(shape, draw, dtype=torch.float64))
    rows = torch.tensor([0, 0.3, 0.7, 0], dtype=torch.float64).expand(2, 4, 4)
    expected = 1 if draw == 0 else 2
    assert (sample_states(rows, 3, generator(), rows[:, 0]) == expected).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["boyan", "loop", "random"])
def test_a_draw_of_zero_leaves_the_way_back_open(kind, dtype, monkeypatch):
    """One draw of 2^24 is exactly 0 in float32: among millions of worlds it comes."""
    monkeypatch.setattr(tasks, "_uniform", lambda shape, *rest: torch.rand(shape, dtype=dtype).mul_(0))
    worlds = tasks.random_worlds(kind, (3,), 4, torch.Generator().manual_seed(0), dtype)
    mu = worlds.stationary_distribution()
    assert (mu > 0).all()
    assert torch.allclose((mu[:, None] @ worlds.transition)[:, 0], mu)


def test_tasks_are_stationary_with_features_of_the_stated_size():
    """Skewed chains: the first state and the query have the law mu, which is far from uniform."""
    c = Configuration(num_states=3, num_features=5, inverse_temperature=2.5, num_transitions=7)
    features, worlds, states = draw_tasks(c, (2, 1500), generator(4))
    assert states.shape == (2, 1500, 9)
    mu = worlds.stationary_distribution()
    expected = (mu**2).sum(-1).mean()
    for at in (0, 7, 8):
        seen = mu.gather(-1, states[..., at, None]).mean()
        assert abs(seen - expected) < 0.02 < expected - 1 / 3 - 0.02
    entry = (2.5 / 5) ** 0.5
    assert kstest(features[..., 0, :].flatten().numpy() / entry, "norm").pvalue > 1e-3
    assert abs((features[..., 0, :] * features[..., 1, :]).sum(-1).mean()) < 0.1
    one_hot = draw_tasks(replace(c, num_features=None), (2, 4), generator(5)).features
    assert torch.equal(one_hot, (2.5**0.5 * torch.eye(3, dtype=torch.float64)).expand(1, 1, 3, 3))


def test_returns_are_cut_off_where_they_say():
    """The first H with gamma^H < 1e-4; one reward where there is a target, or no discount to speak of."""
    for discount in (0.5, 0.9, 1e-5):
        horizon = Configuration(objective="monte-carlo", discount=discount).horizon
        assert discount**horizon < 1e-4 <= discount ** (horizon - 1)
    assert Configuration(objective="monte-carlo", discount=0.0).horizon == 1
    assert Configuration(discount=0.9).horizon == 1


SMALL = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"num_states": 1}, "num_states is 1; it must be at least 2"),
        ({"num_seeds": 2.0}, "num_seeds is 2.0; it must be an integer"),
        ({"num_features": 0}, "num_features is 0; it must be at least 1"),
        ({"num_transitions": 0}, "num_transitions is 0; it must be at least 1"),
        ({"num_seeds": 0}, "num_seeds is 0; it must be at least 1"),
        ({"num_prompts": 0}, "num_prompts is 0; it must be at least 1"),
        ({"num_steps": 0}, "num_steps is 0; it must be at least 1"),
        ({"inverse_temperature": -1.0}, "inverse_temperature is -1; it must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be finite"),
        ({"initial_scale": 0.0}, "initial_scale is 0; it must be positive"),
        ({"kind": "grid"}, "kind is 'grid'; it must be one of boyan, loop, random"),
        ({"masks": "none"}, "masks is 'none'; it must be one of paper, free"),
        ({"objective": "mc"}, "objective is 'mc'"),
        ({"attention": "hard"}, "attention is 'hard'"),
        ({"weights": "tied"}, "weights is 'tied'"),
    ],
)
def test_refuses_configuration(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 3}, "has num_layers 2, the configuration 3"),
        ({"masks": "free"}, "has masks 'paper', the configuration 'free'"),
        ({"num_steps": 200}, "has num_steps 150"),
        ({"num_features": 4}, "has num_features None"),
    ],
)
def test_refuses_checkpoint_of_another_configuration(tmp_path, change, message):
    path = tmp_path / "run.pt"
    pretrain(SMALL, torch.Generator().manual_seed(0), checkpoint=path, until=50)
    with pytest.raises(ValueError, match=message):
        pretrain(replace(SMALL, **change), torch.Generator(), checkpoint=path)
    with pytest.raises(ValueError, match=r"has dtype 'torch.float64', the configuration 'torch.float32'"):
        pretrain(SMALL, torch.Generator(), checkpoint=path, dtype=torch.float32)


@pytest.mark.bad_input
def test_refuses_worlds_and_trajectories():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="kind is 'grid'"):
        random_worlds("grid", (2,), 3, generator)
    with pytest.raises(ValueError, match="num_states is 1"):
        random_worlds("loop", (2,), 1, generator)
    with pytest.raises(ValueError, match="num_transitions is 0"):
        sample_states(torch.eye(2)[None], 0, generator)


@pytest.mark.bad_input
def test_refuses_a_discount_that_the_dtype_cannot_solve():
    """Three digits are left at a thousand times the dtype's spacing, and not just beyond."""
    worlds = random_worlds("random", (2,), 3, generator())
    assert worlds.value(1 - 5e-13).isfinite().all()
    assert worlds.value(1 - 2000 * 2.0**-52).isfinite().all()  # exactly there
    with pytest.raises(ValueError, match=r"discount is 1 - 4e-13; it must be at most 1 - 4\.44e-13"):
        worlds.value(1 - 4e-13)
    single = worlds._replace(transition=worlds.transition.float(), reward=worlds.reward.float())
    with pytest.raises(ValueError, match=r"discount is 1 - 0\.0001"):
        single.value(1 - 1e-4)


def test_a_draw_of_zero_counts_as_half_the_smallest_other_one(monkeypatch):
    """Which is 2^-24 in float32, and is left as it is."""
    for draw in (0.0, 2.0**-24, 0.25):
        monkeypatch.setattr(tasks, "_uniform", lambda shape, *_, draw=draw: torch.full(shape, draw))
        onward = random_worlds("loop", (2,), 3, generator(), torch.float32).transition[:, 2, 0]
        assert (onward == max(draw, 2.0**-25)).all()


def test_same_generator_same_tasks():
    """Worlds, trajectories and features; another generator, others."""
    c = replace(SMALL, num_features=3)
    one, again, other = (draw_tasks(c, (2, 3), generator(k)) for k in (1, 1, 2))
    for x, y, z in zip(*((t.features, *t.worlds, t.states) for t in (one, again, other)), strict=True):
        assert torch.equal(x, y)
        assert not torch.equal(x, z)


def test_exact_values_for_any_batch():
    """By a long sum of discounted rewards; one world, and a batch of two axes."""
    worlds = random_worlds("boyan", (2, 3), 4, generator())
    total, term = torch.zeros(2, 3, 4), worlds.reward
    for _ in range(200):
        total, term = total + term, 0.8 * (worlds.transition @ term[..., None])[..., 0]
    assert torch.allclose(worlds.value(0.8), total, rtol=0, atol=1e-12)
    assert torch.allclose(tasks.Worlds(*(x[1, 2] for x in worlds)).value(0.8), total[1, 2], atol=1e-12)


def test_the_smallest_of_everything():
    """One of each, two states; counts of a world with one state."""
    ones = dict.fromkeys(("num_layers", "num_transitions", "num_features", "num_seeds", "num_prompts"), 1)
    drawn = draw_tasks(Configuration(num_states=2, num_steps=1, **ones), (1,), generator())
    assert drawn.states.shape == (1, 3)
    assert drawn.features.shape == (1, 2, 1)
    assert transition_counts(torch.zeros(2, 4, dtype=torch.long), 1).flatten().tolist() == [3, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_features", [None, 3])
def test_tasks_have_one_dtype(dtype, num_features):
    drawn = draw_tasks(replace(SMALL, num_features=num_features), (2, 3), generator(), dtype)
    assert {drawn.features.dtype, drawn.worlds.transition.dtype, drawn.worlds.reward.dtype} == {dtype}


def test_defaults_are_the_live_run_of_the_chapter():
    said = {"discount": 0.5, "num_layers": 8, "num_states": 4, "num_transitions": 40, "num_features": None}
    said |= {"inverse_temperature": 4.0, "kind": "boyan", "objective": "td", "attention": "softmax"}
    said |= {"masks": "paper", "weights": "shared", "num_seeds": 10, "num_prompts": 64, "num_steps": 2000}
    assert asdict(Configuration()) == said | {"learning_rate": 0.1, "initial_scale": 0.03}


@pytest.mark.bad_input
def test_refuses_states_that_are_none():
    with pytest.raises(ValueError, match="states holds 0 to 3; num_states is 3, they end at 2"):
        transition_counts(torch.tensor([[0, 3], [1, 2]]), 3)
    with pytest.raises(ValueError, match="states holds -1 to 2; num_states is 3, they end at 2"):
        transition_counts(torch.tensor([[0, -1], [1, 2]]), 3)
    with pytest.raises(ValueError, match="num_states is 0; it must be at least 1"):
        transition_counts(torch.tensor([[0, 0], [0, 0]]), 0)
