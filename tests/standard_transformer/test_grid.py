"""The sweep of the chapter: its grid, and what its tables say; its small form is in `test_sweeps.py`."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from icrl.standard_transformer import CELLS, FACTORS, Run, grid, network_rows, tasks
from icrl.standard_transformer.grid import seeded

ROOT = Path(__file__).parents[2]
TABLES = ("", "-conditions", "-layers", "-heads")


def table(part=""):
    return pd.read_csv(ROOT / "book" / "data" / f"standard-transformer{part}.csv", comment="#")


def test_grid():
    runs = tasks()
    assert list(runs)[: len(CELLS)] == [f"{cell}, L 3" for cell in CELLS]
    assert all(runs[f"{cell}, L {depth}"].num_layers == depth for cell in CELLS for depth in (1, 2, 3, 4))
    assert all(runs[name].num_seeds == 1 for name in FACTORS)
    assert {s.num_seeds for name, s in runs.items() if name not in FACTORS} == {5}


def test_cells_and_factors_are_what_they_are_called():
    for name, setting in CELLS.items():
        kind, discount, length = name.split()
        assert (setting.kinds, setting.discount) == ((kind,), float(discount))
        assert setting.num_transitions == int(length)
    runs, base = tasks(), replace(CELLS["boyan .5 160"], num_seeds=1)
    said = {"loops": {"kinds": ("loop",)}, "dense": {"kinds": ("random",)}, "loss td": {"loss": "td"}}
    said |= {"mixed": {"kinds": ("boyan", "loop", "random")}, "loss monte-carlo": {"loss": "monte-carlo"}}
    said |= {"ten states": {"num_states": 10, "num_names": 10}, "six layers": {"num_layers": 6}}
    said |= {"discount .9": {"discount": 0.9}, "discount .99": {"discount": 0.99}}
    said |= {"gaussian": {"gaussian": True, "num_names": 8}, "short": {"num_transitions": 40}}
    assert {name: runs[name] for name in FACTORS} == {
        n: replace(base, **change) for n, change in said.items()
    }
    assert list(runs)[-2:] == ["loop .9 160, L 4", "boyan .9 40, L 4"]  # the dearest come last


@pytest.mark.bad_input
def test_refuses_a_run_that_is_not_in_the_grid():
    with pytest.raises(ValueError, match=r"run is 'ring'; it must be one of boyan \.5 160, L 3, "):
        network_rows(run="ring", root=0, steps=1, prompts=1, worlds=1, device="cpu")


def test_every_part_of_every_run_has_its_own_randomness():
    drawn = [
        tuple(torch.rand(3, generator=seeded(run, what, root)).tolist())
        for run in tasks()
        for what in ("training", "measuring")
        for root in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)


def test_a_run_depends_on_its_arguments_alone():
    options = {"run": "loops", "root": 0, "steps": 5, "prompts": 2, "worlds": 20, "device": "cpu"}
    first = network_rows(**options)
    assert repr(network_rows(**options)) == repr(first)
    assert repr(network_rows(**options | {"root": 1})) != repr(first)


@pytest.mark.parametrize(("asked", "trained"), [({}, 1), ({"num_seeds": 3}, 3)])
def test_a_run_trains_what_is_asked_and_measures_that(asked, trained, monkeypatch):
    """Each part from its own source of randomness; rows say which table they belong to."""
    told = []

    def train(setting, generator):
        told.append((setting, generator.initial_seed()))
        return Run(setting, torch.zeros(1, 2), torch.zeros(0, 1))

    def measured(name, run, generator, worlds):
        told.append((name, run.setting, run.parameters.tolist(), generator.initial_seed(), worlds))
        return {"runs": [{"seed": 0}], "heads": [{"seed": 0, "head": 1}]}

    monkeypatch.setattr(grid, "train", train)
    monkeypatch.setattr(grid, "measured", measured)
    rows = network_rows(run="loops", root=7, steps=5, prompts=2, worlds=20, device="cpu", **asked)
    assert rows == [{"table": "runs", "seed": 0}, {"table": "heads", "seed": 0, "head": 1}]
    setting = replace(tasks()["loops"], num_steps=5, num_prompts=2, num_seeds=trained)
    training, measuring = (seeded("loops", x, 7).initial_seed() for x in ("training", "measuring"))
    assert told == [(setting, training), ("loops", setting, [[0, 0]], measuring, 20)]
    assert seeded("loops", "training").initial_seed() == seeded("loops", "training", 0).initial_seed()


@pytest.mark.parametrize("part", TABLES)
def test_tables_are_whole(part):
    rows = table(part)
    oracle = [c for c in rows.columns if "bayes" in c]  # none for mixed kinds
    assert not rows.drop(columns=oracle).isna().to_numpy().any()
    main = rows[rows["run"].str.contains(", L ")]
    assert (main.groupby("run")["seed"].nunique() == 5).all()
    assert set(rows["run"]) <= set(tasks())


def test_price_is_learnt_and_td_is_not():
    """At every depth, in every main case, by every seed."""
    main = table().query("run.str.contains(', L ')")
    assert not main["dead"].any()
    assert main["price"].between(0.85, 1.05).all()
    td = 1 - main["discount"] ** main["num_layers"]
    assert (main["price"] - td > 0.03).all()


def test_nobody_beats_the_oracle():
    rows = table("-conditions").query("condition == 'law'").dropna()
    assert (rows["less bayes"] > 0).all()


def test_look_ahead_grows_with_depth_and_is_damped():
    main = table().query("run.str.contains(', L ')")
    boyan = main[main["kinds"] == "boyan"]
    assert (boyan["c0"] > boyan["c1"]).all()
    means = main.groupby([main["run"].str.split(",").str[0], "num_layers"])["c1"].mean()
    for _, c1 in means.groupby(level=0):
        assert c1.iloc[-1] > c1.iloc[0] + 0.1


def test_far_sighted_loops_are_not_solved():
    """Every network errs more than certainty equivalence, beyond the interval of the pairs."""
    rows = table("-conditions").query("condition == 'law' and run.str.startswith('loop .9')")
    assert (rows["less certainty equivalence"] > rows["half certainty equivalence"]).all()


def test_probes_need_their_controls():
    last = table("-layers").query("layer == num_layers and run.str.contains(', L ')")
    assert (last["probe plain random ce"] > 0.3).all()
    assert (last["probe partial random ce"] < 0.05).all()
    assert (last["probe shuffled ce"] < 0.05).all()
