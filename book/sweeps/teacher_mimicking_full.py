"""Algorithm 1 at the reported count of windows, from many starts at once. See book/teacher-mimicking.md."""

from runner import Run, Sweep

from icrl.gradient_flow import full_count_rows

COLUMNS = ("variant", "draws", "start", "step", "windows", "loss", "scale", "score_error", "value_error")
COLUMNS += ("one_less_cosine",)
WHOLE = {"windows": 1000, "learning_rate": 1e-3}


def tables(
    run: Run,
    *,
    batch: int,
    batched: int,
    constant: int,
    strict: int,
    short: int,
    side: int,
    starts: int,
    device: str,
) -> None:
    """Recovery after ten million windows, in the experiment of the chapter.

    ``--batched`` steps with ``--batch`` processes side by side, ``--constant`` of these at a constant rate;
    ``--strict`` steps of one window, ``--short`` at a constant rate, ``--side`` processes drawn at once.
    ``--starts`` share the draws of a
    training. ``--device`` is cuda in the committed table; cpu takes days, and draws other numbers.
    """
    whole, still = WHOLE | {"batch": batch}, {"schedule": "constant"}
    one = WHOLE | {"batch": 1, "at_once": side}
    variants = {
        "batched": (whole, batched),
        "batched, constant rate": (whole | still, constant),
        "one window": (one, strict),
        "one window, constant rate": (one | still, short),
    }
    grid = [
        {
            "variant": name,
            "changes": changes,
            "steps": steps,
            "draws": 0,
            "starts": starts,
            "records": 10,
            "device": device,
            "seed": run.seed,
        }
        for name, (changes, steps) in variants.items()
    ]
    run.write("teacher-mimicking-full", COLUMNS, run(full_count_rows, grid))


SWEEP = Sweep(
    __file__,
    tables,
    full={
        "batch": 250,
        "batched": 40_000,
        "constant": 40_000,
        "strict": 3_000_000,
        "short": 300_000,
        "side": 200,
        "starts": 100,
        "device": "cuda",
    },
    small={
        "batch": 3,
        "batched": 10,
        "constant": 10,
        "strict": 10,
        "short": 10,
        "side": 2,
        "starts": 2,
        "device": "cpu",
    },
)
if __name__ == "__main__":
    SWEEP.main()
