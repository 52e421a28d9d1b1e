"""Algorithm 1 of Liang and Lai (2026), here with Adam: a block is trained to make SARSA's update.

The small form, one block on a few tasks. At the size of the paper's experiment:
:mod:`icrl.gradient_flow.experiment`. See :doc:`/book/teacher-mimicking`.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.experiment import adam_steps
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.mdp import random_mdp
from icrl.policies import epsilon_greedy
from icrl.policy_improvement import sarsa_update
from icrl.rollouts import rollout_batch


class Training(NamedTuple):
    """What was recorded: training steps, the loss there, and the whole ``P`` and ``V``."""

    steps: Int[np.ndarray, " K"]
    losses: Float[np.ndarray, " K"]
    P: Float[np.ndarray, "K D D"]
    V: Float[np.ndarray, "K D D"]


@checked
def train(
    num_states: int,
    num_actions: int,
    num_steps: int,
    rng: np.random.Generator,
    *,
    discount: float = 0.5,
    step_size: float = 1.0,
    num_transitions: int = 20,
    batch: int = 32,
    windows: int = 20,
    epsilon: float = 0.1,
    learning_rate: float = 1e-2,
    init_scale: float = 0.1,
    records: int = 25,
) -> Training:
    """Train one block on random tabular processes with one-hot features.

    Each process gives ``windows`` windows: roll out with the epsilon-greedy policy of the current ``w``,
    regress the readout onto SARSA's update, make that update. Then come fresh processes, with ``w`` Gaussian
    (a choice of ours: from 0 the weights would stay too small to be seen). Only ``P12`` and the rows of
    ``V21`` that are read out start away from zero; the learning rate falls to zero like a cosine.

    Args:
        num_states: ``S``.
        num_actions: ``A``; ``d = S A``.
        num_steps: steps of Adam.
        rng: where randomness comes from.
        discount: ``gamma``.
        step_size: ``alpha`` of the teacher.
        num_transitions: ``n``, in a window.
        batch: processes at a time.
        windows: windows from each.
        epsilon: of the policy.
        learning_rate: of Adam, at the start.
        init_scale: standard deviation of the entries at the start.
        records: how many moments of the training to keep.

    Source: Liang and Lai (2026), Algorithm 1. See :doc:`/book/teacher-mimicking`.
    """
    d = valid.count("num_states", num_states, 1) * valid.count("num_actions", num_actions, 1)
    num_steps, batch = valid.count("num_steps", num_steps, 1), valid.count("batch", batch, 1)
    windows = valid.count("windows", windows, 1)
    scale = valid.positive("init_scale", init_scale)
    records = valid.count("records", records, 2)
    size, m = 3 * d + 2, 2 * d + 1
    P, V = torch.zeros(2, size, size, dtype=torch.float64)
    P[:m, m:] = torch.from_numpy(scale * rng.normal(size=(m, d + 1)))
    V[m + 1 :, :m] = torch.from_numpy(scale * rng.normal(size=(d, m)))
    model = LinearTransformer(P.requires_grad_(), V.requires_grad_())
    rate, blocks = valid.positive("learning_rate", learning_rate), [*model.parameters()]
    moves = [adam_steps(x.detach()) for x in blocks]
    features = np.eye(d).reshape(num_states, num_actions, d)
    kept, recorded = set(np.linspace(0, num_steps - 1, records).astype(int)), []
    for step in range(num_steps):
        if step % windows == 0:
            processes = [random_mdp(num_states, num_actions, discount, rng) for _ in range(batch)]
            w, starts = rng.normal(size=(batch, d)), None
        policies = epsilon_greedy(w.reshape(batch, num_states, num_actions), epsilon)
        roll = rollout_batch(processes, policies, num_transitions, rng, starts)
        given = w, *roll.window(features), roll.rewards
        target = np.stack([sarsa_update(*each, discount, step_size) for each in zip(*given, strict=True)])
        readout = model.readout(sarsa_prompt(*given, discount))
        loss = ((readout - torch.from_numpy(target)) ** 2).sum(-1).mean() / 2
        if step in kept:
            recorded.append((step, loss.item(), *(x.detach().numpy().copy() for x in (model.P, model.V))))
        for move, slope in zip(moves, torch.autograd.grad(loss, blocks), strict=True):
            move(slope, rate * (1 + np.cos(np.pi * step / num_steps)) / 2)
        w, starts = target, roll.states[:, -1]
    return Training(*(np.array(x) for x in zip(*recorded, strict=True)))


@checked
def alignment(
    P: Float[np.ndarray, "D D"], V: Float[np.ndarray, "D D"], discount: float
) -> tuple[float, float, float, float]:
    """Cosines of learned and constructed ``P12`` and ``V21``: raw, then off ``z = (gamma 1, -1, 0)``.

    The loss does not see ``V21 z`` and ``z' P12``: gradient flow leaves them where they started, Adam moves
    them at no gain. A negative cosine means a negative scale. See :doc:`/book/gradient-flow`.
    """
    P, V = valid.array("P", P, 2), valid.array("V", V, 2)
    d = (len(P) - 2) // 3
    m = 2 * d + 1
    z = np.concatenate([np.full(d, valid.discount(discount)), -np.ones(d), [0.0]])
    off = np.eye(m) - np.outer(z, z) / (z @ z)
    P_star, V_star = (x.numpy() for x in sarsa_weights(d, 1.0))
    pairs = [(P[:m, m:], P_star[:m, m:]), (V[m + 1 :, :m], V_star[m + 1 :, :m])]
    pairs += [(off @ pairs[0][0], off @ pairs[0][1]), (pairs[1][0] @ off, pairs[1][1] @ off)]
    return tuple(float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)
