"""The network that writes features, step by step."""

import numpy as np
import pytest
import torch

from icrl import depth
from icrl.softmax_transformer import SoftmaxTransformer


@pytest.mark.parametrize("size", [1, 5, 16])
def test_pointers_and_memory_after_every_layer(size):
    """On a chain with certain steps that is no ring: the pointer names the state so many steps ahead."""
    rng = np.random.default_rng(size)
    follow = rng.permutation(size)
    order = [0]
    for _ in range(3 * size):
        order.append(int(follow[order[-1]]))
    states, reward, gamma = np.array(order), rng.normal(size=size), 0.8
    model = SoftmaxTransformer(4, gamma, *depth.doubling_weights(size, 4, gamma))
    prompt = depth.doubling_prompt(states, reward[states[:-1]], size)
    visited = np.unique(states)
    for layer, z in enumerate(list(model.layers(prompt))[1:]):
        steps = 2**layer
        ahead, total = np.arange(size), np.zeros(size)
        for k in range(steps):
            total, ahead = total + gamma**k * reward[ahead], follow[ahead]
        z = z.numpy()
        assert np.abs(z[-1] - total[states]).max() < 1e-12
        assert np.array_equal(z[2 * size : 3 * size].argmax(0), ahead[states])
        assert set(np.unique(z[2 * size : 3 * size].round(12))) <= {0, 1}
    assert len(visited) >= 1


def test_sharpness():
    """It multiplies the scores only; from 750 on, and without being asked for, other states are not heard."""
    (value, score), (other, twice) = (depth.doubling_weights(3, 2, 0.9, sharpness=s) for s in (2.0, 4.0))
    assert torch.equal(value, other)
    assert torch.equal(2 * score, twice)
    assert set(score.unique().tolist()) == {0, 2}
    assert depth.doubling_weights(3, 2, 0.9)[1].max() >= 750


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: depth.doubling_weights(0, 1, 0.9), "num_states is 0; it must be at least 1"),
        (lambda: depth.doubling_weights(2, 0, 0.9), "num_layers is 0; it must be at least 1"),
        (lambda: depth.doubling_weights(2, 1, 1.0), "discount is 1"),
        (lambda: depth.doubling_weights(2, 1, 0.9, sharpness=0.0), "sharpness is 0"),
        (lambda: depth.doubling_prompt(np.array([0, 2]), np.ones(1), 2), r"states\[1\] is 2"),
        (lambda: depth.doubling_prompt(np.array([0, 1]), np.ones(2), 2), "rewards has shape"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
