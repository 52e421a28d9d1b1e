"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import numpy as np
import pytest

from icrl import contraction, softmax_td
from icrl.claims import contraction as chapter
from icrl.softmax_transformer import SoftmaxTransformer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


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
