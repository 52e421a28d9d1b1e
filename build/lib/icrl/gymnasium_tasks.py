"""Gymnasium's toy-text tasks as arrays: worlds that nobody here wrote.

Episodes. *Termination* belongs to the process: the goal, a hole. Such a transition is not bootstrapped from,
and a rollout goes on with a new start. *Truncation*, Gymnasium's limit of steps (100, 200 in Taxi and on the
large lake), does not: the process has no clock, learning never sees it, and only
:func:`icrl.control.scores.score` counts the steps of an episode against it.

Used by :func:`icrl.mdp.from_gymnasium`; see :doc:`/book/actor-critic`.
"""

import operator
import warnings
from collections import deque

import numpy as np
from jaxtyping import Shaped


def toy_text_tasks() -> list[str]:
    """Names of Gymnasium's registered toy-text tasks; of these only Blackjack publishes no table."""
    import gymnasium

    tasks = ((name, str(spec.entry_point)) for name, spec in gymnasium.registry.items())
    return [name for name, entry in tasks if "envs.toy_text" in entry and "Blackjack" not in name]


def read_table(env_id: str, **options) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The fields of a decision process from a task's published table ``P[s][a]``.

    The table lists outcomes ``(probability, next state, reward, terminated)``. An outcome that ends the
    episode must not be bootstrapped from. Its next state is made absorbing with reward 0 if the
    environment never acts in it, that is, if it cannot be reached alive from the start. This serves
    all toy-text tasks, and states keep Gymnasium's numbers. (In Taxi such a state is an ordinary one in
    the table, "passenger already at the destination", but no episode starts there or gets there alive;
    in CliffWalking the goal's own rows lead out of it, but are never used.) Where an ending outcome
    names a state that can also be reached alive, it is sent to one further state, the last, in its place.

    Args:
        env_id: name of the task.
        options: what the task is made with, for instance ``is_slippery=False``.

    Returns:
        ``transition`` ``(S, A, S)``, ``reward`` ``(S, A)``, ``start`` ``(S,)``, ``terminal`` ``(S,)``, and
        ``outcome_reward`` ``(S, A, S)``: the mean over outcomes that share ``(s, a, s')``, which differ
        in the toy-text tasks only where slippery CliffWalking falls off the cliff or bumps into a wall.

    Raises:
        ValueError: no such task in the installed Gymnasium, or it refuses its options; it publishes no table,
            or one of another layout, or one that does not describe what is played (a fickle passenger).
    """
    table, start = _published(env_id, options)
    try:
        num_states, num_actions = len(table), len(table[0])
        outcomes = [
            (s, a, float(p), operator.index(t), float(r), bool(end))
            for s in range(num_states)
            for a in range(num_actions)
            for p, t, r, end in table[s][a]
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"env_id is {env_id!r}, whose table has another layout: {error!r}") from error
    for s, a, p, t, r, _ in outcomes:
        if not (0 <= p <= 1 and 0 <= t < num_states and np.isfinite(r)) or len(start) != num_states:
            raise ValueError(
                f"env_id is {env_id!r}, with {num_states} states in its table and {len(start)} starts; state "
                f"{s}, action {a} holds {(p, t, r)}, which must be a probability, a state and a finite reward"
            )
    outcomes = [outcome for outcome in outcomes if outcome[2] > 0]
    alive = _reached_alive(outcomes, start)
    ending = {t for _, _, _, t, _, end in outcomes if end}
    extra = bool(ending & alive)
    size = num_states + extra
    transition = np.zeros((size, num_actions, size))
    paid = np.zeros((size, num_actions, size))
    for s, a, p, t, r, end in outcomes:
        if end and t in alive:
            t = num_states
        transition[s, a, t] += p
        share = p / transition[s, a, t]
        paid[s, a, t] += share * (r - paid[s, a, t])  # a running mean: exact where all agree
    terminal = np.zeros(size, dtype=bool)
    terminal[list(ending - alive) + [num_states] * extra] = True
    paid[terminal] = 0
    transition[terminal] = np.eye(size)[terminal][:, None]
    return {
        "transition": transition,
        "reward": (transition * paid).sum(axis=2),
        "start": np.append(start, 0) if extra else start,
        "terminal": terminal,
        "outcome_reward": paid,
    }


def _published(env_id, options):
    import gymnasium  # here, so that those who need no task do not wait for it

    try:
        with warnings.catch_warnings():
            # Of versions too old to be made, which the error says as well.
            warnings.simplefilter("ignore", DeprecationWarning)
            environment = gymnasium.make(env_id, **options)
    except Exception as error:  # of any kind: of names, of options, of what the task does with them
        said = f"{error!r}" + f" with the options {options}" * bool(options)
        raise ValueError(f"env_id is {env_id!r}, which Gymnasium cannot make: {said}") from error
    try:
        task = environment.unwrapped
        if not (hasattr(task, "P") and hasattr(task, "initial_state_distrib")):
            raise ValueError(
                f"env_id is {env_id!r}, which publishes no transition table; FrozenLake, CliffWalking and "
                "Taxi do"
            )
        if getattr(task, "fickle_passenger", False):
            raise ValueError(
                "fickle_passenger is True, which Taxi's table leaves out: the passenger would change the "
                "destination in the played task, and never in the process"
            )
        return task.P, np.array(task.initial_state_distrib, dtype=np.float64)
    finally:
        environment.close()


def _reached_alive(outcomes, start):
    """States the environment can act in: the start, and what follows it without an end between."""
    follows = {}
    for s, _, _, t, _, end in outcomes:
        if not end:
            follows.setdefault(s, set()).add(t)
    alive = set(np.flatnonzero(start > 0).tolist())
    todo = deque(alive)
    while todo:
        for t in follows.get(todo.popleft(), set()) - alive:
            alive.add(t)
            todo.append(t)
    return alive
