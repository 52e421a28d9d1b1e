"""What is drawn: supports, names, counts, weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.pretraining import WORLDS, random_worlds
from icrl.standard_transformer import Setting, compressed, draw_prompts, literal, one_prompt, support


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", WORLDS)
def test_support_is_where_worlds_have_mass(kind):
    worlds = random_worlds(kind, (50,), 5, generator())
    assert torch.equal((worlds.transition > 0).all(0), support(kind, 5) > 0)
    assert torch.equal((worlds.transition > 0).any(0), support(kind, 5) > 0)
    assert support(kind, 5).dtype == torch.float64


def test_counts_and_values_belong_to_the_worlds():
    prompts = Setting(discount=0.9).draw((6,), generator())
    assert (prompts.counts.sum((1, 2)) == 160).all()
    assert not prompts.counts[prompts.worlds.transition == 0].any()
    left = (
        prompts.value - prompts.reward - 0.9 * (prompts.worlds.transition @ prompts.value[..., None])[..., 0]
    )
    assert left.abs().max() < 1e-12
    flow = prompts.counts.sum(-1) - prompts.counts.sum(-2)  # visits out less visits in: first and last state
    assert set(flow.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert (flow.gather(-1, prompts.first[:, None]) >= 0).all()
    shares = prompts.counts.sum(-1) / 160
    assert torch.allclose(prompts.mean_square(torch.full_like(shares, 3.0)), torch.full((6,), 9.0).double())
    assert torch.allclose(prompts.mean_square(torch.eye(5).double()[0].expand(6, 5)), shares[:, 0])


def test_long_contexts_show_the_chain():
    prompts = Setting(num_transitions=20_000).draw((3,), generator())
    seen = prompts.counts / prompts.counts.sum(-1, keepdim=True)
    assert (seen - prompts.worlds.transition).abs().max() < 0.06
    mu = prompts.worlds.stationary_distribution()
    assert (prompts.weight - mu).abs().max() < 0.03


def test_names_are_fresh_and_distinct():
    prompts = replace(Setting(), num_names=7).draw((4000,), generator())
    assert (prompts.names.sum(-1) == 1).all()
    assert prompts.names.sum(-2).max() == 1
    often = prompts.names.mean(0)  # each of 7 names for each of 5 states
    assert (often - 1 / 7).abs().max() < 5 * np.sqrt(6 / 49 / 4000)
    gaussian = replace(Setting(), gaussian=True).draw((4000,), generator()).names
    assert abs(float(gaussian.square().sum(-1).mean()) - 1) < 0.02


def test_mixed_kinds_in_equal_parts():
    prompts = draw_prompts(
        ("boyan", "loop"),
        (2, 9),
        num_states=4,
        num_transitions=5,
        num_names=4,
        discount=0.5,
        generator=generator(),
    )
    ring = (prompts.worlds.transition * (1 - support("loop", 4))).sum((-1, -2)) == 0
    assert ring.sum(-1).tolist() == [4, 4]
    assert len(prompts.pairs) == int(((support("boyan", 4) + support("loop", 4)) > 0).sum())


def test_stationary_start():
    """First states of many trajectories in the same kind of world follow its stationary law on average."""
    prompts = Setting(num_transitions=1).draw((20_000,), generator())
    mu = prompts.worlds.stationary_distribution().mean(0)
    seen = torch.bincount(prompts.first, minlength=5) / 20_000
    assert (seen - mu).abs().max() < 0.02
    assert mu.max() - mu.min() > 0.1


def hand_made():
    """Two contexts in loops of three states: all that enters the tokens is set by hand."""
    law = Setting(kinds=("loop",), num_states=3, num_names=4, num_transitions=6)
    prompts = law.draw((2,), generator(1))
    counts = torch.tensor([[[2, 1, 0], [0, 0, 1], [2, 0, 0]], [[0, 1, 0], [0, 3, 1], [1, 0, 0]]]).double()
    names = torch.eye(4).double()[torch.tensor([[2, 0, 3], [1, 2, 0]])]
    reward = torch.tensor([[0.5, -1, 0.25], [2, 3, 4]]).double()
    return prompts._replace(counts=counts, names=names).with_reward(reward)


def test_tokens_and_queries_by_hand():
    """Name, successor's name, reward, mark; a query has a name and the mark 1."""
    prompts = hand_made()
    assert prompts.pairs.tolist() == [[0, 0], [0, 1], [1, 1], [1, 2], [2, 0], [2, 2]]
    tokens, queries, counts = compressed(prompts)
    one = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]  # names in the first context
    wanted = [[*one[s], *one[t], [0.5, -1, 0.25][s], 0] for s, t in prompts.pairs.tolist()]
    assert tokens[0].tolist() == wanted
    assert counts.tolist() == [[2, 1, 0, 1, 2, 0], [0, 1, 3, 1, 1, 0]]
    assert queries[0].tolist() == [[*name, 0, 0, 0, 0, 0, 1] for name in one]
    alone = one_prompt(prompts, 0)
    assert all(
        torch.equal(x, y[0]) for x, y in zip(compressed(alone), (tokens, queries, counts), strict=True)
    )
    assert torch.equal(alone.value, prompts.value[0])
    assert alone.first == prompts.first[0]
    assert literal(alone)[0].tolist() == [wanted[k] for k in (0, 0, 1, 3, 4, 4)]
    assert torch.equal(literal(alone)[1], queries[0])


