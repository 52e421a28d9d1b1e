"""Trajectories of Markov decision processes, one or a batch. See :doc:`/book/actor-critic`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import _cumulative as cumulative


class Rollout(NamedTuple):
    """One trajectory, or one for each of ``B`` processes (then every array has ``B`` rows).

    Where ``ended[k]`` is false, ``states[k+1]`` is the successor of ``states[k]``. Where it is true, the
    episode ended there: the transition has no successor (its ``phi_next`` is 0), and ``states[k+1]``,
    ``actions[k+1]`` begin the next episode. So a terminal state never appears in ``states``.

    - ``states``: ``(n+1,)``, the states ``S_0 .. S_n`` in which an action was chosen;
    - ``actions``: ``(n+1,)``, the actions chosen there; SARSA needs the last one too;
    - ``rewards``: ``(n,)``, ``rewards[k]`` follows ``states[k], actions[k]``;
    - ``ended``: ``(n,)``, whether that transition ended its episode.
    """

    states: Int[np.ndarray, "*b n_plus_1"]
    actions: Int[np.ndarray, "*b n_plus_1"]
    rewards: Float[np.ndarray, "*b n"]
    ended: Bool[np.ndarray, "*b n"]

    def window(
        self, features: Float[np.ndarray, "..."]
    ) -> tuple[Float[np.ndarray, "*b n d"], Float[np.ndarray, "*b n d"]]:
        """The features ``phi, phi_next`` of what each transition leaves and reaches; zero after an end.

        Args:
            features: ``(S, d)`` of states or ``(S, A, d)`` of pairs; in a batch also ``(B, S, A, d)``,
                each process with its own. Given a policy's scores, ``phi`` are the scores ``g``.
        """
        features = valid.array("features", features)
        if features.ndim not in (2, 3, 4)[: 2 + (self.states.ndim == 2)]:
            raise ValueError(f"features has shape {features.shape}; it must be (S, d) or (S, A, d)")
        axes = features.shape[features.ndim == 4 : -1]
        where = [valid.indices("states", self.states, axes[0], "states of features")]
        if len(axes) == 2:
            where.append(valid.indices("actions", self.actions, axes[1], "actions of features"))
        if features.ndim == 4:
            if len(features) != len(self.states):
                raise ValueError(
                    f"features has shape {features.shape}; its first axis is the batch, {len(self.states)}"
                )
            where.insert(0, np.arange(len(features))[:, None])
        every = features[tuple(where)]
        return every[..., :-1, :], every[..., 1:, :] * ~self.ended[..., None]


@checked
def rollout_batch(
    processes: Sequence,
    policies: Float[np.ndarray, "B S A"],
    num_transitions: int,
    rng: np.random.Generator,
    starts: Int[np.ndarray, " B"] | None = None,
) -> Rollout:
    """One rollout in each of ``B`` processes of equal size, all stepped together.

    Arguments as in :meth:`icrl.mdp.MarkovDecisionProcess.rollout`, with a policy ``(S, A)`` and, if
    given, a first state for each process. A batch of one draws what ``rollout`` draws.
    """
    if len(processes) == 0:
        raise ValueError("processes is empty; give at least one")
    if not all(hasattr(process, "cumulative_transition") for process in processes):
        raise ValueError("processes must all be instances of MarkovDecisionProcess")
    shapes = {process.reward.shape for process in processes}
    if len(shapes) > 1:
        raise ValueError(f"processes have the sizes (S, A) {sorted(shapes)}; they must be the same")
    batch, (size, num_actions) = len(processes), shapes.pop()
    policies = valid.shaped("policies", policies, (batch, size, num_actions), "a policy for each process")
    choose = cumulative(valid.stochastic("policies", policies))
    num_transitions = valid.count("num_transitions", num_transitions, 1)
    # Many rollouts may share a process; its tables are then held once.
    distinct = list({id(process): process for process in processes}.values())
    order = {id(process): index for index, process in enumerate(distinct)}
    kind = np.array([order[id(process)] for process in processes])
    terminal = _stack([p.terminal for p in distinct])
    successors = _stack([p.cumulative_transition for p in distinct])
    first = cumulative(_stack([p.start for p in distinct]))[kind]
    each = np.arange(batch)
    uniform = rng.random((num_transitions + 1, 3, batch))  # for the first state, the action, the successor
    state = _draw(first, uniform[0, 0])
    if starts is not None:
        state = valid.indices("starts", starts, size, "states")
        if state.shape != (batch,):
            raise ValueError(f"starts has shape {state.shape}; it must be {(batch,)}, one for each process")
        if terminal[kind, state].any():
            bad = state[terminal[kind, state]][0]
            raise ValueError(f"starts holds {bad}, a terminal state; no episode may start in one")
    states, actions = np.empty((2, batch, num_transitions + 1), dtype=np.int64)
    reached = np.empty((batch, num_transitions), dtype=np.int64)
    for k in range(num_transitions + 1):
        states[:, k], actions[:, k] = state, _draw(choose[each, state], uniform[k, 1])
        if k < num_transitions:
            reached[:, k] = _draw(successors[kind, state, actions[:, k]], uniform[k, 2])
            restart = _draw(first, uniform[k + 1, 0])
            state = np.where(terminal[kind, reached[:, k]], restart, reached[:, k])
    rewards, left = np.empty(reached.shape), (states[:, :-1], actions[:, :-1])
    for index, process in enumerate(distinct):
        s, a, t = (x[kind == index] for x in (*left, reached))
        paid = process.outcome_reward
        rewards[kind == index] = process.reward[s, a] if paid is None else paid[s, a, t]
    return Rollout(states, actions, rewards, terminal[kind[:, None], reached])


def _stack(arrays):
    """Along a new first axis; one array alone is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _draw(rows, uniform):
    """Invert one cumulative row for each draw."""
    return (rows <= uniform[:, None]).sum(axis=1)
