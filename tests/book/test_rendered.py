"""The built book in a real browser: mathematics, links, pictures, narrow screens; no network.

Needs `make book` first, and Chromium with its driver (`make browser`). Without them the tests are skipped
on a reader's machine and fail under CI.
"""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

BUILT = Path(__file__).parents[2] / "_build" / "html"
BOOK = BUILT.parents[1] / "book"
PAGES = sorted(path.stem for path in BOOK.glob("*.md"))
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-quic "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
)
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def browser():
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if not (BUILT / "book").is_dir():
        missing.append("the built book (make book)")
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"missing: {', '.join(missing)}; see `make browser`"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in QUIET.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    # No name resolves: the page must do without a network.
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    yield driver
    driver.quit()


def visit(browser, page, width=1280):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((BUILT / "book" / f"{page}.html").as_uri())
    script = "return !window.MathJax || !MathJax.startup ? 'none' : 'wait'"
    if browser.execute_script(script) == "wait":
        browser.set_script_timeout(30)
        browser.execute_async_script(
            "const done = arguments[0]; const ready = () => MathJax.startup.promise"
            " ? MathJax.startup.promise.then(() => done()) : setTimeout(ready, 50); ready()"
        )


@pytest.mark.parametrize("page", PAGES)
def test_mathematics_is_rendered(browser, page):
    visit(browser, page)
    source = browser.execute_script("return document.querySelectorAll('.math').length")
    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script("return document.querySelectorAll('mjx-container').length") >= source
    )
    errors = "return [...document.querySelectorAll('[data-mjx-error], mjx-merror')].map(e => e.textContent)"
    assert browser.execute_script(errors) == []
    text = browser.execute_script(
        "const copy = document.querySelector('article').cloneNode(true);"
        "copy.querySelectorAll('pre, code, mjx-container, script, .animation').forEach(e => e.remove());"
        "return copy.textContent"
    )
    for raw in ("$$", r"\(", r"\[", r"\frac", "{ref}", "{prf:ref}", "{eq}", "{cite}", "{glue"):
        assert raw not in text, raw


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_page(browser, page, width):
    visit(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("page", PAGES)
def test_pictures_load_and_links_lead_somewhere(browser, page):
    visit(browser, page)
    broken = (
        "return [...document.images].filter(i => i.src && !(i.complete && i.naturalWidth)).map(i => i.src)"
    )
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(broken) == [], message="broken pictures")
    links = browser.execute_script(
        "return [...document.querySelectorAll('article a[href], nav a[href]')].map(a => a.href)"
    )
    for link in set(links):
        url = urlparse(link)
        if url.scheme != "file":
            continue
        target = Path(unquote(url.path))
        assert target.exists(), link
        if url.fragment and target.suffix == ".html":
            assert f'id="{unquote(url.fragment)}"' in target.read_text(), link


@pytest.mark.parametrize("page", PAGES)
def test_boxes_fold_and_players_show_a_picture(browser, page):
    """One box without a title, or a player whose name is no identifier, stops the page's own scripts."""
    visit(browser, page)
    open_boxes = "return document.querySelectorAll('.admonition.dropdown:not(.toggle-hidden)').length"
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(open_boxes) == 0)
    blank = "return [...document.querySelectorAll('.animation img')].filter(i => !i.naturalWidth).length"
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(blank) == 0)


@pytest.mark.parametrize("page", PAGES)
def test_page_asks_for_nothing_from_a_network(browser, page):
    browser.get_log("performance")
    visit(browser, page)
    asked = [
        entry["message"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"] and '"url":"http' in entry["message"]
    ]
    assert asked == []


def test_a_broken_page_would_be_seen(browser, tmp_path):
    """Negative control: an undefined macro, rendered by the same MathJax, leaves an error in the page."""
    page = BUILT / "book" / "notation.html"
    broken = page.with_name("broken-on-purpose.html")
    broken.write_text(page.read_text().replace(r"\mathcal S", r"\undefinedmacro S", 1))
    try:
        visit(browser, broken.stem)
        found = "return document.querySelectorAll('[data-mjx-error], mjx-merror').length"
        WebDriverWait(browser, 20).until(lambda b: b.execute_script(found) > 0)
    finally:
        broken.unlink()
