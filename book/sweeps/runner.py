"""Long runs: many tasks, one shard each, merged into the tables of `book/data`.

A script of this folder holds the grid of its tasks and the columns of its tables; the tasks themselves are
functions of the package, pure ones: what a task returns depends on its arguments alone.

    from icrl.depth import depth_row                       # def depth_row(*, num_layers, seed) -> dict
    from runner import Run, Sweep

    def tables(run: Run, *, layers: int) -> None:
        rows = run(depth_row, [{"num_layers": n} for n in range(1, layers + 1)])
        run.write("depth", ("num_layers", "seed", "error"), rows)

    SWEEP = Sweep(__file__, tables, full={"layers": 12}, small={"layers": 2})
    if __name__ == "__main__":
        SWEEP.main()

`python book/sweeps/depth.py` computes `full`, `--small` a quick form of it. What is done stays done: each
task leaves a shard in `_build/sweeps/NAME`, written in one stroke, and a run that was killed goes on from
there. A shard is named after all that determines it: the task, its arguments and the code behind it. Tables
are written at the end, in one stroke too, rows in the order of the grid, so that they do not depend on the
number of workers; their first line is the command that makes them.

Who computes is said by `--backend`, and no task knows of it: `processes` of this machine (the default),
`threads`, `dask` (a cluster of processes on this machine), or a Dask scheduler's address such as
`tcp://host:8786`, whose workers may be anywhere. They need the same code, which is verified before each task,
and no common disk: what they return is kept by this process. Any other word is a backend that was registered
with joblib before, as Ray's is by `ray.util.joblib.register_ray()`. See the page `cost` of the book.
"""

import argparse
import ast
import csv
import functools
import hashlib
import inspect
import io
import json
import os
import platform
import reprlib
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SHORT = reprlib.Repr()  # arguments may be long; a message shows each, shortened
SHORT.maxdict, SHORT.maxstring = 40, 80
Row = dict[str, object]


@dataclass(frozen=True)
class Run:
    """What a script is given: runs tasks, writes tables. See :class:`Sweep`."""

    seed: int
    command: str
    shards: Path
    output: Path
    jobs: int = 1
    fresh: bool = False
    backend: str = "processes"

    def __call__(self, task: Callable, grid: Iterable[dict]) -> list[Row]:
        """The rows of all tasks, in the order of the grid.

        Args:
            task: a function at the top of a module; it returns a row or a list of rows, dictionaries of
                what JSON can hold. If it has an argument ``seed`` that the grid does not give, it gets one
                of its own: an integer below 2^63 made from the sweep's seed, its name and its arguments.
            grid: the keyword arguments of each task, also of what JSON can hold.

        Raises:
            ValueError: a task that workers could not find, arguments that do not fit it or occur twice.
            SystemExit: a task failed. The others ran nonetheless, and their shards are kept.
        """
        calls = self._calls(task, grid)
        if self.fresh:
            for path in calls:
                path.unlink(missing_ok=True)
        todo = {path: arguments for path, arguments in calls.items() if not path.exists()}
        failures = []
        with tqdm(total=len(calls), initial=len(calls) - len(todo), desc=task.__name__, unit="task") as bar:
            code = code_behind(task)
            work = joblib.delayed(outcome)
            try:
                with workers(self.backend, self.jobs) as options:
                    calls_to_do = [work(task, x, path.name, code) for path, x in todo.items()]
                    for name, text, failure in results_of(calls_to_do, options):
                        bar.update()
                        if failure:
                            failures.append(failure)
                            bar.write(failure, file=sys.stderr)
                        else:
                            replace(self.shards / name, text)
            except Exception as error:
                # Dask gives a task up (KilledWorker) when it has cost several workers their lives.
                if not isinstance(error, BrokenProcessPool) and type(error).__name__ != "KilledWorker":
                    raise
                failures.append(f"a worker was killed (out of memory?): {error}")
        if failures:
            kept = sum(path.exists() for path in calls)
            summary = failures[0].splitlines()[0] if len(failures) == 1 else f"{len(failures)} tasks failed"
            sys.exit(
                f"{summary}\nNo table is written. {kept} of {len(calls)} tasks are done and kept in "
                f"{self.shards}; the same command goes on from there."
            )
        results = [json.loads(path.read_text()) for path in calls]
        return [row for rows in results for row in rows]

    def _calls(self, task, grid):
        """The arguments of each task by its shard's file."""
        name = f"{task.__module__}.{getattr(task, '__qualname__', task)}"
        if getattr(sys.modules[task.__module__], getattr(task, "__name__", ""), None) is not task:
            raise ValueError(f"task is {name}; it must be a function at the top of a module")
        code, calls = code_behind(task), {}
        for i, given in enumerate(grid):
            arguments, signature = dict(given), inspect.signature(task)
            try:
                # Of the name alone, not the module: a task that moves keeps its randomness.
                text = json.dumps([task.__name__, arguments], sort_keys=True)
                if "seed" in signature.parameters and "seed" not in arguments:
                    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), ">u4").tolist()
                    state = np.random.SeedSequence(self.seed, spawn_key=words).generate_state(1, np.uint64)
                    arguments["seed"] = int(state[0] >> np.uint64(1))
                signature.bind(**arguments)
            except TypeError as error:
                raise ValueError(
                    f"task {i} of {name} has the arguments {SHORT.repr(arguments)}: {error}"
                ) from None
            text = json.dumps([name, arguments, code], sort_keys=True)
            path = self.shards / f"{task.__name__}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
            if path in calls:
                raise ValueError(
                    f"task {i} of {name} has the arguments {SHORT.repr(arguments)}, as one before it; "
                    "give each its own, a number for example"
                )
            calls[path] = arguments
        return calls

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Write ``table.csv``: the command, the names of the columns, the rows.

        Raises:
            ValueError: a row has other columns.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for i, row in enumerate(rows):
            if set(row) != set(columns):
                raise ValueError(f"row {i} of {table} has the columns {list(row)}; the table {list(columns)}")
            writer.writerow(row)
        self.write_text(table, text.getvalue())

    def write_text(self, table: str, text: str) -> None:
        """Write ``table.csv``, any text below the line with the command."""
        path, text = self.output / f"{table}.csv", f"# {self.command}\n{text}"
        same = path.exists() and path.read_text() == text
        if not same:
            replace(path, text)
        print(f"{path}: {text.count(chr(10)) - 1} lines{', unchanged' if same else ''}", flush=True)


