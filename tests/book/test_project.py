"""What several files of the project say must agree."""

import re
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from lowest import lowest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.startswith("#")
)
PINS = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in LOCK.items()}
DIRECT = PROJECT["dependencies"] + [d for group in PROJECT["optional-dependencies"].values() for d in group]


@pytest.mark.parametrize("text", DIRECT)
def test_lock_pins_each_dependency_within_its_bounds(text):
    requirement = Requirement(text)
    assert requirement.name.lower() in PINS
    assert PINS[requirement.name.lower()] in requirement.specifier


def test_pins_install_on_the_oldest_python():
    """3.11 is said and 3.11.0 is meant: Debian 12 has 3.11.2."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    asked = {name: metadata(name).get("Requires-Python") or ">=3" for name in PINS}
    refused = {name for name, bound in asked.items() if not SpecifierSet(bound).contains(oldest)}
    assert not refused
    major, minor = map(int, PROJECT["requires-python"].removeprefix(">=").split("."))
    assert f"v >= ({major}, {minor})" in (ROOT / "Makefile").read_text()


def test_lowest_bounds_are_constraints():
    """What `make test-lowest` installs: every direct dependency, at the version that its bound names."""
    lines = list(lowest(PROJECT))
    assert {Requirement(line).name for line in lines} == {Requirement(text).name for text in DIRECT}
    bounds = {Requirement(line).name: str(Requirement(line).specifier)[2:] for line in lines}
    assert all(bounds[Requirement(text).name] in Requirement(text).specifier for text in DIRECT)


def test_conda_environment_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert pip == ["-r requirements.lock", "-e ."]
    assert environment["name"] == PROJECT["name"]
    assert python.removeprefix("python=") in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_imports_are_declared():
    """Every third-party import of the package is a dependency, and every dependency is imported."""
    names = {"python-flint": "flint"}
    declared = {names.get(Requirement(d).name, Requirement(d).name) for d in PROJECT["dependencies"]}
    source = "\n".join(path.read_text() for path in (ROOT / "icrl").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) - {"icrl"} == declared


def test_version_is_said_once():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    import icrl

    assert citation["version"] == icrl.__version__
    assert citation["license"] == PROJECT["license"]


def test_rooms_stay_small_and_arrows_go_down():
    """No module of the package is long, and none imports the claims or the book."""
    for path in (ROOT / "icrl").rglob("*.py"):
        text = path.read_text()
        # A module of claims is a table with its checks; the rooms themselves are smaller.
        assert text.count("\n") <= (400 if path.parent.name == "claims" else 280), path.name
        if path.parent.name != "claims" and path.name != "__main__.py":
            assert "icrl.claims" not in re.sub(r'""".*?"""', "", text, flags=re.DOTALL), path.name


@pytest.mark.parametrize(
    ("loop", "transformer"),
    [("softmax_td", "softmax_transformer"), ("policy_improvement", "linear_transformer")],
)
def test_reference_and_transformer_share_no_code(loop, transformer):
    """The two sides of an equality do not know each other."""
    texts = [(ROOT / "icrl" / f"{name}.py").read_text() for name in (loop, transformer)]
    imports = ["\n".join(re.findall(r"^\s*(?:from|import) .*", text, re.MULTILINE)) for text in texts]
    assert "torch" not in imports[0]
    assert "attention" not in imports[0]
    assert loop not in imports[1]


def test_table_of_contents_names_every_page():
    toc = (ROOT / "_toc.yml").read_text()
    named = set(re.findall(r"book/([\w-]+?)(?:\.ipynb)?$", toc, re.MULTILINE))
    assert named == {path.stem for path in (ROOT / "book").glob("*.md")}


def test_readme_picture_is_the_intros_output():
    import base64

    import nbformat

    notebook = nbformat.read(ROOT / "book" / "intro.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "emblem" in cell.metadata.get("tags", []))
    picture = next(
        output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
    )
    assert (ROOT / "book" / "_static" / "emblem.png").read_bytes() == base64.b64decode(picture)
