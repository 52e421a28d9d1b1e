"""Where else the price may stand."""

import numpy as np
import pytest
import torch

from icrl import depth, softmax_transformer
from icrl.softmax_transformer import SoftmaxTransformer, priced_td_weights, softmax_td_prompt


def test_the_price_head_is_found_in_both_places():
    assert depth.priced_td_weights is softmax_transformer.priced_td_weights


def test_price_first_is_price_last_rolled():
    steps = [0.5, 0.7, 1.1]
    first, last = depth.price_first_weights(2, 3, 0.9, steps), priced_td_weights(2, 3, 0.9, steps)
    for one, other in zip(first, last, strict=True):
        assert torch.equal(one[1:], other[:3])
        assert torch.equal(one[0], other[3])


def test_steps_are_1_if_not_given():
    for one, other in zip(
        depth.price_first_weights(2, 2, 0.9), depth.price_first_weights(2, 2, 0.9, 1.0), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layers", [1, 4])
def test_own_price_is_exact_on_constant_rewards(layers):
    rng = np.random.default_rng(0)
    features, states = rng.normal(size=(4, 2)), rng.integers(0, 4, size=20)
    model = SoftmaxTransformer(layers, 0.9, *depth.own_price_weights(2, layers, 0.9))
    values = model.values(softmax_td_prompt(features, states, np.full(19, 3.0)))
    assert np.abs(values[1:].numpy() - 30).max() < 1e-11
    td = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    assert all(torch.equal(row, td) for row in model.value_weights[1:, -1, -3:])


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [depth.price_first_weights, depth.own_price_weights])
def test_weights_refuse(make):
    for arguments, words in (
        ((2, 0, 0.9), "num_layers is 0; it must be at least 1"),
        ((2, 2, np.nextafter(1, 0)), "prices at"),
    ):
        with pytest.raises(ValueError, match=words):
            make(*arguments)
