"""Where gradient flows that start at random end, and what Adam learns. See book/gradient-flow.md."""

import numpy as np
from runner import Run, Sweep

from icrl.gradient_flow import FATES, basin_row, random_starts, trainings_row

TASKS = [f"{kind}, d = {d}" for d in (2, 3) for kind in ("gaussian", "one-hot")]
TASKS += [f"{kind}, actor-critic" for kind in ("gaussian", "one-hot")]
STARTS = [("teacher", distance) for distance in (0.25, 0.5, 1.0, 2.0)]
STARTS += [("zero", distance) for distance in (0.25, 1.0)]
COLUMNS = ("tasks", "from", "distance", *FATES, "growth")


def tables(run: Run, *, only: str, starts: int, trainings: int, steps: int) -> None:
    """What becomes of flows at several distances from the teacher and from zero, and of trainings with Adam.

    ``--only`` some kinds of tasks, by their names with semicolons between; ``--starts`` flows at each
    distance; ``--trainings`` runs of Algorithm 1, ``--steps`` of Adam in each.
    """
    names = TASKS if only == "all" else only.split(";")
    if unknown := set(names) - set(TASKS):
        raise ValueError(f"only has {sorted(unknown)}; it is 'all' or some of {';'.join(TASKS)}")
    rng, grid = np.random.default_rng(run.seed), []
    for tasks in TASKS:
        for centre, distance in STARTS:
            place = {"tasks": tasks, "centre": centre, "distance": distance, "starts": starts}
            # One stream of random numbers runs through all rows; each is told where in it to begin.
            grid.append(place | {"state": rng.bit_generator.state})
            for _ in random_starts(**place, rng=rng):
                pass
    rows = run(basin_row, [arguments for arguments in grid if arguments["tasks"] in names])
    rows += run(trainings_row, [{"trainings": trainings, "steps": steps, "state": rng.bit_generator.state}])
    run.write("gradient-flow", COLUMNS, rows)


SWEEP = Sweep(
    __file__,
    tables,
    full={"only": "all", "starts": 100, "trainings": 6, "steps": 1200},
    small={"only": "one-hot, d = 2", "starts": 1, "trainings": 1, "steps": 20},
)
if __name__ == "__main__":
    SWEEP.main()
