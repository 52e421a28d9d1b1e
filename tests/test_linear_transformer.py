"""Prompts, constructions, block and readout of the linear transformer."""

import numpy as np
import pytest
import torch
from refusals import refused

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


@pytest.mark.parametrize(
    ("construct", "given"), [(sarsa_weights, (2, 0.7)), (actor_critic_weights, (2, 1, 0.7, 0.3))]
)
def test_the_scale_is_one_unless_given(construct, given):
    P, V = construct(*given)
    assert P.abs().max() == 1
    assert V.abs().max() == 0.7
    for plain, scaled, factor in zip((P, V), construct(*given, scale=4.0), (4, 1 / 4), strict=True):
        torch.testing.assert_close(scaled, factor * plain)


def test_the_weights_given_are_copied():
    P, V = sarsa_weights(2, 0.7)
    for parameter in LinearTransformer(P, V).parameters():
        parameter.data.zero_()
    assert P.any()
    assert V.any()


def test_a_single_row_is_its_own_readout():
    """D = 1, H = (1, 2, 3), P = 2, V = 5: H_j + 70 H_j, and all of the last column may be read."""
    prompt, two, five = torch.tensor([[1.0, 2.0, 3.0]]), torch.full((1, 1), 2.0), torch.full((1, 1), 5.0)
    model = LinearTransformer(two, five, num_parameters=1)
    torch.testing.assert_close(model(prompt), 71 * prompt)
    torch.testing.assert_close(model.readout(prompt), torch.tensor([213.0]))


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
    grid = LinearTransformer(P[:, None], V[:, None]).readout(prompt)  # each block on each window
    assert grid.shape == (2, 5, 3)
    torch.testing.assert_close(grid[1, 0], pair[1])


def test_a_batch_of_actors_is_its_elements():
    """Five critics and actors, one of each for each of five windows."""
    rng = np.random.default_rng(4)
    w, phi, phi_next, rewards = window(rng, 5)
    arrays = w, rng.normal(size=(5, 2)), phi, phi_next, rewards, rng.normal(size=(5, 6, 2))
    prompts = actor_critic_prompt(*arrays, 0.9)
    assert prompts.shape == (5, 15, 7)
    for i, prompt in enumerate(prompts):
        assert torch.equal(prompt, actor_critic_prompt(*(x[i] for x in arrays), 0.9))


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


GOOD = {
    "weights": np.zeros(2),
    "phi": np.ones((3, 2)),
    "phi_next": np.ones((3, 2)),
    "rewards": np.ones(3),
    "discount": 0.9,
}


ACTOR = {"policy_weights": np.zeros(2), "scores": np.ones((3, 2))}


BOTH = [
    ({"phi": np.ones((3, 4))}, r"phi has shape \(3, 4\)|weights has shape \(2,\)"),
    ({"phi_next": np.ones((2, 2))}, r"phi_next has shape \(2, 2\)"),
    ({"phi_next": np.ones((3, 3))}, r"phi_next has shape \(3, 3\)"),
    ({"rewards": np.ones(2)}, r"rewards has shape \(2,\)"),
    ({"phi": np.ones((0, 2)), "phi_next": np.ones((0, 2)), "rewards": np.ones(0)}, "phi has shape .*empty"),
    ({"rewards": np.array([0, np.nan, 0])}, r"rewards\[1\] is nan; every entry must be finite"),
    ({"phi_next": np.array([[0, 0], [0, np.inf], [0, 0]])}, r"phi_next\[1, 1\] is inf"),
    ({"weights": np.array([np.nan, 0])}, r"weights\[0\] is nan"),
    ({"weights": np.float64(1)}, "weights has shape"),
    ({"phi": "abc"}, "phi is 'abc'"),
    ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
    ({"discount": -0.1}, r"discount is -0.1"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("change", "message"), BOTH)
def test_refuses_windows(change, message):
    given = GOOD | change
    for function, more in (
        (sarsa_update, {"step_size": 0.1}),
        (sarsa_prompt, {}),
        (actor_critic_update, ACTOR | {"critic_step": 0.1, "actor_step": 0.1}),
        (actor_critic_prompt, ACTOR),
    ):
        with pytest.raises(ValueError, match=message):
            function(**given, **more)


@pytest.mark.bad_input
@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf, "fast", np.ones(2)])
def test_refuses_steps(step):
    steps = {"critic_step": 0.1, "actor_step": 0.1}
    with pytest.raises(ValueError, match="step_size is"):
        sarsa_update(**GOOD, step_size=step)
    with pytest.raises(ValueError, match="step_size is"):
        sarsa_weights(2, step)
    for name in steps:
        with pytest.raises(ValueError, match=f"{name} is"):
            actor_critic_update(**GOOD, **ACTOR, **(steps | {name: step}))
        with pytest.raises(ValueError, match=f"{name} is"):
            actor_critic_weights(2, 2, **(steps | {name: step}))


