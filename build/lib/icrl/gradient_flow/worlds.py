"""Many random processes with features of their own, held as arrays and sampled together.

The tasks of section 4.1 of Liang and Lai (2026). See :doc:`/book/teacher-mimicking`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mdp import MarkovDecisionProcess
from icrl.mrp import _cumulative as cumulative


class Window(NamedTuple):
    """``n`` transitions of each learner in each world.

    - ``states``, ``actions``: ``(*K, B, n+1)``, the last action chosen but not taken, as SARSA needs it;
    - ``rewards``: ``(*K, B, n)``.
    """

    states: Int[np.ndarray, "*K B n_plus_1"]
    actions: Int[np.ndarray, "*K B n_plus_1"]
    rewards: Float[np.ndarray, "*K B n"]


@checked
@dataclass(frozen=True, eq=False)
class Worlds:
    """``B`` processes of one size and discount, without ends, and the features a learner sees there.

    Args:
        transition: ``(B, S, A, S)``, rows sum to 1.
        outcome_reward: ``(B, S, A, S)``, paid if the next state is ``s'``.
        start: ``(B, S)``, distribution of the first state.
        features: ``(B, S, A, d)``, of the pairs.
        discount: ``gamma`` in ``[0, 1)``.
        state_features: ``(B, S, e)``, for a critic of states; none if not given.

    Raises:
        ValueError: shapes that do not fit, rows that are no distributions, entries that are not finite.
    """

    transition: Float[np.ndarray, "B S A S"]
    outcome_reward: Float[np.ndarray, "B S A S"]
    start: Float[np.ndarray, "B S"]
    features: Float[np.ndarray, "B S A d"]
    discount: float
    state_features: Float[np.ndarray, "B S e"] | None = None

    def __post_init__(self):
        transition = valid.stochastic("transition", self.transition)
        if transition.ndim != 4 or transition.shape[1] != transition.shape[3]:
            raise ValueError(f"transition has shape {transition.shape}; it must be (B, S, A, S)")
        batch, size, actions, _ = transition.shape
        rule = "a reward for each transition"
        paid = valid.shaped("outcome_reward", self.outcome_reward, transition.shape, rule)
        start = valid.shaped("start", self.start, (batch, size), "a distribution for each world")
        features = valid.array("features", self.features, 4)
        shape = batch, size, actions, features.shape[-1]
        features = valid.shaped("features", features, shape, "a vector for each pair of each world")
        states = self.state_features
        if states is not None:
            states = valid.array("state_features", states, 3)
            rule = "a vector for each state of each world"
            states = valid.shaped("state_features", states, (batch, size, states.shape[-1]), rule)
        discount, start = valid.discount(self.discount), valid.stochastic("start", start)
        checked = transition, paid, start, features, discount, states
        for name, x in zip(self.__dataclass_fields__, checked, strict=True):
            object.__setattr__(self, name, x)

    def __len__(self):
        return len(self.transition)

    @cached_property
    def reward(self) -> Float[np.ndarray, "B S A"]:
        """Expected reward of each pair."""
        return np.einsum("bsat,bsat->bsa", self.transition, self.outcome_reward)

    @cached_property
    def _sums(self):
        return cumulative(self.transition), cumulative(self.start)

    def process(self, index: int) -> MarkovDecisionProcess:
        """One of them, without its features."""
        i = valid.count("index", index, 0)
        if i >= len(self):
            raise ValueError(f"index is {i}; there are {len(self)} worlds, counted from 0")
        parts = self.transition[i], self.reward[i], self.discount, self.start[i]
        return MarkovDecisionProcess(*parts, outcome_reward=self.outcome_reward[i])

    @checked
    def action_values(self, weights: Float[np.ndarray, "*K B d"]) -> Float[np.ndarray, "*K B S A"]:
        """``w' phi(s, a)``, each world with its own weights and features."""
        batch, size, actions, d = self.features.shape
        if weights.shape[-2:] != (batch, d):
            raise ValueError(f"weights has shape {weights.shape}; it must end in {(batch, d)}, B and d")
        values = self.features.reshape(batch, -1, d) @ weights[..., None]
        return values.reshape(*weights.shape[:-1], size, actions)

    @checked
    def seen(self, window: Window) -> Float[np.ndarray, "*K B n_plus_1 d"]:
        """Features of the ``n + 1`` pairs of a window."""
        return self.features[np.arange(len(self))[:, None], window.states, window.actions]

    @checked
    def window(
        self,
        policies: Float[np.ndarray, "*K B S A"],
        num_transitions: int,
        rng: np.random.Generator,
        starts: Int[np.ndarray, "*K B"] | None = None,
    ) -> Window:
        """One window in each world, of each of ``K`` learners if ``policies`` has leading axes.

        In one world all learners are given the same uniform numbers, so two that choose alike see the same
        transitions. A single learner draws what :func:`icrl.rollouts.rollout_batch` draws. Policies are not
        checked: this is called in every step of a training.

        Args:
            policies: the probability of each action in each state.
            num_transitions: ``n``.
            rng: source of randomness.
            starts: first states; drawn from ``start`` if not given.
        """
        transition, first = self._sums
        lead, batch = policies.shape[:-3], len(self)
        uniform = rng.random((num_transitions + 1, 3, batch))  # first state, action, successor
        choose = np.cumsum(policies, axis=-1)
        choose /= choose[..., -1:]
        each = np.arange(batch)
        learner = np.ix_(*(np.arange(k) for k in (*lead, batch)))
        if starts is None:
            starts = np.broadcast_to((first <= uniform[0, 0][:, None]).sum(-1), (*lead, batch))
        state, states, actions = starts, [], []
        for k in range(num_transitions + 1):
            action = (choose[(*learner, state)] <= uniform[k, 1][:, None]).sum(-1)
            states.append(state)
            actions.append(action)
            if k < num_transitions:
                state = (transition[each, state, action] <= uniform[k, 2][:, None]).sum(-1)
        s, a = np.stack(states, -1), np.stack(actions, -1)
        paid = self.outcome_reward[each[:, None], s[..., :-1], a[..., :-1], s[..., 1:]]
        return Window(s, a, paid)


