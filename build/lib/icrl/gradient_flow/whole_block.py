"""The whole block, with the corners that the loss in two blocks leaves out, by its own forward pass (ours).

Liang and Lai (2026), Proposition 3.1, is about all of ``P`` and ``V``; here autograd goes through all of
them. See :doc:`/book/gradient-flow`.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights


@checked
def block_gradients(
    prompts: Float[Tensor, "T D N"],
    teacher: tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]],
    P: Float[Tensor, "D D"],
    V: Float[Tensor, "D D"],
    num_parameters: int,
) -> tuple[float, Float[np.ndarray, "D D"], Float[np.ndarray, "D D"]]:
    """The teacher-mimicking loss of the whole block and its gradients in ``P`` and in ``V``.

    Args:
        prompts: one for each task.
        teacher: its ``P`` and ``V``.
        P: of the block.
        V: of the block.
        num_parameters: how many entries are read out, at the foot of the last column.
    """
    model = LinearTransformer(P.clone().requires_grad_(), V.clone().requires_grad_(), num_parameters)
    wanted = LinearTransformer(*teacher, num_parameters).readout(prompts)
    loss = ((model.readout(prompts) - wanted) ** 2).sum(-1).mean() / 2
    loss.backward()
    return loss.item(), model.P.grad.numpy(), model.V.grad.numpy()


class CornerFlow(NamedTuple):
    """A flow of the whole block: norms of its corners at both ends, and the law that ties them.

    ``score`` and ``value`` are the norms of the symmetric part of ``P22`` and of the foot of ``V22``, at
    the start and at the end; ``law`` is ``|V22|^2 - |P22 + P22'|^2 / 4`` there; ``drift`` the largest
    change, over the whole flow, of the law and of the antisymmetric part of ``P22``, both conserved.
    """

    score: tuple[float, float]
    value: tuple[float, float]
    law: tuple[float, float]
    drift: float

    def __str__(self):
        sizes = "P22 {:.3f} to {:.3f}, V22 {:.3f} to {:.3f}".format(*self.score, *self.value)
        return f"{sizes}; their law {self.law[0]:+.4f} to {self.law[1]:+.4f}"


@checked
def corner_flow(time: float, rng: np.random.Generator) -> CornerFlow:
    """Follow all of ``P`` and ``V`` on 60 Gaussian tasks with one feature, from a disturbed teacher.

    Args:
        time: how long, from ``1e-6`` to ``1e6``.
        rng: draws tasks and start.
    """
    time = valid.positive("time", time)
    if not 1e-6 <= time <= 1e6:
        raise ValueError(f"time is {time:g}; it must lie between 1e-6 and 1e6, else the solver does not end")
    prompts = sarsa_prompt(
        *rng.normal(size=(1, 60, 1)), *rng.normal(size=(2, 60, 4, 1)), rng.normal(size=(60, 4)), 0.8
    )
    teacher = sarsa_weights(1, 1.0)

    def velocity(_, x):
        P, V = torch.from_numpy(x.reshape(2, 5, 5))
        return -np.array(block_gradients(prompts, teacher, P, V, 1)[1:]).ravel()

    start = np.array([x.numpy() for x in teacher]) + 0.2 * rng.normal(size=(2, 5, 5))
    solved = solve_ivp(velocity, (0, time), start.ravel(), "LSODA", rtol=1e-9, atol=1e-12)
    P, V = np.moveaxis(solved.y.T.reshape(-1, 2, 5, 5), 1, 0)
    corner, row = P[:, 3:, 3:], V[:, 4:, 3:]
    symmetric, skew = (corner + corner.mT) / 2, (corner - corner.mT) / 2
    laws = (row**2).sum(axis=(1, 2)) - (symmetric**2).sum(axis=(1, 2))
    score, value = (tuple(float(np.linalg.norm(x[i])) for i in (0, -1)) for x in (symmetric, row))
    drift = max(np.ptp(laws), np.ptp(skew, axis=0).max())
    return CornerFlow(score, value, (float(laws[0]), float(laws[-1])), float(drift))
