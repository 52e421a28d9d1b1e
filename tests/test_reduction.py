"""State reduction against exact rational arithmetic, on chains that a linear solve gets wrong."""

from fractions import Fraction

import flint
import numpy as np
import pytest
import torch
from refusals import refused

from icrl import reduction
from icrl.constructions import poisson_solution
from icrl.mdp import MarkovDecisionProcess, random_mdp
from icrl.mrp import MarkovRewardProcess, random_mrp


def nasty_chain(kind, rng):
    """Off-diagonal entries down to 1e-16; the diagonal is what they leave, as the rounding of that allows."""
    size = int(rng.integers(3, 9))
    rows = rng.dirichlet(np.ones(size), size)
    if kind == "tiny":
        rows = 10.0 ** rng.uniform(-16, 0, (size, size)) / size
    elif kind == "sparse":
        rows = rows * (rng.random((size, size)) < 0.3) + 1e-16 * np.roll(np.eye(size), 1, 1)
    elif kind == "periodic":
        rows = 0.999 * np.roll(np.eye(size), 1, 1) + 0.0005 * np.roll(np.eye(size), 3, 1)
        rows[0] = np.roll(np.eye(size)[0], 1)
    elif kind == "blocks":
        block = rng.integers(2, size=size)
        rows = np.where(block[:, None] == block, 0.5 * rows, 10.0 ** -rng.uniform(8, 16) * rows)
    elif kind == "transient":
        rows[: size // 2, size // 2 :] = 0  # the first half is closed, the second leaks into it
        rows[size // 2 :, : size // 2] *= 10.0 ** -rng.uniform(0, 16)
        rows *= 0.9
    np.fill_diagonal(rows, 0)
    rows[np.arange(size), np.arange(size)] = 1 - rows.sum(axis=1)
    return np.maximum(rows, 0)


KINDS = ["tiny", "sparse", "periodic", "blocks", "transient"]
CHAINS = [nasty_chain(kind, rng) for rng in [np.random.default_rng(5)] for kind in KINDS for _ in range(40)]


def exact(matrix):
    return flint.fmpq_mat(
        [[flint.fmpq(*Fraction(x).as_integer_ratio()) for x in row] for row in matrix.tolist()]
    )


def floats(matrix):
    return np.array([[int(x.p) / int(x.q) for x in row] for row in matrix.tolist()])


def exact_laplacian(rows, factor=1.0):
    """``I - factor P`` with exact row sums ``1 - factor``, whatever the diagonal was rounded to."""
    result, size = exact(-rows) * flint.fmpq(*factor.as_integer_ratio()), len(rows)
    for s in range(size):
        others = sum((result[s, t] for t in range(size) if t != s), flint.fmpq(0))
        result[s, s] = 1 - flint.fmpq(*factor.as_integer_ratio()) - others
    return result


def test_stationary_distributions_of_200_chains_are_exact_in_every_entry():
    worst, errors_of_a_solve = 0.0, []
    for rows in CHAINS:
        size, system = len(rows), exact_laplacian(rows).transpose()
        for s in range(size):
            system[size - 1, s] = flint.fmpq(1)  # one equation is redundant
        right = flint.fmpq_mat([[0]] * (size - 1) + [[1]])
        truth = floats(system.solve(right))[:, 0]
        mu = MarkovRewardProcess(rows, np.zeros(size), 0.5).stationary_distribution()
        assert (mu[truth == 0] == 0).all()
        worst = max(worst, np.max(np.abs(mu - truth)[truth > 0] / truth[truth > 0]))
        solved = np.linalg.lstsq((np.eye(size) - rows + 1).T, np.ones(size), rcond=None)[0]
        errors_of_a_solve.append(np.abs(solved - truth).max())
    assert worst < 2e-15
    assert max(errors_of_a_solve) > 1e-3  # the chains are nasty: what a linear solve makes of them


@pytest.mark.parametrize("discount", [0.0, 0.9, 1 - 1e-6, 1 - 1e-15])
def test_values_of_200_chains_are_exact_state_by_state(discount):
    """Beside the value with rewards |r|, in every state, rewards from 1 to 1e12."""
    rng, worst = np.random.default_rng(6), 0.0
    for rows in CHAINS:
        reward = rng.normal(size=len(rows)) * 10.0 ** rng.integers(0, 13, len(rows))
        both = np.column_stack([reward, np.abs(reward)])
        truth, size = floats(exact_laplacian(rows, discount).solve(exact(both))).T
        value = MarkovRewardProcess(rows, reward, discount).value()
        worst = max(worst, np.max(np.abs(value - truth) / size))
    assert worst < 2e-15


def test_deviation_matrices_are_exact_beside_their_largest_entry():
    worst = 0.0
    for rows in CHAINS[::4]:
        size, process = len(rows), MarkovRewardProcess(rows, np.zeros(len(rows)), 0.5)
        mu = exact(process.stationary_distribution()[None])
        ones = flint.fmpq_mat([[1]] * size) * mu
        truth = floats((exact_laplacian(rows) + ones).inv() - ones)
        worst = max(worst, np.max(np.abs(poisson_solution(process) - truth).max(0) / np.abs(truth).max()))
    assert worst < 1e-13


def test_a_chain_of_kandori_mailath_and_rob():
    """Birth and death with rare mutations: 28 states; a linear solve gives a probability of -.12."""
    size, mutation = 28, 0.01
    n = size - 1
    rows = np.zeros((size, size))
    for s in range(size):
        better = 1 - mutation if s / n > 1 / 3 else mutation  # the chance that one who thinks again plays 1
        up, down = (n - s) / n * better, s / n * (1 - better)
        if s < n:
            rows[s, s + 1] = up
        if s > 0:
            rows[s, s - 1] = down
        rows[s, s] = 1 - up - down
    mu = MarkovRewardProcess(rows, np.zeros(size), 0.5).stationary_distribution()
    odds = [Fraction(1)]
    for s in range(n):  # detailed balance of a birth and death chain
        odds.append(odds[-1] * Fraction(rows[s, s + 1]) / Fraction(rows[s + 1, s]))
    truth = np.array([float(x / sum(odds)) for x in odds])
    np.testing.assert_allclose(mu, truth, rtol=2e-14)
    assert mu.min() > 0
    assert truth.min() < 1e-15


def test_panels_and_batches_agree_with_a_linear_solve():
    """More states than one panel holds; batches of arrays; tensors."""
    rng = np.random.default_rng(7)
    for size in (31, 33, 70):
        process = random_mrp(size, 0.9, rng)
        solved = np.linalg.solve(np.eye(size) - 0.9 * process.transition, process.reward)
        np.testing.assert_allclose(process.value(), solved, rtol=1e-12, atol=1e-13)
        mu = process.stationary_distribution()
        np.testing.assert_allclose(mu @ process.transition, mu, rtol=1e-12)
    batch = np.stack([random_mrp(5, 0.9, rng).transition for _ in range(6)]).reshape(2, 3, 5, 5)
    right = rng.normal(size=(2, 3, 5, 2))
    expected = np.linalg.solve(np.eye(5) - 0.7 * batch, right)
    np.testing.assert_allclose(reduction.discounted(batch, 0.7, right), expected, rtol=1e-11)
    mu = reduction.stationary(batch)
    np.testing.assert_allclose(mu[..., None, :] @ batch, mu[..., None, :], rtol=1e-12)
    np.testing.assert_allclose(reduction._stationary(torch.tensor(batch)).numpy(), mu, rtol=1e-14)


def test_one_state():
    stays = np.ones((1, 1))
    np.testing.assert_array_equal(reduction.deviation(stays, np.ones(1)), [[0.0]])
    np.testing.assert_array_equal(reduction.stationary(stays), [1.0])
    np.testing.assert_allclose(reduction.discounted(stays, 0.75, np.array([[1.0, -2.0]])), [[4.0, -8.0]])


def test_arguments_are_left_alone():
    rng = np.random.default_rng(8)
    rows, right = random_mrp(4, 0.9, rng).transition, rng.normal(size=(4, 1))
    before = rows.copy(), right.copy()
    reduction.discounted(rows, 0.9, right)
    reduction.stationary(rows)
    reduction.deviation(rows, reduction.stationary(rows))
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(right, before[1])


def test_optimum_of_states_that_a_rich_one_does_not_touch():
    """One isolated state pays 1e12; the rest is solved as if it were not there, tiny advantages included."""
    rng = np.random.default_rng(9)
    alone = random_mdp(4, 3, 0.9, rng)
    reward = 1e-9 * alone.reward  # far below 1e-12 of the rich state's value
    transition = np.zeros((5, 3, 5))
    transition[:4, :, :4], transition[4, :, 4] = alone.transition, 1
    joined = MarkovDecisionProcess(transition, np.vstack([reward, [1e12, 0, 0]]), 0.9)
    np.testing.assert_allclose(joined.optimal_q()[:4], 1e-9 * alone.optimal_q(), rtol=1e-12)
    backup = reward + 0.9 * alone.transition @ joined.optimal_q()[:4].max(axis=1)
    np.testing.assert_allclose(joined.optimal_q()[:4], backup, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_policy_iteration_ends_where_everything_ties(seed):
    """Actions that differ by rounding alone, at discounts near 1."""
    rng = np.random.default_rng(seed)
    base = random_mdp(6, 1, 0.5, rng)
    transition = np.repeat(base.transition, 4, axis=1)
    reward = np.repeat(base.reward, 4, axis=1) * (1 + 2.0**-52 * rng.integers(-1, 2, (6, 4)))
    process = MarkovDecisionProcess(transition, reward, 1 - 10.0 ** -rng.integers(1, 15))
    q = process.optimal_q()
    np.testing.assert_allclose(q, q[:, :1].repeat(4, axis=1), rtol=1e-10)


@pytest.mark.bad_input
def test_refuses_what_cannot_be_solved():
    refused("reward has entries so large that a value leaves ...", random_large().value)
    refused("transition or chain has states that ...", reduction.stationary, np.eye(2))
    refused(
        "transition or chain has states that ...",
        reduction.stationary,
        np.stack([np.ones((2, 2)) / 2, np.eye(2)]),
    )
    refused("right has shape (1,); ...", reduction.discounted, [[1.0]], 0.5, [1.0])
    for shape in ((2,), (1, 2), (2, 1, 2), (1, 2, 1)):
        message = f"transition has shape {shape}; it must be (*batch, S, S)"
        refused(message, reduction.stationary, np.full(shape, 1 / shape[-1]))
        refused(message, reduction.discounted, np.full(shape, 1 / shape[-1]), 0.5, np.ones((*shape[:-1], 1)))
    refused("transition has shape (1, 2); it must be square", reduction.deviation, [[0.5, 0.5]], [1.0])
    message = "right has entries so large that their sum leaves the range of float64"
    refused(message, reduction.discounted, [[1.0]], 0.99, [[1e308]])
    refused("distribution sums to 0.5; ...", reduction.deviation, [[1.0]], [0.5])


def random_large():
    return MarkovRewardProcess(np.eye(2), np.array([1e308, 0.0]), 0.99)
