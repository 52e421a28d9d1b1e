"""The long comparison in small, and the helpers that make its rivals."""

from types import SimpleNamespace

import numpy as np

from icrl.control import deployment_rows, one_hot, permuted
from icrl.control.rivals import _Table, trained_blocks
from icrl.gradient_flow import Experiment, random_worlds, train_side_by_side, training_start

WORLDS = random_worlds(5, np.random.default_rng(0), num_states=4, num_actions=2)


def test_one_hot_keeps_the_world_and_permuted_keeps_the_rows():
    other = one_hot(WORLDS)
    assert other.transition is WORLDS.transition or np.array_equal(other.transition, WORLDS.transition)
    assert np.array_equal(other.features[3].reshape(8, 8), np.eye(8))
    value = np.arange(24.0).reshape(2, 4, 3)
    mixed = permuted(value, np.random.default_rng(0))
    assert not np.array_equal(mixed, value)
    assert np.array_equal(np.sort(mixed, axis=1), value)


def test_blocks_are_those_of_the_start_and_of_the_end():
    """Each from a training of its own, however many moments another run records."""
    setting = Experiment(num_states=2, num_actions=2, batch=4, windows=3)
    (scores, values), (trained_scores, trained_values) = trained_blocks(setting, 30, 2, 5)
    for i in range(2):
        start = training_start(setting, 1, np.random.default_rng([5, i, 0]))
        run = train_side_by_side(setting, 30, *start, np.random.default_rng([5, i, 1]))
        assert np.array_equal(scores[i], start[0][0])
        assert np.array_equal(values[i], start[1][0])
        assert np.array_equal(trained_scores[i], run.scores[-1, 0])
        assert np.array_equal(trained_values[i], run.values[-1, 0])


def test_rows_count_the_runs_that_diverged():
    """Also in their first window."""
    table = _Table(Experiment(num_states=2, num_actions=2), 3, [1], 0)
    policies = np.full((1, 3, 2, 2), 0.5)
    table.deploy = lambda *_: SimpleNamespace(policies=policies, diverged=np.array([0, 1, 4]))
    table.learner("any", SimpleNamespace(step_size=0.5))
    (row,) = table.rows
    assert (row["diverged"], row["runs"], row["step_size"]) == (2, 3, 0.5)


def test_the_long_run_in_small():
    """Every learner in every kind of world; trained rows come with their paired differences."""
    rows = deployment_rows(2, [1, 2], 2, 1, 1, 0)
    kinds = {(row["discount"], row["concentration"]) for row in rows}
    assert kinds == {(g, c) for g in (0.5, 0.9) for c in (1.0, 0.1, 0.03)}
    mine = [row for row in rows if (row["discount"], row["concentration"]) == (0.9, 0.03)]
    assert {row["windows"] for row in mine} == {1, 2}
    assert sum(row["learner"] == "trained" for row in mine) == 4
    pick = {(row["learner"], row["spread"], row["windows"]): row for row in mine}
    kinds = "certainty equivalence", "LSTD-Q", "myopic"
    assert all((f"{kind}, teacher's windows", spread, 2) in pick for kind in kinds for spread in (0.0, 1.0))
    gap = pick["trained", 0.0, 2]["share"] - pick["teacher", 0.0, 2]["share"]
    assert abs(pick["trained minus teacher", 0.0, 2]["share"] - gap) < 2e-4
