"""Maps of Gymnasium's grid worlds agree with the tasks they draw."""

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pytest

from icrl import plots
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


def test_what_a_map_shows():
    """Cut values as colours, nothing where nothing is decided, letters, one arrow in each other square."""
    best = np.append(np.linspace(-5, 5, 36), [2.5, *12 * [7]])  # the cliff has one state more than its map
    actions = np.arange(49) % 4
    q = best[:, None] - (np.arange(4) != actions[:, None])
    _, ax = plt.subplots()
    ax.plot([0, 1])
    draw_policy(ax, CLIFF, q, limit=4.0, title="the cliff")
    assert not ax.lines  # what was drawn before is gone
    assert ax.get_title() == "the cliff"
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 11.5), (3.5, -0.5))
    assert not (*ax.get_xticks(), *ax.get_yticks())
    (image,) = ax.images
    assert np.array_equal(image.get_array(), np.reshape([*best[:36].clip(-4, 4), 2.5, *11 * [0]], (4, 12)))
    assert image.get_clim() == (-4, 4)

    letters = [(x.get_text(), *x.get_position(), x.get_ha(), x.get_va()) for x in ax.texts if x.get_text()]
    middle = "center", "center"
    assert letters[1:] == [*(("C", x, 3, *middle) for x in range(1, 11)), ("G", 11, 3, *middle)]
    marks = [x for x in ax.texts if x.get_text() in ("C", "G")]
    assert {x.get_color() for x in marks} == {plots.ink(plots.GREY)}  # quieter than arrows, legible on white
    assert letters[0] == ("S", pytest.approx(-0.44), pytest.approx(2.58), "left", "top")  # in its corner

    arrows = [x for x in ax.texts if getattr(x, "arrow_patch", None) is not None]
    assert len(arrows) == 37
    for s, arrow in enumerate(arrows):
        square, way = np.array([s % 12, s // 12]), CLIFF.moves[actions[s]]
        (tip, tail), style = (
            (np.array(arrow.xy) - square, np.array(arrow.get_position()) - square),
            arrow.arrowprops,
        )
        assert tip == pytest.approx(0.34 * np.array(way))  # inside its square
        assert tail == pytest.approx(0.04 * np.array(way))
        assert (style["shrinkA"], style["shrinkB"]) == (0, 0)  # from end to end
        on_white = plots.contrast(image.to_rgba(image.get_array().ravel()[s]))
        on_black = 21 / on_white
        assert style["color"] == ("white" if on_white > on_black else "black")
    plt.close()


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(9, 4), (15, 4), (16, 3)])
def test_values_of_another_world(shape):
    _, ax = plt.subplots()
    draw_policy(ax, LAKE, np.zeros((16, 4)), limit=1.0)
    with pytest.raises(ValueError, match=r"q has shape .*; the map has 16 squares and 4 actions"):
        draw_policy(ax, LAKE, np.zeros(shape), limit=1.0)
    with pytest.raises(ValueError, match=r"limit is 0"):
        draw_policy(ax, LAKE, np.zeros((16, 4)), limit=0.0)
    plt.close()
