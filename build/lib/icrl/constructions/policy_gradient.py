"""What an actor-critic step is in the mean, exactly: the TD error as an advantage, the step as a gradient.

Ours; see :doc:`/book/actor-critic`.
"""

import numpy as np
import torch
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mdp import MarkovDecisionProcess
from icrl.policies import softmax_policy


@checked
def expectations(
    process: MarkovDecisionProcess,
    policy: Float[np.ndarray, "S A"],
    score: Float[np.ndarray, "S A k"],
    critic: Float[np.ndarray, " S"] | Float[np.ndarray, "S A"],
) -> tuple[Float[np.ndarray, "S A"], Float[np.ndarray, " k"]]:
    """Exact means by loops over the pairs: of the TD error given the pair, and of score x TD error.

    ``critic`` is ``(S,)`` for values of states or ``(S, A)`` for values of pairs; the mean of the actor's
    step is taken where states have their stationary distribution.
    """
    td = np.zeros_like(process.reward)
    after = critic if critic.ndim == 1 else (policy * critic).sum(axis=1)
    mu = process.under(policy).stationary_distribution()
    step = np.zeros(score.shape[-1])
    for s, a in np.ndindex(*td.shape):
        before = critic[s] if critic.ndim == 1 else critic[s, a]
        td[s, a] = process.reward[s, a] + process.discount * process.transition[s, a] @ after - before
        step += mu[s] * policy[s, a] * td[s, a] * score[s, a]
    return td, step


@checked
def objective_gradient(
    process: MarkovDecisionProcess, lam: Float[np.ndarray, " k"], features: Float[np.ndarray, "S A k"]
) -> Float[np.ndarray, " k"]:
    """Gradient in ``lambda`` of ``(1 - gamma) sum_s mu(s) v(s)``, ``mu`` frozen, by autograd."""
    valid.shaped("features", features, (*process.reward.shape, len(lam)), "one row for each pair")
    mu = process.under(softmax_policy(lam, features)).stationary_distribution()
    x = torch.tensor(lam, requires_grad=True)
    policy = (torch.from_numpy(features) @ x).softmax(-1)
    chain = torch.einsum("sa,sat->st", policy, torch.tensor(process.transition))
    reward = (policy * torch.tensor(process.reward)).sum(-1)
    eye = torch.eye(len(mu), dtype=torch.float64)
    value = torch.linalg.solve(eye - process.discount * chain, reward)
    ((1 - process.discount) * torch.from_numpy(mu) @ value).backward()
    return x.grad.numpy()
