"""The long comparison in small, and the helpers that make its rivals."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from icrl.control import ExpectedSarsa, Teacher, deployment, deployment_rows, one_hot, permuted, rivals
from icrl.control.rivals import _Table, trained_blocks
from icrl.gradient_flow import Experiment, random_worlds, train_side_by_side, training_start
from icrl.tables import read_table

WORLDS = random_worlds(5, np.random.default_rng(0), num_states=4, num_actions=2)
COMMITTED = read_table(Path(__file__).parents[2] / "book" / "data" / "teacher-mimicking-control.csv").rows
KIND = "discount", "concentration"


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
    for spread, windows in product((0.0, 1.0), (1, 2)):
        one, other, paired = (
            pick[name, spread, windows] for name in ("trained", "teacher", "trained minus teacher")
        )
        assert paired["share"] == pytest.approx(one["share"] - other["share"], abs=1.6e-4)  # of rounded ones
        assert (paired["of_states"], paired["diverged"], paired["runs"]) == ("", 0, 4)
    of_any_step = "tuning", "teacher, best step"  # in each kind of world another one
    for name in {row["learner"] for row in COMMITTED}.difference(of_any_step):
        assert _of(rows, name, "spread", "step_size") == _of(COMMITTED, name, "spread", "step_size")
    for name in of_any_step:
        assert _of(rows, name, "spread") == _of(COMMITTED, name, "spread")
    assert _of(rows, "tuning", "step_size") == _of(COMMITTED, "tuning", "step_size")
    for kind in kinds_of(rows):
        tried = [row for row in kind if row["learner"] == "tuning"]
        assert {row["windows"] for row in tried} == {2}
        best = max(tried, key=lambda row: row["share"])["step_size"]
        assert _of(kind, "teacher, best step", "step_size") == {(*_key(kind[0]), best)}


def _key(row):
    return tuple(float(row[x]) for x in KIND)


def _of(rows, name, *columns):
    """What stands in some columns in the rows of a learner, with the kind of world."""
    found = ((*_key(row), *(row[x] for x in columns)) for row in rows if row["learner"] == name)
    return {tuple(x if x == "" else float(x) for x in row) for row in found}


def kinds_of(rows):
    """The rows of each kind of world."""
    return [[row for row in rows if _key(row) == key] for key in sorted({_key(row) for row in rows})]


def test_the_committed_rows_come_out_again():
    """One kind of world, after the first ten windows: the same worlds, first weights, draws and intervals."""
    setting = replace(Experiment(), discount=0.9, concentration=0.03)
    table = _Table(setting, 100, [10], 3)
    teacher = table.learner("teacher", Teacher(setting))
    averages = deployment.from_data("myopic", table.worlds, teacher.history)
    table.add("myopic, teacher's windows", [averages], spread=1.0)
    one, matched = one_hot(table.worlds), Teacher(replace(setting, step_size=2.4))
    table.learner("teacher, one-hot", matched, 0.0, one)
    table.learner("expected SARSA", ExpectedSarsa(0.1, 0.1, False), 0.0)
    table.add("best policy that explores", [deployment.optimal(table.worlds, 0.1)])
    for row in table.rows:
        (wanted,) = (
            x
            for x in COMMITTED
            if all(x[key] == str(row[key]) for key in (*KIND, "learner", "spread", "step_size", "windows"))
        )
        for key in ("share", "low", "high", "of_states", "diverged", "runs"):
            assert float(wanted[key]) == pytest.approx(row[key], abs=1.01e-4)


@pytest.fixture
def recorded(monkeypatch):
    """What is trained and who is deployed where, with nothing trained and nothing deployed."""
    seen = SimpleNamespace(trained=[], tables=[], lengths=[])

    class Recorded(_Table):
        def __init__(self, *given):
            super().__init__(*given)
            self.given, self.learners = given, []
            seen.tables.append(self)

        def learner(self, name, learner, spread=1.0, worlds=None):
            self.learners.append((name, learner, spread))
            step = getattr(learner, "step_size", None) or learner.setting.step_size
            self.rows.append({"learner": name, "step_size": step, "share": -abs(step - 0.5)})
            return SimpleNamespace(history=[None] * 9)

        def difference(self, name, one, other):
            pass

    def blocks(setting, steps, seeds, seed):
        seen.trained.append((setting, steps, seeds, seed))
        m, k, q = setting.shape
        return [(np.full((seeds, m, k), x), np.full((seeds, q, m), x)) for x in (len(seen.trained), -1.0)]

    def from_data(kind, worlds, history):
        seen.lengths.append(len(history))
        return deployment.uniform(worlds)

    for name, other in (("_Table", Recorded), ("trained_blocks", blocks), ("from_data", from_data)):
        monkeypatch.setattr(rivals, name, other)
    return seen


def test_who_is_compared(recorded):
    """What is trained, and each learner by its name: what it is made of, beside the rest of the setting."""
    deployment_rows(2, [4], 3, 11, 13, 0)
    (base, *first), (strict, *second) = recorded.trained
    assert base == Experiment()
    assert strict == replace(base, batch=1, windows=1000, learning_rate=1e-3, schedule="constant")
    assert (first, second) == ([11, 3, 0], [13, 3, 1])  # draws of their own
    assert set(recorded.lengths) == {4}
    tuning, table = recorded.tables[-2:]
    assert [x.given[3] for x in (tuning, table)] == [2, 3]  # as in the committed table
    assert not np.array_equal(tuning.worlds.transition, table.worlds.transition)
    assert not np.array_equal(tuning.weights, table.weights)
    made = {}
    for name, learner, _ in table.learners:
        made.setdefault(name, []).append(learner)
    setting = replace(base, discount=0.9, concentration=0.03)
    assert all(learner.setting == setting for learner in made["teacher"] + made["trained"])
    assert made["teacher, uniform behaviour"][0].setting == replace(setting, epsilon=1.0)
    assert made["teacher, best step"][0].setting == replace(setting, step_size=0.5)
    for learner in made["teacher, one-hot"]:
        assert (learner.setting.features, learner.setting.step_size) == ("one-hot", pytest.approx(2.4))
        assert replace(learner.setting, features="fresh", step_size=0.2) == setting
    for name, centred in (("expected SARSA", False), ("expected SARSA, centred", True)):
        assert vars(made[name][0]) == {"step_size": 0.1, "epsilon": 0.1, "centred": centred}
    entries = {
        name: (x[0].scores[0, 0, 0], x[0].values[0, 0, 0]) for name, x in made.items() if "strict" in name
    }
    assert entries == {"strict, undertrained": (-1, -1)}
    assert (made["untrained"][0].scores == 1).all()
    assert (made["trained"][0].values == -1).all()


@pytest.mark.bad_input
def test_refuses_to_score_nowhere():
    with pytest.raises(ValueError, match="windows is empty; give at least one"):
        deployment_rows(2, [], 1, 1, 1, 0)
