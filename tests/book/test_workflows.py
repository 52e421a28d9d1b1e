"""The workflows and templates are what GitHub understands, and they call commands that exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
MAKEFILE = (ROOT / "Makefile").read_text()


def jobs():
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield pytest.param(job, id=f"{path.stem}-{name}")


def validation(schema, *paths):
    return CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, *map(str, paths)])


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_github_understands(schema, paths):
    assert paths
    done = validation(schema, *paths)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("right", "wrong"), [("runs-on:", "run-on:"), ("- run: ", "- runs: ")])
def test_a_slip_would_be_seen(right, wrong, tmp_path):
    path = tmp_path / "tests.yml"
    path.write_text(WORKFLOWS[1].read_text().replace(right, wrong))
    assert path.read_text() != WORKFLOWS[1].read_text()
    assert validation("vendor.github-workflows", path).exit_code == 1


@pytest.mark.parametrize("job", list(jobs()))
def test_jobs_end_and_call_what_exists(job):
    assert job["timeout-minutes"] <= 60
    for command in (step["run"] for step in job["steps"] if "run" in step):
        for target in re.findall(r"make ([\w-]+)", command):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), command
        for script in re.findall(r"bash (\S+)", command):
            assert (ROOT / script).is_file()


def test_every_promised_python_is_tried():
    matrix = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["strategy"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={matrix['matrix']['python'][0]}" == oldest


def test_the_gate_calls_the_two_commands_of_the_readme():
    calls = re.findall(r"^make (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert calls == ["book", "test"]


def test_hooks_before_a_commit_call_what_exists():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "notebooks"}
    for hook in hooks:
        tool, *arguments = hook["entry"].split()
        assert tool.startswith(".venv/bin/")
        assert all((ROOT / argument).is_file() for argument in arguments if argument.endswith(".py"))
