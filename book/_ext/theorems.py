"""The list of all numbered statements, `{theorems}`: made from their boxes while the book is built."""

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util.nodes import make_refnode
from sphinx_proof.nodes import NODE_TYPES

LISTED = ("theorem", "proposition", "lemma", "corollary", "definition", "assumption")


class ListOfTheorems(nodes.General, nodes.Element):
    """Stands where the list will be."""


class Theorems(Directive):
    def run(self):
        return [ListOfTheorems()]


def in_order(env):
    """The pages, in the order of the table of contents."""
    return [env.config.root_doc, *env.toctree_includes.get(env.config.root_doc, [])]


def number(env, box, docname):
    found = env.toc_fignumbers.get(docname, {}).get(box["countertype"], {}).get(box["ids"][0], ())
    return ".".join(map(str, found))


def entries(app, docname, target):
    """One item for each box of a page: its number, as a link, and its title with its formulas."""
    env = app.builder.env
    doctree = env.get_doctree(docname)
    for box in doctree.findall(lambda node: isinstance(node, tuple(NODE_TYPES.values()))):
        if box.get("realtype") not in LISTED or not box.get("label"):
            continue
        name = nodes.inline("", f"{box['realtype'].title()} {number(env, box, docname)}".strip())
        link = make_refnode(app.builder, target, docname, box["label"], name)
        line = nodes.paragraph("", "", link)
        title = box.next_node(nodes.title)
        words = [child.deepcopy() for child in title.children] if title is not None else []
        # The title of a box stands in brackets there, not here.
        if words and isinstance(words[0], nodes.Text):
            words[0] = nodes.Text(words[0].lstrip().removeprefix("("))
        if words and isinstance(words[-1], nodes.Text):
            words[-1] = nodes.Text(words[-1].removesuffix(")"))
        if words:
            line += [nodes.Text(". "), *words]
        yield nodes.list_item("", line)


def fill(app, doctree, docname):
    for place in list(doctree.findall(ListOfTheorems)):
        parts = []
        for page in in_order(app.builder.env):
            items = list(entries(app, page, docname))
            if items:
                title = nodes.inline("", app.builder.env.titles[page].astext())
                link = make_refnode(app.builder, docname, page, None, title)
                parts += [nodes.rubric("", "", link), nodes.bullet_list("", *items, classes=["theorems"])]
        place.replace_self(parts)


def setup(app):
    app.add_node(ListOfTheorems)
    app.add_directive("theorems", Theorems)
    app.connect("doctree-resolved", fill, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
