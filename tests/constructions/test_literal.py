"""The second transcriptions are right where intact, and wrong in each way that they can be broken."""

import numpy as np
import pytest
import torch

from icrl.constructions import (
    ACTOR_CRITIC_FAULTS,
    SARSA_FAULTS,
    SOFTMAX_FAULTS,
    actor_critic_miss,
    literal,
    literal_actor_critic,
    literal_forward,
    literal_readout,
    literal_sarsa,
)
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.policy_improvement import sarsa_update
from icrl.softmax_td import weighted_softmax_td
from icrl.softmax_transformer import softmax_td_prompt, softmax_td_weights

RNG = np.random.default_rng(0)
WINDOW = *RNG.normal(size=(2, 7, 3)), RNG.normal(size=7), 0.8


@pytest.mark.parametrize("dual", [False, True])
def test_forward_is_softmax_td(dual):
    features, states = RNG.normal(size=(4, 2)), np.array([0, 2, 1, 3, 2, 0, 1])
    rewards = RNG.normal(size=6)
    prompt = softmax_td_prompt(features, states, rewards).numpy()
    value, score = (x.numpy() for x in softmax_td_weights(2, 0.7))
    seen = literal_forward(prompt, value, score, 0.6, 5, dual=dual)
    expected = weighted_softmax_td(features, states, rewards, 0.6, 5, 0.7)
    np.testing.assert_allclose(seen, expected, atol=1e-13)
    for change in SOFTMAX_FAULTS.values():
        change = dict(change)
        value[-1, -3:] = 0.7 * np.array(change.pop("row", (1, 1, -1)))
        strays = literal_forward(prompt, value, score, 0.6, 5, dual=dual, **change) - expected
        assert dual or np.abs(strays).max() > 1e-3


def test_forward_by_hand():
    """One source with the reward 3, no features: the query's value after two layers, gamma = 1/2."""
    prompt = softmax_td_prompt(np.zeros((1, 1)), np.array([0, 0]), np.array([3.0])).numpy()
    value, score = (x.numpy() for x in softmax_td_weights(1))
    np.testing.assert_allclose(literal_forward(prompt, value, score, 0.5, 2)[:, -1], [0, 3, 4.5])


def test_forward_without_mask_by_hand():
    """Source and query hear both alike: (3 + 0)/2, then (3 + 0.75 - 1.5)/2 + (0 - 1.5)/2 more."""
    prompt = softmax_td_prompt(np.zeros((1, 1)), np.array([0, 0]), np.array([3.0])).numpy()
    value, score = (x.numpy() for x in softmax_td_weights(1))
    seen = literal_forward(prompt, value, score, 0.5, 2, mask=False)
    np.testing.assert_allclose(seen[:, -1], [0, 1.5, 1.875])


def test_forward_begins_with_what_is_remembered():
    prompt = RNG.normal(size=(6, 4))
    weights = RNG.normal(size=(2, 6, 6))
    for layers in (0, 2):
        np.testing.assert_array_equal(literal_forward(prompt, *weights, 0.5, layers)[0], prompt[-1])


def test_faults_are_what_their_names_say():
    rows = [change["row"] for change in SOFTMAX_FAULTS.values() if "row" in change]
    assert [f"last row {[0, *row]}" in SOFTMAX_FAULTS for row in rows] == [True]
    assert SOFTMAX_FAULTS["shift the wrong way"] == {"moves": 1}  # by one column, as the right way is


def stepped(w, lam, fault, phi, phi_next, rewards, scores, discount, alpha=0.4, beta=0.3):
    """One step of actor-critic, or of SARSA where there are no scores, with one fault, in plain loops."""
    change_w, change_lam, n = np.zeros_like(w), np.zeros_like(lam), len(rewards)
    for k in range(n):
        after = (1 if fault == "gamma" else discount) * phi_next[k] @ w
        before = {"sign": -1, "nothing": 0}.get(fault, 1) * phi[k] @ w
        delta = (0 if fault == "no 1" else rewards[k]) + after - before
        change_w, change_lam = change_w + delta * phi[k], change_lam + delta * scores[k]
    return np.concatenate([w + alpha * change_w / n, lam + beta * change_lam / n])


@pytest.mark.parametrize(("at", "fault"), [(None, None), (0, "sign"), (1, "gamma"), (2, 0), (3, "no 1")])
def test_sarsa_is_broken_as_described(at, fault):
    """Where the parameters are not in the last column, none come out."""
    name = None if at is None else SARSA_FAULTS[at]
    w, none = RNG.normal(size=3), np.zeros((7, 0))
    expected = stepped(w, np.zeros(0), fault, *WINDOW[:3], none, 0.8)
    np.testing.assert_allclose(
        literal_sarsa(name, w, *WINDOW, 0.4), expected if fault != 0 else 0, atol=1e-14
    )


