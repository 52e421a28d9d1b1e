"""Chapters, sweeps and tests import only what pyproject.toml says they need."""

import ast
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMES = {"python-flint": "flint", "pyyaml": "yaml", "check-jsonschema": "check_jsonschema"}
NAMES |= {"axe-core-python": "axe_core_python", "sphinx-proof": "sphinx_proof"}
# Brought by something declared that cannot do without it: jupytext, jupyterlab, pytest, jupyter-book.
BROUGHT = {"nbformat", "IPython", "jupyter_server", "traitlets", "packaging", "click", "docutils", "sphinx"}
BROUGHT |= {"myst_nb"}
OURS = {"icrl", "tests", "deep"} | {
    path.stem for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("book/**/*.py")]
}


def declared(*extras):
    lines = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    return {NAMES.get(name, name) for name in (Requirement(line).name for line in lines)}


def imported(source):
    """Names of the packages that a program imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def program(path):
    """A Python file, or the code cells of a chapter."""
    if path.suffix == ".py":
        return path.read_text()
    return "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")


CHAPTERS = [path.with_suffix(".md") for path in ROOT.glob("book/*.ipynb")]
PLACES = [
    pytest.param([*CHAPTERS, *ROOT.glob("book/**/*.py")], ["book", "distributed"], id="book"),
    pytest.param([*ROOT.glob("tests/**/*.py")], ["book", "distributed", "test"], id="tests"),
]


@pytest.mark.parametrize(("files", "extras"), PLACES)
def test_what_is_imported_is_declared(files, extras):
    for path in files:
        foreign = set(imported(program(path))) - set(sys.stdlib_module_names) - OURS
        foreign = {name for name in foreign if find_spec(name)}  # others are made by the test itself
        assert foreign - declared(*extras) - BROUGHT == set(), path


def test_extensions_of_the_book_are_declared():
    """A lock made from an environment that has them would hide that nothing asks for them."""
    sphinx = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]
    foreign = {name for name in sphinx["extra_extensions"] if not name.startswith("sphinx.")}
    assert foreign
    assert foreign <= {name.replace("-", "_") for name in declared("book")}
