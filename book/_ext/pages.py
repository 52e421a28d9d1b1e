"""What the theme does to every page and should not, and what it does not do and should.

Icons come from the theme's web font, so that its 1.5 MB of icons as JavaScript are not sent; the index of the
search is loaded when somebody searches; each page has a description and a picture for those who link to it;
a formula is not torn from its comma.
"""

import html
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

PICTURE = "_static/emblem.png"
DESCRIPTION = 200  # characters at most
# Characters of TeX. A formula that is not short may be wider than a narrow screen, and scrolls there.
SHORT, UNBREAKABLE = 30, 45
MANY_ROWS, MANY_LINES = 16, 20
LONG_VALUE = 120  # characters of a constant's value; a table of functions fills half a page
IN_TEX = re.compile(r"[.,;:!?)\]]+(?=\s|$)")
CLOSING = re.compile(r"[.,;:!?)\]’”…]+(?=\s|$)|[)\]’”]*[-–—](?=\w)|s\b")


def repository(app):
    """Where the book is kept, for the buttons that open a chapter on Colab or Binder; see `_config.yml`.

    On GitHub's own machines it is known without being said.
    """
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    return app.config.icrl_repository or (f"{server}/{name}" if server and name else "")


def configure(app, config):
    """Launch buttons and the address of the pages, from the one place where the repository is named."""
    config.html_context.setdefault("default_mode", "auto")
    address = repository(app)
    if not address:
        return
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": "main",
        "path_to_docs": "",
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }
    owner, _, name = address.removeprefix("https://github.com/").partition("/")
    config.html_baseurl = config.html_baseurl or f"https://{owner.lower()}.github.io/{name}/"


def beside(formula):
    """The text before and after a formula, empty where none touches it."""
    parent, place = formula.parent, formula.parent.index(formula)
    sides = parent[place - 1] if place else None, parent[place + 1] if place + 1 < len(parent) else None
    return [side if isinstance(side, nodes.Text) else "" for side in sides]


def take_signs(formula):
    """Set the signs that touch a long formula in TeX with it: they scroll with it, and none begins a line."""
    parent, place, tex = formula.parent, formula.parent.index(formula), formula.astext()
    before, after = beside(formula)
    closing = IN_TEX.match(after)
    if closing:
        tex += closing[0].replace(":", "{:}")
        parent[place + 1] = nodes.Text(after[closing.end() :])
    if re.search(r"(?<!\S)\($", before):
        tex = "(" + tex
        parent[place - 1] = nodes.Text(before[:-1])
    whole = nodes.math("", tex, **formula.attributes)
    parent.replace(formula, whole)
    return whole


def keep_together(app, doctree, docname):
    """A formula and the punctuation that touches it stay on one line."""
    for formula in list(doctree.findall(nodes.math)):
        if len(formula.astext()) > SHORT:
            formula = take_signs(formula)
        before, after = beside(formula)
        closing, opening = CLOSING.match(after), re.search(r"(?<!\S)[(\[‘“]+$", before)
        if len(formula.astext()) > UNBREAKABLE or not (closing or opening):
            continue
        parent, place, parts = formula.parent, formula.parent.index(formula), [formula]
        if closing:
            parts.append(nodes.Text(closing[0]))
            parent[place + 1] = nodes.Text(after[closing.end() :])
        if opening:
            parts.insert(0, nodes.Text(opening[0]))
            parent[place - 1] = nodes.Text(before[: opening.start()])
        together = nodes.inline(classes=["together"])
        parent.replace(formula, together)
        together.extend(parts)


def mark_for_paper(app, doctree, docname):
    """On paper what ends with a colon stays with what it announces, and long code may go over the page."""
    for paragraph in doctree.findall(nodes.paragraph):
        if paragraph.astext().rstrip().endswith(":"):
            paragraph["classes"].append("announces")
    for code in doctree.findall(nodes.literal_block):
        if code.astext().count("\n") >= MANY_LINES and "cell_input" in code.parent.get("classes", []):
            code.parent["classes"].append("long")


def mark_verdicts(app, doctree, docname):
    """A long table with a column of verdicts can be filtered, and is set so that it fits its column."""
    for table in doctree.findall(nodes.table):
        heads = table.next_node(nodes.thead)
        if len(list(table.findall(nodes.row))) < MANY_ROWS or heads is None:
            continue
        if any(entry.astext() == "verdict" for entry in heads.findall(nodes.entry)):
            table["classes"].append("filtered")


def leave_out_long_values(app, doctree, docname):
    """In the reference a constant stands with its value, unless that is longer than its description."""
    for value in list(doctree.findall(addnodes.desc_annotation)):
        if len(value.astext()) > LONG_VALUE:
            value.parent.remove(value)


def describe(app, pagename, templatename, context, doctree):
    """Description and OpenGraph tags: the first sentences of the page, and the emblem."""
    if doctree is None:
        return
    section = doctree.next_node(nodes.section)
    paragraphs = [p for p in section.findall(nodes.paragraph) if "reading-time" not in p["classes"]]
    text = " ".join(paragraphs[0].astext().split()) if paragraphs else ""
    text = re.sub(r"^What\. ", "", re.sub(r"\\[a-z]+|[{}$\\]", "", text))
    if len(text) > DESCRIPTION:
        text = text[:DESCRIPTION].rsplit(" ", 1)[0] + " …"
    base = app.config.html_baseurl
    address = (
        (lambda path: base.rstrip("/") + "/" + path) if base else (lambda path: context["pathto"](path, 1))
    )
    title = re.sub("<[^>]*>", "", context["title"])
    tags = {
        "og:title": html.unescape(title),
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:description": text,
        "og:image": address(PICTURE),
        "og:image:alt": "Layers of a transformer run down, states across; value spreads from the rewards.",
    }
    if base:
        tags["og:url"] = address(f"{pagename}.html")
    lines = [f'<meta property="{name}" content="{html.escape(value)}"/>' for name, value in tags.items()]
    lines.append(f'<meta name="description" content="{html.escape(text)}"/>')
    lines.append('<meta name="twitter:card" content="summary_large_image"/>')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines) + "\n"


