"""The tool behind `make mutants`: what it changes, and that nothing else changes."""

import ast

import mutation


def test_changes_of_a_line():
    source = "def f(x, y=2):\n    return max(x[1:], y) - 1 < 3 and g(x, y, z=True) or zip(x, y, strict=True)"
    whole = {f"{ast.unparse(a)} -> {ast.unparse(b)}" for a, b, *_ in mutation.candidates(ast.parse(source))}
    asked = """2 -> 3
        max(x[1:], y) - 1 < 3 -> max(x[1:], y) - 1 <= 3
        max(x[1:], y) - 1 < 3 -> max(x[1:], y) - 1 > 3
        max(x[1:], y) - 1 -> max(x[1:], y) + 1
        max(x[1:], y) -> min(x[1:], y)
        1: -> 1 + 1:
        g(x, y, z=True) -> g(y, x, z=True)
        g(x, y, z=True) -> g(x, y)
        True -> False"""
    assert {line.strip() for line in asked.splitlines()} <= whole
    assert not any("strict=False" in change or "-> zip(x, y)" in change for change in whole)


def test_one_change_at_a_time():
    """Each mutant compiles, differs from the module in one place, and is the one that is shown."""
    path = mutation.ROOT / "icrl" / "policies.py"
    source = ast.unparse(ast.parse(path.read_text())).splitlines()
    found = mutation.mutants(path)
    assert len(found) > 10
    for mutant in found:
        tree = mutation.mutated(mutant)
        compile(tree, "mutant", "exec")
        changed = ast.unparse(tree).splitlines()
        same = sum(a == b for a, b in zip(source, changed, strict=False))
        backwards = sum(a == b for a, b in zip(source[::-1], changed[::-1], strict=False))
        assert changed != source
        assert same < len(source) or len(changed) != len(source)
        assert max(same, backwards) >= len(source) - 3


def test_a_mutant_is_loaded_and_nothing_else():
    finder = mutation.Finder(lambda name, path: ast.parse("x = 1") if name == "icrl.tables" else None)
    spec = finder.find_spec("icrl.tables")
    assert spec.loader.get_code("icrl.tables").co_names == ("x",)
    assert finder.find_spec("icrl.mrp") is None
    assert finder.find_spec("numpy") is None


def test_claims_see_what_they_use():
    """The table of claims, which names no module itself, is among the tests of whatever a claim uses."""
    assert mutation.TABLE in mutation.distances("icrl.mrp")
    assert mutation.TABLE not in mutation.distances("icrl.depth.measure_that_is_not_there")
