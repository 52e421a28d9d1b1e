"""What layers can buy: minimax errors, the price of the constant direction, momentum, doubled paths.

The study behind :doc:`/book/depth`; what the chapter calls. The price head, layers of TD and then one that
averages, is :func:`icrl.softmax_transformer.priced_td_weights`, of the core, and can be had here too.
"""

from icrl.depth.certificate import PricedCertificate, priced_certificate
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
from icrl.depth.other_prices import own_price_weights, price_first_weights
from icrl.depth.plane import Plane, plane
from icrl.depth.trained import layer_focus, layer_gains, missed, sharp, trained_layer_rows
from icrl.softmax_transformer import priced_td_weights

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
    "layer_focus",
    "layer_gains",
    "lazy_cycle",
    "missed",
    "momentum_converges",
    "momentum_prompt",
    "momentum_weights",
    "own_price_polynomial",
    "own_price_weights",
    "plane",
    "price_first_weights",
    "priced_certificate",
    "priced_td_weights",
    "sharp",
    "squared_errors",
    "td_polynomial",
    "trained_layer_rows",
    "worth_a_layer",
]
