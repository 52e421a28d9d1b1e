"""Markov decision processes: the worlds in which a policy is improved.

Part II of the book lives here. A process is solved exactly, sampled under a policy, or taken from
Gymnasium; with its policy held fixed it is a :class:`~icrl.mrp.MarkovRewardProcess`. See
:doc:`/book/actor-critic`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from icrl import _validation as valid
from icrl.gymnasium_tasks import read_table
from icrl.mrp import MarkovRewardProcess
from icrl.mrp import _cumulative as cumulative
from icrl.reduction import _discounted
from icrl.rollouts import Rollout, rollout_batch

ROUNDING = 2.0**-50
"""Times ``S``: share of a state's size below which one action value does not beat another."""


@dataclass(frozen=True, eq=False)
class MarkovDecisionProcess:
    """A finite Markov decision process, in the setting of Liang and Lai (2026).

    Args:
        transition: ``(S, A, S)``; ``transition[s, a]`` is the distribution of the next state.
        reward: ``(S, A)``; the expected reward of action ``a`` in state ``s``.
        discount: ``gamma`` in ``[0, 1)``.
        start: ``(S,)``, the distribution of the first state of an episode; uniform if not given.
        terminal: ``(S,)``, true for the states that end an episode; none if not given. They must be
            absorbing with reward 0, and no episode may start in one.
        outcome_reward: ``(S, A, S)``, the reward that is paid if the next state is ``s'``, for rollouts;
            without it they pay ``reward[s, a]``. Its expectation must be ``reward``.

    The arrays are copied and made read-only.

    Raises:
        ValueError: a row is not a distribution, shapes disagree, an entry is not finite, the discount
            lies outside ``[0, 1)``, or a rule above is broken. Nothing is renormalised.
    """

    transition: Float[np.ndarray, "S A S"]
    reward: Float[np.ndarray, "S A"]
    discount: float
    start: Float[np.ndarray, " S"] | None = None
    terminal: Bool[np.ndarray, " S"] | None = None
    outcome_reward: Float[np.ndarray, "S A S"] | None = None

    def __post_init__(self):
        transition = valid.array("transition", self.transition, 3)
        size, num_actions, columns = transition.shape
        if size != columns:
            raise ValueError(f"transition has shape {transition.shape}; it must be (S, A, S)")
        transition = valid.stochastic("transition", transition)
        pairs = (size, num_actions)
        reward = valid.shaped("reward", self.reward, pairs, "one entry for each state and action")
        start = np.full(size, 1 / size) if self.start is None else self.start
        start = valid.shaped("start", start, (size,), "one probability for each state")
        start = valid.stochastic("start", start)
        terminal = _terminal(self.terminal, transition, reward, start)
        outcome = self.outcome_reward
        if outcome is not None:
            rule = "one reward for each state, action and next state"
            outcome = valid.shaped("outcome_reward", outcome, transition.shape, rule)
            _check_expectation(outcome, transition, reward)
        object.__setattr__(self, "discount", valid.discount(self.discount))
        names = ("transition", "reward", "start", "terminal", "outcome_reward")
        for name, value in zip(names, (transition, reward, start, terminal, outcome), strict=True):
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def num_states(self) -> int:
        """Number of states ``|S|``, terminal ones included."""
        return self.reward.shape[0]

    @property
    def num_actions(self) -> int:
        """Number of actions ``|A|``; every action is available in every state."""
        return self.reward.shape[1]

    def under(self, policy: Float[np.ndarray, "S A"]) -> MarkovRewardProcess:
        """The reward process over states that remains when the policy ``(S, A)`` is held fixed."""
        policy = self._policy(policy)
        transition = np.einsum("sa,sat->st", policy, self.transition)
        return MarkovRewardProcess(transition, (policy * self.reward).sum(axis=1), self.discount)

    def under_pairs(self, policy: Float[np.ndarray, "S A"]) -> MarkovRewardProcess:
        """The reward process over state-action pairs; the pair ``(s, a)`` has the index ``s A + a``."""
        policy = self._policy(policy)
        pairs = self.reward.size
        transition = self.transition[..., None] * policy  # (S, A, S, A)
        return MarkovRewardProcess(transition.reshape(pairs, pairs), self.reward.ravel(), self.discount)

    def q_values(self, policy: Float[np.ndarray, "S A"]) -> Float[np.ndarray, "S A"]:
        """Exact action values of the policy: ``r + gamma P v``, with ``v`` solved for exactly."""
        return self._backup(self.under(policy).value())

    def optimal_q(self) -> Float[np.ndarray, "S A"]:
        """The optimal action values, by policy iteration: exact up to rounding, state by state.

        An action is replaced only by one that is better beyond rounding, ``2**-50 S`` of what the pair would
        be worth with the rewards ``|r|``: rewards of 1e12 elsewhere hide nothing. No policy is tried twice.

        Raises:
            ValueError: a value leaves the range of float64.
        """
        every = np.arange(self.num_states)
        actions = self.reward.argmax(axis=1)
        tried = set()
        while True:
            tried.add(actions.tobytes())
            rewards = self.reward[every, actions]
            # What the state would be worth with rewards |r|: its rounding errors are a small share of that.
            both = np.column_stack([rewards, np.abs(rewards)])
            both = _discounted(self.transition[every, actions], self.discount, both)
            value, size = valid.in_range(both, "reward", "a value").T
            q = self._backup(value)
            size = np.abs(self.reward) + self.discount * self.transition @ size
            gain = q - q[every, actions][:, None]
            gain[gain <= ROUNDING * len(q) * np.maximum(size, size[every, actions][:, None])] = 0
            better = gain.max(axis=1) > 0
            actions = np.where(better, gain.argmax(axis=1), actions)
            if actions.tobytes() in tried:
                return q

    def value_iteration(self, num_iterations: int) -> Float[np.ndarray, "S A"]:
        """Action values after ``k`` optimal backups of zero; within ``gamma^k max|q*|`` of the optimum."""
        q = np.zeros_like(self.reward)
        for _ in range(valid.count("num_iterations", num_iterations, 0)):
            q = self._backup(q.max(axis=1))
        return q

    def rollout(
        self,
        policy: Float[np.ndarray, "S A"],
        num_transitions: int,
        rng: np.random.Generator,
        start: int | np.integer | None = None,
    ) -> Rollout:
        """Sample ``n`` transitions under the policy; a new episode begins where one ends.

        Args:
            policy: ``(S, A)``, the probability of each action in each state.
            num_transitions: ``n >= 1``.
            rng: source of randomness.
            start: the first state, for instance the last one of the previous rollout; drawn from the
                start distribution if not given.
        """
        if start is not None:
            start = np.array([valid.count("start", start, 0)])
        batch = rollout_batch([self], self._policy(policy)[None], num_transitions, rng, start)
        return Rollout(*(array[0] for array in batch))

    def _backup(self, value):
        with np.errstate(over="ignore", invalid="ignore"):  # refused in the next line
            backup = self.reward + self.discount * self.transition @ value
        return valid.in_range(backup, "reward", "an action value")

    def _policy(self, policy):
        shape = self.reward.shape
        policy = valid.shaped("policy", policy, shape, "one probability for each state and action")
        return valid.stochastic("policy", policy)

    @cached_property
    def cumulative_transition(self) -> Float[np.ndarray, "S A S"]:
        """Running sums of the rows of ``transition``, which a draw is compared with."""
        return cumulative(self.transition)


