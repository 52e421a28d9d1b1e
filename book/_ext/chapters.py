"""What every chapter gets by itself: its card with the chapter's figure, and how long it takes to read.

The card is the admonition "In short" at the head of a chapter; the first figure that it refers to is shown in
it, small. The short path is everything before the first section called "Further…", "Exercises" or "Beyond
the paper…", without what is folded.
"""

import re
from dataclasses import dataclass

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode

CARD = "In short"
FURTHER = re.compile(r"Further|Exercises|Beyond the paper")
COLOUR_MAP = re.compile(r"plots\.(heat|iterations|scrub)\b|imshow|pcolor|contourf|cmap|heatmap")
LIGHTNESS = re.compile(r"\b(dark|light|white|black|gr[ea]y|pale|shade)", re.IGNORECASE)
WORDS_PER_MINUTE = 200
# In words: what a reader who follows it spends on it.
FORMULA, DISPLAYED, FIGURE, PRINTED_TABLE, LINE_OF_CODE, LINE_OF_OUTPUT = 1, 12, 50, 30, 4, 3


@dataclass
class Words:
    """Words on the short path, and in the whole chapter with its folds."""

    short: int = 0
    whole: int = 0
    further: nodes.section | None = None

    def add(self, number, on_path):
        self.whole += number
        self.short += number if on_path else 0


def title_of(section):
    title = section.next_node(nodes.title)
    return title.astext() if title else ""


def count(node, words, on_path=True):
    """Add what is under a node; once "Further" is reached, nothing is on the path."""
    classes = node.get("classes", []) if isinstance(node, nodes.Element) else []
    if isinstance(node, nodes.section) and FURTHER.match(title_of(node)) and words.further is None:
        words.further = node
    on_path = on_path and words.further is None
    if isinstance(node, nodes.math):
        return words.add(FORMULA, on_path)
    if isinstance(node, nodes.math_block):
        return words.add(DISPLAYED, on_path)
    if isinstance(node, nodes.image):
        return words.add(FIGURE, on_path)
    if isinstance(node, nodes.literal_block):
        lines = node.astext().count("\n") + 1
        output = node.parent is not None and "cell_output" in " ".join(node.parent.get("classes", []))
        return words.add(lines * (LINE_OF_OUTPUT if output else LINE_OF_CODE), on_path)
    if isinstance(node, nodes.raw):
        return words.add(PRINTED_TABLE if "<table" in node else 0, on_path)
    if isinstance(node, nodes.Text):
        return words.add(len(node.split()), on_path)
    if isinstance(node, HideCodeCellNode | nodes.comment):
        return None  # nobody has to read hidden code
    on_path = on_path and "dropdown" not in classes
    for child in node.children:
        count(child, words, on_path)
    return None


def minutes(words):
    return max(1, round(words / WORDS_PER_MINUTE))


def reading_time(words):
    """The line under the title."""
    line = nodes.paragraph(classes=["reading-time"])
    if words.further is None:
        line += nodes.Text(f"Reading time: {minutes(words.whole)} minutes.")
        return line
    link = nodes.reference("", title_of(words.further), internal=True, refid=words.further["ids"][0])
    line += [nodes.Text(f"Reading time: {minutes(words.short)} minutes up to “"), link]
    line += nodes.Text(f"”, folds closed; {minutes(words.whole)} minutes for everything.")
    return line


def thumbnail(card, doctree):
    """The first figure that the card names, as a small picture that leads to it; or None."""
    figures = {name: figure for figure in doctree.findall(nodes.figure) for name in figure["ids"]}
    for link in card.findall(nodes.reference):
        target = figures.get(link.get("refid") or link.get("refuri", "").rpartition("#")[2])
        image = target.next_node(nodes.image) if target else None
        if image is not None:
            small = image.deepcopy()
            for size in ("width", "height", "scale", "align"):
                small.attributes.pop(size, None)
            picture = nodes.reference("", "", small, internal=True, refid=target["ids"][0])
            cell = target
            while cell is not None and "light-sheet" not in cell.get("classes", []):
                cell = cell.parent
            return nodes.container("", picture, classes=["card-figure", *(["light-sheet"] if cell else [])])
    return None


def sheets(doctree):
    """Mark figures whose lightness means something: the dark theme leaves them on a light sheet."""
    for cell in doctree.findall(
        lambda n: isinstance(n, nodes.container) and n.get("nb_element") == "cell_code"
    ):
        code = " ".join(block.astext() for block in cell.findall(nodes.literal_block))
        captions = " ".join(caption.astext() for caption in cell.findall(nodes.caption))
        if not code or COLOUR_MAP.search(code) or LIGHTNESS.search(captions):
            cell["classes"].append("light-sheet")


def dress(app, doctree, docname):
    """Card and reading time, where a page has a card or exercises."""
    sheets(doctree)
    page = doctree.next_node(nodes.section)
    if page is None:
        return
    boxes = (box for box in page.findall(nodes.admonition) if title_of(box) == CARD)
    card = next(boxes, None)
    exercises = any(title_of(part) == "Exercises" for part in page.findall(nodes.section))
    if card is None and not exercises:
        return
    words = Words()
    count(page, words)
    page.insert(page.first_child_matching_class(nodes.title) + 1, reading_time(words))
    if card is not None:
        card["classes"].append("card-box")
        picture = thumbnail(card, doctree)
        if picture is not None:
            card.insert(1, picture)


def setup(app):
    app.connect("doctree-resolved", dress)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
