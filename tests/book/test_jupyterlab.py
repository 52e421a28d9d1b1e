"""Opening a chapter in JupyterLab and saving it leaves the tree clean, whatever the files' dates."""

import os
import shutil
from pathlib import Path

import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class
from traitlets.config import PyFileConfigLoader

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
SETTINGS = PyFileConfigLoader("jupyter_server_config.py", path=str(BOOK)).load_config()  # as `make lab` does
# What JupyterLab puts into a notebook once its kernel has answered.
KERNEL = {"name": "python", "version": "3.99.1", "mimetype": "text/x-python", "file_extension": ".py"}


@pytest.fixture
def copies(tmp_path):
    """A folder with one chapter, and the two files' text: twin edited before the notebook or after it."""

    def copy(name, twin_is_older=False):
        files = [Path(shutil.copy(BOOK / f"{name}{suffix}", tmp_path)) for suffix in (".md", ".ipynb")]
        if twin_is_older:
            os.utime(files[0], (1e9, 1e9))
        return files

    return copy


def save_unchanged(notebook):
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(
        root_dir=str(notebook.parent), config=SETTINGS
    )
    model = manager.get(notebook.name, content=True, type="notebook")
    model["content"]["metadata"]["language_info"] = KERNEL
    manager.save(model, notebook.name)
    manager.notary.store.close()  # a database, which Python 3.13 and later want closed


@pytest.mark.filterwarnings("ignore:Overriding existing pre_save_hook")
@pytest.mark.parametrize("twin_is_older", [False, True])
@pytest.mark.parametrize("name", CHAPTERS)
def test_saving_changes_nothing(name, twin_is_older, copies):
    files = copies(name, twin_is_older)
    before = [file.read_text() for file in files]
    save_unchanged(files[1])
    assert [file.read_text() for file in files] == before


@pytest.mark.filterwarnings("ignore:Overriding existing pre_save_hook")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda twin: twin.replace("formats: ipynb,md:myst\n", "formats: ipynb,md:myst\n  # a remark\n"),
        lambda twin: twin.replace("    caption: ", "    caption: >-\n      ", 1),
    ],
)
def test_another_form_would_be_seen(wrong, copies):
    twin, notebook = copies("softmax-transformer")
    before = wrong(twin.read_text())
    assert before != twin.read_text()
    twin.write_text(before)
    save_unchanged(notebook)
    assert twin.read_text() != before
