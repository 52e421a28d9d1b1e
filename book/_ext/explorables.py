"""Load the explorables on the pages that have one, and on no other.

An explorable is an ordinary figure of the class ``explorable`` and of a second class, its name:

    :::{figure} _static/explorable-divergence.svg
    :figclass: explorable divergence
    :name: fig-dv-sliders
    :alt: What the still shows.

    The caption.
    :::

The picture is the still: it stands in print and where there is no script. Elsewhere ``explorables.js`` puts
the live figure in its place. ``python tests/book/test_explorables.py`` draws the stills anew.
"""

from docutils import nodes

STYLE, SCRIPTS = "explorables.css", ("explorable-numbers.js", "explorables.js")


def load(app, page, template, context, doctree):
    """Style and scripts for a page with an explorable."""
    if doctree is not None and any(
        "explorable" in figure["classes"] for figure in doctree.findall(nodes.figure)
    ):
        app.add_css_file(STYLE)
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def setup(app):
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
