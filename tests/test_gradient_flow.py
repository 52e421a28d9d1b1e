"""The room `gradient_flow`, `richness` above it, and Algorithm 1."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, check_grad

from icrl.gradient_flow import MimickingLoss, gradient_flow, outcome
from icrl.mimicking_tasks import random_tasks
from icrl.richness import landing_point, richness
from icrl.teacher_mimicking import alignment, train


@pytest.fixture
def tasks(rng):
    return random_tasks("gaussian", 2, 140, rng)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def scalar(a, b, moment=2.0):
    """One entry each: the loss is (b a s - s)^2 / 2 with s = moment."""
    loss = MimickingLoss(np.full((1, 1, 1), moment), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)))
    return loss, np.full((1, 1), a), np.full((1, 1), b)


def test_by_hand():
    loss, score, value = scalar(3.0, 2.0)
    assert loss.loss(score, value) == 50  # (12 - 2)^2 / 2
    assert [x.item() for x in loss.gradients(score, value)] == [40, 60]
    assert np.array_equal(loss.hessian(score, value), [[36, 44], [44, 16]])


def test_derivatives(tasks, rng):
    def function(vector):
        return tasks.loss(*tasks.unpack(vector))

    def gradient(vector):
        score, value = tasks.gradients(*tasks.unpack(vector))
        return np.concatenate([value.ravel(), score.ravel()])

    point = rng.normal(size=25)
    assert check_grad(function, gradient, point) < 1e-3
    numbers = approx_fprime(point, gradient, 1e-6)
    assert np.allclose(tasks.hessian(*tasks.unpack(point)), numbers, atol=1e-3)


def test_zero_on_the_manifold(tasks):
    for scale in (-2.0, 0.1, 1.0):
        assert tasks.loss(*tasks.on_manifold(scale)) < 1e-25


@pytest.mark.parametrize("start", [(0.5, 2.5), (-0.2, -1.0), (3.0, 0.1)])
def test_lands_on_the_hyperbola(start):
    """One entry each: V = 1/c and P = c with c from the balance, known in closed form."""
    loss, score, value = scalar(*start)
    flow = gradient_flow(loss, score, value, 50.0, stop=1e-20)
    balance = start[1] ** 2 - start[0] ** 2
    square = (-balance + np.sqrt(balance**2 + 4)) / 2
    sign = np.sign(flow.scores[-1].item())
    assert np.isclose(flow.scores[-1].item(), sign * np.sqrt(square), rtol=1e-7)
    scale, *blocks = landing_point(loss, score, value, int(sign))
    assert np.isclose(scale, sign * np.sqrt(square), rtol=1e-12)
    assert np.isclose(blocks[1].item(), 1 / scale)
    assert np.ptp(flow.balance) < 1e-6
    assert outcome(flow, loss) == "manifold"


def test_zero_start_rests(tasks):
    flow = gradient_flow(tasks, *(0 * x for x in tasks.on_manifold(1.0)), 5.0)
    assert outcome(flow, tasks) == "rest"
    assert flow.losses[0] == flow.losses[-1] > 0


@pytest.mark.parametrize(
    ("kind", "d", "dimension"),
    [("gaussian", 1, 1), ("gaussian", 4, 1), ("one-hot", 4, 10), ("copied", 3, 15), ("ended", 3, 1)],
)
def test_counts(kind, d, dimension, rng):
    seen = richness(random_tasks(kind, d, 300, rng))
    assert seen.null_dimension == seen.predicted == dimension
    assert seen.scaling_angle < 1e-10
    assert seen.identifiable == (dimension == 1)
    assert seen.directions.shape == (dimension - 1, len(seen.spectrum))
    assert seen.gap > 0
    assert seen.condition > 1


def test_null_directions_are_null(rng):
    loss = random_tasks("one-hot", 2, 140, rng)
    seen = richness(loss, scale=0.7)
    z = np.array([0.8, 0.8, -1, -1, 0])
    assert np.isclose(abs(seen.data_null[:, 0] @ z), np.linalg.norm(z))
    jacobian = loss.jacobian(*loss.on_manifold(0.7))
    assert np.abs(jacobian @ seen.directions.T).max() < 1e-12


def test_parameters_that_never_vary_are_counted(rng):
    """w_t in a line: one parameter direction of three is free, with a row for each datum."""
    loss = random_tasks("gaussian", 2, 140, rng)
    columns = loss.parameters.copy()
    columns[:, 2] = columns[:, 1]
    flat = MimickingLoss(loss.moments, columns, loss.teacher_score, loss.teacher_value)
    seen = richness(flat)
    assert seen.parameter_null.shape == (3, 1)
    assert seen.null_dimension == seen.predicted == 6


def test_too_few_tasks_are_not_rich(rng):
    loss = random_tasks("gaussian", 2, 8, rng)
    assert not richness(loss).identifiable
    with pytest.raises(ValueError, match="more than scaling and its null vectors explain"):
        landing_point(loss, *loss.on_manifold(1.0))


def test_algorithm_1_learns():
    run = train(2, 1, 100, np.random.default_rng(0), learning_rate=0.05, batch=8, records=4)
    assert list(run.steps) == [0, 33, 66, 99]
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert not run.P[:, :, :5].any()  # Proposition 3.1, under Adam
    assert not run.P[:, 5:].any()
    assert not run.V[:, :6].any()
    assert not run.V[:, :, 5:].any()


def test_algorithm_1_is_seeded():
    once, again = (train(2, 1, 5, np.random.default_rng(3), batch=2, records=2) for _ in range(2))
    assert np.array_equal(once.P, again.P)


def test_alignment_of_the_construction():
    from icrl.linear_transformer import sarsa_weights

    P, V = (x.numpy() for x in sarsa_weights(3, 1.0, -2.0))
    assert np.allclose(alignment(P, V, 0.9), -1)
