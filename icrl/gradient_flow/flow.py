"""How a linear block learns SARSA or actor-critic: teacher-mimicking loss, its Hessian, its gradient flow.

Source: Liang and Lai (2026), Proposition 3.1, Theorem 3.2. The closed forms are ours. Above this room stand
`mimicking_tasks` (sets of tasks), `richness` (what they identify, where the flow lands), `basins` (which
starts get there, and how fast). See :doc:`/book/gradient-flow`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

from icrl import _validation as valid
from icrl._arguments import checked


@checked
@dataclass(frozen=True)
class MimickingLoss:
    """``mean_t 1/2 |(V21 S_t P12 - V*21 S_t P*12) w_t|^2``, the loss of Theorem 3.2 on a set of tasks.

    Attributes:
        moments: ``(T, m, m)``, each task's ``S = (1/n) sum_i x_i x_i'``, symmetric.
        parameters: ``(T, k)``, its parameter column, starting with the constant 1.
        teacher_score: ``P*12``, ``(m, k)``.
        teacher_value: the rows of ``V*21`` that are read out, ``(q, m)``.

    Raises:
        ValueError: shapes that do not fit, entries that are not finite, moments that are not symmetric.

    A point is a pair ``score (m, k), value (q, m)``; as a vector, ``value`` then ``score``, row by row.
    Source: Liang and Lai (2026), Theorem 3.2 and eq. (15). See :doc:`/book/gradient-flow`.
    """

    moments: Float[np.ndarray, "T m m"]
    parameters: Float[np.ndarray, "T k"]
    teacher_score: Float[np.ndarray, "m k"]
    teacher_value: Float[np.ndarray, "q m"]

    def __post_init__(self):
        moments = valid.array("moments", self.moments, 3)
        tasks, m, _ = moments.shape
        moments = valid.shaped("moments", moments, (tasks, m, m), "a square matrix for each task")
        skew = np.abs(moments - moments.mT).max()
        if skew > 1e-10 * np.abs(moments).max():
            raise ValueError(f"moments differ from their transposes by {skew:g}; they must be symmetric")
        parameters = valid.array("parameters", self.parameters, 2)
        k = parameters.shape[1]
        parameters = valid.shaped("parameters", parameters, (tasks, k), "a column for each task")
        score = valid.shaped("teacher_score", self.teacher_score, (m, k), "data by parameters")
        value = valid.array("teacher_value", self.teacher_value, 2)
        value = valid.shaped("teacher_value", value, (len(value), m), "read out by data")
        for name, x in zip(self.__dataclass_fields__, (moments, parameters, score, value), strict=True):
            object.__setattr__(self, name, x)

    @cached_property
    def _target(self):
        return self._heard(self.teacher_score) @ self.teacher_value.T

    def _heard(self, score):
        """``S_t P12 w_t`` of every task, (T, m)."""
        return np.einsum("tij,tj->ti", self.moments, self.parameters @ score.T)

    def point(self, score, value) -> tuple[np.ndarray, np.ndarray]:
        """Both blocks, checked."""
        score = valid.shaped("score", score, self.teacher_score.shape, "as the teacher's")
        return score, valid.shaped("value", value, self.teacher_value.shape, "as the teacher's")

    @checked
    def unpack(self, vector: Float[np.ndarray, " p"]) -> tuple[np.ndarray, np.ndarray]:
        """``score, value`` of a vector."""
        size = self.teacher_value.size + self.teacher_score.size
        return self._unpack(
            valid.shaped("vector", vector, (size,), "the entries of value, then those of score")
        )

    def _unpack(self, vector):
        size = self.teacher_value.size
        score, value = vector[size:], vector[:size]
        return score.reshape(self.teacher_score.shape), value.reshape(self.teacher_value.shape)

    def residuals(self, score, value) -> Float[np.ndarray, "T q"]:
        """What the readout misses, for each task."""
        return self._residuals(*self.point(score, value))

    def _residuals(self, score, value):
        return self._heard(score) @ value.T - self._target

    def loss(self, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"]) -> float:
        """The loss at a point."""
        return self._loss(*self.point(score, value))

    def _loss(self, score, value):
        return float((self._residuals(score, value) ** 2).sum() / 2 / len(self.moments))

    def gradients(self, score, value) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
        """Its gradients with respect to ``score`` and ``value``, by hand."""
        return self._gradients(*self.point(score, value))

    def _gradients(self, score, value):
        """Unchecked: a flow asks for them thousands of times."""
        heard = self._heard(score)
        errors = (heard @ value.T - self._target) / len(self.moments)
        back = np.einsum("tij,tj->ti", self.moments, errors @ value)
        return back.T @ self.parameters, errors.T @ heard

    def jacobian(self, score, value) -> Float[np.ndarray, "Tq p"]:
        """Derivative of the residuals, over ``sqrt(T)``; at zero loss its Gram matrix is the Hessian."""
        return self._jacobian(*self.point(score, value))

    def _jacobian(self, score, value):
        tasks, q = len(self.moments), len(value)
        by_value = np.einsum("ab,ti->tabi", np.eye(q), self._heard(score))
        by_score = np.einsum("taj,tl->tajl", value @ self.moments, self.parameters)
        parts = by_value.reshape(tasks * q, -1), by_score.reshape(tasks * q, -1)
        return np.concatenate(parts, axis=1) / np.sqrt(tasks)

    def hessian(self, score, value) -> Float[np.ndarray, "p p"]:
        """The second derivative at any point."""
        return self._hessian(*self.point(score, value))

    def _hessian(self, score, value):
        jacobian = self._jacobian(score, value)
        size, errors = self.teacher_value.size, self._residuals(score, value) / len(self.moments)
        mixed = np.einsum("ta,tij,tl->aijl", errors, self.moments, self.parameters, optimize=True)
        result = jacobian.T @ jacobian
        result[:size, size:] += mixed.reshape(size, -1)
        result[size:, :size] += mixed.reshape(size, -1).T
        return result

    def on_manifold(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """``(c P*12, V*21 / c)``, where the loss is zero."""
        scale = valid.number("scale", scale)
        if scale == 0:
            raise ValueError("scale is 0; it must not be zero")
        return scale * self.teacher_score, self.teacher_value / scale


@checked
def mimicking_loss(
    prompts: Float[Tensor, "T D N"],
    P: Float[Tensor, "D D"],
    V: Float[Tensor, "D D"],
    num_parameters: int | None = None,
) -> MimickingLoss:
    """The loss of a set of prompts against the teacher ``P, V``.

    Args:
        prompts: of eq. (4) of Liang and Lai (2026), or their actor-critic kind.
        P: the teacher's, for instance of :func:`icrl.linear_transformer.sarsa_weights`.
        V: likewise.
        num_parameters: entries below the constant 1; if not given, SARSA's ``d = (D - 2) / 3``.

    See :doc:`/book/gradient-flow`.
    """
    for name, x in (("prompts", prompts), ("P", P), ("V", V)):
        valid.tensor(name, x)
    if prompts.ndim != 3 or prompts.shape[-1] < 2:
        raise ValueError(f"prompts has shape {tuple(prompts.shape)}; it must be (T, D, n + 1), n >= 1")
    size, n = prompts.shape[1], prompts.shape[2] - 1
    for name, x in (("P", P), ("V", V)):
        valid.shaped(name, x.detach().cpu(), (size, size), "D x D for the prompts' D")
    p = (size - 2) // 3 if num_parameters is None else valid.count("num_parameters", num_parameters, 1)
    m = size - p - 1
    if m < 1:
        raise ValueError(f"num_parameters is {p}; it must be at most D - 2 = {size - 2}")
    data, columns = prompts[:, :m, :n].detach().double(), prompts[:, m:, n].detach().double()
    moments = (data @ data.mT / n).cpu().numpy()
    score, value = (x.detach().cpu().double().numpy() for x in (P[:m, m:], V[m + 1 :, :m]))
    return MimickingLoss((moments + moments.mT) / 2, columns.cpu().numpy(), score, value)


@checked
@dataclass(frozen=True)
class Flow:
    """A trajectory of the gradient flow: times, points and losses, in order."""

    times: Float[np.ndarray, " K"]
    scores: Float[np.ndarray, "K m k"]
    values: Float[np.ndarray, "K q m"]
    losses: Float[np.ndarray, " K"]

    @property
    def balance(self) -> Float[np.ndarray, " K"]:
        """``|V21|^2 - |P12|^2`` along the way; the flow conserves it."""
        return (self.values**2).sum(axis=(1, 2)) - (self.scores**2).sum(axis=(1, 2))


@checked
def gradient_flow(
    loss: MimickingLoss,
    score: Float[np.ndarray, "m k"],
    value: Float[np.ndarray, "q m"],
    time: float,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    stop: float = 0.0,
) -> Flow:
    """``d(P12, V21)/dt = -gradient`` from a start, by an adaptive stiff solver (LSODA).

    Args:
        loss: the set of tasks.
        score: ``P12`` at time 0.
        value: ``V21`` at time 0.
        time: how long.
        rtol: relative tolerance, at least ``1e-13``, below which float64 cannot follow.
        atol: absolute tolerance.
        stop: end where the loss falls below this.

    Raises:
        ValueError: non-finite starts, tolerances out of range, or ones that the solver did not meet.

    See :doc:`/book/gradient-flow`.
    """
    score, value = loss.point(score, value)
    time, rtol, atol = (valid.positive(*x) for x in (("time", time), ("rtol", rtol), ("atol", atol)))
    if not 1e-13 <= rtol < 1:
        raise ValueError(f"rtol is {rtol:g}; it must lie in [1e-13, 1): float64 cannot follow closer")

    def velocity(_, vector):
        if not np.isfinite(vector).all():
            raise ValueError("the blocks left the range of float64")
        by_score, by_value = loss._gradients(*loss._unpack(vector))
        return -np.concatenate([by_value.ravel(), by_score.ravel()])

    def done(_, vector):
        return loss._loss(*loss._unpack(vector)) - stop

    done.terminal = True
    start = np.concatenate([value.ravel(), score.ravel()])
    events = done if valid.number("stop", stop) > 0 else None
    options = {"method": "LSODA", "rtol": rtol, "atol": atol, "events": events}
    # A lambda: LSODA of scipy 1.15 counts the arguments of what it is given; jaxtyping's wrapper hides them.
    options["jac"] = lambda _, vector: -loss._hessian(*loss._unpack(vector))
    given_up = f"rtol is {rtol:g}, atol {atol:g}; the solver gave up at time "
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            solved = solve_ivp(velocity, (0, time), start, **options)
    except ValueError:  # here and in the loss: points that are not finite
        raise ValueError(given_up + "at which the blocks left the range of float64") from None
    if not solved.success or not np.isfinite(solved.y).all():
        raise ValueError(given_up + f"{solved.t[-1]:g}")
    points = [loss._unpack(vector) for vector in solved.y.T]
    scores, values = (np.array(x) for x in zip(*points, strict=True))
    return Flow(solved.t, scores, values, np.array([loss._loss(*point) for point in points]))


@checked
def outcome(flow: Flow, loss: MimickingLoss) -> str:
    """Where it ended: ``"manifold"`` (loss < 1e-10), ``"rest"`` (gradient < 1e-6) or ``"moving"``."""
    if flow.losses[-1] < 1e-10:
        return "manifold"
    gradients = loss.gradients(flow.scores[-1], flow.values[-1])
    return "rest" if max(np.abs(g).max() for g in gradients) < 1e-6 else "moving"
