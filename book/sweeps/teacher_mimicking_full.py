"""Algorithm 1 at the reported count of windows, from many starts at once. See book/teacher-mimicking.md."""

from runner import Run, Sweep

from icrl.gradient_flow import full_count_rows

COLUMNS = ("variant", "draws", "step", "windows", "starts", "positive", "loss", "scale_least")
COLUMNS += ("scale_median", "scale_largest", "score_error_median", "score_error_largest")
COLUMNS += ("value_error_median", "value_error_largest", "cosine_off")
WHOLE = {"windows": 1000, "learning_rate": 1e-3}


def tables(
    run: Run,
    *,
    batch: int,
    batched: int,
    streams: int,
    strict: int,
    short: int,
    side: int,
    starts: int,
    device: str,
) -> None:
    """Recovery after ten million windows, in the experiment of the chapter.

    ``--batched`` steps with ``--batch`` processes side by side, on ``--streams`` streams of them, and on the
    first one at a constant rate as well; ``--strict`` steps of one window, ``--short`` at a constant rate,
    ``--side`` processes drawn at once. ``--starts`` share the draws of a training. ``--device`` is cuda in
    the committed table; on one core it would take a day, and other numbers are drawn there.
    """
    whole, still = WHOLE | {"batch": batch}, {"schedule": "constant"}
    one = WHOLE | {"batch": 1, "at_once": side}
    variants = [("batched", whole, batched, draws) for draws in range(streams)]
    variants += [
        ("batched, constant rate", whole | still, batched, 0),
        ("one window", one, strict, 0),
        ("one window, constant rate", one | still, short, 0),
    ]
    grid = [
        {
            "variant": name,
            "changes": changes,
            "steps": steps,
            "draws": draws,
            "starts": starts,
            "records": 10,
            "device": device,
            "seed": run.seed,
        }
        for name, changes, steps, draws in variants
    ]
    run.write("teacher-mimicking-full", COLUMNS, run(full_count_rows, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={
        "batch": 250,
        "batched": 40_000,
        "streams": 4,
        "strict": 1_000_000,
        "short": 300_000,
        "side": 200,
        "starts": 100,
        "device": "cuda",
    },
    small={
        "batch": 3,
        "batched": 10,
        "streams": 2,
        "strict": 10,
        "short": 10,
        "side": 2,
        "starts": 2,
        "device": "cpu",
    },
)
if __name__ == "__main__":
    SWEEP.main()
