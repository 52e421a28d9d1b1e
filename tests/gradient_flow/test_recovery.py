"""How far a training has come, and what its tasks tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from icrl.gradient_flow import (
    Experiment,
    experiment_richness_row,
    experiment_tasks,
    null_dimension,
    recovery,
    richness,
    spectrum,
    train_side_by_side,
    training_rows,
    training_start,
    unseen_data,
)
from icrl.gradient_flow import experiment as room

DATA = Path(__file__).parents[2] / "book" / "data"
SMALL = {"num_states": 3, "num_actions": 2, "num_transitions": 7, "discount": 0.7, "step_size": 0.3}


def lessons(count=3, **changes):
    """The first lessons of a training."""
    stream = room._lessons(
        Experiment(**(SMALL | {"batch": 2, "windows": 3} | changes)), np.random.default_rng(3)
    )
    return [next(stream) for _ in range(count)]


def test_recovery_of_the_construction_itself():
    """Any scale, both signs; a disturbed entry shows in the error of its block and in no other."""
    setting = Experiment(**SMALL)
    P, V = setting.teacher()
    for c in (0.3, -2.0):
        seen = recovery(setting, c * P, V / c)
        assert np.isclose(seen.scale, c)
        assert max(seen.score_error, seen.value_error) < 1e-15
        assert np.isclose(seen.score_cosine, np.sign(c))
        assert np.isclose(seen.value_cosine, np.sign(c))
    other = V.copy()
    other[0, 1] += 0.1  # where the teacher has 0: the scale stays
    seen = recovery(setting, P, other)
    assert seen.score_error < 1e-15
    assert np.isclose(seen.value_error, 0.1 / np.linalg.norm(V))
    # Blocks with the wrong product are not the construction at any scale.
    seen = recovery(setting, 2 * P, 2 * V)
    assert np.isclose(seen.scale, 1)
    assert np.isclose(seen.score_error, 1)
    assert np.isclose(seen.value_error, 1)


def test_unseen_directions_change_nothing_and_are_projected_off():
    """z' x = 0 in every column of a lesson; moves along z are not seen by the projected measure."""
    for kind in ("one-hot", "fixed"):
        setting, rng = Experiment(features=kind, **SMALL), np.random.default_rng(5)
        table = room.fixed_table(setting, np.random.default_rng(3)) if kind == "fixed" else None
        z = unseen_data(setting, table)
        assert z.shape == (13, 1)
        assert np.isclose(np.linalg.norm(z), 1)
        for given in lessons(4, features=kind):
            assert np.abs(given.data @ z).max() < 1e-12
        P, V = setting.teacher()
        moved = P + z @ rng.normal(size=(1, 7)), V + rng.normal(size=(6, 1)) @ z.T
        assert recovery(setting, *moved).score_error > 0.1
        off = recovery(setting, *moved, z)
        assert max(off.score_error, off.value_error) < 1e-12
    assert unseen_data(Experiment(**SMALL)).shape == (13, 0)
    actor = Experiment(method="actor-critic", features="one-hot", **SMALL)  # what is known is SARSA's
    assert unseen_data(actor).shape == (13, 0)


def test_experiment_tasks_are_rich_with_fresh_features_only():
    """One null direction and the full span, against 2 d + 2 = 14 with one table for all."""
    rng = np.random.default_rng(0)
    for kind, null in (("fresh", 1), ("fixed", 14), ("one-hot", 14)):
        loss = experiment_tasks(Experiment(num_states=3, num_actions=2, features=kind), 900, rng)
        seen = richness(loss)
        assert seen.null_dimension == null
        assert seen.rich == (kind == "fresh")
        values = spectrum(loss, chunk=250)
        assert null_dimension(values) == null
        assert np.allclose(values, seen.spectrum / seen.spectrum[0], atol=1e-10)


