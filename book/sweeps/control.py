"""All learners in all worlds, and blocks that were trained, deployed frozen. See book/control.md."""

import io

import numpy as np
from runner import Run, Sweep

from icrl.control import (
    FOLLOWER,
    LEARNERS,
    OWN,
    SERVED,
    TUNED_ON,
    WORLDS,
    best_own_steps,
    best_steps,
    block_rows,
    compared_rows,
    moment_row,
    own_step_row,
    own_steps_tried,
    trained_blocks,
    tried_row,
)

TUNING = ("world", "learner", "step_size", "runs", "share_100", "share_400")
TRAINING = ("step", "loss", "runs", "score_cosine", "value_cosine", "share", "share_low", "share_high")
MEASURED = [
    f"{name}{end}" for name in ("share", "success", "episode_return") for end in ("", "_low", "_high")
]
TRIED = ("world", "learner", "runs", "windows", "step_size", "share", "success")
COMPARISON = ("world", "learner", "windows", "runs", *MEASURED, "collapsed")


def tables(run: Run, *, worlds: str, runs: int, windows: int, blocks: int, steps: int) -> None:
    """Tune every learner, run it in every world, train blocks and run those; then all at steps of their own.

    ``--worlds`` some of them, by their names with semicolons between; at most ``--runs`` in each world and
    ``--windows`` in each run; ``--blocks`` to train, ``--steps`` of Adam for each.
    """
    names = list(WORLDS) if worlds == "all" else worlds.split(";")
    if unknown := set(names) - set(WORLDS):
        raise ValueError(f"worlds has {sorted(unknown)}; it is 'all' or some of {';'.join(WORLDS)}")
    given = {"runs": runs, "windows": windows, "seed": run.seed}
    grid = [
        {"world": world, "learner": learner, "step_size": step, **given, "runs": min(runs, 24)}
        for world in TUNED_ON
        for learner, (_, sizes) in LEARNERS.items()
        for step in sizes
    ]
    tried = run(tried_row, grid)
    run.write("control-tuning", TUNING, tried)
    sizes = best_steps(tried)

    grid = [
        {"world": world, "learner": learner, "step_sizes": sizes, **given}
        for world in names
        for learner in (*LEARNERS, FOLLOWER)
        if learner not in WORLDS[world].skip
    ]
    rows = run(compared_rows, grid)
    given["step_size"] = sizes["linear"]

    trained = run(trained_blocks, [{"number": i, "steps": steps, "seed": run.seed} for i in range(blocks)])
    grid = [
        {"step": each["step"], "loss": each["loss"], "block": each["block"], **given}
        for each in trained
        if each["number"] == 0
    ]
    run.write("control-training", TRAINING, run(moment_row, grid))
    last = {each["number"]: each["block"] for each in trained}  # of each block, its last moment
    grid = [
        {"world": world, "learner": learner, "number": number, "block": block, **given}
        for number, block in last.items()
        for world in names
        for learner in ("trained", "trained, gauge set")
        if learner not in WORLDS[world].skip
    ]
    rows += run(block_rows, grid)
    run.write("control", COMPARISON, rows)
    text = io.StringIO()
    np.savetxt(text, last[0], "%.6g", delimiter=",")
    run.write_text("control-block", text.getvalue())

    own_steps(run, names, runs, windows)


def own_steps(run: Run, names: list[str], runs: int, windows: int) -> None:
    """Every learner at the step that suits it best in each world, chosen at what is scored."""
    given = {"windows": windows, "seed": run.seed}
    grid = [
        {"world": world, "learner": learner, "runs": min(runs, WORLDS[world].trials), **given}
        for world in SERVED
        if world in names
        for learner in OWN
    ]
    tried = run(own_steps_tried, grid)
    run.write("control-own-tuning", TRIED, tried)
    grid = [
        {"world": world, "learner": learner, "step_size": step, "runs": runs, **given}
        for (world, learner), step in best_own_steps(tried).items()
    ]
    run.write("control-own", (*COMPARISON, "step_size"), run(own_step_row, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={"worlds": "all", "runs": 48, "windows": 5000, "blocks": 2, "steps": 2500},
    small={"worlds": "lake", "runs": 2, "windows": 5, "blocks": 1, "steps": 20},
)
if __name__ == "__main__":
    SWEEP.main()
