"""Sets of training tasks for the teacher-mimicking loss: what the windows may contain (ours).

See :doc:`/book/gradient-flow`.
"""

import numpy as np

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.flow import MimickingLoss, mimicking_loss
from icrl.linear_transformer import actor_critic_prompt, actor_critic_weights, sarsa_prompt, sarsa_weights
from icrl.policies import softmax_score

SARSA_KINDS = ("gaussian", "one-hot", "fixed rewards", "copied", "ended", "two discounts")
ACTOR_CRITIC_KINDS = ("gaussian", "one-hot", "ended", "reference action")


@checked
def random_tasks(
    kind: str,
    num_features: int,
    num_tasks: int,
    rng: np.random.Generator,
    *,
    num_transitions: int = 10,
    step_size: float = 1.0,
    discount: float = 0.8,
) -> MimickingLoss:
    """SARSA tasks with independent transitions, rewards and parameters, all Gaussian but the features.

    Args:
        kind: of the features: ``"gaussian"``; ``"one-hot"``, every pair of successors possible;
            ``"fixed rewards"``, one-hot, and the reward is one function of the feature for all tasks;
            ``"copied"``, Gaussian with the last feature a copy of the first; ``"ended"``, one-hot with
            three in ten transitions the last of their episode; ``"two discounts"``, one-hot with half the
            discount in every other task.
        num_features: ``d``; at least 2 for the last three kinds.
        num_tasks: how many.
        rng: where randomness comes from.
        num_transitions: ``n``, in each task's window.
        step_size: of the teacher.
        discount: ``gamma``.

    See :doc:`/book/gradient-flow`.
    """
    _known(kind, SARSA_KINDS)
    d = valid.count("num_features", num_features, 2 if kind in SARSA_KINDS[3:] else 1)
    tasks = valid.count("num_tasks", num_tasks, 1)
    n = valid.count("num_transitions", num_transitions, 1)
    if kind in ("gaussian", "copied"):
        phi, phi_next = rng.normal(size=(2, tasks, n, d))
        if kind == "copied":
            phi[..., -1], phi_next[..., -1] = phi[..., 0], phi_next[..., 0]
    else:
        phi, phi_next = np.eye(d)[rng.integers(d, size=(2, tasks, n))]
    if kind == "ended":
        phi_next = phi_next * (rng.random((tasks, n, 1)) >= 0.3)
    if kind == "two discounts":
        phi_next[::2] /= 2
    weights, rewards = rng.normal(size=(tasks, d)), rng.normal(size=(tasks, n))
    if kind == "fixed rewards":
        rewards = phi @ rng.normal(size=d)
    prompts = sarsa_prompt(weights, phi, phi_next, rewards, discount)
    return mimicking_loss(prompts, *sarsa_weights(d, step_size))


@checked
def random_actor_critic_tasks(
    kind: str,
    num_states: int,
    num_actions: int,
    num_tasks: int,
    rng: np.random.Generator,
    *,
    num_transitions: int = 10,
    critic_step: float = 1.0,
    actor_step: float = 1.0,
    discount: float = 0.8,
) -> MimickingLoss:
    """Actor-critic tasks with ``d = S`` critic and ``h = S A`` policy features, one policy for each task.

    Args:
        kind: ``"gaussian"``, features and scores Gaussian, tied by nothing; ``"one-hot"``, the critic's
            features one-hot in the states, the policy's in the pairs, scores those of the softmax policy
            of the task's Gaussian policy weights; ``"ended"``, the same with three in ten transitions the
            last of their episode; ``"reference action"``, the same as that, but action 0 has no policy
            feature, so ``h = S (A - 1)``.
        num_states: ``S``.
        num_actions: ``A``, at least 2.
        num_tasks: how many.
        rng: where randomness comes from.
        num_transitions: ``n``, in each task's window; independent of each other, uniform over the pairs.
        critic_step: ``alpha`` of the teacher.
        actor_step: ``beta`` of the teacher.
        discount: ``gamma``.

    See :doc:`/book/gradient-flow`.
    """
    _known(kind, ACTOR_CRITIC_KINDS)
    S, A = valid.count("num_states", num_states, 1), valid.count("num_actions", num_actions, 2)
    tasks = valid.count("num_tasks", num_tasks, 1)
    n = valid.count("num_transitions", num_transitions, 1)
    policy_features = np.eye(S * A).reshape(S, A, -1)
    if kind == "reference action":
        policy_features = policy_features[..., np.arange(S * A) % A != 0]
    h = policy_features.shape[-1]
    weights, policy_weights = rng.normal(size=(tasks, S)), rng.normal(size=(tasks, h))
    rewards = rng.normal(size=(tasks, n))
    if kind == "gaussian":
        phi, phi_next = rng.normal(size=(2, tasks, n, S))
        scores = rng.normal(size=(tasks, n, h))
    else:
        here, after = rng.integers(S, size=(2, tasks, n))
        phi, phi_next = np.eye(S)[here], np.eye(S)[after]
        actions = rng.integers(A, size=(tasks, n))
        scores = softmax_score(policy_weights, policy_features)[np.arange(tasks)[:, None], here, actions]
    if kind in ("ended", "reference action"):
        phi_next = phi_next * (rng.random((tasks, n, 1)) >= 0.3)
    prompts = actor_critic_prompt(weights, policy_weights, phi, phi_next, rewards, scores, discount)
    return mimicking_loss(prompts, *actor_critic_weights(S, h, critic_step, actor_step), S + h)


def _known(kind, kinds):
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(kinds)}")