@dataclass(frozen=True)
class Sweep:
    """A script of this folder.

    Attributes:
        script: its ``__file__``.
        tables: called as ``tables(run, **configuration)``; runs the tasks and writes the tables.
        full: the configuration of the committed tables: whole numbers, floats or strings, each an option
            of the command line.
        small: another one, done in seconds, for ``--small``.
    """

    script: str
    tables: Callable[..., None]
    full: dict[str, int | float | str]
    small: dict[str, int | float | str]

    def command(self, seed: int, configuration: dict[str, int | float | str]) -> str:
        """What makes the tables of this configuration: the first line of each."""
        words = [word for option, value in configuration.items() for word in (f"--{option}", str(value))]
        return shlex.join(["python", f"book/sweeps/{Path(self.script).name}", "--seed", str(seed), *words])

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The command line of the script."""
        if arguments is None and any(os.environ.get(name) != "1" for name in ONE_THREAD):
            # Libraries count their threads as they are loaded: begin again with one for each worker.
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ONE_THREAD)
        name = Path(self.script).stem
        parser = argparse.ArgumentParser(prog=f"python book/sweeps/{name}.py", allow_abbrev=False)
        parser.description = inspect.getdoc(self.tables)
        parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="(default 0)")
        for option, value in self.full.items():
            kind = at_least(0) if isinstance(value, int) else type(value)
            text = f"(default {value}; small {self.small[option]})"
            parser.add_argument(f"--{option}", type=kind, metavar=option[0].upper(), help=text)
        cores = joblib.cpu_count()
        parser.add_argument(
            "--jobs",
            type=at_least(1),
            default=cores,
            metavar="N",
            help=f"worker processes (default: as many as cores, {cores})",
        )
        parser.add_argument(
            "--backend",
            default="processes",
            metavar="WORKERS",
            help="processes, threads, dask, or the address of a Dask scheduler (default processes)",
        )
        parser.add_argument("--small", action="store_true", help="a quick form, to see that it runs")
        parser.add_argument("--fresh", action="store_true", help="compute again what is done")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="DIR",
            help="where the tables go (default book/data; small _build/sweeps/small)",
        )
        parser.add_argument(
            "--shards",
            type=Path,
            default=ROOT / "_build" / "sweeps" / name,
            metavar="DIR",
            help="where finished tasks are kept (default _build/sweeps/NAME)",
        )
        options = parser.parse_args(arguments)
        configuration = dict(self.small if options.small else self.full)
        configuration |= {x: getattr(options, x) for x in configuration if getattr(options, x) is not None}
        output = options.output or ROOT / ("_build/sweeps/small" if options.small else "book/data")
        for folder in (output, options.shards):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                parser.error(f"{folder} cannot be made a folder: {error}")
        command = self.command(options.seed, configuration)
        try:
            with alone(output, name), cluster(options.backend, options.jobs) as backend:
                run = Run(options.seed, command, options.shards, output, options.jobs, options.fresh, backend)
                self.tables(run, **configuration)
        except ValueError as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            sys.exit(
                f"\nStopped. Finished tasks are kept in {options.shards}; "
                "the same command goes on from there."
            )


def outcome(task: Callable, arguments: dict, name: str, code: str) -> tuple[str, str | None, str | None]:
    """Run one task: the name of its shard, its rows as text, and what went wrong, if anything did."""
    try:
        if code_here(task) != code:
            raise ValueError(f"the code behind the task is another one on {platform.node()}")
        rows = task(**arguments)
        rows = [rows] if isinstance(rows, dict) else list(rows)
        return name, json.dumps(rows, default=lambda number: number.item()), None
    except Exception:
        failure = f"{task.__name__} failed with the arguments {SHORT.repr(arguments)}"
        return name, None, f"{failure}\n{traceback.format_exc()}"


@contextmanager
def alone(output: Path, name: str) -> Iterator[None]:
    """Hold the tables of this sweep in this folder; two that write them would mix their rows.

    The system lets go of the lock when the process ends, however it does.

    Raises:
        SystemExit: another process holds them.
    """
    path = output / f".{name}.lock"
    with path.open("w") as file:
        try:
            _lock(file)
        except OSError:
            sys.exit(f"Another run of {name} writes tables into {output}: wait, or name another --output")
        try:
            yield
        finally:
            with suppress(OSError):  # Windows keeps an open file
                path.unlink()


def _lock(file):
    """Raises OSError where another process has locked the file."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def cluster(backend: str, jobs: int) -> Iterator[str]:
    """For ``dask`` the address of a cluster of processes on this machine, for others what is given."""
    if backend != "dask":
        yield backend
        return
    distributed = _distributed()
    options = {"n_workers": jobs, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local:
        yield local.scheduler_address


@contextmanager
def workers(backend: str, jobs: int) -> Iterator[dict]:
    """The options of ``joblib.Parallel`` that name this backend.

    Raises:
        ValueError: a backend that joblib does not know, or Dask where it is not installed.
    """
    if backend in ("processes", "threads"):
        yield {"backend": {"processes": "loky", "threads": "threading"}[backend], "n_jobs": jobs}
    elif backend == "dask" or "://" in backend:
        distributed = _distributed()
        with cluster(backend, jobs) as address, distributed.Client(address), joblib.parallel_config("dask"):
            yield {}
    elif backend in joblib.parallel.BACKENDS:
        yield {"backend": backend, "n_jobs": jobs}
    else:
        raise ValueError(
            f"backend is {backend!r}; it must be processes, threads, dask, the address of a Dask scheduler, "
            "or a backend that was registered with joblib"
        )


def results_of(calls: list, options: dict) -> Iterator:
    """What the calls return, as it comes; one task at a time to each worker.

    Of a backend that gives all results at once, as Ray's does, some tasks for each worker after the other, so
    that a run which is killed loses no more than these.
    """
    backend, jobs = joblib.parallel.get_active_backend()
    if "backend" in options:
        backend, jobs = joblib.parallel.BACKENDS[options["backend"]](), options["n_jobs"]
    if backend.supports_return_generator:
        yield from joblib.Parallel(batch_size=1, return_as="generator_unordered", **options)(calls)
        return
    size = 4 * max(1, jobs)
    for start in range(0, len(calls), size):
        yield from joblib.Parallel(batch_size=1, **options)(calls[start : start + size])


def _distributed():
    try:
        import distributed
    except ImportError:
        raise ValueError("backend is Dask, which is not installed: pip install 'icrl[distributed]'") from None
    return distributed


def replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, whoever is killed meanwhile."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, newline="\n")
    os.replace(partial, path)


def code_behind(function: Callable) -> str:
    """A hash of the function's module and of all that it imports of its own package; comments aside."""
    package = function.__module__.partition(".")[0]
    seen, waiting = {}, [function.__module__]
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or getattr(module, "__file__", None) is None:
            continue
        seen[name], imported = _code_and_imports(Path(module.__file__).read_text())
        # Not the package's face: it leads everywhere.
        waiting += [x for x in imported if x.startswith(f"{package}.")]
    text = "\n".join(f"{name} {code}" for name, code in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache  # tasks of one sweep share most of their modules
def _code_and_imports(text):
    """The code without comments and layout, and every name that may be a module which it imports."""
    tree, names = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += [x.name for x in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{x.name}" for x in node.names)]
    return ast.dump(tree), names


code_here = functools.cache(code_behind)
"""The same for the modules as this process has loaded them."""


def at_least(least: int) -> Callable[[str], int]:
    """A whole number of the command line, not below ``least``."""

    def read(text):
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number of at least {least}")
        return int(text)

    return read
