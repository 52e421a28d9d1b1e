"""When softmax TD diverges: operators and conditions, exact chains with proofs, and the search."""

from icrl.divergence.exact_chains import (
    LARGEST_PRECISION,
    ExactChain,
    exact_chain,
    exact_context,
    five_states_equal_norms,
    four_states_equal_norms,
    three_states,
    three_states_equal_norms,
    tight_chain,
)
from icrl.divergence.operators import (
    critical_discount,
    largest_step_size,
    measure,
    normaliser_condition,
    population_operator,
    unnormalised_operator,
)
from icrl.divergence.search import (
    FAMILIES,
    UNSTABLE,
    exact,
    hill_climb,
    random_batches,
    random_cells,
    random_chains,
    tightest,
)

__all__ = [
    "FAMILIES",
    "LARGEST_PRECISION",
    "UNSTABLE",
    "ExactChain",
    "critical_discount",
    "exact",
    "exact_chain",
    "exact_context",
    "five_states_equal_norms",
    "four_states_equal_norms",
    "hill_climb",
    "largest_step_size",
    "measure",
    "normaliser_condition",
    "population_operator",
    "random_batches",
    "random_cells",
    "random_chains",
    "three_states",
    "three_states_equal_norms",
    "tight_chain",
    "tightest",
    "unnormalised_operator",
]
