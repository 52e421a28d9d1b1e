"""The transformer itself on an endless context, column by column, and its gradient by machine.

In an endless context a column is known by its state and the states that follow: after ``l`` layers all
columns with the same ``l + 1`` states hold the same entries. So a forward pass over all such stretches,
each weighted by its probability, *is* the limit of long contexts, exactly, for any weights. It costs
``S^L`` columns: small cases only, to check :mod:`icrl.neu.limits`, with which it shares nothing.
See :doc:`/book/global-minimizer`.
"""

import numpy as np
import torch
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess
from icrl.neu.limits import LimitGradient
from icrl.softmax_transformer import softmax_td_weights

LARGEST_STRETCHES = 4096
"""Columns above which the pass is refused."""


@checked
def endless_pass(
    features: Float[np.ndarray, "S d"],
    process: MarkovRewardProcess,
    num_layers: int,
    *,
    step_size: float = 1.0,
    inverse_temperature: float = 1.0,
) -> LimitGradient:
    """What :func:`icrl.neu.limits.limit_gradient` gives, by a forward pass over stretches and autograd.

    Args:
        features: ``(S, d)``.
        process: with one stationary distribution.
        num_layers: ``L >= 1``; ``S^L`` at most ``LARGEST_STRETCHES``.
        step_size: ``alpha > 0``.
        inverse_temperature: ``tau > 0``.

    See :doc:`/book/global-minimizer`.
    """
    num_layers = valid.count("num_layers", num_layers, 1)
    size, d = features.shape
    if size**num_layers > LARGEST_STRETCHES:
        raise ValueError(
            f"num_layers is {num_layers}; {size}^{num_layers} stretches are more than {LARGEST_STRETCHES}"
        )
    value, score = softmax_td_weights(d, valid.positive("step_size", step_size))
    score = valid.positive("inverse_temperature", inverse_temperature) * score
    value, score = value.requires_grad_(), score.requires_grad_()
    target, current = d + 1, d + 2
    transition = torch.tensor(process.transition)
    probability = torch.tensor(process.stationary_distribution())  # of each stretch, first state first
    query = torch.zeros(size, d + 3, dtype=torch.float64)
    query[:, :d] = torch.tensor(features)
    columns = query.clone()
    columns[:, d] = torch.tensor(process.reward)

    def layer(listeners, columns):
        """One attention block: every listener hears all columns, as often as they occur."""
        logits = columns @ score @ listeners.mT + probability.log()[:, None]
        return listeners + logits.softmax(0).mT @ columns @ value.mT

    for depth in range(num_layers):
        query = layer(query, columns)
        if depth == num_layers - 1:
            break
        after = layer(columns, columns)
        # One more state is known of each stretch; the target is what stands in the column after it.
        new = after[:, None].expand(-1, size, -1).reshape(-1, d + 3)
        following = torch.arange(len(new)) % len(after)  # drops the first state of s_0 .. s_{l+1}
        targets = process.discount * after[following, current]
        keep = torch.ones(d + 3, dtype=torch.float64)
        keep[target] = 0
        columns = new * keep + targets[:, None] * (1 - keep)
        query = query * keep  # nothing follows a query
        last = torch.arange(len(after)) % size
        probability = (probability[:, None] * transition[last]).reshape(-1)
    outputs = query[:, current]
    parts = [torch.autograd.grad(x, [value, score], retain_graph=True) for x in outputs]
    values = outputs.detach().numpy()
    td_errors = process.reward + process.discount * process.transition @ values - values
    return LimitGradient(values, td_errors, torch.stack([torch.stack(p) for p in parts]).numpy())
