"""How fast the package is, beside what one would use instead and what the machine could do: `make bench`.

One thread, processor time (other programs do not count), the least of a few repetitions; what is compared is
repeated in turn. Each line has a process of its own, so that peaks of memory (above the libraries') do not
add up.

Baselines. *Literal*: tests/pretraining/literal_pretraining.py, one prompt at a time in float64, worlds and
trajectories included; the reference for correctness. *InContextTD*, the nearest peer (Wang et al., ICLR
2025): its network alone, forward and backward in float32 as it ships, needed 32.5 ms (linear) and 34.5 ms
(softmax) for the same step on a quiet core, and the literal trainer 2.7 times that (November 2026, one core
with AVX2). It is not installed here: the column divides the ratio to the literal trainer by that 2.7.
*Fused*: PyTorch's `scaled_dot_product_attention`, layer after layer, on the same prompt.

Floor: the multiplications, exponentials and bytes that the work cannot do without in this form, at the rates
that this machine reached in this run: matrix products, `exp2` within the cache, copies of memory. What takes
microseconds there is far above it here, for every operation on a tensor costs some of its own.

*Pages* are opened in a headless browser, if the book is built and Chromium is here, and the least of some
visits counts: a page is interactive once its last task of 50 ms or more is over. By the clock other programs
do count, in the processor time of the page's thread they do not; a goal is missed if both miss it. Not here:
`make test` and `make book`; `time` says how long they take.
"""

import argparse
import copy
import importlib.util
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from icrl.pretraining.tasks import Configuration
from icrl.pretraining.trainer import Trainer
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "pretraining"), str(HERE.parent / "book" / "sweeps")]

PEER = 2.7
"""Time of the literal trainer over that of InContextTD's network, as recorded."""

LAYERS, STATES, LENGTH, PROMPTS = 3, 4, 30, 64
SIZES = {"num_layers": LAYERS, "num_transitions": LENGTH, "num_states": STATES, "num_prompts": PROMPTS}
STEPS = 20
"""Steps timed together."""

GOALS = {
    ("paper", "float64", "linear", 1): 60,
    ("paper", "float64", "softmax", 1): 45,
    ("paper", "float64", "linear", 10): 200,
    ("paper", "float64", "softmax", 10): 200,
    ("free", "float32", "linear", 1): 25,
    ("free", "float32", "softmax", 1): 15,
    ("free", "float32", "linear", 10): 40,
    ("free", "float32", "softmax", 10): 20,
    ("free", "float64", "linear", 1): 20,
    ("free", "float64", "softmax", 1): 12,
    ("free", "float64", "linear", 10): 32,
    ("free", "float64", "softmax", 10): 17,
}
"""Times the literal trainer, per seed."""

DEPTH = 20
"""Layers of the long contexts; four features."""

SECONDS = {
    ("tabular", 10**4): 0.02,
    ("tabular", 10**6): 1.5,
    ("symmetric", 10**4): 5.0,
    ("general", 10**4): 7.0,
}


PAGE = 1.5
"""Seconds until a page of the book is interactive."""


def least(functions, repetitions):
    """The least processor time of each, run in turn."""
    best = [np.inf] * len(functions)
    for _ in range(repetitions):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            best[i] = min(best[i], time.process_time() - start)
    return best


def rates():
    """Of this machine: operations of matrix products, exponentials and bytes, per second."""
    result = {}
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        a, small = torch.rand(512, 512, dtype=dtype), torch.rand(2**15, dtype=dtype)
        out = torch.empty_like(small)
        times = least([lambda a=a: a @ a, lambda x=small, out=out: torch.exp2(x, out=out)], 20)
        result |= {f"flops {name}": 2 * 512**3 / times[0], f"exp {name}": 2**15 / times[1]}
    a = torch.rand(2**25)
    b = torch.empty_like(a)
    return result | {"bytes": 2 * a.nbytes / least([lambda: b.copy_(a)], 5)[0]}


