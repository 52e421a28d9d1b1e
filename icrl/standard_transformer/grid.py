"""Which networks the sweep of the chapter trains, and in which order.

See :doc:`/book/standard-transformer`; the command is ``book/sweeps/standard_transformer.py``.
"""

from dataclasses import replace
from zlib import crc32

import torch

from icrl._arguments import checked
from icrl.standard_transformer.measures import measured
from icrl.standard_transformer.training import Setting, train

CELLS = {
    "boyan .5 160": Setting(),
    "loop .9 160": Setting(kinds=("loop",), discount=0.9),
    "boyan .9 40": Setting(discount=0.9, num_transitions=40),
}
"""The main cases, each a law of worlds with a discount and a length of context."""

FACTORS = {
    "loss td": {"loss": "td"},
    "dense": {"kinds": ("random",)},
    "ten states": {"num_states": 10, "num_names": 10},
    "mixed": {"kinds": ("boyan", "loop", "random")},
    "gaussian": {"gaussian": True, "num_names": 8},
    "discount .99": {"discount": 0.99},
    "loss monte-carlo": {"loss": "monte-carlo"},
    "six layers": {"num_layers": 6},
    "short": {"num_transitions": 40},
    "loops": {"kinds": ("loop",)},
    "discount .9": {"discount": 0.9},
}
"""Changes of one factor of the first main case (of two in ``"gaussian"``: the names' law and dimension).

One seed each in the first sweep, more in the second.
"""


@checked
def tasks() -> dict[str, Setting]:
    """Every run by name, the most important first."""
    main = {
        f"{cell}, L {depth}": replace(setting, num_layers=depth)
        for depth in (3, 1, 2, 4)
        for cell, setting in CELLS.items()
    }
    last = {name: main.pop(name) for name in list(main)[-2:]}
    base = replace(CELLS["boyan .5 160"], num_seeds=1)
    return main | {name: replace(base, **change) for name, change in FACTORS.items()} | last


def seeded(name: str, what: str, root: int = 0, device: str = "cpu") -> torch.Generator:
    """The source of randomness of one part of one run; no run shares it with another."""
    # 32 bits are all that torch's generator on the CPU makes of a seed.
    return torch.Generator(device).manual_seed(crc32(f"{name}: {what}".encode(), root))


@checked(finite=False)  # NaN for a rival that does not exist there
def network_rows(
    *, run: str, root: int, steps: int, prompts: int, worlds: int, device: str, num_seeds: int | None = None
) -> list[dict]:
    """Train one run of :func:`tasks` and put all instruments on it: the task of the sweep.

    Args:
        run: its name.
        root: seed of the whole sweep.
        steps: of training; 3000 in the book.
        prompts: of each seed in each step.
        worlds: on which errors are measured.
        device: ``"cpu"`` or ``"cuda"``; only training runs there.
        num_seeds: trained side by side, if another number than that of the run.

    Returns:
        The rows of all tables; ``table`` in each says which it belongs to.
    """
    if run not in tasks():
        raise ValueError(f"run is {run!r}; it must be one of {', '.join(tasks())}")
    setting = replace(tasks()[run], num_steps=steps, num_prompts=prompts)
    if num_seeds is not None:
        setting = replace(setting, num_seeds=num_seeds)
    trained = train(setting, seeded(run, "training", root, device))
    trained = trained._replace(parameters=trained.parameters.cpu())
    tables = measured(run, trained, seeded(run, "measuring", root), worlds)
    return [{"table": table} | row for table, rows in tables.items() for row in rows]
