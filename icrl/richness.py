"""What a set of training tasks identifies: null directions, spectrum, and where the flow lands (ours).

Beside the richness Assumption 1 of Liang and Lai (2026), Theorem 3.2. See :doc:`/book/gradient-flow`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl.gradient_flow import MimickingLoss, mimicking_loss
from icrl.linear_transformer import sarsa_prompt, sarsa_weights

NULL = 1e-8  # a singular value below this share of the largest counts as zero


@dataclass(frozen=True)
class Richness:
    """What a set of tasks says about the teacher, measured at ``(c P*12, V*21 / c)``.

    Attributes:
        spectrum: eigenvalues of the Hessian, falling; those counted as null are exactly 0.
        null_dimension: how many are null.
        scaling_angle: angle in radians between the scaling direction and the null space.
        data_null: ``(m, nu)``, orthonormal ``z`` with ``S_t z = 0`` for every task.
        parameter_null: ``(k, omega)``, orthonormal ``u`` with ``u' w_t = 0`` for every task.
        directions: ``(null_dimension - 1, p)``, the null directions beside scaling, orthonormal;
            :meth:`icrl.gradient_flow.MimickingLoss.unpack` turns one into blocks.
        span: dimension of the span of ``S_t (x) w_t``.
        full_span: what it is when nothing is tied: ``k m (m + 1) / 2``.

    See :doc:`/book/gradient-flow`.
    """

    spectrum: Float[np.ndarray, " p"]
    null_dimension: int
    scaling_angle: float
    data_null: Float[np.ndarray, "m nu"]
    parameter_null: Float[np.ndarray, "k omega"]
    directions: Float[np.ndarray, "free p"]
    span: int
    full_span: int
    shape: tuple[int, int, int]

    @property
    def identifiable(self) -> bool:
        """Whether nothing but the scale is free."""
        return self.null_dimension == 1

    @property
    def predicted(self) -> int:
        """``1 + nu q + nu k + omega (m - nu)``: scaling, and what the two null spaces leave free."""
        m, k, q = self.shape
        nu, omega = self.data_null.shape[1], self.parameter_null.shape[1]
        return 1 + nu * (q + k) + omega * (m - nu)

    @property
    def gap(self) -> float:
        """The smallest eigenvalue above 0. Beside this point the loss falls like ``exp(-2 gap t)``."""
        return float(self.spectrum[len(self.spectrum) - self.null_dimension - 1])

    @property
    def condition(self) -> float:
        """Largest eigenvalue over the gap."""
        return float(self.spectrum[0] / self.gap)


def richness(loss: MimickingLoss, scale: float = 1.0) -> Richness:
    """Which directions a set of tasks leaves free at the teacher; run it on *your* task distribution.

    Args:
        loss: the tasks, for instance of :func:`icrl.gradient_flow.mimicking_loss`; at least as many as
            there are entries to learn, or the sample itself leaves directions free.
        scale: ``c``, where on the manifold to look. The count does not depend on it, the gap does.

    Raises:
        ValueError: the teacher's update is zero on every task: there is nothing to learn.
    """
    score, value = loss.on_manifold(scale)
    if not np.abs(loss._target).max() > 0:
        raise ValueError("teacher_value S_t teacher_score w_t is 0 for every task; there is nothing to learn")
    (tasks, m, _), k, q = loss.moments.shape, score.shape[1], len(value)
    _, singular, rows = np.linalg.svd(loss.jacobian(score, value), full_matrices=True)
    size = value.size + score.size
    singular = np.append(singular, np.zeros(size - len(singular)))
    rank = int((singular > NULL * singular[0]).sum())
    free = rows[rank:]
    scaling = np.concatenate([value.ravel(), -score.ravel()])
    scaling /= np.linalg.norm(scaling)
    outside = np.linalg.norm(rows[:rank] @ scaling)
    others = free - np.outer(free @ scaling, scaling)
    directions = np.linalg.svd(others)[2][: len(free) - 1]
    upper = np.triu_indices(m)
    products = loss.moments[:, *upper][:, :, None] * loss.parameters[:, None]
    return Richness(
        np.append(singular[:rank] ** 2, np.zeros(size - rank)),
        size - rank,
        float(np.arcsin(min(1.0, outside))),
        _null_space(loss.moments.mean(axis=0)),
        _null_space(loss.parameters.T @ loss.parameters / tasks),
        directions,
        int(np.linalg.matrix_rank(products.reshape(tasks, -1), rtol=NULL)),
        m * (m + 1) // 2 * k,
        (m, k, q),
    )


def _null_space(matrix):
    """Orthonormal null vectors of a positive semi-definite matrix, in columns."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors[:, values <= 1e-12 * max(values[-1], np.finfo(float).tiny)]


