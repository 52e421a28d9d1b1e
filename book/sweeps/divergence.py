"""How often softmax TD diverges on random chains, and how near to the condition. See book/divergence.md."""

from runner import Run, Sweep

from icrl.divergence import random_cells, tightest

CELLS = ("family", "log10_sharp", "log10_attention", "chains", "unstable", "undecided")
CLIMBS = ("objective", "num_states", "reached", "discount", "features", "transition")


def tables(run: Run, *, instances: int, climbers: int, steps: int) -> None:
    """Random chains counted by where they lie, and where climbs towards the condition end.

    ``--instances`` random chains, ``--climbers`` climbs for each size and objective, ``--steps`` moves
    tried by each.
    """
    # The climbs draw on where the count has stopped: both tables come from one stream of random numbers.
    count = {"instances": instances, "seed": run.seed}
    run.write("divergence", CELLS, run(random_cells, [count]))
    rows = run(tightest, [{"climbers": climbers, "steps": steps, **count}])
    run.write("divergence-tightest", CLIMBS, rows)


SWEEP = Sweep(
    __file__,
    tables,
    full={"instances": 40_000, "climbers": 16, "steps": 6000},
    small={"instances": 2000, "climbers": 2, "steps": 40},
)
if __name__ == "__main__":
    SWEEP.main()
