"""Policy improvement as plain loops: what the linear transformer is compared with.

Nothing here calls attention or torch. A window holds ``n`` transitions, transition ``i`` with the features
``phi[i]`` of the pair it leaves, ``phi_next[i]`` of the pair it reaches (zero where the episode ends there)
and ``rewards[i]``. Source: Liang and Lai (2026), eqs. (2), (3); see :doc:`/book/sarsa`.
"""

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def sarsa_update(
    weights: Float[np.ndarray, " d"],
    phi: Float[np.ndarray, "n d"],
    phi_next: Float[np.ndarray, "n d"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    step_size: float,
) -> Float[np.ndarray, " d"]:
    """One batch semi-gradient SARSA step, eq. (2) of Liang and Lai (2026).

    ``w + (alpha/n) sum_i (r_{i+1} + gamma w'phi_next_i - w'phi_i) phi_i``.

    Args:
        weights: ``w``, ``(d,)``; the action value of a pair is the inner product of ``w`` and its features.
        phi: ``(n, d)``.
        phi_next: ``(n, d)``; a zero row where the episode ends.
        rewards: ``(n,)``.
        discount: ``gamma`` in ``[0, 1)``.
        step_size: ``alpha > 0``.

    Returns:
        The new weights ``(d,)``. See :doc:`/book/sarsa`.
    """
    weights, phi, phi_next, rewards = _window(weights, phi, phi_next, rewards)
    discount, alpha = valid.discount(discount), valid.positive("step_size", step_size)
    update, ahead = np.zeros(len(weights)), discount * weights
    for x, x_next, reward in zip(phi, phi_next, rewards, strict=True):
        td_error = reward + ahead @ x_next - weights @ x
        update += td_error * x
    return valid.in_range(weights + alpha * update / len(rewards), "phi, rewards or weights", "the update")


@np.errstate(over="ignore", invalid="ignore")  # refused by name
def actor_critic_update(
    weights: Float[np.ndarray, " d"],
    policy_weights: Float[np.ndarray, " k"],
    phi: Float[np.ndarray, "n d"],
    phi_next: Float[np.ndarray, "n d"],
    rewards: Float[np.ndarray, " n"],
    scores: Float[np.ndarray, "n k"],
    discount: float,
    critic_step: float,
    actor_step: float,
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " k"]]:
    """One batch actor-critic step, in the spirit of eq. (3) of Liang and Lai (2026).

    Both sums use the TD error of the *old* critic: ``w + (alpha/n) sum_i delta_i phi_i`` and
    ``lambda + (beta/n) sum_i delta_i g_i``.

    Args:
        weights: critic ``w``, ``(d,)``.
        policy_weights: actor ``lambda``, ``(k,)``.
        phi: ``(n, d)``; the critic's features, of what each transition leaves.
        phi_next: ``(n, d)``; a zero row where the episode ends.
        rewards: ``(n,)``.
        scores: ``(n, k)``; ``g_i``, gradient in ``lambda`` of the log-probability of the action taken.
        discount: ``gamma`` in ``[0, 1)``.
        critic_step: ``alpha > 0``.
        actor_step: ``beta > 0``.

    Returns:
        New ``w`` ``(d,)`` and new ``lambda`` ``(k,)``. See :doc:`/book/actor-critic`.
    """
    weights, phi, phi_next, rewards = _window(weights, phi, phi_next, rewards)
    policy_weights = valid.array("policy_weights", policy_weights, 1)
    rule = "one row for each transition, one column for each of the policy_weights"
    scores = valid.shaped("scores", scores, (len(rewards), len(policy_weights)), rule)
    discount = valid.discount(discount)
    alpha, beta = valid.positive("critic_step", critic_step), valid.positive("actor_step", actor_step)
    critic, actor, ahead = np.zeros(len(weights)), np.zeros(len(policy_weights)), discount * weights
    for x, x_next, reward, score in zip(phi, phi_next, rewards, scores, strict=True):
        td_error = reward + ahead @ x_next - weights @ x
        critic += td_error * x
        actor += td_error * score
    new = weights + alpha * critic / len(rewards), policy_weights + beta * actor / len(rewards)
    return tuple(valid.in_range(x, "phi, rewards, scores or weights", "the update") for x in new)


def _window(weights, phi, phi_next, rewards):
    """Weights ``(d,)``, features ``(n, d)`` twice and rewards ``(n,)`` that belong together."""
    weights, phi = valid.array("weights", weights, 1), valid.array("phi", phi, 2)
    phi = valid.shaped("phi", phi, (len(phi), len(weights)), "one column for each of the weights")
    phi_next = valid.shaped("phi_next", phi_next, phi.shape, "the shape of phi")
    rewards = valid.shaped("rewards", rewards, (len(phi),), "one reward for each row of phi")
    return weights, phi, phi_next, rewards
