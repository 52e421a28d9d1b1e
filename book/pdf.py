"""One PDF of the whole book: `make pdf`. Needs the built book (`make book`) and Chromium (`make browser`).

The articles of all pages, in the order of the table of contents, go into one page, whose links lead to each
other; Chromium prints it, with an outline and a numbered table of contents. Folded proofs and solutions are
open in print, hidden code stays hidden.
"""

import base64
import html
import re
import shutil
import sys
from pathlib import Path

import yaml
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "_build" / "html" / "book"
TARGET = ROOT / "_build" / "icrl.pdf"

FRAME = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>{title}</title>
{head}
<style>
@page {{ size: A4; margin: 18mm 17mm 20mm; @bottom-center {{ content: counter(page); font: 9pt serif }} }}
@page :first {{ @bottom-center {{ content: "" }} }}
html, body {{ font-size: 9.5pt; line-height: 1.5; height: auto; background: #fff; }}
article.bd-article {{ break-before: page; padding: 0; }}
article.bd-article h1 {{ font-size: 2.2em; }}
article.bd-article h2 {{ font-size: 1.6em; margin-top: 1.6rem; }}
article.bd-article h3 {{ font-size: 1.25em; margin-top: 1.2rem; }}
nav.printed {{ break-before: page; }}
nav.printed a {{ color: inherit; text-decoration: none; display: flex; gap: 0.4em; }}
nav.printed a i {{ flex: 1; border-bottom: 1px dotted #888; margin-bottom: 0.3em; }}
nav.printed ul {{ list-style: none; padding-left: 1.2em; }}
nav.printed p {{ font-weight: 600; margin: 1em 0 0.3em; }}
/* What is looked up rather than read is set closer. */
#api {{ font-size: 0.86em; line-height: 1.35; }}
#api h2 {{ margin: 1.2em 0 0.4em; }} #api h3 {{ margin: 1em 0 0.3em; }}
#api p, #api ul {{ margin: 0 0 0.3em; }}
#api dl.py {{ margin: 0 0 0.5em; }} #api dl.py dd {{ margin: 0 0 0 1.2em; }}
#api dt.sig {{ overflow: visible; break-after: avoid; }}
#api .viewcode-link {{ display: none; }}
#api dl.field-list {{ display: grid; grid-template-columns: 7em 1fr; margin: 0 0 0.3em; }}
#api dl.field-list > dt {{ background: none; padding: 0; }} #api dl.field-list > dd {{ margin: 0; }}
#api dl.field-list ul {{ padding-left: 0; list-style: none; }}
header.printed {{ text-align: center; padding-top: 30%; }}
header.printed img {{ width: 70%; }}
</style></head>
<body><main class="bd-content">
<header class="printed"><h1>{title}</h1><p>{subtitle}</p><img src="../_static/emblem.png" alt=""></header>
<nav class="printed" aria-label="Contents"><h2>Contents</h2>{contents}</nav>
{articles}
</main></body></html>"""
NUMBER_CONTENTS = """
for (const place of document.querySelectorAll("[data-page]"))
  place.textContent = arguments[0][place.dataset.page] ?? "";
"""
COLUMN = 665
"""Between the margins of the paper, in pixels as CSS counts them."""
FIT = """
// One table or formula wider than the paper and Chromium prints the whole book smaller.
const narrow = (thing, need) => {
  const box = thing.parentElement.closest("td, p, li, dd, div, article"), style = getComputedStyle(box);
  const room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  if (need > room) thing.style.zoom = 0.99 * room / need;
};
for (const table of document.querySelectorAll("article table")) narrow(table, table.offsetWidth);
for (const formula of document.querySelectorAll("article mjx-container"))
  narrow(formula, formula.querySelector("mjx-math").offsetWidth);
return document.documentElement.scrollWidth;
"""
SUBTITLE = "Companion to two papers on reinforcement learning by transformers"


def in_order():
    """(caption of the part, name of the page), as in `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    yield "", Path(toc["root"]).stem
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            yield part["caption"], Path(chapter["file"]).stem


def last_frames(body):
    """Players as their last picture, without their scripts."""
    for name, script in re.findall(r'id="_anim_img(\w+)".*?(<script.*?</script>)', body, re.DOTALL):
        frame = re.findall(r'frames\[\d+\] = "(.*?)"', script, re.DOTALL)[-1].replace("\\\n", "")
        body = body.replace(f'id="_anim_img{name}"', f'src="{frame}"')
    return re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)


def article(name, names):
    """The article of a page, with identifiers of its own, and links that lead to the other articles."""
    text = (PAGES / f"{name}.html").read_text()
    body = last_frames(re.search(r'<article class="bd-article".*?</article>', text, re.DOTALL)[0])
    body = re.sub(r'<a class="headerlink".*?</a>', "", body)
    body = re.sub(r'(<[^>]*?\b)id="([^"]+)"', rf'\1id="{name}--\2"', body)

    def inside(link):
        page, _, anchor = link[1].partition("#")
        page = page.removesuffix(".html") or name
        if page not in names:
            return link[0]
        return f'href="#{page}--{anchor}"' if anchor else f'href="#{page}"'

    body = re.sub(r'href="((?!https?:|mailto:)[^"]*)"', inside, body)
    body = body.replace('<details class="further">', '<details class="further" open>')
    return body.replace("<article ", f'<article id="{name}" ', 1)


def title_of(name):
    text = (PAGES / f"{name}.html").read_text()
    return re.search(r"<title>(.*?)(?: &#8212; .*?)?</title>", text)[1]


def whole():
    """The one page."""
    parts = {}
    for part, name in in_order():
        parts.setdefault(part, []).append(name)
    names = [name for part in parts.values() for name in part]
    contents = ""
    for part, pages in parts.items():
        lines = "".join(
            f'<li><a href="#{name}">{title_of(name)}<i></i><span data-page="{name}">000</span></a></li>'
            for name in pages
        )
        contents += f"<p>{html.escape(part)}</p><ul>{lines}</ul>"
    head = (PAGES / f"{names[0]}.html").read_text().partition("</head>")[0]
    kept = re.findall(r'<link[^>]*rel="stylesheet"[^>]*>', head)
    kept += re.findall(r"<script>window\.MathJax.*?</script>", head)
    kept += re.findall(r'<script[^>]*src="[^"]*mathjax/[^"]*"></script>', head)
    return FRAME.format(
        title=title_of(names[0]),
        head="\n".join(kept),
        subtitle=SUBTITLE,
        contents=contents,
        articles="\n".join(article(name, names) for name in names),
    )


def pages_of(pdf):
    """The page, counted from 1, of each place that a link leads to; Chromium writes these as plain text."""
    kids = re.findall(rb"/Type /Pages\s+/Count \d+\s+/Kids \[(.*?)\]", pdf, re.DOTALL)
    leaves = {number for number in re.findall(rb"(\d+) 0 obj\s+<</Type /Page\s", pdf)}
    order = [number for list_ in kids for number in re.findall(rb"(\d+) 0 R", list_) if number in leaves]
    counted = {number: place for place, number in enumerate(order, start=1)}
    places = re.findall(rb"/([\w.#-]+) \[(\d+) 0 R /XYZ", pdf)
    return {name.decode(): counted[number] for name, number in places if number in counted}


def print_page(page, target):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(900)
        driver.command_executor.client_config.timeout = 900
        driver.get(page.as_uri())
        driver.execute_async_script(
            "const done = arguments[0];"
            "MathJax.startup.promise.then(() => MathJax.startup.document.lazyTypesetAll()).then(() =>"
            " setTimeout(done, 500))"
        )
        size = {"width": COLUMN, "height": 950, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        if (width := driver.execute_script(FIT)) > COLUMN + 5:
            sys.exit(f"something is {width} pixels wide, the paper {COLUMN}: all would be printed smaller")
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        wishes = {"preferCSSPageSize": True, "printBackground": True, "generateDocumentOutline": True}
        wishes |= {"generateTaggedPDF": True}
        # Printed once to learn on which page each article begins, and again with these numbers.
        for _ in range(2):
            pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", wishes)["data"])
            driver.execute_script(NUMBER_CONTENTS, pages_of(pdf))
        target.write_bytes(pdf)
    finally:
        driver.quit()


def main():
    if not PAGES.is_dir() or not shutil.which("chromium") or not shutil.which("chromedriver"):
        sys.exit("make pdf needs the built book (make book), and Chromium with its driver (make browser)")
    page = PAGES / "whole-book.html"
    page.write_text(whole())
    try:
        print_page(page, TARGET)
    finally:
        page.unlink()
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
