"""Which starts of the gradient flow reach the optimal manifold, where they end, and how fast (ours).

See :doc:`/book/gradient-flow`.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.flow import Flow, MimickingLoss, gradient_flow, outcome
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_actor_critic_tasks, random_tasks
from icrl.gradient_flow.teacher_mimicking import alignment, train

FATES = ("manifold", "rest", "runaway", "moving")


@checked
def random_start(
    loss: MimickingLoss, centre: str, distance: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
    """A start ``score, value`` in a random direction from the teacher or from zero.

    Args:
        loss: the tasks.
        centre: ``"teacher"`` or ``"zero"``.
        distance: from the centre, in units of the norm of the teacher's two blocks.
        rng: where randomness comes from.

    See :doc:`/book/gradient-flow`.
    """
    if centre not in ("teacher", "zero"):
        raise ValueError(f"centre is {centre!r}; it must be 'teacher' or 'zero'")
    teacher = loss.on_manifold(1.0)
    step = [rng.normal(size=x.shape) for x in teacher]
    norms = (np.sqrt(sum((x**2).sum() for x in blocks)) for blocks in (teacher, step))
    unit = valid.positive("distance", distance) * next(norms) / next(norms)
    score, value = ((centre == "teacher") * x + unit * y for x, y in zip(teacher, step, strict=True))
    return score, value


class Landing(NamedTuple):
    """A flow, whether it reached the manifold, at which ``c``, and the largest miss of the prediction."""

    flow: Flow
    reached: bool
    scale: float
    miss: float


@checked(finite=False)
def follow(loss: MimickingLoss, start: tuple[np.ndarray, np.ndarray], time: float, **tolerances) -> Landing:
    """Follow the flow and compare its end with :func:`~icrl.gradient_flow.richness.landing_point`.

    The sign of ``c`` is taken from the end; where the flow did not reach the manifold, ``scale`` and
    ``miss`` are NaN. ``tolerances`` go to :func:`icrl.gradient_flow.flow.gradient_flow`.
    """
    flow = gradient_flow(loss, *start, time, **tolerances)
    if outcome(flow, loss) != "manifold":
        return Landing(flow, False, np.nan, np.nan)
    report = richness(loss)
    seen = loss.teacher_score - report.data_null @ (report.data_null.T @ loss.teacher_score)
    seen -= seen @ report.parameter_null @ report.parameter_null.T
    scale, *blocks = landing_point(loss, *start, 1 if np.vdot(flow.scores[-1], seen) > 0 else -1)
    ends = flow.scores[-1], flow.values[-1]
    return Landing(flow, True, scale, max(np.abs(a - b).max() for a, b in zip(ends, blocks, strict=True)))


@checked
def growth(flow: Flow, start: float = 0.1, stop: float = 1.0) -> float:
    """The exponent with which the norm of the two blocks grew over the last factor of ten in time.

    ``start`` and ``stop``, shares of the time at the end, choose another part.
    """
    norms = np.sqrt((flow.scores**2).sum(axis=(1, 2)) + (flow.values**2).sum(axis=(1, 2)))
    times = np.log(np.maximum(flow.times, np.finfo(float).tiny))
    before, after = np.interp(times[-1] + np.log([start, stop]), times, np.log(norms))
    return float((after - before) / np.log(stop / start))


@checked
def fate(flow: Flow, loss: MimickingLoss) -> str:
    """:func:`~icrl.gradient_flow.flow.outcome`, or ``"runaway"``: moving, and the norms a power of time.

    The exponent must be the same, to 0.05, over the two halves of the last factor of ten, and lie between
    0.15 and 0.5: a flow that only leaves the saddle at 0 grows exponentially.
    """
    end = outcome(flow, loss)
    if end == "moving":
        early, late = growth(flow, 0.1, 0.1**0.5), growth(flow, 0.1**0.5, 1.0)
        end = "runaway" if 0.15 < late < 0.5 and abs(early - late) < 0.05 else end
    return end


@checked
def polyak(flow: Flow, loss: MimickingLoss) -> Float[np.ndarray, " K"]:
    """``|gradient|^2 / (2 loss)`` along a flow: what the Polyak-Lojasiewicz inequality bounds from below."""
    squares = [
        sum((g**2).sum() for g in loss.gradients(*point))
        for point in zip(flow.scores, flow.values, strict=True)
    ]
    return np.array(squares) / (2 * flow.losses)


@checked(finite=False)
def norm_bound(
    loss: MimickingLoss, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"]
) -> float:
    """No flow from here takes ``sqrt(|P12|^2 + |V21|^2)`` beyond this; infinite where tasks are not rich."""
    sigma, zero = richness(loss).margin, [0 * x for x in loss.point(score, value)]
    if sigma == 0:
        return np.inf
    product = np.sqrt(2) * sum(np.sqrt(2 * loss.loss(*x)) for x in ((score, value), zero)) / sigma
    balance = (value**2).sum() - (score**2).sum()
    return float((balance**2 + 4 * product**2) ** 0.25)


class LocalRate(NamedTuple):
    """How fast the loss fell at the end of a flow, and what the Hessian there says.

    Attributes:
        slope: measured: mean of ``-d ln(loss)/dt`` while the loss falls from ``top`` to ``bottom``.
        expected: the same, if each eigenvector of the Hessian at the end decays by itself from ``top`` on.
        gap: ``mu``, its smallest eigenvalue above 0.
        share: of that eigenvector in the loss at ``top``.
        steepest: the largest slope that such a share allows, ``2 mu / (1 - ln(1/share)/ln(top/bottom))``;
            infinite if the share is below ``bottom / top``.
    """

    slope: float
    expected: float
    gap: float
    share: float
    steepest: float


@checked(finite=False)
def local_rate(flow: Flow, loss: MimickingLoss, top: float = 1e-8, bottom: float = 1e-15) -> LocalRate:
    """The rate of a flow that reached the manifold, measured and expected.

    Args:
        flow: stopped well below ``bottom``.
        loss: its tasks.
        top: the loss from which on.
        bottom: the loss down to which.

    Raises:
        ValueError: the flow does not fall from above ``top`` to ``bottom / 10``.
    """
    top, bottom = valid.positive("top", top), valid.positive("bottom", bottom)
    if not flow.losses[0] >= top > bottom >= 10 * flow.losses[-1]:
        raise ValueError(
            f"flow falls from {flow.losses[0]:g} to {flow.losses[-1]:g}; it must fall from top = {top:g} "
            f"or above to a tenth of bottom = {bottom:g} or below"
        )
    first, last = (int(np.argmax(flow.losses <= x)) for x in (top, bottom))
    time = flow.times[last] - flow.times[first]
    points = [
        np.concatenate([flow.values[i].ravel(), flow.scores[i].ravel()]) for i in (first, len(flow.times) - 1)
    ]
    jacobian = loss.jacobian(flow.scores[-1], flow.values[-1])
    _, singular, modes = np.linalg.svd(np.linalg.qr(jacobian, mode="r"))
    singular = singular[singular > 1e-6 * singular[0]]
    parts = (singular * (modes[: len(singular)] @ (points[0] - points[1]))) ** 2 / 2
    gap = float(singular[-1] ** 2)
    total, share = parts.sum(), float(parts[-1] / parts.sum())
    left = (parts * np.exp(-2 * singular**2 * time)).sum()
    fall = np.log(flow.losses[first] / flow.losses[last])
    slack = 1 - np.log(1 / share) / fall
    steepest = 2 * gap / slack if slack > 0 else np.inf
    return LocalRate(fall / time, float(np.log(total / left) / time), gap, share, float(steepest))


@checked
def random_starts(
    *, tasks: str, centre: str, distance: float, starts: int, rng: np.random.Generator
) -> Iterator[tuple[MimickingLoss, tuple[np.ndarray, np.ndarray]]]:
    """Fresh tasks and a start for each of ``starts`` flows.

    Args:
        tasks: ``"KIND, d = NUMBER"`` of SARSA, or ``"KIND, actor-critic"``; kinds as in
            :func:`icrl.gradient_flow.tasks.random_tasks` and
            :func:`icrl.gradient_flow.tasks.random_actor_critic_tasks`.
        centre: as in :func:`random_start`.
        distance: as there.
        starts: how many.
        rng: source of randomness.
    """
    kind, _, size = tasks.partition(", ")
    if size != "actor-critic" and not re.fullmatch(r"d = [1-9]\d*", size):
        raise ValueError(f"tasks is {tasks!r}; it must be 'KIND, d = NUMBER' or 'KIND, actor-critic'")
    for _ in range(valid.count("starts", starts, 1)):
        if size == "actor-critic":
            loss = random_actor_critic_tasks(kind, 2, 2, 150, rng)
        else:
            loss = random_tasks(kind, int(size[4:]), 70 * int(size[4:]), rng)
        yield loss, random_start(loss, centre, distance, rng)


@checked
def basin_row(*, tasks: str, centre: str, distance: float, starts: int, state: dict) -> dict:
    """How many flows meet which fate, and how fast the blocks of a runaway grow (the median exponent).

    A task of ``book/sweeps/gradient_flow.py``; arguments as in :func:`random_starts`, with the state of a
    generator in the generator's place.
    """
    fates, powers = [], []
    places = {"tasks": tasks, "centre": centre, "distance": distance}
    for loss, start in random_starts(**places, starts=starts, rng=_generator(state)):
        time = 6000 / richness(loss).gap
        flow = gradient_flow(loss, *start, time, rtol=1e-7, atol=1e-10, stop=1e-11)
        fates.append(fate(flow, loss))
        if fates[-1] == "runaway":
            powers.append(growth(flow))
    counts = {each: fates.count(each) for each in FATES}
    power = f"{np.median(powers):.2f}" if powers else ""
    return {"tasks": tasks, "from": centre, "distance": distance, **counts, "growth": power}


@checked
def trainings_row(*, trainings: int, steps: int, state: dict) -> dict:
    """How many runs of Algorithm 1 end aligned with the construction (cosines above 0.99).

    A task of ``book/sweeps/gradient_flow.py``: ``trainings`` runs of ``steps`` steps of Adam at 3 states and
    2 actions, one after the other from a generator in this ``state``.
    """
    rng, aligned = _generator(state), 0
    for _ in range(valid.count("trainings", trainings, 1)):
        run = train(3, 2, steps, rng, learning_rate=0.02)
        aligned += int(min(np.abs(alignment(run.P[-1], run.V[-1], 0.5)[2:])) > 0.99)
    counts = dict.fromkeys(FATES, 0) | {"manifold": aligned, "moving": trainings - aligned}
    return {"tasks": "Adam, one-hot, d = 6", "from": "", "distance": "", **counts, "growth": ""}


def _generator(state):
    rng = np.random.default_rng(0)
    rng.bit_generator.state = state
    return rng
