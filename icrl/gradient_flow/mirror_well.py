"""The mirror well: where the flow of the Gaussian population loss comes to rest at a positive loss (ours).

With Gaussian features, rewards and parameters the mean over all tasks has a closed form, so nothing here is
sampled but starts. See :doc:`/book/teacher-mimicking`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from icrl import _validation as valid
from icrl._arguments import checked


@checked
@dataclass(frozen=True)
class GaussianLoss:
    """SARSA's teacher-mimicking loss, the mean over all windows of independent standard Gaussian entries.

    ``x = (phi, gamma phi_next, r)`` and ``w`` have independent standard normal ``phi``, ``phi_next``, ``r``,
    ``w``; a window holds ``n`` independent ``x``, with covariance ``D``. Then ``E[S M S]`` is
    ``D M D + (D M' D + tr(M D) D) / n``, and the loss is a polynomial in the two blocks.

    Args:
        num_features: ``d``.
        discount: ``gamma``, in ``(0, 1)``.
        num_transitions: ``n``.
        step_size: of the teacher.
    """

    num_features: int
    discount: float
    num_transitions: int
    step_size: float = 1.0

    def __post_init__(self):
        valid.count("num_features", self.num_features, 1)
        valid.count("num_transitions", self.num_transitions, 1)
        valid.probability("discount", self.discount)
        valid.positive("step_size", self.step_size)

    @cached_property
    def covariance(self) -> Float[np.ndarray, " m"]:
        """The diagonal of ``D``."""
        d = self.num_features
        return np.concatenate([np.ones(d), np.full(d, self.discount**2), [1.0]])

    @cached_property
    def teacher(self) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
        """``P*12, V*21``."""
        d = self.num_features
        score, value = np.zeros((2 * d + 1, d + 1)), np.zeros((d, 2 * d + 1))
        score[:d, 1:], score[d : 2 * d, 1:], score[2 * d, 0] = -np.eye(d), np.eye(d), 1
        value[:, :d] = self.step_size * np.eye(d)
        return score, value

    @cached_property
    def _spread(self):
        return np.diag(self.covariance)

    def _between(self, M):
        """``E[S M S]``."""
        D, n = self.covariance, self.num_transitions
        trace = np.einsum("...ii,i->...", M, D)[..., None, None]
        return D[:, None] * (M + M.swapaxes(-1, -2) / n) * D + self._spread * trace / n

    def point(self, score, value) -> tuple[np.ndarray, np.ndarray]:
        """Both blocks, checked."""
        shapes = [x.shape for x in self.teacher]
        score = valid.shaped("score", score, shapes[0], "as the teacher's")
        return score, valid.shaped("value", value, shapes[1], "as the teacher's")

    @checked
    def loss(self, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"]) -> float:
        """``1/2 E |(V21 S P12 - V*21 S P*12) w|^2``."""
        score, value = self.point(score, value)
        blocks = (score, value), self.teacher
        parts = [[np.vdot(v, u @ self._between(p @ s.T).T) for s, u in blocks] for p, v in blocks]
        return float(parts[0][0] - 2 * parts[0][1] + parts[1][1]) / 2

    @checked
    def gradients(
        self, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"]
    ) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
        """In ``score`` and in ``value``."""
        return self._gradients(*self.point(score, value))

    def _gradients(self, score, value):
        """Unchecked, of any number of points: a flow asks for them thousands of times."""
        other, target = self.teacher
        score_t, value_t = score.swapaxes(-1, -2), value.swapaxes(-1, -2)
        by_value = value @ self._between(score @ score_t) - target @ self._between(other @ score_t)
        by_score = self._between(value_t @ value) @ score - self._between(value_t @ target) @ other
        return by_score, by_value

    def _unpack(self, vector):
        """``score, value`` of vectors that hold ``value``, then ``score``."""
        d = self.num_features
        value, score = np.split(vector, [d * (2 * d + 1)], axis=-1)
        lead = vector.shape[:-1]
        return score.reshape(*lead, 2 * d + 1, d + 1), value.reshape(*lead, d, 2 * d + 1)

    def _velocity(self, vector):
        score, value = self._gradients(*self._unpack(vector))
        lead = *vector.shape[:-1], -1
        return -np.concatenate([value.reshape(lead), score.reshape(lead)], axis=-1)

    def _slopes(self, point, step=1e-4):
        """The Hessian by central differences of the gradient, a cubic: the error is of order ``step**2``."""
        steps = step * np.eye(len(point))
        return (self._velocity(point - steps) - self._velocity(point + steps)) / (2 * step)

    @checked
    def hessian(
        self, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"]
    ) -> Float[np.ndarray, "p p"]:
        """The second derivative, with an error of about 1e-8."""
        score, value = self.point(score, value)
        slopes = self._slopes(np.concatenate([value.ravel(), score.ravel()]))
        return (slopes + slopes.T) / 2

    @checked
    def follow(
        self,
        score: Float[np.ndarray, "m k"],
        value: Float[np.ndarray, "q m"],
        time: float,
        rtol: float = 1e-8,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both blocks at the end of a gradient flow of this length; ``rtol`` of the integration."""
        score, value = self.point(score, value)
        time, rtol = valid.positive("time", time), valid.positive("rtol", rtol)
        start = np.concatenate([value.ravel(), score.ravel()])
        options = {"method": "LSODA", "jac": lambda _, x: -self._slopes(x), "rtol": rtol, "atol": 1e-10}
        solved = solve_ivp(lambda _, x: self._velocity(x), (0, time), start, **options)
        return self._unpack(solved.y[:, -1])


REFLECTION = np.diag([1.0, -1.0])
"""One reflection of the plane; any other is as good."""


class Well(NamedTuple):
    """A point ``V21 = (a R, b R, 0)``, ``P12 = (p R, s R, 0)`` in the columns of ``w``, and its loss."""

    numbers: Float[np.ndarray, " 4"]
    score: Float[np.ndarray, "m k"]
    value: Float[np.ndarray, "q m"]
    loss: float


@checked
def mirrored(
    loss: GaussianLoss, numbers: Float[np.ndarray, " 4"], reflection: Float[np.ndarray, "2 2"] = REFLECTION
) -> tuple[Float[np.ndarray, "5 3"], Float[np.ndarray, "2 5"]]:
    """``score, value`` of the four numbers ``a, b, p, s``.

    Args:
        loss: with two features.
        numbers: ``a, b`` of the value and ``p, s`` of the score.
        reflection: ``R``, orthogonal with determinant -1.

    Raises:
        ValueError: not two features, or no reflection.
    """
    if loss.num_features != 2:
        raise ValueError(f"loss has {loss.num_features} features; the mirror well is known for 2")
    a, b, p, s = valid.shaped("numbers", numbers, (4,), "a, b, p, s")
    R = valid.shaped("reflection", reflection, (2, 2), "a matrix of the plane")
    if np.abs(R @ R.T - np.eye(2)).max() > 1e-9 or np.linalg.det(R) > 0:
        raise ValueError(f"reflection has determinant {np.linalg.det(R):g}; it must be orthogonal with -1")
    score, value = np.zeros((5, 3)), np.zeros((2, 5))
    score[:2, 1:], score[2:4, 1:] = p * R, s * R
    value[:, :2], value[:, 2:4] = a * R, b * R
    return score, value


@checked
def mirrored_loss(loss: GaussianLoss, numbers: Float[np.ndarray, " 4"]) -> float:
    """The loss at such a point, by hand: a polynomial in four numbers.

    With ``g = gamma**2``, ``u = a p + g b s``, ``t`` the teacher's step and ``l0`` the loss at zero it is
    ``l0 + (1 + 1/n) u**2 + (2/n) (a**2 + g b**2) (p**2 + g s**2) + 2 t u - (2 t / n) (g b - a) p``.
    """
    mirrored(loss, numbers)  # checks them
    return float(_at_zero(loss) + _above_zero(loss, numbers))


def _at_zero(loss):
    return loss.loss(*(0 * x for x in loss.teacher))


def _above_zero(loss, numbers):
    """Of the polynomial what depends on the numbers, unchecked: a search asks for it thousands of times."""
    a, b, p, s = numbers
    g, n, t = loss.discount**2, loss.num_transitions, loss.step_size
    u = a * p + g * b * s
    norms = (a**2 + g * b**2) * (p**2 + g * s**2)
    return (1 + 1 / n) * u**2 + 2 / n * norms + 2 * t * u - 2 * t / n * (g * b - a) * p


@checked
def mirror_well(loss: GaussianLoss) -> Well:
    """The lowest point of that shape, its value and its score of equal norms."""
    mirrored(loss, np.ones(4))  # checks the loss
    zero = _at_zero(loss)

    def height(x):
        return zero + _above_zero(loss, x)

    found = [minimize(height, x, tol=1e-14) for x in np.random.default_rng(0).normal(size=(6, 4))]
    a, b, p, s = min(found, key=lambda result: result.fun).x
    stretch = (np.hypot(p, s) / np.hypot(a, b)) ** 0.5
    point = np.array([a * stretch, b * stretch, p / stretch, s / stretch])
    for _ in range(3):  # Newton's steps, off the direction of scaling
        vector = _vector(*mirrored(loss, point))
        basis = np.array([_vector(*mirrored(loss, e)) for e in np.eye(4)])
        slope, slopes = -basis @ loss._velocity(vector), basis @ loss._slopes(vector) @ basis.T
        point = point - np.linalg.pinv(slopes, rcond=1e-6) @ slope
    return Well(point, *mirrored(loss, point), float(height(point)))


def _vector(score, value):
    return np.concatenate([value.ravel(), score.ravel()])
