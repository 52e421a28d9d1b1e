"""Claims about decision processes: the exact optimum, and the conversion from Gymnasium."""

from itertools import product

import gymnasium
import numpy as np

from icrl.claims.registry import Claim, Evidence, largest, relative_error
from icrl.mdp import from_gymnasium, random_mdp

CHAPTER = "sec-ac-"


def oracle(rng):
    """`optimal_q` against all deterministic policies and against value iteration, both by plain loops."""
    errors = []
    for _ in range(10):
        size, num_actions = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        process = random_mdp(size, num_actions, float(rng.uniform(0, 0.9)), rng)
        gamma, every, best = process.discount, np.arange(size), np.full(size, -np.inf)
        for actions in product(range(num_actions), repeat=size):
            chain = np.eye(size) - gamma * process.transition[every, list(actions)]
            best = np.maximum(best, np.linalg.solve(chain, process.reward[every, list(actions)]))
        q, iterated = process.optimal_q(), np.zeros(size)
        errors.append(relative_error(q.max(axis=1), best))
        for _ in range(400):
            backup = process.reward + gamma * np.tensordot(process.transition, iterated, 1)
            iterated = backup.max(axis=1)
        errors.append(relative_error(q, backup))
    return Evidence(largest(errors), 1e-11, "10 worlds; every deterministic policy, and value iteration")


def toy_text_tasks():
    """Names of Gymnasium's registered toy-text tasks; of these only Blackjack publishes no table."""
    tasks = ((name, str(spec.entry_point)) for name, spec in gymnasium.registry.items())
    return [name for name, entry in tasks if "envs.toy_text" in entry and "Blackjack" not in name]


def conversion(rng):
    """The task's own steps under random actions: how many the converted process contradicts."""
    wrong, seen = 0, 0
    for name in toy_text_tasks():
        process, task = from_gymnasium(name, 0.9), gymnasium.make(name)
        s, _ = task.reset(seed=int(rng.integers(2**31)))
        wrong += process.start[s] == 0
        for action in rng.integers(process.num_actions, size=800).tolist():
            t, reward, terminated, truncated, _ = task.step(action)
            paid = process.outcome_reward[s, action, t]
            # Where one successor is reached with two rewards, the process pays their mean.
            table = {r for _, u, r, _ in task.unwrapped.P[s][action] if u == t}
            wrong += process.transition[s, action, t] == 0 or process.terminal[t] != terminated
            wrong += paid != reward if len(table) == 1 else not min(table) <= paid <= max(table)
            s, seen = t, seen + 1
            if terminated or truncated:
                s, _ = task.reset()
                wrong += process.start[s] == 0
        # Nothing is earned after the end, whatever the next state says in the table.
        ends = process.terminal
        wrong += int(np.abs(process.optimal_q()[ends]).max(initial=0) > 1e-12) + int(not ends.any())
        task.close()
    return Evidence(float(wrong), 0.0, f"{len(toy_text_tasks())} tasks, {seen} sampled steps: contradicted")


CLAIMS = (
    Claim(
        "optimal-q-oracle",
        "ours",
        "The exact optimum, by policy iteration, is the best of all deterministic policies and the limit of "
        "value iteration.",
        "identity",
        CHAPTER + "world",
        oracle,
    ),
    Claim(
        "gymnasium-conversion",
        "ours",
        "The converted Gymnasium tasks allow, pay and end what the tasks' own sampled steps do.",
        "identity",
        CHAPTER + "world",
        conversion,
    ),
)
