"""Claims of the chapter `control`: what a loop is fed, against Gymnasium's own tables."""

import gymnasium
import numpy as np

from icrl.claims.control import TASKS, claim
from icrl.claims.registry import Claims, Evidence
from icrl.mdp import MarkovDecisionProcess, from_gymnasium
from icrl.rollouts import rollout_batch


def rollouts(rng):
    """Rollouts against Gymnasium's own tables, and where episodes begin against the start distribution."""
    wrong, ends = 0, 0
    for name, options in TASKS[:2]:
        process, table = from_gymnasium(name, 0.9, **options), gymnasium.make(name, **options).unwrapped.P
        policy = rng.dirichlet(np.ones(4), 16)
        roll = rollout_batch([process] * 20, np.repeat(policy[None], 20, 0), 100, rng)
        for i in range(20):
            for k in range(100):
                outcomes = table[int(roll.states[i, k])][int(roll.actions[i, k])]
                if roll.ended[i, k]:
                    fits = [r == roll.rewards[i, k] and done for p, t, r, done in outcomes if p > 0]
                    wrong += not (any(fits) and roll.states[i, k + 1] == 0)
                else:
                    seen = int(roll.states[i, k + 1]), roll.rewards[i, k]
                    wrong += seen not in [(t, r) for p, t, r, done in outcomes if p > 0 and not done]
        ends += roll.ended.sum()
    # States 0 and 1 end at once in state 2; episodes begin in state 1 with probability 0.7.
    transition = np.zeros((3, 1, 3))
    transition[..., 2] = 1
    process = MarkovDecisionProcess(
        transition, np.zeros((3, 1)), 0.9, np.array([0.3, 0.7, 0.0]), np.array([False, False, True])
    )
    begun = rollout_batch([process] * 50, np.ones((50, 3, 1)), 40, rng).states
    deviation = abs(begun.mean() - 0.7) / np.sqrt(0.21 / begun.size)
    return Evidence(deviation if wrong == 0 and ends > 10 else np.inf, 4.5, "4000 transitions, 2050 episodes")


CLAIMS = Claims(
    claim(
        "rollouts-follow-the-tables",
        "Every transition of a rollout stands in Gymnasium's table, ends where it ends there, and a new "
        "episode begins by the start distribution.",
        "interval",
        "loop",
        rollouts,
        risk=1e-5,
    ),
)
