"""Algorithm 1 of Liang and Lai (2026) at the size of its experiment, many seeds side by side.

Only ``P12`` and the rows of ``V21`` that are read out are held and trained: by Proposition 3.1 nothing else
moves if ``P22`` and ``V22`` start at 0. See :doc:`/book/teacher-mimicking`.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch.optim.adam import adam
from tqdm import tqdm

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.worlds import Window, Worlds, random_worlds
from icrl.policies import epsilon_greedy

CHOICES = {
    "method": ("sarsa", "actor-critic"),
    "features": ("fresh", "fixed", "one-hot"),
    "windows_from": ("rollouts", "exchanged", "independent"),
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "constant"),
}


@checked
@dataclass(frozen=True)
class Experiment:
    """What a training does: Algorithm 1 with these defaults, and one-change controls beside it.

    Args:
        method: what the teacher does, ``"sarsa"`` or ``"actor-critic"``.
        num_states: ``S``.
        num_actions: ``A``; pairs have ``d = S A`` features, states of an actor-critic ``S``.
        discount: ``gamma``.
        num_transitions: ``n``, in a window.
        epsilon: of the policy that collects windows; actor-critic acts by its own policy.
        step_size: ``alpha`` of the teacher.
        actor_step: ``beta`` of the teacher's actor.
        features: ``"fresh"`` for each process, one ``"fixed"`` random table for all, or ``"one-hot"``.
        concentration: of the transition rows.
        spread: first parameters of a process are uniform on ``(-spread, spread)``; may be 0.
        follow: whether the parameters follow the teacher from window to window, as Algorithm 1 asks, or
            stay as they were drawn.
        windows_from: ``"rollouts"``; or ``"exchanged"``, each window shown with the parameters that another
            world of the batch (the one before) has at the time, so that nothing but the match is lost; or
            ``"independent"``: pairs, their successors and the parameters are drawn anew for every window.
        batch: processes side by side; 1 is the strict form.
        at_once: for long runs, so many batches are drawn side by side, to be shown one after the other; the
            draws are others, their law is the same.
        windows: of each process, before the next ones come.
        optimizer: ``"adam"`` or ``"sgd"``.
        learning_rate: at the start.
        schedule: ``"cosine"``, falling to 0, or ``"constant"``.
        gain: Xavier's, for the start of the two blocks as parts of a ``D x D`` matrix.

    Raises:
        ValueError: an option that does not exist, a number out of its range.
    """

    method: Literal["sarsa", "actor-critic"] = "sarsa"
    num_states: int = 9
    num_actions: int = 4
    discount: float = 0.5
    num_transitions: int = 20
    epsilon: float = 0.1
    step_size: float = 0.2
    actor_step: float = 0.2
    features: Literal["fresh", "fixed", "one-hot"] = "fresh"
    concentration: float = 1.0
    spread: float = 1.0
    follow: bool = True
    windows_from: Literal["rollouts", "exchanged", "independent"] = "rollouts"
    batch: int = 50
    windows: int = 100
    at_once: int = 1
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    gain: float = 0.1

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        for name in ("num_states", "num_actions", "num_transitions", "batch", "windows", "at_once"):
            valid.count(name, getattr(self, name), 1)
        for name in ("step_size", "actor_step", "concentration", "learning_rate", "gain"):
            valid.positive(name, getattr(self, name))
        valid.discount(self.discount)
        for name, most in (("epsilon", 1.0), ("spread", np.inf)):
            if not 0 <= valid.number(name, getattr(self, name)) <= most:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must lie in [0, {most:g}]")
        if not isinstance(self.follow, bool):
            raise ValueError(f"follow is {self.follow!r}; it must be True or False")
        if self.windows_from == "exchanged" and self.batch == 1:
            raise ValueError('batch is 1; with windows_from="exchanged" it must be at least 2')

    @property
    def actor(self) -> bool:
        """Whether the teacher is an actor-critic."""
        return self.method == "actor-critic"

    @property
    def num_weights(self) -> int:
        """``d``: weights of the critic, one for each of its features."""
        return self.num_states if self.actor else self.num_states * self.num_actions

    @property
    def num_policy_weights(self) -> int:
        """``h``: weights of the actor; 0 for SARSA."""
        return self.num_states * self.num_actions if self.actor else 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """``m, k, q``: rows of the data, rows of the parameter column, entries that are read out."""
        d, h = self.num_weights, self.num_policy_weights
        return 2 * d + 1 + h, 1 + d + h, d + h

    def teacher(self) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
        """``P*12, V*21`` of the construction, at ``c = 1``."""
        (m, k, q), d, h = self.shape, self.num_weights, self.num_policy_weights
        score, value = np.zeros((m, k)), np.zeros((q, m))
        score[:d, 1 : 1 + d], score[d : 2 * d, 1 : 1 + d] = -np.eye(d), np.eye(d)
        score[2 * d, 0] = 1
        value[:d, :d] = self.step_size * np.eye(d)
        value[d:, 2 * d + 1 :] = self.actor_step * np.eye(h)
        return score, value

    def balanced_scale(self) -> float:
        """``|c|`` at which both blocks of the construction have the same norm (where flows from 0 land)."""
        score, value = self.teacher()
        return float(np.sqrt(np.linalg.norm(value) / np.linalg.norm(score)))

    @checked
    def parameters(self, batch: int, rng: np.random.Generator) -> Float[np.ndarray, "B p"]:
        """First parameters of ``B`` learners."""
        return rng.uniform(-self.spread, self.spread, (batch, self.shape[2]))

    def worlds(self, batch: int, rng: np.random.Generator, table=None) -> Worlds:
        """Fresh processes; ``table`` holds the features if they are fixed."""
        return random_worlds(
            batch,
            rng,
            num_states=self.num_states,
            num_actions=self.num_actions,
            discount=self.discount,
            features=self.features if table is None else table,
            concentration=self.concentration,
            num_state_features=self.num_states if self.actor else None,
        )


def fixed_table(setting: Experiment, rng: np.random.Generator) -> Float[np.ndarray, "S A d"]:
    """One table of random features for all processes; the first thing that a training with one draws."""
    pairs = setting.num_states * setting.num_actions
    return rng.uniform(-1, 1, (setting.num_states, setting.num_actions, pairs))


def softmax(preferences: Float[np.ndarray, "*b A"]) -> Float[np.ndarray, "*b A"]:
    """Probabilities proportional to the exponentials, along the last axis."""
    powers = np.exp(preferences - preferences.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def behaviour(setting: Experiment, worlds: Worlds, parameters: Float[np.ndarray, "*K B p"]):
    """The policies ``(*K, B, S, A)`` that collect the next window."""
    if setting.actor:
        return softmax(worlds.action_values(parameters[..., setting.num_weights :]))
    return epsilon_greedy(worlds.action_values(parameters), setting.epsilon)


class Lesson(NamedTuple):
    """What a block is shown, and what the teacher does with it.

    - ``data``: ``(*K, B, n, m)``, rows ``x_i`` of the prompt's columns;
    - ``column``: ``(*K, B, k)``, the constant 1 and the parameters;
    - ``update``: ``(*K, B, q)``, what the teacher adds to the parameters.
    """

    data: Float[np.ndarray, "*K B n m"]
    column: Float[np.ndarray, "*K B k"]
    update: Float[np.ndarray, "*K B q"]


def lesson(
    setting: Experiment, worlds: Worlds, window: Window, parameters: Float[np.ndarray, "*K B p"]
) -> Lesson:
    """The prompt of a window, and the teacher's update of eq. (2), or of eq. (3), on it."""
    each, d = np.arange(len(worlds))[:, None], setting.num_weights
    if setting.actor:
        features = worlds.state_features[each, window.states]
        policies = behaviour(setting, worlds, parameters)
        mean = np.einsum("...bsa,bsah->...bsh", policies, worlds.features)
        lead = np.ix_(*(np.arange(k) for k in mean.shape[:-2]))
        states = window.states[..., :-1]
        scores = worlds.seen(window)[..., :-1, :] - mean[(*(x[..., None] for x in lead), states)]
    else:
        features, scores = worlds.seen(window), None
    phi, phi_next = features[..., :-1, :], features[..., 1:, :]
    q = (features @ parameters[..., :d, None])[..., 0]
    errors = (window.rewards + setting.discount * q[..., 1:] - q[..., :-1]) / window.rewards.shape[-1]
    parts = [setting.step_size * (phi.swapaxes(-1, -2) @ errors[..., None])[..., 0]]
    data = [phi, setting.discount * phi_next, window.rewards[..., None]]
    if scores is not None:
        parts.append(setting.actor_step * (scores.swapaxes(-1, -2) @ errors[..., None])[..., 0])
        data.append(scores)
    column = np.concatenate([np.ones_like(parameters[..., :1]), parameters], axis=-1)
    return Lesson(np.concatenate(data, axis=-1), column, np.concatenate(parts, axis=-1))


