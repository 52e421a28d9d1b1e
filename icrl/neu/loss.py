"""The norm-of-expected-update (NEU) pretraining loss: its expectation sampled, or summed over all windows.

Source: Xie et al. (2026), eqs. (26), (27), Theorem 3. The estimators, the enumeration and the loss on
returns are ours. See :doc:`/book/global-minimizer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess, sample_batch
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

LARGEST_ENUMERATION = 2**20
"""Windows above which the enumeration is refused."""

_CHUNK = 2**22  # numbers in the score matrices of one pass


class Windows(NamedTuple):
    """Trajectories of ``n + 1`` transitions: ``Z`` reads the first ``n + 1`` states, ``Z'`` the last.

    - ``task``: ``(B,)``, which process each comes from;
    - ``states``: ``(B, n+2)``, ``S_0 .. S_{n+1}``;
    - ``probability``: ``(B,)``, weights in the expectation; they sum to 1.
    """

    task: Int[np.ndarray, " B"]
    states: Int[np.ndarray, "B n_plus_2"]
    probability: Float[np.ndarray, " B"]


@checked
@dataclass(frozen=True, eq=False)
class TaskDistribution:
    """A uniform distribution over a list of processes with common features and discount.

    Args:
        processes: at least one; equal in ``num_states`` and ``discount``, each with one stationary
            distribution, in which its trajectories start.
        features: ``(S, d)``.

    Raises:
        ValueError: the list is empty, its processes do not fit together, a stationary distribution is
            not unique, or ``features`` has not one finite row for each state.

    See :doc:`/book/global-minimizer`.
    """

    processes: Sequence[MarkovRewardProcess]
    features: Float[np.ndarray, "S d"]

    def __post_init__(self):
        processes = tuple(self.processes)
        if len(processes) == 0:
            raise ValueError("processes is empty; give at least one")
        for i, process in enumerate(processes):
            if not isinstance(process, MarkovRewardProcess):
                kind = type(process).__name__
                raise ValueError(f"processes[{i}] is a {kind}; it must be a MarkovRewardProcess")
        for name in ("num_states", "discount"):
            seen = sorted({getattr(process, name) for process in processes})
            if len(seen) > 1:
                raise ValueError(f"processes differ in {name}, {seen}; the tasks must share it")
        features = valid.array("features", self.features, 2)
        if len(features) != processes[0].num_states:
            raise ValueError(
                f"features has shape {features.shape}; it must have a row for each of the "
                f"{processes[0].num_states} states"
            )
        tables = {
            "transitions": np.stack([p.transition for p in processes]),
            "rewards": np.stack([p.reward for p in processes]),
            "values": np.stack([p.value() for p in processes]),
            "stationary": np.stack([p.stationary_distribution() for p in processes]),
        }
        for name, table in {"processes": processes, "features": features, **tables}.items():
            object.__setattr__(self, name, table)

    @property
    def discount(self) -> float:
        """The common ``gamma``."""
        return self.processes[0].discount

    @checked
    def sample(self, num_transitions: int, num_windows: int, rng: np.random.Generator) -> Windows:
        """Independent stationary windows, each of a task drawn at random.

        Args:
            num_transitions: ``n >= 1``, the length of a context; a window has one transition more.
            num_windows: ``B >= 1``.
            rng: source of randomness.
        """
        n = valid.count("num_transitions", num_transitions, 1)
        size = valid.count("num_windows", num_windows, 1)
        task = rng.integers(len(self.processes), size=size)
        states = sample_batch(self.transitions[task], n + 1, rng, self.stationary[task])
        return Windows(task, states, np.full(size, 1 / size))

    def enumerate(self, num_transitions: int) -> Windows:
        """Every window of positive probability, with its probability: no sampling error at all.

        Raises:
            ValueError: there are more than ``LARGEST_ENUMERATION`` of them.
        """
        n = valid.count("num_transitions", num_transitions, 1)
        (tasks, size), length = self.rewards.shape, n + 2
        if length * np.log(size) + np.log(tasks) > np.log(LARGEST_ENUMERATION):
            raise ValueError(
                f"num_transitions is {n}; {tasks} x {size}^{length} windows are more than "
                f"LARGEST_ENUMERATION = {LARGEST_ENUMERATION}"
            )
        paths = np.array(list(product(range(size), repeat=length)))
        steps = self.transitions[:, paths[:, :-1], paths[:, 1:]].prod(axis=-1)
        probability = self.stationary[:, paths[:, 0]] * steps / tasks
        task, path = np.nonzero(probability)
        return Windows(task, paths[path], probability[task, path])

    @checked
    def returns(
        self, windows: Windows, rng: np.random.Generator, horizon: int = 60
    ) -> Float[np.ndarray, " B"]:
        """A discounted return from the query ``S_n`` of each window, cut off after ``horizon`` rewards.

        What is cut off is at most ``gamma^horizon max|r| / (1 - gamma)``.
        """
        horizon = valid.count("horizon", horizon, 1)
        start = np.eye(len(self.features))[windows.states[:, -2]]
        states = sample_batch(self.transitions[windows.task], horizon, rng, start)
        rewards = self.rewards[windows.task[:, None], states[:, :-1]]
        return rewards @ self.discount ** np.arange(horizon)


@checked
@dataclass(frozen=True, eq=False)
class Terms:
    """What stands inside the expectation of the NEU loss, for each window.

    Attributes:
        probability: ``(B,)``, weights of the windows.
        reward: ``(B,)``, ``R_{n+1} = r(S_n)``.
        value: ``(B,)``, ``TF_L(Z)``.
        next_value: ``(B,)``, ``TF_L(Z')``.
        truth: ``(B,)``, the true value of ``S_n``.
        next_truth: ``(B,)``, that of ``S_{n+1}``.
        gradient: ``(B, 2, D, D)``, of ``TF_L(Z)`` by ``V`` (index 0) and by ``A`` (index 1).
        discount: ``gamma``.
    """

    probability: Float[np.ndarray, " B"]
    reward: Float[np.ndarray, " B"]
    value: Float[np.ndarray, " B"]
    next_value: Float[np.ndarray, " B"]
    truth: Float[np.ndarray, " B"]
    next_truth: Float[np.ndarray, " B"]
    gradient: Float[np.ndarray, "B k D D"]
    discount: float

    @property
    def error(self) -> Float[np.ndarray, " B"]:
        """``TF_L(Z)`` minus the true value of its query."""
        return self.value - self.truth

    @property
    def td_updates(self) -> Float[np.ndarray, "B k D D"]:
        """``(R_{n+1} + gamma TF(Z') - TF(Z)) grad TF(Z)``: the NEU loss is the norm of their mean."""
        return _times(self.reward + self.discount * self.next_value - self.value, self.gradient)

    @property
    def error_updates(self) -> Float[np.ndarray, "B k D D"]:
        """``(gamma error(Z') - error(Z)) grad TF(Z)``: the same expectation, less noise (ours)."""
        return _times(self.discount * (self.next_value - self.next_truth) - self.error, self.gradient)

    def mean(self, updates: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "..."]:
        """The expectation over the windows."""
        return np.tensordot(self.probability, updates, 1)


def _times(scalars, gradient):
    return scalars[:, None, None, None] * gradient


@checked
def neu_terms(
    tasks: TaskDistribution,
    windows: Windows,
    value_weights: Float[Tensor, "D D"],
    score_weights: Float[Tensor, "D D"],
    num_layers: int,
) -> Terms:
    """Forward pass on both prompts of each window and backward pass on the first, at any parameters.

    Args:
        tasks: where the windows come from.
        windows: sampled or enumerated.
        value_weights: ``V``, shared by all layers.
        score_weights: ``A``, likewise.
        num_layers: ``L >= 1``.

    Raises:
        ValueError: weights that are not ``(d+3, d+3)`` or not finite; values that overflow.

    See :doc:`/book/global-minimizer`.
    """
    num_layers = valid.count("num_layers", num_layers, 1)
    size = tasks.features.shape[1] + 3
    for name, weights in (("value_weights", value_weights), ("score_weights", score_weights)):
        valid.tensor(name, weights)
        if weights.shape != (size, size):
            raise ValueError(f"{name} has shape {tuple(weights.shape)}; it must be {(size, size)}, d + 3")
    weights = value_weights.detach().double(), score_weights.detach().double()
    value, next_value, gradient = _passes(tasks, windows, weights, num_layers)
    for name, x in (("value", value), ("gradient", gradient), ("next value", next_value)):
        if not np.isfinite(x).all():
            raise ValueError(f"num_layers is {num_layers}; at these weights a {name} leaves float64's range")
    here, there = (windows.task, windows.states[:, -2]), (windows.task, windows.states[:, -1])
    truths = tasks.values[here], tasks.values[there]
    return Terms(
        windows.probability, tasks.rewards[here], value, next_value, *truths, gradient, tasks.discount
    )


def _passes(tasks, windows, weights, num_layers):
    """Values of Z and Z' and the gradient at Z, for each window; each context is passed through once."""
    contexts = [np.column_stack([windows.task, windows.states[:, i : i - 1 or None]]) for i in (0, 1)]
    shown, where = np.unique(np.concatenate(contexts), axis=0, return_inverse=True)
    here, there = where.reshape(2, -1)  # of Z and of Z'
    asked = np.zeros(len(shown), dtype=bool)
    asked[here] = True  # others need no gradient
    value, gradient = np.empty(len(shown)), np.empty((len(shown), 2, *weights[0].shape))
    chunk = max(1, _CHUNK // (shown.shape[1] ** 2 * num_layers))
    for wanted in (True, False):
        some = np.flatnonzero(asked == wanted)
        for at in (some[i : i + chunk] for i in range(0, len(some), chunk)):
            value[at], slopes = _pass(tasks, shown[at, 0], shown[at, 1:], weights, num_layers, wanted)
            if wanted:
                gradient[at] = slopes
    return value[here], value[there], gradient[here]


def _pass(tasks, task, states, weights, num_layers, differentiate):
    """Values of the queries of these contexts and, if asked for, their gradients."""
    batch = len(task)
    rewards = tasks.rewards[task[:, None], states[:, :-1]]
    features = np.broadcast_to(tasks.features, (batch, *tasks.features.shape))
    prompt = softmax_td_prompt(features, states, rewards)
    if not differentiate:
        with torch.no_grad():
            return SoftmaxTransformer(num_layers, tasks.discount, *weights)(prompt)[:, -1, -1].numpy(), None
    # Each context gets its own copy of the weights, so one backward pass yields all gradients apart.
    own = [w.expand(1, batch, *w.shape).clone().requires_grad_() for w in weights]
    model = SoftmaxTransformer(num_layers - 1, tasks.discount, *own)
    prompt, value, score = model(prompt), model.value_weights[0], model.score_weights[0]
    # Of the last layer only the query's current memory is needed.
    sources, query = prompt[..., :-1], prompt[..., -1:]
    heard = sources @ (sources.mT @ score @ query).softmax(dim=-2)
    output = prompt[:, -1, -1] + (value[:, -1:] @ heard)[:, 0, 0]
    gradients = torch.autograd.grad(output.sum(), [model.value_weights, model.score_weights])
    return output.detach().numpy(), torch.stack(gradients)[:, 0].transpose(0, 1).numpy()


@checked
def construction_gradient(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    num_layers: int,
    step_size: float = 1.0,
    tau: float = 1.0,
) -> tuple[float, Float[np.ndarray, "2 D D"]]:
    """Output at the query of the construction and its gradient, by the transformer's own backward pass."""
    value, score = softmax_td_weights(features.shape[1], step_size)
    valid.count("num_layers", num_layers, 1)
    model = SoftmaxTransformer(num_layers, discount, value, tau * score).requires_grad_()
    output = model(softmax_td_prompt(features, states, rewards))[-1, -1]
    gradients = torch.autograd.grad(output, [model.value_weights, model.score_weights])
    return output.item(), torch.stack(gradients).numpy()


@checked
def own_entries(num_features: int) -> Bool[np.ndarray, "2 D D"]:
    """Where the construction of eq. (12) of Xie et al. (2026) is not zero: ``3 + d`` entries of ``V, A``."""
    return np.stack([weights.numpy() != 0 for weights in softmax_td_weights(num_features)])


@checked
def squared_norm(updates: Float[np.ndarray, "B ..."]) -> tuple[float, float]:
    """An unbiased estimate of ``||E u||^2`` from independent draws ``u``, and its standard error (ours).

    The square of the mean's norm would be too large by the noise, ``tr Cov(u) / B``. The mean of
    ``<u_i, u_j>`` over pairs ``i != j`` is not; it may be negative. The standard error is right
    where the mean is clear of 0 and draws are many; elsewhere it is rough, and rare large draws, not seen,
    make it too small.

    Args:
        updates: ``(B, ...)``, ``B >= 2`` draws of equal weight.
    """
    updates = valid.array("updates", updates)
    if updates.ndim < 2 or len(updates) < 2:
        raise ValueError(f"updates has shape {updates.shape}; it must be (B, ...) with B >= 2")
    rows = updates.reshape(len(updates), -1)
    size, mean = len(rows), rows.mean(axis=0)
    estimate = (size * mean @ mean - (rows**2).sum() / size) / (size - 1)
    centred = rows - mean
    spread = (centred @ mean).var()
    trace = ((centred.T @ centred / (size - 1)) ** 2).sum()  # of the square of the covariance
    # Variance of a U-statistic of degree two; plugging the mean into `spread` adds trace / size to it.
    variance = (4 * max(spread - trace / size, 0.0) + 2 * trace / (size - 1)) / size
    return float(estimate), float(np.sqrt(variance))
