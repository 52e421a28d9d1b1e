"""What figures are drawn with: colours mean what the caption says, players are the same bytes each time."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from refusals import refused

from icrl import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_style_is_seaborns_with_ours_on_top():
    """Colours by name and every default, but for the map of pictures, which needs seaborn."""
    import seaborn

    palette = seaborn.color_palette("colorblind").as_hex()
    named = [plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED, plots.PURPLE, plots.BROWN, None, plots.GREY]
    assert [x or y for x, y in zip(named, palette, strict=False)] == palette[:8]
    ours = {"figure.figsize": (7.2, 3.6), "figure.dpi": 130, "savefig.dpi": 130, "lines.linewidth": 1.8}
    ours |= {"figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False}
    ours |= {"axes.titlesize": 11, "axes.titlelocation": "left", "axes.labelsize": 10.5, "font.size": 10}
    ours |= {"xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.frameon": False, "legend.fontsize": 9.5}
    ours |= {"font.family": "DejaVu Sans", "animation.embed_limit": 30}
    with plt.rc_context():
        seaborn.set_theme(context="notebook", style="ticks", palette="colorblind", rc=ours)
        wanted = dict(plt.rcParams)
    with plt.rc_context():
        plt.rcdefaults()
        plots.set_style()
        found = dict(plt.rcParams)
    colors = [x.pop("axes.prop_cycle").by_key()["color"] for x in (wanted, found)]
    assert [to_hex(x) for x in colors[0]] == [to_hex(x) for x in colors[1]] == palette
    differ = {name for name in wanted if str(wanted[name]) != str(found[name])}
    assert differ <= {"image.cmap", "font.sans-serif", "backend", "backend_fallback"}


def test_heat_centres_zero_and_puts_the_first_row_on_top():
    _, ax = plt.subplots()
    plots.heat(ax, np.array([[-2.0, 0.0], [1.0, 2.0]]), limit=2.0, annotate=".0f", rows=["a", "b"])
    (image,) = ax.images
    assert image.norm(0.0) == 0.5
    assert (image.norm.vmin, image.norm.vmax) == (-2, 2)
    assert [text.get_text() for text in ax.texts] == ["-2", "0", "1", "2"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [text.get_color() for text in ax.texts] == ["white", "black", "black", "white"]


@pytest.mark.parametrize("limit", [None, 2.0])
def test_numbers_in_cells_can_be_read_on_every_colour(limit):
    """4.5:1 at least, whatever the value."""
    _, ax = plt.subplots()
    values = np.linspace(-(limit or 0), limit or 1, 41)[None]
    plots.heat(ax, values, limit=limit, annotate=".1f")
    for text, value in zip(ax.texts, values[0], strict=True):
        on_white = plots.contrast(ax.images[0].to_rgba(value))
        assert (on_white if text.get_color() == "white" else 21 / on_white) >= 4.5


def test_heat_shows_attention_from_0_to_1_and_gaps_as_dots():
    _, ax = plt.subplots()
    plots.heat(ax, np.array([[0.1, np.nan]]), annotate=".1f")
    assert ax.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["0.1", "⋯"]


def test_labels_of_lines_keep_apart():
    _, ax = plt.subplots()
    for height, name in ((1.0, "one"), (1.001, "other"), (0.0, "_hidden")):
        ax.plot([0, 1], [0.0, height], label=name)
    plots.label_lines(ax)
    lower, upper = ax.texts
    assert (lower.get_text(), upper.get_text()) == ("one", "other")
    assert upper.xyann[1] > lower.xyann[1] + 10  # points
    assert lower.get_color() == plots.ink(ax.lines[0].get_color())


def test_ink_can_be_read_and_is_no_darker_than_it_must_be():
    assert plots.contrast("white") == pytest.approx(1)
    assert plots.contrast("black") == pytest.approx(21)
    assert plots.contrast("#777777") == pytest.approx(4.48, abs=0.005)  # the grey that just fails
    for color in (plots.ORANGE, plots.GREEN, plots.PURPLE, plots.BROWN, plots.GREY):
        assert plots.contrast(color) < 4.5 <= plots.contrast(plots.ink(color)) < 4.75
    assert plots.ink(plots.BLUE) == plots.BLUE  # dark enough as it is


@pytest.mark.bad_input
def test_no_ink_is_darker_than_black():
    """It was a StopIteration."""
    assert plots.ink("teal", ratio=21) == "#000000"
    refused("ratio is 22; black on white has 21, and it must not be more", plots.ink, "teal", ratio=22.0)


def test_the_emblem_shows_every_layer_and_the_truth():
    values, truth = np.arange(12.0).reshape(4, 3), np.array([9.0, 10, 20])
    figure = plots.iterations(values, truth, truth_name="exact")
    top, bottom = figure.axes[:2]
    np.testing.assert_array_equal(top.images[0].get_array(), values)
    np.testing.assert_array_equal(bottom.images[0].get_array(), truth[None])
    assert top.images[0].norm.vmax == bottom.images[0].norm.vmax == 20
    assert bottom.get_yticklabels()[0].get_text() == "exact"


def test_players_are_the_same_bytes_and_load_nothing():
    def player():
        figure, ax = plt.subplots(figsize=(2, 1))

        def draw(frame):
            ax.clear()
            ax.plot([0, frame])

        return plots.scrub(figure, draw, 3, name="film", alt="a line that rises")

    html = player()
    assert html == player()
    assert "http" not in html.replace("http://www.w3.org", "")
    assert 'alt="a line that rises"' in html
    assert html.count("data:image/png;base64") == 3
    assert 'aria-label="frame"' in html
