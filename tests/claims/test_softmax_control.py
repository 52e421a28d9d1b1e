"""Every claim of the chapter holds, and each of its parts fails where something behind it is broken."""

from dataclasses import replace

import numpy as np
import pytest
from early import still_holds

from icrl.claims import passes as claims_of_passes
from icrl.claims import softmax_control as chapter
from icrl.control import centring, features, operators, passes
from icrl.control.updaters import SoftmaxPairs, Tabular

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS + claims_of_passes.CLAIMS}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def changed(function, change):
    """The function with its result passed through `change`."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def given(function, change):
    """The function with its arguments passed through `change`."""
    return lambda *args, **kwargs: function(*change(*args), **kwargs)


def endless(function):
    """An updater that does not see where episodes end."""

    def update(self, memory, roll, policies, discount):
        return function(self, memory, roll._replace(ended=np.zeros_like(roll.ended)), policies, discount)

    return update


def cold(function):
    """An updater that starts every pass from zero."""
    return lambda self, memory, *args: function(self, 0 * memory, *args)


def left_pairs_only(function):
    """All pairs are asked, but only those that the window left take over their answer."""

    def update(self, memory, roll, policies, discount):
        new, kept = function(self, memory, roll, policies, discount), memory.copy()
        row = np.arange(len(memory))[:, None]
        where = row, roll.states[:, :-1], roll.actions[:, :-1]
        kept[where] = new[where]
        return kept

    return update


def unnormalised(function):
    """A kernel whose weights do not sum to 1: unvisited pairs hear less."""

    def update(self, memory, roll, policies, discount):
        share = np.linalg.norm(self.features, axis=-1)
        return memory + share * (function(self, memory, roll, policies, discount) - memory)

    return update


def last_window_only(function):
    """Centring that forgets: the mean of this window alone."""

    def update(self, memory, *args):
        memory = memory.copy()
        memory[..., -2:] = 0
        return function(self, memory, *args)

    return update


def uncentred(function):
    return lambda self, memory, roll, *args: np.concatenate(
        [self.inner.update(memory[..., :-2], roll, *args), memory[..., -2:]], axis=-1
    )


def weights(factor):
    """The price with another factor."""

    def change(found):
        value, score = found
        value = value.clone()
        value[-1] *= factor
        return value, score

    return changed(features.priced_td_weights, change)


IMPROVE = passes.improvement


def both_ways(field, factor):
    """The improvement with one of its numbers wrong by a factor."""
    return changed(IMPROVE, lambda x: replace(x, **{field: factor * getattr(x, field)}))


def promised(wrong):
    """The improvement with another promise, from all that is known."""

    def promise(process, policy, estimate, epsilon):
        found = IMPROVE(process, policy, estimate, epsilon)
        return replace(found, promised=wrong(process, policy, found, epsilon))

    return promise


def along(process, policy, bracket, epsilon):
    chain = process.under(policy).transition
    return (1 - epsilon) * np.linalg.solve(np.eye(len(bracket)) - process.discount * chain, bracket)


SOFT, PASSES = features.SoftmaxFeatures, passes
FAULTS = {
    ("softmax-control-pairs", "ends"): (SOFT, "update", endless(SOFT.update)),
    ("softmax-control-pairs", "cold start"): (SOFT, "update", cold(SOFT.update)),
    ("softmax-control-pairs", "visited only"): (SOFT, "update", left_pairs_only(SOFT.update)),
    ("softmax-control-pairs", "price"): (features, "priced_td_weights", weights(0.9)),
    ("softmax-control-operators", "linear"): (
        operators.LinearOperator,
        "update",
        given(operators.LinearOperator.update, lambda self, *a: (replace(self, num_layers=1), *a)),
    ),
    ("softmax-control-operators", "ends"): (
        operators.SoftmaxOperator,
        "update",
        endless(operators.SoftmaxOperator.update),
    ),
    ("softmax-control-operators", "table of SARSA"): (
        operators.WindowSarsa,
        "update",
        endless(operators.WindowSarsa.update),
    ),
    ("softmax-control-operators", "table of softmax"): (
        operators.WindowSoftmax,
        "update",
        given(operators.WindowSoftmax.update, lambda self, *a: (replace(self, inverse_temperature=3.9), *a)),
    ),
    ("softmax-control-operators", "visited"): (
        chapter,
        "SoftmaxPairs",
        lambda layers, tau, step, queries="all": SoftmaxPairs(layers, tau, step),
    ),
    ("softmax-control-invariance", "visited only"): (SOFT, "update", left_pairs_only(SOFT.update)),
    ("softmax-control-invariance", "kernel"): (SOFT, "update", unnormalised(SOFT.update)),
    ("softmax-control-invariance", "start"): (
        SOFT,
        "start",
        lambda self, *shape: np.random.default_rng(0).normal(size=shape),
    ),
    ("centring-invariance", "not centred"): (
        centring.Centred,
        "update",
        uncentred(centring.Centred.update),
    ),
    ("centring-invariance", "forgetful"): (
        centring.Centred,
        "update",
        last_window_only(centring.Centred.update),
    ),
    ("centring-invariance", "ends"): (Tabular, "update", endless(Tabular.update)),
    ("control-ranking", "visited only"): (
        chapter,
        "WindowSoftmax",
        lambda layers, tau, step, queries: operators.WindowSoftmax(layers, tau, step, "visited"),
    ),
    ("control-ranking", "all pairs twice"): (
        chapter,
        "WindowSoftmax",
        lambda layers, tau, step, queries: operators.WindowSoftmax(layers, tau, step, "all"),
    ),
    ("control-ranking", "not centred"): (
        centring.Centred,
        "update",
        uncentred(centring.Centred.update),
    ),
    ("control-ranking", "centred twice"): (
        chapter,
        "Tabular",
        lambda *arguments: centring.Centred(Tabular(*arguments)),
    ),
    ("control-ranking-own-steps", "visited only"): (
        chapter,
        "WindowSoftmax",
        lambda layers, tau, step, queries: operators.WindowSoftmax(layers, tau, step, "visited"),
    ),
    ("control-ranking-own-steps", "visited pairs lead at one step"): (
        chapter,
        "WindowSoftmax",
        lambda layers, tau, step, queries: operators.WindowSoftmax(
            layers, tau, *((0.05, "all") if step == 0.8 else (step, queries))
        ),
    ),
    ("control-ranking-own-steps", "not centred"): (
        centring.Centred,
        "update",
        uncentred(centring.Centred.update),
    ),
    ("control-ranking-own-steps", "a table leads at one step"): (
        chapter,
        "Tabular",
        lambda kind, step: operators.WindowSoftmax(8, 4.0, 0.05, "all") if step == 1 else Tabular(kind, step),
    ),
    ("price-changes-nothing", "visited only"): (
        chapter,
        "SoftmaxPairs",
        lambda layers, tau, step, queries, priced: SoftmaxPairs(layers, tau, step, "visited", priced),
    ),
    ("price-changes-nothing", "no price"): (
        chapter,
        "SoftmaxPairs",
        lambda layers, tau, step, queries, priced: SoftmaxPairs(layers, tau, step, queries),
    ),
    ("improvement-per-pass", "span too small"): (
        PASSES,
        "improvement",
        promised(lambda p, old, x, e: along(p, x.policy, x.gap - 0.95 * x.moved * x.span, e)),
    ),
    ("improvement-per-pass", "span too large"): (
        PASSES,
        "improvement",
        promised(lambda p, old, x, e: along(p, x.policy, x.gap - 1.05 * x.moved * x.span, e)),
    ),
    ("improvement-per-pass", "old policy"): (
        PASSES,
        "improvement",
        promised(lambda p, old, x, e: along(p, old, x.bracket, e)),
    ),
    ("improvement-per-pass", "no epsilon"): (
        PASSES,
        "improvement",
        promised(lambda p, old, x, e: x.promised / (1 - e)),
    ),
    ("improvement-per-pass", "floor, less"): (PASSES, "improvement", both_ways("span", 0.999)),
    ("improvement-per-pass", "floor, more"): (PASSES, "improvement", both_ways("span", 1.001)),
    ("loop-bound", "factor, less"): (PASSES, "loop_factor", changed(passes.loop_factor, lambda x: 0.98 * x)),
    ("loop-bound", "factor, more"): (PASSES, "loop_factor", changed(passes.loop_factor, lambda x: 1.02 * x)),
    ("loop-bound", "span, less"): (PASSES, "improvement", both_ways("span", 0.98)),
    ("loop-bound", "span, more"): (PASSES, "improvement", both_ways("span", 1.05)),
    ("loop-bound", "best policy"): (PASSES, "best_soft", lambda process, epsilon: process.optimal_q()),
    ("loop-bound-sharp", "no epsilon"): (
        PASSES,
        "loop_bound",
        lambda gamma, epsilon, span: (1 - epsilon) * span / (1 - gamma) ** 2,
    ),
    ("loop-bound-sharp", "too small"): (
        PASSES,
        "loop_bound",
        changed(passes.loop_bound, lambda x: 0.97 * x),
    ),
    ("certified-improvement", "no radius"): (
        PASSES,
        "certificate",
        changed(passes.certificate, lambda x: replace(x, radius=0.02 * x.radius)),
    ),
    ("certified-improvement", "radius, a little less"): (
        PASSES,
        "certificate",
        changed(passes.certificate, lambda x: replace(x, radius=0.99 * x.radius)),
    ),
    ("certified-improvement", "radius, a little more"): (
        PASSES,
        "certificate",
        changed(passes.certificate, lambda x: replace(x, radius=1.01 * x.radius)),
    ),
    ("certified-improvement", "values"): (
        PASSES,
        "certificate",
        changed(passes.certificate, lambda x: replace(x, estimate=1.01 * x.estimate)),
    ),
    ("certified-improvement", "silent"): (
        PASSES,
        "certificate",
        changed(passes.certificate, lambda x: replace(x, radius=20 * x.radius)),
    ),
    ("error-of-a-pass", "discount"): (
        claims_of_passes,
        "empirical_model",
        changed(claims_of_passes.empirical_model, lambda x: (x[0], 0.99 * x[1])),
    ),
    ("error-of-a-pass", "rewards"): (
        claims_of_passes,
        "empirical_model",
        changed(claims_of_passes.empirical_model, lambda x: (0.99 * x[0], x[1])),
    ),
    ("error-of-a-pass", "operator"): (
        claims_of_passes,
        "pass_operator",
        changed(operators.pass_operator, lambda x: (x[0].T, x[1])),
    ),
    ("two-rates", "largest of all"): (
        PASSES,
        "quotient_rate",
        lambda matrix: np.abs(np.linalg.eigvals(matrix)).max(),
    ),
    ("two-rates", "sharp attention"): (
        claims_of_passes,
        "empirical_model",
        changed(claims_of_passes.empirical_model, lambda x: (x[0], 0.99 * x[1])),
    ),
    ("two-rates", "constants"): (
        claims_of_passes,
        "pass_operator",
        changed(operators.pass_operator, lambda x: (0.99 * x[0], x[1])),
    ),
}


@pytest.mark.parametrize("fault", FAULTS, ids=["-".join(key).replace(" ", "-") for key in FAULTS])
def test_fails_where_broken(fault, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])
    assert not holds(fault[0])


def test_every_claim_has_a_fault():
    assert {name for name, _ in FAULTS} == set(CLAIMS)
