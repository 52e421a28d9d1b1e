"""The runner of the long runs: same table whoever makes it, nothing stale, nothing half, nothing lost."""

import ast
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import joblib
import pytest

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "book" / "sweeps"
ENVIRONMENT = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

TASKS = '''
"""Tasks that note when they ran, and do as the files beside them say."""
import os
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def square(*, number, seed):
    with (HERE / "ran").open("a") as file:
        file.write(f"{number}\\n")
    if (HERE / "raise").exists() and number == 2:
        raise RuntimeError("two is too much")
    if (HERE / "die").exists() and number == 2:
        os._exit(9)
    if (HERE / "die once").exists() and number == 2:
        (HERE / "die once").unlink()
        os._exit(9)
    draw = np.random.default_rng(seed).normal()
    threads = os.environ["OMP_NUM_THREADS"]
    rows = [{"number": number, "power": p, "value": number**p, "draw": draw, "note": None} for p in (1, 2)]
    rows[1]["note"] = threads
    return rows


def mean(*, values):
    return {"mean": np.float64(np.mean(values)), "count": np.int64(len(values))}
'''
SCRIPT = f'''
import sys
sys.path.insert(0, {str(SWEEPS)!r})
from runner import Run, Sweep
from tasks import mean, square


def tables(run: Run, *, numbers: int) -> None:
    """Squares."""
    rows = run(square, [{{"number": n}} for n in range(numbers)])
    run.write("squares", ("number", "power", "value", "draw", "note"), rows)
    run.write("mean", ("mean", "count"), run(mean, [{{"values": [row["value"] for row in rows]}}]))


SWEEP = Sweep(__file__, tables, full={{"numbers": 6}}, small={{"numbers": 3}})
if __name__ == "__main__":
    SWEEP.main()
'''


@pytest.fixture
def sweep(tmp_path):
    """Runs the script in a process of its own; the table it wrote, or its complaint."""
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "toy.py").write_text(SCRIPT)

    def run(*options, fails=False):
        (tmp_path / "ran").unlink(missing_ok=True)
        folders = [f"--output={tmp_path / 'out'}", f"--shards={tmp_path / 'shards'}"]
        command = [sys.executable, str(tmp_path / "toy.py"), *folders, *options]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=100)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else (tmp_path / "out" / "squares.csv").read_text()

    run.ran = lambda: sorted((tmp_path / "ran").read_text().split()) if (tmp_path / "ran").exists() else []
    run.folder = tmp_path
    return run


def test_table_is_the_same_for_any_number_of_workers(sweep):
    one = sweep("--jobs=1")
    assert sweep.ran() == list("012345")
    assert sweep("--jobs=2", "--fresh") == one
    assert sweep.ran() == list("012345")
    lines = one.splitlines()
    assert lines[0] == "# python book/sweeps/toy.py --seed 0 --numbers 6"
    assert lines[1] == "number,power,value,draw,note"
    cells = [line.split(",") for line in lines[2:]]
    assert [(int(c[0]), int(c[1])) for c in cells] == [(n, p) for n in range(6) for p in (1, 2)]
    assert [c[4] for c in cells[:2]] == ["", "1"]  # None is an empty cell; one thread in each worker
    assert len({c[3] for c in cells}) == 6  # to each task its own randomness
    assert (sweep.folder / "out" / "mean.csv").read_text().splitlines()[1:] == ["mean,count", f"{70 / 12},12"]


def test_second_run_computes_nothing_and_changes_nothing(sweep):
    first = sweep("--jobs=1")
    stamp = (sweep.folder / "out" / "squares.csv").stat().st_mtime_ns
    assert sweep("--jobs=2") == first
    assert sweep.ran() == []
    assert (sweep.folder / "out" / "squares.csv").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("how", "jobs"), [("raise", 1), ("die", 2)])
