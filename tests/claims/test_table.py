"""The table of claims, pinned: what each is, how much it allows, how often it may fail, how much it looks at.

A row of `table.txt` is one claim: id, kind, tolerance, risk, and how many random numbers (64 bits each) its
check draws at seed 0, which grows with the number of its instances. So no tolerance grows and no check
looks at less without a line in a diff. That each claim holds is seen here, once; the files beside this one
see it fail. A new or changed claim: paste the row that the failing test prints,
in the order of the alphabet, or run `python tests/claims/test_table.py ID ...`.

The notebook of the claims page would compute all of this again. Its cells are run here instead, on the same
evidence, and nbval leaves it out (Makefile).
"""

import ast
import json
import sys
from pathlib import Path

import early
import numpy as np
import pytest

from icrl.claims import CLAIMS, gathering

TABLE = Path(__file__).with_name("table.txt")
PAGE = Path(__file__).parents[2] / "book" / "claims.ipynb"
SEEN = {}  # evidence and row at seed 0, by id
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # of PCG64, a linear congruential generator at heart


def rows():
    """The pinned rows, by id."""
    return {line.split()[0]: line for line in TABLE.read_text().splitlines()}


def draws(before, after):
    """How many steps a PCG64 made between two of its states: bit by bit, as one jumps ahead."""
    here, there = before["state"]["state"], after["state"]["state"]
    factor, plus, bit, count = MULTIPLIER, before["state"]["inc"], 1, 0
    while here != there:
        if (here ^ there) & bit:
            here = (here * factor + plus) % 2**128
            count |= bit
        bit, plus, factor = 2 * bit, (factor + 1) * plus % 2**128, factor**2 % 2**128
    return count


def examine(claim):
    """The evidence at seed 0, and the row of the claim; computed once."""
    if claim.id in SEEN:
        return SEEN[claim.id]
    rng = claim.generator(0)
    before = rng.bit_generator.state
    evidence = early.evidence(claim, rng)
    count = draws(before, rng.bit_generator.state)
    row = f"{claim.id:<30} {claim.kind:<9} {evidence.tolerance:<7g} {claim.risk:<7g} {count}"
    SEEN[claim.id] = evidence, row
    return evidence, row


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_row(claim):
    """It holds at seed 0, and is what its row says."""
    evidence, row = examine(claim)
    assert evidence.holds, evidence
    assert rows().get(claim.id) == row, (
        f"the row of this claim is now, to be pasted into {TABLE.name}:\n{row}"
    )


def lines(text):
    """A text of a notebook, which may be a list of lines."""
    return "".join(text)


def run_cell(source, names):
    """The value of a cell's last line, if that is an expression."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


def test_page(monkeypatch, capsys):
    """The cells of the page, on the evidence of above, show what the committed notebook shows."""

    def gather(seed, jobs):
        assert (seed, jobs) == (0, 2)
        return {claim.id: examine(claim)[0] for claim in CLAIMS}

    monkeypatch.setattr(gathering, "gather", gather)
    names, compared = {}, set()
    for cell in json.loads(PAGE.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        value, printed = run_cell(lines(cell["source"]), names), capsys.readouterr().out
        shown = {output["output_type"]: output for output in cell["outputs"]}
        assert lines(shown.pop("stream", {"text": ""})["text"]) == printed
        result = shown.pop("execute_result", None)
        assert (result is None) == (value is None)
        if result:
            assert lines(result["data"]["text/markdown"]) == value.data
        assert not shown
        compared |= {output["output_type"] for output in cell["outputs"]}
    assert compared == {"stream", "execute_result"}


def test_no_row_without_a_claim():
    """In the order of the alphabet, so that two who add rows rarely meet."""
    ids = [line.split()[0] for line in TABLE.read_text().splitlines()]
    assert ids == sorted(ids)
    assert set(ids) - {claim.id for claim in CLAIMS} == set()


def test_one_run_in_a_thousand_may_fail():
    """The stated probabilities of failing a true statement, all claims together; sampled means state one."""
    assert sum(claim.risk for claim in CLAIMS) < 1e-3
    assert [claim.id for claim in CLAIMS if claim.kind == "interval" and not claim.risk > 0] == []


def test_draws_are_counted():
    """By a generator that is asked a known number of times."""
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    rng.random(1234)
    assert draws(before, rng.bit_generator.state) == 1234
    assert draws(before, before) == 0


if __name__ == "__main__":
    chosen = [claim for claim in CLAIMS if claim.id in sys.argv[1:] or not sys.argv[1:]]
    known = {claim.id for claim in CLAIMS}
    new = {name: row for name, row in rows().items() if name in known} if TABLE.exists() else {}
    new |= {claim.id: examine(claim)[1] for claim in chosen}
    TABLE.write_text("".join(f"{new[name]}\n" for name in sorted(new)))
