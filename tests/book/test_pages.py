"""Where the book is kept is named in one place, and without it no page promises what it cannot keep."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
import pages

ADDRESS = "https://github.com/Some-One/icrl"


def configured(address):
    config = SimpleNamespace(
        icrl_repository=address,
        html_context={},
        html_theme_options={"use_download_button": True},
        html_baseurl="",
    )
    pages.configure(SimpleNamespace(config=config), config)
    return config


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch):
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)


def test_without_an_address_there_are_no_buttons():
    config = configured("")
    assert config.html_theme_options == {"use_download_button": True}
    assert config.html_baseurl == ""


def named():
    return configured(ADDRESS)


def known_to_github(monkeypatch):
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "Some-One/icrl")
    return configured("")


@pytest.mark.parametrize("by_github", [False, True])
def test_an_address_gives_buttons_and_the_address_of_the_pages(by_github, monkeypatch):
    config = known_to_github(monkeypatch) if by_github else named()
    options = config.html_theme_options
    assert (options["repository_url"], options["path_to_docs"]) == (ADDRESS, "")
    assert {"colab_url", "binderhub_url"} < set(options["launch_buttons"])
    assert options["use_download_button"]
    assert config.html_baseurl == "https://some-one.github.io/icrl/"
