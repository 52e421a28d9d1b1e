"""Markov reward processes: the worlds in which a policy is evaluated.

A policy that is held fixed turns a Markov decision process into a chain of states with a reward in
each; Part I of the book lives there. See :doc:`/book/notation`.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl.reduction import _discounted, _stationary


@dataclass(frozen=True, eq=False)
class MarkovRewardProcess:
    """A finite Markov reward process ``(S, p, r, gamma)``, Xie et al. (2026), section 2.2.

    Args:
        transition: ``(S, S)``; row ``s`` is the distribution of the next state after ``s``.
        reward: ``(S,)``; ``reward[s]`` is received on leaving ``s``, so ``R_k = reward[S_{k-1}]``.
        discount: ``gamma`` in ``[0, 1)``.

    The arrays are copied to float64 and made read-only.

    Raises:
        ValueError: a row is not a distribution, shapes disagree, an entry is not finite, or the
            discount lies outside ``[0, 1)``. Nothing is renormalised.
    """

    transition: Float[np.ndarray, "S S"]
    reward: Float[np.ndarray, " S"]
    discount: float

    def __post_init__(self):
        transition = valid.array("transition", self.transition, 2)
        if transition.shape[0] != transition.shape[1]:
            raise ValueError(f"transition has shape {transition.shape}; it must be square")
        transition = valid.stochastic("transition", transition)
        size = (len(transition),)
        reward = valid.shaped("reward", self.reward, size, "one entry for each state")
        transition.flags.writeable = reward.flags.writeable = False
        object.__setattr__(self, "transition", transition)
        object.__setattr__(self, "reward", reward)
        object.__setattr__(self, "discount", valid.discount(self.discount))

    @property
    def num_states(self) -> int:
        """Number of states ``|S|``."""
        return len(self.reward)

    def value(self) -> Float[np.ndarray, " S"]:
        """The exact value ``v = (I - gamma P)^{-1} r``: expected discounted reward from each state.

        Exact up to rounding for every discount below 1; its error in a state is below ``1e-15 S`` times what
        that state would be worth with the rewards ``|r|``. See :func:`icrl.reduction.discounted`.

        Raises:
            ValueError: a value leaves the range of float64.
        """
        value = _discounted(self.transition, self.discount, self.reward[:, None])[:, 0]
        return valid.in_range(value, "reward", "a value")

    def stationary_distribution(self) -> Float[np.ndarray, " S"]:
        """The stationary distribution ``mu = mu P``; transient states get 0.

        Periodic and nearly decomposable chains are no obstacle: states are taken out one by one, so that
        every entry is right to a few roundings, however rare the state (:func:`icrl.reduction.stationary`).

        Raises:
            ValueError: the chain has several closed classes, hence several stationary
                distributions; the classes are named.
        """
        if (self.transition > 0).all():
            return _stationary(self.transition)
        from scipy.sparse.csgraph import connected_components  # here, or `import icrl` takes a third longer

        _, label = connected_components(self.transition > 0, connection="strong")
        leaves = (self.transition > 0) & (label[:, None] != label[None, :])
        closed = sorted(set(label) - set(label[leaves.any(axis=1)]))
        if len(closed) > 1:
            classes = [np.flatnonzero(label == c).tolist() for c in closed]
            raise ValueError(
                f"transition has the closed classes {classes}; the stationary distribution is "
                "unique only where there is one"
            )
        inside = label == closed[0]
        mu = np.zeros(self.num_states)
        mu[inside] = _stationary(self.transition[np.ix_(inside, inside)])
        return mu

    def sample(
        self,
        num_transitions: int,
        rng: np.random.Generator,
        start: int | np.integer | Float[np.ndarray, " S"] | None = None,
    ) -> Int[np.ndarray, " n_plus_1"]:
        """Sample the states ``S_0 .. S_n`` of one trajectory.

        Args:
            num_transitions: ``n >= 1``.
            rng: source of randomness.
            start: the first state, or its distribution ``(S,)``; uniform if not given.

        Returns:
            ``(n+1,)`` states; the rewards are ``process.reward[states[:-1]]``.
        """
        num_transitions = valid.count("num_transitions", num_transitions, 1)
        valid.generator("rng", rng)
        uniform = rng.random(num_transitions + 1)
        first = _start_distribution(start, self.num_states)
        rows = _cumulative(self.transition).tolist()
        states = [bisect_right(_cumulative(first).tolist(), uniform[0])]
        for u in uniform[1:].tolist():
            states.append(bisect_right(rows[states[-1]], u))
        return np.array(states)


def sample_batch(
    transitions: Float[np.ndarray, "B S S"],
    num_transitions: int,
    rng: np.random.Generator,
    starts: Float[np.ndarray, "B S"] | None = None,
) -> Int[np.ndarray, "B n_plus_1"]:
    """Sample one trajectory in each of ``B`` chains at once, by inverting the cumulative rows.

    Args:
        transitions: ``(B, S, S)`` transition matrices.
        num_transitions: ``n >= 1``.
        rng: source of randomness; a batch of one draws what ``MarkovRewardProcess.sample`` draws.
        starts: ``(B, S)`` distributions of the first state; uniform if not given.

    Returns:
        ``(B, n+1)`` states.
    """
    transitions = valid.array("transitions", transitions, 3)
    batch, size, columns = transitions.shape
    if size != columns:
        raise ValueError(f"transitions has shape {transitions.shape}; it must be (B, S, S)")
    rows = _cumulative(valid.stochastic("transitions", transitions))
    num_transitions = valid.count("num_transitions", num_transitions, 1)
    valid.generator("rng", rng)
    if starts is None:
        starts = np.full((batch, size), 1 / size)
    starts = valid.shaped("starts", starts, (batch, size), "one distribution for each chain")
    first = _cumulative(valid.stochastic("starts", starts))
    uniform = rng.random((batch, num_transitions + 1))
    states = np.empty((batch, num_transitions + 1), dtype=np.int64)
    states[:, 0] = (first <= uniform[:, :1]).sum(axis=1)
    each = np.arange(batch)
    for k in range(num_transitions):
        states[:, k + 1] = (rows[each, states[:, k]] <= uniform[:, k + 1, None]).sum(axis=1)
    return states


def _start_distribution(start, num_states):
    if start is None:
        return np.full(num_states, 1 / num_states)
    if np.ndim(start) == 0:
        return np.eye(num_states)[valid.indices("start", start, num_states, "states")]
    start = valid.shaped("start", start, (num_states,), "one probability for each state")
    return valid.stochastic("start", start)


def _cumulative(probabilities):
    # Divided by its last entry, which rounding may leave below 1: a draw u < 1 always lands on a
    # state, and the first entry above u never belongs to a state of probability 0.
    total = np.cumsum(probabilities, axis=-1)
    return total / total[..., -1:]


def random_mrp(num_states: int, discount: float, rng: np.random.Generator) -> MarkovRewardProcess:
    """A dense random process: rows uniform on the simplex, rewards uniform in ``[-1, 1]``."""
    num_states = valid.count("num_states", num_states, 1)
    valid.generator("rng", rng)
    transition = rng.dirichlet(np.ones(num_states), size=num_states)
    return MarkovRewardProcess(transition, rng.uniform(-1, 1, num_states), discount)


def boyan_chain(num_states: int, discount: float, rng: np.random.Generator) -> MarkovRewardProcess:
    """A random chain in the shape of Boyan (1999), made recurrent by restarting at its end.

    State ``s`` moves on by one or by two, with a probability drawn for each state; the last state
    restarts in a random distribution over all states. Rewards are uniform in ``[-1, 1]``.
    """
    num_states = valid.count("num_states", num_states, 2)
    valid.generator("rng", rng)
    transition = np.zeros((num_states, num_states))
    for s in range(num_states - 2):
        by_one = rng.uniform()
        transition[s, s + 1], transition[s, s + 2] = by_one, 1 - by_one
    transition[-2, -1] = 1
    transition[-1] = rng.dirichlet(np.ones(num_states))
    return MarkovRewardProcess(transition, rng.uniform(-1, 1, num_states), discount)


def loop_chain(num_states: int, discount: float, rng: np.random.Generator) -> MarkovRewardProcess:
    """A ring: state ``s`` moves to ``s + 1`` (mod ``S``) or stays, with a random probability each."""
    num_states = valid.count("num_states", num_states, 2)
    valid.generator("rng", rng)
    onward = rng.uniform(size=num_states)
    transition = np.diag(1 - onward)
    transition[np.arange(num_states), (np.arange(num_states) + 1) % num_states] = onward
    return MarkovRewardProcess(transition, rng.uniform(-1, 1, num_states), discount)


def divergent_mrp() -> tuple[MarkovRewardProcess, Float[np.ndarray, "3 1"]]:
    """Three states and features ``(3, 1)`` on which softmax TD diverges for every step size.

    Sampled on-policy; tabular TD converges on the same data. In :doc:`/book/weighted-softmax-td`
    it shows that distinct features settle where the iteration may stop, not that it gets there.
    """
    transition = np.array([[0.0, 0.9, 0.1], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    process = MarkovRewardProcess(transition, np.array([1.0, 0.0, -1.0]), 0.9)
    return process, np.array([[1.0], [4.0], [5.0]])
