"""The rows of the tables against the instruments themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icrl.standard_transformer import (
    Setting,
    behaviour,
    fit_rivals,
    head_scores,
    initial_parameters,
    inside,
    lens,
    measured,
    measures,
    patched,
    predict,
    rival_operators,
    swapped,
    symmetries,
)
from icrl.standard_transformer.measures import REWARDS, RIVALS, laws
from icrl.standard_transformer.training import Run

SMALL = Setting(num_layers=2, num_transitions=40, num_heads=2, width=16, hidden=16, num_seeds=2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


NETWORKS = initial_parameters(SMALL.architecture, 2, generator(5), torch.float64)
PROMPTS = SMALL.draw((12,), generator(6))
FITTED = fit_rivals(SMALL.draw((60,), generator(7)), 0.5)


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
    assert [key for key in laws(replace(SMALL, num_states=4)) if key.startswith("states")] == ["states 3"]
    assert REWARDS == {"reward x2": (2, 0), "reward x5": (5, 0), "reward +1": (1, 1)}


def test_every_instrument_has_as_many_worlds_as_it_says(monkeypatch):
    """1000 if nothing is said: rivals are fitted on four times as many; never fewer than 20."""
    drawn, original, parameters = [], Setting.draw, NETWORKS.float()

    def draw(self, batch, generator, **change):
        drawn.append(batch)
        if len(drawn) == 4:  # the first condition: what follows is measured on what was drawn
            raise StopIteration
        return original(self, (4,), generator, **change)

    monkeypatch.setattr(Setting, "draw", draw)
    for given, sizes in (
        ((), (4000, 100, 50, 1000)),
        ((300,), (1200, 30, 20, 300)),
        ((200,), (800, 20, 20, 200)),
    ):
        drawn.clear()
        with pytest.raises(StopIteration):
            measured("x", Run(SMALL, parameters, torch.empty(0, 2)), generator(), *given)
        assert drawn == [(size,) for size in sizes]
    drawn.clear()
    assert len(list(measures._layers(SMALL, NETWORKS, generator(), 601))) == 6
    assert drawn == [(300,), (300,)]


@pytest.mark.parametrize("factor", [1.0, 5.0])
def test_rows_of_errors_by_hand(factor):
    """Errors are means over worlds of means over visits, in units of the squared factor."""
    rows = measures._errors("x", SMALL, NETWORKS, FITTED, PROMPTS, generator(8), factor)
    operators = rival_operators(PROMPTS, 0.5, FITTED, generator(8), 2, "boyan")
    visits = PROMPTS.counts.sum(-1).numpy() / 40

    def errors(values):
        return (visits * (values.numpy() - PROMPTS.value.numpy()) ** 2).sum(1) / factor**2

    for seed, row in enumerate(rows):
        assert (row["seed"], row["condition"]) == (seed, "x")
        own = errors(predict(SMALL, NETWORKS, PROMPTS)[seed])
        assert row["msve"] == pytest.approx(own.mean())
        for key in ("price", *RIVALS):
            theirs = errors((operators[key] @ PROMPTS.reward[..., None])[..., 0])
            assert row[f"msve {key}"] == pytest.approx(theirs.mean())
            if key in RIVALS:
                assert row[f"less {key}"] == pytest.approx((own - theirs).mean())
                half = 1.96 * np.std(own - theirs, ddof=1) / 12**0.5
                assert row[f"half {key}"] == pytest.approx(half)


def test_what_is_seen_from_outside_by_hand():
    """Slopes and misses of each predicted move, root mean squares over visits and worlds."""
    seen = measures._outside(SMALL, NETWORKS, FITTED, PROMPTS, generator(9))
    found = behaviour.jacobian(SMALL, NETWORKS, PROMPTS)
    fitted, explained = behaviour.coefficients(found, PROMPTS, 0.5)
    for i, key in enumerate(("c0", "c1", "c2", "price")):
        assert torch.allclose(seen[key], fitted[:, i])
    assert torch.allclose(seen["explained"], explained)
    for key, value in symmetries(SMALL, NETWORKS, PROMPTS).items():
        assert torch.allclose(seen[key], value)
    after = swapped(PROMPTS, generator(9))
    visits = PROMPTS.counts.sum(-1) / 40
    operators = [rival_operators(x, 0.5, FITTED, generator()) for x in (PROMPTS, after)]
    moved = predict(SMALL, NETWORKS, after) - predict(SMALL, NETWORKS, PROMPTS)

    def rms(x):
        return ((visits * x**2).sum() / 12).sqrt().item()

    for seed in range(2):
        assert seen["swap rms"][seed].item() == pytest.approx(rms(moved[seed]))
        for key in ("linear 1", "linear 2", "certainty equivalence", "add-k"):
            move = ((operators[1][key] - operators[0][key]) @ PROMPTS.reward[..., None])[..., 0]
            assert seen[f"swap rms {key}"][seed].item() == pytest.approx(rms(move))
            slope = (visits * moved[seed] * move).sum() / (visits * move**2).sum()
            assert seen[f"swap slope {key}"][seed].item() == pytest.approx(slope.item())
            missed = rms(moved[seed] - move) / rms(moved[seed])
            assert seen[f"swap missed {key}"][seed].item() == pytest.approx(missed)


def test_rows_of_layers_and_heads_are_the_instruments():
    """The lens looks at the held-out worlds; layers count from 1, heads from 0."""
    g = generator(10)
    worlds = tuple(SMALL.draw((15,), g) for _ in range(2))
    errors, held = lens(SMALL, NETWORKS, worlds[1])
    shares = inside.probes(SMALL, NETWORKS, worlds, g)
    rows = list(measures._layers(SMALL, NETWORKS, generator(10), 30))
    assert [(row["layer"], row["seed"]) for row in rows] == [(i, k) for i in range(3) for k in range(2)]
    for row in rows:
        i, k = row["layer"], row["seed"]
        assert row["lens msve"] == pytest.approx(errors[i, k].item())
        assert [row[f"lens {x}"] for x in ("c0", "c1", "price")] == pytest.approx(held[i, k].tolist())
        for kind, share in shares.items():
            assert [row[f"probe {kind} {x}"] for x in ("ce", "Pr", "PPr")] == pytest.approx(
                share[i, k].tolist()
            )
    scores, (errors, fits) = head_scores(SMALL, NETWORKS, PROMPTS), patched(SMALL, NETWORKS, PROMPTS)
    rows = list(measures._heads(SMALL, NETWORKS, PROMPTS))
    assert len(rows) == 8
    for row in rows:
        i, h, k = row["layer"] - 1, row["head"], row["seed"]
        assert [row[x] for x in scores._fields] == pytest.approx([x[i, k, h].item() for x in scores])
        assert row["patched msve"] == pytest.approx(errors[i, h, k].item())
        assert [row[f"patched {x}"] for x in ("c0", "c1", "c2", "price")] == pytest.approx(
            fits[i, h, k].tolist()
        )


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
