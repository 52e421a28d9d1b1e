"""Ordinary transformers over depth, worlds and seeds: the tables of the chapter *standard-transformer*."""

from runner import Run, Sweep

from icrl.standard_transformer import network_rows, tasks

TABLES = {
    "runs": "standard-transformer",
    "conditions": "standard-transformer-conditions",
    "layers": "standard-transformer-layers",
    "heads": "standard-transformer-heads",
}


def tables(run: Run, *, runs: int, steps: int, prompts: int, worlds: int, device: str) -> None:
    """Train the first RUNS networks of the grid (five seeds in the main cases) and measure each.

    DEVICE is cpu or cuda. What cuda draws is not what cpu draws, so its tables differ in the numbers.
    """
    grid = [
        {
            "run": name,
            "root": run.seed,
            "steps": steps,
            "prompts": prompts,
            "worlds": worlds,
            "device": device,
        }
        for name in list(tasks())[:runs]
    ]
    rows = run(network_rows, grid)
    for part, name in TABLES.items():
        own = [{key: x for key, x in row.items() if key != "table"} for row in rows if row["table"] == part]
        run.write(name, tuple(own[0]), own)


SWEEP = Sweep(
    __file__,
    tables,
    full={"runs": 23, "steps": 3000, "prompts": 32, "worlds": 1000, "device": "cpu"},
    small={"runs": 2, "steps": 20, "prompts": 4, "worlds": 40, "device": "cpu"},
)
if __name__ == "__main__":
    SWEEP.main()
