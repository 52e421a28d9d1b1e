"""The norm-of-expected-update loss: sampled or enumerated (:mod:`~icrl.neu.loss`), and in closed form
where contexts are endless or layers many (:mod:`~icrl.neu.limits`); the two share no derivative."""

from icrl.neu.limits import (
    Asymptotics,
    LimitGradient,
    asymptotics,
    limit_gradient,
    limit_update,
)
from icrl.neu.loss import (
    LARGEST_ENUMERATION,
    TaskDistribution,
    Terms,
    Windows,
    construction_gradient,
    neu_terms,
    own_entries,
    squared_norm,
)

__all__ = [
    "LARGEST_ENUMERATION",
    "Asymptotics",
    "LimitGradient",
    "TaskDistribution",
    "Terms",
    "Windows",
    "asymptotics",
    "construction_gradient",
    "limit_gradient",
    "limit_update",
    "neu_terms",
    "own_entries",
    "squared_norm",
]
