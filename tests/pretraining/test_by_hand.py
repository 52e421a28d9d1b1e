"""The derivative by hand against autograd through the layers, for every shape of weights and features."""

import numpy as np
import pytest
import torch

from icrl.pretraining.by_hand import QueryValue, attention
from icrl.pretraining.forward import table_layers, tables


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("one_hot", [True, False])
def test_value_and_derivatives_are_those_of_the_layers(shared, one_hot):
    """Of a sum with random weights; short contexts, so that some states are never left."""
    generator, seeds, batch, size, layers = torch.Generator().manual_seed(3), 3, 5, 4, 5

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = 1 if shared else layers
    rows = normal(count, seeds, 3).requires_grad_()
    scores = normal(count, seeds, 1 if one_hot else batch, size, size).requires_grad_()
    states = torch.randint(size, (seeds, batch, 5), generator=generator)
    context, query, weight = tables(states, normal(seeds, batch, size)), states[..., -1], normal(seeds, batch)
    assert (context.visits == 0).any()
    *_, values = table_layers(rows[:, :, None], scores, context, 0.8, layers)
    wanted = values.gather(-1, query[..., None])[..., 0]
    found = QueryValue.apply(rows, scores, *context, query, 0.8, layers)
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad((x * weight).sum(), (rows, scores)) for x in (wanted, found)]
    assert all(torch.allclose(x, y, rtol=1e-11, atol=1e-12) for x, y in zip(*slopes, strict=True))


def test_scores_that_would_overflow():
    """Scores in the thousands: the largest decides, in each listener's own row."""
    scores = torch.tensor([[2000.0, 0, -900], [-3000, -3001, -3002], [0, 1500, 1500]], dtype=torch.float64)
    visits = torch.tensor([2.0, 1, 3], dtype=torch.float64)
    found = attention(scores.numpy()[None, :, :, None, None], visits.numpy()[:, None, None])[0, :, :, 0, 0]
    shares = visits * torch.tensor([1, np.exp(-1), np.exp(-2)])
    wanted = torch.stack([torch.eye(3).double()[0], shares / shares.sum(), torch.tensor([0, 0.25, 0.75])])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
