"""The softmax transformer that runs weighted softmax TD: prompt, weights, forward pass.

Source: Xie et al. (2026), eqs. (1)-(3), (10), (12)-(15), (18), (19). See
:doc:`/book/softmax-transformer`. Nothing here calls :mod:`icrl.softmax_td`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from icrl import _validation as valid
from icrl.attention import LARGEST_SCORE_MATRIX, softmax_attention, softmax_weights
from icrl.long_contexts import Stage, grouped_stages, rows_read


def softmax_td_prompt(
    features: Float[np.ndarray, "*b S d"],
    states: Int[np.ndarray, "*b n_plus_1"],
    rewards: Float[np.ndarray, "*b n"],
    queries: Int[np.ndarray, "*b q"] | None = None,
) -> Float[Tensor, "*b d_plus_3 N"]:
    """The prompt ``[X; R; 0; 0]`` of eq. (10): one column for each state of the trajectory.

    Rows: ``d`` features, the reward received on leaving the column's state (0 in the query column),
    the target memory, the current memory.

    Args:
        features: ``(*batch, S, d)``.
        states: ``(*batch, n+1)``; the last state is the query.
        rewards: ``(*batch, n)``.
        queries: ``(*batch, q)``, further states to evaluate in the same pass (ours). They follow as
            columns after ``S_n``; run the transformer with ``num_queries = 1 + q``.

    Returns:
        ``(*batch, d+3, n+1+q)`` in float64.
    """
    features = valid.array("features", features)
    if features.ndim < 2:
        raise ValueError(f"features has shape {features.shape}; it must be (*batch, S, d)")
    states = valid.trajectory(states, features.shape[-2], batched=True)
    rewards = valid.rewards_of(states, rewards)
    columns = states
    if queries is not None:
        queries = valid.indices("queries", queries, features.shape[-2], "states")
        if queries.ndim == 0 or queries.shape[:-1] != states.shape[:-1]:
            raise ValueError(
                f"queries has shape {queries.shape}; it must be that of the states, {states.shape}, "
                "but for the length of the last axis"
            )
        columns = np.concatenate([states, queries], axis=-1)
    if features.shape[:-2] != states.shape[:-1]:
        raise ValueError(
            f"features has batch dimensions {features.shape[:-2]} and states {states.shape[:-1]}; "
            "they must be the same"
        )
    num_features, num_columns = features.shape[-1], columns.shape[-1]
    prompt = np.zeros((*states.shape[:-1], num_features + 3, num_columns))
    prompt[..., :num_features, :] = np.take_along_axis(features, columns[..., None], -2).swapaxes(-1, -2)
    prompt[..., num_features, : rewards.shape[-1]] = rewards
    return torch.from_numpy(prompt)


def softmax_td_weights(
    num_features: int, step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0
) -> tuple[Float[Tensor, "*L D D"], Float[Tensor, "D D"]]:
    """The construction of eq. (12): attend by features, write reward + target - current.

    Args:
        num_features: ``d >= 1``.
        step_size: ``alpha > 0``; the paper has 1. A sequence gives each layer its own (ours).

    Returns:
        ``value_weights``: ``(d+3, d+3)``, or ``(L, d+3, d+3)`` for a sequence of ``L`` step sizes; zero
        but for its last row ``alpha [0, 1, 1, -1]``. ``score_weights``: ``diag(I_d, 0, 0, 0)``. Float64.
    """
    num_features = valid.count("num_features", num_features, 1)
    steps = valid.array("step_size", step_size)
    steps = torch.from_numpy(valid.step_sizes(steps, steps.size))
    size = num_features + 3
    value = torch.zeros(len(steps), size, size, dtype=torch.float64)
    value[:, -1, -3:] = steps[:, None] * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    score = torch.zeros(size, size, dtype=torch.float64)
    score.diagonal()[:num_features] = 1
    return (value if np.ndim(step_size) else value[0]), score


def priced_td_weights(
    num_features: int,
    num_layers: int,
    discount: float,
    step_size: float | Sequence[float] | Float[np.ndarray, " L"] = 1.0,
) -> tuple[Float[Tensor, "M D D"], Float[Tensor, "M D D"]]:
    """Softmax TD, then one layer that averages the TD errors of the context and prices them; ours.

    The last layer has zero scores, so that every column hears all sources alike, and the row
    ``[0, 1, 1, -1] / (1 - gamma)``. Use them with ``SoftmaxTransformer(num_layers + 1, discount, ...)``; see
    :doc:`/book/depth`. :func:`icrl.softmax_td.priced_softmax_td` is the same as a loop.

    Args:
        num_features: ``d >= 1``.
        num_layers: ``L >= 1``, layers of softmax TD before the averaging one.
        discount: ``gamma``; that of the transformer.
        step_size: ``alpha > 0`` of the ``L`` layers, one or one for each.

    Returns:
        ``value_weights`` and ``score_weights``, ``(L + 1, d+3, d+3)`` each, float64.

    Raises:
        ValueError: no layer, or a discount so close to 1 that float64 does not resolve the price: rounding
            of relative size ``2**-52`` in a TD error is multiplied by ``1 / (1 - gamma)``, which may be
            ``2**42`` at most.
    """
    num_layers, discount = valid.count("num_layers", num_layers, 1), valid.discount(discount)
    if 1 - discount < 2.0**-42:
        raise ValueError(
            f"discount is 1 - {1 - discount:.3g} and prices at {1 / (1 - discount):.3g}; it must be at most "
            f"1 - {2.0**-42:.3g}, else float64 loses the price to rounding"
        )
    steps = valid.step_sizes(step_size, num_layers)
    value, score = softmax_td_weights(num_features, np.append(steps, 1 / (1 - discount)))
    scores = score.repeat(num_layers + 1, 1, 1)
    scores[-1] = 0
    return value, scores


class SoftmaxTransformer(nn.Module):
    """Layers of softmax attention, each followed by the temporal shift of the target memory.

    With ``Y`` the output of the attention block, a layer maps ``Z`` to

    - ``head="shift"``: ``U (Z + Y) + W (Z + Y) Pi``, Lemma 1 and eqs. (18), (19): one head, then a shift
      without parameters that clears the target row and writes ``gamma`` x the current row, moved one
      column back, into it;
    - ``head="dual"``: ``Z + Y + W Y Pi``, eqs. (13)-(15): a second head adds the moved and scaled update
      to the target row.

    They are the same map on prompts whose target row is ``gamma`` x the moved current row.

    Args:
        num_layers: ``L >= 0``.
        discount: ``gamma`` in ``[0, 1)``.
        value_weights: ``V``, ``(D, D)``, shared by all layers, or ``(L, *batch, D, D)``.
        score_weights: ``A``, likewise.
        head: ``"shift"`` or ``"dual"``.

    The weights become parameters that need a gradient exactly where the given tensors do; call
    ``requires_grad_()`` to train. Both are cast to dtype and device of the prompt.
    """

    def __init__(
        self,
        num_layers: int,
        discount: float,
        value_weights: Float[Tensor, "..."],
        score_weights: Float[Tensor, "..."],
        head: Literal["shift", "dual"] = "shift",
    ):
        super().__init__()
        self.num_layers = valid.count("num_layers", num_layers, 0)
        self.discount = valid.discount(discount)
        self.head = valid.option("head", head, ("shift", "dual"))
        for name, weights in (("value_weights", value_weights), ("score_weights", score_weights)):
            _check_weights(name, weights, self.num_layers)
            setattr(self, name, nn.Parameter(weights.detach().clone(), weights.requires_grad))
        if value_weights.shape[-1] != score_weights.shape[-1]:
            raise ValueError(
                f"score_weights has shape {tuple(score_weights.shape)} and value_weights "
                f"{tuple(value_weights.shape)}; both must be D x D for the same D"
            )
        valid.broadcastable(**self._batches())

    def forward(self, prompt: Float[Tensor, "*b D N"], num_queries: int = 1) -> Float[Tensor, "*c D N"]:
        """The prompt after the last layer.

        Args:
            prompt: ``(*batch, D, N)``.
            num_queries: number of last columns that are never a source.
        """
        result = deque(self._stages(prompt, num_queries), maxlen=1).pop().prompt()
        return self._finite(result.clone() if result is prompt else result, prompt)

    def values(self, prompt: Float[Tensor, "*b D N"], num_queries: int = 1) -> Float[Tensor, "L_plus_1 *c N"]:
        """The current-memory row before the first layer and after each: ``(num_layers+1, *batch, N)``."""
        rows = [stage.current() for stage in self._stages(prompt, num_queries)]
        return self._finite(torch.stack(torch.broadcast_tensors(*rows)), prompt)

    def layers(self, prompt: Float[Tensor, "*b D N"], num_queries: int = 1) -> Iterator[Tensor]:
        """The prompt, then what each layer makes of it: copies, which may be written into."""
        return (self._finite(stage.prompt().clone(), prompt) for stage in self._stages(prompt, num_queries))

    def _stages(self, prompt, num_queries):
        """Checks the arguments, then the stages of the pass."""
        valid.tensor("prompt", prompt)
        size = self.value_weights.shape[-1]
        if prompt.ndim < 2 or prompt.shape[-2] != size:
            raise ValueError(f"prompt has shape {tuple(prompt.shape)}; it must be (..., {size}, N)")
        valid.sources(prompt, valid.count("num_queries", num_queries, 1))
        valid.broadcastable(prompt=prompt.shape[:-2], **self._batches())
        for name in ("value_weights", "score_weights"):
            _check_range(name, getattr(self, name), prompt.dtype)
        _check_scores(prompt, self.score_weights)
        return self._pass(prompt, num_queries)

    def _finite(self, result, prompt):
        return valid.answer(result, prompt=prompt, value_weights=self.value_weights)

    def _batches(self):
        """The batch dimensions of the weights, by name."""
        weights = {"value_weights": self.value_weights, "score_weights": self.score_weights}
        return {name: w.shape[1:-2] for name, w in weights.items()}

    def _shift(self, prompt, update):
        """One of the two ways to renew the target memory; `update` is the attention block's output."""
        result = prompt + update
        current = (update if self.head == "dual" else result)[..., -1, :]
        moved = self.discount * torch.cat([current[..., 1:], torch.zeros_like(current[..., :1])], -1)
        target = result[..., -2, :] + moved if self.head == "dual" else moved
        return torch.cat([result[..., :-2, :], target[..., None, :], result[..., -1:, :]], -2)

    def _pass(self, prompt, num_queries):
        """The stages by the cheapest exact way.

        Where no layer writes to a row that the scores of some layer read, the attention weights depend on
        the scores alone: equal scores in a row of layers are worked out once, and tokens that look alike to
        them are grouped, so that tabular contexts of any length cost little. One set of weights is kept.
        Gradients need the memory entries of the scores, so under autograd nothing is skipped.
        """
        value, score = self.value_weights.to(prompt), self.score_weights.to(prompt)
        written = value.ne(0).any(-1)
        written = written.reshape(-1, written.shape[-1]).any(0)
        written[-2:] = True  # by the shift
        read = rows_read(score)
        known = valid.readable(lambda: [x.flatten()[0].item() for x in (prompt, value, score)], None)
        if known is None or (read & written).any() or any(map(_differentiated, (prompt, value, score))):
            return self._layers(
                prompt, lambda z, i: softmax_attention(z, _of(value, i), _of(score, i), num_queries)
            )
        if prompt.ndim == 2 and score.ndim <= 3 and prompt.dtype in (torch.float32, torch.float64):
            weights = lambda i: (_of(value, i), _of(score, i))  # noqa: E731
            settings = self.num_layers, self.discount, self.head
            stages = grouped_stages(prompt, num_queries, weights, *settings, read)
            if stages is not None:
                return stages
        return self._layers(prompt, _frozen_attention(prompt, value, score, num_queries))

    def _layers(self, prompt, attend):
        """Layer after layer, token by token; ``attend`` takes a prompt and the number of the layer."""
        yield _stage(prompt)
        for layer in range(self.num_layers):
            prompt = self._shift(prompt, attend(prompt, layer))
            yield _stage(prompt)


