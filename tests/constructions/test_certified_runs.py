"""Random tasks and certified runs: counts against loops, and each bound of the chain above the last."""

import copy

import numpy as np

from icrl import mrp, softmax_td
from icrl.constructions import (
    by_counts,
    certified_run,
    covered_task,
    floor_errors,
    random_task,
    rare_fork,
)


def test_counts_are_the_loops():
    rng = np.random.default_rng(0)
    for _ in range(20):
        process, features, states = covered_task(rng)
        visited, counts, transition, matching = by_counts(features, states, process)
        _, seen = softmax_td.empirical_model(states, np.zeros(len(states) - 1), process.num_states)
        assert np.array_equal(visited, np.unique(states[:-1]))
        assert counts.sum() == len(states) - 1
        np.testing.assert_allclose(transition, seen[visited], atol=1e-15)
        expected = softmax_td.matching_matrix(features, states)[np.ix_(visited, visited)]
        np.testing.assert_allclose(matching, expected, atol=1e-12)


def test_covered_tasks_are_covered_and_closed():
    rng = np.random.default_rng(1)
    for _ in range(20):
        process, _, states = covered_task(rng)
        assert set(states[:-1]) == set(range(process.num_states))
        assert states[0] == states[-1]


def test_each_bound_gives_something_away():
    rng = np.random.default_rng(2)
    runs = [run for run in (certified_run(rng) for _ in range(40)) if run]
    assert len(runs) > 20
    for seen, chain, holds, width in runs:
        assert holds
        assert chain[0] <= chain[1] + 1e-9
        assert (np.diff(chain[3:]) >= -1e-9).all()  # radius, union bound, known range, norm
        assert seen.floor <= width + 1e-9


def test_a_union_over_all_states_and_counts_costs_its_logarithm():
    """The steps from a radius known for one count, to all of them, to values of any process, by formula."""
    rng, compared = np.random.default_rng(5), 0
    for _ in range(60):
        twin = copy.deepcopy(rng)
        run = certified_run(rng, delta=0.05)
        process, _ = random_task(twin)
        n = int(np.exp(twin.uniform(np.log(10), np.log(500))))
        if run is None or run[1][5] - run[1][1] > 0.3 * run[3]:  # floors near the width are cut to it
            continue
        compared += 1
        union = np.sqrt(np.log(2 * process.num_states * n / 0.05) / np.log(2 / 0.05))
        wider = np.ptp(process.reward) / (1 - process.discount) / np.ptp(process.value())
        (to_union, to_wider) = np.diff(run[1][3:6])
        np.testing.assert_allclose(to_wider / to_union, union * (wider - 1) / (union - 1), rtol=1e-6)
    assert compared >= 10


def test_sharp_tasks_have_a_sharp_kernel():
    process, features = random_task(np.random.default_rng(3), sharp=True)
    assert process.discount < 0.3
    gram = features @ features.T
    assert (np.diag(gram) >= 7 - 1e-9).all()
    assert np.array_equal(gram, np.diag(np.diag(gram)))


def test_the_fork_is_rare():
    process = rare_fork(2000)
    assert process.transition[0, 1] == 2 / 2000
    states = process.sample(2000, np.random.default_rng(4), start=0)
    assert (states == 1).mean() < 0.01


def test_errors_of_the_floor_need_coverage():
    """One transition 0 -> 1 leaves the last state without a model; a long path has one."""
    process = mrp.MarkovRewardProcess(np.array([[0.0, 1], [1, 0]]), np.array([1.0, 0]), 0.5)
    errors = floor_errors([process], [1, 2], 3, np.random.default_rng(5))
    assert np.isnan(errors[0, 0]).all()
    np.testing.assert_allclose(errors[0, 1], 0, atol=1e-15)  # a deterministic chain is known at once
