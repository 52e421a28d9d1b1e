"""Every statement of the book with the check that backs it; ``python -m icrl`` runs them all.

Nothing in the package imports this. Modules are named as their chapters (a long chapter has two or three),
and collected in ``CLAIMS``; ``CLAIMS["theorem-1-shift"].check(rng)`` runs one.
"""

from icrl.claims.registry import Claim, Claims, Evidence, table


def __getattr__(name):
    """All claims, when they are asked for: a chapter that takes its own does not load the other rooms."""
    if name != "CLAIMS":
        raise AttributeError(f"module 'icrl.claims' has no attribute {name!r}")
    from icrl.claims import (
        actor_critic,
        certificate,
        contraction,
        control,
        depth,
        depth_optima,
        divergence,
        emergence,
        emergence_findings,
        flow_rates,
        global_minimizer,
        gradient_flow,
        long_contexts,
        passes,
        rollouts,
        safe_chains,
        sarsa,
        softmax_control,
        softmax_transformer,
        standard_transformer,
        teacher_mimicking,
        theorem_2,
        weighted_softmax_td,
    )

    globals()[name] = Claims(
        *weighted_softmax_td.CLAIMS,
        *softmax_transformer.CLAIMS,
        *theorem_2.CLAIMS,
        *contraction.CLAIMS,
        *certificate.CLAIMS,
        *divergence.CLAIMS,
        *safe_chains.CLAIMS,
        *global_minimizer.CLAIMS,
        *long_contexts.CLAIMS,
        *emergence.CLAIMS,
        *emergence_findings.CLAIMS,
        *sarsa.CLAIMS,
        *actor_critic.CLAIMS,
        *gradient_flow.CLAIMS,
        *flow_rates.CLAIMS,
        *teacher_mimicking.CLAIMS,
        *control.CLAIMS,
        *rollouts.CLAIMS,
        *depth.CLAIMS,
        *depth_optima.CLAIMS,
        *softmax_control.CLAIMS,
        *passes.CLAIMS,
        *standard_transformer.CLAIMS,
    )
    return globals()[name]


__all__ = ["CLAIMS", "Claim", "Claims", "Evidence", "table"]