def gradients(score, value, data, column, update):
    """Loss ``(K,)`` of each block on a batch of prompts, and its gradients in both blocks, by hand.

    What a block hears is ``S P12 w``, what it answers ``V21 S P12 w``: Lemma C.1, eq. (15). The loss is half
    the squared error summed over the readout, mean over the batch. All arrays, or all tensors; shapes:
    ``(K, m, k)``, ``(K, q, m)``, ``(B, n, m)``, ``(B, k)``, ``(B, q)``.
    """
    (batch, n, m), seeds = data.shape, len(score)
    over = data.swapaxes(1, 2)
    asked = (column @ score.reshape(seeds * m, -1).T).reshape(batch, seeds, m)
    heard = (asked @ over / n @ data).swapaxes(0, 1)  # (K, B, m)
    errors = heard @ value.swapaxes(1, 2) - update
    loss = (errors**2).sum(-1).mean(-1) / 2
    errors = errors / batch
    back = (errors @ value).swapaxes(0, 1)  # (B, K, m)
    back = (back @ over / n @ data).reshape(batch, seeds * m)
    return loss, (back.T @ column).reshape(score.shape), errors.swapaxes(1, 2) @ heard


@checked
def training_start(
    setting: Experiment, num_seeds: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "K m k"], Float[np.ndarray, "K q m"]]:
    """Where ``K`` trainings begin: Xavier's uniform distribution for a ``D x D`` matrix, times the gain."""
    m, k, q = setting.shape
    bound = setting.gain * np.sqrt(3 / (m + k))
    seeds = valid.count("num_seeds", num_seeds, 1)
    return rng.uniform(-bound, bound, (seeds, m, k)), rng.uniform(-bound, bound, (seeds, q, m))


