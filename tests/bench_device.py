"""Steps of training on an accelerator, beside one core of its machine and beside what it could do.

    python tests/bench_device.py --device cuda

Times are by the clock after the device has finished, the median of some repetitions. *Busy* is the sum of the
times of all kernels of a step, by PyTorch's profiler: what is missing to the whole step is the cost of
starting them. *Replayed* is prediction, target and gradient recorded as one graph. *Floor* is the work that a
step cannot do without in this form (tests/bench.py counts it) at the rates that this device reached in this
run in large matrix products, exponentials and copies.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import bench
import numpy as np
import torch

from icrl.gradient_flow import Experiment, full_count, training_start
from icrl.gradient_flow.experiment import gradients
from icrl.pretraining.tasks import Configuration, draw_tasks
from icrl.pretraining.trainer import Trainer, objectives
from icrl.standard_transformer import tasks, train

SEEDS = 100


def seconds(work, device, repetitions):
    """The median of some repetitions, after one that does not count."""
    times = []
    for _ in range(repetitions + 1):
        finish(device)
        start = time.perf_counter()
        work()
        finish(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def finish(device):
    if device == "cuda":
        torch.cuda.synchronize()


def rates(device, size, length):
    """Operations of matrix products, exponentials and bytes, a second."""
    result = {}
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        a = torch.randn(size, size, dtype=dtype, device=device)
        small = torch.rand(2**20, dtype=dtype, device=device)
        result[f"flops {name}"] = 2 * size**3 / seconds(lambda a=a: a @ a, device, 5)
        result[f"exp {name}"] = 2**20 / seconds(lambda x=small: [x.exp2() for _ in range(50)], device, 5) * 50
    a = torch.rand(length, device=device)
    b = torch.empty_like(a)
    return result | {"bytes": 2 * a.nbytes / seconds(lambda: b.copy_(a), device, 7)}


def kernels(work, steps):
    """Number of kernels a step and the sum of their seconds."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    on_device = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return len(on_device) / steps, sum(e.time_range.elapsed_us() for e in on_device) / steps / 1e6


def replayed(c, trainer, repetitions):
    """Prediction, target and gradient of one step as a graph."""
    given = draw_tasks(c, (1, c.num_seeds, c.num_prompts), trainer.generator, trainer.dtype)
    ((predict, target),) = objectives(c, given)

    def once():
        with torch.no_grad():
            wanted = target(*trainer.free)
        loss = (wanted - predict(*trainer.free)).square().mean(-1) / 2
        return torch.autograd.grad(loss.sum(), trainer.free)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        once()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = once()
    result = seconds(lambda: [graph.replay() for _ in range(20)], "cuda", repetitions) / 20
    del kept
    return result


def pretraining(device, rate, seeds, steps, repetitions):
    """A line for weights under the masks and free, both attentions, both precisions."""
    for masks, attention, dtype in product(("paper", "free"), ("linear", "softmax"), ("float32", "float64")):
        c = Configuration(
            **bench.SIZES, attention=attention, masks=masks, num_seeds=seeds, learning_rate=1e-3
        )
        trainer = Trainer(c, torch.Generator(device).manual_seed(0), getattr(torch, dtype))
        line = {"what": f"pretraining {masks} {attention} {dtype}", "device": device, "seeds": seeds}
        line["step"] = seconds(lambda t=trainer: t.chunk(steps), device, repetitions) / steps
        draw = partial(draw_tasks, c, (steps, seeds, c.num_prompts), trainer.generator, trainer.dtype)
        line["drawing"] = seconds(draw, device, repetitions) / steps
        line["floor"] = seeds * bench.pretraining_floor(rate, masks, dtype, attention)
        item = 4 if dtype == "float32" else 8
        worlds = c.num_states**2 + c.num_states
        line["bytes"] = seeds * c.num_prompts * (8 * (c.num_transitions + 2) + item * worlds)
        line["floor of bytes"] = line["bytes"] / rate["bytes"]
        if device == "cuda":
            for name, call in (
                ("kernels, busy", lambda t=trainer: kernels(lambda: t.chunk(steps), steps)),
                ("replayed", lambda c=c, t=trainer: replayed(c, t, repetitions)),
            ):
                try:
                    line[name] = call()
                except Exception as error:
                    line[name] = str(error).splitlines()[0][:80]
        yield line


