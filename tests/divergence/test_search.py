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


@pytest.mark.parametrize(("instances", "made"), [(1, 2000), (3999, 2000), (4000, 4000)])
def test_instances_are_made_a_multiple_of_2000(instances, made):
    batches = [len(chains[2]) for _, chains in random_batches(instances, np.random.default_rng(0))]
    assert batches == [200] * (made // 200)


def test_random_chains_have_the_promised_laws():
    """Scale, discount and concentration are log-uniform, each chain with its own; rows of one chain share it.

    The mean of sum p^2 over a Dirichlet row is (a + 1) / (S a + 1): its mean and variance over log a.
    """
    count, size = 20_000, 3
    x, transition, discount = divergence.random_chains(
        count, size, np.random.default_rng(6), equal_norms=True
    )
    scale = np.linalg.norm(x, axis=-1)[:, 0] / np.sqrt((x != 0).any(axis=1).sum(axis=-1))
    for drawn, low, high in ((scale, 0.2, 4), (1 - discount, 0.001, 0.9)):
        assert low <= drawn.min() < 1.01 * low
        assert 0.99 * high < drawn.max() <= high * (1 + 1e-12)
        place = np.log(drawn / low) / np.log(high / low)  # uniform in [0, 1]
        assert abs(place.mean() - 0.5) < 4 / np.sqrt(12 * count)
    np.testing.assert_allclose(transition.sum(axis=-1), 1, rtol=0, atol=1e-12)
    assert transition.min() == pytest.approx(0.001 / size, rel=1e-6)
    squares = (((transition - 0.001 / size) / 0.999) ** 2).sum(axis=-1)
    a = 10 ** np.linspace(-1.5, 0.5, 4001)
    expected = (a + 1) / (size * a + 1)
    chains = squares.mean(axis=1)
    assert abs(chains.mean() - expected.mean()) < 4 * chains.std() / np.sqrt(count)
    shared = squares[:, 0] * squares[:, 1] - expected.mean() ** 2
    assert abs(shared.mean() - expected.var()) < 4 * shared.std() / np.sqrt(count)
    plain, *_ = divergence.random_chains(count, size, np.random.default_rng(7))
    first = np.log(plain[:, 0, 0] ** 2) / 2  # log |scale z|, z normal: -(gamma + log 2) / 2 in the mean
    wanted = np.log(0.2 * 4) / 2 - (np.euler_gamma + np.log(2)) / 2
    assert abs(first.mean() - wanted) < 4 * first.std() / np.sqrt(count)


@pytest.mark.parametrize("objective", ["coarse", "sharp"])
def test_a_climb_without_a_step_is_its_start(objective):
    """The first unstable ones of random chains, drawn by 500, and what the condition says of them.

    Of those inside the bounds of the walk.
    """
    reached, *chains = divergence.hill_climb(objective, 3, 4, 0, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    parts = [divergence.random_chains(500, 3, rng) for _ in range(3)]
    drawn = [np.concatenate(x) for x in zip(*parts, strict=True)]
    seen = divergence.measure(*drawn)
    unstable = np.flatnonzero(seen["margin"] < -1e-7)[:4]
    inside = np.abs(drawn[0][unstable]).max(axis=(1, 2)) < 6
    assert len(reached) == 4
    assert inside.any()
    np.testing.assert_allclose(reached[inside], seen[objective][unstable][inside])
    for found, start in zip(chains, drawn, strict=True):
        np.testing.assert_allclose(found[inside], start[unstable][inside], atol=1e-12)


def test_moves_go_in_every_direction():
    """The same start, one move: where it was kept, coordinates have moved by different amounts."""
    (_, *start), (_, *end) = (
        divergence.hill_climb("sharp", 3, 8, steps, np.random.default_rng(2)) for steps in (0, 1)
    )
    kept = np.flatnonzero(np.abs(end[0] - start[0]).max(axis=(1, 2)) > 0)
    assert 0 < len(kept) < 8
    for i in kept:
        inside = np.abs(start[0][i]) < 6  # what lies outside of the bounds is clipped
        assert len(np.unique((end[0] - start[0])[i][inside].round(9))) == inside.sum()


def test_weights_of_extreme_logits():
    assert search._softmax(np.array([[0.0, -900], [0, 900]])).tolist() == [[1, 0], [0, 1]]


def test_bounds_of_a_climb(monkeypatch):
    """Features in [-6, 6], log P from -12 on before it is normalised, the odds of gamma at most e^7."""
    x = np.array([[1.0], [4], [9]])
    start = (
        np.stack([x, -x]),
        np.tile([[0, 0.9, 0.1], [1, 0, 0], [0, 0.5, 0.5]], (2, 1, 1)),
        np.full(2, 0.9999),
    )
    monkeypatch.setattr(search, "random_chains", lambda *given: start)
    with np.errstate(divide="ignore"):
        reached, features, transition, discount = divergence.hill_climb(
            "sharp", 3, 2, 0, np.random.default_rng(0)
        )
    assert np.isfinite(reached).all()
    np.testing.assert_array_equal(features[..., 0], [[1, 4, 6], [-1, -4, -6]])
    tiny = np.exp(-12)
    np.testing.assert_allclose(transition[:, 1], [np.array([1, tiny, tiny]) / (1 + 2 * tiny)] * 2)
    np.testing.assert_allclose(discount, 1 / (1 + np.exp(-7)))


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


def test_verdicts_and_outermost_cells(monkeypatch):
    """What lies beyond the plane is in its last cells; a margin of 1e-7 and less is decided by proof."""
    proved = {3.0: None, 4.0: False, 5.0: True}
    chains = np.arange(6.0).reshape(6, 1, 1), np.ones((6, 1, 1)), np.full(6, 0.5)
    seen = {
        "sharp": np.array([1e-9, 1e20, 2e11, 1, 1, 1]),
        "attention": np.array([100, 1e-12, 2, 1, 1, 1]),
        "margin": np.array([1.1e-7, 1, 1, 1e-7, 0.9e-7, -1]),
    }
    monkeypatch.setattr(search, "random_batches", lambda *given: [("any norms", chains)])
    monkeypatch.setattr(search, "measure", lambda *given: seen)
    monkeypatch.setattr(search, "_converges", lambda x, p, discount: proved[x.item()])
    rows = [tuple(row.values()) for row in random_cells(**GIVEN)]
    assert rows == [
        ("any norms", "-4.0", "0.5", 1, 0, 0),
        ("any norms", "0.0", "0.0", 3, 1, 1),
        ("any norms", "11.0", "0.0", 1, 0, 0),
        ("any norms", "11.5", "-8.0", 1, 0, 0),
    ]


def test_climbs_end_at_chains_that_provably_diverge():
    rows = tightest(climbers=2, steps=40, **GIVEN)
    groups = [(row["objective"], row["num_states"]) for row in rows]
    assert groups == [(objective, s) for objective in ("coarse", "sharp") for s in (3, 4, 5) for _ in (0, 1)]
    for row, other in zip(rows[::2], rows[1::2], strict=True):
        assert float(row["reached"]) <= float(other["reached"])
    for row in (rows[0], rows[-1]):
        process, features = exact(row | {"num_states": str(row["num_states"])}).floats()
        conditions = dict(
            zip(("coarse", "sharp"), divergence.normaliser_condition(features, process), strict=True)
        )
        assert float(row["reached"]) == pytest.approx(conditions[row["objective"]], rel=1e-3)
    for row in rows[::4]:
        assert not exact(row | {"num_states": str(row["num_states"])}).converges()
    assert rows != tightest(climbers=2, steps=40, instances=4000, seed=3)  # later in the stream


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: next(random_batches(0, rng)), "instances is 0; it must be at least 1"),
        (lambda rng: divergence.random_chains(0, 2, rng), "batch is 0; it must be at least 1"),
        (lambda rng: divergence.random_chains(1, 0, rng), "num_states is 0; it must be at least 1"),
        (lambda rng: divergence.hill_climb("sharp", 3, 0, 1, rng), "climbers is 0; it must be at least 1"),
        (lambda rng: divergence.hill_climb("sharp", 3, 1, -1, rng), "steps is -1; it must be at least 0"),
        (lambda rng: exact({"discount": "1/2", "features": "1"}), "row has no num_states, transition; rows"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def test_one_chain_of_one_state():
    x, transition, discount = divergence.random_chains(1, 1, np.random.default_rng(0))
    assert (x.shape, transition.shape, discount.shape) == ((1, 1, 3), (1, 1, 1), (1,))


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
