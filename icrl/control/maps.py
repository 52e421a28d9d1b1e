"""Gymnasium's grid worlds drawn as maps: believed values as colours, policies as arrows.

See :doc:`/book/control`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from icrl import _validation as valid
from icrl import plots
from icrl._arguments import checked
from icrl.control.updaters import greedy


class Grid(NamedTuple):
    """A map: its size, where each action leads (right, down), and a letter for each special square.

    ``squares`` has an entry for each state; a blank for an ordinary one.
    """

    rows: int
    columns: int
    moves: tuple[tuple[int, int], ...]
    squares: str


_LAKE_MOVES = (-1, 0), (0, 1), (1, 0), (0, -1)  # left, down, right, up
LAKE = Grid(4, 4, _LAKE_MOVES, "S    H H   HH  G")
LARGE_LAKE = Grid(8, 8, _LAKE_MOVES, "S                  H         H     H     HH   H  H  H H    H   G")
CLIFF = Grid(4, 12, ((0, -1), (1, 0), (0, 1), (-1, 0)), " " * 36 + "S" + "C" * 10 + "G")
"""Cliff squares lead back to the start; they are no states in which anything is decided."""


@checked
def draw_policy(
    ax: Axes,
    grid: Grid,
    q: Float[np.ndarray, "S A"],
    *,
    limit: float,
    title: str = "",
) -> None:
    """A map of ``max_a q`` with an arrow for every greedy action; squares where all actions tie stay bare.

    Args:
        ax: where to draw; cleared first.
        grid: the map.
        q: action values, ``(S, A)``; only the first ``rows x columns`` states are drawn.
        limit: colours run from ``-limit`` to ``limit``, white at 0.
        title: above the map.
    """
    cells = grid.rows * grid.columns
    q = valid.array("q", q, 2)
    if len(q) < cells or q.shape[1] != len(grid.moves):
        raise ValueError(f"q has shape {q.shape}; the map has {cells} squares and {len(grid.moves)} actions")
    limit = valid.positive("limit", limit)
    ax.clear()
    values = np.clip(q[:cells].max(axis=1), -limit, limit)
    special = np.array(list(grid.squares))
    values[np.isin(special, ["H", "C", "G"])] = 0
    plots.heat(ax, values.reshape(grid.rows, grid.columns), limit=limit)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, grid.columns - 0.5), ylim=(grid.rows - 0.5, -0.5))
    ax.set_title(title)
    for s, chosen in enumerate(greedy(q[:cells])):
        x, y, mark = s % grid.columns, s // grid.columns, grid.squares[s]
        if mark in "HCG":
            ax.text(x, y, mark, ha="center", va="center", color=plots.ink(plots.GREY), fontsize=11)
            continue
        ground = ax.images[-1].to_rgba(values[s])
        color = "white" if plots.contrast(ground) ** 2 > 21 else "black"  # whichever stands out more
        if mark == "S":
            ax.text(x - 0.44, y - 0.42, "S", ha="left", va="top", color=color, fontsize=8)
        if (chosen > 0).all():
            continue
        for a in np.flatnonzero(chosen):
            dx, dy = grid.moves[a]
            arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
            ends = (x + 0.34 * dx, y + 0.34 * dy), (x + 0.04 * dx, y + 0.04 * dy)
            ax.annotate("", *ends, arrowprops=arrow)
