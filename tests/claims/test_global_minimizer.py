"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import dataclasses

import numpy as np
import pytest
from early import still_holds

from icrl.claims import global_minimizer as chapter
from icrl.neu import limits
from icrl.neu import loss as neu
from icrl.softmax_transformer import SoftmaxTransformer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}
ORIGINAL = {name: getattr(chapter, name) for name in vars(chapter)}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def terms_with(**changes):
    """`neu_terms` with some of its fields computed from the right ones."""

    def broken(*args):
        terms = ORIGINAL["neu_terms"](*args)
        return dataclasses.replace(terms, **{name: change(terms) for name, change in changes.items()})

    return broken


def uniform(tasks, n):
    """Windows of the right number, as if every trajectory were equally likely."""
    windows = ENUMERATE(tasks, n)
    return windows._replace(probability=np.full(len(windows.task), 1 / len(windows.task)))


ENUMERATE, RETURNS = neu.TaskDistribution.enumerate, neu.TaskDistribution.returns


def early(tasks, windows, rng):
    """Returns from the state before the query."""
    return RETURNS(tasks, windows._replace(states=windows.states[:, :-1]), rng)


def late(tasks, windows, rng):
    """Returns without their first reward."""
    return RETURNS(tasks, windows, rng) - tasks.rewards[windows.task, windows.states[:, -2]]


def biased(updates):
    mean = updates.mean(axis=0)
    return float(mean @ mean), ORIGINAL["squared_norm"](updates)[1]


def too_sure(updates):
    estimate, error = ORIGINAL["squared_norm"](updates)
    return estimate, error / 2


def no_growth(*args):
    seen = ORIGINAL["asymptotics"](*args)
    return seen._replace(target_slope=0.5 * seen.target_slope)


def asymptotics_with(**factors):
    """One of the closed forms a tenth too small."""

    def broken(*args):
        seen = ORIGINAL["asymptotics"](*args)
        return seen._replace(**{name: factor * getattr(seen, name) for name, factor in factors.items()})

    return broken


def another_row_grows(features, states, rewards, discount, num_layers):
    gradient = ORIGINAL["construction_gradient"](features, states, rewards, discount, num_layers)
    gradient[1][1, 0, 0] += 0.01 * num_layers
    return gradient


def noisy(tasks, windows, rng):
    """Returns of the right mean and too large a variance."""
    returned = RETURNS(tasks, windows, rng)
    return returned + returned.std() * rng.choice([-1, 1], size=len(returned))


def uncleared(self, prompt, update):
    """A shift that adds to the target row instead of replacing it."""
    shifted = SHIFT(self, prompt, update)
    shifted = shifted.clone()
    shifted[..., -2, :] += 0.1 * update[..., -2, :]
    return shifted


SHIFT = SoftmaxTransformer._shift


def too_small(terms):
    """1 - gamma in place of 1 + gamma."""
    return (1 - terms.discount) / (1 + terms.discount) * ORIGINAL["cauchy_schwarz"](terms)


def spread_of_one_form(*args):
    """The form with errors given the spread of the other, which does not fall with n."""
    moments = ORIGINAL["moments_by_counts"](*args)
    return moments._replace(error_spread=moments.td_spread)


def larger_gradient(*args):
    seen = ORIGINAL["limit_gradient"](*args)
    return seen._replace(gradients=1.1 * seen.gradients)


def covered(features, states, rewards, discount, num_layers):
    """The query moved to a state that was left before."""
    states = np.append(states[:-1], states[0])
    return ORIGINAL["construction_gradient"](features, states, rewards, discount, num_layers)


FAULTS = [
    ("neu-identity", neu.TaskDistribution, "enumerate", uniform),
    ("neu-identity", chapter, "neu_terms", terms_with(next_truth=lambda t: t.truth)),
    ("neu-cauchy-schwarz", chapter, "neu_terms", terms_with(next_value=lambda t: 50 * t.value)),
    ("neu-cauchy-schwarz", chapter, "neu_terms", terms_with(truth=lambda t: 0.99 * t.value)),
    ("neu-cauchy-schwarz", chapter, "cauchy_schwarz", lambda t: too_small(t)),
    ("neu-cauchy-schwarz", chapter, "cauchy_schwarz", lambda t: 1.01 * ORIGINAL["cauchy_schwarz"](t)),
    ("neu-estimators", chapter, "neu_terms", terms_with(next_truth=lambda t: t.truth)),
    ("neu-estimators", chapter, "moments_by_counts", spread_of_one_form),
    ("neu-estimators", chapter, "limit_gradient", larger_gradient),
    ("neu-estimators", chapter, "neu_terms", terms_with(truth=lambda t: 0 * t.truth)),
    ("neu-unbiased-square", chapter, "squared_norm", biased),
    ("neu-unbiased-square", chapter, "squared_norm", too_sure),
    ("neu-gradient-asymptotics", chapter, "asymptotics", no_growth),
    *(
        ("neu-gradient-asymptotics", chapter, "asymptotics", asymptotics_with(**{part: 0.9}))
        for part in ("reward", "current", "target_limit")
    ),
    ("neu-without-coverage", chapter, "construction_gradient", covered),
    ("neu-without-coverage", chapter, "construction_gradient", another_row_grows),
    ("neu-gradient-asymptotics", limits, "matching_matrix", lambda f, s: neu_matching(f, s).T),
    ("neu-gradient-asymptotics", SoftmaxTransformer, "_shift", uncleared),
    ("neu-random-parameters", chapter, "softmax_td_weights", lambda d: flipped(d)),
    ("neu-returns", neu.TaskDistribution, "returns", early),
    ("neu-returns", neu.TaskDistribution, "returns", late),
    ("neu-returns", neu.TaskDistribution, "returns", noisy),
]
neu_matching = limits.matching_matrix


def flipped(num_features):
    """The construction with the sign of its current entry wrong."""
    value, score = ORIGINAL["softmax_td_weights"](num_features)
    value[-1, -1] = 1
    return value, score


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (0, -1), (1, 0)])
@pytest.mark.parametrize("claim", ["neu-identity", "neu-estimators"])
def test_signs_of_the_second_form(monkeypatch, claim, signs):
    """gamma error' - error with another sign in front of either part, or without it."""

    def wrong(terms):
        next_error = terms.next_value - terms.next_truth
        bracket = signs[0] * terms.discount * next_error + signs[1] * terms.error
        return bracket[:, None, None, None] * terms.gradient

    monkeypatch.setattr(neu.Terms, "error_updates", property(wrong))
    assert not holds(claim)


@pytest.mark.parametrize(("claim", "owner", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, owner, name, fault):
    monkeypatch.setattr(owner, name, fault)
    assert not holds(claim)
