"""The second transcriptions are right where intact, and wrong in each way that they can be broken."""

import numpy as np
import pytest
import torch

from icrl.constructions import (
    ACTOR_CRITIC_FAULTS,
    SARSA_FAULTS,
    SOFTMAX_FAULTS,
    actor_critic_miss,
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
