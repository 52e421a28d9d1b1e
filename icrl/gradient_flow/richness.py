"""What a set of training tasks identifies: null directions, spectrum, and where the flow lands (ours).

Beside the richness Assumption 1 of Liang and Lai (2026), Theorem 3.2. See :doc:`/book/gradient-flow`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from icrl._arguments import checked
from icrl.gradient_flow.flow import MimickingLoss

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
            :meth:`icrl.gradient_flow.flow.MimickingLoss.unpack` turns one into blocks.
        span: dimension of the span of ``S_t (x) w_t``.
        full_span: what it is when nothing is tied: ``k m (m + 1) / 2``.
        margin: ``chi``, smallest singular value on ``Sym_m (x) R^k`` of the ``S_t (x) w_t / sqrt(T)``:
            the update of blocks of norms ``a, b`` has root mean square at least ``a b chi / sqrt(2)``.
        unexplained: ``(null_dimension - predicted, p)``, null directions beyond scaling and what the two
            null spaces leave free, orthonormal; empty if the tasks are rich off those.

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
    margin: float
    unexplained: Float[np.ndarray, "u p"]
    shape: tuple[int, int, int]

    @property
    def identifiable(self) -> bool:
        """Whether nothing but the scale is free."""
        return self.null_dimension == 1

    @property
    def rich(self) -> bool:
        """Whether ``S_t (x) w_t`` span everything, as the theorem asks."""
        return self.span == self.full_span

    @property
    def predicted(self) -> int:
        """Scaling, and what the two null spaces leave free, ``1 + nu q + nu k + omega (m - nu)``."""
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

    def describe(self) -> str:
        """What is free and why, in words: vectors no task shows, then single entries."""
        if self.identifiable:
            return f"identifiable: only the scale is free; gap {self.gap:.2g}, condition {self.condition:.2g}"
        lines = [f"not identifiable: {self.null_dimension} directions are free, one of them the scale"]
        for letter, null, what in (
            ("x", self.data_null, "moments annihilate"),
            ("w", self.parameter_null, "parameters are orthogonal to"),
        ):
            lines += [f"all {what} {_combination(letter, z)}" for z in _readable(null)]
        if len(self.unexplained):
            lines.append(f"{len(self.unexplained)} beyond these, for instance {self._leading()}")
        return "\n".join(lines)

    def _leading(self):
        """The unexplained direction with the largest single entry, by its four largest entries."""
        sizes = (self.unexplained**2).sum(axis=0)
        vector = self.unexplained.T @ self.unexplained[:, sizes.argmax()]
        vector /= np.linalg.norm(vector)
        (m, k, q), parts = self.shape, []
        for index in np.argsort(-np.abs(vector), kind="stable")[:4]:
            block, size, wide = ("V21", index, m) if index < q * m else ("P12", index - q * m, k)
            parts.append(f"{block}[{size // wide}, {size % wide}] {vector[index]:+.2f}")
        return ", ".join(parts)


@checked
def richness(loss: MimickingLoss, scale: float = 1.0) -> Richness:
    """Which directions a set of tasks leaves free at the teacher; run it on *your* task distribution.

    Args:
        loss: the tasks, for instance of :func:`icrl.gradient_flow.flow.mimicking_loss`. If ``T q`` is less
            than the number of entries to learn less one, the sample itself leaves directions free; if ``T``
            is less than ``k m (m + 1) / 2``, the tasks are not rich, whatever they are.
        scale: ``c``, where on the manifold to look. The count does not depend on it, the gap does.

    Raises:
        ValueError: the teacher's update is zero on every task: there is nothing to learn.
    """
    score, value = loss.on_manifold(scale)
    if not np.abs(loss._target).max() > 0:
        raise ValueError("teacher_value S_t teacher_score w_t is 0 for every task; there is nothing to learn")
    (tasks, m, _), k, q = loss.moments.shape, score.shape[1], len(value)
    size, jacobian = value.size + score.size, loss.jacobian(score, value)
    if len(jacobian) > size:  # the same singular values and rows, from a small matrix
        jacobian = np.linalg.qr(jacobian, mode="r")
    _, singular, rows = np.linalg.svd(jacobian, full_matrices=True)
    singular = np.append(singular, np.zeros(size - len(singular)))
    rank = int((singular > NULL * singular[0]).sum())
    free = rows[rank:]
    scaling = np.concatenate([value.ravel(), -score.ravel()])
    scaling /= np.linalg.norm(scaling)
    outside = np.linalg.norm(rows[:rank] @ scaling)
    others = free - np.outer(free @ scaling, scaling)
    directions = np.linalg.svd(others)[2][: len(free) - 1]
    upper = np.triu_indices(m)
    entries = loss.moments[:, *upper] * np.where(upper[0] == upper[1], 1, np.sqrt(2))  # keeps the norm
    products = (entries[:, :, None] * loss.parameters[:, None]).reshape(tasks, -1) / np.sqrt(tasks)
    stretch = np.linalg.svd(products, compute_uv=False)
    span, full = int((stretch > NULL * stretch[0]).sum()), products.shape[1]
    data = _null_space(loss.moments.mean(axis=0))
    columns = _null_space(loss.parameters.T @ loss.parameters / tasks)
    explained = [
        scaling[None],
        np.pad(np.kron(np.eye(q), data.T), ((0, 0), (0, score.size))),
        np.pad(np.kron(data.T, np.eye(k)), ((0, 0), (value.size, 0))),
        np.pad(np.kron(np.eye(m), columns.T), ((0, 0), (value.size, 0))),
    ]
    basis = np.linalg.svd(np.concatenate(explained).T, full_matrices=False)
    basis = basis[0][:, basis[1] > 1e-10 * basis[1][0]]
    extra = max(0, len(free) - basis.shape[1])
    return Richness(
        np.append(singular[:rank] ** 2, np.zeros(size - rank)),
        size - rank,
        float(np.arcsin(min(1.0, outside))),
        data,
        columns,
        directions,
        span,
        full,
        float(stretch[-1]) if span == full else 0.0,
        np.linalg.svd(free - free @ basis @ basis.T)[2][:extra],
        (m, k, q),
    )


def _null_space(matrix):
    """Orthonormal null vectors of a positive semi-definite matrix, in columns."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors[:, values <= 1e-12 * max(values[-1], np.finfo(float).tiny)]


def _readable(null):
    """The same span in reduced row echelon form, one vector a row: few entries, the first of each 1."""
    rows = null.T.copy()
    for row, _ in enumerate(rows):
        column = np.argmax(np.abs(rows[row:]).max(axis=0) > 1e-6)
        best = row + np.abs(rows[row:, column]).argmax()
        rows[[row, best]] = rows[[best, row]]
        rows[row] /= rows[row, column]
        others = np.arange(len(rows)) != row
        rows[others] -= np.outer(rows[others, column], rows[row])
    return rows


def _combination(letter, vector):
    """``x0 + x1 - 1.25 x2`` for ``(1, 1, -1.25, 0)``."""
    parts = []
    for index in np.flatnonzero(np.abs(vector) > 1e-6):
        size = "" if abs(abs(vector[index]) - 1) < 1e-6 else f"{abs(vector[index]):.3g} "
        parts.append(f"{'-' if vector[index] < 0 else '+'} {size}{letter}{index}")
    return " ".join(parts).removeprefix("+ ")


@checked
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
            f"vectors explain, for instance {seen._leading()} (all in richness(loss).unexplained); "
            "the landing point is not determined"
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
