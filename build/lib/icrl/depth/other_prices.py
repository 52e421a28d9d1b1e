"""The price in other places than last, the rivals of the price head. **The price head itself is core:**
:func:`icrl.softmax_transformer.priced_td_weights`, beside the weights of Theorem 1.

Its plain loop is :func:`icrl.softmax_td.priced_softmax_td`. See :doc:`/book/depth`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from icrl import _validation as valid
from icrl.softmax_transformer import priced_td_weights, softmax_td_weights


def price_first_weights(
    num_features: int,
    num_layers: int,
    discount: float,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> tuple[Float[Tensor, "M D D"], Float[Tensor, "M D D"]]:
    """The averaging layer first, then ``num_layers`` of softmax TD; arguments and result as for the last.

    From empty memories the first layer writes the price ``mean reward / (1 - gamma)`` into every column.
    """
    value, score = priced_td_weights(num_features, num_layers, discount, step_size)
    return value.roll(1, 0), score.roll(1, 0)


def own_price_weights(
    num_features: int, num_layers: int, discount: float
) -> tuple[Float[Tensor, "L D D"], Float[Tensor, "D D"]]:
    """``num_layers`` of softmax TD of which the first reads its reward times ``1 / (1 - gamma)``.

    Exact on constant rewards without any averaging: every state prices its own reward.
    """
    priced, _ = priced_td_weights(num_features, 1, discount)  # refuses what cannot be priced
    value, score = softmax_td_weights(num_features, np.ones(valid.count("num_layers", num_layers, 1)))
    value[0, -1, -3] = priced[-1, -1, -3]
    return value, score