def floor(rate, dtype, flops=0.0, exps=0.0, moved=0.0):
    """Seconds: arithmetic and exponentials one after the other, memory beside them."""
    return max(flops / rate[f"flops {dtype}"] + exps / rate[f"exp {dtype}"], moved / rate["bytes"])


def literal_step(attention, masks):
    """One step of the literal trainer, drawing included, as a function."""
    from literal_pretraining import LiteralTrainer, boyan_chain, sample_states

    rng, n = np.random.default_rng(0), LENGTH
    weights = torch.from_numpy(0.03 * rng.normal(size=(2, 1, 7, 7)))
    free = torch.zeros(2, 1, 7, 7, dtype=torch.float64)
    free[0, :, -1, -3:], free[1, :, :4, :4] = 1, 1
    if masks == "free":
        free[:] = 1
    trainer = LiteralTrainer(*(weights * free), free, 0.5, LAYERS, attention)
    features = 2 * torch.eye(STATES, dtype=torch.float64)

    def step():
        tasks = []
        for _ in range(PROMPTS):
            transition, reward, stationary = boyan_chain(STATES, rng)
            tasks.append((features, sample_states(transition, n + 1, stationary, rng), torch.tensor(reward)))
        trainer.step(tasks, 0.01)

    return step


def pretraining(masks, dtype, attention, seeds, repetitions):
    """Seconds of a literal step and of one of ours, per seed."""
    c = Configuration(**SIZES, attention=attention, masks=masks, num_seeds=seeds, learning_rate=1e-3)
    trainer = Trainer(c, torch.Generator().manual_seed(0), getattr(torch, dtype))
    slow, fast = literal_step(attention, masks), partial(trainer.chunk, STEPS)
    slow(), fast()
    slow, fast = least([slow, fast], repetitions)
    return slow, fast / STEPS / seeds


def pretraining_floor(rate, masks, dtype, attention):
    """Of one seed's step: two windows forward, one of them backward at twice the price of forward."""
    s, n, w = STATES, LENGTH, STATES + 1
    size = w + 2
    if masks == "paper":
        forward, exps = 2 * s**3 + 2 * s**2 * LAYERS, s * s
    elif attention == "softmax":
        pairs = s * s + 1  # layer 0: states; layer 1: pairs; layer 2: the query alone
        shapes = [(s, s + 1, w), (pairs, pairs + 1, size)]
        forward = sum(2 * (a * b * k + a * b * size + a * size * k + b * size * k) for a, b, k in shapes)
        exps = sum(a * b for a, b, _ in shapes) + n
        forward += 4 * (pairs + 1) * size
    else:
        products = (LAYERS * w) ** 2 * n  # symmetric: half of 2 m^2 n
        forward = products + 2 * (w * w * size + w * w * w)  # layer 0
        m = 2 * w
        forward += 2 * (m * m * size + 2 * m * size * size + size**3 + m * size * size)  # layer 1
        forward += 2 * ((LAYERS * w) ** 2 + 2 * LAYERS * w * size)  # layer 2: the query alone
        exps = 0
    exps = exps if attention == "softmax" else 0
    return PROMPTS * floor(rate, dtype, 4 * forward, 2 * exps)


def long_context(kind, n, repetitions):
    """Seconds of all values of a pass, and of fused attention where that ends."""
    rng = np.random.default_rng(0)
    states = rng.integers(0, 5, n + 1) if kind == "tabular" else np.arange(n + 1)
    features = rng.normal(size=(5 if kind == "tabular" else n + 1, 4))
    prompt = softmax_td_prompt(features, states, rng.normal(size=n))
    value, score = softmax_td_weights(4)
    if kind.startswith("general"):
        score[:4, :4] += 0.1 * torch.from_numpy(rng.normal(size=(4, 4)))
    model = SoftmaxTransformer(DEPTH, 0.9, value, score)

    def fused():
        left, sources = (score @ prompt).mT, prompt[:, :-1].mT
        scaled_dot_product_attention(
            *(x[None, None].contiguous() for x in (left, sources, sources @ value.mT)), scale=1.0
        )

    def gradient():
        model.requires_grad_().zero_grad()
        model(prompt)[-1, -1].backward()

    if kind.endswith("gradient"):
        with torch.no_grad():
            (forward,) = least([lambda: model.values(prompt)], repetitions)
        return forward, least([gradient], repetitions)[0]
    if kind == "tabular" and n > 10**4:
        return np.nan, least([lambda: model.values(prompt)], repetitions)[0]
    slow, fast = least([fused, lambda: model.values(prompt)], repetitions)
    return DEPTH * slow, fast


