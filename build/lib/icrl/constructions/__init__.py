"""What the chapters on the constructions put beside them: literal forward passes and their faults, exact mean
steps, and certified runs on random tasks."""

from icrl.constructions.certified_runs import (
    by_counts,
    certified_run,
    covered_task,
    floor_errors,
    random_task,
    rare_fork,
)
from icrl.constructions.literal import (
    ACTOR_CRITIC_FAULTS,
    SARSA_FAULTS,
    SOFTMAX_FAULTS,
    actor_critic_miss,
    literal_actor_critic,
    literal_forward,
    literal_readout,
    literal_sarsa,
)
from icrl.constructions.policy_gradient import expectations, objective_gradient
from icrl.constructions.population import (
    PopulationBound,
    poisson_solution,
    population_bound,
    slow_eigenvalue,
)

__all__ = [
    "ACTOR_CRITIC_FAULTS",
    "SARSA_FAULTS",
    "SOFTMAX_FAULTS",
    "PopulationBound",
    "actor_critic_miss",
    "by_counts",
    "certified_run",
    "covered_task",
    "expectations",
    "floor_errors",
    "literal_actor_critic",
    "literal_forward",
    "literal_readout",
    "literal_sarsa",
    "objective_gradient",
    "poisson_solution",
    "population_bound",
    "random_task",
    "rare_fork",
    "slow_eigenvalue",
]
