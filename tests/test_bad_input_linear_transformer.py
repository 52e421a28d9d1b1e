"""What the rooms `policy_improvement` and `linear_transformer` refuse, and what they say."""

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

pytestmark = pytest.mark.bad_input

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


@pytest.mark.parametrize(("change", "message"), BOTH)
def test_windows(change, message):
    given = GOOD | change
    for function, more in (
        (sarsa_update, {"step_size": 0.1}),
        (sarsa_prompt, {}),
        (actor_critic_update, ACTOR | {"critic_step": 0.1, "actor_step": 0.1}),
        (actor_critic_prompt, ACTOR),
    ):
        with pytest.raises(ValueError, match=message):
            function(**given, **more)


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf, "fast", np.ones(2)])
def test_steps(step):
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


@pytest.mark.parametrize("scale", [0.0, -0.0, np.nan, np.inf, 1e-320])
def test_scales(scale):
    with pytest.raises(ValueError, match="scale is"):
        sarsa_weights(2, 0.1, scale)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_sizes(size):
    with pytest.raises(ValueError, match="num_features is"):
        sarsa_weights(size, 0.1)
    with pytest.raises(ValueError, match="num_policy_features is"):
        actor_critic_weights(2, size, 0.1, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones((3, 3))}, r"scores has shape \(3, 3\)"),
        ({"scores": np.ones((2, 2))}, r"scores has shape \(2, 2\)"),
        ({"policy_weights": np.zeros((0,))}, "policy_weights has shape .*empty"),
        ({"scores": np.full((3, 2), np.nan)}, r"scores\[0, 0\] is nan"),
    ],
)
def test_actors(change, message):
    with pytest.raises(ValueError, match=message):
        actor_critic_prompt(**GOOD, **(ACTOR | change))
    with pytest.raises(ValueError, match=message):
        actor_critic_update(**GOOD, **(ACTOR | change), critic_step=0.1, actor_step=0.1)


def test_batches_that_do_not_fit():
    given = GOOD | {"phi": np.ones((4, 3, 2)), "weights": np.ones((5, 2))}
    with pytest.raises(ValueError, match=r"batch dimensions must broadcast together; weights has \(5,\)"):
        sarsa_prompt(**given)


def test_tensors():
    weights, phi = torch.zeros(2), torch.ones(3, 2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"phi is torch.float64 on cpu; all tensors must be as torch.float32"
    ):
        sarsa_prompt(**(GOOD | {"weights": weights, "phi": phi}))
    with pytest.raises(ValueError, match=r"weights\[1\] is nan"):
        sarsa_prompt(**(GOOD | {"weights": torch.tensor([0, torch.nan])}))
    with pytest.raises(ValueError, match=r"weights has dtype torch.int64"):
        sarsa_prompt(**(GOOD | {"weights": torch.zeros(2, dtype=torch.int64)}))


def test_blocks():
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
    for count in (0, 9, 2.0):
        with pytest.raises(ValueError, match=f"num_parameters is {count}"):
            LinearTransformer(P, V, num_parameters=count)


@pytest.mark.parametrize("method", ["forward", "readout"])
def test_prompts(method):
    run = getattr(LinearTransformer(*sarsa_weights(2, 0.1)), method)
    prompt = sarsa_prompt(**GOOD)
    with pytest.raises(ValueError, match=r"prompt has shape \(7, 4\); it must be \(..., 8, N\)"):
        run(prompt[:7])
    with pytest.raises(ValueError, match="prompt has 1 columns"):
        run(prompt[:, :1])
    with pytest.raises(ValueError, match=r"prompt\[0, 0\] is nan"):
        run(prompt * torch.nan)


def test_the_readout_does_not_guess():
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