class Run(NamedTuple):
    """``R`` moments of ``K`` trainings: after how many steps, the loss on the next windows, the blocks."""

    steps: np.ndarray  # (R,)
    losses: np.ndarray  # (R, K)
    scores: np.ndarray  # (R, K, m, k)
    values: np.ndarray  # (R, K, q, m)


@checked
def train_side_by_side(
    setting: Experiment,
    num_steps: int,
    score: Float[np.ndarray, "K m k"],
    value: Float[np.ndarray, "K q m"],
    rng: np.random.Generator,
    *,
    records: int = 21,
    progress: str | None = None,
) -> Run:
    """Algorithm 1 for ``K`` blocks on shared draws: each is trained as if it were alone.

    The windows do not depend on the blocks, since the parameters follow the teacher. So all blocks may be
    shown the same ones.

    Args:
        setting: what is done.
        num_steps: steps of the optimiser; each shows one window of every process of the batch.
        score: ``P12`` at the start, of each block, as :func:`training_start` makes them.
        value: ``V21`` at the start.
        rng: draws processes, features, parameters and windows.
        records: moments to keep, evenly spaced, first and last included.
        progress: a title for a progress bar; none if not given.

    Raises:
        ValueError: blocks of other shapes than the setting's.
    """
    num_steps, records = valid.count("num_steps", num_steps, 1), valid.count("records", records, 2)
    (m, k, q), seeds = setting.shape, len(score)
    score = valid.shaped("score", score, (seeds, m, k), "data by parameters, for each block")
    value = valid.shaped("value", value, (seeds, q, m), "readout by data, for each block")
    flat = torch.from_numpy(np.concatenate([score.ravel(), value.ravel()]))
    slope = torch.zeros_like(flat)
    # The same memory as arrays: products of NumPy are faster here.
    blocks, slopes = (_two_blocks(x, score, value) for x in (flat.numpy(), slope.numpy()))
    step_at = adam_steps(flat) if setting.optimizer == "adam" else lambda x, rate: flat.add_(x, alpha=-rate)
    lessons = _lessons(setting, rng)
    kept, rows = set(np.linspace(0, num_steps, records).astype(int)), []
    for step in tqdm(range(num_steps + 1), desc=progress, disable=progress is None):
        loss, *given = gradients(*blocks, *next(lessons))
        for into, x in zip(slopes, given, strict=True):
            into[:] = x
        if step in kept:
            rows.append((step, loss, *(x.copy() for x in blocks)))
        if step < num_steps:
            share = (1 + np.cos(np.pi * step / num_steps)) / 2 if setting.schedule == "cosine" else 1.0
            step_at(slope, share * setting.learning_rate)
    return Run(*(np.array(x) for x in zip(*rows, strict=True)))


