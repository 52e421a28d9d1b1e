"""The figures with sliders: their numbers against the package, their controls, and what stands without them.

The scripts run in Chromium, on a page of their own: the built book is not needed. Run as a program, this file
draws the stills anew: `python tests/book/test_explorables.py`.
"""

import json
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from icrl import depth, divergence, mrp, plots, softmax_td
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.policy_improvement import sarsa_update

ROOT = Path(__file__).parents[2]
STATIC, BUILT = ROOT / "book" / "_static", ROOT / "_build" / "html" / "book"
NUMBERS, DRAWING = ((STATIC / name).read_text() for name in ("explorable-numbers.js", "explorables.js"))
STYLE = (STATIC / "explorables.css").read_text()
CHAPTERS = {
    "divergence": "divergence",
    "temperature": "weighted-softmax-td",
    "depth": "depth",
    "sarsa": "sarsa",
}
QUIET = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"


def chromium(page):
    """Chromium at a page with the four figures, as a chapter holds them."""
    figures = "".join(
        f'<figure class="align-default explorable {name}">'
        f'<img alt="still" src="{STATIC.as_uri()}/explorable-{name}.svg"><figcaption>?</figcaption></figure>'
        for name in CHAPTERS
    )
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>explorables</title>'
        f"<style>{STYLE}</style><body>{figures}<script>{NUMBERS}</script><script>{DRAWING}</script>"
    )
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in QUIET.split():
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(20)
    driver.get(page.as_uri())
    return driver


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        problem = pytest.fail if os.environ.get("CI") else pytest.skip
        problem("no chromium and chromedriver; see `make browser`")
    driver = chromium(tmp_path_factory.mktemp("page") / "page.html")
    yield driver
    driver.quit()


def ask(browser, name, settings, source=NUMBERS):
    """What the script computes for some settings; with another ``source``, what that one does."""
    answer = browser.execute_script(
        f"const page = {{}}; (function (globalThis) {{ {source} }})(page);"
        f"return JSON.stringify(arguments[0].map((s) => page.explorableNumbers.{name}(s)))",
        settings,
    )
    return json.loads(answer.replace("null", "1e400"))  # JSON has no infinity


def close(seen, truth, name):
    """Equal to 1e-9 of the largest entry of each row, for the rows that stay below a million."""
    seen, truth = np.atleast_2d(seen), np.atleast_2d(truth)
    assert seen.shape == truth.shape, name
    size = np.abs(truth).max(axis=-1, keepdims=True)
    small = (size < 1e6).all(axis=-1)
    assert small.any(), name
    assert (np.abs(seen - truth) <= 1e-9 * size + 1e-12)[small].all(), name


def by_state(run, states):
    """One column for each state, out of one for each place in the trajectory."""
    return run[:, [list(states).index(s) for s in range(max(states) + 1)]]


CLOSED = 9 * [0, 1] + [0, 2, 2, 1, 0]
"""A context whose counts are those of the divergent chain: 10, 10, 2 visits, 0 followed 9 : 1 by 1 and 2."""


def check_divergence(browser, rng, source=NUMBERS, count=20):
    process, features = mrp.divergent_mrp()
    settings = [
        {"tau": 10 ** rng.uniform(-1.5, 0.75), "gamma": rng.uniform(0, 0.99), "alpha": rng.uniform(0.05, 3)}
        for _ in range(count)
    ]
    verdicts = set()
    for setting, seen in zip(settings, ask(browser, "divergence", settings, source), strict=True):
        x, gamma, alpha = np.sqrt(setting["tau"]) * features, setting["gamma"], setting["alpha"]
        rewards = process.reward[CLOSED[:-1]]
        close(seen["matching"], softmax_td.matching_matrix(x, np.array(CLOSED)), "attention")
        run = softmax_td.weighted_softmax_td(x, np.array(CLOSED), rewards, gamma, 40, alpha)
        close(seen["values"], by_state(run, CLOSED), "values")
        moved = mrp.MarkovRewardProcess(process.transition, process.reward, gamma)
        close(seen["limit"], moved.value(), "fixed point")
        matrix = softmax_td.iteration_matrix(x, np.array(CLOSED), gamma, alpha)
        roots = np.array(seen["eigenvalues"]) @ [1, 1j]
        for root in np.linalg.eigvals(matrix):
            assert np.abs(roots - root).min() < 1e-9 * max(1, abs(root)), "eigenvalues"
        radius = np.abs(np.linalg.eigvals(matrix)).max()
        longest = divergence.largest_step_size(divergence.population_operator(x, moved))
        close(seen["radius"], radius, "radius")
        close(seen["largestStep"], longest, "largest step")
        verdict = "settles" if radius < 1 else "step too large" if longest else "no step helps"
        assert seen["verdict"] == verdict or abs(radius - 1) < 1e-9
        verdicts.add(verdict)
    return verdicts


