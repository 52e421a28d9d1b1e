"""Trained blocks: kept whole in a table, and what the tasks of the long comparison say of them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from icrl.control import (
    FrozenBlock,
    comparison,
    pack_block,
    read_block,
    regauge,
    trained_blocks,
    unpack_block,
)
from icrl.control.trained_blocks import block_rows, moment_row
from icrl.gradient_flow import train
from icrl.linear_transformer import sarsa_weights
from icrl.tables import read_table

DATA = Path(__file__).parents[2] / "book" / "data"


def test_a_table_holds_all_of_a_trained_block(tmp_path):
    """What is not in the table is exactly zero, also after training."""
    run = train(2, 2, 5, np.random.default_rng(0))
    table = pack_block(run.P[-1], run.V[-1])
    assert table.shape == (9, 9)
    for whole, kept in zip((run.P[-1], run.V[-1]), unpack_block(table), strict=True):
        assert np.array_equal(whole, kept.numpy())
    np.savetxt(tmp_path / "block.csv", table, "%.6g", delimiter=",", header="a command")
    for whole, kept in zip((run.P[-1], run.V[-1]), read_block(tmp_path / "block.csv"), strict=True):
        np.testing.assert_allclose(kept.numpy(), whole, rtol=1e-5)


def test_moments_of_a_training_are_that_training():
    moments = trained_blocks(number=1, steps=12, seed=3)
    run = train(9, 4, 12, np.random.default_rng([3, 5, 1]), discount=0.9, learning_rate=0.02)
    assert [moment["step"] for moment in moments] == [0, 1, 2, 4, 5, 6, 8, 9, 11]
    assert {moment["number"] for moment in moments} == {1}
    assert moments[-1]["block"] == pack_block(run.P[-1], run.V[-1]).tolist()
    assert moments[-1]["loss"] == f"{run.losses[-1]:.3e}"


def test_the_construction_is_aligned_and_closes_what_its_updater_closes(monkeypatch):
    small = replace(comparison.WORLDS["random"], runs=3, records=(0, 10, 40))
    monkeypatch.setitem(comparison.WORLDS, "random", small)
    block = pack_block(*(x.numpy() for x in sarsa_weights(36, 1.0))).tolist()
    given = {"block": block, "step_size": 8.0, "runs": 2, "windows": 10, "seed": 0}
    moment = moment_row(step=7, loss="1", **given)
    assert (moment["step"], moment["loss"], moment["runs"]) == (7, "1", 2)
    assert moment["score_cosine"] == moment["value_cosine"] == 1
    assert moment["share_low"] <= moment["share"] <= moment["share_high"]
    rows = block_rows(world="random", learner="trained", number=1, **given)
    built = comparison.evaluate("random", "trained 2", comparison.LEARNERS["linear"][0](8.0), 0, runs=2)
    assert rows == built[:2]
    gauged = block_rows(world="random", learner="trained, gauge set", number=1, **given)
    assert [row["learner"] for row in gauged] == ["trained, gauge set 2"] * 2


def test_any_block_as_it_is_and_with_its_gauge_set(monkeypatch):
    """A block that no gauge leaves alone, by the updater it makes; fewer runs and windows than usual."""
    world = "random, discount 0.5"  # where blocks that are the same in training differ
    small = replace(comparison.WORLDS[world], runs=3, records=(0, 3, 4))
    monkeypatch.setitem(comparison.WORLDS, world, small)
    block = np.random.default_rng(1).normal(size=(73, 74))[:, :73] / 10
    P, V = unpack_block(block)
    few, found = {"runs": 2, "windows": 3}, []
    for name, given in (("trained", (P, V)), ("trained, gauge set", regauge(P, V, 0.9))):
        own = {"world": world, "learner": name, "number": 0, "block": block.tolist(), "seed": 0} | few
        rows = block_rows(step_size=0.5, **own)
        assert rows == comparison.evaluate(world, f"{name} 1", FrozenBlock(*given, 0.5), 0, **few)
        assert [(row["windows"], row["runs"]) for row in rows] == [(0, 2), (3, 2)]
        found.append(rows[1]["share"])
    assert found[0] != found[1]


def test_a_moment_is_measured_after_a_hundred_windows(monkeypatch):
    """Of the committed training, its first one: the block itself, and the tasks and draws it was run on."""
    (first, *_) = read_table(DATA / "control-training.csv").rows
    (moment, *_) = trained_blocks(number=0, steps=1, seed=0)
    assert (str(moment["step"]), moment["loss"]) == (first["step"], first["loss"])
    module, met = sys.modules["icrl.control.trained_blocks"], []
    learn = module.control

    def shorter(tasks, updater, records, rng):
        met.append((tasks, records, rng.bit_generator.state))
        return learn(tasks, updater, [1], rng)

    monkeypatch.setattr(module, "control", shorter)
    given = {"loss": moment["loss"], "block": moment["block"], "step_size": 4.0, "runs": 2, "seed": 0}
    row = moment_row(step=0, windows=5000, **given)
    assert all(str(row[key]) == first[key] for key in ("step", "loss", "score_cosine", "value_cosine"))
    assert all(row[key] == round(row[key], 4) for key in ("share", "share_low", "share_high"))
    ((tasks, records, state),) = met
    assert records == [100]
    drawn = comparison.WORLDS["random"].draw(2, np.random.default_rng([0, 6]))
    assert all(np.array_equal(x.transition, y.transition) for x, y in zip(tasks, drawn, strict=True))
    assert state == np.random.default_rng([0, 7]).bit_generator.state


def test_a_table_of_any_numbers():
    """Single ones become double ones."""
    for x in unpack_block(np.eye(3, dtype=np.float32)):
        assert x.dtype == torch.float64


@pytest.mark.bad_input
def test_refuses_no_training():
    with pytest.raises(ValueError, match="steps is 0"):
        trained_blocks(number=0, steps=0, seed=0)


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(4, 4), (3, 5)])
def test_tables_that_are_no_blocks(shape):
    with pytest.raises(
        ValueError,
        match=r"block has shape .*; it(s axis m)? must (be \(2 d|have length 3)",
    ):
        unpack_block(np.zeros(shape))
