"""What the tasks leave undetermined, and where a flow lands."""

from dataclasses import replace

import numpy as np
import pytest

from icrl.gradient_flow import basins
from icrl.gradient_flow.flow import MimickingLoss
from icrl.gradient_flow.richness import _readable, landing_point, richness
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


def test_the_leading_direction_is_named_by_its_entry(rng):
    """Blocks of shapes (2, 5) and (5, 3), one after the other, row by row."""
    seen = richness(random_tasks("gaussian", 2, 8, rng))
    for entry, name in ((3, "V21[0, 3]"), (9, "V21[1, 4]"), (20, "P12[3, 1]")):
        small, large = np.zeros((2, 25))
        small[5], large[entry] = 0.6, 1.0  # rows need not be of one length
        text = replace(seen, unexplained=np.array([small, large])).describe()
        assert f"for instance {name} +1.00, " in text


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
