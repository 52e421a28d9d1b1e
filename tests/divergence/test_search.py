"""The search for unstable chains."""

from collections import Counter

import mpmath
import numpy as np
import pytest

from icrl import divergence
from icrl.divergence import exact, random_batches, random_cells, search, tightest


def test_equal_norms_are_equal():
    norms = np.linalg.norm(
        divergence.random_chains(6, 5, np.random.default_rng(1), equal_norms=True)[0], axis=-1
    )
    np.testing.assert_allclose(norms, norms[:, :1] + np.zeros(5))


def test_batches_are_of_their_family():
    """Five sizes of each family; norms equal there, and only there."""
    seen = [
        (family, chains[0].shape[-2], np.ptp(np.linalg.norm(chains[0], axis=-1), axis=-1).max() < 1e-12)
        for family, chains in random_batches(2000, np.random.default_rng(3))
    ]
    sizes = (3, 4, 5, 6, 8)
    assert seen == [(family, size, family == "equal norms") for family in search.FAMILIES for size in sizes]


def test_climb_stays_unstable_and_does_not_rise():
    before, *_ = divergence.hill_climb("sharp", 3, 4, 0, np.random.default_rng(2))
    after, *chains = divergence.hill_climb("sharp", 3, 4, 100, np.random.default_rng(2))
    assert (after <= before).all()
    assert (after < before).any()
    seen = divergence.measure(*chains)
    assert (seen["margin"] < divergence.UNSTABLE).all()
    np.testing.assert_allclose(seen["sharp"], after)


def test_chains_at_the_edge_of_rounding_are_decided():
    """What floating point cannot tell, ball arithmetic does: as 60 digits do, computed in another way."""
    verdicts = []
    for seed in range(3):
        chains = divergence.random_chains(2000, 8, np.random.default_rng(seed))
        margin = divergence.measure(*chains)["margin"]
        edge = np.flatnonzero(np.abs(margin) < 1e-7)
        edge = edge[np.argsort(margin[edge])]  # those that floating point calls unstable first
        for i in edge[:15]:
            x, transition, discount = (part[i] for part in chains)
            with mpmath.workdps(60):
                p, gram = mpmath.matrix(transition.tolist()), mpmath.matrix(x.tolist())
                gram *= gram.T
                for s in range(8):
                    p[s, int(transition[s].argmax())] += 1 - sum(p[s, :])
                system = (mpmath.eye(8) - p).T + mpmath.ones(8)
                mu = mpmath.lu_solve(system, mpmath.ones(8, 1))
                weight = gram.apply(mpmath.exp) * mpmath.diag(list(mu))
                matching = mpmath.diag([1 / sum(weight[s, :]) for s in range(8)]) * weight
                eigenvalues = mpmath.eig(matching * (mpmath.eye(8) - float(discount) * p), right=False)
                slowest = min(mpmath.re(value) for value in eigenvalues)
            assert abs(slowest) > 1e-40
            verdicts.append(search._converges(x, transition, discount))
            assert verdicts[-1] == (slowest > 0)
    assert {True, False} <= set(verdicts)


GIVEN = {"instances": 2000, "seed": 3}


def test_cells_count_every_chain_once():
    cells = random_cells(**GIVEN)
    assert cells == random_cells(**GIVEN)
    assert sum(cell["chains"] for cell in cells) == 2000
    assert {cell["undecided"] for cell in cells} == {0}
    assert sum(cell["unstable"] for cell in cells) > 0


def test_cells_are_half_decades():
    """Each chain lies in the cell with the edges at its left and below, the outermost open."""
    expected = Counter()
    edges = np.arange(-7, 24) / 2, np.arange(-15, 2) / 2
    for family, chains in random_batches(GIVEN["instances"], np.random.default_rng(GIVEN["seed"])):
        seen = divergence.measure(*chains)
        for x, y in zip(np.log10(seen["sharp"]), np.log10(seen["attention"]), strict=True):
            place = [
                lowest + (inner <= z).sum() / 2
                for z, lowest, inner in zip((x, y), (-4, -8), edges, strict=True)
            ]
            expected[family, *place] += 1
    found = {
        (c["family"], float(c["log10_sharp"]), float(c["log10_attention"])): c for c in random_cells(**GIVEN)
    }
    assert {key: cell["chains"] for key, cell in found.items()} == expected


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


@pytest.mark.parametrize("equal_norms", [False, True])
def test_every_chain_draws_its_own_dimension(equal_norms):
    """Else the chains of a batch would not be independent, and an interval from their number too narrow."""
    x, *_ = divergence.random_chains(600, 5, np.random.default_rng(5), equal_norms=equal_norms)
    dimension = (x != 0).any(axis=1).sum(axis=-1)
    lowest = 2 if equal_norms else 1
    counts = np.bincount(dimension, minlength=4)[lowest:]
    assert counts.sum() == 600
    share = 1 / len(counts)
    assert np.abs(counts / 600 - share).max() < 4 * np.sqrt(share * (1 - share) / 600)
    assert (np.diff(dimension) != 0).mean() > 0.4
