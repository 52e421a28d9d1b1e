"""The function behind Adam, as it is called here, against PyTorch's class."""

import pytest
import torch

from icrl.pretraining.adam import Adam


@pytest.mark.parametrize("fused", [True, False])
def test_the_steps_of_torchs_class(fused):
    """To the last bit, on slopes that do not lie in memory as the parameters do, through a saved state."""
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 4), (2, 5))]
    ours, theirs = ([x.clone() for x in first] for _ in range(2))
    adam, other = Adam(ours, (0.8, 0.95), fused), torch.optim.Adam(theirs, betas=(0.8, 0.95), fused=fused)
    for step in range(6):
        slopes = [torch.randn(*x.shape[::-1], generator=generator, dtype=torch.float64).T for x in first]
        if step == 3:
            state, adam = adam.state(), Adam(ours, (0.8, 0.95), fused)
            adam.load(state)
        adam.step(slopes, 0.1 / (step + 1))
        for x, slope in zip(theirs, slopes, strict=True):
            x.grad = slope.contiguous()
        other.param_groups[0]["lr"] = 0.1 / (step + 1)
        other.step()
        assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))
