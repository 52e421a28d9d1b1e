"""Adam by PyTorch's own function: the numbers of `torch.optim.Adam`, whose first use loads for seconds."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Steps on tensors, in place.

    Args:
        tensors: what is moved.
        betas: shares of the two averages that are kept.
        fused: all of a step in one kernel.
    """

    def __init__(
        self, tensors: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.999), fused: bool = False
    ):
        self.tensors, self.betas, self.fused = [x.detach() for x in tensors], betas, fused
        self.means, self.squares = ([torch.zeros_like(x) for x in self.tensors] for _ in range(2))
        self.counts = [torch.zeros((), device=x.device if fused else "cpu") for x in self.tensors]

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step at this rate."""
        adam(
            self.tensors,
            [x.contiguous() for x in gradients],  # as the fused kernel reads them, unasked
            self.means,
            self.squares,
            [],
            self.counts,
            foreach=False,
            fused=self.fused,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    @property
    def state(self) -> list[list[Tensor]]:
        """Averages and counts, as a checkpoint keeps them."""
        return [self.means, self.squares, self.counts]

    @state.setter
    def state(self, saved):
        for mine, theirs in zip(self.state, saved, strict=True):
            for x, y in zip(mine, theirs, strict=True):
                x.copy_(y)
