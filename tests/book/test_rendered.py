"""The built book in a real browser: mathematics, links, pictures, weight, narrow screens, accessibility.

Needs `make book` first, and Chromium with its driver (`make browser`). Without them the tests are skipped
on a reader's machine and fail under CI. No network. One browser for all, and each page is loaded once: a
visit costs seconds.
"""

import gzip
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

BUILT = Path(__file__).parents[2] / "_build" / "html"
BOOK = BUILT.parents[1] / "book"
PAGES = sorted(path.stem for path in BOOK.glob("*.md"))
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-quic "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--host-resolver-rules=MAP*~NOTFOUND,EXCLUDE127.0.0.1"
)
HEAVIEST = 1_500_000
"""Bytes that a page may bring, sent as a web server sends them: text compressed."""

TALLEST, LONGEST_PATH = 14_000, 8_000
"""Pixels at a width of 1400, folds closed: a whole chapter, and what of it reads without the rest."""

AXE = (files("axe_core_python") / "axe.min.js").read_text()
RUN_AXE = """
const [rules, done] = arguments;
const named = {"label-content-name-mismatch": {enabled: true}};
const rest = rules ? {runOnly: {type: "rule", values: rules}} : {rules: named};
axe.run(document, {resultTypes: ["violations"], ...rest}).then(seen => done(seen.violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 140)).join(" | "))));
"""
THIN_OUT = """
const own = e => e ? e.tagName + "." + e.className + (e.getAttribute("style") ?? "") : "";
const FORMULA = "mjx-container", WHOLE = "a, button, summary", UNITS = "tr, li, dl";
const inside = e => [...e.querySelectorAll("*")].filter(x => !x.parentElement.closest(FORMULA)).map(own);
const look = e => {
  if (e.matches(FORMULA)) return e.tagName + [...e.querySelectorAll("[style*=color]")].map(own);
  if (!e.matches(`${WHOLE}, ${UNITS}`)) return own(e);
  const said = e.textContent.trim() ? "text" : "";
  return [own(e), said, e.ariaLabel ? "label" : "", ...[...new Set(inside(e))].sort()].join();
};
const seen = new Map();
const walk = e => {
  const whole = e.matches(`${WHOLE}, ${FORMULA}`), unit = e.matches(UNITS);
  if (!whole) [...e.children].forEach(walk);
  const kept = e.closest("tr, figure, form") || e.matches("dt, dd") || (e.children.length && !whole);
  if (kept && !unit) return;
  const kind = [look(e), own(e.parentElement), own(e.parentElement.parentElement)].join(" < ");
  seen.set(kind, (seen.get(kind) ?? 0) + 1);
  if (seen.get(kind) > (e.matches(FORMULA) ? 1 : 3)) e.remove();
};
walk(document.body);
return document.querySelectorAll("*").length;
"""
"""Leaves three of each kind of element, and three of each kind of row, entry and list, which are kinds by
what they hold: axe would look at 10 000 coloured words of code one by one. What looks alike and stands in
what looks alike is coloured and named alike."""

SET_FORMULAS = """
const done = arguments[0];
window.MathJax ? MathJax.startup.document.lazyTypesetAll().then(() => done()) : done();
"""


@cache
def sent(path):
    """What a web server would send, and whether it is compressed."""
    text = path.suffix in {".html", ".js", ".css", ".svg", ".json"}
    return gzip.compress(path.read_bytes(), 6) if text else path.read_bytes(), text


