"""Serve MathJax from the book itself, copied at build time out of the installed PyPI package.

Only the one-file bundle with all TeX extensions and its fonts are taken; nothing is loaded from a
network when the page is read.
"""

import shutil
from importlib.metadata import files
from pathlib import Path

BUNDLE = "static/mathjax/tex-chtml-full.js"
FONTS = "static/mathjax/output/chtml/fonts/woff-v2/"


def copy_mathjax(app, exception):
    """Copy bundle and fonts into the built book."""
    if exception or app.builder.format != "html":
        return
    for file in files("sphinx-mathjax-offline"):
        _, _, inside = file.as_posix().partition("/")
        if inside == BUNDLE or inside.startswith(FONTS):
            target = Path(app.outdir, "_static", inside.removeprefix("static/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml-full.js"
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
