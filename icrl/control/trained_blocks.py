"""Blocks that were trained to imitate SARSA, kept in a table, deployed frozen. See :doc:`/book/control`."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.comparison import WORLDS, evaluate
from icrl.control.loop import control
from icrl.control.scores import interval, score
from icrl.control.updaters import FrozenBlock, regauge
from icrl.gradient_flow.teacher_mimicking import alignment, train

DISCOUNT = 0.9
MOMENTS = 9


@checked
def pack_block(P: Float[np.ndarray, "D D"], V: Float[np.ndarray, "D D"]) -> Float[np.ndarray, "m m"]:
    """``P12`` and the transpose of ``V21`` side by side: all of a trained block that is not zero."""
    m = 2 * (len(P) - 2) // 3 + 1
    return np.concatenate([P[:m, m:], V[m + 1 :, :m].T], axis=1)


@checked
def unpack_block(block: Float[np.ndarray, "m m"]) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """The ``P`` and ``V`` of :func:`pack_block`.

    Raises:
        ValueError: the block is not square with an odd number of rows, ``2 d + 1``.
    """
    block = np.asarray(block, dtype=np.float64)
    m = len(block)
    if block.shape != (m, m) or m % 2 == 0:
        raise ValueError(f"block has shape {block.shape}; it must be (2 d + 1, 2 d + 1), a block")
    d = m // 2
    P, V = torch.zeros(2, 3 * d + 2, 3 * d + 2, dtype=torch.float64)
    P[:m, m:], V[m + 1 :, :m] = torch.from_numpy(block[:, : d + 1]), torch.from_numpy(block[:, d + 1 :].T)
    return P, V


@checked
def read_block(path: str | Path) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """The ``P`` and ``V`` of a block that ``book/sweeps/control.py`` wrote, to six digits.

    Raises:
        FileNotFoundError: no file at ``path``.
    """
    return unpack_block(np.loadtxt(path, delimiter=","))


@checked
def trained_blocks(*, number: int, steps: int, seed: int) -> list[dict]:
    """Train a block at 9 states, 4 actions, discount 0.9; nine moments of that, the last one its end.

    A task of ``book/sweeps/control.py``; training as in the chapter on teacher mimicking, ``number`` tells
    blocks of the same ``seed`` apart.
    """
    valid.count("steps", steps, 1)
    rng = np.random.default_rng([seed, 5, number])
    run = train(9, 4, steps, rng, discount=DISCOUNT, learning_rate=0.02)
    moments = np.unique(np.linspace(0, len(run.steps) - 1, MOMENTS).astype(int))
    return [
        {
            "number": number,
            "step": int(run.steps[k]),
            "loss": f"{run.losses[k]:.3e}",
            "block": pack_block(run.P[k], run.V[k]).tolist(),
        }
        for k in moments
    ]


@checked
def moment_row(
    *, step: int, loss: str, block: list[list[float]], step_size: float, runs: int, windows: int, seed: int
) -> dict:
    """A moment of a training: alignment with the construction, and the share closed after 100 windows.

    A task of ``book/sweeps/control.py``; ``block`` as in :func:`pack_block`, frozen, on ``runs`` tasks. After
    ``windows`` it ends, for a trial before that.
    """
    P, V = unpack_block(np.array(block))
    tasks = WORLDS["random"].draw(runs, np.random.default_rng([seed, 6]))
    learnt = control(
        tasks, FrozenBlock(P, V, step_size), [min(windows, 100)], np.random.default_rng([seed, 7])
    )
    share = score(tasks, learnt.policies).share[0]
    low, high = interval(share, np.random.default_rng(seed))
    numbers = *alignment(P.numpy(), V.numpy(), DISCOUNT)[2:], share.mean(), low, high
    names = "score_cosine", "value_cosine", "share", "share_low", "share_high"
    row = {"step": step, "loss": loss, "runs": len(tasks)}
    return row | {name: round(float(x), 4) for name, x in zip(names, numbers, strict=True)}


@checked
def block_rows(
    *,
    world: Literal[*WORLDS],
    learner: Literal["trained", "trained, gauge set"],
    number: int,
    block: list[list[float]],
    step_size: float,
    runs: int,
    windows: int,
    seed: int,
) -> list[dict]:
    """:func:`icrl.control.comparison.evaluate` for a trained block, frozen.

    A task of ``book/sweeps/control.py``. ``learner`` is ``"trained"`` for the ``block`` as
    :func:`pack_block` gives it, or ``"trained, gauge set"``; ``number`` plus one is shown beside it.
    """
    P, V = unpack_block(np.array(block))
    if learner == "trained, gauge set":
        P, V = regauge(P, V, DISCOUNT)
    updater = FrozenBlock(P, V, step_size=step_size)
    return evaluate(world, f"{learner} {number + 1}", updater, seed, runs=runs, windows=windows)
