"""Wrong programs by the hundred: does any test notice? `make mutants`.

A mutant is the package with one small change: a comparison, an operator, a constant, a default, a sign, an
argument left out or exchanged, a slice, a statement less. It is killed if a test fails, or does not end. What
survives is equivalent to the right program, or shows a check that is missing.

    python tests/mutation.py --sample 300 --seed 1           # of all modules but the claims
    python tests/mutation.py --module neu.loss --sample 40   # of one, or of all in a folder: --module neu
    python tests/mutation.py --own                           # by the own tests of modules: quick, strict

Everything is remembered in `_build/mutation`: which test reaches which function (found once for each test
file, by running it with every function marked), and the verdict on each mutant until its module changes (a
survivor is tried again when any test has changed). One process that has loaded the big libraries, but not the
package, forks for each mutant and runs there the tests that reach the changed function, those of the module's
own test file first, then the fastest first, then the claims at seed 0, until one fails. Tests of the book's
pages do not count.

(Of the well-kept libraries, cosmic-ray starts an interpreter for each mutant, which here means seconds of
imports; mutmut leaves decorated functions, defaults of classes and constants of modules alone.)
"""

import argparse
import ast
import copy
import functools
import hashlib
import importlib
import importlib.machinery
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEMORY = ROOT / "_build" / "mutation"
LEFT_OUT = {"__init__", "__main__", "plots"}  # the face, the command line, pictures
BOOK = {"test_exercises_flow_and_blocks.py", "test_exercises_of_softmax_td.py", "test_sweeps.py"}
TABLE = ROOT / "tests" / "claims" / "test_table.py"  # every claim, and what it looks at: slow, so last
LIBRARIES = (
    "numpy scipy.stats scipy.optimize scipy.integrate scipy.signal torch sympy flint jaxtyping gymnasium"
)
LIBRARIES += " matplotlib.pyplot seaborn pandas joblib tqdm mpmath pytest hypothesis beartype"
SECONDS = 120  # of tests for one mutant, at most, as they took when nothing was wrong


# Mutants ------------------------------------------------------------------------------------------------

NOT_CODE = ast.JoinedStr, ast.Import, ast.ImportFrom  # texts of errors among them
COMPARISONS = {"Lt": "LtE Gt", "LtE": "Lt GtE", "Gt": "GtE Lt", "GtE": "Gt LtE", "Eq": "NotEq", "NotEq": "Eq"}
COMPARISONS |= {"Is": "IsNot", "IsNot": "Is", "In": "NotIn", "NotIn": "In"}
OPERATORS = {"Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Mod": "FloorDiv"}
OPERATORS |= {"Pow": "Mult", "BitAnd": "BitOr", "BitOr": "BitAnd"}
PAIRS = "min-max amin-amax minimum-maximum any-all sum-mean argmin-argmax zeros-ones zeros_like-ones_like"
PAIRS += " floor-ceil real-imag cumsum-cumprod var-std"
NAMES = dict(pair.split("-") for pair in PAIRS.split())
NAMES |= {second: first for first, second in NAMES.items()}
SYMMETRIC = "swapaxes transpose max min maximum minimum isclose allclose array_equal".split()  # noqa: SIM905
UNWRAPPED = "abs sqrt exp log log1p expm1 square sorted reversed".split()  # noqa: SIM905
DROPPED = "abs sqrt exp log square detach copy clone conj cumsum mT T".split()  # noqa: SIM905


def others(table, operator):
    """What an operator is exchanged for."""
    return [getattr(ast, name)() for name in table.get(type(operator).__name__, "").split()]