def adam_steps(flat):
    """Steps of Adam in place. PyTorch's own function: loading its class takes longer than some trainings."""
    mean, square, count = torch.zeros_like(flat), torch.zeros_like(flat), torch.zeros(())
    fixed = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    fixed |= {"foreach": False, "amsgrad": False, "maximize": False}
    return lambda slope, rate: adam([flat], [slope], [mean], [square], [], [count], lr=rate, **fixed)


def _two_blocks(flat, score, value):
    """Views of one array, for whose optimiser they are one parameter, in the shapes of the two blocks."""
    return flat[: score.size].reshape(score.shape), flat[score.size :].reshape(value.shape)


def _lessons(setting, rng):
    """Lessons without end, each a batch."""
    if setting.at_once > 1:
        yield from _one_after_the_other(setting, rng)
    table, batch = fixed_table(setting, rng) if setting.features == "fixed" else None, setting.batch
    while True:
        worlds, starts = setting.worlds(batch, rng, table), None
        parameters = setting.parameters(batch, rng)
        for _ in range(setting.windows):
            if setting.windows_from == "independent":
                yield _independent(setting, worlds, rng)
                continue
            policies = behaviour(setting, worlds, parameters)
            window = worlds.window(policies, setting.num_transitions, rng, starts)
            given = shown = lesson(setting, worlds, window, parameters)
            if setting.windows_from == "exchanged":
                shown = lesson(setting, worlds, window, np.roll(parameters, 1, axis=0))
            yield shown
            starts = window.states[..., -1]
            if setting.follow:
                parameters = parameters + given.update


def _one_after_the_other(setting, rng):
    """All windows of a batch, one a step, then those of the next.

    No window depends on the block, so those of many batches are drawn at once: the strict form's ten times
    faster.
    """
    batch = setting.batch
    draws = _lessons(replace(setting, batch=setting.at_once * batch, at_once=1), rng)
    while True:
        kept = [next(draws) for _ in range(setting.windows)]
        for b in range(0, setting.at_once * batch, batch):
            yield from (Lesson(*(x[b : b + batch] for x in given)) for given in kept)


def _independent(setting, worlds, rng):
    """A SARSA lesson of independent transitions: no process, no policy, fresh parameters."""
    n, batch = setting.num_transitions, len(worlds)
    pairs = worlds.features.reshape(batch, -1, worlds.features.shape[-1])
    drawn = rng.integers(pairs.shape[1], size=(2, batch, n))
    phi, phi_next = (pairs[np.arange(batch)[:, None], x] for x in drawn)
    rewards = rng.uniform(-1, 1, (batch, n))
    w = setting.parameters(batch, rng)
    errors = rewards + ((setting.discount * phi_next - phi) @ w[..., None])[..., 0]
    update = setting.step_size / n * (phi.swapaxes(1, 2) @ errors[..., None])[..., 0]
    data = np.concatenate([phi, setting.discount * phi_next, rewards[..., None]], axis=-1)
    return Lesson(data, np.concatenate([np.ones((batch, 1)), w], axis=1), update)
