"""What several files of the project say must agree."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import distributions, metadata
from pathlib import Path
from runpy import run_path

import pytest
import yaml
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
    found = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in distributions()}
    others = {name for name, version in PINS.items() if found.get(name, "").partition("+")[0] != version}
    if others:
        pytest.skip(f"what is installed are not the pins: {', '.join(sorted(others)[:3])}")
    asked = {name: metadata(name).get("Requires-Python") or ">=3" for name in PINS}
    refused = {name for name, bound in asked.items() if not SpecifierSet(bound).contains(oldest)}
    assert not refused
    major, minor = map(int, PROJECT["requires-python"].removeprefix(">=").split("."))
    assert f"v >= ({major}, {minor})" in (ROOT / "Makefile").read_text()


def test_lowest_bounds_are_constraints():
    """What `make test-lowest` installs: every direct dependency, at the version that its bound names."""
    lines = list(run_path(str(ROOT / "tests" / "lowest.py"))["lowest"](PROJECT))
    assert {Requirement(line).name for line in lines} == {Requirement(text).name for text in DIRECT}
    bounds = {Requirement(line).name: str(Requirement(line).specifier)[2:] for line in lines}
    assert all(bounds[Requirement(text).name] in Requirement(text).specifier for text in DIRECT)


def test_conda_environment_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert pip == ["--extra-index-url https://download.pytorch.org/whl/cpu", "-r requirements.lock", "-e ."]
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


CORE = {
    *("_validation", "_arguments", "reduction", "mrp", "mdp", "gymnasium_tasks", "policies", "rollouts"),
    *("softmax_td", "policy_improvement", "contraction"),
    *("attention", "streamed_attention", "long_contexts", "softmax_transformer", "linear_transformer"),
    *("plots", "tables"),
}
"""The rooms that every study may use. A new one serves more than one chapter, or it belongs in a study."""

STUDIES = ["constructions", "divergence", "neu", "pretraining", "gradient_flow", "control", "depth"]
STUDIES += ["standard_transformer"]

ARROWS = {("control", "gradient_flow"), ("depth", "pretraining")}
ARROWS |= {("standard_transformer", "pretraining"), ("standard_transformer", "depth")}
"""Which study may import which."""


def rooms():
    """Every module of the package, its place (core room, study, claims), and the rooms it imports."""
    for path in sorted((ROOT / "icrl").rglob("*.py")):
        parts = path.relative_to(ROOT / "icrl").with_suffix("").parts
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "icrl":
                inside = node.module.split(".")[1:]
                names |= {inside[0]} if inside else {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("icrl.")}
        yield path, parts[0], names


def test_arrows_go_down():
    """Claims import studies, studies the core and the written list of other studies, the core only itself."""
    for path, place, names in rooms():
        if place in ("claims", "__main__"):
            continue
        assert place in CORE | set(STUDIES) | {"__init__"}, f"{path} is neither in CORE nor in STUDIES"
        for name in names - {place}:
            assert name in CORE or (place, name) in ARROWS, f"{path} imports icrl.{name}"


def test_written_arrows_have_no_circle():
    """Later studies import earlier ones."""
    order = {study: number for number, study in enumerate(STUDIES)}
    assert all(order[later] > order[earlier] for later, earlier in ARROWS)


def test_rooms_inside_a_place_form_no_circle():
    """Within the core and within each study, too, modules can be put in an order."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "icrl").rglob("*.py")
    }
    known = {}
    for name, path in paths.items():
        uses = known.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in paths:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
                uses |= {module if module in paths else node.module for module in modules}
    TopologicalSorter(known).prepare()  # raises CycleError


def test_rooms_hold_one_idea_each():
    """An idea is whole in one file, and a file that grows beyond this holds two. The core stays small."""
    sizes = {path: path.read_text().count("\n") for path in (ROOT / "icrl").rglob("*.py")}
    assert {path.name: size for path, size in sizes.items() if size > 420} == {}
    assert sum(size for path, size in sizes.items() if path.parent.name == "icrl") <= 3500


def test_tests_mirror_the_package():
    """Each room has a test file of its name in the same place, or the tests of claims break it by name."""
    held = "\n".join(path.read_text() for path in (ROOT / "tests" / "claims").glob("*.py"))
    for path, place, _ in rooms():
        name = path.relative_to(ROOT / "icrl").with_name(f"test_{path.name}")
        by_name = rf"^from icrl\.{place}(\.{path.stem} import|\b.* import .*\b{path.stem}\b)"
        if place not in ("claims", "__main__") and path.name != "__init__.py":
            mirrored = (ROOT / "tests" / name).exists()
            assert mirrored or re.search(by_name, held, re.MULTILINE), f"{path} has no tests/{name}"


def test_chapters_take_nothing_but_claims_from_the_claims():
    """What a chapter shows is public, in the room where it belongs."""
    for page in (ROOT / "book").glob("*.md"):
        for module, names in re.findall(r"^from icrl\.(claims[\w.]*) import (.*)$", page.read_text(), re.M):
            assert names == "CLAIMS" or page.stem == "claims", f"{page.name} imports {names} from {module}"


def test_the_face():
    """About 20 names that are all there, and nothing heavy behind them but torch and numpy."""
    import icrl

    assert all(hasattr(icrl, name) for name in icrl.__all__)
    assert all(name in icrl.__doc__ for name in icrl.__all__)
    code = "import sys, icrl; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"matplotlib", "scipy", "gymnasium", "flint", "pandas", "seaborn"} & set(loaded.split())


PATHS = """
icrl.mrp: MarkovRewardProcess random_mrp boyan_chain divergent_mrp
icrl.softmax_td: weighted_softmax_td matching_matrix empirical_model
icrl.softmax_transformer: softmax_td_prompt softmax_td_weights SoftmaxTransformer
icrl.contraction: certificate
icrl.mdp: MarkovDecisionProcess random_mdp from_gymnasium
icrl.policy_improvement: sarsa_update actor_critic_update
icrl.linear_transformer: sarsa_prompt sarsa_weights LinearTransformer
icrl.claims: CLAIMS
"""


@pytest.mark.parametrize("line", PATHS.strip().splitlines())
def test_paths_that_others_rely_on(line):
    """Moving a room must not move these."""
    module, names = line.split(": ")
    assert all(hasattr(importlib.import_module(module), name) for name in names.split())


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
    import json

    notebook = json.loads((ROOT / "book" / "intro.ipynb").read_text())
    cell = next(cell for cell in notebook["cells"] if "emblem" in cell["metadata"].get("tags", []))
    picture = next(
        output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output.get("data", {})
    )
    assert (ROOT / "book" / "_static" / "emblem.png").read_bytes() == base64.b64decode(picture)


def test_every_room_is_on_the_api_page():
    """A cross-reference to a room that is not there would stop the book, but only if one is written."""
    page = (ROOT / "book" / "api.md").read_text()
    for path in (ROOT / "icrl").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not path.stem.startswith("_") and not name.startswith("icrl.claims."):
            assert re.search(rf"automodule:: {re.escape(name)}$", page, re.MULTILINE), name


def test_every_core_room_is_where_a_newcomer_looks():
    """In the table that says where things are."""
    table = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = [f"icrl/{path.name}" for path in (ROOT / "icrl").glob("*.py") if path.stem in CORE]
    assert [room for room in rooms if room not in table] == []