def numbers(value, place):
    """Other constants in place of this one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1 if place % 2 else value - 1]  # one of the two, by its column: they are many
    if isinstance(value, float):
        return [1.0 if value == 0 else value * (1000 if 0 < abs(value) < 1e-3 else 1.5)]
    return []


def changes(node):
    """What may stand in place of an expression or statement."""
    new = copy.copy
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in others(COMPARISONS, operator):
                (changed := new(node)).ops = [*node.ops[:i], other, *node.ops[i + 1 :]]
                yield changed
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        for other in others(OPERATORS, node.op):
            (changed := new(node)).op = other
            yield changed
        if isinstance(node, ast.AugAssign):
            yield ast.Pass()
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        (changed := new(node)).op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield changed
    elif isinstance(node, ast.Constant):
        for value in numbers(node.value, node.col_offset):
            yield ast.Constant(value)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        (changed := new(node)).test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    elif isinstance(node, ast.Break):
        yield ast.Continue()
    elif isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
        yield ast.Pass()
    elif isinstance(node, ast.Slice):
        if node.lower is not None:
            (changed := new(node)).lower = ast.BinOp(node.lower, ast.Add(), ast.Constant(1))
            yield changed
        if node.upper is not None:
            (changed := new(node)).upper = ast.BinOp(node.upper, ast.Sub(), ast.Constant(1))
            yield changed
    elif isinstance(node, ast.Attribute) and node.attr in ("mT", "T"):
        yield node.value
    elif isinstance(node, ast.Call):
        yield from calls(node)


def calls(node):
    """A function for its opposite, an argument less, two exchanged, a wrapping less."""
    new, function = copy.copy, node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name in NAMES:
        (changed := new(node)).func = new(function)
        setattr(changed.func, "attr" if isinstance(function, ast.Attribute) else "id", NAMES[name])
        yield changed
    if name in UNWRAPPED and len(node.args) == 1:
        yield node.args[0]
    if name in DROPPED and not node.args and isinstance(function, ast.Attribute):
        yield function.value
    for i, keyword in enumerate(node.keywords):
        if keyword.arg != "strict":  # of zip: a guard that nothing runs into
            (changed := new(node)).keywords = node.keywords[:i] + node.keywords[i + 1 :]
            yield changed
    plain = [isinstance(a, ast.Name | ast.Attribute | ast.Constant) for a in node.args]
    for i in range(len(node.args) - 1 if name not in SYMMETRIC else 0):
        if plain[i] and plain[i + 1] and ast.dump(node.args[i]) != ast.dump(node.args[i + 1]):
            (changed := new(node)).args = list(node.args)
            changed.args[i], changed.args[i + 1] = node.args[i + 1], node.args[i]
            yield changed


@dataclass(frozen=True)
class Mutant:
    """One change to one module: the mutated syntax tree is made anew from its place and number."""

    module: str
    function: str  # dotted path of the function around it, "" for the module itself
    line: int
    number: int  # among all changes of the module, in the order of the source
    before: str
    after: str


def walk(node, function=""):
    """Nodes that may change, each with the function around it and how to put another in its place."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params", "exc", "msg"):
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if not isinstance(child, ast.AST) or isinstance(child, NOT_CODE):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue

            def put(new, child=child, field=field, i=i, value=value):
                new = ast.fix_missing_locations(ast.copy_location(new, child))
                if isinstance(value, list):
                    value[i] = new
                else:
                    setattr(node, field, new)

            inside = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".strip(".")
            yield child, function, put
            yield from walk(child, inside)


def candidates(tree):
    """All changes of a module's tree: node, new node, function, and how to make it."""
    for node, function, put in walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # docstrings
        for new in changes(node):
            yield node, new, function, put


def mutants(path):
    """All mutants of a file."""
    name = module_name(path)
    found = []
    for number, (node, new, function, _) in enumerate(candidates(ast.parse(path.read_text()))):
        before, after = (" ".join(ast.unparse(ast.fix_missing_locations(n)).split()) for n in (node, new))
        if before != after:
            found.append(Mutant(name, function, node.lineno, number, before, after))
    return found


def mutated(mutant):
    """The syntax tree of its module with the change made."""
    tree = ast.parse(module_path(mutant.module).read_text())
    _, new, _, put = next(c for i, c in enumerate(candidates(tree)) if i == mutant.number)
    put(new)
    return ast.fix_missing_locations(tree)