@pytest.mark.parametrize("change", [{}, {"follow": False}, {"features": "fixed"}, {"windows": 1}])
def test_tasks_are_the_streams_lessons(change):
    """Parameters and moments, by loops, of the third window (of the first if none is named)."""
    setting = Experiment(**SMALL | {"windows": 3} | change)
    for window in (1, 3) if setting.windows == 3 else (1,):
        named = {"windows": window} if window > 1 else {}
        loss = experiment_tasks(setting, 2, np.random.default_rng(3), **named)
        given = lessons(window, **change)[-1]
        assert np.allclose(loss.parameters, given.column)
        moments = [sum(np.outer(x, x) for x in data) / 7 for data in given.data]
        assert np.allclose(loss.moments, moments, atol=1e-14)
        for mine, theirs in zip((loss.teacher_score, loss.teacher_value), setting.teacher(), strict=True):
            assert np.array_equal(mine, theirs)


def test_one_task_and_chunks_of_one():
    """Fewest tasks; the spectrum of three tasks, one at a time."""
    setting, rng = Experiment(**SMALL), np.random.default_rng(0)
    assert experiment_tasks(setting, 1, rng).moments.shape == (1, 13, 13)
    loss = experiment_tasks(setting, 3, rng)
    assert np.allclose(spectrum(loss, chunk=1), spectrum(loss), atol=1e-14)


def test_recovery_of_a_batch_of_unlike_blocks():
    """Each block of the batch by itself, with some directions projected off or none."""
    setting, rng = Experiment(method="actor-critic", actor_step=0.6, **SMALL), np.random.default_rng(2)
    m, k, q = setting.shape
    scores, values = rng.normal(size=(2, 3, m, k)), rng.normal(size=(2, 3, q, m))
    for unseen in (None, np.linalg.qr(rng.normal(size=(m, 2)))[0]):
        seen = recovery(setting, scores, values, unseen)
        off = np.eye(m) if unseen is None else np.eye(m) - unseen @ unseen.T
        P, V = (off @ setting.teacher()[0]).ravel(), (setting.teacher()[1] @ off).ravel()
        for i in np.ndindex(2, 3):
            p, v = (off @ scores[i]).ravel(), (values[i] @ off).ravel()
            shares = p @ P / (P @ P), v @ V / (V @ V)
            c = np.sign(shares[0]) * np.sqrt(abs(shares[0] / shares[1]))
            assert np.isclose(seen.scale[i], c)
            assert np.isclose(seen.score_error[i], np.linalg.norm(p / c - P) / np.linalg.norm(P))
            assert np.isclose(seen.value_error[i], np.linalg.norm(c * v - V) / np.linalg.norm(V))
            assert np.isclose(seen.score_cosine[i], p @ P / np.linalg.norm(p) / np.linalg.norm(P))
            assert np.isclose(seen.value_cosine[i], v @ V / np.linalg.norm(v) / np.linalg.norm(V))


def test_training_rows_name_what_they_measured():
    """A row for each seed and moment, the start left out; projected errors where something is unseen."""
    change = {"num_states": 2, "num_actions": 2, "batch": 2, "windows": 2, "features": "fixed"}
    rows = training_rows("part", "name", change, steps=4, draws=1, seeds=2, records=3, seed=0)
    assert [(row["seed"], row["step"]) for row in rows] == [(0, 2), (1, 2), (0, 4), (1, 4)]
    assert all(row["score_off"] != row["score_error"] for row in rows)
    setting = replace(Experiment(), **change)
    blocks = training_start(setting, 2, np.random.default_rng([0, 1, 0]))
    run = train_side_by_side(setting, 4, *blocks, np.random.default_rng([0, 1, 1]), records=3)
    assert list(rows[0]) == DATA.joinpath("teacher-mimicking.csv").read_text().splitlines()[1].split(",")
    assert {(row["part"], row["variant"], row["draws"]) for row in rows} == {("part", "name", 1)}
    assert rows[-1]["loss"] == float(f"{run.losses[-1, 1]:.4g}")
    table = room.fixed_table(setting, np.random.default_rng([0, 1, 1]))
    for row, r, s in zip(rows, (1, 1, 2, 2), (0, 1, 0, 1), strict=True):
        P, V = run.scores[r, s], run.values[r, s]
        whole, off = recovery(setting, P, V), recovery(setting, P, V, unseen_data(setting, table))
        said = {"scale": whole.scale, "score_error": whole.score_error, "value_error": whole.value_error}
        said |= {"score_off": off.score_error, "value_off": off.value_error}
        said |= {"cosine_off": min(abs(off.score_cosine), abs(off.value_cosine))}
        assert {name: row[name] for name in said} == pytest.approx(said, rel=1e-3)


