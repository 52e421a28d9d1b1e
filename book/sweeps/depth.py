"""Networks with weights of their own in each layer, pretrained from random starts. See book/depth.md."""

from dataclasses import asdict

from runner import Run, Sweep

from icrl.depth import HEADS, trained_layer_rows
from icrl.pretraining import Configuration

LIMITS = ("certainty equivalence", "price alone", "own reward, then price")
COLUMNS = (
    *("kind", "weights", "num_layers", "network", "layer", "a", "b", "c", "focus", "constant"),
    *("msve", "msve_640", "gain", "explained"),
    *("to " + name for name in HEADS),
    *("msve " + name for name in (*HEADS, *LIMITS)),
)


def tables(run: Run, *, steps: int, networks: int, layers: int) -> None:
    """Each layer of each network: what it reads, whom it hears, and what the constants are worth after it.

    ``--steps`` of training; ``--networks`` from random starts of each kind; from two to ``--layers`` layers.
    """
    grid = []
    for kind in ("boyan", "random", "loop"):
        for depth in range(2, layers + 1):
            for weights in ("per-layer", "shared"):
                chosen = Configuration(
                    discount=0.9,
                    num_states=5,
                    num_layers=depth,
                    kind=kind,
                    weights=weights,
                    num_seeds=networks,
                    num_steps=steps,
                )
                grid.append({"configuration": asdict(chosen), "seed": run.seed})
    run.write("depth", COLUMNS, run(trained_layer_rows, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={"steps": 3000, "networks": 12, "layers": 4},
    small={"steps": 20, "networks": 2, "layers": 2},
)
if __name__ == "__main__":
    SWEEP.main()
