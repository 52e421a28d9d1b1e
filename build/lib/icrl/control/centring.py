"""Learners made indifferent to a common reward, or hopeful: one change to any updater.

See :doc:`/book/softmax-control`. Centring is Naik et al. (2024), in its simplest form.
"""

from dataclasses import dataclass

import numpy as np

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.control.updaters import Updater


def _updater(value):
    if not isinstance(value, Updater):
        raise ValueError(f"inner is {value!r}; it must be an icrl.control.Updater")


@checked
@dataclass(frozen=True, eq=False)
class Centred(Updater):
    """Any updater, fed rewards minus the mean of all rewards so far, those of this window included.

    The memory is that of the inner updater with two more columns, equal in all rows: the mean and how many
    rewards it is of. Raising all rewards raises the mean and nothing else, also where episodes end.

    Args:
        inner: what learns; its own mean is subtracted in each run.
    """

    inner: Updater

    def __post_init__(self):
        _updater(self.inner)

    def start(self, batch, num_states, num_actions):
        memory = self.inner.start(batch, num_states, num_actions)
        return np.concatenate([memory, np.zeros((*memory.shape[:-1], 2))], axis=-1)

    def behaviour(self, memory, epsilon):
        return self.inner.behaviour(memory[..., :-2], epsilon)

    def deployed(self, memory):
        return self.inner.deployed(memory[..., :-2])

    def update(self, memory, roll, policies, discount):
        mean, seen = memory[:, 0, -2], memory[:, 0, -1] + roll.rewards.shape[1]
        mean = mean + (roll.rewards - mean[:, None]).sum(axis=1) / seen
        centred = roll._replace(rewards=roll.rewards - mean[:, None])
        new = self.inner.update(memory[..., :-2].copy(), centred, policies, discount)
        columns = np.broadcast_to(np.stack([mean, seen], -1)[:, None], (*new.shape[:-1], 2))
        return np.concatenate([new, columns], axis=-1)


@checked
@dataclass(frozen=True, eq=False)
class Started(Updater):
    """Any updater of a table that starts at one value instead of zero: optimistic if no return is larger.

    Args:
        inner: what learns.
        value: of every pair before the first window.
    """

    inner: Updater
    value: float

    def __post_init__(self):
        _updater(self.inner)
        valid.number("value", self.value)

    def start(self, batch, num_states, num_actions):
        return self.inner.start(batch, num_states, num_actions) + self.value

    def behaviour(self, memory, epsilon):
        return self.inner.behaviour(memory, epsilon)

    def deployed(self, memory):
        return self.inner.deployed(memory)

    def update(self, memory, roll, policies, discount):
        return self.inner.update(memory, roll, policies, discount)