def _terminal(terminal, transition, reward, start):
    size = len(start)
    terminal = np.zeros(size, dtype=bool) if terminal is None else terminal
    terminal = np.array(valid._numeric("terminal", terminal, "b", "an array of booleans"))
    if terminal.shape != (size,):
        raise ValueError(f"terminal has shape {terminal.shape}; it must be {(size,)}")
    for s in np.flatnonzero(terminal):
        if (transition[s, :, s] != 1).any() or reward[s].any():
            raise ValueError(f"terminal holds state {s}, which is not absorbing with reward 0")
        if start[s] > 0:
            raise ValueError(f"start gives the terminal state {s} probability {start[s]:g}; it must be 0")
    return terminal


def _check_expectation(outcome, transition, reward):
    gap = np.abs((transition * outcome).sum(axis=2) - reward)
    if gap.max() > 1e-8 * max(1.0, np.abs(reward).max()):
        s, a = (int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
        raise ValueError(
            f"outcome_reward[{s}, {a}] has an expectation {gap.max():.3g} away from reward[{s}, {a}]; "
            "they must agree"
        )


def random_mdp(
    num_states: int, num_actions: int, discount: float, rng: np.random.Generator
) -> MarkovDecisionProcess:
    """A dense random process: rows uniform on the simplex, rewards uniform in ``[-1, 1]``."""
    num_states = valid.count("num_states", num_states, 1)
    num_actions = valid.count("num_actions", num_actions, 1)
    valid.generator("rng", rng)
    transition = rng.dirichlet(np.ones(num_states), size=(num_states, num_actions))
    reward = rng.uniform(-1, 1, (num_states, num_actions))
    return MarkovDecisionProcess(transition, reward, discount)


def from_gymnasium(env_id: str, discount: float, **options) -> MarkovDecisionProcess:
    """A Gymnasium task that publishes its transition table: FrozenLake, CliffWalking, Taxi.

    State ``s`` is the observation ``s`` of the environment, ``start`` its start distribution, and
    ``terminal`` marks the states in which its episodes end: they are absorbing with reward 0, so nothing
    is bootstrapped from them. Time limits are no part of the process.

    Args:
        env_id: the name of the task, for instance ``"FrozenLake-v1"``.
        discount: ``gamma`` in ``[0, 1)``.
        options: what the task is made with, for instance ``is_slippery=False``.

    Returns:
        The process, with ``outcome_reward``. See :func:`icrl.gymnasium_tasks.read_table` for the layout.

    Raises:
        ValueError: no such task in the installed Gymnasium, or it publishes no table.
    """
    table = read_table(env_id, **options)
    return MarkovDecisionProcess(discount=discount, **table)
