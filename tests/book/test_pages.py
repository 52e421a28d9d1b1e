"""Where the book is kept is named in one place, and without it no page promises what it cannot keep."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

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


def test_punctuation_stays_at_its_own_formula():
    """Text that touches a short formula is tied to it; to a long one, which may scroll, it belongs."""
    long, short = nodes.math("", "x" * (pages.UNBREAKABLE + 1)), nodes.math("", "y")
    line = nodes.paragraph("", "so (", long, nodes.Text("), "), short, nodes.Text(", "))
    line += [long.deepcopy(), nodes.Text("-th, "), nodes.math("", "z")]
    before = line.astext()
    pages.keep_together(None, line, "page")
    assert line.astext() == before
    assert [tied.astext() for tied in line.findall(nodes.inline)] == ["y,"]
    xs = long.astext()
    assert [formula.astext() for formula in line.findall(nodes.math)] == [f"({xs}),", "y", xs, "z"]


def test_long_code_goes_over_the_page_and_announcements_stay_with_what_they_announce():
    def cell(lines):
        code = nodes.literal_block("", "\n".join("x" * lines))
        return nodes.container("", code, classes=["cell_input"])

    page = nodes.section("", cell(pages.MANY_LINES + 1), cell(pages.MANY_LINES))
    page += [nodes.paragraph("", "So we try: "), nodes.paragraph("", "Done.")]
    pages.mark_for_paper(None, page, "page")
    assert ["long" in part["classes"] for part in page] == [True, False, False, False]
    assert ["announces" in part["classes"] for part in page] == [False, False, True, False]


def test_phrases_in_a_printed_table_begin_at_the_left():
    table = '<table border="1" class="dataframe"><thead><tr><th></th><th>n = 4</th><th>seen</th></tr></thead>'
    table += "<tbody><tr><th>a</th><td>3 ± 1 [2, 4], -.5 to .2, 1 of 4, b &lt; 0, 1e-9</td>"
    table += "<td>two worlds at once</td></tr></tbody></table>"
    marked = pages.PRINTED_TABLE.sub(pages.set_printed, table)
    words = [cell.partition("<")[0] for cell in marked.split('class="words">')[1:]]
    assert words == ["seen", "two worlds at once"]
    assert "n&nbsp;=&nbsp;4" in marked
    assert "3&nbsp;±&nbsp;1 [2,&nbsp;4], -.5&nbsp;to&nbsp;.2, " in marked
    assert "1&nbsp;of&nbsp;4, b&nbsp;&lt;&nbsp;0, 1e-&#8288;9" in marked


def test_names_of_rows_stand_over_them_in_the_line_of_the_other_names():
    def table(*heads):
        rows = "".join(f"<tr>{''.join(f'<th>{x}</th>' for x in head)}</tr>" for head in heads)
        return f"<thead>{rows}</thead><tbody><tr><th>a</th><th>b</th><td>1</td></tr></tbody>"

    def lines(text):
        return [
            re.findall(r"<th\b[^>]*>(.*?)</th>", row) for row in text.partition("</thead>")[0].split("</tr>")
        ]

    assert lines(pages.one_line_of_names(table(["", "", "x"], ["p", "q", ""])))[0] == ["p", "q", "x"]
    # A line that names the columns too stays where it is.
    for kept in ([["", "c", "x"], ["p", "q", ""]], [["", "", "x"], ["p", "q", "y"]], [["", "", "x"]]):
        assert lines(pages.one_line_of_names(table(*kept)))[: len(kept)] == kept