@checked
def random_worlds(
    batch: int,
    rng: np.random.Generator,
    *,
    num_states: int = 9,
    num_actions: int = 4,
    discount: float = 0.5,
    features: str | Float[np.ndarray, "S A d"] = "fresh",
    concentration: float = 1.0,
    num_state_features: int | None = None,
) -> Worlds:
    """Rows and start from Dirichlet distributions, rewards of ``(s, a, s')`` uniform on (-1, 1).

    The defaults are those of section 4.1 of Liang and Lai (2026), as reported.

    Args:
        batch: how many worlds.
        rng: source of randomness.
        num_states: ``S``.
        num_actions: ``A``.
        discount: ``gamma``.
        features: ``"fresh"``, ``d = S A`` entries uniform on (-1, 1), drawn anew for each world;
            ``"one-hot"``; or one table ``(S, A, d)`` for all worlds.
        concentration: of the rows of the transitions; 1 is uniform on the simplex, less is sparser. The
            start is uniform on the simplex always.
        num_state_features: ``e`` of features of states, uniform on (-1, 1) likewise; none if not given.
    """
    batch = valid.count("batch", batch, 1)
    size, actions = valid.count("num_states", num_states, 1), valid.count("num_actions", num_actions, 1)
    shape = batch, size, actions
    rows = rng.dirichlet(np.full(size, valid.positive("concentration", concentration)), shape)
    start = rng.dirichlet(np.ones(size), batch)
    paid = rng.uniform(-1, 1, (*shape, size))
    states = None
    if num_state_features is not None:
        states = rng.uniform(-1, 1, (batch, size, valid.count("num_state_features", num_state_features, 1)))
    if isinstance(features, str) and features == "fresh":
        table = rng.uniform(-1, 1, (*shape, size * actions))
    elif isinstance(features, str) and features == "one-hot":
        table = np.eye(size * actions).reshape(size, actions, -1)
    elif isinstance(features, str):
        raise ValueError(f"features is {features!r}; it must be 'fresh', 'one-hot' or a table (S, A, d)")
    else:
        table = valid.array("features", features, 3)
        table = valid.shaped("features", table, (size, actions, table.shape[-1]), "a vector for each pair")
    table = np.broadcast_to(table, (*shape, table.shape[-1]))
    return Worlds(rows, paid, start, table, discount, states)
