"""Serve MathJax from the book itself, copied at build time out of the installed PyPI package.

Only the components that the book needs and the fonts are taken, joined into one file; nothing is loaded from
a network when the page is read. Formulas are set when they come near the screen (`ui/lazy`): the heaviest
pages hold 700 of them. `book/_static/icrl.js` sees to it that a link still lands where it should.
"""

import json
import shutil
from importlib.metadata import files
from pathlib import Path

FONTS = "static/mathjax/output/chtml/fonts/woff-v2/"
COMPONENTS = {  # as MathJax names them, and the files that hold them
    "core": "core.js",
    "input/tex-base": "input/tex-base.js",
    "[tex]/ams": "input/tex/extensions/ams.js",
    "output/chtml": "output/chtml.js",
    "output/chtml/fonts/tex": "output/chtml/fonts/tex.js",
    "a11y/assistive-mml": "a11y/assistive-mml.js",
    "ui/lazy": "ui/lazy.js",
}
BUNDLE = "mathjax/icrl-chtml.js"
# MathJax asks for its components by address; here it finds them in this file.
LOADER = """(() => {
const parts = {%s};
const run = url => parts[Object.keys(parts).find(name => url.endsWith("/" + name))]();
MathJax.loader = {load: %s, require: run};
})();
"""


def copy_mathjax(app, exception):
    """Write the bundle and the fonts into the built book."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    found = {file.as_posix().partition("/")[2]: file.locate() for file in files("sphinx-mathjax-offline")}
    for inside, place in found.items():
        if inside.startswith(FONTS):
            target = static / inside.removeprefix("static/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, target)
    source = {name: Path(found[f"static/mathjax/{name}"]).read_text() for name in COMPONENTS.values()}
    parts = ",\n".join(f"{json.dumps(name)}: () => {{{script}\n}}" for name, script in source.items())
    start = Path(found["static/mathjax/startup.js"]).read_text()
    (static / BUNDLE).write_text(LOADER % (parts, json.dumps(list(COMPONENTS))) + start)


def setup(app):
    app.config.mathjax_path = BUNDLE
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
