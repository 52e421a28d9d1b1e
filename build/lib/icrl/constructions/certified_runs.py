"""Random tasks, and certified runs on them, beside the error that a certificate speaks of (ours).

See :doc:`/book/contraction`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl import contraction, mrp
from icrl._arguments import checked


@checked
def random_task(
    rng: np.random.Generator, sharp: bool = False
) -> tuple[mrp.MarkovRewardProcess, Float[np.ndarray, "S d"]]:
    """A random process with features; `sharp`: one-hot features, few states, little discount."""
    if sharp:
        process = mrp.random_mrp(int(rng.integers(2, 4)), float(rng.uniform(0, 0.3)), rng)
        return process, np.sqrt(rng.uniform(7, 10)) * np.eye(process.num_states)
    shape = (mrp.random_mrp, mrp.boyan_chain, mrp.loop_chain)[rng.integers(3)]
    process = shape(int(rng.integers(2, 11)), float(rng.uniform(0.1, 0.95)), rng)
    size = process.num_states
    if rng.random() < 0.5:
        return process, np.sqrt(rng.uniform(0, 10)) * np.eye(size)
    return process, rng.normal(size=(size, int(rng.integers(1, size + 3)))) * rng.uniform(0.1, 2)


@checked
def covered_task(
    rng: np.random.Generator,
) -> tuple[mrp.MarkovRewardProcess, Float[np.ndarray, "S d"], Int[np.ndarray, " n_plus_1"]]:
    """A small random task with a context that visits all states and ends where it began."""
    while True:
        process, features = random_task(rng)
        states = np.append(rng.permutation(process.num_states), process.sample(20, rng))
        states = np.append(states, states[0])
        if process.num_states <= 6:
            return process, features, states


@checked
def rare_fork(num_transitions: int, discount: float = 0.5) -> mrp.MarkovRewardProcess:
    """Where Hoeffding's inequality is nearly tight: a fork, met about twice, between two lasting fates."""
    rare = 2 / valid.count("num_transitions", num_transitions, 2)
    transition = [[1 - rare, rare, 0, 0], [0, 0, 0.5, 0.5], [0.02, 0, 0.98, 0], [0.02, 0, 0, 0.98]]
    return mrp.MarkovRewardProcess(np.array(transition), np.array([0.0, 0, 1, -1]), discount)


@checked
def by_counts(
    features: Float[np.ndarray, "S d"], states: Int[np.ndarray, " n_plus_1"], process: mrp.MarkovRewardProcess
) -> tuple[np.ndarray, ...]:
    """Visited states, their counts, and the model they give, by counting; for contexts too long for loops."""
    features, states, _ = valid.context(features, states)
    valid.shaped("features", features, (process.num_states, features.shape[1]), "one row for each state")
    counts = np.bincount(states[:-1], minlength=process.num_states)
    visited = np.flatnonzero(counts)
    seen = np.zeros((process.num_states, process.num_states))
    np.add.at(seen, (states[:-1], states[1:]), 1)
    scores = (features @ features.T)[np.ix_(visited, visited)]
    matching = counts[visited] * np.exp(scores - scores.max(axis=1, keepdims=True))
    matching /= matching.sum(axis=1, keepdims=True)
    return visited, counts[visited], seen[visited] / counts[visited, None], matching


@checked
def certified_run(
    rng: np.random.Generator, delta: float = 0.1
) -> tuple[contraction.Certificate, Float[np.ndarray, " c"], bool, float] | None:
    """One certificate for a fresh context of a fresh task, beside the error it speaks of.

    Returns None where the context does not cover its last state. `chain` are the bounds from the error to the
    certificate, each of them derived from the one before by giving something away; the last entry is the
    width of the range of possible values.
    """
    process, features = random_task(rng)
    states = process.sample(int(np.exp(rng.uniform(np.log(10), np.log(500)))), rng)
    if states[-1] not in states[:-1]:
        return None
    rewards, layers, gamma = process.reward[states[:-1]], int(rng.integers(1, 60)), process.discount
    limits = (process.reward.min(), process.reward.max())
    seen = contraction.certificate(features, states, rewards, gamma, limits, layers, delta)

    visited, counts, transition, matching = by_counts(features, states, process)
    value, inside = process.value(), transition[:, visited]
    bellman = np.eye(len(visited)) - gamma * inside
    step, update = matching @ process.reward[visited], np.eye(len(visited)) - matching @ bellman
    estimate = np.zeros(len(visited))
    for _ in range(layers):
        estimate = update @ estimate + step
    error = np.abs(estimate - value[visited])
    limit = np.linalg.solve(bellman, process.reward[visited])
    remaining = np.abs(estimate - limit).max()
    noise = np.abs((transition - process.transition[visited]) @ value)
    single = np.ptp(value) * np.sqrt(np.log(2 / delta) / (2 * counts))
    union = np.sqrt(np.log(2 * process.num_states * len(rewards) / delta) / np.log(2 / delta))
    known, width = np.ptp(value), np.ptp(process.reward) / (1 - gamma)
    floors = [gamma * np.linalg.solve(bellman, x).max() for x in (noise, single, single * union)]
    floors = [np.abs(limit - value[visited]).max(), *floors, floors[-1] * width / known]
    floors[2:] = np.minimum(floors[2:], width)  # as the certificate caps them
    chain = [error.max(), *(remaining + floor for floor in floors), seen.bound]
    low, high = seen.interval.T
    holds = error.max() <= min(seen.bound, seen.distance + seen.floor)
    holds &= np.all((low <= value[visited]) & (value[visited] <= high))
    return seen, np.array(chain), bool(holds), width


@checked(finite=False)
def floor_errors(
    processes: Sequence[mrp.MarkovRewardProcess],
    lengths: Sequence[int],
    contexts: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "P N C"]:
    """``|vhat - v|``, largest over visited states: (processes, lengths, contexts); NaN without coverage."""
    if not len(lengths):
        raise ValueError("lengths is empty; give at least one")
    chains = np.array([process.transition for process in processes]).repeat(contexts, axis=0)
    paths = mrp.sample_batch(chains, max(lengths), rng)
    errors = np.full((len(processes), len(lengths), contexts), np.nan)
    for (i, j, k), _ in np.ndenumerate(errors):
        path, process = paths[i * contexts + k, : lengths[j] + 1], processes[i]
        visited, _, transition, _ = by_counts(np.zeros((process.num_states, 1)), path, process)
        if path[-1] in visited:
            bellman = np.eye(len(visited)) - process.discount * transition[:, visited]
            limit = np.linalg.solve(bellman, process.reward[visited])
            errors[i, j, k] = np.abs(limit - process.value()[visited]).max()
    return errors
