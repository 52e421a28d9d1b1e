"""The claims on safe chains and features hold, and each part of each fails when it is made wrong."""

import numpy as np
import pytest
from early import still_holds
from flint import fmpq

from icrl import contraction, divergence
from icrl.claims import divergence as chapter
from icrl.claims import safe_chains as claims
from icrl.divergence import exact_chains, smooth_limit

CLAIMS = {claim.id: claim for claim in claims.CLAIMS}


def holds(name, seed=0):
    return still_holds(CLAIMS[name], seed)


def blunt(features, distribution, original=contraction.population_matching):
    """Attention with a hundredth of everybody mixed in."""
    return 0.99 * original(features, distribution) + 0.01 * distribution


def rolled_from_four(features, distribution, original=contraction.population_matching):
    """The right kernel for three states; for more, everybody listens to another state than its own."""
    matching = original(features, distribution)
    return matching if len(matching) == 3 else np.roll(matching, 1, axis=1)


def indefinite(features, distribution):
    """A large trace, and yet an eigenvalue below zero: for three states the trace alone would not do."""
    basis = np.linalg.qr(np.column_stack([np.ones(len(distribution)), np.eye(len(distribution))[:, :-1]]))[0]
    return basis @ np.diag([1.0, -0.1] + (len(distribution) - 2) * [9.0]) @ basis.T


def unlike(features, distribution):
    weights = distribution * np.exp(-(features @ features.T))
    return weights / weights.sum(axis=1, keepdims=True)


def never(transition):
    return None


def always(transition, original=smooth_limit.independent_part):
    """Every chain is taken for independent draws with the first row's law."""
    return original(transition) or (fmpq(0), [smooth_limit.rational("p", x) for x in transition[0]])


def without_staying(transition, original=smooth_limit.independent_part):
    """c forgotten: only draws that are independent altogether."""
    found = original(transition)
    return found if found and found[0] == 0 else None


def sources_ignored(transition, discount, distribution=None, original=smooth_limit.unsafe_features):
    return original(transition, discount)


def other_discount(transition, discount, distribution=None, original=smooth_limit.unsafe_features):
    return original(transition, "9/10", distribution)


def transposed(transition, discount, distribution=None, original=smooth_limit.unsafe_features):
    size = len(transition)
    doubly = [[smooth_limit.fmpq(int(t == (s + 1) % size)) for t in range(size)] for s in range(size)]
    return original(doubly, discount, distribution)


def not_certified(transition, discount, distribution=None):
    """The chain with the features 0, 1, 2, ..: distinct, in the plane, and harmless for most chains."""
    features = [[0, fmpq(s, 10)] for s in range(len(transition))]
    return exact_chains.exact_chain(transition, discount, features, 1, distribution)


def form(sign=-1, power=2):
    """F with plus for minus, or with the weights of `w y` in place of `w y^2`."""

    def mutant(transition, discount, weights, values):
        rational = smooth_limit.rational
        rows = [[rational("p", x) for x in row] for row in transition]
        w, y = [rational("w", x) for x in weights], [rational("y", x) for x in values]
        after = [sum((p * v for p, v in zip(row, y, strict=True)), fmpq(0)) for row in rows]
        gamma = rational("g", discount)
        terms = (
            a * (b if power == 2 else 1) * (b + sign * gamma * c) for a, b, c in zip(w, y, after, strict=True)
        )
        return sum(terms, fmpq(0))

    return mutant


def radius(exponent=np.expm1, share=np.min):
    def mutant(distribution, inverse_temperature, discount):
        rare = exponent(inverse_temperature) * share(distribution)
        return 1 - (1 - discount) * rare / (1 + rare)

    return mutant


def other_sources(distribution=None):
    chain = exact_chains.four_states_off_policy()
    return exact_chains.replace(chain, distribution=tuple(fmpq(k, 10) for k in (1, 2, 3, 4)))


def shorter(discount, root, length, original=smooth_limit.long_cycle):
    """A cycle too short to be unstable."""
    return original(discount, root, length // 2)


FAULTS = [
    ("safe-chains", claims, "population_matching", unlike),
    ("safe-chains", claims, "population_matching", blunt),
    ("safe-chains", divergence, "independent_part", never),
    ("safe-chains", divergence, "independent_part", without_staying),
    ("unsafe-chains", divergence, "unsafe_features", sources_ignored),
    ("unsafe-chains", divergence, "unsafe_features", other_discount),
    ("unsafe-chains", divergence, "unsafe_features", transposed),
    ("unsafe-chains", divergence, "unsafe_features", not_certified),
    ("smooth-limit", divergence, "smooth_form", form(sign=1)),
    ("smooth-limit", divergence, "smooth_form", form(power=1)),
    ("one-hot-on-policy", divergence, "one_hot_radius", radius(np.exp)),
    ("one-hot-on-policy", divergence, "one_hot_radius", radius(share=np.max)),
    ("one-hot-on-policy", divergence, "one_hot_radius", lambda mu, tau, gamma: 1.0),
    ("one-hot-on-policy", divergence, "population_operator", lambda x, p: 0.5 * np.eye(p.num_states)),
    ("one-hot-off-policy", divergence, "four_states_off_policy", other_sources),
    ("one-hot-three-states", claims, "population_matching", lambda x, mu: np.roll(blunt(x, mu), 1, axis=1)),
    ("one-hot-three-states", claims, "population_matching", rolled_from_four),
    ("one-hot-three-states", claims, "population_matching", indefinite),
    ("small-features", divergence, "safe_spread", lambda gamma: 2.02 * np.arccosh(1 / gamma)),
    ("small-features", divergence, "safe_spread", lambda gamma: 1.98 * np.arccosh(1 / gamma)),
    ("inflow-condition-sharp", divergence, "long_cycle", shorter),
    ("inflow-condition-sharp", claims, "LIMIT", 1.06),
]


@pytest.mark.parametrize(("name", "module", "attribute", "mutant"), FAULTS)
def test_a_fault_is_seen(name, module, attribute, mutant, monkeypatch):
    monkeypatch.setattr(module, attribute, mutant)
    assert not holds(name)


def test_every_claim_has_a_fault():
    assert {name for name, *_ in FAULTS} == set(CLAIMS)


@pytest.mark.parametrize("limit", [1.06, 1.3, 4, 1e9])
def test_the_normaliser_condition_cannot_be_raised(limit, monkeypatch):
    monkeypatch.setattr(chapter, "LIMIT", limit)
    claim = {c.id: c for c in chapter.CLAIMS}["normaliser-condition"]
    assert not still_holds(claim, 0)