def long_floor(rate, kind, n):
    """Tabular: the prompt is read, the values are written. Else: exponentials and products of all pairs."""
    if kind == "tabular":
        return floor(rate, "float64", moved=8 * n * (7 + DEPTH + 1))
    pairs = DEPTH * n * n
    if kind == "symmetric":
        return floor(rate, "float64", flops=pairs / 2 * (2 * 4 + 4), exps=pairs / 2)
    if kind == "general":
        return floor(rate, "float64", flops=pairs * (2 * 4 + 2), exps=pairs)
    # Forward: sums of seven rows and the visits. Backward: scores again, and sums: one of what is said, of
    # what is heard 14 (seven for the product with what the source says, seven for what the column hears),
    # 4 of what listens. Symmetric blocks are formed once and multiplied from both sides.
    exps, rows = (pairs / 2, 2) if kind.startswith("symmetric") else (pairs, 1)
    return floor(rate, "float64", flops=exps * 2 * (2 * 4 + rows * (8 + 1 + 14 + 4)), exps=2 * exps)


def sweep_overhead(backend, tasks):
    """Seconds that a task costs beyond its own work, on two workers: by the clock, and of this process.

    Starting the workers is apart.
    """
    from runner import Run, cluster

    with tempfile.TemporaryDirectory() as folder, cluster(backend, 2) as address:
        run = Run(0, "bench", Path(folder), Path(folder), jobs=2, backend=address)
        run(copy.copy, [{"x": {"number": -1 - i}} for i in range(8)])
        start, own = time.perf_counter(), time.process_time()
        run(copy.copy, [{"x": {"number": i}} for i in range(tasks)])
        return (time.perf_counter() - start) / tasks, (time.process_time() - own) / tasks


INTERACTIVE = """
const done = arguments[0], tasks = window.longTasks;
const look = () => {
    const page = performance.getEntriesByType("navigation")[0];
    const end = Math.max(page.domContentLoadedEventEnd, ...tasks.map(t => t.startTime + t.duration));
    const quiet = page.loadEventEnd && performance.now() - Math.max(end, page.loadEventEnd) > 500;
    quiet ? done(end / 1000) : setTimeout(look, 20);
};
look();
"""
WATCH = """
window.longTasks = [];
new PerformanceObserver(l => longTasks.push(...l.getEntries())).observe({type: "longtask", buffered: true});
"""