def check_temperature(browser, rng, source=NUMBERS, count=6):
    context = browser.execute_script("return explorableNumbers.CONTEXT")
    x, states = np.array(context["features"]), np.array(context["states"])
    gamma, rewards = context["gamma"], np.array(context["reward"])[states[:-1]]
    assert states[0] == states[-1]  # closed, and loudness is alike: every temperature converges
    assert np.allclose((x**2).sum(axis=1), 1)
    settings = [{"tau": 10 ** rng.uniform(-1.5, 1.5)} for _ in range(count)]
    n = len(rewards)
    scores = x[states[:-1]] @ x.T
    tabular = softmax_td.tabular_td(states, rewards, 5, gamma, 60)
    limit = softmax_td.empirical_process(states, rewards, gamma)[1].value()
    for setting, seen in zip(settings, ask(browser, "temperature", settings, source), strict=True):
        tau = setting["tau"]
        close(seen["matching"], softmax_td.matching_matrix(np.sqrt(tau) * x, states), "attention")
        run = softmax_td.weighted_softmax_td(np.sqrt(tau) * x, states, rewards, gamma, 60)
        close(seen["softmax"], by_state(run, states), "softmax")
        kernel = (1 + tau * (scores - scores.mean(axis=0))) / n
        run = softmax_td.kernel_td(kernel, states, rewards, gamma, 60)
        close(seen["linear"], by_state(run, states), "linear")
        close(seen["tabular"], tabular, "tabular")
        close(seen["limit"], limit, "fixed point")
        matrix = softmax_td.iteration_matrix(np.sqrt(tau) * x, states, gamma)
        assert np.abs(np.linalg.eigvals(matrix)).max() < 1, "converges"
        size, needed = 0.01 * np.abs(limit).max(), seen["needed"]
        left = [np.abs(np.linalg.matrix_power(matrix, k) @ limit).max() for k in (needed, max(needed - 1, 0))]
        assert left[1] > size * (1 - 1e-9), "layers needed"
        assert left[0] <= size * (1 + 1e-9) or needed == 2000, "layers needed"


def check_depth(browser, rng, source=NUMBERS, count=6):
    reward = np.array(browser.execute_script("return explorableNumbers.RING_REWARD"))
    memories = [0.5, 1, *rng.choice(np.arange(21) / 20, count - 2)]
    settings = [{"horizon": 10 ** rng.uniform(0.3, 3), "memory": float(m)} for m in memories]
    for setting, seen in zip(settings, ask(browser, "depth", settings, source), strict=True):
        gamma, chain = 1 - 1 / setting["horizon"], depth.lazy_cycle(8, setting["memory"])
        process = mrp.MarkovRewardProcess(chain, reward, gamma)
        value, share = process.value(), process.stationary_distribution()
        close(seen["limit"], value, "value")

        def left(layers, chain=gamma * chain, value=value):
            return np.linalg.matrix_power(chain, layers) @ value

        td = np.array([value - left(layers) for layers in range(31)])
        priced = np.array([0 * value, *(value - left(k) + share @ left(k) for k in range(30))])
        close(seen["td"], td, "TD")
        close(seen["priced"], priced, "priced TD")
        accuracy = 0.01 * np.ptp(reward)
        for name, price in (("td", 0), ("priced", 1)):
            needed = seen["needed"][name] - price
            errors = [np.abs(e - price * share @ e).max() for e in (left(needed), left(max(needed - 1, 0)))]
            assert errors[0] <= accuracy * (1 + 1e-9), "layers needed"
            assert errors[1] > accuracy * (1 - 1e-9) or needed == 0, "no fewer"
    # And the loop over transitions, on contexts whose counts are those of the chain exactly.
    for seen, setting, visits in zip(
        ask(browser, "depth", settings[:2], source), settings, (16, 1), strict=False
    ):
        states = circuit(depth.lazy_cycle(8, setting["memory"]) * visits)
        gamma = 1 - 1 / setting["horizon"]
        for layers in (1, 6):
            run = softmax_td.priced_softmax_td(40 * np.eye(8), states, reward[states[:-1]], gamma, layers)
            run = by_state(run, states)
            close(seen["td"][: layers + 1], run[:-1], "loop of TD")
            close(seen["priced"][layers + 1], run[-1], "loop of priced TD")


