"""The loop: runs in a batch, one learner looking on, runs that collapse."""

import numpy as np
import pytest

from icrl.control.loop import control
from icrl.control.scores import score
from icrl.control.updaters import (
    LinearSarsa,
    Tabular,
)
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp

LAKE = from_gymnasium("FrozenLake-v1", 0.95, is_slippery=False)


def corridor(paid=1.0):
    """State 0 leads to 1 under action 0 and stays under action 1; 1 ends the episode in 2, paid."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 1] = transition[0, 1, 0] = transition[1, :, 2] = transition[2, :, 2] = 1
    reward = np.zeros((3, 2))
    reward[1] = paid
    ends = np.array([False, False, True])
    return MarkovDecisionProcess(transition, reward, 0.5, np.array([1.0, 0, 0]), ends)


def test_batch_of_runs_is_runs_of_one():
    process = corridor()
    one = control([process], Tabular("sarsa", 0.5), [0, 3], np.random.default_rng(4))
    assert one.windows.tolist() == [0, 3]
    assert one.memories.shape == (2, 1, 3, 2)
    assert not one.memories[0].any()
    assert one.collapsed.tolist() == [0]
    many = control([process] * 7, Tabular("sarsa", 0.5), [0, 3], np.random.default_rng(4))
    assert many.policies.shape == (2, 7, 3, 2)


def test_the_leader_acts():
    """Beside a leader of its own kind a follower learns the same; beside another, something else."""
    given = [LAKE] * 3, LinearSarsa(4.0), [60]
    alone, beside, other = (
        control(*given, np.random.default_rng(5), leader=leader).memories
        for leader in (None, LinearSarsa(4.0), Tabular("q-learning", 0.5))
    )
    assert np.array_equal(alone, beside)
    assert not np.array_equal(alone, other)


def test_a_collapse_is_said_and_the_last_memory_kept():
    rng = np.random.default_rng(6)
    processes = [random_mdp(4, 2, 0.9, rng) for _ in range(4)]
    run = control(processes, LinearSarsa(400.0), [0, 50], rng)
    assert (run.collapsed > 0).all()
    assert np.isfinite(run.memories).all()
    assert np.isfinite(score(processes, run.policies).share).all()


def test_a_collapse_has_the_number_of_its_window():
    """Counted from 1, whatever is recorded; the run that does not collapse has 0."""

    class Breaks(Tabular):
        def update(self, memory, roll, policies, discount):
            calls.append(memory)
            new = super().update(memory, roll, policies, discount)
            return np.where((np.arange(2) == 0)[:, None, None] & (len(calls) == 3), np.nan, new)

    calls = []
    run = control([corridor()] * 2, Breaks("sarsa", 0.5), [5], np.random.default_rng(0))
    assert run.collapsed.tolist() == [3, 0]
    assert np.array_equal(run.memories[0, 0], calls[2][0])  # what it had before


class Scripted(Tabular):
    """A table told in advance for each window."""

    def __init__(self, *tables):
        super().__init__("sarsa", 0.5)
        object.__setattr__(self, "tables", iter(tables))

    def update(self, memory, roll, policies, discount):
        return next(self.tables)


def test_which_memories_are_lost():
    """Those with a number beyond 1e9 of either sign, or none; they stay as they were before."""

    def rows(*entries):
        table = np.zeros((len(entries), 3, 2))
        table[:, 1, 1] = entries
        return table

    first, second = rows(1e9, 1.1e9, -2e9, np.nan, 3), rows(-1e9 - 1, 5, 5, 5, 4)
    given = [corridor()] * 5, Scripted(first, second), [0, 1, 2]
    run = control(*given, np.random.default_rng(0), leader=Tabular("sarsa", 0.5))
    assert run.collapsed.tolist() == [2, 1, 1, 1, 0]
    assert run.collapsed.dtype == np.int64
    kept = run.memories[:, :, 1, 1]
    assert kept[0].tolist() == [0] * 5
    assert kept[1].tolist() == [1e9, 0, 0, 0, 3]
    assert kept[2].tolist() == [1e9, 0, 0, 0, 4]


def test_a_window_has_twenty_transitions_and_a_tenth_is_explored():
    """Said or not; and a title is shown if there is one."""
    given = [corridor()] * 3, Tabular("sarsa", 0.5), [4]
    default, said, other = (
        control(*given, np.random.default_rng(1), **options).memories
        for options in ({}, {"num_transitions": 20, "epsilon": 0.1}, {"num_transitions": 20, "epsilon": 0.9})
    )
    assert np.array_equal(default, said)
    assert not np.array_equal(default, other)


@pytest.mark.parametrize("title", [None, "lakes"])
def test_progress(title, capsys):
    control([corridor()], Tabular("sarsa", 0.5), [2], np.random.default_rng(1), progress=title)
    shown = capsys.readouterr().err
    assert "lakes: " in shown if title else shown == ""


PROCESS = random_mdp(3, 2, 0.9, np.random.default_rng(0))


def run(processes=(PROCESS,), learner=None, records=(0, 2), **options):
    learner = LinearSarsa(1.0) if learner is None else learner
    return control(processes, learner, records, np.random.default_rng(0), **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": ()}, "processes is empty; give at least one"),
        (
            {"processes": (PROCESS, random_mdp(3, 2, 0.8, np.random.default_rng(0)))},
            r"processes have the sizes \(S, A\) \[\(3, 2\)\] and the discounts \[0.8, 0.9\]",
        ),
        ({"learner": "linear"}, "updater is 'linear'.*must be an Updater"),
        ({"leader": "linear"}, "leader is 'linear'"),
        ({"records": ()}, r"records is \[\]; it must be a rising list"),
        ({"records": (5, 5)}, r"records is \[5, 5\]; it must be a rising list"),
        ({"records": (0, 5, 3)}, r"records is \[0, 5, 3\]; it must be a rising list"),
        ({"records": (0, -1)}, r"records\[1\] is -1"),
        ({"num_transitions": 0}, "num_transitions is 0"),
        ({"epsilon": 1.5}, "epsilon is 1.5"),
    ],
)
def test_refuses_loop(change, message):
    with pytest.raises(ValueError, match=message):
        run(**change)
