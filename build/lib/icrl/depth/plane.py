"""Two errors of a network on a distribution of worlds: on constants, and on differences between states.

Where attention is focused and the chain is known, a network with the polynomial ``p`` and the gain ``w`` on
the mean reward says ``p(gamma P)(r - mean) + w mean``. Ours; see :doc:`/book/depth`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess


class Plane(NamedTuple):
    """Second moments of ``(gamma P)^k (r - mean)``, over worlds and states with stationary weights.

    ``gram (K, K)`` among each other, ``cross (K,)`` with the true differences of values, ``total``: of those.
    """

    discount: float
    gram: Float[np.ndarray, "K K"]
    cross: Float[np.ndarray, " K"]
    total: float

    def point(
        self, coefficients: Float[np.ndarray, " L"], mean_gain: float | None = None
    ) -> tuple[float, float]:
        """Share of a constant that is missed, and root mean square share of the differences.

        Without ``mean_gain`` the network does not average: its gain is ``p(gamma)``.
        """
        p = self._coefficients(coefficients)
        gain = np.polyval(p[::-1], self.discount) if mean_gain is None else mean_gain
        k = len(p)
        square = p @ self.gram[:k, :k] @ p - 2 * p @ self.cross[:k] + self.total
        return abs(1 - (1 - self.discount) * gain), float(np.sqrt(max(square, 0) / self.total))

    def best(self, length: int, gain: float | None = None) -> Float[np.ndarray, " L"]:
        """The best polynomial for the differences, of all or of those with ``p(gamma) = gain``."""
        k = valid.count("length", length, 1)
        self._coefficients(np.zeros(k))
        if gain is None:
            return np.linalg.solve(self.gram[:k, :k], self.cross[:k])
        powers = self.discount ** np.arange(k)
        system = np.block([[self.gram[:k, :k], powers[:, None]], [powers, np.zeros(1)]])
        return np.linalg.solve(system, np.append(self.cross[:k], gain))[:k]

    def _coefficients(self, value):
        p = valid.array("coefficients", value, 1)
        if len(p) > len(self.cross):
            raise ValueError(f"coefficients has length {len(p)}; this plane knows {len(self.cross)} powers")
        return p


@checked
def plane(worlds: list[MarkovRewardProcess], num_powers: int) -> Plane:
    """The moments of these worlds, all with one discount and one closed class."""
    count = valid.count("num_powers", num_powers, 1)
    if not worlds or len({process.discount for process in worlds}) > 1:
        raise ValueError(f"worlds holds {len(worlds)} processes; give at least one, all of one discount")
    moments = np.zeros((count + 1, count + 1))
    for process in worlds:
        share = process.stationary_distribution()
        columns = [process.reward - share @ process.reward]
        for _ in range(count - 1):
            columns.append(process.discount * process.transition @ columns[-1])
        value = process.value()
        columns = np.column_stack([*columns, value - share @ value])
        moments += columns.T @ (share[:, None] * columns)
    return Plane(worlds[0].discount, moments[:-1, :-1], moments[:-1, -1], float(moments[-1, -1]))