def circuit(counts):
    """A closed walk that takes each step as often as the counts say (Hierholzer)."""
    steps = [[t for t, k in enumerate(row) for _ in range(round(k))] for row in counts]
    stack, walk = [0], []
    while stack:
        if steps[stack[-1]]:
            stack.append(steps[stack[-1]].pop())
        else:
            walk.append(stack.pop())
    return np.array(walk[::-1])


def check_sarsa(browser, rng, source=NUMBERS, count=8):
    window = browser.execute_script("return explorableNumbers.WINDOW")
    w, features = np.array(window["weights"]), np.array(window["features"])
    phi, phi_next = features[:-1], features[1:]
    settings = [
        {
            "rewards": rng.uniform(-2, 2, 5).tolist(),
            "gamma": rng.uniform(0, 0.99),
            "alpha": rng.uniform(0.1, 3),
            "broken": bool(k % 2),
        }
        for k in range(count)
    ]
    for setting, seen in zip(settings, ask(browser, "sarsa", settings, source), strict=True):
        rewards, gamma, alpha = np.array(setting["rewards"]), setting["gamma"], setting["alpha"]
        updated = sarsa_update(w, phi, phi_next, rewards, gamma, alpha)
        close(seen["updated"], updated, "SARSA")
        close(seen["errors"], rewards + gamma * phi_next @ w - phi @ w, "TD errors")
        P, V = sarsa_weights(2, alpha)
        if setting["broken"]:
            P[2:4] *= -1
        prompt = sarsa_prompt(torch.from_numpy(w), *map(torch.from_numpy, (phi, phi_next, rewards)), gamma)
        readout = LinearTransformer(P, V).readout(prompt).numpy()
        close(seen["readout"], readout, "readout")
        close(seen["score"], (prompt.mT @ P @ prompt)[:, -1].numpy(), "scores")
        close(w + np.sum(seen["steps"], axis=0), readout, "arrows")
        assert (seen["miss"] < 1e-12) == (not setting["broken"])


CHECKS = {
    "divergence": check_divergence,
    "temperature": check_temperature,
    "depth": check_depth,
    "sarsa": check_sarsa,
}


@pytest.mark.parametrize("name", CHECKS)
def test_numbers_are_those_of_the_package(browser, name):
    verdicts = CHECKS[name](browser, np.random.default_rng())
    if name == "divergence":
        assert verdicts >= {"settles", "no step helps"}


FAULTS = [
    ("divergence", "tau * dot(x, y)", "dot(x, y)"),
    ("divergence", "visits[t] * Math.exp", "Math.exp"),
    ("divergence", "seen.radius < 1 ?", "seen.radius < 1.1 ?"),
    ("divergence", "(2 * re) / (re * re + im * im)", "(2 * re) / (re * re)"),
    ("divergence", "x + alpha * step[s]", "x + step[s]"),
    ("temperature", "tau * dot(x, y)", "dot(x, y)"),
    ("temperature", "tau * (score - average)", "tau * score"),
    ("temperature", "0.01 * largest(limit)", "0.1 * largest(limit)"),
    ("depth", "/ (1 - gamma);\n      return td[l - 1]", ";\n      return td[l - 1]"),
    ("depth", "memory * v[(s + 1)", "memory ** 2 * v[(s + 1)"),
    ("depth", "+(t === (s + 1)", "+(t === (s + 2)"),
    ("depth", "needed.priced = l + 1", "needed.priced = l"),
    ("sarsa", "broken ? -1 : 1", "1"),
    ("sarsa", "dot(written[row], score) / n", "dot(written[row], score)"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), FAULTS, ids=lambda text: text[:24])
def test_a_wrong_script_is_noticed(browser, name, right, wrong):
    """Negative control: each comparison refuses a script in which one thing is changed."""
    assert NUMBERS.count(right) == 1
    with pytest.raises(AssertionError):
        CHECKS[name](browser, np.random.default_rng(1), NUMBERS.replace(right, wrong), count=4)


