"""The norm-of-expected-update loss: sampled or enumerated (:mod:`~icrl.neu.loss`), and in closed form
where contexts are endless or layers many (:mod:`~icrl.neu.limits`), which a literal pass over endless
contexts checks (:mod:`~icrl.neu.endless`); depth and length together (:mod:`~icrl.neu.joint`)."""

from icrl.neu.endless import endless_pass
from icrl.neu.joint import CountMoments, joint_slope, moments_by_counts, pair_entries
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
    "CountMoments",
    "LimitGradient",
    "TaskDistribution",
    "Terms",
    "Windows",
    "asymptotics",
    "construction_gradient",
    "endless_pass",
    "joint_slope",
    "limit_gradient",
    "limit_update",
    "moments_by_counts",
    "neu_terms",
    "own_entries",
    "pair_entries",
    "squared_norm",
]