class Compressing(SimpleHTTPRequestHandler):
    """Serves the built book as a web server would, quietly."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=str(BUILT))

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        body, text = sent(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(body)))
        if text:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        return self.wfile.write(body)


@contextmanager
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Compressing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/book"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@contextmanager
def opened():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in QUIET.split():
        options.add_argument(flag.replace("MAP*~NOTFOUND,EXCLUDE", "MAP * ~NOTFOUND , EXCLUDE "))
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def browser():
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if not (BUILT / "book").is_dir():
        missing.append("the built book (make book)")
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"missing: {', '.join(missing)}; see `make browser`"
        )
    with opened() as driver:
        yield driver


@pytest.fixture
def visit(browser, address):
    """Opens a page; formulas are set only near the screen, as for a reader, unless all are asked for."""

    def visit(page, width=1280, formulas=False, height=900):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get("about:blank")  # what differs in its hash alone would not be loaded again
        browser.get(f"{address}/{page}")
        browser.execute_async_script(
            "const done = arguments[0], ready = () => !window.MathJax ? done() : MathJax.startup?.promise"
            " ? MathJax.startup.promise.then(() => done()) : setTimeout(ready, 20); ready()"
        )
        if formulas:
            browser.execute_async_script(SET_FORMULAS)
        return browser

    return visit


def traffic(browser):
    """What the page asked for, and how many bytes came."""
    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
    came = sum(e["params"]["encodedDataLength"] for e in entries if e["method"] == "Network.loadingFinished")
    return asked, came


@cache
def names_in(path):
    return set(re.findall(r'\bid="([^"]+)"', path.read_text()))


def dead_links(browser, address):
    links = browser.execute_script(
        "return [...document.querySelectorAll('article a[href], nav a[href]')].map(a => a.href)"
    )
    for link in set(links):
        url = urlparse(link)
        if not link.startswith(address.removesuffix("book")):
            continue
        target = BUILT / unquote(url.path).lstrip("/")
        if not target.is_file() or (
            url.fragment and target.suffix == ".html" and unquote(url.fragment) not in names_in(target)
        ):
            yield link


SCROLLBARS = """
return [...document.querySelectorAll("span.math, mjx-container:not([display=true])")].filter(e =>
    e.offsetHeight > e.clientHeight + 2 && e.clientHeight && getComputedStyle(e).display != "inline").length
"""
GOES_ON = """
const done = arguments[0], box = ".bd-article :is(figure:not(.explorable), .animation)";
const cue = f => getComputedStyle(f, "::after").content;
const silent = f => f.checkVisibility() && f.scrollWidth > f.clientWidth + 2 && cue(f) !== '"→"';
const count = () => done([...document.querySelectorAll(box)].filter(silent).length);
requestAnimationFrame(() => setTimeout(count, 50));
"""
"""How many figures are wider than the screen and do not show it."""
RAW_TEXT = """
const left = "pre, code, mjx-container, script, .animation", words = [];
const read = e => e.childNodes.forEach(x => x.nodeType == 3 ? words.push(x.data)
    : x.nodeType == 1 && !x.matches(left) && read(x));