PRINTED_TABLE = re.compile(r'<table[^>]*class="dataframe".*?</table>', re.DOTALL)
TORN = re.compile(
    r" (?=(?:[=±]|&[lg]t;) )|(?<= [=±]) |(?<= &[lg]t;) |(?<=,) (?=[^\[\] ]+\])"
    r"|(?<=\d) (?=(?:to|of) -?[\d.])|(?<=\d (?:to|of)) (?=-?[\d.])"
)
SHORT_NAME = re.compile(r"(?<=<th>)[^<]{1,10}(?=</th>)")
PHRASE = re.compile(r"[A-Za-z]{3,}[^<]* [A-Za-z]{2,}")


def one_line_of_names(table):
    """The names of the rows stand over them, in the line of the other names, not in one of their own."""
    head, end, body = table.partition("</thead>")
    *before, above, names = re.split(r"(?=<tr)", head)
    levels = max((row.count("<th") for row in body.split("</tr>")), default=0)
    cells = [re.findall(r"<th\b[^>]*>(.*?)</th>", row, re.DOTALL) for row in (above, names)]
    if not any(cells[1][levels:]) and not any(cells[0][:levels]) and len(cells[0]) == len(cells[1]):
        rest = re.split(r"(?=<th)", above)[levels + 1 :]
        names = "".join(re.split(r"(?=<th)", names)[: levels + 1] + rest)
        above = ""
    named = re.sub("<th>", '<th class="name">', names, count=levels)
    return "".join(before) + above + named + end + body


def set_printed(table):
    """Columns of phrases begin at the left; `γ = .9`, `3 ± 1`, `[1, 2]`, `1 to 2` are not torn."""
    body = table[0].partition("<tbody>")[2]
    rows = (re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in body.split("</tr>"))
    # Counted from the end: how many names stand before the cells differs between rows.
    columns = {len(row) - i for row in rows for i, cell in enumerate(row) if PHRASE.search(cell)}

    def mark(row):
        cells = re.split(r"(?=<t[dh]\b)", row[0])
        for column in columns:
            if column < len(cells):
                cells[-column] = re.sub("^<(t[dh])", r'<\1 class="words"', cells[-column])
        return "".join(cells)

    marked = re.sub(r"<tr.*?</tr>", mark, one_line_of_names(table[0]), flags=re.DOTALL)
    marked = re.sub(SHORT_NAME, lambda name: name[0].replace(" ", "&nbsp;"), marked)
    marked = re.sub(r"(?<=\de-)(?=\d)", "&#8288;", marked)  # no line ends within 1e-10
    return re.sub("(?<=>)[^<]+", lambda text: TORN.sub("&nbsp;", text[0]), marked)


# Thebe runs code in the page from a network, which this book does not; searching loads what it needs itself.
UNUSED = [
    r"<script>const THEBE_JS_URL[^<]*</script>\s*",
    r'<script async="async" src="[^"]*sphinx-thebe\.js[^"]*"></script>\s*',
    r'<link rel="stylesheet"[^>]*sphinx-thebe\.css[^>]*>\s*',
    r'<script type="text/x-thebe-config">.*?</script>\s*',
    r"<script>kernelName = [^<]*</script>\s*",
    r'<script defer src="[^"]*fontawesome\.js[^"]*"></script>\s*',
    r'<meta name="viewport" content="width=device-width, initial-scale=1"\s*/>\s*',
]
TWICE = r"<script>var togglebuttonSelector[^<]*</script>\s*"
SEARCH = r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>\s*'


def clean(page):
    """The page without what the theme writes twice or to no use."""
    for pattern in UNUSED:
        page = re.sub(pattern, "", page, flags=re.DOTALL)
    first = re.search(TWICE, page)
    if first:
        page = page[: first.end()] + re.sub(TWICE, "", page[first.end() :])
    if 'id="search-results"' not in page:
        page = re.sub(SEARCH, "", page)
    # A name that is not what the button shows is read aloud instead of it.
    page = page.replace(' aria-label="Toggle hidden content"', "")
    page = page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    page = PRINTED_TABLE.sub(set_printed, page)
    return re.sub(r"<title>(.*?) &#8212; \1</title>", r"<title>\1</title>", page)


def finish(app, exception):
    """Tidy every page; empty the icons that nothing uses."""
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text()
        after = clean(before)
        if after != before:
            path.write_text(after)
    for name in ("fontawesome.js", "fontawesome.js.map"):
        script = Path(app.outdir, "_static", "scripts", name)
        if script.exists():
            script.write_text("")


def colons_are_colons(app, what, name, thing, options, lines):
    """Napoleon takes what stands before a colon in the description of a constant for its type."""
    if what in ("data", "attribute", "property") and lines and ": " in lines[0]:
        before, _, after = lines[0].partition(": ")
        lines[0:1] = [f"{before}:", after]


def setup(app):
    app.connect("autodoc-process-docstring", colons_are_colons, priority=400)
    app.add_config_value("icrl_repository", "", "html")
    app.connect("config-inited", configure)
    app.connect("doctree-resolved", keep_together)
    app.connect("doctree-resolved", mark_for_paper)
    app.connect("doctree-resolved", mark_verdicts)
    app.connect("doctree-resolved", leave_out_long_values)
    app.connect("html-page-context", describe, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