def marked(name, path):
    """The syntax tree of a module in which every function tells that it is called, and none remembers."""
    tree = ast.parse(path.read_text())

    def mark(node, function=""):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".strip(".")
                child.decorator_list = [d for d in child.decorator_list if "lru_cache" not in ast.unparse(d)]
                mark(child, inside)
                if isinstance(child, ast.FunctionDef):
                    call = ast.parse(f"__reached__({f'{name}:{inside}'!r})").body
                    child.body[ast.get_docstring(child) is not None : 0] = call
            else:
                mark(child, function)

    mark(tree)
    return ast.fix_missing_locations(tree)


def module_name(path):
    """`icrl.neu.loss` for icrl/neu/loss.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def module_path(name):
    """icrl/neu/loss.py for `icrl.neu.loss`."""
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


def modules():
    """Files of the core and of the studies."""
    found = (p for p in sorted((ROOT / "icrl").rglob("*.py")) if p.parent.name != "claims")
    return [path for path in found if path.stem not in LEFT_OUT]


# Running tests in a fork --------------------------------------------------------------------------------


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a syntax tree instead of its source, past Python's cache of compiled modules."""

    def __init__(self, name, path, tree):
        super().__init__(name, str(path))
        self.tree = tree

    def get_code(self, fullname):
        return compile(self.tree, self.path, "exec", dont_inherit=True)


class Finder:
    """Finds the modules for which there is another tree."""

    def __init__(self, tree_of):
        self.tree_of = tree_of  # name, path -> tree or None

    def find_spec(self, name, path=None, target=None):
        where = module_path(name) if name.startswith("icrl.") else None
        tree = self.tree_of(name, where) if where and where.exists() else None
        if tree is not None:
            loader = Changed(name, where, tree)
            return importlib.machinery.ModuleSpec(name, loader, origin=str(where), is_package=False)
        return None


class Chooser:
    """A plugin of pytest: runs the chosen tests in their order, notes times, marks and the first failure."""

    def __init__(self, chosen=None):
        self.order = {name: i for i, name in enumerate(chosen or [])}
        self.reached, self.tests, self.failed = set(), {}, None

    def pytest_collection_modifyitems(self, items):
        if self.order:
            items[:] = sorted(
                (i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid]
            )

    def pytest_runtest_logstart(self, nodeid):
        self.reached.clear()
        self.tests[nodeid] = [time.process_time(), []]

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed = self.failed or report.nodeid
            self.tests[report.nodeid].append("failed")

    def pytest_runtest_logfinish(self, nodeid):
        self.tests[nodeid][0] = time.process_time() - self.tests[nodeid][0]
        self.tests[nodeid][1] = sorted(self.reached)