def pages(missed, visits=5):
    """Seconds until each page of the book answers, least of some visits, and the bytes that it brings."""
    sys.path.insert(0, str(HERE / "book"))
    import test_rendered as rendered

    print("\nPages: until interactive by the clock, processor time of the page's thread, bytes compressed")
    if not (rendered.BUILT / "book").is_dir() or not rendered.shutil.which("chromedriver"):
        return print("not measured: needs `make book` and Chromium with its driver")
    with rendered.served() as address, rendered.opened() as browser:
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        for page in rendered.PAGES:
            clock, busy, came = [], [], []
            for _ in range(visits):
                browser.get("about:blank")
                rendered.traffic(browser)
                browser.get(f"{address}/{page}.html")
                clock.append(browser.execute_async_script(INTERACTIVE))
                metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
                busy.append(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))
                came.append(rendered.traffic(browser)[1])
            cells = amount(min(clock)), amount(min(busy)), f"{max(came) / 1e6:.2f} MB"
            print(f"{page:>22}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
            if min(*clock, *busy) > PAGE:
                missed.append(f"{page}: {amount(min(busy))} > {PAGE} s")
            if max(came) > rendered.HEAVIEST:
                missed.append(f"{page}: {max(came)} bytes")
    return None


def _measure(function, arguments):
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = globals()[function](*arguments)
    return result, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure(function, *arguments):
    """In a fresh process: the result, and MiB above what the libraries need."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, function, arguments).result()


def amount(seconds):
    """Three digits and a unit."""
    if np.isnan(seconds):
        return "-"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"


def main():
    """The tables; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Speed, against baselines and floors")
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    missed = []
    torch.set_num_threads(1)
    rate, _ = measure("rates")
    print("this machine, one thread: " + ", ".join(f"{k} {v / 1e9:.3g} G/s" for k, v in rate.items()))
    print(f"\nA step of pretraining: {PROMPTS} prompts, n {LENGTH}, d {STATES}, {LAYERS} layers")
    line = "{:>8}{:>9}{:>10}{:>6}{:>9}{:>13}{:>10}{:>14}{:>6}{:>5}{:>12}{:>8}"
    heads = "weights", "type", "attention", "seeds", "literal", "ours, a seed", "literal /", "InContextTD /"
    print(line.format(*heads, "goal", "MiB", "floor", "/ floor"))
    for masks, dtype in (("paper", "float64"), ("free", "float32"), ("free", "float64")):
        for attention, seeds in product(("linear", "softmax"), (1, 10)):
            (slow, fast), memory = measure("pretraining", masks, dtype, attention, seeds, repetitions)
            ratio, goal = slow / fast, GOALS[masks, dtype, attention, seeds]
            bound = pretraining_floor(rate, masks, dtype, attention)
            cells = masks, dtype, attention, seeds, amount(slow), amount(fast)
            cells += f"{ratio:.1f}x", f"{ratio / PEER:.1f}x", f"{goal}x", f"{memory:.0f}"
            print(line.format(*cells, amount(bound), f"{fast / bound:.0f}x"), flush=True)
            if ratio < goal:
                missed.append(f"{masks}, {dtype}, {attention}, {seeds} seeds: {ratio:.1f}x < {goal}x")
    print(f"\nSoftmax TD on one long context, {DEPTH} layers, d 4, float64, all values of all layers")
    line = "{:>18}{:>9}{:>10}{:>10}{:>9}{:>7}{:>10}{:>8}"
    print(line.format("context", "n", "fused", "ours", "goal", "MiB", "floor", "/floor"))
    rows = [("tabular", 10**4), ("tabular", 10**5), ("tabular", 10**6)]
    kinds = "symmetric", "general", "symmetric gradient", "general gradient"
    rows += [(kind, 10**4) for kind in kinds]
    for kind, n in rows:
        few = repetitions if kind == "tabular" else 1
        (slow, fast), memory = measure("long_context", kind, n, few)
        bound, goal = long_floor(rate, kind, n), SECONDS.get((kind, n), np.nan)
        goal, slow = (4 * slow, np.nan) if kind.endswith("gradient") else (goal, slow)
        cells = kind, n, amount(slow), amount(fast), amount(goal), f"{memory:.0f}"
        print(line.format(*cells, amount(bound), f"{fast / bound:.1f}x"), flush=True)
        if fast > goal:
            missed.append(f"{kind}, n = {n}: {amount(fast)} > {amount(goal)}")
    print(
        "Gradient: forward and backward; its goal is four times the values alone, timed in the same process."
    )
    pages(missed)
    print(
        "\nWhat a task of a sweep costs beyond its own work, two workers: by the clock, and of this process"
    )
    for backend in ("threads", "processes", *(["dask"] if importlib.util.find_spec("distributed") else [])):
        clock, own = sweep_overhead(backend, 200)
        print(f"{backend:>10}{amount(clock):>10}{amount(own):>10}", flush=True)
    raise SystemExit("missed: " + "; ".join(missed) if missed else None)


if __name__ == "__main__":
    main()
