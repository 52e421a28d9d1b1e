"""Maps of Gymnasium's grid worlds agree with the tasks they draw."""

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pytest

from icrl.control.maps import CLIFF, LAKE, LARGE_LAKE, draw_policy
from icrl.mdp import from_gymnasium


@pytest.mark.parametrize(("name", "grid"), [("FrozenLake-v1", LAKE), ("FrozenLake8x8-v1", LARGE_LAKE)])
def test_lakes_are_those_of_gymnasium(name, grid):
    squares = b"".join(gymnasium.make(name).unwrapped.desc.ravel()).decode()
    assert squares.replace("F", " ") == grid.squares


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [("FrozenLake-v1", {"is_slippery": False}, LAKE), ("CliffWalking-v1", {}, CLIFF)],
)
def test_arrows_point_where_actions_lead(name, options, grid):
    process, checked = from_gymnasium(name, 0.9, **options), 0
    for s in range(grid.rows * grid.columns):
        for a, (dx, dy) in enumerate(grid.moves):
            x, y = s % grid.columns + dx, s // grid.columns + dy
            inside = 0 <= x < grid.columns and 0 <= y < grid.rows
            if grid.squares[s] in "HCG" or not inside or grid.squares[y * grid.columns + x] == "C":
                continue
            assert process.transition[s, a, y * grid.columns + x] == 1
            checked += 1
    assert checked > 20
    assert [s for s, x in enumerate(grid.squares) if x in "HG"] == np.flatnonzero(process.terminal).tolist()


def test_one_arrow_for_each_greedy_action():
    q = np.zeros((16, 4))
    q[0, 2], q[4, :2] = 1, 1
    _, ax = plt.subplots()
    draw_policy(ax, LAKE, q, limit=1.0, title="t")
    arrows = [child for child in ax.texts if getattr(child, "arrow_patch", None) is not None]
    assert len(arrows) == 3
    plt.close()


@pytest.mark.bad_input
def test_values_of_another_world():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"q has shape \(9, 4\); the map has 16 squares and 4 actions"):
        draw_policy(ax, LAKE, np.zeros((9, 4)), limit=1.0)
    plt.close()
