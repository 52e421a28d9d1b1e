"""Random tasks and certified runs: counts against loops, and each bound of the chain above the last."""

import copy
import dataclasses

import numpy as np
import pytest
from refusals import refused
from scipy.stats import kstest

from icrl import contraction, mrp, softmax_td
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


def test_random_tasks_have_their_described_laws():
    """Dense, Boyan's or ring, of 2 to 10 states; features one-hot, or normal of any width."""
    rng = np.random.default_rng(6)
    tasks = [random_task(rng) for _ in range(1500)]
    sizes, widths = (np.array([x.shape[i] for _, x in tasks]) for i in (0, 1))
    assert set(sizes) == set(range(2, 11))
    assert kstest([process.discount for process, _ in tasks], "uniform", (0.1, 0.85)).pvalue > 1e-3
    kinds = [
        (process.transition > 0).sum() - s for (process, _), s in zip(tasks, sizes, strict=True) if s > 5
    ]
    sizes_of = sizes[sizes > 5]
    shares = [np.mean(kinds == count) for count in (sizes_of * (sizes_of - 1), sizes_of, 2 * sizes_of - 3)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)  # dense, a ring, two ways and a restart
    hot = np.array(
        [
            s == d and not np.any(x - np.diag(np.diag(x)))
            for (_, x), s, d in zip(tasks, sizes, widths, strict=True)
        ]
    )
    assert abs(hot.mean() - 0.5) < 0.05
    norms = [x[0, 0] ** 2 for (_, x), one in zip(tasks, hot, strict=True) if one]
    assert kstest(norms, "uniform", (0, 10)).pvalue > 1e-3
    assert (widths - sizes)[~hot].max() == 2
    assert widths[~hot].min() == 1
    large = [x.std() for (_, x), one in zip(tasks, hot, strict=True) if not one and x.size >= 40]
    assert 0.07 < min(large) < 0.14
    assert 1.8 < max(large) < 2.4


def test_sharp_tasks_have_their_described_laws():
    rng = np.random.default_rng(7)
    tasks = [random_task(rng, sharp=True) for _ in range(400)]
    assert {process.num_states for process, _ in tasks} == {2, 3}
    assert kstest([process.discount for process, _ in tasks], "uniform", (0, 0.3)).pvalue > 1e-3
    assert kstest([x[0, 0] ** 2 for _, x in tasks], "uniform", (7, 3)).pvalue > 1e-3


def test_covered_tasks_are_small_and_short():
    rng = np.random.default_rng(8)
    tasks = [covered_task(rng) for _ in range(60)]
    assert {process.num_states for process, _, _ in tasks} == {2, 3, 4, 5, 6}
    for process, _, states in tasks:
        assert len(states) == process.num_states + 21 + 1  # each once, 20 transitions, back to the first


def test_the_fork_by_hand():
    """Met twice in n transitions; a fate lasts 50 steps, and one pays what the other costs."""
    process = rare_fork(8)
    rows = [[0.75, 0.25, 0, 0], [0, 0, 0.5, 0.5], [0.02, 0, 0.98, 0], [0.02, 0, 0, 0.98]]
    np.testing.assert_array_equal(process.transition, rows)
    np.testing.assert_array_equal(process.reward, [0, 0, 1, -1])
    assert process.discount == 0.5
    assert rare_fork(2, 0.25).discount == 0.25


@pytest.mark.bad_input
def test_refuses_other_sizes():
    process = rare_fork(8)
    refused("num_transitions is 1; it must be at least 2", rare_fork, 1)
    message = "features has shape (5, 2); its axis S must have length 4, as process.transition says"
    refused(message, by_counts, np.zeros((5, 2)), np.array([0, 1, 0]), process)
    refused("lengths is empty; give at least one", floor_errors, [process], [], 3, np.random.default_rng(0))