@pytest.mark.bad_input
@pytest.mark.parametrize("scale", [0.0, -0.0, np.nan, np.inf, 1e-320])
def test_refuses_scales(scale):
    with pytest.raises(ValueError, match="scale is"):
        sarsa_weights(2, 0.1, scale)
    assert sarsa_weights(2, 0.1, 1e-308)[1].max() == 0.1 / 1e-308


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_refuses_sizes(size):
    with pytest.raises(ValueError, match="num_features is"):
        sarsa_weights(size, 0.1)
    with pytest.raises(ValueError, match="num_policy_features is"):
        actor_critic_weights(2, size, 0.1, 0.1)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones((3, 3))}, r"scores has shape \(3, 3\)"),
        ({"scores": np.ones((2, 2))}, r"scores has shape \(2, 2\)"),
        ({"policy_weights": np.zeros((0,))}, "policy_weights has shape .*empty"),
        ({"scores": np.full((3, 2), np.nan)}, r"scores\[0, 0\] is nan"),
    ],
)
def test_refuses_actors(change, message):
    with pytest.raises(ValueError, match=message):
        actor_critic_prompt(**GOOD, **(ACTOR | change))
    with pytest.raises(ValueError, match=message):
        actor_critic_update(**GOOD, **(ACTOR | change), critic_step=0.1, actor_step=0.1)


@pytest.mark.bad_input
def test_refuses_batches_that_do_not_fit():
    given = GOOD | {"phi": np.ones((4, 3, 2)), "weights": np.ones((5, 2))}
    with pytest.raises(ValueError, match=r"batch dimensions must broadcast together; weights has \(5,\)"):
        sarsa_prompt(**given)


@pytest.mark.bad_input
def test_refuses_tensors():
    weights, phi = torch.zeros(2), torch.ones(3, 2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"phi is torch.float64 on cpu; all tensors must be as torch.float32"
    ):
        sarsa_prompt(**(GOOD | {"weights": weights, "phi": phi}))
    with pytest.raises(ValueError, match=r"weights\[1\] is nan"):
        sarsa_prompt(**(GOOD | {"weights": torch.tensor([0, torch.nan])}))
    with pytest.raises(ValueError, match=r"weights has dtype torch.int64"):
        sarsa_prompt(**(GOOD | {"weights": torch.zeros(2, dtype=torch.int64)}))


