"""Every statement of the book with the check that backs it; ``python -m icrl`` runs them all.

Nothing in the package imports this. One module for each chapter, collected in ``CLAIMS``.
"""

from icrl.claims import (
    actor_critic,
    certificate,
    contraction,
    control,
    depth,
    depth_optima,
    divergence,
    flow_rates,
    gradient_flow,
    mdp,
    neu,
    pretraining,
    sarsa,
    softmax_td,
    softmax_transformer,
)
from icrl.claims.registry import Claim, Evidence, table

CLAIMS: tuple[Claim, ...] = (
    softmax_td.CLAIMS
    + softmax_transformer.CLAIMS
    + contraction.CLAIMS
    + certificate.CLAIMS
    + divergence.CLAIMS
    + neu.CLAIMS
    + pretraining.CLAIMS
    + mdp.CLAIMS
    + sarsa.CLAIMS
    + actor_critic.CLAIMS
    + gradient_flow.CLAIMS
    + flow_rates.CLAIMS
    + control.CLAIMS
    + depth.CLAIMS
    + depth_optima.CLAIMS
)

__all__ = ["CLAIMS", "Claim", "Evidence", "table"]
