"""Every work of the bibliography can be reached from its entry."""

import os
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[2] / "book"
PAGE = BOOK.parent / "_build" / "html" / "book" / "bibliography.html"


def entries():
    """Key and text of every entry of the BibTeX file."""
    text = (BOOK / "references.bib").read_text()
    return {part[: part.index(",")]: part for part in re.split(r"^@\w+\{", text, flags=re.M)[1:]}


@pytest.mark.parametrize("key", entries())
def test_entry_has_a_link(key):
    """An arXiv number, a DOI or an address, in the form that the style prints as a link."""
    assert re.search(r"\b(eprint = \{\d{4}\.\d{5}\}|doi = \{10\.\d{4,}/|url = \{https?://)", entries()[key])


def test_no_work_stands_there_twice():
    """Neither the same key nor the same title."""
    titles = [re.search(r"\btitle = \{(.*)\}", text)[1].lower() for text in entries().values()]
    keys = re.findall(r"^@\w+\{(.*?),", (BOOK / "references.bib").read_text(), flags=re.M)
    assert len(set(keys)) == len(keys)
    assert len(set(titles)) == len(titles)


def test_links_of_the_built_page():
    """As many entries as are cited, each with a link out of the book."""
    if not PAGE.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the built book is missing (make book)")
    found = re.findall(r'<div class="citation" id=.*?</div>', PAGE.read_text(), flags=re.S)
    assert len(found) > 20
    for entry in found:
        assert re.search(r'class="reference external" href="https?://', entry), entry