def test_run_goes_on_after_a_task_failed(sweep, how, jobs):
    whole = sweep("--jobs=1")
    for path in (sweep.folder / "shards").iterdir():
        path.unlink()
    (sweep.folder / "out" / "squares.csv").unlink()
    (sweep.folder / how).touch()
    complaint = sweep(f"--jobs={jobs}", fails=True)
    assert not (sweep.folder / "out" / "squares.csv").exists()
    if how == "raise":
        assert re.search(r"square failed with the arguments \{'number': 2, 'seed': \d+\}", complaint)
        assert "RuntimeError: two is too much" in complaint
        assert "5 of 6 tasks are done" in complaint
    else:
        assert "a worker was killed" in complaint
    (sweep.folder / how).unlink()
    kept = len(list((sweep.folder / "shards").glob("*.json")))
    assert sweep(f"--jobs={jobs}") == whole
    assert len(sweep.ran()) == 6 - kept
    assert "2" in sweep.ran()


def test_dask_loses_nothing_with_a_worker(sweep):
    """A real cluster of two processes, one of which dies of a task: the other does it, same table."""
    pytest.importorskip("distributed")
    one = sweep("--jobs=1")
    (sweep.folder / "die once").touch()
    assert sweep("--jobs=2", "--backend=dask", "--fresh") == one
    assert not (sweep.folder / "die once").exists()
    assert set(sweep.ran()) == set("012345")
    assert sweep.ran().count("2") == 2


@pytest.mark.parametrize("backend", ["threads", "sequential"])
def test_backend_does_not_show(run, tmp_path, backend):
    """Threads, and one of joblib's own by its name."""
    again = replace(run, backend=backend, jobs=2, fresh=True)
    assert again(drawn, [{"number": n} for n in (3, 1)]) == run(drawn, [{"number": n} for n in (3, 1)])


def test_backend_that_gives_all_results_at_once(run, monkeypatch):
    """As Ray's does: in rounds, and what a round has done is kept if a later one fails."""
    backends = joblib.parallel.BACKENDS
    at_once = type("AtOnce", (backends["threading"],), {"supports_return_generator": False})
    monkeypatch.setitem(backends, "at once", at_once)
    again = replace(run, backend="at once", jobs=1)
    grid = [{"number": n} for n in range(6)]
    done = again(drawn, grid)
    assert done == replace(run, fresh=True)(drawn, grid)
    for path in run.shards.glob("*.json"):
        path.unlink()
    kept = []
    original = joblib.Parallel.__call__
    monkeypatch.setattr(
        joblib.Parallel,
        "__call__",
        lambda self, calls: kept.append(len(list(run.shards.glob("*.json")))) or original(self, calls),
    )
    assert again(drawn, grid) == done
    assert kept == [0, 4]


def test_a_worker_with_other_code_is_refused(run, runner, monkeypatch, capsys):
    """Somewhere else the package may be another version."""
    monkeypatch.setattr(runner, "code_here", lambda task: "older")
    with pytest.raises(SystemExit, match="No table is written"):
        run(double, [{"number": 1}])
    assert "the code behind the task is another one on" in capsys.readouterr().err


@pytest.mark.bad_input
def test_a_backend_that_nobody_registered_is_refused(run):
    with pytest.raises(ValueError, match="backend is 'ray'; it must be processes, threads, dask, "):
        replace(run, backend="ray")(double, [{"number": 1}])


@pytest.mark.bad_input
def test_dask_where_it_is_not_installed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'icrl\[distributed\]'"):
        replace(run, backend="dask")(double, [{"number": 1}])


def test_a_second_run_on_the_same_tables_is_refused(runner, tmp_path):
    """While the first is at it; another folder is free, and so is the first one afterwards."""
    seen = []

    def tables(run, numbers):
        seen.append(numbers)
        if numbers:
            folders = [f"--shards={tmp_path}", f"--output={tmp_path / 'other'}", "--numbers=0"]
            sweep.main(folders)
            with pytest.raises(
                SystemExit, match=r"Another run of toy writes tables into .*name another --output"
            ):
                sweep.main([*folders, f"--output={tmp_path}"])

    sweep = runner.Sweep("toy.py", tables, {"numbers": 6}, {"numbers": 3})
    for _ in range(2):
        sweep.main([f"--shards={tmp_path}", f"--output={tmp_path}"])
    assert seen == [6, 0, 6, 0]
    assert not list(tmp_path.glob(".*"))


