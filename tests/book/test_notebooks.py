"""Every notebook is executed, clean, and the same chapter as its text twin."""

import re
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

BOOK = Path(__file__).parents[2] / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
OWN = {"jupytext", "jupyter"}  # what one of the two files says in its own way
LONGEST_LINE = 84  # what fits the column of the rendered page


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def draws(cell):
    """A cell that is expected to show a picture."""
    return re.search(r"plt\.show\(|plots\.iterations\(|plots\.scrub\(", cell.source)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_there_are_notebooks():
    assert {"intro", "weighted-softmax-td", "softmax-transformer", "claims"} <= {p.stem for p in NOTEBOOKS}


def test_executed_top_to_bottom(notebook):
    """nbval passes over a cell that never ran, so its count must be checked here."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_errors_and_no_stderr(notebook):
    kinds = {output.output_type for output in outputs(notebook)}
    streams = {output.name for output in outputs(notebook) if output.output_type == "stream"}
    assert "error" not in kinds
    assert streams <= {"stdout"}


def test_figures_are_there(notebook):
    """nbval does not compare pictures, not even a missing one."""
    for cell in filter(draws, code_cells(notebook)):
        types = {key for output in cell.outputs for key in output.get("data", {})}
        assert types & {"image/png", "text/html"}, cell.source


def test_figures_have_alternative_text(notebook):
    for cell in filter(draws, code_cells(notebook)):
        image = cell.metadata.get("mystnb", {}).get("image", {})
        assert image.get("alt") or "alt=" in cell.source, cell.source


def test_no_machine_paths_in_outputs(notebook):
    text = "".join(
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        for output in outputs(notebook)
    )
    assert not re.search(r"/(home|root|tmp|Users|work)/", text)


def test_twins_agree(notebook):
    """Same cells, same tags, in the Markdown that people edit and in the notebook that runs."""
    twin = jupytext.read(notebook.with_suffix(".md"))

    def content(cells):
        return [(c.cell_type, c.source, {k: v for k, v in c.metadata.items() if k not in OWN}) for c in cells]

    assert content(nbformat.read(notebook, as_version=4).cells) == content(twin.cells)


def test_notebooks_say_what_they_need_and_what_their_figures_show(notebook):
    """What JupyterLab would not show of the book: captions; code that is hidden stays so."""
    cells = nbformat.read(notebook, as_version=4).cells
    address = yaml.safe_load((BOOK.parent / "_config.yml").read_text())["sphinx"]["config"]["icrl_repository"]
    source = f"git+{address}" if address else ".."
    assert f"\n%pip install {source}\n" in cells[0].source
    assert f"/book/{notebook.stem}.html" in cells[0].source
    for cell, following in pairwise(cells):
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "caption" in figure:
            assert following.source == f"> {figure['caption']}"
        if {"hide-input", "hide-cell"} & set(cell.metadata.get("tags", [])):
            assert cell.metadata["jupyter"]["source_hidden"]


def test_every_chapter_has_its_notebook():
    twins = {p.stem for p in BOOK.glob("*.md") if p.read_text().startswith("---\njupytext:")}
    assert twins == {p.stem for p in NOTEBOOKS}


def test_code_fits_the_column(notebook):
    long = [
        line for cell in code_cells(notebook) for line in cell.source.splitlines() if len(line) > LONGEST_LINE
    ]
    assert not long


def test_chapters_assert_something(notebook):
    """A chapter without a check is not a chapter of this book; the emblem is only a picture."""
    if notebook.stem != "intro":
        assert any("assert " in cell.source for cell in code_cells(notebook))


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_tables_are_tables(path):
    """Rows without a head are printed as text; inside a row a backslash does not save a norm's bars."""
    for block in re.findall(r"(?:^\|.*\n)+", path.read_text(), re.MULTILINE):
        assert re.match(r"\|.*\n\|[-:| ]+\|\n", block), block
        assert "\\|" not in block, block
