"""The whole block: gradients by differences, and what its flow conserves."""

import numpy as np
import pytest
import torch

from icrl.gradient_flow import block_gradients, corner_flow
from icrl.linear_transformer import sarsa_prompt, sarsa_weights


def test_gradients_by_differences():
    rng = np.random.default_rng(0)
    prompts = sarsa_prompt(
        rng.normal(size=(6, 2)), *rng.normal(size=(2, 6, 4, 2)), rng.normal(size=(6, 4)), 0.7
    )
    teacher = sarsa_weights(2, 0.5)
    P, V = torch.from_numpy(rng.normal(size=(2, 8, 8)))
    _, by_P, by_V = block_gradients(prompts, teacher, P, V, 2)
    for i, j in ((0, 5), (6, 7), (7, 6)):
        step = torch.zeros(8, 8, dtype=torch.float64)
        step[i, j] = 1e-5
        up, down = (block_gradients(prompts, teacher, P + s * step, V, 2)[0] for s in (1, -1))
        assert by_P[i, j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)
        up, down = (block_gradients(prompts, teacher, P, V + s * step, 2)[0] for s in (1, -1))
        assert by_V[i, j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)
    assert block_gradients(prompts, teacher, *teacher, 2)[0] == 0


def test_the_law_of_the_corners():
    seen = corner_flow(20.0, np.random.default_rng(1))
    assert seen.drift < 1e-7
    assert seen.law == pytest.approx([v**2 - s**2 for v, s in zip(seen.value, seen.score, strict=True)])
    assert str(seen).count(" to ") == 3


@pytest.mark.bad_input
def test_refuses_no_time():
    with pytest.raises(ValueError, match="time is 0; it must be positive"):
        corner_flow(0.0, np.random.default_rng(0))
