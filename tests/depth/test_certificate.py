"""The certificate of priced TD, each number of it by hand."""

import numpy as np
import pytest

from icrl import depth, softmax_td
from icrl.mrp import random_mrp


def test_certificate_by_hand():
    """Open and closed contexts, other steps than 1: every attribute from the definitions."""
    rng, opened = np.random.default_rng(1), 0
    for trial in range(20):
        process = random_mrp(4, float(rng.uniform(0.3, 0.95)), rng)
        states = process.sample(60, rng)
        if trial % 2:
            states[-1] = states[0]
        rewards, gamma, alpha = process.reward[states[:-1]], process.discount, float(rng.uniform(0.4, 1.2))
        features, layers = rng.normal(size=(4, 3)), int(rng.integers(1, 6))
        seen = depth.priced_certificate(features, states, rewards, gamma, (-1, 1), layers, 0.1, alpha)
        visited, empirical = softmax_td.empirical_process(states, rewards, gamma)
        matrix = softmax_td.iteration_matrix(features, states, gamma, alpha)
        rate = max(np.abs(a - b).sum() / 2 for a in matrix for b in matrix)
        is_open = states[0] != states[-1]
        opened += is_open
        open_end = gamma / (60 * (1 - gamma)) if is_open else 0
        assert abs(seen.rate - rate) < 1e-12
        assert abs(seen.initial - np.ptp(empirical.value())) < 1e-12
        assert abs(seen.open_end - open_end) < 1e-15
        bound = (1 + open_end) * rate**layers * seen.initial + seen.floor
        assert abs(seen.bound - bound) < 1e-9 * max(1, bound)
        assert seen.floor == seen.plain.floor
        loop = softmax_td.priced_softmax_td(features, states, rewards, gamma, layers, alpha)[-1]
        distance = np.abs(loop - empirical.value()[np.searchsorted(visited, states)]).max()
        assert abs(seen.distance - distance) < 1e-9 * max(1, distance)
        assert distance <= seen.bound - seen.floor + 1e-9
        plain = softmax_td.weighted_softmax_td(features, states, rewards, gamma, layers + 1, alpha)[-1]
        off = np.abs(plain - empirical.value()[np.searchsorted(visited, states)]).max()
        assert abs(seen.plain.distance - off) < 1e-9 * max(1, off)
    assert 5 < opened < 15


def test_steps_are_1_if_not_given():
    given = np.eye(2), np.array([0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 1]), 0.9, (0, 1), 1, 0.1
    one, other = depth.priced_certificate(*given), depth.priced_certificate(*given, 1.0)
    assert (one.rate, one.bound, one.plain.bound) == (other.rate, other.bound, other.plain.bound)
    assert one.bound == (1 + one.open_end) * one.rate * one.initial + one.floor


def test_certificate_where_it_says_nothing():
    """Steps so large that the error leaves the range of float64; without rewards there is none to grow."""
    features, states = np.eye(2), np.array([0, 1, 0, 0, 1, 0])
    for rewards, bound in ((np.array([1.0, 0, 1, 1, 0]), np.inf), (np.zeros(5), None)):
        seen = depth.priced_certificate(features, states, rewards, 0.9, (0, 1), 3, 0.1, 1e200)
        assert seen.bound == (seen.floor if bound is None else bound)
        assert seen.distance == np.inf
        assert np.isfinite(seen.floor)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"delta": 1.0}, "delta is 1"),
        ({"reward_range": (1, -1)}, "the lowest reward must come first"),
        ({"states": np.array([0, 1, 0, 2])}, "states ends in 2"),
        ({"discount": 1.0}, "discount is 1"),
    ],
)
def test_certificate_refuses(change, words):
    arguments = {
        "features": np.eye(3),
        "states": np.array([0, 1, 0, 1]),
        "rewards": np.array([1.0, 0, 1]),
        "discount": 0.9,
        "reward_range": (0, 1),
        "num_layers": 2,
        "delta": 0.1,
    }
    with pytest.raises(ValueError, match=words):
        depth.priced_certificate(**arguments | change)