def _stage(prompt):
    return Stage(lambda: prompt, lambda: prompt[..., -1, :])


def _frozen_attention(prompt, value, score, num_queries):
    """Attention whose weights are those of this prompt, as a function of a later prompt and of the layer."""
    num_sources = prompt.shape[-1] - num_queries
    known = weights = None

    def attend(z, layer):
        nonlocal known, weights
        scores = _of(score, layer)
        if num_sources * prompt.shape[-1] > LARGEST_SCORE_MATRIX:
            return softmax_attention(z, _of(value, layer), scores, num_queries)
        if known is None or not torch.equal(known, scores):
            known, weights = scores, softmax_weights(prompt, scores, num_queries)
        return _of(value, layer) @ z[..., :num_sources] @ weights

    return attend


def _differentiated(tensor):
    """Whether a derivative with respect to this tensor is being taken, in reverse or in forward mode."""
    reverse = tensor.requires_grad and torch.is_grad_enabled()
    return reverse or unpack_dual(tensor).tangent is not None


def _of(weights, layer):
    """The weights of one layer."""
    return weights if weights.ndim == 2 else weights[layer if len(weights) > 1 else 0]


def _check_range(name, weights, dtype):
    """Refuses weights that the prompt's dtype cannot hold: they would become infinite, silently."""
    limit = torch.finfo(dtype).max
    largest = valid.readable(lambda: weights.detach().abs().max().item(), 0.0)
    if largest > limit:
        raise ValueError(
            f"{name} has entries up to {largest:.3g}; none may leave the range of the prompt's {dtype}, "
            f"{limit:.3g}"
        )


def _check_scores(prompt, score_weights):
    """Refuses a prompt whose scores may leave the range of its dtype: softmax would make them NaN."""
    rows, weights = (x.detach().abs().double() for x in (prompt, score_weights))
    rows = rows.amax(dim=-1).reshape(-1, rows.shape[-2]).amax(dim=0)
    bound = valid.readable(lambda: (rows @ weights @ rows).max().item(), 0.0)
    limit = torch.finfo(prompt.dtype).max
    if not bound <= limit:
        raise ValueError(
            f"prompt has entries up to {rows.max().item():.3g}; with these score_weights a score may reach "
            f"{bound:.3g}, and none may leave the range of {prompt.dtype}, {limit:.3g}"
        )


def _check_weights(name, weights, num_layers):
    valid.tensor(name, weights)
    shape = tuple(weights.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 3:
        raise ValueError(f"{name} has shape {shape}; it must end in D x D with D >= 3")
    if len(shape) > 2 and shape[0] not in (1, num_layers):
        raise ValueError(f"{name} has shape {shape}; its first axis, the layer, must be 1 or {num_layers}")