def teacher_mimicking(device, rate, starts, batch, strict, repetitions):
    """A batched step, and a step of one window, at the sizes of the reported experiment."""
    setting = Experiment(batch=batch, windows=1000, learning_rate=1e-3)
    (m, k, q), n = setting.shape, setting.num_transitions
    draws = full_count._lessons(setting, torch.Generator(device).manual_seed(0))
    blocks = [
        torch.tensor(x, device=device).requires_grad_()
        for x in training_start(setting, starts, np.random.default_rng(0))
    ]
    given = next(draws)

    def step():
        with torch.no_grad():
            return gradients(*blocks, *given)

    line = {"what": "teacher-mimicking, batched", "device": device, "seeds": starts}
    line["drawing"] = seconds(lambda: [next(draws) for _ in range(10)], device, repetitions) / 10
    line["gradient"] = seconds(lambda: [step() for _ in range(10)], device, repetitions) / 10
    flops = 2 * starts * batch * (2 * m * k + 4 * n * m + 3 * q * m)
    line["floor"] = flops / rate["flops float64"]
    line["bytes"] = 8 * (batch * (n * m + k + q) + 2 * starts * m * (k + q))
    line["floor of bytes"] = line["bytes"] / rate["bytes"]
    blocks = [x.detach().cpu().numpy() for x in blocks]

    def run(setting, steps):
        generator = torch.Generator(device).manual_seed(0)
        return full_count.train_on_device(setting, steps, *blocks, generator, records=2)

    def step_of(setting, steps):
        """By a difference, so that the first drawing and recording is left out."""
        once, twice = (seconds(lambda s=s: run(setting, s), device, 1) for s in (steps, 2 * steps))
        return (twice - once) / steps

    line["step"] = step_of(setting, strict // 40)
    yield line
    setting = replace(setting, batch=1, at_once=2)
    line = {"what": "teacher-mimicking, one window", "device": device, "seeds": starts}
    line["step"] = step_of(setting, strict)
    size = starts * m * (k + q)
    line["floor"] = (
        starts * (2 * (2 * m * k + 2 * m * m + 3 * q * m) + 12 * m * (k + q)) / rate["flops float64"]
    )
    line["bytes"] = 8 * 6 * size  # weights and two moments, read and written
    line["floor of bytes"] = line["bytes"] / rate["bytes"]
    yield line


def ordinary(device, seeds, steps):
    """A step of the ordinary transformer: the main case of its chapter."""
    setting = replace(tasks()["boyan .5 160, L 3"], num_seeds=seeds, num_steps=steps)
    line = {"what": "standard transformer", "device": device, "seeds": seeds}
    line["step"] = (
        seconds(
            lambda: train(setting, torch.Generator(device).manual_seed(0)), device, 1 + (device == "cuda")
        )
        / steps
    )
    yield line


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="a file that is given all lines as well")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", default="", help="a word in the name of a part")
    parser.add_argument("--alone", action="store_true", help="not the CPU as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds, quick, lines = (4 if given.quick else SEEDS), given.quick, []
    for device in dict.fromkeys([given.device] if given.alone else [given.device, "cpu"]):
        fast = device == "cuda"
        name = torch.cuda.get_device_name() if fast else "one core"
        rate = rates(device, 8192 if fast else 512, 2**30 if fast else 2**24)
        lines.append({"what": f"rates of {name}, torch {torch.__version__}", "device": device} | rate)
        print(json.dumps(lines[-1]), flush=True)
        steps, batch = (50, 250) if fast else (2, 250 if not quick else 5)
        repetitions = 7 if fast else 1
        for part in (
            pretraining(device, rate, seeds, steps, repetitions),
            teacher_mimicking(device, rate, seeds, batch, 20_000 if fast else 80, repetitions),
            ordinary(device, 5, 200 if fast else 3),
            ordinary(device, 10, 200 if fast else 3),
        ):
            if given.only not in part.__name__:
                continue
            try:
                for line in part:
                    lines.append(line)
                    print(json.dumps(line), flush=True)
            except Exception as error:
                print(json.dumps({"failed": str(error)[:300]}), flush=True)
            if given.json:
                given.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
