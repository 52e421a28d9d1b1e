"""Policies: what turns action values or preferences into behaviour. See :doc:`/book/actor-critic`."""

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid


def epsilon_greedy(q: Float[np.ndarray, "*b S A"], epsilon: float) -> Float[np.ndarray, "*b S A"]:
    """The policy that is greedy with probability ``1 - epsilon`` and uniform otherwise.

    Actions of exactly equal value share the greedy part: without that, a policy on zeros would always
    choose action 0.

    Args:
        q: ``(*batch, S, A)`` action values.
        epsilon: in ``[0, 1]``.

    Returns:
        ``(*batch, S, A)``, rows sum to 1.
    """
    q = valid.array("q", q)
    if q.ndim < 2:
        raise ValueError(f"q has shape {q.shape}; it must be (*batch, S, A)")
    epsilon = valid.number("epsilon", epsilon)
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon is {epsilon:g}; it must lie in [0, 1]")
    best = q == q.max(axis=-1, keepdims=True)
    greedy = best / best.sum(axis=-1, keepdims=True)
    return (1 - epsilon) * greedy + epsilon / q.shape[-1]


def softmax_policy(
    policy_weights: Float[np.ndarray, "*b k"], policy_features: Float[np.ndarray, "S A k"]
) -> Float[np.ndarray, "*b S A"]:
    """The policy ``pi(a|s)`` proportional to ``exp(lambda . phi_pi(s, a))``, Liang and Lai (2026), eq. (3).

    Finite for preferences of any size; probabilities below the smallest float are 0.

    Args:
        policy_weights: ``(*batch, k)``, ``lambda``.
        policy_features: ``(S, A, k)``, ``phi_pi``.

    Returns:
        ``(*batch, S, A)``, rows sum to 1.
    """
    features = valid.array("policy_features", policy_features, 3)
    weights = valid.array("policy_weights", policy_weights)
    if weights.ndim == 0 or weights.shape[-1] != features.shape[-1]:
        raise ValueError(
            f"policy_weights has shape {weights.shape}; it must be (*batch, {features.shape[-1]}), one entry "
            "for each feature of policy_features"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # refused in the next line
        preferences = np.einsum("sak,...k->...sa", features, weights)
    if not np.isfinite(preferences).all():
        raise ValueError("policy_weights . policy_features overflows; preferences must be finite")
    from scipy.special import softmax  # here, or `import icrl` takes longer

    return softmax(preferences, axis=-1)


def softmax_score(
    policy_weights: Float[np.ndarray, "*b k"], policy_features: Float[np.ndarray, "S A k"]
) -> Float[np.ndarray, "*b S A k"]:
    """The score ``g(s, a)``, the gradient of ``log pi(a|s)`` in ``lambda``.

    It is ``phi_pi(s, a)`` minus its mean under the policy, so its own mean under the policy is 0 in every
    state. Arguments as in :func:`softmax_policy`. Returns ``(*batch, S, A, k)``.
    """
    policy = softmax_policy(policy_weights, policy_features)
    features = valid.array("policy_features", policy_features, 3)
    return features - np.einsum("...sa,sak->...sk", policy, features)[..., None, :]
