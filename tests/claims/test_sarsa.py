"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import numpy as np
import pytest
import sympy
from early import still_holds

from icrl import linear_transformer
from icrl.claims import sarsa as chapter

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def changed(function, change):
    """The function with its result passed through `change`."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def flip_current_value(weights):
    P, V = weights
    d = (len(P) - 2) // 3
    P[:d] *= -1
    return P, V


def drop_reward(weights):
    P, V = weights
    P[2 * (len(P) - 2) // 3, :] = 0
    return P, V


def write_constant(weights):
    P, V = weights
    V[2 * (len(P) - 2) // 3 + 1, 0] = 0.1
    return P, V


def double_value(weights):
    return weights[0], 2 * weights[1]


def half_gamma(w, phi, phi_next, rewards, discount):
    return linear_transformer.sarsa_prompt(w, phi, phi_next, rewards, 0.5 * discount)


def parameters_first(*args):
    return linear_transformer.sarsa_prompt(*args).roll(1, dims=-1)


def leak(prompt):
    prompt[-1, 0] += 1e-3
    return prompt


def heard_by_itself(weights):
    """The parameter column has a score with itself."""
    P, V = weights
    constant = 2 * (len(P) - 2) // 3 + 1
    P[constant, constant] = 0.1
    return P, V


WEIGHTS, PROMPTS = linear_transformer.sarsa_weights, linear_transformer.sarsa_prompt
UPDATE = chapter.sarsa_update
FAULTS = [
    ("readout-identity", "sarsa_prompt", half_gamma),
    ("readout-identity", "sarsa_prompt", changed(PROMPTS, leak)),
    ("theorem-3-1", "sarsa_weights", changed(WEIGHTS, flip_current_value)),
    ("theorem-3-1", "sarsa_weights", changed(WEIGHTS, drop_reward)),
    ("theorem-3-1", "sarsa_weights", changed(WEIGHTS, double_value)),
    ("theorem-3-1", "sarsa_prompt", half_gamma),
    ("theorem-3-1", "sarsa_update", lambda w, *args: 2 * w - UPDATE(w, *args)),
    ("scores-are-td-errors", "sarsa_weights", changed(WEIGHTS, flip_current_value)),
    ("scores-are-td-errors", "sarsa_weights", changed(WEIGHTS, drop_reward)),
    ("scores-are-td-errors", "sarsa_prompt", half_gamma),
    ("scores-are-td-errors", "sarsa_weights", changed(WEIGHTS, heard_by_itself)),
    ("stacked-blocks", "sarsa_weights", changed(WEIGHTS, write_constant)),
    ("stacked-blocks", "sarsa_weights", changed(WEIGHTS, double_value)),
    ("sarsa-trajectory", "sarsa_weights", changed(WEIGHTS, flip_current_value)),
    ("sarsa-trajectory", "sarsa_prompt", half_gamma),
    ("lstd-limit", "sarsa_weights", changed(WEIGHTS, lambda weights: (1.1 * weights[0], weights[1]))),
    ("lstd-limit", "sarsa_prompt", half_gamma),
    ("share-of-visits", "sarsa_weights", changed(WEIGHTS, double_value)),
    ("share-of-visits", "sarsa_weights", changed(WEIGHTS, flip_current_value)),
    ("share-of-visits", "sarsa_prompt", half_gamma),
    ("share-of-visits", "tabular_td", changed(chapter.tabular_td, np.negative)),
    ("broken-sarsa-misses", "sarsa_update", lambda w, *args: 2 * w - UPDATE(w, *args)),
]


@pytest.mark.parametrize(("claim", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, name, fault):
    monkeypatch.setattr(chapter, name, fault)
    assert not holds(claim)


def test_readout_refuses_a_parameter_column_elsewhere(monkeypatch):
    monkeypatch.setattr(chapter, "sarsa_prompt", parameters_first)
    with pytest.raises(ValueError, match="of its last column, where the zeros end"):
        holds("theorem-3-1")


def test_symbolic_readout_needs_the_zero_blocks(monkeypatch):
    """With a letter in place of one zero, the identity is no identity."""

    def leaking(*blocks):
        H = sympy.Matrix.diag(*blocks)
        H[0, H.shape[1] - 1] = sympy.Symbol("u")
        return H

    monkeypatch.setattr(chapter.sympy, "diag", leaking)
    assert not holds("readout-symbolic")


def test_stacked_blocks_see_the_factor(monkeypatch):
    """1/N in place of 1/n, with N = n + 1 columns."""
    original = linear_transformer.linear_attention
    monkeypatch.setattr(
        linear_transformer,
        "linear_attention",
        lambda H, P, V: original(H, P, V) * (H.shape[-1] - 1) / H.shape[-1],
    )
    assert not holds("stacked-blocks")
    assert not holds("lstd-limit")


def test_readout_identity_sees_the_parameter_columns_own_attention(monkeypatch):
    class Blind(linear_transformer.LinearTransformer):
        def readout(self, prompt):
            d = (prompt.shape[0] - 2) // 3
            self.P.data[2 * d + 1 :, 2 * d + 1 :] = 0
            return super().readout(prompt)

    monkeypatch.setattr(chapter, "LinearTransformer", Blind)
    assert not holds("readout-identity")


def test_controls_see_a_broken_block_that_is_not_broken(monkeypatch):
    original = chapter.literal_sarsa
    monkeypatch.setattr(chapter, "literal_sarsa", lambda name, *args: original(None, *args))
    assert not holds("broken-sarsa-misses")


@pytest.mark.parametrize("fault", chapter.SARSA_FAULTS)
def test_each_broken_block_must_miss(monkeypatch, fault):
    original = chapter.literal_sarsa
    monkeypatch.setattr(
        chapter, "literal_sarsa", lambda name, *args: original(None if name == fault else name, *args)
    )
    assert not holds("broken-sarsa-misses")
