"""What layers can buy: minimax errors, the price of the constant direction, momentum, doubled paths.

The study behind :doc:`/book/depth`; what the chapter calls.
"""

from icrl.depth.chains import cycle, de_bruijn, deviation_norm, dobrushin, lazy_cycle
from icrl.depth.doubling import doubling_prompt, doubling_weights
from icrl.depth.measure import HEADS, Estimates, estimates, squared_errors
from icrl.depth.minimax import (
    Best,
    best_on_chain,
    best_on_circle,
    circle_polynomial,
    own_price_polynomial,
    td_polynomial,
    worth_a_layer,
)
from icrl.depth.momentum import (
    chebyshev_error,
    chebyshev_steps,
    momentum_converges,
    momentum_prompt,
    momentum_weights,
)
from icrl.depth.plane import Plane, plane
from icrl.depth.price import (
    PricedCertificate,
    own_price_weights,
    price_first_weights,
    priced_certificate,
)
from icrl.depth.trained import layer_gains, sharp, trained_layer_rows

__all__ = [
    "HEADS",
    "Best",
    "Estimates",
    "Plane",
    "PricedCertificate",
    "best_on_chain",
    "best_on_circle",
    "chebyshev_error",
    "chebyshev_steps",
    "circle_polynomial",
    "cycle",
    "de_bruijn",
    "deviation_norm",
    "dobrushin",
    "doubling_prompt",
    "doubling_weights",
    "estimates",
    "layer_gains",
    "lazy_cycle",
    "momentum_converges",
    "momentum_prompt",
    "momentum_weights",
    "own_price_polynomial",
    "own_price_weights",
    "plane",
    "price_first_weights",
    "priced_certificate",
    "sharp",
    "squared_errors",
    "td_polynomial",
    "trained_layer_rows",
    "worth_a_layer",
]
