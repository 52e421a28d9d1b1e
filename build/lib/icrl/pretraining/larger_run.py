"""The larger run: networks pretrained from random starts, and what each has become, as rows of a table.

See :doc:`/book/emergence`; ``book/sweeps/pretraining.py`` says which networks.
"""

from dataclasses import asdict

from torch import Generator

from icrl._arguments import checked
from icrl.pretraining.emergence import (
    at_query,
    certainty_equivalence,
    construction,
    focus,
    fresh_tasks,
    squared_errors,
    state_attention,
)
from icrl.pretraining.tasks import Configuration
from icrl.pretraining.trainer import pretrain


@checked
def pretrained_rows(*, experiment: str, configuration: dict, seed: int) -> list[dict]:
    """Pretrain the networks of one configuration and measure each on 4096 fresh tasks.

    A task of ``book/sweeps/pretraining.py``.

    Args:
        experiment: its name in the table.
        configuration: the fields of :class:`icrl.pretraining.tasks.Configuration`.
        seed: of the one generator that draws starts, worlds, trajectories and the fresh tasks.

    Returns:
        A row for each network, with the configuration; its number; the last row ``(a, b, c)`` of its ``V``
        (of the first layer); its focus, where scores belong to states and are normalised; its mean squared
        error at the query, that of the construction, and that of certainty equivalence.
    """
    c = Configuration(**configuration)
    generator = Generator().manual_seed(seed)
    run = pretrain(c, generator)
    value, score = run.value_weights[-1], run.score_weights[-1]
    tasks = fresh_tasks(c, 4096, generator)
    floor = at_query(certainty_equivalence(c, tasks), tasks) - at_query(tasks.worlds.value(c.discount), tasks)
    built = squared_errors(c, *construction(c), tasks).mean().item()
    errors = squared_errors(c, value, score, tasks).mean(-1)
    tabular = c.masks == "paper" and c.attention == "softmax" and c.num_features is None
    focuses = focus(state_attention(c, score))[0].tolist() if tabular else None
    rows = []
    for number in range(c.num_seeds):
        a, b, now = (f"{x:.4f}" for x in run.rows[-1, 0, number].tolist())
        own = {"seed": number, "a": a, "b": b, "c": now, "focus": f"{focuses[number]:.4f}" if tabular else ""}
        own |= {"msve": f"{errors[number]:.6f}", "msve_construction": f"{built:.6f}"}
        own |= {"msve_floor": f"{floor.square().mean():.6f}"}
        rows.append({"experiment": experiment} | asdict(c) | own)
    return rows