@pytest.mark.parametrize(
    ("at", "fault"), [(None, None), (0, "nothing"), (1, "gamma"), (2, "beyond"), (3, "means")]
)
def test_actor_critic_is_broken_as_described(at, fault):
    w, lam, scores, means = RNG.normal(size=3), RNG.normal(size=2), *RNG.normal(size=(2, 7, 2))
    phi, phi_next, rewards, discount = WINDOW
    beyond, broken = RNG.normal(size=(7, 3)), None if at is None else ACTOR_CRITIC_FAULTS[at]
    seen = literal_actor_critic(
        w, lam, (phi, phi_next, rewards, scores, discount), means, beyond, 0.4, 0.3, broken
    )
    after, score = beyond if fault == "beyond" else phi_next, scores + means if fault == "means" else scores
    expected = stepped(w, lam, fault, phi, after, rewards, score, discount)
    np.testing.assert_allclose(seen, expected, atol=1e-14)


def test_the_miss_is_a_share_of_the_largest_parameter(monkeypatch):
    """In a corridor of two states and an end: 20 transitions, each action with a reward of its own."""
    called = []

    def kept(*given):
        called.append(given)
        return literal_actor_critic(*given)

    monkeypatch.setattr(literal, "literal_actor_critic", kept)
    for seed, fault in enumerate(2 * ACTOR_CRITIC_FAULTS[:2]):
        miss = actor_critic_miss(np.random.default_rng(seed), fault)
        w, lam, window, means, beyond, alpha, beta, broken = called[-1]
        phi, phi_next, rewards, scores, discount = window
        features = np.random.default_rng(seed).normal(size=(6, 4))  # of the six pairs, drawn first
        assert all(np.isclose(features, row).all(axis=1).any() for row in scores + means)
        assert (len(rewards), discount, broken) == (20, 0.8, fault)
        assert set(rewards) <= {0.3, -0.2, 1.0, 0.5}
        np.testing.assert_allclose(phi_next[1:], np.where(phi_next[1:].any(axis=1)[:, None], beyond[1:], 0))
        right = stepped(w, lam, None, phi, phi_next, rewards, scores, discount, alpha, beta)
        wrong = literal_actor_critic(*called[-1])
        assert miss == pytest.approx(np.abs(wrong - right).max() / max(1.0, *np.abs(right)))
    assert {reward for given in called for reward in given[2][2]} == {0.3, -0.2, 1.0, 0.5}


def test_readout_is_the_foot_of_the_last_column():
    P, V = RNG.normal(size=(2, 11, 11))
    prompt = sarsa_prompt(RNG.normal(size=3), *WINDOW)
    model = LinearTransformer(torch.from_numpy(P), torch.from_numpy(V))
    np.testing.assert_allclose(literal_readout(prompt.numpy(), P, V, 3), model.readout(prompt), rtol=1e-12)


def test_sarsa_intact_and_broken():
    w = RNG.normal(size=3)
    expected = sarsa_update(w, *WINDOW, 0.4)
    np.testing.assert_allclose(literal_sarsa(None, w, *WINDOW, 0.4), expected, atol=1e-14)
    for fault in SARSA_FAULTS:
        assert np.abs(literal_sarsa(fault, w, *WINDOW, 0.4) - expected).max() > 1e-3


def test_actor_critic_intact_and_broken():
    assert max(actor_critic_miss(np.random.default_rng(seed), None) for seed in range(20)) < 1e-13
    for fault in ACTOR_CRITIC_FAULTS:
        assert np.median([actor_critic_miss(np.random.default_rng(seed), fault) for seed in range(20)]) > 1e-3


@pytest.mark.bad_input
def test_refuses_an_unknown_fault():
    w, means, beyond = np.zeros(3), np.zeros((7, 3)), np.zeros((7, 3))
    window = *WINDOW[:3], np.zeros((7, 3)), 0.8
    for call in (
        lambda: literal_sarsa("gamma", w, *WINDOW, 0.4),
        lambda: literal_actor_critic(w, w, window, means, beyond, 1.0, 1.0, "gamma"),
    ):
        with pytest.raises(ValueError, match=r"(fault|broken) is 'gamma'; it must be None or one of '"):
            call()


def test_constructed_weights_are_copied():
    before = sarsa_weights(3, 0.4)[0].clone()
    literal_sarsa(SARSA_FAULTS[0], np.zeros(3), *WINDOW, 0.4)
    assert torch.equal(sarsa_weights(3, 0.4)[0], before)
