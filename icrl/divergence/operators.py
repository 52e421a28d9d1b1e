"""When softmax TD diverges: stability of its population operator, and a search for unstable chains.

With attention ``M`` and a chain ``P``, softmax TD multiplies its error by ``I - alpha B`` in each layer,
``B = M (I - gamma P)``. All of it is ours; see :doc:`/book/divergence`. Proofs by computer are in
:mod:`icrl.certified`. ``python -m icrl.divergence`` runs the search and writes ``book/data/divergence.csv``.
"""

import argparse
import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl.certified import ExactChain, exact_chain
from icrl.chain_search import UNSTABLE, hill_climb, measure, random_chains
from icrl.contraction import population_iteration_matrix, population_matching
from icrl.mrp import MarkovRewardProcess

FAMILIES = ("any norms", "equal norms")


def population_operator(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> Float[np.ndarray, "S S"]:
    """``B = M (I - gamma P)``, population kernel: small steps converge iff ``Re lambda > 0`` throughout."""
    return np.eye(process.num_states) - population_iteration_matrix(features, process)


def unnormalised_operator(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> Float[np.ndarray, "S S"]:
    """``G D_mu (I - gamma P)``: the exponential kernel without the normalisation of the softmax."""
    features = valid.array("features", features, 2)
    valid.shaped("features", features, (process.num_states, features.shape[1]), "one row for each state")
    kernel = np.exp(features @ features.T) * process.stationary_distribution()
    return kernel @ (np.eye(process.num_states) - process.discount * process.transition)


def largest_step_size(operator: Float[np.ndarray, "S S"]) -> float:
    """The step sizes for which ``v <- v + alpha (b - B v)`` converges from every start are those below this.

    ``min 2 Re(lambda) / |lambda|^2`` over the eigenvalues, and 0 if one has no positive real part: then no
    step size converges.
    """
    operator = valid.array("operator", operator, 2)
    if operator.shape[0] != operator.shape[1]:
        raise ValueError(f"operator has shape {operator.shape}; it must be square")
    eigenvalues = np.linalg.eigvals(operator)
    if eigenvalues.real.min() <= 0:
        return 0.0
    return float((2 * eigenvalues.real / np.abs(eigenvalues) ** 2).min())


def critical_discount(features: Float[np.ndarray, "3 d"], process: MarkovRewardProcess) -> float:
    """Three states: small steps converge iff ``gamma`` is below this, ``(tr M - 1) / (tr(MP) - 1)``.

    Infinite where ``tr(MP) <= 1``; above 1, every discount converges. The process's own discount plays no
    role.

    Raises:
        ValueError: the process has another number of states, its stationary distribution has a zero, or two
            states have equal features: their difference then never decays.
    """
    if process.num_states != 3:
        raise ValueError(f"process has {process.num_states} states; the criterion is for 3")
    distribution = process.stationary_distribution()
    if distribution.min() <= 0:
        raise ValueError(f"process has the stationary distribution {distribution}; it must be positive")
    matching = population_matching(features, distribution)
    if len(np.unique(np.asarray(features, dtype=np.float64), axis=0)) < 3:
        raise ValueError(f"features has equal rows, {np.asarray(features).tolist()}; they must be distinct")
    returns = np.trace(matching @ process.transition) - 1
    return float((np.trace(matching) - 1) / returns) if returns > 0 else np.inf


def normaliser_condition(
    features: Float[np.ndarray, "S d"], process: MarkovRewardProcess
) -> tuple[float, float]:
    """Two numbers; if either is at most 1 and the features are distinct, small steps converge.

    Returns:
        ``gamma^2 max Z / min Z``, with the softmax's normalisers ``Z(s)``; and the sharper
        ``gamma^2 max_t (nu P)(t) / nu(t)`` with ``nu = mu Z``, never above the first.

    Raises:
        ValueError: the stationary distribution is not unique, or has a zero.
    """
    features = valid.array("features", features, 2)
    valid.shaped("features", features, (process.num_states, features.shape[1]), "one row for each state")
    distribution = process.stationary_distribution()
    if distribution.min() <= 0:
        raise ValueError(f"process has the stationary distribution {distribution}; it must be positive")
    seen = measure(features[None], process.transition[None], np.array([process.discount]))
    return float(seen["coarse"][0]), float(seen["sharp"][0])


def random_cells(instances: int, rng: np.random.Generator) -> list[dict]:
    """Random chains counted by where they lie in the plane of the two conditions.

    Half of them in each family, in equal parts with 3, 4, 5, 6 and 8 states. A cell is a half decade of
    ``sharp`` (1e-4 .. 1e12) by a half decade of ``attention`` (1e-8 .. 10); what lies beyond is put in the
    last cell. Chains with a real part within 1e-7 of 0, which rounding might have moved across, are decided
    in ball arithmetic; undecided are those where that fails.
    """
    cells = {}
    chunks = max(1, instances // (10 * 200))
    for family in FAMILIES:
        for size in (3, 4, 5, 6, 8) * chunks:
            chains = random_chains(200, size, rng, equal_norms=family == "equal norms")
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


def tightest(climbers: int, steps: int, rng: np.random.Generator) -> list[dict]:
    """Where each climb ends, the objective reached and the chain as decimals, for a proof to start from."""
    rows = []
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


def read(path: str | Path) -> tuple[str, list[dict[str, str]]]:
    """The first line of a table that the search has written, its configuration, and its rows."""
    configuration, *lines = Path(path).read_text().splitlines()
    return configuration.removeprefix("# "), list(csv.DictReader(lines))


def exact(row: dict[str, str]) -> ExactChain:
    """The chain in a row of ``divergence-tightest.csv``, its decimals taken as exact."""
    size = int(row["num_states"])
    features, transition = (
        np.reshape(row[key].split(), (size, -1)).tolist() for key in ("features", "transition")
    )
    return exact_chain(transition, row["discount"], features)


def main() -> None:
    """Run the search and write its two tables."""
    parser = argparse.ArgumentParser(prog="python -m icrl.divergence", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instances", type=int, default=40_000, help="random chains (default 40000)")
    parser.add_argument("--climbers", type=int, default=16, help="climbs for each size (default 16)")
    parser.add_argument("--steps", type=int, default=6000, help="moves tried by each (default 6000)")
    parser.add_argument("--to", type=Path, default=Path(__file__).resolve().parents[1] / "book" / "data")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    head = f"# python -m icrl.divergence --seed {options.seed} --instances {options.instances}"
    head += f" --climbers {options.climbers} --steps {options.steps}"
    options.to.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("divergence.csv", random_cells(options.instances, rng)),
        ("divergence-tightest.csv", tightest(options.climbers, options.steps, rng)),
    ):
        with (options.to / name).open("w", newline="") as file:
            file.write(head + "\n")
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{len(rows)} rows in {options.to / name}", flush=True)


if __name__ == "__main__":
    main()
