"""What is measured of trained networks, on networks whose answer is known."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from icrl import depth
from icrl.depth import trained
from icrl.mrp import MarkovRewardProcess
from icrl.pretraining import Configuration, fitted_response, fresh_tasks, random_worlds
from icrl.softmax_transformer import SoftmaxTransformer, priced_td_weights, softmax_td_prompt

SMALL = Configuration(
    discount=0.9, num_states=3, num_layers=2, num_seeds=2, num_steps=2, num_prompts=4, weights="per-layer"
)


def test_gains_are_what_a_network_says_of_constant_rewards():
    rng = np.random.default_rng(0)
    value, score = priced_td_weights(2, 3, 0.9)
    value[:, -1, -3:] = torch.from_numpy(rng.normal(size=(4, 3)))
    prompt = softmax_td_prompt(rng.normal(size=(3, 2)), rng.integers(0, 3, 12), np.ones(11))
    said = SoftmaxTransformer(4, 0.9, value, score).values(prompt)[:, -1]
    gains = depth.layer_gains(value[:, -1, -3:], 4, 0.9)
    assert (said - gains).abs().max() < 1e-12


def test_gains_of_td_and_of_the_price():
    td = torch.tensor([[1.0, 1.0, -1.0]], dtype=torch.float64)
    assert torch.allclose(depth.layer_gains(td, 3, 0.5), torch.tensor([0, 1, 1.5, 1.75]).double())
    assert torch.allclose(depth.layer_gains(2 * td, 2, 0.5), torch.tensor([0, 2.0, 2.0]).double())


def test_sharp_tasks_hear_themselves():
    tasks = depth.sharp(fresh_tasks(SMALL, 5, torch.Generator().manual_seed(0)))
    scores = tasks.features @ tasks.features.mT
    assert torch.equal(scores.softmax(-1)[0, 0], torch.eye(3).double())
    assert tasks.features.ndim == tasks.states.ndim + 1


def test_the_construction_stands_on_the_plane_where_its_polynomial_does():
    """With sharp attention; and the averaging layer at the end, beside the gain that it has."""
    c = replace(SMALL, num_layers=3, inverse_temperature=1.0)
    worlds = random_worlds("loop", (20,), 3, torch.Generator().manual_seed(1))
    moments = depth.plane(
        [MarkovRewardProcess(p.numpy(), r.numpy(), 0.9) for p, r in zip(*worlds, strict=True)], 4
    )
    value, score = (x[None].clone() for x in priced_td_weights(3, 2, 0.9))
    value, score = value.transpose(0, 1), 900 * score.transpose(0, 1)
    found = depth.missed(c, value, score, worlds)[:, 0]
    assert np.allclose(found, moments.point(np.ones(2), 10.0), atol=1e-9)
    found = depth.missed(c, value[:1], score[:1], worlds)[:, 0]
    assert np.allclose(found, moments.point(depth.td_polynomial(3)), atol=1e-9)


def test_missed_of_blunt_networks_by_hand():
    """Two networks of two layers, random rows and scores: state by state; one overshoots on constants."""
    c, g = replace(SMALL, inverse_temperature=2.0), torch.Generator().manual_seed(2)
    worlds = random_worlds("random", (3,), 3, g)
    value, score = torch.zeros(2, 2, 2, 6, 6, dtype=torch.float64)
    value[..., -1, -3:] = torch.randn(2, 2, 3, generator=g, dtype=torch.float64)
    value[:, 1, -1, -3] = 20.0
    score[..., :3, :3] = torch.randn(2, 2, 3, 3, generator=g, dtype=torch.float64)
    found = depth.missed(c, value, score, worlds)
    for network in range(2):
        missed, total, constant = 0.0, 0.0, 0.0
        for p, r in zip(worlds.transition.numpy(), worlds.reward.numpy(), strict=True):
            process = MarkovRewardProcess(p, r, 0.9)
            share = process.stationary_distribution()
            varying, v = r - share @ r, np.zeros(3)
            for layer in range(2):
                heard = share * np.exp(2.0 * score[layer, network, :3, :3].numpy().T)  # row: who listens
                heard /= heard.sum(axis=1, keepdims=True)
                row = value[layer, network, -1, -3:].numpy()
                v = v + heard @ (row[0] * varying + row[1] * 0.9 * p @ v + row[2] * v)
            truth = process.value() - share @ process.value()
            missed, total = missed + share @ (v - truth) ** 2, total + share @ truth**2
        for layer in range(2):
            row = value[layer, network, -1, -3:].numpy()
            constant += row @ [1, 0.9 * constant, constant]
        assert found[1, network].item() == pytest.approx(np.sqrt(missed / total), rel=1e-9)
        assert found[0, network].item() == pytest.approx(abs(1 - 0.1 * constant), rel=1e-9)
    assert constant > 10


def test_rows():
    """A row for each layer of each network, with the errors of the heads beside it; deterministic."""
    rows = depth.trained_layer_rows(configuration=asdict(SMALL), seed=1)
    assert [(row["network"], row["layer"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert rows == depth.trained_layer_rows(configuration=asdict(SMALL), seed=1)
    beside = depth.trained_layer_rows(configuration=asdict(SMALL) | {"weights": "shared"}, seed=1)
    common = "msve certainty equivalence"  # the same worlds, though other networks were trained
    assert rows[0][common] == beside[0][common]
    assert rows[0]["msve"] != beside[0]["msve"]
    for name in depth.HEADS:
        assert len({row["msve " + name] for row in rows}) == 1
        assert rows[0]["to " + name] > 0
    assert rows[0]["msve"] == rows[1]["msve"] != rows[2]["msve"]
    assert rows[0]["constant"] == rows[0]["a"]
    numbers = [x for row in rows for x in row.values() if isinstance(x, float)]
    assert numbers == [round(x, 5) for x in numbers]
    expected = rows[0]["a"] + rows[1]["a"] + (0.9 * rows[1]["b"] + rows[1]["c"]) * rows[0]["a"]
    assert abs(rows[1]["constant"] - expected) < 1e-4


def test_numbers_of_a_known_network(monkeypatch):
    """Random per-layer rows instead of training, 30 tasks: every number by one prompt at a time."""
    c = Configuration(**asdict(SMALL) | {"num_layers": 3, "num_transitions": 9, "inverse_temperature": 2.0})
    g, asked = torch.Generator().manual_seed(3), []
    value, score = torch.zeros(2, 3, 2, 6, 6, dtype=torch.float64)
    value[..., -1, -3:] = 0.5 * torch.randn(3, 2, 3, generator=g, dtype=torch.float64)
    score[..., :3, :3] = torch.randn(3, 2, 3, 3, generator=g, dtype=torch.float64)

    def few(configuration, count, generator, **options):
        asked.append(count)
        return fresh_tasks(configuration, 30, generator, **options)

    run = SimpleNamespace(
        value_weights=value[None], score_weights=score[None], rows=value[None, ..., -1, -3:]
    )
    monkeypatch.setattr(trained, "pretrain", lambda configuration, generator: run)
    monkeypatch.setattr(trained, "fresh_tasks", few)
    rows = depth.trained_layer_rows(configuration=asdict(c), seed=5)
    assert asked == [4096, 4096]
    assert [row["layer"] for row in rows] == [1, 2, 3, 1, 2, 3]
    g = torch.Generator().manual_seed(5 + trained.TESTED)
    near, far = (fresh_tasks(c, 30, g, num_transitions=n) for n in (9, 640))
    found = depth.estimates(depth.sharp(near), 0.9, 3)
    for network in range(2):
        mine, misses, said = rows[3 * network], {"msve": [], "msve_640": []}, []
        for name, tasks in (("msve", near), ("msve_640", far)):
            for i in range(30):
                states, reward = tasks.states[0, i].numpy(), tasks.worlds.reward[0, i].numpy()
                chain, prompt = tasks.worlds.transition[0, i].numpy(), np.sqrt(2) * np.eye(3)
                prompt = softmax_td_prompt(prompt, states, reward[states[:-1]])
                answer = SoftmaxTransformer(3, 0.9, value[:, network], score[:, network]).values(prompt)[
                    -1, -1
                ]
                truth = np.linalg.solve(np.eye(3) - 0.9 * chain, reward)[states[-1]]
                misses[name].append((answer.item() - truth) ** 2)
                said += [answer.item()] if name == "msve" else []
            assert mine[name] == pytest.approx(np.mean(misses[name]), abs=2e-5)
        said, query = np.array(said), near.states[0, :, -1]
        for name, layers in found.layers.items():
            answers = layers[-1, 0, torch.arange(30), query].numpy()
            assert mine["to " + name] == pytest.approx(np.sqrt(np.mean((said - answers) ** 2)), abs=2e-5)
        for name, values in {**{k: x[-1] for k, x in found.layers.items()}, **found.limits}.items():
            truth = near.worlds.value(0.9)[0, torch.arange(30), query]
            error = (values[0, torch.arange(30), query] - truth).square().mean().item()
            assert mine["msve " + name] == pytest.approx(error, abs=2e-5)
        (fit,), share = fitted_response(c, torch.from_numpy(said)[None], near)
        assert (mine["gain"], mine["explained"]) == pytest.approx((fit.mean_gain, share.item()), abs=2e-5)
        for layer in range(3):
            row, own = rows[3 * network + layer], np.exp(2.0 * score[layer, network, :3, :3].numpy())
            focus = (own.diagonal() / own.sum(axis=0)).mean() * 1.5 - 0.5
            assert row["focus"] == pytest.approx(focus, abs=2e-5)
            assert [row[x] for x in "abc"] == pytest.approx(value[layer, network, -1, -3:].tolist(), abs=2e-5)


@pytest.mark.bad_input
def test_refused():
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        depth.layer_gains(torch.ones(1, 3), 0, 0.9)
    worlds = random_worlds("loop", (2,), 3, torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="outside the masks"):
        depth.missed(SMALL, torch.ones(1, 2, 6, 6), torch.ones(1, 2, 6, 6), worlds)
    nothing = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    for change in ({"num_features": 3}, {"attention": "linear"}):
        with pytest.raises(ValueError, match="must have one-hot features and softmax attention"):
            depth.missed(replace(SMALL, **change), nothing, nothing, worlds)
    with pytest.raises(ValueError, match="one-hot features"):
        depth.trained_layer_rows(configuration=asdict(SMALL) | {"num_features": 2}, seed=0)
