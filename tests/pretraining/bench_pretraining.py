"""How long one pretraining step takes: `make bench`. Ratios in one run, on one thread.

Literal: one prompt at a time (literal_pretraining.py), worlds and trajectories included. Fast: the
package, on the same work: 64 prompts of n = 30, d = 4, 3 layers, TD, float64. Memory: peak of a process of
its own above what its libraries need.
"""

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from literal_pretraining import LiteralTrainer, boyan_chain, sample_states

from icrl.pretraining.tasks import Configuration, draw_tasks
from icrl.pretraining.trainer import CHUNK, Trainer, objectives

TARGETS = {("softmax", 1): 15, ("linear", 1): 30, ("softmax", 10): 60}
SIZES = {"num_layers": 3, "num_transitions": 30, "num_states": 4, "num_prompts": 64}


def literal(attention, masks, steps=3):
    """Milliseconds of a literal step: drawing and everything else."""
    rng, discount, n = np.random.default_rng(0), 0.5, SIZES["num_transitions"]
    weights = torch.from_numpy(0.03 * rng.normal(size=(2, 1, 7, 7)))
    free = torch.zeros(2, 1, 7, 7, dtype=torch.float64)
    free[0, :, -1, -3:], free[1, :, :4, :4] = 1, 1
    if masks == "free":
        free[:] = 1
    trainer = LiteralTrainer(*(weights * free), free, discount, SIZES["num_layers"], attention)
    features, draw, learn = 2 * torch.eye(4, dtype=torch.float64), [], []
    for _ in range(steps + 1):
        start = time.perf_counter()
        tasks = []
        for _ in range(SIZES["num_prompts"]):
            transition, reward, stationary = boyan_chain(4, rng)
            tasks.append((features, sample_states(transition, n + 1, stationary, rng), torch.tensor(reward)))
        draw.append(time.perf_counter() - start)
        trainer.step(tasks, 0.01)
        learn.append(time.perf_counter() - start - draw[-1])
    return 1e3 * np.median(draw[1:]), 1e3 * np.median(learn[1:])


def fast(attention, masks, seeds, chunks=3):
    """Milliseconds of a step of the package (all seeds), and where they go."""
    c = Configuration(**SIZES, attention=attention, masks=masks, num_seeds=seeds, learning_rate=1e-3)
    trainer = Trainer(c, torch.Generator().manual_seed(0), torch.float64)
    trainer.chunk(5)
    spent = []
    for _ in range(chunks):
        start = time.perf_counter()
        trainer.chunk(CHUNK)
        spent.append((time.perf_counter() - start) / CHUNK)
    start = time.perf_counter()
    tasks = draw_tasks(c, (CHUNK, seeds, c.num_prompts), trainer.generator, torch.float64)
    drawn = time.perf_counter()
    parts = {"draw": (drawn - start) / CHUNK, "prepare": 0.0, "target": 0.0, "forward": 0.0, "backward": 0.0}
    for predict, target in objectives(c, tasks):
        times = [time.perf_counter()]
        with torch.no_grad():
            wanted = target(*trainer.free)
        times.append(time.perf_counter())
        loss = (wanted - predict(*trainer.free)).square().mean(-1).sum()
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        for name, part in zip(("target", "forward", "backward"), np.diff(times), strict=True):
            parts[name] += part / CHUNK
    parts["prepare"] = (time.perf_counter() - drawn) / CHUNK - sum(list(parts.values())[2:])
    parts["Adam and the rest"] = max(0.0, float(np.median(spent)) - sum(parts.values()))
    return 1e3 * float(np.median(spent)), {name: 1e3 * x for name, x in parts.items()}


def _measure(which, arguments):
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = (literal if which == "literal" else fast)(*arguments)
    return result, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure(which, *arguments):
    """In a fresh process, so that peaks of memory do not add up: the result, and MiB above the start."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, which, arguments).result()


def main():
    """The table; exit 1 if a ratio with a target misses it."""
    missed = []
    print("attention  masks  seeds   literal     fast  per seed   ratio  target   MiB  where the time goes")
    for attention in ("softmax", "linear"):
        for masks in ("paper", "free"):
            (draw, learn), _ = measure("literal", attention, masks)
            for seeds in (1, 10):
                (total, parts), memory = measure("fast", attention, masks, seeds)
                ratio = (draw + learn) / (total / seeds)
                wanted = TARGETS.get((attention, seeds)) if masks == "paper" else None
                shares = ", ".join(f"{name} {100 * x / total:.0f}%" for name, x in parts.items())
                goal = f"{wanted}x" if wanted else "-"
                print(
                    f"{attention:9}  {masks:5}  {seeds:5}  {draw + learn:5.0f} ms  {total:5.2f} ms"
                    f"  {total / seeds:5.2f} ms  {ratio:5.0f}x  {goal:>6}  {memory:4.0f}  {shares}",
                    flush=True,
                )
                if wanted and ratio < wanted:
                    missed.append(f"{attention}, {seeds} seed(s): {ratio:.0f}x < {wanted}x")
    raise SystemExit("; ".join(missed) or None)


if __name__ == "__main__":
    main()