def landing_point(
    loss: MimickingLoss, score: Float[np.ndarray, "m k"], value: Float[np.ndarray, "q m"], sign: int = 1
) -> tuple[float, Float[np.ndarray, "m k"], Float[np.ndarray, "q m"]]:
    """Where on the manifold a flow from this start lands, if it lands there: ``c``, ``P12``, ``V21``.

    What the tasks cannot see stays as it is; what they see keeps ``|V21|^2 - |P12|^2``, which fixes ``c^2``.

    Args:
        loss: the tasks.
        score: ``P12`` at the start.
        value: ``V21`` at the start.
        sign: of ``c``: 1 or -1. The laws do not decide it.

    Raises:
        ValueError: the tasks leave more free than scaling and their two null spaces explain.

    See :doc:`/book/gradient-flow`.
    """
    score, value = loss.point(score, value)
    if sign not in (1, -1):
        raise ValueError(f"sign is {sign!r}; it must be 1 or -1")
    seen = richness(loss)
    if seen.null_dimension != seen.predicted:
        extra = seen.null_dimension - seen.predicted
        raise ValueError(
            f"loss leaves {seen.null_dimension} directions free, {extra} more than scaling and its null "
            "vectors explain (see richness(loss).directions); the landing point is not determined"
        )
    data, columns = (np.eye(len(z)) - z @ z.T for z in (seen.data_null, seen.parameter_null))
    target_score, target_value = data @ loss.teacher_score @ columns, loss.teacher_value @ data
    seen_score, seen_value = data @ score @ columns, value @ data
    balance = (seen_value**2).sum() - (seen_score**2).sum()
    p, v = (target_score**2).sum(), (target_value**2).sum()
    # The positive root of p c^4 + balance c^2 - v = 0, in the form that does not cancel.
    root = np.sqrt(balance**2 + 4 * p * v)
    square = 2 * v / (balance + root) if balance > 0 else (root - balance) / (2 * p)
    scale = float(sign * np.sqrt(square))
    return (
        scale,
        scale * target_score + score - seen_score,
        target_value / scale + value - seen_value,
    )


KINDS = ("gaussian", "one-hot", "copied", "ended", "two discounts")


def random_tasks(
    kind: str,
    num_features: int,
    num_tasks: int,
    rng: np.random.Generator,
    *,
    num_transitions: int = 10,
    step_size: float = 1.0,
    discount: float = 0.8,
) -> MimickingLoss:
    """SARSA tasks with independent transitions, rewards and parameters, all Gaussian but the features.

    Args:
        kind: of the features: ``"gaussian"``; ``"one-hot"``, every pair of successors possible;
            ``"copied"``, Gaussian with the last feature a copy of the first; ``"ended"``, one-hot with
            three in ten transitions the last of their episode; ``"two discounts"``, one-hot with half the
            discount in every other task.
        num_features: ``d``, at least 2 unless Gaussian.
        num_tasks: how many.
        rng: where randomness comes from.
        num_transitions: ``n``, in each task's window.
        step_size: of the teacher.
        discount: ``gamma``.

    See :doc:`/book/gradient-flow`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    d = valid.count("num_features", num_features, 1 if kind == "gaussian" else 2)
    tasks = valid.count("num_tasks", num_tasks, 1)
    n = valid.count("num_transitions", num_transitions, 1)
    if kind in ("gaussian", "copied"):
        phi, phi_next = rng.normal(size=(2, tasks, n, d))
        if kind == "copied":
            phi[..., -1], phi_next[..., -1] = phi[..., 0], phi_next[..., 0]
    else:
        phi, phi_next = np.eye(d)[rng.integers(d, size=(2, tasks, n))]
    if kind == "ended":
        phi_next = phi_next * (rng.random((tasks, n, 1)) >= 0.3)
    if kind == "two discounts":
        phi_next[::2] /= 2
    weights, rewards = rng.normal(size=(tasks, d)), rng.normal(size=(tasks, n))
    prompts = sarsa_prompt(weights, phi, phi_next, rewards, discount)
    return mimicking_loss(prompts, *sarsa_weights(d, step_size))