read(document.querySelector("article"));
return words.join("");
"""


HEIGHTS = """
const heads = [...document.querySelectorAll("article h2")];
const further = heads.find(head => /^(Further|Exercises|Beyond)/.test(head.innerText));
return [document.documentElement.scrollHeight, further ? further.getBoundingClientRect().top + scrollY : 0];
"""


@pytest.mark.parametrize("page", PAGES)
def test_page(visit, address, page):
    """Everything that one visit can see. Whatever is wrong is listed, not the first of it."""
    wrong = []

    def must(be, what):
        if not be:
            wrong.append(what)

    browser = visit(f"{page}.html")
    if browser.get_log("performance") and page == PAGES[0]:
        browser = visit(f"{page}.html")  # the browser itself is heard in the log when it starts
    asked, came = traffic(browser)
    foreign = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "about:", "blob:"))]
    must(not foreign, f"asks a network for {foreign}")
    must(came <= HEAVIEST, f"brings {came} bytes")

    run = browser.execute_script
    WebDriverWait(browser, 10).until(
        lambda b: (
            not b.execute_script(
                "return document.querySelectorAll('.admonition.dropdown:not(.toggle-hidden)').length"
            )
        ),
        message="boxes do not fold",
    )
    browser.execute_async_script(SET_FORMULAS)
    for element in "[data-mjx-error]", "mjx-merror":
        found = run(f"return [...document.querySelectorAll('{element}')].map(e => e.textContent)")
        must(not found, f"formulas {found}")
    formulas = run(
        "return [document.querySelectorAll('.math').length, document.querySelectorAll('mjx-math').length]"
    )
    must(formulas[1] >= formulas[0], f"{formulas[1]} of {formulas[0]} formulas are set")
    text = run(RAW_TEXT)
    for raw in ("$$", r"\(", r"\[", r"\frac", "{ref}", "{prf:ref}", "{eq}", "{cite}", "{glue", "{term}"):
        must(raw not in text, f"{raw} stands in the text")
    must(",," not in text, "a comma went to another formula")

    run("for (const image of document.images) image.loading = 'eager'")
    broken = (
        "return [...document.images].filter(i => i.src && !(i.complete && i.naturalWidth)).map(i => i.src)"
    )
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(broken) == [], message="broken pictures")
    must(not (dead := list(dead_links(browser, address))), f"dead links {dead}")
    empty = run(
        "return [...document.querySelectorAll('.animation')].filter(p => !p.querySelector('img').naturalWidth"
        " || p.querySelector('input').value != p.querySelector('input').max).length"
    )
    must(not empty, f"{empty} players do not open at their last picture")

    if run("return Boolean(document.querySelector('.card-box'))"):
        metrics = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        whole, path = run(HEIGHTS)
        must(whole <= TALLEST, f"{whole} pixels tall")
        must(0 < path <= LONGEST_PATH, f"short path of {path:.0f} pixels")
    for width in (1280, 400):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        must(run("return document.documentElement.scrollWidth") <= width, f"wider than {width} pixels")
        must(not (bars := run(SCROLLBARS)), f"{bars} scrollbars under formulas at {width} pixels")
        silent = browser.execute_async_script(GOES_ON)
        must(not silent, f"{silent} figures do not show that they go on at {width} pixels")
    run(AXE)
    run(THIN_OUT)
    for theme, rules in (("light", None), ("dark", ["color-contrast"])):
        run("document.documentElement.dataset.theme = arguments[0]", theme)
        wrong += [f"{theme}: {found}" for found in browser.execute_async_script(RUN_AXE, rules)]
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    must(not errors, f"the console says {errors}")
    assert not wrong, "\n".join(wrong)


WHERE = """
const top = document.getElementById(arguments[0]).getBoundingClientRect().top;
const page = document.documentElement;
return [top, page.scrollHeight - page.clientHeight - page.scrollTop];
"""


def lands(browser, name):
    """The target has come to rest under the page's header, or as high as the end of the page lets it."""
    seen = []

    def rests(_):
        seen.append(browser.execute_script(WHERE, name))
        top, below = seen[-1]
        still = len(seen) > 1 and abs(seen[-2][0] - top) < 1
        return still and top >= -5 and (top <= 120 or below < 2)

    try:
        WebDriverWait(browser, 12, poll_frequency=0.5).until(rests)
    except TimeoutException:
        pytest.fail(f"{name} at {seen[-4:]}")


OPEN_FOLDS = """
document.querySelectorAll(".dropdown.toggle-hidden .toggle-button").forEach(button => button.click());
document.querySelectorAll("details").forEach(box => box.open = true);
"""