@pytest.mark.bad_input
def test_refuses_blocks():
    P, V = sarsa_weights(2, 0.1)
    with pytest.raises(ValueError, match=r"P has shape \(8, 7\); it must end in D x D"):
        LinearTransformer(P[:, :7], V)
    with pytest.raises(ValueError, match=r"V has shape \(7, 7\) and P \(8, 8\)"):
        LinearTransformer(P, V[:7, :7])
    with pytest.raises(ValueError, match=r"P\[0, 0\] is nan"):
        LinearTransformer(P * torch.nan, V)
    with pytest.raises(ValueError, match="P is a ndarray"):
        LinearTransformer(P.numpy(), V)
    with pytest.raises(ValueError, match=r"P has \(2,\), V has \(3,\)"):
        LinearTransformer(P.expand(2, 8, 8), V.expand(3, 8, 8))
    for empty in (torch.zeros(0, 0), torch.zeros(2, 0, 0), torch.zeros(8)):
        with pytest.raises(ValueError, match=r"P has shape \(.*\); it must end in D x D with D >= 1"):
            LinearTransformer(empty, V)
    assert LinearTransformer(P, V, num_parameters=8).num_parameters == 8
    for count in (0, 9, 2.0):
        with pytest.raises(ValueError, match=f"num_parameters is {count}"):
            LinearTransformer(P, V, num_parameters=count)


@pytest.mark.bad_input
@pytest.mark.parametrize("method", ["forward", "readout"])
def test_refuses_prompts(method):
    run = getattr(LinearTransformer(*sarsa_weights(2, 0.1)), method)
    prompt = sarsa_prompt(**GOOD)
    with pytest.raises(ValueError, match=r"prompt has shape \(7, 4\); it must be \(..., 8, N\)"):
        run(prompt[:7])
    with pytest.raises(ValueError, match="prompt has 1 columns"):
        run(prompt[:, :1])
    with pytest.raises(ValueError, match=r"prompt\[0, 0\] is nan"):
        run(prompt * torch.nan)
    P, V = sarsa_weights(2, 0.1)
    for name, model in {
        "P": LinearTransformer(P.expand(2, 8, 8), V),
        "V": LinearTransformer(P, V.expand(2, 8, 8)),
    }.items():
        batches = f"P has {'(2,)' if name == 'P' else '()'}, V has {'(2,)' if name == 'V' else '()'}"
        message = f"batch dimensions must broadcast together; prompt has (3,), {batches}"
        refused(message, getattr(model, method), prompt.expand(3, 8, 4))


@pytest.mark.bad_input
@pytest.mark.parametrize("method", ["forward", "readout"])
def test_refuses_what_overflows(method):
    model, given = LinearTransformer(*sarsa_weights(2, 0.1)), GOOD | {"phi": np.full((3, 2), 1e200)}
    message = "prompt or P or V has entries so large that the result leaves the range of torch.float64"
    refused(message, getattr(model, method), sarsa_prompt(**given | {"weights": np.ones(2)}))


@pytest.mark.bad_input
def test_refuses_the_readout_does_not_guess():
    """Without num_parameters the last column must read zeros, 1, parameters."""
    model, prompt = LinearTransformer(*sarsa_weights(2, 0.1)), sarsa_prompt(**GOOD)
    for row, entry, message in (
        (5, 2.0, "prompt holds 2 in row 5 of its last column"),
        (0, 3.0, "prompt holds 3 in row 0"),
        (5, 0.0, "prompt holds 0 in row 0"),
    ):
        other = prompt.clone()
        other[row, -1] = entry
        with pytest.raises(ValueError, match=message):
            model.readout(other)
    with pytest.raises(ValueError, match="prompt holds 0 in row 0"):  # the rest of a batch counts too
        model.readout(torch.stack([prompt, torch.ones_like(prompt)]))
    other = prompt * 0
    other[-1, -1] = 1
    with pytest.raises(ValueError, match="prompt holds 1 in row 7"):
        model.readout(other)


@pytest.mark.bad_input
def test_says_which_axes_are_wanted():
    with pytest.raises(ValueError, match=r"weights has shape \(\); it must be \(\*batch, entries\)"):
        sarsa_prompt(**GOOD | {"weights": np.float64(1)})
    with pytest.raises(ValueError, match=r"phi has shape \(3,\); it must be \(\*batch, n, features\)"):
        sarsa_prompt(**GOOD | {"phi": np.ones(3)})
