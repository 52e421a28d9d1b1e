"""Two trainings that differ in nothing but whether the layers stay alike."""

from dataclasses import asdict, replace

import pytest
import torch

from icrl.pretraining import Configuration, fresh_tasks, query_values
from icrl.pretraining.own_weights import TESTED, paired_weights_rows, trained_from_one_start

SHORT = Configuration(num_steps=2, num_seeds=2, num_prompts=8, num_layers=2, num_transitions=10)


def test_both_begin_as_one_network_and_see_the_same_worlds():
    shared, own = (trained_from_one_start(SHORT, weights, 3) for weights in ("shared", "per-layer"))
    starts = [[x.expand(2, *x.shape[1:]) for x in trainer.kept[0]] for trainer in (shared, own)]
    for one, each in zip(*starts, strict=True):
        assert torch.equal(one, each)
    # The first loss is of the same function on the same prompts; after a step they differ.
    assert torch.equal(shared.losses[0][0], own.losses[0][0])
    assert not torch.equal(shared.losses[0][1], own.losses[0][1])
    assert not torch.equal(own.free[0][0], own.free[0][1])
    assert (shared.step, own.step, len(own.losses[0])) == (2, 2, 2)
    assert not any(x.requires_grad for x in own.kept[0])
    stated = trained_from_one_start(replace(SHORT, weights="per-layer"), "shared", 3)  # does not matter
    assert all(torch.equal(x, y) for x, y in zip(stated.free, shared.free, strict=True))


def test_fresh_tasks_of_the_table_are_apart_from_those_of_training():
    """A million apart, as when book/data/own-weights.csv was made."""
    assert TESTED == 1_000_000


def test_rows():
    rows = paired_weights_rows(setting="short", configuration=asdict(SHORT), tested=50, seed=3)
    tasks = fresh_tasks(SHORT, 50, torch.Generator().manual_seed(3 + TESTED))
    truth = tasks.worlds.value(SHORT.discount).gather(-1, tasks.states[..., -1:])[..., 0]
    for weights in ("shared", "per-layer"):
        trainer = trained_from_one_start(SHORT, weights, 3)
        said = query_values(trainer.configuration, *trainer.matrices(trainer.free), tasks)
        errors = (said - truth).square().mean(-1)
        assert [row[f"msve {weights}"] for row in rows] == pytest.approx(errors.tolist(), rel=1e-5)
    assert [row["network"] for row in rows] == [0, 1]
    assert all(row["msve shared"] != row["msve per-layer"] for row in rows)


@pytest.mark.bad_input
def test_refused():
    with pytest.raises(ValueError, match="num_layers is 0; it must be at least 1"):
        paired_weights_rows(setting="none", configuration={"num_layers": 0}, tested=5, seed=0)
