"""Softmax attention that improves a policy, beside its controls. See book/softmax-control.md."""

from runner import Run, Sweep

from icrl.control.softmax_comparison import COMPARED, RIVALS, best_tried, closed_shares, paired, steps_tried

TRIED = ("world", "learner", "runs", "windows", "step_size", "share")
MEASURED = [f"{name}{end}" for name in ("share", "difference") for end in ("", "_low", "_high")]


def tables(run: Run, *, runs: int, tuned: int, windows: int) -> None:
    """Every learner at its own best step size in each world.

    ``--tuned`` tasks to choose step sizes on, after 400 windows; ``--runs`` fresh tasks to compare on, up to
    ``--windows``.
    """
    given = {"runs": tuned, "windows": min(400, windows), "seed": run.seed}
    grid = [{"world": world, "learner": name, **given} for world in COMPARED for name in RIVALS]
    tried = run(steps_tried, grid)
    run.write("softmax-control-tuning", TRIED, tried)
    best = best_tried(tried)
    records, grid = [k for k in (25, 100, 400, 1600) if k <= windows] or [windows], []
    for world in COMPARED:
        for name in (*RIVALS, "myopic"):
            step = best.get((world, name), 0.0)
            task = {"world": world, "learner": name, "step_size": step, "runs": runs}
            grid.append(task | {"records": records, "seed": run.seed})
    rows = paired(run(closed_shares, grid), "expected SARSA, centred")
    columns = ("world", "learner", "windows", "step_size", "runs", *MEASURED)
    run.write("softmax-control", columns, rows)


SWEEP = Sweep(
    __file__,
    tables,
    full={"runs": 96, "tuned": 24, "windows": 1600},
    small={"runs": 3, "tuned": 2, "windows": 4},
)
if __name__ == "__main__":
    SWEEP.main()
