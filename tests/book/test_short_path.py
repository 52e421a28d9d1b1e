"""The shape of a chapter: the card first, a path that reads without the rest, one order of arguments."""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[2] / "book"
PART_ONE = (
    "weighted-softmax-td",
    "softmax-transformer",
    "contraction",
    "divergence",
    "global-minimizer",
    "emergence",
)
PART_THREE = ("depth", "softmax-control", "standard-transformer")


def text_of(name):
    """What the book shows: without the cells that only the notebook has."""
    text = (BOOK / f"{name}.md").read_text().split("\n---\n", 1)[1]
    return re.sub(
        r'^\+\+\+ \{"tags": \["\w+", "remove-cell"\]\}\n.*?^\+\+\+$', "", text, flags=re.DOTALL | re.M
    )


@pytest.fixture(params=(*PART_ONE, *PART_THREE))
def chapter(request):
    return text_of(request.param)


def test_the_card_comes_first_and_says_three_things(chapter):
    before, card = chapter.split("```{admonition} In short\n", 1)
    card = card.split("\n```", 1)[0]
    assert re.fullmatch(r"\s*\(sec-\w+\)=\n# .*\s*", before)
    assert re.findall(r"^\*\*(.*?)\.\*\*", card, re.MULTILINE) == ["What", "Why", "What breaks it"]
    assert "{numref}" in card


def test_the_card_has_no_symbols(chapter):
    """A formula in the card is one that a newcomer has not met yet."""
    card = chapter.split("```{admonition} In short\n", 1)[1].split("\n```", 1)[0]
    assert "$" not in card


def test_imports_are_hidden(chapter):
    for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", chapter, re.DOTALL):
        if re.search(r"^import matplotlib", cell, re.MULTILINE):
            assert cell.startswith(":tags: [hide-cell]")


def test_the_short_path_has_statement_figure_and_what_breaks_it(chapter):
    path, depth = chapter.split("\n## Further\n")
    assert re.search(r"\{prf:(theorem|proposition|assumption)\}", path)
    assert "name: fig-" in path
    assert "## What breaks it" in path
    assert not re.search(r"^## (?!Beyond the paper|Exercises)", depth, re.MULTILINE)
    assert "assert " in path


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_the_listener_comes_before_the_source(path):
    """In K as in g and the matching matrix; the paper's own K has them the other way round."""
    if path.stem in (*PART_ONE, *PART_THREE, "notation"):
        assert not re.search(r"K(_\\tau)?\((S_\{k-1\}|z_i),", path.read_text())