def test_links_land_although_formulas_are_set_late(visit):
    """By address, and by the mouse in the table of contents: from the top to the far end and half-way back.

    There with the folds closed, back with all of them open: then the formulas in them are set on the way too.
    """
    browser = visit("global-minimizer.html#exercises")
    lands(browser, "exercises")
    browser = visit("global-minimizer.html", width=1400)
    shown = [a for a in browser.find_elements(By.CSS_SELECTOR, ".page-toc a[href]") if a.is_displayed()]
    for link, opening in ((shown[-2], ""), (shown[len(shown) // 2], OPEN_FOLDS)):
        browser.execute_script(opening)
        link.click()  # the driver moves the mouse there and presses its button
        lands(browser, link.get_attribute("hash").removeprefix("#"))


def test_opened_boxes_have_their_formulas(visit):
    browser = visit("global-minimizer.html")
    box = browser.execute_script(
        "return [...document.querySelectorAll('.admonition.dropdown')].find(b => b.querySelector('.math'))"
    )
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", box)
    box.find_element(By.CSS_SELECTOR, ".toggle-button").click()
    unset = "const b = arguments[0]; return [...b.querySelectorAll('.math')].slice(0, 2)"
    unset += ".filter(m => !m.querySelector('mjx-math')).length"
    WebDriverWait(browser, 8).until(lambda b: b.execute_script(unset, box) == 0)


def test_keyboard_reaches_text_and_folds(visit):
    """The first stop skips the menus; a fold opens with the keyboard."""
    browser = visit("weighted-softmax-td.html")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    first = browser.switch_to.active_element  # slides in, hence no visible text at once
    WebDriverWait(browser, 5).until(lambda b: "Skip to main" in first.text)
    button = browser.find_element(By.CSS_SELECTOR, ".admonition.dropdown .toggle-button")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    assert "show or hide" in button.get_attribute("aria-label")


CLAIMS = """
return [...document.querySelectorAll("table.filtered tbody tr")].map(row => {
  const words = [...row.cells].map(cell => cell.textContent.trim());
  const shown = row.offsetHeight > 0;
  return {shown, chapter: words[0], name: words[1], kind: words[2], text: row.textContent};
});
"""


def test_claims_can_be_filtered(visit, address):
    """Menus and the field for words leave exactly the rows that match, by keyboard alone."""
    browser = visit("claims.html")
    rows = browser.execute_script(CLAIMS)
    assert len(rows) > 100
    assert all(row["shown"] for row in rows)

    def left(matches):
        seen = browser.execute_script(CLAIMS)
        wanted = [row["name"] for row in rows if matches(row)]
        assert 0 < len(wanted) < len(rows)
        assert [row["name"] for row in seen if row["shown"]] == wanted
        assert browser.find_element(By.CSS_SELECTOR, "form.filters output").text == (
            f"{len(wanted)} of {len(rows)}"
        )

    chapter, kind = browser.find_elements(By.CSS_SELECTOR, "form.filters select")[:2]
    chapter.send_keys("Depth")
    left(lambda row: row["chapter"] == "Depth")
    chapter.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == kind
    kind.send_keys("control")
    left(lambda row: row["chapter"] == "Depth" and row["kind"] == "control")
    chapter.send_keys("all")
    left(lambda row: row["kind"] == "control")
    kind.send_keys("all")
    words = browser.find_element(By.CSS_SELECTOR, "form.filters input")
    words.send_keys("CoVeRaGe")
    left(lambda row: "coverage" in row["text"].lower())
    words.send_keys(Keys.ENTER)  # must not send the form and load the page anew
    left(lambda row: "coverage" in row["text"].lower())

    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{address}/claims.html")
        # Without scripts, Selenium's own finding of elements finds nothing.
        root = browser.execute_cdp_cmd("DOM.getDocument", {})["root"]["nodeId"]

        def found(selector):
            wish = {"nodeId": root, "selector": selector}
            return len(browser.execute_cdp_cmd("DOM.querySelectorAll", wish)["nodeIds"])

        assert found("form.filters") == 0
        assert found("table.filtered tbody tr:not([hidden])") == len(rows)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_reduced_motion_is_respected(visit):
    browser = visit("notation.html")
    moves = "return [...document.querySelectorAll('*')].filter(e => /[1-9]/.test(getComputedStyle(e)"
    moves += ".transitionDuration)).length"
    assert browser.execute_script(moves) > 0
    wish = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    try:
        assert browser.execute_script(moves) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_broken_pages_would_be_seen(visit, address):
    """Negative controls, all in one copy of a page: an undefined macro, dead links, a grey too light.

    The grey stands in one of many rows, and one of many buttons has no name: thinning out must leave both.
    """
    page = BUILT / "book" / "notation.html"
    broken = page.with_name("broken-on-purpose.html")
    text = page.read_text().replace(r"\mathcal S", r"\undefinedmacro S", 1)
    rows, buttons = 9 * ["<tr><td>text</td></tr>"], 9 * ["<li><button>text</button></li>"]
    rows[6] = '<tr><td><i style="color: #ddd">pale</i></td></tr>'
    buttons[6] = "<li><button></button></li>"
    bad = f"<table>{''.join(rows)}</table><ul>{''.join(buttons)}</ul>"
    bad += '<a href="#nowhere">dead</a><a href="no.html">lost</a>'
    broken.write_text(text.replace("</article>", bad + "</article>", 1))
    try:
        browser = visit(broken.name, formulas=True)
        assert browser.execute_script(
            "return document.querySelectorAll('[data-mjx-error], mjx-merror').length"
        )
        assert len(list(dead_links(browser, address))) == 2
        browser.execute_script(AXE)
        browser.execute_script(THIN_OUT)
        assert browser.execute_script("return document.querySelectorAll('article button').length") < 8
        found = "\n".join(browser.execute_async_script(RUN_AXE, None))
        assert "color-contrast" in found
        assert "button-name" in found
    finally:
        broken.unlink()
