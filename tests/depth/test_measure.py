"""Batched estimates against the networks themselves, one prompt at a time."""

import numpy as np
import pytest
import torch

from icrl import depth
from icrl.pretraining import Configuration, draw_tasks
from icrl.softmax_transformer import (
    SoftmaxTransformer,
    priced_td_weights,
    softmax_td_prompt,
    softmax_td_weights,
)


def tasks_of(kind, n, count=6, seed=0):
    """Tasks with Gaussian features and a trajectory of `n` transitions."""
    setting = Configuration(discount=0.9, num_states=5, num_features=4, num_transitions=n, kind=kind)
    tasks = draw_tasks(setting, (count,), torch.Generator().manual_seed(seed))
    return tasks._replace(states=tasks.states[..., : n + 1])


@pytest.mark.parametrize("kind", ["boyan", "loop", "random"])
@pytest.mark.parametrize("n", [3, 30])
def test_every_head_and_depth(kind, n):
    """Unvisited states and open contexts among them."""
    tasks = tasks_of(kind, n)
    found = depth.estimates(tasks, 0.9, 4)
    assert tuple(found.layers) == depth.HEADS
    for i in range(6):
        features, states = tasks.features[i].numpy(), tasks.states[i].numpy()
        rewards = tasks.worlds.reward[i].numpy()[states[:-1]]
        prompt = softmax_td_prompt(features, states, rewards, queries=np.arange(5))
        for layers in range(1, 5):
            networks = {"TD": softmax_td_weights(4), "own price": depth.own_price_weights(4, layers, 0.9)}
            if layers > 1:
                networks["price first"] = depth.price_first_weights(4, layers - 1, 0.9)
                networks["price last"] = priced_td_weights(4, layers - 1, 0.9)
            for name, weights in networks.items():
                row = SoftmaxTransformer(layers, 0.9, *weights)(prompt, num_queries=6)[-1, -5:]
                assert (row - found.layers[name][layers, i]).abs().max() < 1e-11
        price = rewards.mean() / (1 - 0.9)
        for name in ("price first", "price last"):
            assert abs(found.layers[name][1, i] - price).max() < 1e-12


def test_limits_by_hand():
    """Certainty equivalence where unvisited states are worth the price, solved state by state."""
    tasks = tasks_of("random", 4)
    found = depth.estimates(tasks, 0.9, 1)
    some_unvisited = 0
    for i in range(6):
        states, reward = tasks.states[i].numpy(), tasks.worlds.reward[i].numpy()
        price = reward[states[:-1]].mean() / 0.1
        matrix, right = np.eye(5), np.full(5, price)
        for s in set(states[:-1].tolist()):
            after = states[1:][states[:-1] == s]
            matrix[s] -= 0.9 * np.bincount(after, minlength=5) / len(after)
            right[s] = reward[s]
        some_unvisited += len(set(states[:-1].tolist())) < 5
        exact = np.linalg.solve(matrix, right)
        assert np.abs(found.limits["certainty equivalence"][i].numpy() - exact).max() < 1e-11
        own = np.where(right == price, price, reward + 0.9 * price)
        assert np.abs(found.limits["own reward, then price"][i].numpy() - own).max() < 1e-12
        assert np.abs(found.limits["price alone"][i].numpy() - price).max() < 1e-12
    assert some_unvisited


def test_two_axes_of_tasks_are_as_one():
    setting = Configuration(discount=0.9, num_states=5, num_features=4, num_transitions=6)
    tasks = draw_tasks(setting, (2, 3), torch.Generator().manual_seed(3))
    worlds = type(tasks.worlds)(*(x.reshape(6, *x.shape[2:]) for x in tasks.worlds))
    flat = tasks._replace(
        worlds=worlds, states=tasks.states.reshape(6, -1), features=tasks.features.reshape(-1, 5, 4)
    )
    found, expected = (depth.estimates(x, 0.9, 3) for x in (tasks, flat))
    for name, values in expected.layers.items():
        assert torch.equal(found.layers[name].reshape(4, 6, 5), values)
        errors = [depth.squared_errors(x, y.layers[name], 0.9) for x, y in ((tasks, found), (flat, expected))]
        assert torch.equal(errors[0].reshape(4, 6), errors[1])
    for name, values in expected.limits.items():
        assert torch.equal(found.limits[name].reshape(6, 5), values)


def test_squared_errors_read_the_query():
    tasks = tasks_of("loop", 7)
    values = torch.zeros(2, 6, 5, dtype=torch.float64)
    errors = depth.squared_errors(tasks, values, 0.9)
    truth = tasks.worlds.value(0.9)[torch.arange(6), tasks.states[:, -1]]
    assert errors.shape == (2, 6)
    assert torch.equal(errors, truth.square().expand(2, 6))


@pytest.mark.bad_input
def test_refused():
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        depth.estimates(tasks_of("loop", 5), 0.9, 0)
    with pytest.raises(ValueError, match="discount is 1"):
        depth.estimates(tasks_of("loop", 5), 1.0, 2)
    with pytest.raises(ValueError, match=r"values has shape \(2, 5\); it must end in \(6, 5\)"):
        depth.squared_errors(tasks_of("loop", 5), torch.zeros(2, 5), 0.9)