def test_zero_is_a_share_of_the_largest():
    assert null_dimension(np.array([1.0, 2e-10, 5e-11, -1e-17])) == 2
    assert null_dimension(np.array([1e3, 2e-8, 5e-11])) == 2
    assert null_dimension(np.array([1.0, 1e-3, 1e-5]), share=1e-4) == 1
    assert null_dimension(np.array([2.0, 1.0, 0.5]), share=0.5) == 1  # below it


@pytest.mark.parametrize(("features", "null"), [("fresh", 1), ("one-hot", 18)])
def test_a_row_of_the_table_of_richness(features, null):
    """Two states with four actions, d = 8: (2d + 1)(d + 1) + d (2d + 1) parameters."""
    row = experiment_richness_row(features, 2, 700, 1)
    assert (row["d"], row["parameters"], row["tasks"], row["seed"]) == (8, 289, 700, 1)
    assert (row["features"], row["predicted"], row["null"]) == (features, null, null)
    assert row["largest_null"] < 1e-10 < 1e-8 < row["next"] < 1


@pytest.mark.bad_input
def test_refuses_blocks_and_tasks():
    rng, setting = np.random.default_rng(0), Experiment(**SMALL)
    blocks = training_start(setting, 2, rng)
    with pytest.raises(ValueError, match=r"values has shape .* its axis m must have length 12"):
        recovery(setting, blocks[0][:, 1:], blocks[1])
    with pytest.raises(ValueError, match=r"scores has shape \(2, 12, 7\); it must end in \(13, 7\)"):
        recovery(setting, blocks[0][:, 1:], blocks[1][..., 1:])
    with pytest.raises(ValueError, match=r"values has shape \(2, 5, 13\); it must end in \(6, 13\)"):
        recovery(setting, blocks[0], blocks[1][:, 1:])
    with pytest.raises(ValueError, match="num_tasks is 0"):
        experiment_tasks(setting, 0, rng)
    with pytest.raises(ValueError, match="windows_from is 'independent'"):
        experiment_tasks(replace(setting, windows_from="independent"), 2, rng)
    with pytest.raises(ValueError, match="windows is 0"):
        experiment_tasks(setting, 2, rng, windows=0)
    with pytest.raises(ValueError, match="chunk is 0"):
        spectrum(experiment_tasks(setting, 2, rng), chunk=0)
    fixed, rows = Experiment(features="fixed", **SMALL), rng.normal(size=(6, 6))
    rows[5] = rows[0] + rows[1] / 3
    for table, message in ((None, "table"), (rows.reshape(3, 2, 6), "table gives a linear system")):
        with pytest.raises(ValueError, match=message):
            unseen_data(fixed, table)


def test_weights_that_begin_at_zero_are_rich_from_the_second_window_on():
    """Exercise 2 of the chapter: at the first window 1 + d m = 79 directions are free."""
    setting = Experiment(num_states=3, num_actions=2, spread=0.0)
    for windows, null in ((1, 79), (2, 1)):
        tasks = experiment_tasks(setting, 900, np.random.default_rng(1), windows=windows)
        assert null_dimension(spectrum(tasks)) == null
