"""The directive ``explorable``: a figure with sliders, and the still picture that stands in for it.

    :::{explorable} divergence
    ![What the still shows.](_static/explorable-divergence.svg)

    The caption.
    :::

Pictures become the still, the rest becomes the caption. The script ``explorables.js`` puts the live figure in
place of the still; only pages with an explorable load it. ``python book/stills.py`` draws the stills anew.
"""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

SCRIPTS = ("explorable-numbers.js", "explorables.js")
STYLE = "explorables.css"


class explorable(nodes.General, nodes.Element):  # noqa: N801 (node classes are lower case in docutils)
    """The whole figure."""


class explorable_part(nodes.General, nodes.Element):  # noqa: N801
    """The still (a ``div``) or the caption (a ``figcaption``)."""


class Explorable(SphinxDirective):
    has_content = True
    required_arguments = 1

    def run(self):
        content = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, content)
        parts = {"div": explorable_part(tag="div"), "figcaption": explorable_part(tag="figcaption")}
        for child in content.children:
            parts["div" if any(child.findall(nodes.image)) else "figcaption"] += child
        if not all(part.children for part in parts.values()):
            raise self.error("an explorable needs a still picture and a caption")
        return [explorable("", *parts.values(), figure=self.arguments[0])]


def load_scripts(app, page, template, context, doctree):
    """Style and scripts on the pages that need them, and on no other."""
    if doctree is not None and any(doctree.findall(explorable)):
        app.add_css_file(STYLE)
        for name in SCRIPTS:
            app.add_js_file(name, loading_method="defer")


def visit(self, node):
    self.body.append(f'<figure class="explorable" data-explorable="{self.attval(node["figure"])}">\n')


def depart(self, node):
    self.body.append("</figure>\n")


def visit_part(self, node):
    kind = ' class="explorable-still"' if node["tag"] == "div" else ""
    self.body.append(f"<{node['tag']}{kind}>")


def depart_part(self, node):
    self.body.append(f"</{node['tag']}>\n")


def setup(app):
    app.add_node(explorable, html=(visit, depart))
    app.add_node(explorable_part, html=(visit_part, depart_part))
    app.add_directive("explorable", Explorable)
    app.connect("html-page-context", load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
