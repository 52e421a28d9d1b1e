"""What the README tells a reader to type."""

import contextlib
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(start):
    """The fenced block that begins with these words."""
    return next(text for text in re.findall(r"```\w*\n(.*?)```", README, re.DOTALL) if text.startswith(start))


def test_example_prints_estimate_and_truth():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("import numpy"), "README.md", "exec"), {})
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", printed.getvalue())]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.1)


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_steps_without_make_are_those_of_make():
    """Line by line what `make test` runs, up to the last line, which only reports."""
    recipe = ["make", "-n", "--no-print-directory", "pages", "checks", "BIN=.venv/bin"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    run = subprocess.run(recipe, cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    commands = [" ".join(line.split()) for line in run.stdout.replace("\\\n", " ").splitlines()]
    assert commands[-1].startswith("command -v chromium")
    assert commands[:-1] == block(".venv/bin/jupyter-book").splitlines()


def test_set_up_without_make_is_that_of_make():
    makefile = (ROOT / "Makefile").read_text()
    first, *installs = block("python3 -m venv").splitlines()
    assert first.removeprefix("python3 ") in makefile
    for line in installs:
        assert line.replace(".venv/bin/", "$(BIN)/").replace("install ", "install -q ") in makefile


def test_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)", README + (ROOT / "CONTRIBUTING.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