def test_visits_weigh():
    """Shares of the sources of each prompt, in the batch and alone; of errors in any number of networks."""
    prompts = hand_made()
    assert torch.equal(prompts.weight * 6, torch.tensor([[3, 1, 2], [1, 4, 1]]).double())
    errors = torch.arange(12.0, dtype=torch.float64).reshape(2, 2, 3)
    wanted = [
        [(3 * 0 + 1 + 2 * 4) / 6, (9 + 4 * 16 + 25) / 6],
        [(3 * 36 + 49 + 2 * 64) / 6, (81 + 400 + 121) / 6],
    ]
    assert torch.allclose(prompts.mean_square(errors), torch.tensor(wanted).double())
    alone = one_prompt(prompts, 1)
    assert torch.allclose(
        alone.mean_square(errors[:, 1]), torch.tensor([wanted[0][1], wanted[1][1]]).double()
    )
    for wrong in (errors[:, :1], errors[0, 0], torch.zeros(2, 3, 3).double()):
        with pytest.raises(ValueError, match=r"difference has shape .*; it must end in \(2, 3\)"):
            prompts.mean_square(wrong)


SIZES = {"num_states": 3, "num_transitions": 4, "num_names": 3, "discount": 0.5}


def test_three_kinds_share_a_batch_and_the_rest():
    """Eleven worlds: four, four and three; chains of three kinds have all transitions."""
    prompts = draw_prompts(WORLDS, (11,), generator=generator(), **SIZES | {"num_states": 5, "num_names": 5})
    outside = [(prompts.worlds.transition * (1 - support(kind, 5))).sum((-1, -2)) < 1e-12 for kind in WORLDS]
    assert [int(x.sum()) for x in outside[:2]] == [4, 4]
    assert outside[0][:4].all()
    assert outside[1][4:8].all()
    assert len(prompts.pairs) == 25


def test_same_generator_same_prompts():
    """One-hot names if nothing is said; another generator, others."""
    for gaussian in ({}, {"gaussian": True}):
        one, again, other = (
            draw_prompts(("loop",), (40,), generator=generator(k), **SIZES, **gaussian) for k in (1, 1, 2)
        )
        assert torch.equal(one.names, again.names)
        assert torch.equal(one.counts, again.counts)
        assert not torch.equal(one.names, other.names)
        assert bool(gaussian) != ((one.names == 0) | (one.names == 1)).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kinds", "batch", "change", "message"),
    [
        ((), (2,), {}, "kinds is empty"),
        (("loop",), (), {}, "batch is empty; it must have at least one axis"),
        (("loop",), (2,), {"num_names": 2}, "num_names is 2; 3 states need as many names"),
        (("loop",), (2,), {"num_names": 0, "gaussian": True}, "num_names is 0; it must be at least 1"),
        (("grid",), (2,), {}, "kind is 'grid'; it must be one of boyan, loop, random"),
    ],
)
def test_refuses_laws(kinds, batch, change, message):
    with pytest.raises(ValueError, match=message):
        draw_prompts(kinds, batch, generator=generator(), **SIZES | change)
    assert draw_prompts(
        ("loop",), (2,), generator=generator(), **SIZES | {"num_names": 1, "gaussian": True}
    ).names.shape == (2, 3, 1)


@pytest.mark.parametrize("kind", WORLDS)
def test_support_of_two_states(kind):
    assert support(kind, 2).tolist() == ([[0, 1], [1, 1]] if kind == "boyan" else [[1, 1], [1, 1]])
