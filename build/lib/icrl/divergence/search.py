"""The search for unstable chains: random ones by the thousand, and climbs to where a condition is tight.

Ours; see :doc:`/book/divergence`.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.divergence.exact_chains import ExactChain, exact_chain
from icrl.divergence.operators import measure

UNSTABLE = -1e-7
"""A real part below this counts as negative in the search, above its opposite as positive."""

FAMILIES = ("any norms", "equal norms")
"""Random chains have features of any norms, or all of one norm."""


@checked
def random_chains(
    batch: int, num_states: int, rng: np.random.Generator, *, equal_norms: bool = False
) -> tuple[Float[np.ndarray, "B S d"], Float[np.ndarray, "B S S"], Float[np.ndarray, " B"]]:
    """Random features, chains, discounts: smooth kernels and sharp ones, dense chains and nearly cyclic ones.

    Features are normal in one to three dimensions (the coordinates beyond are 0) with a scale log-uniform in
    ``[.2, 4]``, or in two or three on a sphere of that radius times ``sqrt(d)``; rows are Dirichlet with a
    concentration log-uniform in ``[.03, 3]``, mixed with .001 of the uniform distribution; ``1 - gamma`` is
    log-uniform in ``[.001, .9]``. Every chain of the batch draws all of this for itself, so that they are
    independent.
    """
    valid.count("batch", batch, 1)
    valid.count("num_states", num_states, 1)
    dimension = rng.integers(2 if equal_norms else 1, 4, size=(batch, 1, 1))
    features = rng.normal(size=(batch, num_states, 3)) * (np.arange(3) < dimension)
    if equal_norms:
        features *= np.sqrt(dimension) / np.linalg.norm(features, axis=-1, keepdims=True)
    features *= 10 ** rng.uniform(np.log10(0.2), np.log10(4), size=(batch, 1, 1))
    shape = 10 ** rng.uniform(-1.5, 0.5, size=(batch, 1, 1))
    # Gamma variables of small shape as the exponent of their logarithm: they would underflow.
    logs = np.log(rng.gamma(shape + 1, size=(batch, num_states, num_states)))
    logs += np.log1p(-rng.random(logs.shape)) / shape
    transition = 0.999 * _softmax(logs) + 0.001 / num_states
    return features, transition, 1 - 10 ** rng.uniform(-3, np.log10(0.9), size=batch)


def _softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


@checked(finite=False)
def hill_climb(
    objective: str, num_states: int, climbers: int, steps: int, rng: np.random.Generator
) -> tuple[
    Float[np.ndarray, " C"], Float[np.ndarray, "C S d"], Float[np.ndarray, "C S S"], Float[np.ndarray, " C"]
]:
    """Walk to unstable chains on which a condition is as nearly satisfied as can be found.

    Starts from unstable random chains; a random move is kept if the chain stays unstable and the
    objective falls.

    Args:
        objective: ``"coarse"`` or ``"sharp"``, as in :func:`~icrl.divergence.operators.measure`.
        num_states: at least 3; two states are never unstable.
        climbers: how many walks, side by side.
        steps: moves tried by each.
        rng: source of randomness.

    Returns:
        The objective reached, features, transition, discount, of each climber; the objective is ``inf`` where
        the chain was never unstable inside the bounds of the walk.
    """
    if objective not in ("coarse", "sharp"):
        raise ValueError(f"objective is {objective!r}; it must be 'coarse' or 'sharp'")
    num_states = valid.count("num_states", num_states, 3)
    climbers, steps = valid.count("climbers", climbers, 1), valid.count("steps", steps, 0)
    found = []
    while sum(len(x) for x, _, _ in found) < climbers:
        chains = random_chains(500, num_states, rng)
        unstable = measure(*chains)["margin"] < UNSTABLE
        found.append((chains[0][unstable], np.log(chains[1][unstable]), chains[2][unstable]))
    state = [np.concatenate(parts)[:climbers] for parts in zip(*found, strict=True)]
    state[2] = np.log(state[2] / (1 - state[2]))
    best = np.full(climbers, np.inf)
    for step in range(steps + 1):
        scale = 10 ** rng.uniform(-3, 0, size=climbers) * (step > 0)
        trial = [
            part + scale.reshape(-1, *[1] * (part.ndim - 1)) * rng.normal(size=part.shape) for part in state
        ]
        # Bounds that keep the eigenvalues far above rounding errors.
        trial[0], trial[1] = np.clip(trial[0], -6, 6), np.clip(trial[1], -12, 0)
        trial[2] = np.clip(trial[2], -3, 7)
        seen = measure(*_chains(trial))
        better = (seen["margin"] < UNSTABLE) & (seen[objective] < best)
        best[better] = seen[objective][better]
        for part, new in zip(state, trial, strict=True):
            part[better] = new[better]
    return best, *_chains(state)


def _chains(state):
    features, logits, odds = state
    return features, _softmax(logits), 1 / (1 + np.exp(-odds))


@checked
def random_batches(
    instances: int, rng: np.random.Generator
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Families and batches of 200 random chains: half of them in each family, in equal parts of five sizes.

    Args:
        instances: how many chains altogether; made a multiple of 2000, at least one.
        rng: source of randomness.
    """
    chunks = max(1, valid.count("instances", instances, 1) // (10 * 200))
    for family in FAMILIES:
        for size in (3, 4, 5, 6, 8) * chunks:
            yield family, random_chains(200, size, rng, equal_norms=family == "equal norms")


@checked
def random_cells(*, instances: int, seed: int) -> list[dict]:
    """Random chains counted by where they lie in the plane of the two conditions.

    The chains are those of :func:`random_batches`, with 3, 4, 5, 6 and 8 states. A cell is a half decade of
    ``sharp`` (1e-4 .. 1e12) by a half decade of ``attention`` (1e-8 .. 10); what lies beyond is put in the
    last cell. Chains with a real part within 1e-7 of 0, which rounding might have moved across, are decided
    in ball arithmetic; undecided are those where that fails. A task of ``book/sweeps/divergence.py``.
    """
    cells = {}
    for family, chains in random_batches(instances, np.random.default_rng(seed)):
        seen = measure(*chains)
        x = np.floor(2 * np.log10(seen["sharp"]).clip(-4, 11.9)) / 2
        y = np.floor(2 * np.log10(seen["attention"]).clip(-8, 0.9)) / 2
        for i, margin in enumerate(seen["margin"]):
            converges = _converges(*(part[i] for part in chains)) if margin <= -UNSTABLE else True
            cell = cells.setdefault((family, f"{x[i]:.1f}", f"{y[i]:.1f}"), [0, 0, 0])
            cell[0] += 1
            cell[1] += converges is False
            cell[2] += converges is None
    names = ("family", "log10_sharp", "log10_attention", "chains", "unstable", "undecided")
    return [dict(zip(names, (*key, *map(int, counts)), strict=True)) for key, counts in sorted(cells.items())]


def _converges(features, transition, discount):
    """Proved either way, or None. Floats are taken as exact; the largest of a row makes its sum exactly 1."""
    rows = [[Fraction(p) for p in row] for row in transition.tolist()]
    for row in rows:
        row[row.index(max(row))] += 1 - sum(row)
    table = [[Fraction(x) for x in row] for row in features.tolist()]
    try:
        return exact_chain(rows, Fraction(float(discount)), table).converges()
    except ArithmeticError:
        return None


@checked(finite=False)
def tightest(*, climbers: int, steps: int, instances: int, seed: int) -> list[dict]:
    """Where each climb ends, the objective reached and the chain as decimals, for a proof to start from.

    Climbs draw on where :func:`random_cells` has stopped, given the same ``instances`` and ``seed``: both
    tables come from one stream of random numbers. A task of ``book/sweeps/divergence.py``.
    """
    rng, rows = np.random.default_rng(seed), []
    for _ in random_batches(instances, rng):
        pass
    for objective in ("coarse", "sharp"):
        for size in (3, 4, 5):
            reached, *chains = hill_climb(objective, size, climbers, steps, rng)
            for i in np.argsort(reached):
                features, transition, discount = (part[i] for part in chains)
                row = {"objective": objective, "num_states": size, "reached": f"{reached[i]:.4f}"}
                row["discount"] = f"{discount:.12f}"
                row["features"] = " ".join(f"{x:.12f}" for x in features.ravel())
                units = np.rint(transition * 10**12).astype(np.int64)
                units[:, 0] += 10**12 - units.sum(axis=1)  # so that the decimals sum to exactly 1
                row["transition"] = " ".join(
                    f"{u // 10**12}.{u % 10**12:012d}" for u in units.ravel().tolist()
                )
                rows.append(row)
    return rows


@checked
def exact(row: dict[str, str]) -> ExactChain:
    """The chain in a row of ``divergence-tightest.csv``, its decimals taken as exact."""
    missing = {"num_states", "features", "transition", "discount"} - set(row)
    if missing:
        raise ValueError(
            f"row has no {', '.join(sorted(missing))}; rows of the table of the tightest chains have it"
        )
    size = int(row["num_states"])
    features, transition = (
        np.reshape(row[key].split(), (size, -1)).tolist() for key in ("features", "transition")
    )
    return exact_chain(transition, row["discount"], features)
