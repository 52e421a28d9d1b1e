"""Adam without PyTorch's optimiser classes: importing what these need takes longer than many a training."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """The steps of ``torch.optim.Adam``, by the function behind it.

    Args:
        parameters: changed in place, all on one device.
        betas: decay of the running means of slopes and of their squares.
        fused: PyTorch's way in one kernel; another order of operations.
    """

    def __init__(
        self, parameters: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999), fused: bool = False
    ):
        self.parameters, self.betas, self.fused = list(parameters), betas, fused
        self.means, self.squares = ([torch.zeros_like(x) for x in self.parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=x.device if fused else "cpu") for x in self.parameters]

    @torch.no_grad()
    def step(self, slopes: Sequence[Tensor], learning_rate: float) -> None:
        """One step against the slopes, one of each parameter."""
        adam(
            self.parameters,
            [x.contiguous() for x in slopes],  # the kernel reads them in the order of memory
            self.means,
            self.squares,
            [],
            self.steps,
            fused=self.fused or None,  # else PyTorch's own choice
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor]]:
        """Copies of all that changes but the parameters."""
        held = {"means": self.means, "squares": self.squares, "steps": self.steps}
        return {name: [x.clone() for x in tensors] for name, tensors in held.items()}

    def load(self, state: dict[str, list[Tensor]]) -> None:
        """Goes on from such copies."""
        for name, tensors in state.items():
            for x, saved in zip(getattr(self, name), tensors, strict=True):
                x.copy_(saved)
