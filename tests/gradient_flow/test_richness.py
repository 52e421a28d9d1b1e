"""What the tasks leave undetermined, and where a flow lands."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.gradient_flow import basins
from icrl.gradient_flow.flow import MimickingLoss
from icrl.gradient_flow.richness import _combination, _readable, landing_point, richness
from icrl.gradient_flow.tasks import random_tasks


@pytest.fixture
def tasks(rng):
    return random_tasks("gaussian", 2, 140, rng)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


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
    score, value = loss.on_manifold(0.7)
    assert np.abs(loss.jacobian(score, value) @ seen.directions.T).max() < 1e-12
    scaling = np.concatenate([value.ravel(), -score.ravel()])
    assert np.abs(seen.directions @ scaling).max() < 1e-12
    assert np.allclose(seen.directions @ seen.directions.T, np.eye(len(seen.directions)), atol=1e-12)


@pytest.mark.parametrize(("kind", "count"), [("gaussian", 60), ("one-hot", 60), ("gaussian", 9)])
def test_the_spectrum_is_that_of_the_hessian(kind, count, rng):
    """At the teacher, of many tasks and of fewer than there are entries."""
    loss = random_tasks(kind, 2, count, rng, step_size=0.4)
    seen = richness(loss, scale=0.7)
    values = np.linalg.eigvalsh(loss.hessian(*loss.on_manifold(0.7)))[::-1]
    assert np.allclose(seen.spectrum, values, atol=1e-12)
    above = 25 - seen.null_dimension
    assert not seen.spectrum[above:].any()
    assert np.isclose(seen.gap, values[above - 1])
    assert np.isclose(seen.condition, values[0] / values[above - 1])


def test_margin_and_span_of_whole_products(rng):
    """From all m m k entries of S_t (x) w_t: those off the diagonal stand there twice."""
    for kind, rich in (("gaussian", True), ("one-hot", False)):
        loss = random_tasks(kind, 2, 140, rng)
        seen = richness(loss)
        whole = np.einsum("tij,tk->tijk", loss.moments, loss.parameters).reshape(140, -1) / np.sqrt(140)
        values = np.linalg.svd(whole, compute_uv=False)
        assert seen.full_span == 3 * 5 * 6 / 2
        assert seen.span == np.linalg.matrix_rank(whole, rtol=1e-8)
        assert seen.rich == rich
        assert np.isclose(seen.margin, values[44] if rich else 0, rtol=1e-9, atol=0)


def test_units_do_not_count(rng):
    """Data in other units: the same counts, and moments enter spectrum and margin by their square."""
    loss = random_tasks("gaussian", 2, 140, rng)
    seen = richness(loss)
    for unit in (1e-6, 1e6):
        other = richness(replace(loss, moments=unit * loss.moments))
        assert (other.null_dimension, other.predicted, other.span) == (1, 1, 45)
        assert np.isclose(other.gap, unit**2 * seen.gap)
        assert np.isclose(other.margin, unit * seen.margin)


@pytest.mark.parametrize(("size", "null"), [(4e-6, 1), (1e-10, 6)])
def test_what_is_small_and_what_counts_as_zero(size, null, rng):
    """A datum a millionth of the others is seen; at 1e-10 it is as if it were never there: q + k more."""
    loss = random_tasks("gaussian", 2, 140, rng)
    weights = np.array([1, 1, 1, 1, size])
    seen = richness(replace(loss, moments=weights[:, None] * loss.moments * weights))
    assert seen.null_dimension == seen.predicted == null
    assert seen.data_null.shape[1] == (null > 1)


def test_a_teacher_with_negative_updates_can_be_learned(rng):
    """One entry each: however many tasks there are, only the scale is free."""
    moments, one = rng.uniform(1, 2, (5, 1, 1)), np.ones((1, 1))
    assert richness(MimickingLoss(moments, np.ones((5, 1)), 0.7 * one, -0.3 * one)).null_dimension == 1


@pytest.mark.parametrize(("row", "angle"), [((1.0, 0.0), 45), ((1.0, -1.0), 90), ((2.0, 1.0), 18.4349488)])
def test_the_scaling_angle_is_measured(row, angle, monkeypatch):
    """One entry each, scaling is (1, -1): a derivative with one row that does not annihilate it."""
    one = np.ones((1, 1))
    monkeypatch.setattr(MimickingLoss, "jacobian", lambda *_: np.array([row]))
    seen = richness(MimickingLoss(one[None], one, one, one))
    assert np.isclose(np.degrees(seen.scaling_angle), angle)


def test_parameters_that_never_vary_are_counted(rng):
    """w_t in a line: one parameter direction of three is free, with a row for each datum."""
    loss = random_tasks("gaussian", 2, 140, rng)
    columns = loss.parameters.copy()
    columns[:, 2] = columns[:, 1]
    flat = MimickingLoss(loss.moments, columns, loss.teacher_score, loss.teacher_value)
    seen = richness(flat)
    assert seen.parameter_null.shape == (3, 1)
    assert seen.null_dimension == seen.predicted == 6


def both_unseen(count, rng):
    """Tasks with two directions that no datum shows, and one that no parameter shows."""
    loss = random_tasks("copied", 3, count, rng, step_size=0.4)
    columns = loss.parameters.copy()
    columns[:, 3] = 2 * columns[:, 1]
    return replace(loss, parameters=columns)


def test_both_null_spaces_are_counted_once(rng):
    """1 + nu (q + k) + omega (m - nu) with nu = 2, omega = 1: what both leave free counts once."""
    seen = richness(both_unseen(140, rng))
    assert seen.null_dimension == seen.predicted == 1 + 2 * (3 + 4) + 1 * (7 - 2)
    assert len(seen.unexplained) == 0


def test_what_nothing_explains_is_off_what_is_explained(rng):
    """Eight tasks: beyond scaling and both null spaces, and orthogonal to all of these."""
    loss = both_unseen(8, rng)
    seen, (score, value) = richness(loss), loss.on_manifold(1.0)
    assert seen.predicted == 20
    assert len(seen.unexplained) == seen.null_dimension - 20 > 0
    assert np.allclose(seen.unexplained @ seen.unexplained.T, np.eye(len(seen.unexplained)), atol=1e-12)
    for vector in seen.unexplained:
        by_score, by_value = loss.unpack(vector)
        for x in (by_value @ seen.data_null, seen.data_null.T @ by_score, by_score @ seen.parameter_null):
            assert np.abs(x).max() < 1e-10
        assert abs((by_value * value).sum() - (by_score * score).sum()) < 1e-10


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


def test_the_leading_direction_is_named_by_its_entry(rng):
    """Blocks of shapes (2, 5) and (5, 3), one after the other, row by row."""
    seen = richness(random_tasks("gaussian", 2, 8, rng))
    for entry, name in ((3, "V21[0, 3]"), (9, "V21[1, 4]"), (20, "P12[3, 1]")):
        small, large = np.zeros((2, 25))
        small[5], large[entry] = 0.6, -2.0  # rows need not be of one length, nor of one sign
        large[[7, 8, 10, 11]] = 1, 0.5, -0.25, 0.125
        text = replace(seen, unexplained=np.array([small, large])).describe()
        rest = "V21[1, 2] -0.43, V21[1, 3] -0.22, P12[0, 0] +0.11"  # four, of a vector of length one
        assert text.endswith(f"for instance {name} +0.87, {rest}")


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


LOSS = random_tasks("gaussian", 2, 140, np.random.default_rng(0))


SCORE, VALUE = LOSS.on_manifold(1.0)


@pytest.mark.bad_input
def test_refuses_sign():
    with pytest.raises(ValueError, match="sign is 0; it must be 1 or -1"):
        landing_point(LOSS, SCORE, VALUE, sign=0)


@pytest.mark.bad_input
def test_refuses_too_few_tasks_name_a_direction():
    few = random_tasks("gaussian", 2, 8, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"8 more .* for instance (P12|V21)\[\d, \d\] [+-]0\.\d\d, "):
        landing_point(few, *few.on_manifold(1.0))


def test_null_directions_are_read_from_any_basis():
    """Reduced rows of one span, though the first vector has nothing where the first pivot is."""
    null = np.array([[0.0, 0.0, 1.0, 2.0], [3.0, 6.0, 0.0, 3.0]]).T
    assert np.allclose(_readable(null), [[1, 2, 0, 1], [0, 0, 1, 2]], atol=1e-15)


def test_null_directions_in_words():
    """Three rows mixed, some of their first entries negative or zero; small entries, and noise."""
    rows = np.array([[1, 0, 2, 0, -1, 0.5], [0, 1, -3, 0, 4, 0], [0, 0, 0, 1, 0.5, 2]])
    for mix in ([[-1, 2, 1], [0, 1, 3], [-2, 1, 1]], [[0, 1, 0], [0, 0, -3], [-2, 0, 1]]):
        assert np.allclose(_readable((np.array(mix) @ rows).T), rows, atol=1e-12)
    assert np.allclose(_readable(np.array([[5e-4, 1.0]]).T), [[1, 2000]])
    assert np.allclose(_readable(np.array([[1e-8, -2.0]]).T), [[-5e-9, 1]])
    assert _combination("x", np.array([1, 1, -1.25, 0])) == "x0 + x1 - 1.25 x2"
    assert _combination("w", np.array([0, -0.5, -1, 5e-4, 1e-8])) == "- 0.5 w1 - w2 + 0.0005 w3"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_landing_point_keeps_what_is_unseen_and_the_balance(sign, rng):
    """What tasks see fits the teacher, with the norms' difference of the start; the rest has stayed."""
    loss = both_unseen(140, rng)
    start = [rng.normal(size=x.shape) for x in loss.on_manifold(1.0)]
    seen = richness(loss)
    x, w = seen.data_null, seen.parameter_null
    scale, *end = landing_point(loss, *start, sign)
    assert np.sign(scale) == sign
    assert loss.loss(*end) < 1e-20
    assert np.allclose(x.T @ end[0], x.T @ start[0], atol=1e-12)
    assert np.allclose(end[0] @ w, start[0] @ w, atol=1e-12)
    assert np.allclose(end[1] @ x, start[1] @ x, atol=1e-12)
    balance = [(v**2).sum() - (p**2).sum() for p, v in (start, end)]
    assert np.isclose(*balance, rtol=1e-9)


@pytest.mark.parametrize(("score", "value", "scale"), [(1e5, 0.0, 1e5), (0.0, 1e5, 0.3e-5)])
def test_a_landing_point_far_from_balance(score, value, scale):
    """One entry each, the teacher's value 0.3: of two large numbers' difference nothing is lost."""
    one = np.ones((1, 1))
    loss = MimickingLoss(one[None], one, one, 0.3 * one)
    c, *end = landing_point(loss, score * one, value * one)
    assert np.isclose(c, scale, rtol=1e-9)
    assert np.isclose(end[0], c)
    assert np.isclose(end[1], 0.3 / c)
