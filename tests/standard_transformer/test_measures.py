"""The rows of the tables against the instruments themselves."""

from dataclasses import replace

import pytest
import torch

from icrl.standard_transformer import Setting, initial_parameters, measured, predict
from icrl.standard_transformer.measures import REWARDS, RIVALS, laws
from icrl.standard_transformer.training import Run

SMALL = Setting(num_layers=2, num_transitions=40, num_heads=2, width=16, hidden=16, num_seeds=2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tables():
    parameters = initial_parameters(SMALL.architecture, 2, generator(), torch.float32)
    return measured("x", Run(SMALL, parameters, torch.empty(0, 2)), generator(1), 60)


def test_rows(tables):
    assert {key: len(rows) for key, rows in tables.items()} == {
        "runs": 2,
        "conditions": 2 * (len(laws(SMALL)) + len(REWARDS)),
        "layers": 2 * 3,
        "heads": 2 * 2 * 2,
    }
    for rows in tables.values():
        assert {row["run"] for row in rows} == {"x"}
        assert {row["seed"] for row in rows} == {0, 1}
        assert all(list(row) == list(rows[0]) for row in rows)
    assert {row["layer"] for row in tables["layers"]} == {0, 1, 2}  # 0 is the embedding
    assert {(row["layer"], row["head"]) for row in tables["heads"]} == {(1, 0), (1, 1), (2, 0), (2, 1)}


def test_law_row_is_the_run_row(tables):
    law = [row for row in tables["conditions"] if row["condition"] == "law"]
    for run, row in zip(tables["runs"], law, strict=True):
        for rival in RIVALS:
            assert run[f"msve {rival}"] == row[f"msve {rival}"]
            assert row[f"less {rival}"] == pytest.approx(row["msve"] - row[f"msve {rival}"], abs=1e-4)
        assert run["dead"] == (run["msve"] > run["msve price"])
    assert {row["dead"] for row in tables["runs"]} == {1}  # untrained: worse than the price alone


def test_laws_differ_in_what_they_say():
    changed = laws(replace(SMALL, kinds=("loop",)))
    assert changed.pop("law") == replace(SMALL, kinds=("loop",))
    assert changed["kind boyan"].kinds == ("boyan",)
    assert "kind loop" not in changed
    assert [changed[f"length x{x}"].num_transitions for x in ("0.25", "4")] == [10, 160]
    assert [changed[f"states {x}"].num_states for x in (3, 4)] == [3, 4]
    assert not any(key.startswith("states") for key in laws(replace(SMALL, gaussian=True)))


def test_rivals_do_not_mind_the_scale_of_rewards(tables):
    """Errors are in units of the scale; a rival that is linear keeps its error, and the true value moves."""
    for seed in range(2):
        rows = {row["condition"]: row for row in tables["conditions"] if row["seed"] == seed}
        for name in ("reward x2", "reward x5"):
            for rival in set(RIVALS) - {"bayes"}:  # the oracle's draws are new each time
                assert rows[name][f"msve {rival}"] == pytest.approx(rows["law"][f"msve {rival}"], rel=1e-3)
        exact = "msve certainty equivalence"
        assert rows["reward +1"][exact] == pytest.approx(rows["law"][exact], rel=1e-3)
        assert rows["reward +1"]["msve"] != pytest.approx(rows["law"]["msve"], rel=0.05)


def test_oracle_only_where_there_is_one_law():
    mixed = replace(SMALL, kinds=("boyan", "loop"))
    parameters = initial_parameters(mixed.architecture, 2, generator(), torch.float64)
    rows = measured("x", Run(mixed, parameters, torch.empty(0, 2)), generator(1), 40)["conditions"]
    oracle = {row["condition"]: row["msve bayes"] for row in rows}
    assert oracle["law"] != oracle["law"]
    assert oracle["kind boyan"] == oracle["kind boyan"]
    prompts = mixed.draw((4,), generator())
    assert predict(mixed, parameters, prompts).shape == (2, 4, 5)
