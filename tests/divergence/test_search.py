"""The search: what its tables hold, one stream of random numbers for both."""

import numpy as np
import pytest

from icrl.divergence import exact, random_batches, random_cells, tightest

GIVEN = {"instances": 2000, "seed": 3}


def test_cells_count_every_chain_once():
    cells = random_cells(**GIVEN)
    assert cells == random_cells(**GIVEN)
    assert sum(cell["chains"] for cell in cells) == 2000
    assert {cell["undecided"] for cell in cells} == {0}
    assert sum(cell["unstable"] for cell in cells) > 0


def test_climbs_end_at_chains_that_provably_diverge():
    rows = tightest(climbers=2, steps=40, **GIVEN)
    assert len(rows) == 2 * 3 * 2
    for row in rows[::4]:
        assert not exact(row | {"num_states": str(row["num_states"])}).converges()
    assert rows != tightest(climbers=2, steps=40, instances=4000, seed=3)  # later in the stream


@pytest.mark.bad_input
def test_counts_that_are_refused():
    with pytest.raises(ValueError, match="instances is 0; it must be at least 1"):
        next(random_batches(0, np.random.default_rng(0)))
