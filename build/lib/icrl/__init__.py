"""In-context reinforcement learning, executable: the constructions behind the book, and their checks.

The names below, in the order in which one needs them. A world is sampled, a reference algorithm and a
transformer run on what it showed, and the two must agree.

Worlds (:mod:`icrl.mrp`, :mod:`icrl.mdp`, :mod:`icrl.policies`)
    ``MarkovRewardProcess``, ``random_mrp``, ``boyan_chain``; ``MarkovDecisionProcess``, ``random_mdp``,
    ``from_gymnasium``; ``epsilon_greedy``, ``softmax_policy``.
References, plain NumPy loops (:mod:`icrl.softmax_td`, :mod:`icrl.policy_improvement`)
    ``weighted_softmax_td`` of Xie et al. (2026); ``sarsa_update`` and ``actor_critic_update`` of Liang and
    Lai (2026).
Transformers, in PyTorch (:mod:`icrl.softmax_transformer`, :mod:`icrl.linear_transformer`)
    ``SoftmaxTransformer`` with ``softmax_td_prompt`` and ``softmax_td_weights`` (beside them in their room,
    the price head of Part III: ``priced_td_weights``); ``LinearTransformer`` with ``sarsa_prompt``,
    ``sarsa_weights``, ``actor_critic_prompt`` and ``actor_critic_weights``.
How far off (:mod:`icrl.contraction`)
    ``certificate``: an error bound from the context and the range of rewards, right with probability
    ``1 - delta``; no knowledge of the chain.

What only some chapters use stands in studies, folders of their own (``icrl.divergence``, ``icrl.neu``,
``icrl.pretraining``, ``icrl.gradient_flow``, ``icrl.control``, ...): ``from icrl import divergence``.
``icrl.claims`` holds every statement of the book with its check; ``python -m icrl`` runs them all.
"""

from icrl.contraction import certificate
from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp
from icrl.mrp import MarkovRewardProcess, boyan_chain, random_mrp
from icrl.policies import epsilon_greedy, softmax_policy
from icrl.policy_improvement import actor_critic_update, sarsa_update
from icrl.softmax_td import weighted_softmax_td
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022  (in the order of the text above)
    "MarkovRewardProcess",
    "random_mrp",
    "boyan_chain",
    "MarkovDecisionProcess",
    "random_mdp",
    "from_gymnasium",
    "epsilon_greedy",
    "softmax_policy",
    "weighted_softmax_td",
    "sarsa_update",
    "actor_critic_update",
    "SoftmaxTransformer",
    "softmax_td_prompt",
    "softmax_td_weights",
    "LinearTransformer",
    "sarsa_prompt",
    "sarsa_weights",
    "actor_critic_prompt",
    "actor_critic_weights",
    "certificate",
]
