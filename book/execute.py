"""Bring every notebook of the book up to date with its text twin: `make notebooks`.

A chapter is `NAME.md` (MyST, the file people edit) beside `NAME.ipynb` (executed, with outputs). A
notebook is run again, top to bottom, if one of its code cells changed or a module of `icrl` that it
imports, directly or not; otherwise only its text is renewed. Running is deterministic: a second run
writes the same bytes. The text twin is put into the form in which JupyterLab saves it, so that saving
a chapter there changes nothing. What only a notebook needs is made here, and left out of the book: a first
cell that says what this is and what it needs, and below each figure its caption, which JupyterLab would not
show; change captions where the figure's cell has them. `--check` writes nothing and exits 1 if something is
out of date; `--all` runs every notebook.
"""

import argparse
import ast
import base64
import copy
import hashlib
import re
import sys
import time
from functools import cache
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient

BOOK = Path(__file__).resolve().parent
PACKAGE = BOOK.parent / "icrl"
# In the header of every chapter: JupyterLab then saves the twin without the version of jupytext.
NO_VERSION = "-jupytext.text_representation.jupytext_version"
# Likewise: what collapses a cell's code in JupyterLab stays out of the twin, where the tags say it.
NOT_COLLAPSED = "-jupyter"
HIDDEN = {"hide-cell", "hide-input", "remove-cell", "remove-input"}
MADE = {"about", "caption"}


def chapters():
    """The text twins, by name: every Markdown file of the book that has code cells."""
    return sorted(p for p in BOOK.glob("*.md") if p.read_text().startswith("---\njupytext:"))


def module_file(name):
    """The file of a module of the package, or None."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return next((p for p in candidates if name.split(".")[0] == "icrl" and p.is_file()), None)


@cache
def imported(source):
    """Names of modules that a piece of Python uses; a package's face counts where a name is taken from it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if module_file(name) else node.module for name in modules]
    return found


def fingerprint(notebook):
    """Hash of what the outputs depend on: the code cells and the package's modules behind them."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    files, waiting = set(), [name for source in code for name in imported(source)]
    while waiting:
        file = module_file(waiting.pop())
        if file and file not in files:
            files.add(file)
            waiting += imported(file.read_text())
    text = "\0".join(code + [f.read_text() for f in sorted(files)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def made(kind, name, text):
    """A cell of text that only the notebook shows."""
    return nbformat.v4.new_markdown_cell(text, id=name, metadata={"tags": [kind, "remove-cell"]})


def about(path, notebook):
    """The first cell: what this is, what it needs, where it is a page of the book."""
    settings = yaml.safe_load((BOOK.parent / "_config.yml").read_text())["sphinx"]["config"]
    address = settings["icrl_repository"]
    # Without an address there is this copy, whose folder `book` is where a notebook is opened.
    where, source = ("on Colab or in", f"git+{address}") if address else ("in", "..")
    pages = settings.get("html_baseurl") or "../_build/html"
    text = "\n".join(cell.source for cell in notebook.cells)
    title = re.search(r"^# (.*)$", text, re.MULTILINE)[1]
    data = ", and the folder `book/data` beside it" if re.search(r'"data["/]', text) else ""
    page = f"{pages}/book/{path.stem}.html"
    text = (
        f"**{title}**, from *In-context RL, executable*. As a [page]({page}) its cross-references are links. "
        f"It needs the package `icrl`{data}. In a JupyterLab started by `make lab` all is there. Opened "
        f"{where} a bare kernel, run this first:\n\n```\n%pip install {source}\n```"
    )
    return made("about", "about", text)


def furnish(path, notebook):
    """Fixed ids, the first cell and the captions made anew, code that the book hides collapsed."""
    cells = [c for c in notebook.cells if not MADE & set(c.metadata.get("tags", []))]
    notebook.cells = cells
    furnished = [about(path, notebook)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number:03d}"
        one_paragraph(cell.metadata.get("mystnb", {}))
        furnished.append(cell)
        if cell.cell_type == "code" and HIDDEN & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "caption" in figure:
            furnished.append(made("caption", f"caption-{number:03d}", f"> {figure['caption']}"))
    notebook.cells = furnished


def read_text_twin(path):
    """The notebook that the Markdown file describes, without outputs, with fixed cell ids."""
    notebook = jupytext.read(path)
    furnish(path, notebook)
    pairing = dict(notebook.metadata["jupytext"])
    pairing |= {"notebook_metadata_filter": NO_VERSION, "cell_metadata_filter": NOT_COLLAPSED}
    del pairing["text_representation"]  # as a save from JupyterLab does
    notebook.metadata["jupytext"] = dict(sorted(pairing.items()))
    notebook.metadata.pop("language_info", None)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["icrl"] = {"fingerprint": fingerprint(notebook)}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def one_paragraph(metadata):
    """Captions and alternative texts on one line each, which YAML then folds as it likes."""
    for key, value in metadata.items():
        if isinstance(value, dict):
            one_paragraph(value)
        elif isinstance(value, str):
            metadata[key] = " ".join(value.split())


def text_twin(notebook):
    """The Markdown file as JupyterLab would save it."""
    form = {"extension": ".md", "format_name": "myst"}
    text = jupytext.writes(copy.deepcopy(notebook), fmt=form)
    return text.rstrip("\n") + "\n"


def run(notebook):
    """Execute in a fresh kernel; keep outputs and counts, drop what differs between runs."""
    metadata = notebook.metadata.copy()
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(BOOK)}},
    ).execute()
    notebook.metadata = metadata


def take_outputs(notebook, old):
    """Copy outputs cell by cell from a notebook with the same code."""
    pairs = [[c for c in nb.cells if c.cell_type == "code"] for nb in (notebook, old)]
    for new_cell, old_cell in zip(*pairs, strict=True):
        new_cell.outputs, new_cell.execution_count = old_cell.outputs, old_cell.execution_count


def save_emblem(notebook):
    """The picture of the cell tagged `emblem`, as a file that the README can show."""
    for cell in notebook.cells:
        if "emblem" in cell.metadata.get("tags", []):
            picture = next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            (BOOK / "_static" / "emblem.png").write_bytes(base64.b64decode(picture))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if out of date")
    parser.add_argument("--all", action="store_true", help="run every notebook")
    parser.add_argument("names", nargs="*", help="chapters to look at (default: all)")
    options = parser.parse_args()
    stale = []
    for path in chapters():
        if options.names and path.stem not in options.names:
            continue
        target, notebook = path.with_suffix(".ipynb"), read_text_twin(path)
        old = nbformat.read(target, as_version=4) if target.exists() else None
        same_code = old and old.metadata.get("icrl") == notebook.metadata["icrl"]
        if same_code and not options.all:
            take_outputs(notebook, old)
        elif not options.check:
            print(f"running {path.name} ... ", end="", flush=True)
            start = time.perf_counter()
            run(notebook)
            print(f"{time.perf_counter() - start:.0f} s")
        texts = {path: text_twin(notebook), target: nbformat.writes(notebook) + "\n"}
        changed = [file for file, text in texts.items() if not file.exists() or file.read_text() != text]
        stale += [file.name for file in changed]
        if not options.check:
            for file in changed:
                file.write_text(texts[file], newline="\n")
            save_emblem(notebook)
    if options.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make notebooks`")
    print(f"{len(stale)} file(s) renewed" if stale else "all notebooks are up to date")


if __name__ == "__main__":
    main()
