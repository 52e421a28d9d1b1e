"""The larger run: a row for each network, measured anew."""

from dataclasses import asdict

import pytest
import torch

from icrl.pretraining import Configuration, fresh_tasks, pretrain, pretrained_rows, trainer
from icrl.pretraining.emergence import construction, query_values
from icrl.pretraining.forward import tables

SHORT = {"num_steps": 5, "num_seeds": 2, "num_prompts": 4, "num_layers": 2, "num_transitions": 10}


@pytest.mark.parametrize(
    ("change", "tabular"),
    [
        ({}, True),
        ({"weights": "per-layer"}, True),
        ({"attention": "linear"}, False),
        ({"masks": "free"}, False),
    ],
)
def test_rows(change, tabular, monkeypatch):
    """Of the last weights, on 4096 tasks that the same generator draws after the training."""
    monkeypatch.setattr(trainer, "CHUNK", 2)  # more records than the first and the last
    configuration = asdict(Configuration(**SHORT | change))
    rows = pretrained_rows(experiment="short", configuration=configuration, seed=0)
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        assert row["experiment"] == "short"
        assert {name: row[name] for name in configuration} == configuration
        assert bool(row["focus"]) == tabular
    c, generator = Configuration(**configuration), torch.Generator().manual_seed(0)
    run = pretrain(c, generator)
    tasks = fresh_tasks(c, 4096, generator)
    query = tasks.states[..., -1:]
    truth = tasks.worlds.value(c.discount).gather(-1, query)[..., 0]
    seen = tables(tasks.states, tasks.worlds.reward)
    exact = torch.linalg.inv(torch.eye(4) - c.discount * seen.transition)
    exact = (exact @ (seen.reward * (seen.visits > 0))[..., None])[..., 0].gather(-1, query)[..., 0]
    said = query_values(c, run.value_weights[-1], run.score_weights[-1], tasks)
    floor, built, own = (
        (x - truth).square().mean(-1).tolist()
        for x in (exact, query_values(c, *construction(c), tasks), said)
    )
    for row, last, error in zip(rows, run.value_weights[-1, 0, :, -1, -3:].tolist(), own, strict=True):
        assert [float(row[name]) for name in "abc"] == pytest.approx(last, abs=6e-5)
        measured = [float(row[name]) for name in ("msve", "msve_construction", "msve_floor")]
        assert measured == pytest.approx([error, *built, *floor], abs=6e-7)
        if tabular:
            block = run.score_weights[-1, 0, row["seed"], :4, :4] * c.inverse_temperature
            own_share = block.mT.softmax(-1).diagonal().mean().item()
            assert float(row["focus"]) == pytest.approx((4 * own_share - 1) / 3, abs=6e-5)


@pytest.mark.bad_input
def test_configurations_that_are_refused():
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        pretrained_rows(experiment="none", configuration={"num_layers": 0}, seed=0)
