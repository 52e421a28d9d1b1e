"""Prompts, constructions, block and readout of the linear transformer."""

import numpy as np
import pytest
import torch

from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.policy_improvement import actor_critic_update, sarsa_update


def window(rng, *batch, n=6, d=3):
    phi, phi_next = rng.normal(size=(2, *batch, n, d))
    phi_next[..., 2, :] = 0
    return rng.normal(size=(*batch, d)), phi, phi_next, rng.normal(size=(*batch, n))


def test_prompt_entry_by_entry():
    phi, phi_next = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])
    prompt = sarsa_prompt(
        weights=np.array([7.0, 8.0]), phi=phi, phi_next=phi_next, rewards=np.array([5.0, 6.0]), discount=0.5
    )
    expected = [[1, 3, 0], [2, 4, 0], [1.5, 0, 0], [2, 0, 0], [5, 6, 0], [0, 0, 1], [0, 0, 7], [0, 0, 8]]
    assert prompt.dtype == torch.float64
    assert prompt.tolist() == expected


def test_construction_entry_by_entry():
    P, V = sarsa_weights(num_features=1, step_size=0.5, scale=2.0)
    assert P.tolist() == [[0, 0, 0, 0, -2], [0, 0, 0, 0, 2], [0, 0, 0, 2, 0], [0] * 5, [0] * 5]
    assert V.tolist() == [[0] * 5] * 4 + [[0.25, 0, 0, 0, 0]]


@pytest.mark.parametrize("scale", [1.0, -2.0, 1e-6, 1e6])
def test_readout_is_sarsa(scale):
    rng = np.random.default_rng(1)
    for n in (1, 6):
        w, *rest = window(rng, n=max(n, 3))
        rest = [x[:n] for x in rest]
        model = LinearTransformer(*sarsa_weights(3, 0.7, scale))
        expected = sarsa_update(w, *rest, 0.9, 0.7)
        np.testing.assert_allclose(model.readout(sarsa_prompt(w, *rest, 0.9)), expected, rtol=1e-12)


def test_readout_is_actor_critic():
    rng = np.random.default_rng(2)
    w, *rest = window(rng)
    policy_weights, scores = rng.normal(size=2), rng.normal(size=(6, 2))
    weights = actor_critic_weights(
        num_features=3, num_policy_features=2, critic_step=0.3, actor_step=0.2, scale=-4.0
    )
    prompt = actor_critic_prompt(w, policy_weights, *rest, scores, 0.9)
    assert prompt.shape == (3 * 3 + 2 * 2 + 2, 7)
    expected = actor_critic_update(w, policy_weights, *rest, scores, 0.9, 0.3, 0.2)
    for model in (LinearTransformer(*weights), LinearTransformer(*weights, num_parameters=5)):
        np.testing.assert_allclose(model.readout(prompt), np.concatenate(expected), rtol=1e-12)


def test_readout_is_the_foot_of_the_last_column_for_any_weights():
    rng = np.random.default_rng(3)
    prompt = torch.from_numpy(rng.normal(size=(4, 11, 6)))
    P, V = torch.from_numpy(rng.normal(size=(2, 11, 11)))
    model = LinearTransformer(P, V, num_parameters=3)
    torch.testing.assert_close(model.readout(prompt), model(prompt)[..., -3:, -1])


def test_batches_of_windows_weights_and_blocks_broadcast():
    rng = np.random.default_rng(4)
    w, phi, phi_next, rewards = window(rng, 5)
    prompt = sarsa_prompt(w, phi, phi_next, rewards, 0.9)
    model = LinearTransformer(*sarsa_weights(3, 0.4))
    for b in range(5):
        expected = sarsa_update(w[b], phi[b], phi_next[b], rewards[b], 0.9, 0.4)
        np.testing.assert_allclose(model.readout(prompt)[b], expected, rtol=1e-12)
    one_window = sarsa_prompt(w, phi[:1], phi_next[:1], rewards[:1], 0.9)
    expected = sarsa_update(w[4], phi[0], phi_next[0], rewards[0], 0.9, 0.4)
    np.testing.assert_allclose(model.readout(one_window)[4], expected, rtol=1e-12)
    P, V = (torch.stack([x, 2 * x]) for x in sarsa_weights(3, 0.4))
    pair = LinearTransformer(P, V).readout(prompt[:1])  # the second block has a step four times as long
    np.testing.assert_allclose(pair[1], sarsa_update(w[0], phi[0], phi_next[0], rewards[0], 0.9, 1.6))


def test_dtype_follows_the_prompt_and_gradients_flow():
    rng = np.random.default_rng(5)
    w, *rest = (torch.from_numpy(x).float() for x in window(rng))
    w.requires_grad_()
    P, V = (x.requires_grad_() for x in sarsa_weights(3, 0.4))
    model = LinearTransformer(P, V)
    prompt = sarsa_prompt(w, *rest, 0.9)
    assert prompt.dtype == model.readout(prompt).dtype == model(prompt).dtype == torch.float32
    model.readout(prompt).sum().backward()
    assert w.grad.abs().sum() > 0
    assert model.P.grad.abs().sum() > 0
    assert not LinearTransformer(*sarsa_weights(3, 0.4)).P.requires_grad


def test_mixed_arrays_and_tensors_take_the_tensors_dtype():
    w, phi, phi_next, rewards = window(np.random.default_rng(6))
    prompt = sarsa_prompt(torch.from_numpy(w).float(), phi, phi_next, rewards, 0.9)
    assert prompt.dtype == torch.float32


def test_a_long_window_needs_no_score_matrix():
    rng = np.random.default_rng(7)
    w, *rest = window(rng, n=100_000)  # its full score matrix would take 80 GB
    read = LinearTransformer(*sarsa_weights(3, 0.4)).readout(sarsa_prompt(w, *rest, 0.9))
    np.testing.assert_allclose(read, sarsa_update(w, *rest, 0.9, 0.4), rtol=1e-10)


def test_repeating_and_shuffling_transitions_changes_nothing():
    rng = np.random.default_rng(8)
    w, *rest = window(rng)
    model = LinearTransformer(*(torch.from_numpy(x) for x in rng.normal(size=(2, 11, 11))))
    model.P.data[7:, 7:] = 0  # P_22: the parameter column's attention to itself knows n
    order = rng.permutation(np.repeat(np.arange(6), 3))
    once, thrice = (sarsa_prompt(w, *data, 0.9) for data in (rest, [x[order] for x in rest]))
    torch.testing.assert_close(model.readout(once), model.readout(thrice))
