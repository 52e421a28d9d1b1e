"""In-context control: roll out, one forward pass, act on the result, repeat.

Source: the setting of Liang and Lai (2026), whose blocks are deployed here with frozen weights on tasks that
they have not seen. See :doc:`/book/control`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.scores import common_discount
from icrl.control.updaters import Updater
from icrl.mdp import MarkovDecisionProcess
from icrl.rollouts import rollout_batch

LARGEST = 1e9
"""A run whose memory holds a larger number, or none, has collapsed."""


class Learning(NamedTuple):
    """What a loop leaves: one row for each of ``K`` records and each of ``B`` runs.

    - ``windows``: ``(K,)``, how many windows had been seen;
    - ``policies``: ``(K, B, S, A)``, the policy that is scored;
    - ``memories``: ``(K, B, ..., S, A)``;
    - ``collapsed``: ``(B,)``, the number of the window after which the memory of this run left the range
      ``[-1e9, 1e9]`` or was no number, 0 if it never did. From then on the run keeps the last memory before.
    """

    windows: Int[np.ndarray, " K"]
    policies: Float[np.ndarray, "K B S A"]
    memories: Float[np.ndarray, "K B *k S A"]
    collapsed: Int[np.ndarray, " B"]


@checked
def control(
    processes: Sequence[MarkovDecisionProcess],
    updater: Updater,
    records: Sequence[int],
    rng: np.random.Generator,
    *,
    num_transitions: int = 20,
    epsilon: float = 0.1,
    leader: Updater | None = None,
    progress: str | None = None,
) -> Learning:
    """The in-context control loop, one run in each of ``B`` processes, all runs together.

    Each window continues where the last one ended. All updaters that are given the same seed meet the same
    uniform draws, so two that choose alike see the same transitions.

    Args:
        processes: ``B`` of them, of equal size and discount; the same one may occur several times.
        updater: what makes the memory of the next window out of this one.
        records: numbers of windows after which to record, rising; the last is where the loop ends. 0 is the
            memory before the first window.
        rng: source of randomness.
        num_transitions: ``n``, in a window.
        epsilon: share of uniform actions, for updaters that act on action values.
        leader: another updater that acts, and learns, in this one's place: this one only looks on.
        progress: a title for a progress bar; none if not given.

    Raises:
        ValueError: no processes, or ones that do not fit together; records that do not rise.
    """
    discount = common_discount(processes)
    if not isinstance(updater, Updater) or not isinstance(leader, Updater | None):
        raise ValueError(f"updater is {updater!r}, leader {leader!r}; both must be an icrl.control.Updater")
    records = valid.indices("records", records, None, "numbers of windows")
    if records.ndim != 1 or not len(records) or (np.diff(records) <= 0).any():
        raise ValueError(f"records is {records.tolist()}; it must be a rising list of numbers of windows")
    shape = len(processes), *processes[0].reward.shape
    learners = [updater] if leader is None else [updater, leader]
    memories = [learner.start(*shape) for learner in learners]
    collapsed = np.zeros((len(learners), len(processes)), dtype=np.int64)
    starts, kept = None, []
    for window in tqdm(range(records[-1] + 1), desc=progress, disable=progress is None):
        if window in records:
            kept.append((updater.deployed(memories[0]), memories[0].copy()))
        if window == records[-1]:
            break
        policies = learners[-1].behaviour(memories[-1], epsilon)
        roll = rollout_batch(processes, policies, num_transitions, rng, starts)
        starts = roll.states[:, -1]
        for i, learner in enumerate(learners):
            with np.errstate(over="ignore", invalid="ignore"):
                new = learner.update(memories[i], roll, policies, discount)
            sizes = np.abs(new).reshape(len(new), -1).max(axis=1)
            lost = ~(sizes <= LARGEST)  # true for NaN as well
            collapsed[i][lost & (collapsed[i] == 0)] = window + 1
            keep = (collapsed[i] > 0).reshape(-1, *(1,) * (new.ndim - 1))
            memories[i] = np.where(keep, memories[i], new)
    policies, memories = (np.array(x) for x in zip(*kept, strict=True))
    return Learning(records, policies, memories, collapsed[0])
