"""Layers with weights of their own beside shared ones, network by network. See book/emergence.md."""

from dataclasses import asdict

from runner import Run, Sweep

from icrl.pretraining import Configuration
from icrl.pretraining.own_weights import paired_weights_rows

SETTINGS = {
    "near": {},
    "far": {"discount": 0.9, "num_layers": 3, "num_states": 5, "num_steps": 1000},
}
"""The two settings that the chapter trains live."""
COLUMNS = ("setting", "num_layers", "discount", "num_steps", "network", "msve shared", "msve per-layer")


def tables(run: Run, *, networks: int, shorter: int, tested: int) -> None:
    """The error of each network, its layers alike or not.

    ``--networks`` from random starts in each setting; ``--shorter`` N: an Nth of the steps; ``--tested``: how
    many fresh tasks.
    """
    if shorter < 1:
        raise ValueError(f"shorter is {shorter}; it must be at least 1")
    grid = []
    for name, given in SETTINGS.items():
        chosen = asdict(Configuration(**given, num_seeds=networks))
        chosen["num_steps"] //= shorter
        grid.append({"setting": name, "configuration": chosen, "tested": tested, "seed": run.seed})
    run.write("own-weights", COLUMNS, run(paired_weights_rows, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={"networks": 12, "shorter": 1, "tested": 4096},
    small={"networks": 2, "shorter": 500, "tested": 20},
)
if __name__ == "__main__":
    SWEEP.main()
