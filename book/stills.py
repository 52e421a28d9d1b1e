"""Draw the stills of the explorables anew, in Chromium: `python book/stills.py`.

A still is the picture that stands where there is no script, and in print: the panels of the live figure as
its sliders stand at the start, in one SVG file.
"""

import re
import shutil
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "_static"
SCRIPTS = tuple((STATIC / name).read_text() for name in ("explorable-numbers.js", "explorables.js"))
DRAWING = re.compile(r"/\* drawing: begin \*/\n(.*?)/\* drawing: end \*/", re.DOTALL)


def style():
    """The rules of the style sheet that a picture needs by itself."""
    return DRAWING.search((STATIC / "explorables.css").read_text())[1]


def draw(browser):
    """The stills by name, drawn in a page of the browser in which the scripts have run."""
    names = browser.execute_script("return explorables.names")
    return {
        name: browser.execute_script("return explorables.still(...arguments)", name, style())
        for name in names
    }


def main():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        browser.get("data:text/html,<!doctype html><title>stills</title>")
        for script in SCRIPTS:
            browser.execute_script(script)
        for name, picture in draw(browser).items():
            (STATIC / f"explorable-{name}.svg").write_text(picture, newline="\n")


if __name__ == "__main__":
    main()