def fresh_runs(count, seed, **options):
    """Certified runs, each beside the task, context and number of layers that the same draws give."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        twin = copy.deepcopy(rng)
        run = certified_run(rng, **options)
        process, features = random_task(twin)
        states = process.sample(int(np.exp(twin.uniform(np.log(10), np.log(500)))), twin)
        if run is None:
            assert states[-1] not in states[:-1]
        else:
            yield run, process, features, states, int(twin.integers(1, 60))


def worth(chain, reward, gamma):
    """What a reward met from the next step on comes to, at most."""
    return gamma * mrp.MarkovRewardProcess(chain, reward, gamma).value().max()


@pytest.mark.parametrize("options", [{}, {"delta": 0.3}])
def test_bounds_of_a_run_by_other_means(options):
    """Errors by plain softmax TD; what noise and radii come to as the worth of a reward."""
    compared, delta = 0, options.get("delta", 0.1)
    for (seen, chain, _, width), process, features, states, layers in fresh_runs(20, 9, **options):
        n = len(states) - 1
        if layers * n > 1500:
            continue  # the plain loops would take long
        compared += 1
        rewards, gamma, value = process.reward[states[:-1]], process.discount, process.value()
        visited, empirical = softmax_td.empirical_process(states, rewards, gamma)
        columns = [np.flatnonzero(states == s)[0] for s in visited]
        estimate = softmax_td.weighted_softmax_td(features, states, rewards, gamma, layers)[-1, columns]
        error, remaining = np.abs(estimate - value[visited]).max(), np.abs(estimate - empirical.value()).max()
        visits, names = np.bincount(states[:-1])[visited], 2 * process.num_states * n
        noise = np.abs(empirical.transition @ value[visited] - (process.transition @ value)[visited])
        radii = [np.ptp(value) * np.sqrt(np.log(k / delta) / 2 / visits) for k in (2, names)]
        limits = process.reward.min(), process.reward.max()
        known = (limits[1] - limits[0]) / (1 - gamma)
        floors = [worth(empirical.transition, x, gamma) for x in (noise, *radii)]
        capped = np.minimum([*floors[1:], floors[2] * known / np.ptp(value)], known)
        floors = np.array([np.abs(empirical.value() - value[visited]).max(), floors[0], *capped])
        np.testing.assert_allclose(chain, [error, *(remaining + floors), seen.bound], rtol=1e-9, atol=1e-12)
        assert width == pytest.approx(known)
        again = contraction.certificate(features, states, rewards, gamma, limits, layers, delta)
        np.testing.assert_array_equal(seen.interval, again.interval)
        assert (seen.bound, seen.distance) == (again.bound, again.distance)
    assert compared >= 5


def test_a_run_says_where_its_certificate_fails(monkeypatch):
    """Too small a bound, or a true value outside its interval, on either side and in one state alone."""
    true, wrong = contraction.certificate, {}
    monkeypatch.setattr(contraction, "certificate", lambda *given: dataclasses.replace(true(*given), **wrong))
    (seen, (error, *_), holds, _), process, *_ = next(fresh_runs(5, 10))
    value = process.value()[seen.visited]
    assert holds
    off = np.eye(len(value))[0]
    for fault, still_holds in (
        ({"bound": 0.9 * error}, False),
        ({"distance": 0.5 * error, "floor": 0.4 * error}, False),
        ({"estimate": value + off, "radius": off / 2}, False),
        ({"estimate": value - off, "radius": off / 2}, False),
        ({"estimate": value, "radius": 0 * off}, True),
    ):
        wrong.clear()
        wrong.update(fault)
        assert next(fresh_runs(5, 10))[0][2] == still_holds


def test_errors_of_the_floor_by_the_empirical_process():
    """In every process, at every length of one path, in every context; NaN where its last state is new."""
    rng = np.random.default_rng(11)
    processes = [mrp.loop_chain(3, gamma, rng) for gamma in (0.5, 0.9)]
    lengths, found = (9, 4), floor_errors(processes, (9, 4), 5, np.random.default_rng(12))
    chains = np.repeat([process.transition for process in processes], 5, axis=0)
    paths = mrp.sample_batch(chains, 9, np.random.default_rng(12)).reshape(2, 5, 10)
    for i, j, k in np.ndindex(2, 2, 5):
        path, process = paths[i, k, : lengths[j] + 1], processes[i]
        if path[-1] not in path[:-1]:
            assert np.isnan(found[i, j, k])
            continue
        visited, seen = softmax_td.empirical_process(path, process.reward[path[:-1]], process.discount)
        expected = np.abs(seen.value() - process.value()[visited]).max()
        np.testing.assert_allclose(found[i, j, k], expected, rtol=1e-12, atol=1e-14)
    assert 0 < np.isnan(found).sum() < 10


def test_a_last_state_is_covered_by_its_last_transition():
    """A context that comes to a new state and stays there for one step; one that ends in a new state."""
    (_, _, _, states, _) = next(fresh_runs(1, 146))
    assert states[-1] == states[-2]
    assert states[-1] not in states[:-2]
    assert not list(fresh_runs(1, 18))


def test_counts_bear_features_of_any_norm():
    """Scores of 1e6, whose exponentials no float holds: each state hears itself alone."""
    process = rare_fork(8)
    states = np.array([0, 1, 2, 0, 1, 3, 0])
    np.testing.assert_array_equal(by_counts(1e3 * np.eye(4), states, process)[3], np.eye(4))