def test_run_goes_on_after_it_was_killed(sweep):
    """SIGKILL in the middle; what was there before is untouched, what is finished is not done again."""
    whole = sweep("--jobs=1")
    slow = TASKS.replace("    draw =", "    import time; time.sleep(0.3)\n    draw =")
    (sweep.folder / "tasks.py").write_text(slow)
    command = [sys.executable, str(sweep.folder / "toy.py"), "--jobs=1", f"--output={sweep.folder / 'out'}"]
    process = subprocess.Popen(
        [*command, f"--shards={sweep.folder / 'killed'}"], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while len(list(sweep.folder.glob("killed/*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(sweep.folder.glob("killed/*.json")))
    assert 2 <= kept < 6
    assert (sweep.folder / "out" / "squares.csv").read_text() == whole
    assert sweep("--jobs=1", f"--shards={sweep.folder / 'killed'}") == whole
    assert len(sweep.ran()) == 6 - kept


def test_what_changes_a_task_is_never_answered_from_before(sweep):
    first = sweep("--jobs=1")
    longer = sweep("--jobs=1", "--numbers=7")
    assert sweep.ran() == ["6"]  # the others are the same tasks
    assert longer.splitlines()[2:-2] == first.splitlines()[2:]
    other = sweep("--jobs=1", "--seed=1")
    assert sweep.ran() == list("012345")
    assert other.splitlines()[2:] != first.splitlines()[2:]
    (sweep.folder / "tasks.py").write_text(TASKS.replace("number**p", "number**p + 1"))
    changed = sweep("--jobs=1")
    assert sweep.ran() == list("012345")
    assert changed.splitlines()[2].startswith("0,1,1,")
    (sweep.folder / "tasks.py").write_text(TASKS.replace("number**p", "number**p + 1") + "# a comment\n")
    sweep("--jobs=1")
    assert sweep.ran() == []


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(SWEEPS))
    import runner

    return runner


def double(*, number):
    return {"double": 2 * number}


def drawn(*, number, seed):
    return {"number": number, "seed": seed}


@pytest.fixture
def run(runner, tmp_path):
    return runner.Run(0, "python toy.py", tmp_path, tmp_path)


def test_a_file_is_whole_or_not_there(runner, tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        runner.replace(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    runner.replace(path, "new")
    assert path.read_text() == "new"


def test_seeds_belong_to_tasks_not_to_places(run):
    few = {row["number"]: row["seed"] for row in run(drawn, [{"number": n} for n in (3, 1)])}
    many = {row["number"]: row["seed"] for row in run(drawn, [{"number": n} for n in range(5)])}
    assert few.items() < many.items()
    assert len(set(many.values())) == 5
    assert all(0 <= seed < 2**63 for seed in many.values())
    assert run(drawn, [{"number": 1, "seed": 7}]) == [{"number": 1, "seed": 7}]


def test_code_behind_a_task_reaches_as_far_as_its_imports(runner, tmp_path, monkeypatch):
    package = tmp_path / "deep"
    (package / "study").mkdir(parents=True)
    (package / "__init__.py").write_text("FACE = 1\n")
    (package / "core.py").write_text("FACTOR = 2\n")
    (package / "study" / "__init__.py").write_text("from deep.study.tasks import task\n")
    (package / "study" / "tasks.py").write_text(
        "from deep import core\n\n\ndef task():\n    return core.FACTOR\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from deep.study import task

    before = runner.code_behind(task)
    (package / "__init__.py").write_text("FACE = 2\n")
    assert runner.code_behind(task) == before
    (package / "core.py").write_text("FACTOR = 3\n")
    assert runner.code_behind(task) != before


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("task", "grid", "rule"),
    [
        (lambda number: {}, [{"number": 1}], "must be a function at the top of a module"),
        (double, [{"number": 1}, {"nomber": 1}], r"task 1 .*nomber.*missing a required .*argument: 'number'"),
        (double, [{"number": Path()}], r"task 0 .* not JSON serializable"),
        (double, [{"number": 1}, {"number": 2}, {"number": 1}], "task 2 .* as one before it"),
    ],
)
def test_tasks_that_are_refused(run, task, grid, rule):
    with pytest.raises(ValueError, match=rule):
        run(task, grid)


@pytest.mark.bad_input
def test_rows_that_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"row 1 of table has the columns \['b'\]; the table \['a'\]"):
        run.write("table", ["a"], [{"a": 1}, {"b": 1}])
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--jobs=0", "0 is no whole number of at least 1"),
        ("--seed=-1", "-1 is no whole number of at least 0"),
        ("--numbers=many", "many is no whole number"),
        ("--output=FILE", "cannot be made a folder"),
        ("--smal", "unrecognized arguments: --smal"),
    ],
)
def test_options_that_are_refused(runner, tmp_path, capsys, option, rule):
    (tmp_path / "file").touch()
    sweep = runner.Sweep("toy.py", lambda run, numbers: None, {"numbers": 6}, {"numbers": 3})
    with pytest.raises(SystemExit) as stop:
        sweep.main([f"--shards={tmp_path}", option.replace("FILE", str(tmp_path / "file"))])
    assert stop.value.code == 2
    assert rule in capsys.readouterr().err


def test_small_form_stays_away_from_the_book(runner, tmp_path):
    seen = []
    sweep = runner.Sweep("toy.py", lambda run, **c: seen.append((run, c)), {"numbers": 6}, {"numbers": 3})
    sweep.main([f"--shards={tmp_path}", "--small"])
    sweep.main([f"--shards={tmp_path}", "--small", "--numbers=2"])
    assert [configuration for _, configuration in seen] == [{"numbers": 3}, {"numbers": 2}]
    assert {run.output.relative_to(runner.ROOT).as_posix() for run, _ in seen} == {"_build/sweeps/small"}
    assert seen[0][0].command == "python book/sweeps/toy.py --seed 0 --numbers 3"


def test_shards_can_be_read(run, tmp_path):
    assert run(double, [{"number": 4}]) == [{"double": 8}]
    (shard,) = tmp_path.glob("double-*.json")
    assert json.loads(shard.read_text()) == [{"double": 8}]


DATA = ROOT / "book" / "data"
SCRIPTS = sorted(path.stem for path in SWEEPS.glob("*.py") if path.stem != "runner")
MADE_BY = {path.stem: path.read_text().splitlines()[0] for path in DATA.glob("*.csv")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_small_form_writes_the_columns_of_the_committed_tables(runner, tmp_path, name):
    sweep = runpy.run_path(str(SWEEPS / f"{name}.py"))["SWEEP"]
    sweep.main(["--small", "--jobs=1", f"--output={tmp_path}", f"--shards={tmp_path / 'shards'}"])
    line = f"# {sweep.command(0, sweep.full)}"
    committed = [table for table, head in MADE_BY.items() if f"book/sweeps/{name}.py" in head]
    assert {table: MADE_BY[table] for table in committed} == dict.fromkeys(committed, line)
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == sorted(committed)
    for table in committed:
        small, full = ((folder / f"{table}.csv").read_text().splitlines() for folder in (tmp_path, DATA))
        assert small[0] == f"# {sweep.command(0, sweep.small)}"
        if table == "control-block":  # a matrix, without names
            assert [len(row.split(",")) for row in small[1:]] == [len(row.split(",")) for row in full[1:]]
        else:
            assert small[1] == full[1]
            assert len(small) > 2


def test_every_committed_table_has_its_script():
    made = re.compile(r"# python book/sweeps/(\w+)\.py --seed \d+ .+")
    assert {made.fullmatch(line)[1] for line in MADE_BY.values()} <= set(SCRIPTS)


def test_the_library_holds_no_long_runs():
    """No command line but its own, and no path that leads from its files to the book's."""
    for path in (ROOT / "icrl").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):  # docstrings may name pages
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = None
        strings = [
            x.value for x in ast.walk(tree) if isinstance(x, ast.Constant) and isinstance(x.value, str)
        ]
        names = {x.id for x in ast.walk(tree) if isinstance(x, ast.Name)}
        imports = {a.name for x in ast.walk(tree) if isinstance(x, ast.Import) for a in x.names}
        assert not any(re.search(r"\bbook\b|\.csv", text) for text in strings), path
        assert "__file__" not in names, path
        if path.name != "__main__.py":
            assert "argparse" not in imports, path
            assert "__name__" not in names, path
