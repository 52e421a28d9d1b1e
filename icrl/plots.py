"""One style for the whole book, and the few figures that several chapters draw."""

import re
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from icrl._arguments import checked

BLUE, ORANGE, GREEN, RED = "#0173b2", "#de8f05", "#029e73", "#d55e00"
PURPLE, BROWN, GREY = "#cc78bc", "#ca9161", "#949494"  # all of seaborn's "colorblind"
"""Colours by role. What is computed, compared, true, broken; two more curves; what is only background."""

VALUES, ATTENTION = "vlag", "Blues"
"""Names of the colour maps for values (white is 0) and for attention (dark is much)."""

# What replaces the icon font that matplotlib's player would load from a network.
_ICONS = {"fast-backward": "&#124;&lt;", "step-backward": "&lt;", "pause": "&#10074;&#10074;"}
_ICONS |= {"play": "&#9654;&#xFE0E;", "step-forward": "&gt;", "fast-forward": "&gt;&#124;"}


def set_style() -> None:
    """Set matplotlib's defaults to those of the book: seaborn's ticks for a notebook, and some of ours."""
    plt.style.use("icrl.figures")


def heat(
    ax: Axes,
    matrix: Float[np.ndarray, "rows columns"],
    *,
    limit: float | None = None,
    annotate: str | None = None,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Draw a matrix as coloured cells, first row on top.

    Args:
        ax: where to draw.
        matrix: ``(rows, columns)``.
        limit: colours run from ``-limit`` to ``limit``, white at 0; without it they show attention, 0 to 1.
        annotate: format of the number written into each cell, for instance ``".2g"``; NaN is drawn as
            an ellipsis, for columns left out.
        rows: names of the rows.
        columns: names of the columns.
    """
    if limit:
        import seaborn  # noqa: F401  (it brings the map of the values, and with it half of SciPy: only here)
    style = {"cmap": VALUES, "norm": TwoSlopeNorm(0, -limit, limit)} if limit else None
    ax.imshow(matrix, aspect="auto", **(style or {"cmap": ATTENTION, "vmin": 0, "vmax": 1}))
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(0.5, matrix.shape[1] - 1), minor=True)
    ax.set_yticks(np.arange(0.5, matrix.shape[0] - 1), minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    if annotate is not None:
        for (i, j), x in np.ndenumerate(matrix):
            ground = ax.images[-1].to_rgba(np.nan_to_num(x))
            color = "white" if contrast(ground) ** 2 > 21 else "black"  # whichever stands out more
            text = format(x, annotate) if np.isfinite(x) else "⋯"
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=8.5)


@checked
def contrast(color: ColorType) -> float:
    """Ratio of the luminance of white paper to that of ``color``, as WCAG defines it: from 1 to 21."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(color)]
    return 1.05 / (0.05 + np.array([0.2126, 0.7152, 0.0722]) @ linear)


@checked
def ink(color: ColorType, *, ratio: float = 4.5) -> str:
    """The same hue for text: darkened, where it must be, to a contrast of ``ratio`` against white.

    Lines may be lighter than letters; a label in the colour of its line is written in its ink.
    """
    if ratio > 21:
        raise ValueError(f"ratio is {ratio:g}; black on white has 21, and it must not be more")
    steps = (to_hex([f * x for x in to_rgb(color)]) for f in np.linspace(1, 0, 101))
    return next(step for step in steps if contrast(step) >= ratio)


@checked
def label_lines(ax: Axes, *, pad: float = 4) -> None:
    """Write each line's label at its right end, in the ink of its colour, in place of a legend.

    Labels that would overlap are moved apart; ``pad`` is their distance from the line in points.
    """
    ax.figure.canvas.draw()
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    ends = [line.get_xydata()[np.isfinite(line.get_ydata())][-1] for line in lines]
    heights = [ax.transData.transform(end)[1] for end in ends]
    pixel = 72 / ax.figure.dpi
    previous = ax.transAxes.transform((0, 0))[1]
    for index in np.argsort(heights, kind="stable"):
        line, previous = lines[index], max(heights[index], previous + 13 / pixel)
        place = {"xy": ends[index], "xytext": (pad, (previous - heights[index]) * pixel), "va": "center"}
        style = {"color": ink(line.get_color()), "fontsize": 9.5, "annotation_clip": False}
        ax.annotate(line.get_label(), textcoords="offset points", **place, **style)


@checked
def iterations(
    values: Float[np.ndarray, "L_plus_1 S"], truth: Float[np.ndarray, " S"], *, truth_name: str = "true value"
) -> Figure:
    """The book's emblem: one forward pass as a picture of its iterations.

    Layers run down, states across, the colour is the value; the true value stands below for comparison.

    Args:
        values: ``(L+1, S)``, the value of each state before the first layer and after each.
        truth: ``(S,)``.
        truth_name: how to call it.
    """
    limit = float(np.abs([*values, truth]).max())
    figure, (top, bottom) = plt.subplots(
        2, figsize=(7.2, 4.4), height_ratios=[len(values) - 1, 2], sharex=True
    )
    heat(top, values, limit=limit)
    heat(bottom, truth[None], limit=limit, rows=[truth_name], columns=[str(s) for s in range(len(truth))])
    top.tick_params(labelbottom=False)
    layers = np.unique(np.linspace(0, len(values) - 1, 6).astype(int))
    top.set_yticks(layers, [str(i) for i in layers])
    top.set_ylabel("layer")
    bottom.set_xlabel("state")
    for ax in (top, bottom):
        ax.grid(False, which="minor")
    figure.colorbar(top.images[0], ax=[top, bottom], label="value", aspect=30, pad=0.02)
    return figure


@checked
def scrub(figure: Figure, draw: Callable[[int], None], frames: int, *, name: str, alt: str) -> str:
    """A player as HTML: a slider through ``frames`` pictures, each made by ``draw(frame)``.

    The same input gives the same HTML (matplotlib's own carries a random id), nothing is loaded from a
    network, and it fits narrow screens.

    Args:
        figure: what ``draw`` draws on.
        draw: renews the figure for one frame.
        frames: how many.
        name: identifier, unique on its page.
        alt: description of the picture for those who cannot see it.
    """
    figure.canvas.draw_idle = lambda: None  # each frame is drawn when it is saved, and not before
    animation = FuncAnimation(figure, draw, frames=frames, init_func=lambda: None)
    html = animation.to_jshtml(fps=4, default_mode="once")
    plt.close(figure)
    html = re.sub(r'<link rel="stylesheet"\s+href="https?:[^>]*>', "", html)
    html = html.replace(re.search(r'id="_anim_img(\w+)"', html)[1], name)
    html = re.sub(
        r'<button title="(Decrease speed|Increase speed|Play backwards)".*?</button>', "", html, flags=re.S
    )
    html = html.replace("<form ", '<form style="display:none" ')  # its script reads the repetition mode
    for icon, text in _ICONS.items():
        html = html.replace(f'<i class="fa fa-{icon}"></i>', text)
    html = html.replace('<div class="animation">', '<div class="animation" style="max-width:100%">')
    html = html.replace('<input id="', '<input aria-label="frame" style="max-width:90%" id="')
    return html.replace('<img id="', f'<img alt="{alt}" style="max-width:100%;height:auto" id="')
