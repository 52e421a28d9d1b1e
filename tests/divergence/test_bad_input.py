"""What divergence and the proofs refuse."""

import numpy as np
import pytest

from icrl import divergence
from icrl.mrp import MarkovRewardProcess, divergent_mrp

pytestmark = pytest.mark.bad_input
PROCESS, FEATURES = divergent_mrp()
DRAIN = MarkovRewardProcess(np.array([[0.0, 1, 0], [0, 0, 1], [0, 1, 0]]), np.zeros(3), 0.5)
RING = [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: divergence.largest_step_size(np.ones((2, 3))), r"operator has shape \(2, 3\)"),
        (lambda: divergence.largest_step_size(np.full((2, 2), np.nan)), "operator.* is nan"),
        (lambda: divergence.normaliser_condition(FEATURES[:2], PROCESS), r"features has shape \(2, 1\)"),
        (lambda: divergence.normaliser_condition(FEATURES, DRAIN), "must be positive"),
        (lambda: divergence.critical_discount(FEATURES, DRAIN), "must be positive"),
        (
            lambda: divergence.critical_discount(FEATURES, MarkovRewardProcess(np.eye(1), np.zeros(1), 0.5)),
            "process has 1 states",
        ),
        (
            lambda: divergence.critical_discount(np.array([[1.0], [4], [4]]), PROCESS),
            "features has equal rows",
        ),
        (lambda: divergence.unnormalised_operator(FEATURES[:2], PROCESS), r"features has shape \(2, 1\)"),
        (lambda: divergence.hill_climb("tight", 3, 1, 1, np.random.default_rng(0)), "objective is 'tight'"),
        (lambda: divergence.hill_climb("sharp", 2, 1, 1, np.random.default_rng(0)), "num_states is 2"),
        (lambda: divergence.exact_chain(RING, 0.9, [[1], [2]]), "discount holds the float 0.9"),
        (lambda: divergence.exact_chain(RING, "1", [[1], [2]]), "discount is 1"),
        (lambda: divergence.exact_chain(RING, "x", [[1], [2]]), "discount holds 'x'"),
        (lambda: divergence.exact_chain([[0, 1], [0.5, 0.5]], 0, [[1], [2]]), "transition holds the float"),
        (
            lambda: divergence.exact_chain([[0, 1], [1, "1/9"]], 0, [[1], [2]]),
            "transition row 1 .* exactly 1",
        ),
        (lambda: divergence.exact_chain([[0, 1], [1]], 0, [[1], [2]]), "transition row 1 has 1 entries"),
        (lambda: divergence.exact_chain([[1, 0], [0, 1]], 0, [[1], [2]]), "several stationary"),
        (lambda: divergence.exact_chain([[0, 1], [0, 1]], 0, [[1], [2]]), "must be positive"),
        (lambda: divergence.exact_chain(RING, 0, [[1], [2, 3]]), "features has rows of lengths"),
        (lambda: divergence.exact_chain(RING, 0, [[1], [0.5]]), "features holds the float"),
        (lambda: divergence.exact_context(np.array([0, 1]), 0, [[1], [2]]), "which it never leaves"),
        (lambda: divergence.exact_context(np.array([0, 0]), 0, [[1], [2]]), "must leave each"),
        (lambda: divergence.tight_chain("1/2", 1), "root is 1; it must exceed 1"),
        (lambda: divergence.tight_chain(0, 2), "discount is 0; it must lie in"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
