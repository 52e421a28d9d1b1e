"""Fold what follows under "Further": each of its sections becomes a box that its heading opens.

A chapter reads without these sections; who wants one opens it. Nothing is lost to a reader without
JavaScript, to a search or to a link: `further.js` opens the box that a link points into, and all of
them for print.
"""

from docutils import nodes

TITLE = "Further"


def fold(document):
    """Wrap the sections below each section called "Further"; returns how many."""
    titles = [(section, section.next_node(nodes.title)) for section in document.findall(nodes.section)]
    outer = [section for section, title in titles if title is not None and title.astext() == TITLE]
    inner = [child for section in outer for child in section if isinstance(child, nodes.section)]
    for section in inner:
        title = next(i for i, node in enumerate(section) if isinstance(node, nodes.title))
        section.insert(title, nodes.raw("", '<details class="further"><summary>', format="html"))
        section.insert(title + 2, nodes.raw("", "</summary>", format="html"))
        section.append(nodes.raw("", "</details>", format="html"))
    return len(inner)


def fold_page(app, document, name):
    if app.builder.format == "html":
        fold(document)


def setup(app):
    app.connect("doctree-resolved", fold_page)
    app.add_css_file("further.css")
    app.add_js_file("further.js")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
