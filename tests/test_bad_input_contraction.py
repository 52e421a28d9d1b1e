"""What the room `contraction` refuses, and what it says."""

import numpy as np
import pytest

from icrl import contraction as con
from icrl import mrp

pytestmark = pytest.mark.bad_input

GOOD = {
    "features": np.eye(3),
    "states": np.array([0, 1, 0, 2, 0]),
    "rewards": np.array([1.0, 0.0, 1.0, 2.0]),
    "discount": 0.5,
    "reward_range": (0.0, 2.0),
    "num_layers": 3,
    "delta": 0.1,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward_range": (2.0, 0.0)}, r"reward_range is \(2, 0\); the lowest reward must come first"),
        ({"reward_range": (0.0, 1.5)}, r"rewards\[3\] is 2; it must lie in reward_range, 0 to 1.5"),
        ({"reward_range": (0.0, np.inf)}, r"reward_range\[1\] is inf; every entry must be finite"),
        ({"reward_range": 2.0}, r"reward_range has shape \(\); it must have 1 axes"),
        ({"delta": 0.0}, r"delta is 0; it must lie in \(0, 1\)"),
        ({"delta": 1.0}, r"delta is 1; it must lie in \(0, 1\)"),
        ({"delta": np.nan}, "delta is nan; it must be finite"),
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_layers": -1}, "num_layers is -1; it must be at least 0"),
        ({"step_size": 0.0}, "step_size is 0; it must be positive"),
        ({"features": np.eye(2)}, r"states\[3\] is 2; states run from 0 to 1"),
        ({"rewards": np.zeros(3)}, r"rewards has shape \(3,\); it must be \(4,\)"),
        (
            {"rewards": np.array([1.0, 0.0, 1.5, 2.0])},
            r"rewards\[0\] is 1 in state 0, whose last reward is 1.5",
        ),
        ({"states": np.array([0, 1, 0, 1, 2])}, "states ends in 2, which it never leaves"),
    ],
)
def test_certificate(change, message):
    con.certificate(**GOOD)
    if "states" in change:
        change["rewards"] = np.array([1.0, 0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=message):
        con.certificate(**{**GOOD, **change})


def test_population():
    process = mrp.random_mrp(3, 0.9, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"distribution has shape \(2,\); it must be \(3,\)"):
        con.population_matching(np.eye(3), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"distribution sums to 1\.5"):
        con.population_matching(np.eye(3), np.full(3, 0.5))
    with pytest.raises(ValueError, match=r"distribution has shape \(3,\); it must be \(2,\)"):
        con.population_iteration_matrix(np.eye(2), process)
    with pytest.raises(ValueError, match="step_size is -1; it must be positive"):
        con.population_iteration_matrix(np.eye(3), process, step_size=-1)
    with pytest.raises(
        ValueError, match=r"features give Assumption 5\.1 the margin -0.*needs a positive one"
    ):
        con.population_bound(np.eye(3), process, 10, 0.1)
    with pytest.raises(ValueError, match="num_transitions is 0; it must be at least 1"):
        con.population_bound(5 * np.eye(3), process, 0, 0.1)