def run(files, chooser, finder, cpu_seconds, *options):
    """Runs tests in a fork of this process: pytest's exit code (None: it did not end), tests, failure."""
    answer = MEMORY / f"answer-{os.getpid()}.json"
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            log = os.open(MEMORY / "last.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 5))
            sys.meta_path.insert(0, finder)
            sys.path[:0] = [str(ROOT)]
            os.chdir(ROOT)
            import builtins

            import pytest
            from hypothesis import settings

            builtins.__reached__ = chooser.reached.add
            settings.register_profile("mutation", deadline=None, database=None)
            settings.load_profile("mutation")
            quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:nbval", *options]
            quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of libraries loaded before
            code = pytest.main([*quiet, *map(str, files)], plugins=[chooser])
            answer.write_text(json.dumps([int(code), chooser.tests, chooser.failed]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    patience = time.monotonic() + 8 * cpu_seconds  # a sleeping or a starved child
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > patience:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.01)
    return json.loads(answer.read_text()) if answer.exists() else [None, {}, None]


def test_files():
    """All but those of pages, and the table of claims."""
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    return [p for p in every if (p.parent.name != "book" or p.name in BOOK) and p != TABLE]


def claims():
    """What the table of claims looks through."""
    return sorted((ROOT / "icrl" / "claims").glob("*.py"))


def digest(*paths):
    """Of the text of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def recall(name):
    """What was remembered under a name."""
    return json.loads((MEMORY / name).read_text()) if (MEMORY / name).exists() else {}


def remember(name, what):
    """In one stroke, so that a killed run leaves the last whole state."""
    (MEMORY / f"{name}.new").write_text(json.dumps(what))
    (MEMORY / f"{name}.new").replace(MEMORY / name)


def reach(files):
    """For each test file its tests: seconds and the functions they reach. Failing ones are left out."""
    known, names = recall("reach.json"), [str(path.relative_to(ROOT)) for path in files]
    wanted = set(modules())
    finder = Finder(lambda name, path: marked(name, path) if path in wanted else None)
    for path, name in zip(files, names, strict=True):
        now = digest(*watched(path))
        if known.get(name, {}).get("digest") != now:
            start = time.monotonic()
            code, tests, failed = run([path], Chooser(), finder, 900)
            good = {test: notes for test, notes in tests.items() if len(notes) == 2}
            known[name] = {"digest": now, "tests": good}
            remember("reach.json", known)
            seconds = time.monotonic() - start
            print(f"     {name}: {len(good)} of {len(tests)} tests, {seconds:.0f} s, exit {code}", flush=True)
            if failed:
                print(f"     left out, as it fails when marked: {failed}", flush=True)
    return {name: known[name]["tests"] for name in names}


def watched(path):
    """The files that decide what the tests of this one reach."""
    return [path, *claims()] if path == TABLE else [path]


def is_known(path):
    """Whether what the tests of this file reach is remembered."""
    return recall("reach.json").get(str(path.relative_to(ROOT)), {}).get("digest") == digest(*watched(path))


def imports(path):
    """Modules of the package that a file names in its imports; a package stands for all its modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "icrl":
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("icrl.")}
    folders = {name for name in found - {"icrl", "icrl.claims"} if ROOT.joinpath(*name.split(".")).is_dir()}
    inside = {module_name(p) for name in folders for p in ROOT.joinpath(*name.split(".")).glob("*.py")}
    return {name for name in found | inside if module_path(name).exists()}


@functools.cache
def distances(module):
    """How many imports lie between each test file and a module, if they lead there; the table comes last."""
    graph = {module_name(p): imports(p) for p in sorted((ROOT / "icrl").rglob("*.py"))}
    far, edge = {module: 0}, {module}
    while edge:
        edge = {name for name, used in graph.items() if name not in far and used & edge}
        far |= dict.fromkeys(edge, max(far.values()) + 1)
    found = {path: [far[name] for name in imports(path) if name in far] for path in test_files()}
    found[TABLE] = [far[name] + 1 for name in map(module_name, claims()) if name in far]
    return {path: min(steps) for path, steps in found.items() if steps}


def stages(mutant, own_only):
    """Lists of tests to run one after the other: of the module's own file, of the nearest others, claims."""
    name = Path(*mutant.module.split(".")[1:])
    own = ROOT / "tests" / name.with_name(f"test_{name.name}.py")
    far = distances(mutant.module)
    groups = [[own] if own.exists() else []]
    if own_only and own.exists():
        yield [str(own.relative_to(ROOT))], SECONDS
        return
    groups += [[p for p in far if p != own and far[p] == 0]]
    farther = [p for p in far if far[p] > 0 and p.parent.name in ("claims", own.parent.name)]
    groups += [[p for p in farther if p != TABLE], [p for p in farther if p == TABLE]]
    for files in groups:
        if files == [own] and not is_known(own):
            yield [str(own.relative_to(ROOT))], SECONDS  # most mutants die here, in whatever order
            continue
        reached = reach(files)
        place = f"{mutant.module}:{mutant.function}"
        seen = {p for tests in reached.values() for _, places in tests.values() for p in places}
        if not any(f"{p}.".startswith(f"{place}.") for p in seen):
            place = f"{mutant.module}:"  # a constant, a class without methods
        hits, near = {}, {}
        for tests in reached.values():
            hit = {
                test: seconds
                for test, (seconds, places) in tests.items()
                if any(p == place or p.startswith(place if place[-1] == ":" else f"{place}.") for p in places)
            }
            hits |= hit
            # What a fixture reached for one test holds for the others of its file.
            if (hit and files != [TABLE]) or files == [own]:
                near |= {test: seconds for test, (seconds, _) in tests.items() if test not in hit}
        chosen, total = [], 0.0
        for test in [*sorted(hits, key=hits.get), *sorted(near, key=near.get)]:
            total += hits.get(test, near.get(test))
            if total <= SECONDS or not chosen:
                chosen.append(test)
        if chosen:
            yield chosen, min(total, SECONDS)


def verdict(mutant, own_only):
    """`killed by …`, `did not end`, `survived`, or `reached by no test`."""
    tree = mutated(mutant)
    finder = Finder(lambda name, path: tree if name == mutant.module else None)
    ran = 0
    for chosen, seconds in stages(mutant, own_only):
        files = list(dict.fromkeys(test.split("::")[0] for test in chosen))
        chooser = Chooser(None if files == chosen else chosen)
        code, tests, failed = run(files, chooser, finder, 30 + 3 * seconds, "-x", "-o", "timeout=60")
        ran += len(tests)
        if code is None:
            return "did not end"
        if code not in (0, 5):  # 5: nothing was collected
            return f"killed by {failed or 'its import'}"
    return "survived" if ran else "reached by no test"


# The table ----------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`make")[0])
    parser.add_argument(
        "--sample", type=int, default=300, help="how many mutants, drawn at random (default 300)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    parser.add_argument("--module", action="append", default=[], help="only of this module or folder")
    parser.add_argument(
        "--own", action="store_true", help="only by the module's own tests: quick, and strict"
    )
    parser.add_argument("--list", action="store_true", help="show the sample and stop")
    options = parser.parse_args()
    MEMORY.mkdir(parents=True, exist_ok=True)
    names = [f"icrl.{name.removeprefix('icrl.')}" for name in options.module]
    paths = [
        p for p in modules() if not names or any((module_name(p) + ".").startswith(n + ".") for n in names)
    ]
    every = [mutant for path in paths for mutant in mutants(path)]
    sample = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    print(f"{len(every)} mutants of {len(paths)} modules, {len(sample)} drawn with seed {options.seed}")
    if options.list:
        for m in sample:
            print(f"  {m.module}:{m.line} {m.before} -> {m.after}")
        return 0

    for library in LIBRARIES.split():
        importlib.import_module(library)
    tests_now, tool = digest(*test_files(), TABLE, *claims()), digest(Path(__file__))
    known, count, survivors = recall("verdicts.json"), {}, []
    for i, m in enumerate(sample):
        key = f"{tool} {m.module} {digest(module_path(m.module))} {m.number}" + " own" * options.own
        before = known.get(key)
        if before is None or (not before[0].startswith(("killed", "did")) and before[1] != tests_now):
            start = time.monotonic()
            known[key] = [verdict(m, options.own), tests_now]
            remember("verdicts.json", known)
            seconds = time.monotonic() - start
            change = f"{m.module}:{m.line} {m.before[:70]} -> {m.after[:70]}"
            print(f"{i + 1:4} {seconds:4.0f} s  {change}: {known[key][0]}", flush=True)
        ending = known[key][0]
        count.setdefault(m.module, Counter())[
            "killed" if ending.startswith(("killed", "did")) else "left"
        ] += 1
        if not ending.startswith(("killed", "did")):
            survivors.append((m, ending))
    print(f"\n{'module':<45} {'mutants':>7} {'killed':>7}")
    for module, seen in sorted(count.items()):
        print(f"{module:<45} {seen.total():7} {seen['killed']:7}")
    killed = sum(seen["killed"] for seen in count.values())
    print(f"{'together':<45} {len(sample):7} {killed:7}   {killed / max(1, len(sample)):.1%}\n")
    for m, ending in sorted(survivors, key=lambda pair: (pair[0].module, pair[0].number)):
        print(f"{ending}: {m.module}:{m.line} in {m.function or 'the module'}\n    {m.before}\n -> {m.after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
