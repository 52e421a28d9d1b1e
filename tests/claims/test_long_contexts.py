"""Claims on endless contexts and on depth against length: each fails where something behind it is broken."""

import dataclasses
import inspect

import numpy as np
import pytest
from early import still_holds

from icrl.claims import long_contexts as chapter
from icrl.neu import endless, joint, limits
from icrl.neu import loss as neu
from icrl.softmax_transformer import SoftmaxTransformer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}
ORIGINAL = {name: getattr(chapter, name) for name in vars(chapter)}
ENUMERATE, SHIFT = neu.TaskDistribution.enumerate, SoftmaxTransformer._shift
POPULATION = limits.population_matching


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def rewritten(function, old, new):
    """The same function with one piece of its source replaced, in its own module."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, old
    namespace = dict(inspect.getmodule(function).__dict__)
    exec("from __future__ import annotations\n" + source.replace(old, new), namespace)
    return namespace[function.__name__]


WRONG_LIMITS = {
    "discount": ("along[..., t] += gamma**2", "along[..., t] += gamma"),
    "sign": ("along[..., t] += gamma**2", "along[..., t] -= gamma**2"),
    "left out": ("along[..., t] += gamma**2", "along[..., t] += 0 * gamma**2"),
    "query": ("along[..., :, None] * query[..., None, :]", "along[..., :, None] * tokens[..., None, :]"),
    "reward row": ("forced[..., d, :] = alpha * over", "forced[..., d, :] = over"),
    "temperature": ("forced[..., :d, :] *= alpha * tau", "forced[..., :d, :] *= alpha"),
}


@pytest.mark.parametrize("wrong", WRONG_LIMITS.values(), ids=WRONG_LIMITS)
def test_endless_context_sees_a_wrong_recursion(monkeypatch, wrong):
    monkeypatch.setattr(limits, "_limits", rewritten(limits._limits, *wrong))
    assert not holds("neu-endless-context")


@pytest.mark.parametrize("claim", ["neu-endless-context", "neu-long-contexts", "theorem-3", "neu-step-sizes"])
def test_uniform_for_stationary(monkeypatch, claim):
    """The query drawn uniformly."""
    wrong = rewritten(
        limits.limit_update,
        "np.tensordot(tasks.stationary * td_errors",
        "np.tensordot(td_errors / td_errors.shape[1]",
    )
    monkeypatch.setattr(chapter, "limit_update", wrong)
    assert not holds(claim)


@pytest.mark.parametrize("fault", ["discount", "sign"])
@pytest.mark.parametrize("claim", ["theorem-3", "neu-step-sizes"])
def test_variance_of_the_next_value(monkeypatch, claim, fault):
    """gamma for its square, or the other sign, in the covariance of targets and TD errors."""
    monkeypatch.setattr(limits, "_limits", rewritten(limits._limits, *WRONG_LIMITS[fault]))
    assert not holds(claim)


def uniform(tasks, n):
    """Windows of the right number, as if every trajectory were equally likely."""
    windows = ENUMERATE(tasks, n)
    return windows._replace(probability=np.full(len(windows.task), 1 / len(windows.task)))


def same_value(*args):
    terms = ORIGINAL["neu_terms"](*args)
    return dataclasses.replace(terms, next_value=terms.value)


def as_a_source(*args, **kwargs):
    """A query that carries its reward: one entry of A no longer grows."""
    seen = ORIGINAL["limit_gradient"](*args, **kwargs)
    seen.gradients[:, 1, -2, -3] = 0
    return seen


def turned_slopes(*args, **kwargs):
    """The two growing entries with the opposite sign."""
    seen = ORIGINAL["limit_gradient"](*args, **kwargs)
    seen.gradients[:, 1, -2, -3:-1] *= -1
    return seen


def uncleared(self, prompt, update):
    """A shift that adds to the target row instead of replacing it."""
    shifted = SHIFT(self, prompt, update).clone()
    shifted[..., -2, :] += 0.1 * update[..., -2, :]
    return shifted


def steeper(factor):
    """Every eigenvalue of B larger by a factor: the range of step sizes seems to end elsewhere."""

    def matrix(*args):
        seen = ORIGINAL["population_iteration_matrix"](*args)
        return np.eye(len(seen)) - factor * (np.eye(len(seen)) - seen)

    return matrix


FAULTS = [
    ("neu-endless-context", limits, "population_matching", lambda f, m: POPULATION(f, m[::-1])),
    ("neu-endless-context", endless, "softmax_td_weights", lambda d, a: WEIGHTS(d, 1.1 * a)),
    ("neu-gradient-limit", limits, "population_matching", lambda f, m: POPULATION(f, m[::-1])),
    ("neu-gradient-limit", SoftmaxTransformer, "_shift", uncleared),
    ("neu-gradient-limit", chapter, "limit_gradient", turned_slopes),
    ("neu-gradient-limit-query", chapter, "limit_gradient", as_a_source),
    ("neu-long-contexts", chapter, "limit_update", lambda *a: -ORIGINAL["limit_update"](*a)),
    ("neu-long-contexts", chapter, "limit_update", lambda *a: 1.02 * ORIGINAL["limit_update"](*a)),
    ("theorem-3", chapter, "limit_update", lambda *a: ORIGINAL["limit_update"](*a) + 1e-4),
    ("theorem-3", limits, "population_matching", lambda f, m: 0.9 * POPULATION(f, m)),
    ("neu-step-sizes", chapter, "limit_update", lambda t, k, step_size: ORIGINAL["limit_update"](t, k)),
    ("neu-step-sizes", limits, "population_matching", lambda f, m: 0.8 * POPULATION(f, m)),
    ("neu-step-sizes", chapter, "population_iteration_matrix", steeper(2)),  # inside, it is not beyond
    ("neu-step-sizes", chapter, "population_iteration_matrix", steeper(0.8)),  # beyond, it is not inside
    ("neu-other-order", neu.TaskDistribution, "enumerate", uniform),
    ("neu-other-order", chapter, "neu_terms", same_value),
    ("neu-joint-slope", joint, "_pair_statistics", lambda P, mu: (0 * PAIRS(P, mu)[0], PAIRS(P, mu)[1])),
    ("neu-joint-slope", joint, "_pair_statistics", lambda P, mu: (PAIRS(P, mu)[0], 0.5 * PAIRS(P, mu)[1])),
    ("neu-joint-slope", chapter, "joint_slope", lambda *a: -ORIGINAL["joint_slope"](*a)),
    ("neu-joint-slope", chapter, "joint_slope", lambda *a: 1.1 * ORIGINAL["joint_slope"](*a)),
    ("neu-joint-slope", chapter, "joint_slope", lambda *a: 0.9 * ORIGINAL["joint_slope"](*a)),
    ("neu-joint-limit", chapter, "joint_slope", lambda *a: 1.1 * ORIGINAL["joint_slope"](*a)),
    ("neu-joint-limit", chapter, "joint_slope", lambda *a: 0.9 * ORIGINAL["joint_slope"](*a)),
]
PAIRS, WEIGHTS = joint._pair_statistics, endless.softmax_td_weights


@pytest.mark.parametrize(("claim", "owner", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, owner, name, fault):
    monkeypatch.setattr(owner, name, fault)
    assert not holds(claim)
