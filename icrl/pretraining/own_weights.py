"""What weights of its own are worth to a layer: two trainings that differ in nothing else.

``book/sweeps/own_weights.py`` runs it; see :doc:`/book/emergence`.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Generator

from icrl._arguments import checked
from icrl.pretraining.emergence import fresh_tasks, squared_errors
from icrl.pretraining.tasks import Configuration
from icrl.pretraining.trainer import CHUNK, Trainer

TESTED = 10**6
"""Added to a seed where fresh tasks are drawn, so that they are the same ones after any training."""


@checked
def trained_from_one_start(
    configuration: Configuration, weights: Literal["shared", "per-layer"], seed: int
) -> Trainer:
    """A training whose start and draws do not depend on ``weights``: all layers begin alike.

    Args:
        configuration: what and how; its own ``weights`` do not matter.
        weights: whether the layers stay alike, ``"shared"``, or not.
        seed: of the start, then of worlds and trajectories.
    """
    generator = Generator().manual_seed(seed)
    trainer = Trainer(replace(configuration, weights="shared"), generator, torch.float64)
    if weights == "per-layer":
        start = trainer.free
        trainer = Trainer(replace(configuration, weights=weights), Generator(), torch.float64)
        trainer.generator = generator
        with torch.no_grad():
            for each, one in zip(trainer.free, start, strict=True):
                each.copy_(one)  # one layer's weights, to all layers
        trainer.kept = [[x.detach().clone() for x in trainer.free]]
    while trainer.step < configuration.num_steps:
        trainer.chunk(min(CHUNK, configuration.num_steps - trainer.step))
    return trainer


@checked
def paired_weights_rows(*, setting: str, configuration: dict, tested: int, seed: int) -> list[dict]:
    """Mean squared errors of networks with shared weights, and of the same ones with a set in each layer.

    A task of ``book/sweeps/own_weights.py``. Both kinds start as the same network, see the same worlds in
    training and answer the same fresh tasks.

    Args:
        setting: its name in the table.
        configuration: fields of :class:`icrl.pretraining.tasks.Configuration`.
        tested: number of fresh tasks.
        seed: of starts, worlds and trajectories; another one is made of it for the fresh tasks.

    Returns:
        A row for each network.
    """
    c = Configuration(**configuration)
    tasks = fresh_tasks(c, tested, Generator().manual_seed(seed + TESTED))
    errors = []
    for weights in ("shared", "per-layer"):
        trainer = trained_from_one_start(c, weights, seed)
        with torch.no_grad():
            free = trainer.matrices(trainer.free)
        errors.append(squared_errors(trainer.configuration, *free, tasks).mean(-1).tolist())
    head = {"setting": setting, "num_layers": c.num_layers, "discount": c.discount, "num_steps": c.num_steps}
    return [
        head | {"network": k, "msve shared": float(f"{one:.6g}"), "msve per-layer": float(f"{own:.6g}")}
        for k, (one, own) in enumerate(zip(*errors, strict=True))
    ]
