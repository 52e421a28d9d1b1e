"""The room `gradient_flow`, `richness` above it, and Algorithm 1."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, check_grad

from icrl.gradient_flow import basins
from icrl.gradient_flow.flow import MimickingLoss, gradient_flow, outcome
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_actor_critic_tasks, random_tasks
from icrl.gradient_flow.teacher_mimicking import alignment, train


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
    [
        ("gaussian", 1, 1),
        ("gaussian", 4, 1),
        ("one-hot", 1, 4),
        ("one-hot", 4, 10),
        ("fixed rewards", 1, 7),
        ("fixed rewards", 3, 15),
        ("copied", 3, 15),
        ("ended", 3, 1),
    ],
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
    seen = richness(loss)
    assert not seen.identifiable
    assert len(seen.unexplained) == seen.null_dimension - 1
    jacobian = loss.jacobian(*loss.on_manifold(1.0))
    assert np.abs(jacobian @ seen.unexplained.T).max() < 1e-12
    assert "8 beyond these, for instance" in seen.describe()
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


def test_scores_of_a_softmax_policy_sum_to_zero_in_each_state(rng):
    loss = random_actor_critic_tasks("one-hot", 3, 2, 300, rng, discount=0.5)
    seen = richness(loss)
    assert seen.data_null.shape == (13, 4)
    for s in range(3):
        z = np.zeros(13)
        z[7 + 2 * s : 9 + 2 * s] = 1
        assert np.abs(loss.moments @ z).max() < 1e-14
    assert "x0 + x1 + x2 - 2 x3 - 2 x4 - 2 x5\n" in seen.describe()
    assert "x11 + x12" in seen.describe()


@pytest.mark.parametrize(("kind", "h"), [("gaussian", 4), ("ended", 4), ("reference action", 2)])
def test_actor_critic_shapes(kind, h, rng):
    loss = random_actor_critic_tasks(kind, 2, 2, 20, rng, critic_step=0.5, actor_step=2.0)
    assert loss.moments.shape == (20, 5 + h, 5 + h)
    assert loss.teacher_value.shape == (2 + h, 5 + h)
    assert np.array_equal(np.unique(loss.teacher_value), [0, 0.5, 2])


def test_start_at_its_distance(tasks, rng):
    teacher = tasks.on_manifold(1.0)
    for centre in ("teacher", "zero"):
        start = basins.random_start(tasks, centre, 0.3, rng)
        moved = [x - (centre == "teacher") * y for x, y in zip(start, teacher, strict=True)]
        sizes = [np.hypot(*map(np.linalg.norm, x)) for x in (moved, teacher)]
        assert np.isclose(sizes[0], 0.3 * sizes[1])


def test_local_rate_by_hand():
    """One entry each: at the landing point (c, 1/c) the Hessian has the eigenvalue s^2 (c^2 + 1/c^2)."""
    loss, score, value = scalar(0.5, 2.5)
    landing = basins.follow(loss, (score, value), 50.0, stop=1e-18)
    seen = basins.local_rate(landing.flow, loss)
    assert landing.miss < 1e-7
    assert np.isclose(seen.gap, 4 * (landing.scale**2 + landing.scale**-2), rtol=1e-6)
    assert np.isclose(seen.share, 1)
    assert np.allclose([seen.slope, seen.expected, seen.steepest], 2 * seen.gap, rtol=1e-3)
    assert np.isclose(basins.polyak(landing.flow, loss)[-1], seen.gap, rtol=1e-6)


def test_bound_by_hand():
    """One entry each: the margin is s, and the bound holds for a start at rest and one that moves."""
    loss, score, value = scalar(1.0, 1.0)
    assert np.isclose(richness(loss).margin, 2)
    assert np.isclose(basins.norm_bound(loss, score, value), 2**0.75)  # K = sqrt 2, balance 0
    one_hot = random_tasks("one-hot", 2, 140, np.random.default_rng(0))
    assert basins.norm_bound(one_hot, *one_hot.on_manifold(1.0)) == np.inf


def test_fates():
    """A power of time is a runaway, a constant is not."""
    loss, _, _ = scalar(1.0, 0.0)
    times = np.geomspace(1, 1e4, 50)

    def flow(power):
        sizes = (times**power)[:, None, None]
        return basins.Flow(times, 3 * sizes, 4 * sizes, np.ones(50))

    assert np.isclose(basins.growth(flow(0.25)), 0.25)
    assert basins.fate(flow(0.25), loss) == "runaway"
    assert basins.fate(flow(0.0), loss) == "moving"
    exponential = basins.Flow(times, np.exp(times / 2e4)[:, None, None], np.ones((50, 1, 1)), np.ones(50))
    assert basins.fate(exponential, loss) == "moving"


def test_a_flow_that_leaves_the_saddle_is_no_runaway():
    loss, rng = random_tasks("gaussian", 2, 140, np.random.default_rng(0)), np.random.default_rng(1)
    start = [1e-3 * rng.normal(size=x.shape) for x in loss.on_manifold(1.0)]
    for time in (2.0, 5.0, 8.0):
        assert basins.fate(gradient_flow(loss, *start, time), loss) in ("moving", "manifold")


def test_sign_where_a_direction_of_the_parameters_is_unseen():
    """What no task's parameters show stays where it was, however large, and says nothing of the sign."""
    tasks, rng = random_tasks("gaussian", 2, 200, np.random.default_rng(2)), np.random.default_rng(3)
    parameters = tasks.parameters.copy()
    parameters[:, 2] = parameters[:, 1]
    loss = MimickingLoss(tasks.moments, parameters, tasks.teacher_score, tasks.teacher_value)
    assert richness(loss).parameter_null.shape[1] == 1
    unseen = np.array([0, 1, -1]) / np.sqrt(2)
    score, value = loss.on_manifold(1.0)
    score = score + 0.05 * rng.normal(size=score.shape) - 4 * np.outer(score @ unseen, unseen)
    landing = basins.follow(loss, (score, value), 4000.0, stop=1e-16)
    assert landing.reached
    assert landing.scale > 0
    assert landing.miss < 1e-6
