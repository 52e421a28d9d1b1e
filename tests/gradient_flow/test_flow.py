"""The loss in its moments, and the flow."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, check_grad

from icrl.gradient_flow import flow
from icrl.gradient_flow.flow import Flow, MimickingLoss, gradient_flow, mimicking_loss, outcome
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_tasks
from icrl.gradient_flow.whole_block import block_gradients
from icrl.linear_transformer import sarsa_weights


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


def test_single_precision_is_computed_in_double(rng):
    given = [np.eye(2)[None] + 0.1, np.ones((1, 1)), *(rng.normal(size=shape) for shape in ((2, 1), (2, 2)))]
    single = [x.astype(np.float32) for x in given]
    loss, exact = MimickingLoss(*single), MimickingLoss(*(x.astype(np.float64) for x in single))
    score, value = np.array([[0.3], [0.7]]), np.array([[0.1, 0.2], [0.4, 0.9]])
    assert loss.loss(score, value) == exact.loss(score, value)


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


def test_residuals_by_a_loop(tasks, rng):
    """``(V21 S P12 - V*21 S P*12) w`` of each task."""
    score, value = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    for found, S, w in zip(tasks.residuals(score, value), tasks.moments, tasks.parameters, strict=True):
        wanted = (value @ S @ score - tasks.teacher_value @ S @ tasks.teacher_score) @ w
        assert np.allclose(found, wanted, atol=1e-13)


def test_zero_on_the_manifold(tasks):
    for scale in (-2.0, -1.0, 0.1, 1.0):
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


@pytest.mark.parametrize("given", [None, 3])
def test_the_loss_of_prompts_is_that_of_the_whole_block(given, rng):
    """Moments, columns and blocks cut out of prompts and matrices, in single precision or with gradients."""
    size, p = 8, given or 2  # D = 3 d + 2 if the number of parameters is not given
    m = size - p - 1
    prompts = torch.from_numpy(rng.normal(size=(6, size, 5)))
    prompts[:, m:, :-1], prompts[:, :m, -1], prompts[:, m, -1] = 0, 0, 1
    P, V = torch.zeros(2, size, size, dtype=torch.float64)
    P[:m, m:], V[m + 1 :, :m] = (torch.from_numpy(rng.normal(size=s)) for s in ((m, p + 1), (p, m)))
    loss = mimicking_loss(prompts.clone().requires_grad_(), P.clone().requires_grad_(), V, given)
    score, value = rng.normal(size=(m, p + 1)), rng.normal(size=(p, m))
    P_own, V_own = torch.zeros_like(P), torch.zeros_like(V)
    P_own[:m, m:], V_own[m + 1 :, :m] = torch.from_numpy(score), torch.from_numpy(value)
    whole, by_P, by_V = block_gradients(prompts, (P, V), P_own, V_own, p)
    assert np.isclose(loss.loss(score, value), whole, rtol=1e-12)
    by_score, by_value = loss.gradients(score, value)
    assert np.allclose(by_score, by_P[:m, m:])
    assert np.allclose(by_value, by_V[m + 1 :, :m])
    single = mimicking_loss(prompts.float(), P.float(), V.float(), given)
    assert single.moments.dtype == np.float64
    assert np.allclose(single.moments, loss.moments, rtol=1e-5, atol=1e-6)


def test_one_transition_and_one_datum_are_enough():
    loss = mimicking_loss(torch.ones(3, 8, 2), *sarsa_weights(2, 1.0), 6)
    assert loss.moments.shape == (3, 1, 1)
    assert loss.teacher_value.shape == (6, 1)


def test_balance_is_the_difference_of_squares(rng):
    scores, values = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 5, 3))
    for i, found in enumerate(Flow(np.arange(4.0), scores, values, np.ones(4)).balance):
        assert np.isclose(found, np.linalg.norm(values[i]) ** 2 - np.linalg.norm(scores[i]) ** 2)


def test_how_a_flow_ends_by_default_and_where_it_stops():
    """From time 0 to the end, with tolerances 1e-9 and 1e-12; or until the loss is what it may be."""
    loss, score, value = scalar(0.0, 0.9)  # crosses a loss of 1
    once = gradient_flow(loss, score, value, 2.0)
    again = gradient_flow(loss, score, value, 2.0, rtol=1e-9, atol=1e-12, stop=0.0)
    assert np.array_equal(once.scores, again.scores)
    assert (once.times[0], once.times[-1]) == (0, 2)
    stopped = gradient_flow(loss, score, value, 2.0, stop=1e-3)
    assert np.isclose(stopped.losses[-1], 1e-3)
    assert stopped.times[-1] < 2
    assert (stopped.losses[:-1] > 1e-3).all()
    sharp = gradient_flow(loss, score, value, 0.1, rtol=1e-13, atol=1e-14)  # the smallest
    assert np.ptp(sharp.balance) < 1e-11


@pytest.mark.parametrize(
    ("height", "value", "end"),
    [(9e-11, 1.0, "manifold"), (2e-10, 2e-7, "rest"), (2e-10, 3e-7, "moving"), (2e-10, -3e-7, "moving")],
)
def test_ends_are_named_by_their_last_moment(height, value, end):
    """One entry each beside the saddle: the gradient in the score is -4 V, that in the value almost 0."""
    loss, _, _ = scalar(0.0, 0.0)
    values = np.array([0.7, 0.8, value])[:, None, None]
    scores = np.array([0.3, 0.4, 0.0])[:, None, None]
    flow = Flow(np.arange(3.0), scores, values, np.array([1.0, 0.5, height]))
    assert outcome(flow, loss) == end


def test_zero_start_rests(tasks):
    flow = gradient_flow(tasks, *(0 * x for x in tasks.on_manifold(1.0)), 5.0)
    assert outcome(flow, tasks) == "rest"
    assert flow.losses[0] == flow.losses[-1] > 0


LOSS = random_tasks("gaussian", 2, 140, np.random.default_rng(0))


PARTS = {name: getattr(LOSS, name) for name in MimickingLoss.__dataclass_fields__}


SCORE, VALUE = LOSS.on_manifold(1.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moments": LOSS.moments[:, :4]}, r"moments has shape \(140, 4, 5\)"),
        ({"moments": np.triu(LOSS.moments)}, "moments differ from their transposes by"),
        ({"parameters": LOSS.parameters[1:]}, r"parameters has shape \(139, 3\)"),
        ({"parameters": LOSS.parameters * np.nan}, r"parameters\[0, 0\] is nan"),
        ({"teacher_score": SCORE.T}, r"teacher_score has shape \(3, 5\)"),
        ({"teacher_value": VALUE[:, 1:]}, r"teacher_value has shape \(2, 4\)"),
    ],
)
def test_refuses_loss(change, message):
    with pytest.raises(ValueError, match=message):
        MimickingLoss(**(PARTS | change))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.full_like(SCORE, np.inf)}, r"score\[0, 0\] is inf; every entry must be finite"),
        ({"score": SCORE[1:]}, r"value has shape \(2, 5\); its axis m must have length 4, as score says"),
        ({"value": VALUE.T}, r"value has shape \(5, 2\)"),
        ({"time": 0.0}, "time is 0; it must be positive"),
        ({"rtol": 1e-16}, r"rtol is 1e-16; it must lie in \[1e-13, 1\)"),
        ({"rtol": 1.0}, r"rtol is 1; it must lie in \[1e-13, 1\)"),
        ({"atol": -1.0}, "atol is -1; it must be positive"),
        ({"stop": np.nan}, "stop is nan"),
    ],
)
def test_refuses_flow(change, message):
    with pytest.raises(ValueError, match=message):
        gradient_flow(**({"loss": LOSS, "score": SCORE, "value": VALUE, "time": 1.0} | change))


@pytest.mark.bad_input
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_moments_are_symmetric_up_to_rounding(unit):
    """As a share of the largest entry, though other entries are 0."""
    moments = np.array([np.diag([1.0, 0.0, 2.0])] * 2)
    parts = {
        "parameters": np.ones((2, 1)),
        "teacher_score": np.ones((3, 1)),
        "teacher_value": np.ones((1, 3)),
    }
    moments[1, 0, 2] = 1e-11
    MimickingLoss(moments=unit * moments, **parts)
    moments[1, 0, 2] = 1e-9
    with pytest.raises(ValueError, match="moments differ from their transposes by"):
        MimickingLoss(moments=unit * moments, **parts)


@pytest.mark.bad_input
@pytest.mark.parametrize("count", [24, 26])
def test_refuses_vectors_of_another_length(count):
    with pytest.raises(ValueError, match=rf"vector has shape \({count},\); it must be \(25,\)"):
        LOSS.unpack(np.ones(count))


@pytest.mark.bad_input
def test_refuses_solver_that_gives_up():
    with pytest.raises(ValueError, match="the solver gave up at time"):
        gradient_flow(LOSS, 1e200 * SCORE, 1e200 * VALUE, 1.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(("success", "last"), [(False, 1.0), (True, np.nan)])
def test_refuses_a_solution_that_is_none(success, last, monkeypatch):
    """The solver says that it failed, or one number of many is none."""
    y = np.ones((25, 3))
    y[7, -1] = last
    found = SimpleNamespace(success=success, y=y, t=np.array([0, 1, 1.5]))
    monkeypatch.setattr(flow, "solve_ivp", lambda *_, **__: found)
    with pytest.raises(ValueError, match=r"rtol is 1e-09, atol 1e-12; the solver gave up at time 1.5"):
        gradient_flow(LOSS, SCORE, VALUE, 2.0)


@pytest.mark.bad_input
def test_refuses_scale_zero():
    with pytest.raises(ValueError, match="scale is 0; it must not be zero"):
        richness(LOSS, scale=0.0)


@pytest.mark.bad_input
def test_refuses_nothing_to_learn():
    with pytest.raises(ValueError, match="there is nothing to learn"):
        richness(MimickingLoss(**(PARTS | {"moments": 0 * LOSS.moments})))


@pytest.mark.bad_input
def test_refuses_prompts():
    P, V = sarsa_weights(2, 1.0)
    with pytest.raises(ValueError, match=r"prompts has shape \(8, 4\)"):
        mimicking_loss(torch.zeros(8, 4), P, V)
    with pytest.raises(ValueError, match=r"prompts has shape \(3, 8, 1\); it must be"):
        mimicking_loss(torch.zeros(3, 8, 1), P, V)
    with pytest.raises(ValueError, match="num_parameters is 0; it must be at least 1"):
        mimicking_loss(torch.zeros(3, 8, 4), P, V, 0)
    with pytest.raises(ValueError, match=r"V\[0, 0\] is nan"):
        mimicking_loss(torch.zeros(3, 8, 4), P, V * np.nan)
    with pytest.raises(ValueError, match="num_parameters is 7; it must be at most D - 2 = 6"):
        mimicking_loss(torch.zeros(3, 8, 4), P, V, 7)
    with pytest.raises(ValueError, match=r"P has shape \(8, 8\); its axis D must have length 9"):
        mimicking_loss(torch.zeros(3, 9, 4), P, V)