def test_sliders_work_by_keyboard_and_say_what_they_do(browser):
    """Arrow keys move them; each has a name and reads its value; the verdict follows; Reset resets."""
    figure = browser.find_element(By.CSS_SELECTOR, "figure.divergence")
    live = figure.find_element(By.CLASS_NAME, "explorable-live")
    verdict = live.find_element(By.CSS_SELECTOR, "[role=status] strong")
    before = live.get_attribute("data-state"), verdict.text
    assert before[1] == "It diverges at every step size."
    tau = live.find_element(By.ID, "explorable-divergence-tau")
    tau.send_keys(*7 * [Keys.ARROW_LEFT])
    state = json.loads(live.get_attribute("data-state"))
    assert state["tau"] == pytest.approx(10**-0.4)
    assert tau.get_attribute("aria-valuetext") == "0.40"
    assert verdict.text == "It settles."
    browser.find_element(By.ID, "explorable-divergence-gamma").send_keys(*12 * [Keys.PAGE_UP])
    live.find_element(By.CLASS_NAME, "explorable-reset").send_keys(Keys.ENTER)
    assert (live.get_attribute("data-state"), verdict.text) == before
    reward = browser.find_element(By.ID, "explorable-sarsa-r0")
    reward.send_keys(*3 * [Keys.ARROW_UP])
    assert reward.get_attribute("aria-valuetext") == "0.9"
    faults = {
        "input": "!e.labels.length",
        "svg.explorable-svg": "!e.getAttribute('aria-label')",
        "svg *": "/NaN|Infinity|undefined/.test(e.outerHTML)",
    }
    for selector, fault in faults.items():
        script = f"return [...document.querySelectorAll('{selector}')].filter((e) => {fault}).length"
        assert browser.execute_script(script) == 0, selector


def displayed(browser, selector):
    return [element.is_displayed() for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_the_still_stands_in(browser):
    """On the screen the live figure, in print and without a script the still, whole."""
    assert displayed(browser, ".explorable-live") == 4 * [True]
    assert displayed(browser, "figure > img") == 4 * [False]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert displayed(browser, ".explorable-live") == 4 * [False]
    assert displayed(browser, "figure > img") == 4 * [True]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.refresh()
    assert displayed(browser, "figure > img") == 4 * [True]
    assert browser.find_elements(By.CLASS_NAME, "explorable-live") == []
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.refresh()
    assert browser.execute_script("return [...document.images].every(i => i.naturalWidth > 300)")


def drawing_style():
    """The rules of the style sheet that a still needs in itself."""
    return re.search(r"/\* drawing: begin \*/\n(.*?)/\* drawing: end \*/", STYLE, re.DOTALL)[1]


def stills(browser):
    """The stills by name: the panels as the sliders stand at the start."""
    script = "return explorables.still(...arguments)"
    return {name: browser.execute_script(script, name, drawing_style()) for name in CHAPTERS}


def test_stills_are_up_to_date(browser):
    """Another browser may round a coordinate otherwise; anything else asks for this file to be run."""
    number = re.compile(r"-?\d+(?:\.\d+)?")
    for name, picture in stills(browser).items():
        kept = (STATIC / f"explorable-{name}.svg").read_text()
        assert number.sub("#", kept) == number.sub("#", picture), name
        for a, b in zip(number.findall(kept), number.findall(picture), strict=True):
            decimals = max(1, *(len(x.partition(".")[2]) for x in (a, b)))
            assert abs(float(a) - float(b)) <= 1.1 * 0.1**decimals, (name, a, b)


def test_narrow_screens(browser):
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg.explorable-svg')].map(s => s.getBoundingClientRect().width"
        " / s.viewBox.baseVal.width)"
    )
    assert min(sizes) * 10.5 >= 8  # the smallest letters, in pixels
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_colours_are_those_of_the_plots():
    style = drawing_style()
    for name in ("blue", "orange", "green", "red", "purple"):
        color = getattr(plots, name.upper())
        assert f"--ex-{name}: {color};" in style
        assert f"--ex-{name}-text: {plots.ink(color)};" in style


def test_scripts_are_small_and_ask_nobody():
    text = NUMBERS + DRAWING
    assert len(text.encode()) < 40_000
    assert not re.search(r"https?://(?!www\.w3\.org/)|fetch\(|XMLHttpRequest|import\(|\beval\b", text)


def test_pages_hold_the_figures_that_they_load():
    for name, chapter in CHAPTERS.items():
        page = (ROOT / "book" / f"{chapter}.md").read_text()
        assert page.count(f":figclass: explorable {name}\n") == 1
    if not BUILT.is_dir():
        pytest.skip("the built book is missing (make book)")
    for page in BUILT.glob("*.html"):
        text = page.read_text()
        holds = bool(re.search(r'<figure class="[^"]*\bexplorable\b', text))
        assert ("explorables.js" in text) == holds, page.stem


if __name__ == "__main__":
    with TemporaryDirectory() as folder, chromium(Path(folder) / "page.html") as driver:
        for name, picture in stills(driver).items():
            (STATIC / f"explorable-{name}.svg").write_text(picture, newline="\n")
