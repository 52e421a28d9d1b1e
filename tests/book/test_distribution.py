"""What `python -m build` makes: an sdist that is the repository, a wheel that works alone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked():
    """Names of the repository's files, new ones included."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout: nothing says which files belong to the repository")
    listed = call("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tracked, tmp_path_factory):
    """The folder with sdist and wheel, the wheel made from the sdist, out of a copy of the repository."""
    copy = tmp_path_factory.mktemp("repository")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    call(sys.executable, "-m", "build", "--no-isolation", cwd=copy)
    return copy / "dist"


def test_sdist_is_the_repository(built, tracked):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert names - made == tracked


def test_wheel_is_the_package(built, tracked):
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {name for name in tracked if name.startswith("icrl/")}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_works_in_an_empty_folder(built, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(next(built.glob("*.whl"))).extractall(site)
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    program = "import icrl, runpy; print(icrl.__file__); runpy.run_module('icrl', run_name='__main__')"
    command = [sys.executable, "-c", program, "--only", "theorem-1-shift"]
    seen = call(*command, cwd=empty, env=environment)
    assert str(site) in seen
    assert "theorem-1-shift" in seen
    assert not list(empty.iterdir())
