"""The certificate of priced TD: what a context proves about its estimates. See :doc:`/book/depth`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl import contraction, softmax_td
from icrl._arguments import checked
from icrl.depth.chains import dobrushin


@dataclass(frozen=True, eq=False)
class PricedCertificate:
    """What a context proves about the estimates of ``num_layers`` of softmax TD and the layer that prices.

    With probability at least ``1 - delta`` over the context, ``|v(s) - truth(s)| <= bound`` at every visited
    state ``s``; see :func:`icrl.contraction.certificate`, whose ``floor`` it is.

    Attributes:
        rate: ``tau_1(I - alpha M (I - gamma P))``: no span of an error grows by more in a layer.
        initial: span of the certainty-equivalence value, the span of the first error.
        open_end: ``gamma / (n (1 - gamma))`` if the context does not end where it began, else 0.
        floor: what the samples leave open.
        bound: ``(1 + open_end) rate**num_layers initial + floor``.
        distance: the largest distance to the certainty-equivalence value itself; ``distance + floor`` is a
            bound too, and never the worse one.
        plain: the certificate of as many layers of softmax TD, ``num_layers + 1``.
    """

    rate: float
    initial: float
    open_end: float
    floor: float
    bound: float
    distance: float
    plain: contraction.Certificate


@checked(finite=False)
def priced_certificate(
    features: Float[np.ndarray, "S d"],
    states: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    reward_range: Sequence[float | int] | Float[np.ndarray, "2"],
    num_layers: int,
    delta: float,
    step_size: float = 1.0,
) -> PricedCertificate:
    """Bound the error of priced TD from its context; arguments as in :func:`icrl.contraction.certificate`.

    Args:
        num_layers: ``L >= 1``, layers of softmax TD before the one that prices.

    Raises:
        ValueError: as there; no layer.
    """
    num_layers = valid.count("num_layers", num_layers, 1)
    plain = contraction.certificate(
        features, states, rewards, discount, reward_range, num_layers + 1, delta, step_size
    )
    features, states, rewards = valid.context(features, states, rewards)
    matrix = softmax_td.iteration_matrix(features, states, discount, step_size)
    n, ends = len(rewards), np.searchsorted(plain.visited, states[[0, -1]])
    open_end = discount / (n * (1 - discount)) if ends[0] != ends[1] else 0.0
    rate, initial = dobrushin(matrix), float(np.ptp(plain.estimate))
    # What the averaging layer subtracts of an error e: its mean over the sources, and the open end.
    weights = plain.visits / n
    weights[ends[1]] -= open_end
    weights[ends[0]] += open_end
    with np.errstate(over="ignore", invalid="ignore"):
        decayed = float(np.float64(rate) ** num_layers * initial) if initial else 0.0
        error = np.linalg.matrix_power(matrix, num_layers) @ -plain.estimate
        distance = float(np.abs(error - weights @ error).max())
    return PricedCertificate(
        rate=rate,
        initial=initial,
        open_end=open_end,
        floor=plain.floor,
        bound=(1 + open_end) * decayed + plain.floor,
        distance=distance if np.isfinite(distance) else np.inf,
        plain=plain,
    )
