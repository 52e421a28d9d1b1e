"""The Gaussian population loss against samples, and the mirror well against the whole gradient."""

import numpy as np
import pytest

from icrl.gradient_flow import GaussianLoss, mirror_well, mirrored, mirrored_loss, random_tasks

LAW = GaussianLoss(2, 0.8, 10, step_size=0.7)


def test_step_size_if_none_is_given():
    assert GaussianLoss(2, 0.8, 10) == GaussianLoss(2, 0.8, 10, step_size=1.0)


def test_one_feature_is_enough():
    law = GaussianLoss(1, 0.8, 10)
    assert abs(law.loss(*law.teacher)) < 1e-12


def test_the_closed_form_is_the_mean_over_tasks():
    """Loss and gradients against 100 000 sampled tasks at a random point; nothing at its default."""
    rng = np.random.default_rng(0)
    law = GaussianLoss(2, 0.6, 3, step_size=0.7)
    sampled = random_tasks("gaussian", 2, 100_000, rng, num_transitions=3, discount=0.6, step_size=0.7)
    score, value = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    assert abs(sampled.loss(score, value) / law.loss(score, value) - 1) < 0.03
    for ours, theirs in zip(law.gradients(score, value), sampled.gradients(score, value), strict=True):
        assert np.abs(ours - theirs).max() < 0.04 * np.abs(theirs).max()


def test_gradients_and_hessian_by_differences():
    """At a random point, d = 3."""
    law, rng = GaussianLoss(3, 0.8, 4), np.random.default_rng(1)
    score, value = rng.normal(size=(7, 4)), rng.normal(size=(3, 7))
    by_score, by_value = law.gradients(score, value)
    for _ in range(3):
        a, b = rng.normal(size=score.shape), rng.normal(size=value.shape)
        up, down = (law.loss(score + h * a, value + h * b) for h in (1e-5, -1e-5))
        slope = (by_score * a).sum() + (by_value * b).sum()
        assert abs((up - down) / 2e-5 / slope - 1) < 1e-6
        vector = np.concatenate([b.ravel(), a.ravel()])
        bend = vector @ law.hessian(score, value) @ vector
        up, down = (law.loss(score + h * a, value + h * b) for h in (1e-3, -1e-3))
        assert abs((up + down - 2 * law.loss(score, value)) / 1e-6 / bend - 1) < 1e-4
    hessian = law.hessian(score, value)
    assert np.array_equal(hessian, hessian.T)


def test_a_short_flow_is_a_step_down_the_gradient():
    """To second order in its time; and the default tolerance is far below what a flow of length 5 moves."""
    rng = np.random.default_rng(4)
    start = [0.5 * rng.normal(size=x.shape) for x in LAW.teacher]
    for end, x, slope in zip(LAW.follow(*start, 1e-4), start, LAW.gradients(*start), strict=True):
        assert np.abs(end - x).max() > 1e-5
        assert np.abs(end - (x - 1e-4 * slope)).max() < 1e-6
    for loose, tight in zip(LAW.follow(*start, 5.0), LAW.follow(*start, 5.0, rtol=1e-12), strict=True):
        assert np.abs(loose - tight).max() < 1e-6


def test_zero_loss_on_the_manifold_only():
    """The construction at any scale, and half of it."""
    score, value = LAW.teacher
    assert abs(LAW.loss(-2 * score, -value / 2)) < 1e-12
    assert LAW.loss(score, value / 2) > 0.1


def test_the_polynomial_of_the_mirrored_points():
    """By hand against the whole loss, any reflection, with a step of the teacher that is not 1."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        angle, numbers = rng.uniform(0, 2 * np.pi), rng.normal(size=4)
        turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
        for reflection in (turn, np.diag([1.0, -1.0])):
            whole = LAW.loss(*mirrored(LAW, numbers, reflection))
            assert abs(mirrored_loss(LAW, numbers) / whole - 1) < 1e-12


@pytest.mark.parametrize(("discount", "n"), [(0.8, 10), (0.8, 100), (0.3, 10), (0.95, 10)])
def test_the_well_is_stationary_and_a_minimum(discount, n):
    """The whole gradient is 0, two directions are null, no direction leads down, and the loss is positive."""
    law = GaussianLoss(2, discount, n)
    well = mirror_well(law)
    assert max(np.abs(x).max() for x in law.gradients(well.score, well.value)) < 1e-12
    bends = np.linalg.eigvalsh(law.hessian(well.score, well.value))
    assert (np.abs(bends) < 1e-6).sum() == 2
    assert bends.min() > -1e-6
    assert np.isclose(well.loss, law.loss(well.score, well.value), rtol=1e-9)
    for block, other in zip(mirrored(law, well.numbers), (well.score, well.value), strict=True):
        assert np.array_equal(block, other)
    assert 0.01 < well.loss < law.loss(0 * well.score, 0 * well.value)
    assert np.isclose(np.linalg.norm(well.score), np.linalg.norm(well.value))
    assert np.linalg.det(well.value[:, :2]) < 0


def test_windows_of_one_transition_have_a_saddle():
    well = mirror_well(GaussianLoss(2, 0.8, 1))
    assert np.linalg.eigvalsh(GaussianLoss(2, 0.8, 1).hessian(well.score, well.value))[0] < -0.1


def test_a_flow_stays_in_the_well_and_another_leaves_it():
    """From beside the well back to its level; from beside the teacher to zero."""
    law, rng = GaussianLoss(2, 0.8, 10), np.random.default_rng(3)
    well = mirror_well(law)
    start = [x + 0.05 * rng.normal(size=x.shape) for x in (well.score, well.value)]
    assert abs(law.loss(*law.follow(*start, 400.0)) - well.loss) < 1e-6
    start = [x + 0.05 * rng.normal(size=x.shape) for x in law.teacher]
    assert law.loss(*law.follow(*start, 400.0)) < 1e-6


@pytest.mark.bad_input
def test_refuses():
    for options, message in (
        ((0, 0.8, 10), "num_features is 0"),
        ((2, 1.0, 10), "discount is 1"),
        ((2, 0.0, 10), "discount is 0"),
        ((2, 0.8, 0), "num_transitions is 0"),
        ((2, 0.8, 10, -1.0), "step_size is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianLoss(*options)
    with pytest.raises(ValueError, match="loss has 3 features"):
        mirrored_loss(GaussianLoss(3, 0.8, 10), np.ones(4))
    with pytest.raises(ValueError, match="numbers has shape"):
        mirrored(LAW, np.ones(3))
    with pytest.raises(ValueError, match="reflection has determinant 1"):
        mirrored(LAW, np.ones(4), np.eye(2))
    for wrong in (np.diag([1, -0.5]), np.array([[1, 1], [0, -1]]), np.diag([1, -1 - 1e-8])):
        with pytest.raises(
            ValueError, match=r"reflection has determinant -.*; it must be orthogonal with -1"
        ):
            mirrored(LAW, np.ones(4), wrong)
    mirrored(LAW, np.ones(4), np.diag([1, -1 - 1e-11]))  # rounded
