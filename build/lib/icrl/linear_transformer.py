"""One block of linear attention that improves a policy: prompts, weights, block, readout.

Source: Liang and Lai (2026), eqs. (1), (4), (5), (14), (15). See :doc:`/book/sarsa`. Nothing here calls
:mod:`icrl.policy_improvement`.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from icrl import _validation as valid
from icrl.attention import linear_attention


def sarsa_prompt(
    weights: Float[np.ndarray | Tensor, "*#b d"],
    phi: Float[np.ndarray | Tensor, "*#b n d"],
    phi_next: Float[np.ndarray | Tensor, "*#b n d"],
    rewards: Float[np.ndarray | Tensor, "*#b n"],
    discount: float,
) -> Float[Tensor, "*b D n_plus_1"]:
    """The prompt ``[[x_0 .. x_{n-1}, 0], [0 .. 0, (1, w)]]`` of eq. (4) of Liang and Lai (2026).

    Column ``i < n`` holds one transition, ``x_i = (phi_i, gamma phi_next_i, r_{i+1})``, and zeros below it;
    the last column holds zeros, a constant 1 and the weights.

    Args:
        weights: ``w``, ``(*batch, d)``.
        phi: ``(*batch, n, d)``, features of the pairs that the transitions leave.
        phi_next: ``(*batch, n, d)``, of those they reach; a zero row where the episode ends.
        rewards: ``(*batch, n)``.
        discount: ``gamma`` in ``[0, 1)``.

    Batch dimensions broadcast. NumPy arrays count as float64 on the CPU; tensors keep their dtype and
    device, and their gradients.

    Returns:
        ``(*batch, 3d+2, n+1)``. See :doc:`/book/sarsa`.
    """
    given = {"weights": weights, "phi": phi, "phi_next": phi_next, "rewards": rewards}
    return _prompt(_window(given), discount)


def actor_critic_prompt(
    weights: Float[np.ndarray | Tensor, "*#b d"],
    policy_weights: Float[np.ndarray | Tensor, "*#b k"],
    phi: Float[np.ndarray | Tensor, "*#b n d"],
    phi_next: Float[np.ndarray | Tensor, "*#b n d"],
    rewards: Float[np.ndarray | Tensor, "*#b n"],
    scores: Float[np.ndarray | Tensor, "*#b n k"],
    discount: float,
) -> Float[Tensor, "*b D n_plus_1"]:
    """The prompt of :func:`sarsa_prompt` with the policy's scores below the rewards; layout ours.

    Columns ``x_i = (phi_i, gamma phi_next_i, r_{i+1}, g_i)``, parameter column ``(1, w, lambda)``.

    Args:
        weights: critic ``w``, ``(*batch, d)``.
        policy_weights: actor ``lambda``, ``(*batch, k)``.
        scores: ``g_i``, ``(*batch, n, k)``.

    Other arguments as in :func:`sarsa_prompt`.

    Returns:
        ``(*batch, 3d+2k+2, n+1)``. See :doc:`/book/actor-critic`.
    """
    given = {"weights": weights, "phi": phi, "phi_next": phi_next, "rewards": rewards}
    return _prompt(_window(given | {"policy_weights": policy_weights, "scores": scores}), discount)


def sarsa_weights(
    num_features: int, step_size: float, scale: float = 1.0
) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """``(c P*, V*/c)`` of Theorem 3.1, eq. (5) of Liang and Lai (2026); zero outside two blocks.

    ``P_12 = c [[0, -I], [0, I], [1, 0]]`` makes the score of a transition ``c`` x its TD error, and the
    last ``d`` rows of ``V_21``, ``(alpha/c) [I, 0, 0]``, its value ``alpha/c`` x its features.

    Args:
        num_features: ``d >= 1``.
        step_size: ``alpha > 0``.
        scale: ``c``, any number but 0.

    Returns:
        ``P`` and ``V``, ``(3d+2, 3d+2)`` in float64. See :doc:`/book/sarsa`.
    """
    return _construction(num_features, 0, (valid.positive("step_size", step_size), 1.0), scale)


def actor_critic_weights(
    num_features: int, num_policy_features: int, critic_step: float, actor_step: float, scale: float = 1.0
) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """``(c P, V/c)`` for actor-critic, after Theorem 3.3 of Liang and Lai (2026); layout ours.

    Scores as in :func:`sarsa_weights`; the values are ``alpha/c`` x the features in the rows of the
    critic and ``beta/c`` x the policy's score in the rows of the actor.

    Args:
        num_features: ``d >= 1``.
        num_policy_features: ``k >= 1``.
        critic_step: ``alpha > 0``.
        actor_step: ``beta > 0``.
        scale: ``c``, any number but 0.

    Returns:
        ``P`` and ``V``, ``(3d+2k+2, 3d+2k+2)`` in float64. See :doc:`/book/actor-critic`.
    """
    k = valid.count("num_policy_features", num_policy_features, 1)
    steps = valid.positive("critic_step", critic_step), valid.positive("actor_step", actor_step)
    return _construction(num_features, k, steps, scale)


class LinearTransformer(nn.Module):
    """``H + (1/n)(V H)(H' P H)``: one layer, one head, no softmax, eq. (1) of Liang and Lai (2026).

    Args:
        P: ``(*batch, D, D)``; ``H' P H`` are the scores.
        V: ``(*batch, D, D)``; ``V H`` are the values.
        num_parameters: how many entries at the foot of the last column :meth:`readout` returns. If not
            given, those below the constant 1 of the parameter column: ``d`` for SARSA, ``d + k`` for
            actor-critic.

    ``P`` and ``V`` become parameters that need a gradient exactly where the given tensors do; both are
    cast to dtype and device of the prompt. See :doc:`/book/sarsa`.
    """

    def __init__(
        self, P: Float[Tensor, "*#b D D"], V: Float[Tensor, "*#b D D"], num_parameters: int | None = None
    ):
        super().__init__()
        for name, weights in (("P", P), ("V", V)):
            valid.tensor(name, weights)
            shape = tuple(weights.shape)
            if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 1:
                raise ValueError(f"{name} has shape {shape}; it must end in D x D with D >= 1")
            setattr(self, name, nn.Parameter(weights.detach().clone(), weights.requires_grad))
        size = P.shape[-1]
        if V.shape[-1] != size:
            raise ValueError(
                f"V has shape {tuple(V.shape)} and P {tuple(P.shape)}; both must be D x D for the same D"
            )
        valid.broadcastable(P=P.shape[:-2], V=V.shape[:-2])
        if num_parameters is not None and valid.count("num_parameters", num_parameters, 1) > size:
            raise ValueError(f"num_parameters is {num_parameters}; it must be at most D = {size}")
        self.num_parameters = num_parameters

    def forward(self, prompt: Float[Tensor, "*#b D N"]) -> Float[Tensor, "*c D N"]:
        """The prompt after the block."""
        self._check(prompt)
        return prompt + linear_attention(prompt, self.P.to(prompt), self.V.to(prompt))

    def readout(self, prompt: Float[Tensor, "*#b D N"]) -> Float[Tensor, "*c p"]:
        """The updated parameters: the last ``num_parameters`` entries of the last column after the block.

        For actor-critic these are ``w`` followed by ``lambda``. Only what they need is computed, so a
        window of any length costs ``O(nD + D^2)``.

        Raises:
            ValueError: ``num_parameters`` was not given and the last column of the prompt does not
                consist of zeros, a 1 and parameters.
        """
        self._check(prompt)
        if prompt.shape[-1] < 2:
            raise ValueError(f"prompt has {prompt.shape[-1]} columns; n = N - 1 must be at least 1")
        count = self.num_parameters or _below_the_constant(prompt)
        last = prompt[..., -1:]
        scores = prompt.mT @ (self.P.to(prompt) @ last)  # (*c, N, 1): what the last column hears from each
        update = self.V.to(prompt)[..., -count:, :] @ (prompt @ scores) / (prompt.shape[-1] - 1)
        return valid.answer((last[..., -count:, :] + update)[..., 0], prompt=prompt, P=self.P, V=self.V)

    def _check(self, prompt):
        valid.tensor("prompt", prompt)
        size = self.P.shape[-1]
        if prompt.ndim < 2 or prompt.shape[-2] != size:
            raise ValueError(f"prompt has shape {tuple(prompt.shape)}; it must be (..., {size}, N)")
        valid.broadcastable(prompt=prompt.shape[:-2], P=self.P.shape[:-2], V=self.V.shape[:-2])


def _below_the_constant(prompt):
    """The number of parameters of a prompt of eq. (4), whose last column is ``(0, 1, parameters)``."""
    last = prompt[..., -1].reshape(-1, prompt.shape[-2])
    row = valid.readable(lambda: int((last != 0).any(0).int().argmax()), None)
    if row is None:
        raise ValueError("num_parameters is None; where entries of a prompt cannot be read it must be given")
    if (last[:, row] != 1).any() or row == last.shape[-1] - 1:
        found = [*last[last[:, row] != 1, row].tolist(), 1][0]
        raise ValueError(
            f"prompt holds {found:g} in row {row} of its last column, where the zeros end; "
            "it must hold a 1 with parameters below it, or num_parameters must be given"
        )
    return last.shape[-1] - 1 - row


def _construction(num_features, num_scores, steps, scale):
    """The two blocks of SARSA (``num_scores = 0``) and of actor-critic."""
    d = valid.count("num_features", num_features, 1)
    scale = valid.number("scale", scale)
    if scale == 0 or not np.isfinite(1 / scale):
        raise ValueError(f"scale is {scale:g}; it must have a finite inverse")
    k = num_scores
    constant = 2 * d + 1 + k  # the row of the 1 in the parameter column: data above, parameters below
    size = constant + 1 + d + k
    P, V = torch.zeros(2, size, size, dtype=torch.float64)
    identity, w = torch.eye(d, dtype=torch.float64), slice(constant + 1, constant + 1 + d)
    P[:d, w], P[d : 2 * d, w], P[2 * d, constant] = -scale * identity, scale * identity, scale
    V[w, :d] = steps[0] / scale * identity
    V[constant + 1 + d :, 2 * d + 1 : constant] = steps[1] / scale * torch.eye(k, dtype=torch.float64)
    return P, V


def _prompt(given, discount):
    """Data above on the left, parameters below on the right, zeros elsewhere."""
    discount = valid.discount(discount)
    data = [given["phi"], discount * given["phi_next"], given["rewards"][..., None]]
    parameters = [torch.ones_like(given["weights"][..., :1]), given["weights"]]
    if "scores" in given:
        data, parameters = [*data, given["scores"]], [*parameters, given["policy_weights"]]
    data, parameters = torch.cat(data, -1), torch.cat(parameters, -1)
    (n, rows), count = data.shape[-2:], parameters.shape[-1]
    prompt = data.new_zeros(*data.shape[:-2], rows + count, n + 1)
    prompt[..., :rows, :n] = data.mT
    prompt[..., rows:, n] = parameters
    return prompt


def _window(given):
    """Tensors of one dtype and device that belong together, their batch dimensions made equal."""
    arrays, tensors = {}, {name: x for name, x in given.items() if isinstance(x, Tensor)}
    like = next(iter(tensors.values()), torch.zeros((), dtype=torch.float64))
    for name, x in given.items():
        if name not in tensors:
            arrays[name] = torch.from_numpy(valid.array(name, x)).to(like)
            continue
        valid.tensor(name, x)
        if (x.dtype, x.device) != (like.dtype, like.device):
            raise ValueError(f"{name} is {x.dtype} on {x.device}; all tensors must be as {like.dtype}")
        arrays[name] = x
    axes = {name: 2 if name in ("phi", "phi_next", "scores") else 1 for name in given}
    for name, x in arrays.items():
        if x.ndim < axes[name] or not x.numel():
            shape = "(*batch, n, features)" if axes[name] == 2 else "(*batch, entries)"
            raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be {shape}, no axis empty")
    n, d = arrays["phi"].shape[-2:]
    expected = {"weights": (d,), "phi": (n, d), "phi_next": (n, d), "rewards": (n,)}
    if "scores" in given:
        k = arrays["policy_weights"].shape[-1]
        expected |= {"policy_weights": (k,), "scores": (n, k)}
    for name, shape in expected.items():
        if tuple(arrays[name].shape[-axes[name] :]) != shape:
            found = tuple(arrays[name].shape)
            raise ValueError(f"{name} has shape {found}; it must end in {shape}, to fit phi")
    batches = {name: x.shape[: x.ndim - axes[name]] for name, x in arrays.items()}
    batch = valid.broadcastable(**batches)
    return {name: x.expand(*batch, *expected[name]) for name, x in arrays.items()}
