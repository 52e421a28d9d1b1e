"""Sections under "Further" are folded in the page, the others are not."""

import sys
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
import further


def section(name, *inside):
    return nodes.section("", nodes.title("", name), *inside)


def document(*sections):
    whole = nodes.Element()
    whole.extend(sections)
    return whole


def test_a_folded_section_is_its_heading_and_a_box():
    whole = document(section("Chapter", section("Further", section("A proof", nodes.paragraph("", "long")))))
    assert further.fold(whole) == 1
    folded = list(whole.findall(nodes.section))[-1]
    kinds = [type(node).__name__ for node in folded]
    assert kinds == ["raw", "title", "raw", "paragraph", "raw"]
    assert [node.astext() for node in folded if isinstance(node, nodes.raw)] == [
        '<details class="further"><summary>',
        "</summary>",
        "</details>",
    ]


def test_what_stands_elsewhere_stays_open():
    whole = document(section("Chapter", section("What breaks it", section("A case")), section("Further")))
    assert further.fold(whole) == 0
    assert not list(whole.findall(nodes.raw))
