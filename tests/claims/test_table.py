"""The table of claims, pinned: what each is, how much it allows, how often it may fail, how much it looks at.

A row of `table.txt` is one claim: id, kind, tolerance, risk, and how many random numbers (64 bits each) its
check draws at seed 0, which grows with the number of its instances. So no tolerance grows and no check
looks at less without a line in a diff. That each claim holds is seen here, once; the files beside this one
see it fail. A new or changed claim: paste the row that the failing test prints,
in the order of the alphabet, or run `python tests/claims/test_table.py ID ...`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from icrl.claims import CLAIMS

TABLE = Path(__file__).with_name("table.txt")
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
    """The evidence at seed 0, and the row of the claim."""
    rng = claim.generator(0)
    before = rng.bit_generator.state
    evidence = claim.check(rng)
    count = draws(before, rng.bit_generator.state)
    row = f"{claim.id:<30} {claim.kind:<9} {evidence.tolerance:<7g} {claim.risk:<7g} {count}"
    return evidence, row


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_row(claim):
    """It holds at seed 0, and is what its row says."""
    evidence, row = examine(claim)
    assert evidence.holds, evidence
    assert rows().get(claim.id) == row, (
        f"the row of this claim is now, to be pasted into {TABLE.name}:\n{row}"
    )


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
