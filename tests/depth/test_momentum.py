"""Chebyshev's steps by hand, its polynomials against NumPy's, and the network against a loop."""

import numpy as np
import pytest
import torch

from icrl import depth
from icrl.mrp import random_mrp
from icrl.softmax_td import empirical_process, softmax_kernel
from icrl.softmax_transformer import SoftmaxTransformer


def test_steps_by_hand():
    assert np.allclose(depth.chebyshev_steps(3, 0.8), [1, 2 / 1.36, 1 / (1 - 0.16 * 2 / 1.36)])
    limit = 2 / (1 + np.sqrt(1 - 0.81))
    assert abs(depth.chebyshev_steps(60, 0.9)[-1] - limit) < 1e-10


def test_first_layers():
    """One layer is a step of TD; none leaves the error as it is."""
    assert depth.chebyshev_steps(1, 0.8).tolist() == [1]
    error = np.array([1.0, -2])
    assert depth.chebyshev_error(np.eye(2), error, 0.5, 0).tolist() == [[1, -2]]
    value, score = depth.momentum_weights(1, 1, 0.8)
    assert value[0, -1].tolist() == [0, 1, 0, 1, -1]
    assert torch.equal(score, torch.diag(torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)))


def test_errors_are_chebyshevs_polynomials():
    rng = np.random.default_rng(0)
    x = np.diag(rng.uniform(-1.2, 1.2, 6))
    rows = depth.chebyshev_error(x, np.ones(6), 0.7, 7)
    for k, row in enumerate(rows):
        basis = np.polynomial.chebyshev.Chebyshev.basis(k)
        assert np.allclose(row, basis(x.diagonal()) / basis(1 / 0.7), atol=1e-12)


@pytest.mark.parametrize("head", ["shift", "dual"])
def test_the_network_is_its_loop_under_any_kernel(head):
    """Both memory rows by a plain loop over columns; the dual head moves the same update."""
    rng = np.random.default_rng(1)
    process = random_mrp(4, 0.9, rng)
    features, states = rng.normal(size=(4, 3)), process.sample(30, rng)
    rewards = process.reward[states[:-1]]
    model = SoftmaxTransformer(5, 0.9, *depth.momentum_weights(3, 5, 0.9), head=head)
    read = model.values(depth.momentum_prompt(features, states, rewards)).numpy()
    kernel = softmax_kernel(features, states)[:, states]
    v, before = np.zeros(31), np.zeros(31)
    for layer, omega in enumerate(depth.chebyshev_steps(5, 0.9)):
        assert np.abs(read[layer] - v).max() < 1e-12
        td, moved = rewards + 0.9 * v[1:] - v[:-1], (v - before)[:-1]
        step = (omega * td + (omega - 1) * moved) @ kernel
        v, before = v + step, before + moved @ kernel
    assert np.abs(read[5] - v).max() < 1e-12


def test_the_ring_of_four_is_extremal():
    assert depth.momentum_converges(depth.cycle(4), 0.707)
    assert not depth.momentum_converges(depth.cycle(4), 0.7072)
    rng = np.random.default_rng(2)
    assert all(depth.momentum_converges(random_mrp(5, 0.5, rng).transition, 0.707) for _ in range(50))


def test_the_bound_needs_reversibility_in_its_own_norm():
    """Two states are always reversible; the bound holds for their stationary shares, not for the visits'."""
    states = np.array([0, 1, 0, 0, 1])
    _, seen = empirical_process(states, np.zeros(4), 0.9)
    chain, first = seen.transition, np.array([0.0, 1.0])
    assert np.allclose(chain, [[1 / 3, 2 / 3], [1, 0]])
    visits, stationary = np.array([0.75, 0.25]), np.array([0.6, 0.4])
    once = depth.chebyshev_error(chain, first, 0.9, 1)[-1]
    grown = [np.sqrt(x @ once**2 / (x @ first**2)) / 0.9 for x in (visits, stationary)]
    assert np.allclose(grown, [(4 / 3) ** 0.5, (2 / 3) ** 0.5])  # one layer: the bound is 0.9


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: depth.chebyshev_steps(0, 0.9), "num_layers is 0; it must be at least 1"),
        (lambda: depth.chebyshev_steps(2, 1.0), "discount is 1"),
        (lambda: depth.momentum_weights(0, 2, 0.9), "num_features is 0; it must be at least 1"),
        (lambda: depth.chebyshev_error(np.eye(2), np.ones(2), 0.0, 2), "discount is 0"),
        (lambda: depth.chebyshev_error(np.eye(2), np.ones(3), 0.5, 2), "error has shape"),
        (
            lambda: depth.chebyshev_error(np.eye(2), np.ones(2), 0.5, -1),
            "num_layers is -1; it must be at least 0",
        ),
        (lambda: depth.chebyshev_error(np.ones((2, 3)), np.ones(2), 0.5, 1), "transition has shape"),
        (lambda: depth.momentum_converges(np.eye(2), 1.0), "discount is 1"),
        (lambda: depth.momentum_converges(np.array([[np.nan]]), 0.5), r"transition\[0, 0\] is nan"),
        (lambda: depth.momentum_converges(np.ones((2, 3)), 0.5), "transition has shape"),
        (lambda: depth.momentum_prompt(np.eye(2), np.array([0, 5]), np.ones(1)), r"states\[1\] is 5"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_three_in_a_ring_converge_up_to_their_discount():
    """Eigenvalues 1 and (-1 +- i sqrt 3) / 2: 1/4 + 3/4 / (1 - gamma^2) = 1 / gamma^2 at sqrt 3 - 1."""
    ring, limit = np.roll(np.eye(3), 1, axis=1), 3**0.5 - 1
    assert depth.momentum_converges(ring, limit - 1e-6)
    assert not depth.momentum_converges(ring, limit + 1e-6)
