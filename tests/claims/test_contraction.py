"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import numpy as np
import pytest

from icrl import contraction, softmax_td
from icrl.claims import certificate
from icrl.claims import contraction as chapter
from icrl.softmax_transformer import SoftmaxTransformer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS + certificate.CLAIMS}


def holds(name, seed=3):
    return CLAIMS[name].check(np.random.default_rng(seed)).holds


@pytest.mark.parametrize("name", CLAIMS)
def test_holds(name):
    assert "|" not in CLAIMS[name].statement
    assert holds(name)


def wrap(module, name, change):
    """`module.name` with its result passed through `change`."""
    original = getattr(module, name)
    return module, name, lambda *a, **k: change(original(*a, **k))


def replaced(**change):
    """A change of a result's attributes: functions of the old value."""

    def apply(result):
        for name, new in change.items():
            object.__setattr__(result, name, new(getattr(result, name)))
        return result

    return apply


BROKEN = {
    "theorem-2-recursion": wrap(softmax_td, "kernel_td", lambda v: -v),
    "theorem-2-norm": wrap(softmax_td, "iteration_matrix", lambda b: 2 * np.eye(len(b)) - b),
    "population-operator": wrap(contraction, "poisson_solution", lambda g: -g),
    "theorem-2-constants": wrap(
        contraction, "population_bound", replaced(floor=lambda x: 0.01 * x, rate=lambda x: 0.3 * x)
    ),
    "assumption-contracts": wrap(
        contraction, "population_iteration_matrix", lambda b: 2 * np.eye(len(b)) - b
    ),
    "assumption-threshold": wrap(contraction, "population_matching", lambda m: m[:, ::-1]),
    "best-match-elsewhere": wrap(contraction, "population_matching", lambda m: m[:, ::-1]),
    "assumption-not-needed": wrap(
        contraction, "population_iteration_matrix", lambda b: 2 * np.eye(len(b)) - b
    ),
    "rate-per-layer": wrap(contraction, "population_matching", lambda m: m.T / m.T.sum(1, keepdims=True)),
    "context-error": wrap(softmax_td, "empirical_model", lambda model: (model[0] + 0.1, model[1])),
    "certificate": wrap(contraction, "hoeffding_radius", lambda x: x / 100),
    "certificate-formula": wrap(contraction, "hoeffding_radius", lambda x: x * 1.001),
    "certificate-rare-state": wrap(contraction, "hoeffding_radius", lambda x: x.min() + 0 * x),
    "floor-slope": wrap(chapter, "floor_errors", lambda e: e**2),
    "floor-fixed": wrap(softmax_td, "softmax_kernel", lambda k: np.roll(k, 1, axis=0)),
    "understated-range": wrap(contraction.valid, "width", lambda x: x + 1000),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_can_fail(name, monkeypatch):
    monkeypatch.setattr(*BROKEN[name])
    assert not holds(name)


def test_a_shifted_interval_is_seen(monkeypatch):
    original = contraction.certificate
    center = replaced(estimate=lambda x: x + 1e-3 + 2 * np.abs(x))
    monkeypatch.setattr(contraction, "certificate", lambda *a, **k: center(original(*a, **k)))
    assert not holds("certificate")


def test_a_transformer_that_steps_too_far_is_seen(monkeypatch):
    original = SoftmaxTransformer.values
    monkeypatch.setattr(SoftmaxTransformer, "values", lambda *a, **k: 1.1 * original(*a, **k))
    assert not holds("rate-per-layer")


def radius_with(visits=lambda n, total: n, union=True):
    def radius(counts, *, num_states, num_transitions, span, delta):
        pairs = num_states * num_transitions if union else 1
        return span * np.sqrt(np.log(2 * pairs / delta) / (2 * visits(counts, num_transitions)))

    return radius


def test_the_right_radius_is_the_packages(monkeypatch):
    monkeypatch.setattr(contraction, "hoeffding_radius", radius_with())
    assert holds("certificate-formula")


@pytest.mark.parametrize(
    ("name", "radius"),
    [
        ("certificate-formula", radius_with(lambda n, total: total + 0 * n)),
        ("certificate-rare-state", radius_with(lambda n, total: total + 0 * n)),
        ("certificate-rare-state", radius_with(lambda n, total: n.mean() + 0 * n)),
        ("certificate-formula", radius_with(union=False)),
    ],
)
def test_a_wrong_count_in_the_radius_is_seen(name, radius, monkeypatch):
    """The context's length or the mean count for the visits of a state; no union over states and counts."""
    monkeypatch.setattr(contraction, "hoeffding_radius", radius)
    assert not holds(name)


@pytest.mark.parametrize(
    "change", [lambda b: b.T, lambda b: np.eye(len(b)), lambda b: 2 * np.eye(len(b)) - b]
)
def test_a_wrong_inverse_is_seen(change, monkeypatch):
    """Transposed, dropped, or with the sign of the discount flipped; the estimate itself is left alone."""
    solve = np.linalg.solve

    def wrong(matrix, right):
        # Only the radius is solved for with a positive right-hand side as wide as the range of values.
        return solve(change(matrix) if (right > 0).all() else matrix, right)

    monkeypatch.setattr(contraction.np.linalg, "solve", wrong)
    assert not holds("certificate-formula")
