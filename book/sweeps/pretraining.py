"""Many networks pretrained from random starts: one row for each. See book/emergence.md."""

from dataclasses import asdict

from runner import Run, Sweep

from icrl.pretraining import Configuration, pretrained_rows

FAR = {"discount": 0.9, "num_layers": 3, "num_states": 5}
EXPERIMENTS = {
    "long": {"num_steps": 10_000, "learning_rate": 0.03},
    "monte-carlo": {"objective": "monte-carlo"},
    "linear": {"attention": "linear"},
    "gaussian features": {"num_features": 4},
    "far per-layer": FAR | {"weights": "per-layer"},
    "free": {"masks": "free", "num_seeds": 3, "num_steps": 1000, "learning_rate": 0.01},
}
for scale in (0.03, 0.3, 1.0):
    EXPERIMENTS[f"scale {scale:g}"] = {"initial_scale": scale, "num_seeds": 40, "num_steps": 1500}
EXPERIMENTS["many starts"] = {"initial_scale": 0.3, "num_seeds": 160, "num_steps": 1500}
for discount in (0.5, 0.7, 0.9):
    for layers in (1, 2, 3, 5, 8, 12):
        size = {"discount": discount, "num_layers": layers, "num_states": 5, "num_seeds": 5}
        EXPERIMENTS[f"grid {discount:g} {layers}"] = size | {"num_steps": 1500}

MEASURED = ("seed", "a", "b", "c", "focus", "msve", "msve_construction", "msve_floor")
COLUMNS = ("experiment", *asdict(Configuration()), *MEASURED)


def tables(run: Run, *, only: str, shorter: int) -> None:
    """Where each network ended, and how well it predicts.

    ``--only`` some experiments, by their names with semicolons between; ``--shorter`` N: an Nth of the steps.
    """
    names = list(EXPERIMENTS) if only == "all" else only.split(";")
    if unknown := set(names) - set(EXPERIMENTS):
        raise ValueError(f"only has {sorted(unknown)}; it is 'all' or some of {';'.join(EXPERIMENTS)}")
    if shorter < 1:
        raise ValueError(f"shorter is {shorter}; it must be at least 1")
    grid = []
    for name in names:
        chosen = asdict(Configuration(**EXPERIMENTS[name]))
        chosen["num_steps"] //= shorter
        # All experiments begin with the same seed, so that those which differ in one thing can be compared.
        grid.append({"experiment": name, "configuration": chosen, "seed": run.seed})
    run.write("pretraining", COLUMNS, run(pretrained_rows, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={"only": "all", "shorter": 1},
    small={"only": "linear;free;grid 0.5 1", "shorter": 100},
)
if __name__ == "__main__":
    SWEEP.main()
