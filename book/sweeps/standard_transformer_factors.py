"""One factor at a time, several seeds of each: a table of the chapter *standard-transformer*."""

from runner import Run, Sweep

from icrl.standard_transformer import FACTORS, network_rows

BASE = "boyan .5 160, L 3"
"""From which each factor departs; trained here as well, to be compared with the table of the CPU."""


def tables(run: Run, *, runs: int, seeds: int, steps: int, prompts: int, worlds: int, device: str) -> None:
    """Train SEEDS networks of the first RUNS: the case from which all depart, then one factor at a time.

    DEVICE is cuda in the committed tables; cpu takes hours, and draws other numbers.
    """
    grid = [
        {
            "run": name,
            "root": run.seed,
            "steps": steps,
            "prompts": prompts,
            "worlds": worlds,
            "device": device,
            "num_seeds": seeds,
        }
        for name in (BASE, *FACTORS)[:runs]
    ]
    rows = [row for row in run(network_rows, grid) if row.pop("table") == "runs"]
    run.write("standard-transformer-factors", tuple(rows[0]), rows)


SWEEP = Sweep(
    __file__,
    tables,
    full={"runs": 12, "seeds": 10, "steps": 3000, "prompts": 32, "worlds": 1000, "device": "cuda"},
    small={"runs": 1, "seeds": 2, "steps": 3, "prompts": 3, "worlds": 20, "device": "cpu"},
)
if __name__ == "__main__":
    SWEEP.main()
