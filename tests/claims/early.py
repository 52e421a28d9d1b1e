"""Whether a claim still holds over a fault, without more instances than it takes to see that it does not.

An identity is as wrong as its worst instance: the first that is off by more than the tolerance settles it.
`test_table.py` runs every claim in the same way when nothing is wrong: a check that measures with the same
function what must differ would be stopped there.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from icrl.claims import registry

BOTH_WAYS = {"lemma-1", "equal-features", "commutant-law"}
"""Identities whose checks also measure what must differ, by the same function."""


class Refused(Exception):
    """An instance is off by more than the claim allows."""


@cache
def tolerances():
    """Of every claim, by id, as pinned."""
    rows = Path(__file__).with_name("table.txt").read_text().splitlines()
    return {name: float(tolerance) for name, _, tolerance, *_ in map(str.split, rows)}


def evidence(claim, rng):
    """What the check sees; raises `Refused` at the first instance that settles it."""
    module, allowed = sys.modules[claim.check.__module__], tolerances().get(claim.id)

    def strict(computed, expected):
        error = registry.relative_error(computed, expected)
        if not error <= allowed:
            raise Refused(f"{claim.id}: off by {error:.1e}")
        return error

    with pytest.MonkeyPatch.context() as patch:
        if claim.kind == "identity" and claim.id not in BOTH_WAYS and allowed is not None:
            patch.setattr(module, "relative_error", strict, raising=False)
        return claim.check(rng)


def still_holds(claim, seed):
    """Whether the claim holds on the instances of this seed."""
    try:
        return evidence(claim, np.random.default_rng(seed)).holds
    except Refused:
        return False
