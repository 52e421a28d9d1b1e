"""The larger run: a row for each network, and the same ones again."""

from dataclasses import asdict

import pytest
import torch

from icrl.pretraining import Configuration, pretrain, pretrained_rows

SHORT = {"num_steps": 3, "num_seeds": 2, "num_prompts": 8, "num_layers": 2}


@pytest.mark.parametrize(
    ("change", "tabular"), [({}, True), ({"attention": "linear"}, False), ({"masks": "free"}, False)]
)
def test_rows(change, tabular):
    configuration = asdict(Configuration(**SHORT, **change))
    rows = pretrained_rows(experiment="short", configuration=configuration, seed=0)
    assert rows == pretrained_rows(experiment="short", configuration=configuration, seed=0)
    assert [row["seed"] for row in rows] == [0, 1]
    assert all(row["experiment"] == "short" for row in rows)
    assert {name: rows[0][name] for name in configuration} == configuration
    assert all(bool(row["focus"]) == tabular for row in rows)
    floor, built, own = (float(rows[0][name]) for name in ("msve_floor", "msve_construction", "msve"))
    assert 0 < floor < own  # three steps do not beat certainty equivalence
    assert built > 0
    assert rows[0]["msve"] != rows[1]["msve"]
    last = pretrain(Configuration(**SHORT, **change), torch.Generator().manual_seed(0)).rows[-1, 0]
    assert [[row[name] for name in "abc"] for row in rows] == [
        [f"{x:.4f}" for x in own] for own in last.tolist()
    ]


@pytest.mark.bad_input
def test_configurations_that_are_refused():
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        pretrained_rows(experiment="none", configuration={"num_layers": 0}, seed=0)
