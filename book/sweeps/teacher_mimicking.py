"""Algorithm 1 at full count and with one change each; its blocks deployed. See book/teacher-mimicking.md."""

from runner import Run, Sweep

from icrl.control import deployment_rows
from icrl.gradient_flow import experiment_richness_row, training_rows

STRICT = {"batch": 1, "windows": 1000, "learning_rate": 1e-3}
CHANGES = {
    "as live": {},
    "1000 windows a process": {"windows": 1000},
    "weights frozen": {"follow": False},
    "weights from 0": {"spread": 0.0},
    "always exploring": {"epsilon": 1.0},
    "never exploring": {"epsilon": 0.0},
    "one fixed table": {"features": "fixed"},
    "one-hot": {"features": "one-hot"},
    "one-hot, weights frozen": {"features": "one-hot", "follow": False},
    "constant rate": {"schedule": "constant"},
    "rate 0.001": {"learning_rate": 1e-3},
    "rate 0.01": {"learning_rate": 1e-2},
    "gain 1": {"gain": 1.0},
}
"""One change each to the training that the chapter runs live; frozen weights beside one-hot features: two."""

TINY = {"num_states": 2, "num_actions": 2, "features": "one-hot", "step_size": 1.0, "spread": 3**0.5}
TINY |= {"batch": 32, "windows": 20, "learning_rate": 0.02, "gain": 0.1 * 14**0.5}
INDEPENDENT = {"windows_from": "independent"}
WHAT_PROTECTS = {
    "Algorithm 1": {},
    "always exploring": {"epsilon": 1.0},
    "weights frozen": {"follow": False},
    "always exploring, weights frozen": {"epsilon": 1.0, "follow": False},
    "weights of another world": {"windows_from": "exchanged"},
    "independent transitions": INDEPENDENT,
    "independent transitions, SGD": INDEPENDENT | {"optimizer": "sgd", "learning_rate": 0.5},
}
"""Two states, two actions, one-hot: which part of Algorithm 1 keeps a block from splitting."""

COLUMNS = ("part", "variant", "draws", "seed", "step", "loss", "scale", "score_error", "value_error")
COLUMNS += ("score_off", "value_off", "cosine_off")
CONTROL = ("discount", "concentration", "learner", "spread", "step_size", "windows", "share", "low", "high")
CONTROL += ("of_states", "diverged", "runs")
RICHNESS = ("features", "d", "parameters", "tasks", "predicted", "null", "next", "largest_null", "seed")


def tables(
    run: Run,
    *,
    batch: int,
    batched: int,
    full: int,
    strict: int,
    short: int,
    half: int,
    changed: int,
    tiny: int,
    streams: int,
    seeds: int,
    some: int,
    states: int,
    tasks: int,
    worlds: int,
    windows: int,
) -> None:
    """Recovery, deployment and richness in the experiment of the chapter.

    ``--batched`` steps with ``--batch`` processes side by side, and ``--full`` of them for the reported count
    of windows; ``--strict`` and ``--short`` steps of one window, ``--half`` of blocks that are deployed;
    ``--changed`` steps of each one-change control and ``--tiny`` of those at 2 states, where each of
    ``--streams`` starts has draws of its own. Elsewhere ``--seeds`` starts share the draws of a training,
    ``--some`` the longer ones. Richness for ``--states`` states and 4 actions, from ``--tasks`` tasks.
    Deployment in ``--worlds`` worlds of each kind, for ``--windows`` windows.
    """
    whole = {"batch": batch, "windows": 1000, "learning_rate": 1e-3}
    grid = [("tiny", name, TINY | change, tiny, 2, 1, streams) for name, change in WHAT_PROTECTS.items()]
    grid += [("tiny", "Algorithm 1, four times the steps", TINY, 4 * tiny, 2, 1, streams)]
    grid += [("change", name, change, changed, 2, seeds, 1) for name, change in CHANGES.items()]
    drawn = STRICT | {"at_once": 50} if strict > 60_000 else STRICT  # or it would take hours
    long = [("count", "one window", drawn, strict, 7, some, 1)]
    long += [("count", "batched", whole, batched, 5, some, 1)]
    long += [("count", "batched, full count", whole, full, 9, some, 1)]
    long += [("count", "one window, constant rate", STRICT | {"schedule": "constant"}, short, 6, some, 1)]
    names = "part", "variant", "changes", "steps", "records", "seeds"
    calls = [
        [
            dict(zip(names, row[:6], strict=True)) | {"draws": number, "seed": run.seed}
            for row in rows
            for number in range(row[6])
        ]
        for rows in (grid, long)
    ]
    rows = run(training_rows, calls[0])
    given = {"features": "fresh", "num_states": states, "num_tasks": tasks}
    richness = run(experiment_richness_row, [given])
    marks = sorted({max(1, windows // 20), max(1, windows // 4), windows})
    given = {"runs": worlds, "windows": marks, "seeds": some, "steps": changed, "strict_steps": half}
    deployed = run(deployment_rows, [given | {"seed": run.seed}])
    run.write("teacher-mimicking", COLUMNS, rows + run(training_rows, calls[1]))  # the longest come last
    run.write("teacher-mimicking-richness", RICHNESS, richness)
    run.write("teacher-mimicking-control", CONTROL, deployed)


SWEEP = Sweep(
    __file__,
    tables,
    full={
        "batch": 250,
        "batched": 4000,
        "full": 40_000,
        "strict": 300_000,
        "short": 50_000,
        "half": 20_000,
        "changed": 4000,
        "tiny": 1200,
        "streams": 40,
        "seeds": 5,
        "some": 3,
        "states": 9,
        "tasks": 300,
        "worlds": 100,
        "windows": 200,
    },
    small={
        "batch": 3,
        "batched": 4,
        "full": 8,
        "strict": 6,
        "short": 6,
        "half": 3,
        "changed": 2,
        "tiny": 2,
        "streams": 2,
        "seeds": 2,
        "some": 2,
        "states": 1,
        "tasks": 60,
        "worlds": 3,
        "windows": 4,
    },
)
if __name__ == "__main__":
    SWEEP.main()
