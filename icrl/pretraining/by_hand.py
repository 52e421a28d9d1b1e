"""The masked network's value of the query and its derivative by hand: one node for autograd, not a hundred.

The same numbers as :func:`icrl.pretraining.forward.table_layers`, which is for any device and any order of
derivatives. Here prompts run along the last axis, so that every operation is one long loop. Softmax only, on
a CPU. See :doc:`/book/emergence`.
"""

import numpy as np
import torch


def attention(scores, visits):
    """From state (second axis) to state (third): shares of the visits times the exponential of the score.

    ``scores`` are ``(K, S, S, E, B)``, the last may be 1; ``visits (S, E, B)``.
    """
    with np.errstate(divide="ignore"):  # log(0) = -inf is meant: weight 0
        heard = scores + np.log(visits)
    heard -= heard.max(axis=2, keepdims=True)
    np.exp(heard, out=heard)
    heard /= heard.sum(axis=2, keepdims=True)
    return heard


class QueryValue(torch.autograd.Function):
    """``v <- v + M (a r + b gamma P v + c v)`` from 0, in every layer; then the entry of the query.

    Arguments: rows ``(K, E, 3)``; scores ``(K, E, B or 1, S, S)``; visits ``(E, B, S)``, transition and
    reward of :class:`~icrl.pretraining.forward.Tables`; query ``(E, B)``; the discount; the number of layers.
    ``K`` is 1 if layers share their weights. Derivatives are those by rows and scores.
    """

    @staticmethod
    def forward(ctx, rows, scores, visits, transition, reward, query, discount, num_layers):
        a, b, c = np.moveaxis(rows.detach().numpy(), -1, 0)[:, :, None, :, None]  # (K, 1, E, 1) each
        chain = np.ascontiguousarray(transition.numpy().transpose(2, 3, 0, 1))
        paid, seen = (np.ascontiguousarray(x.numpy().transpose(2, 0, 1)) for x in (reward, visits))
        matching = attention(scores.detach().numpy().transpose(0, 3, 4, 1, 2), seen)
        successor = sum(matching[:, :, t, None] * chain[t] for t in range(len(chain)))
        heard = (matching * paid).sum(axis=2)
        drive, step = a * heard, discount * b[:, None] * successor + c[:, None] * matching
        values = [drive[0]]
        for layer in range(1, num_layers):
            i, v = layer % len(drive), values[-1]
            values.append(v + drive[i] + (step[i] * v).sum(axis=1))
        at, ctx.single = query.numpy()[None], scores.shape[2] == 1
        ctx.held = (a, b, c), chain, paid, matching, successor, heard, step, values, at, discount
        return torch.from_numpy(np.take_along_axis(values[-1], at, 0)[0])

    @staticmethod
    def backward(ctx, slope):
        (a, b, c), chain, paid, matching, successor, heard, step, values, at, discount = ctx.held
        by_value = np.zeros_like(values[0])
        np.put_along_axis(by_value, at, slope.numpy()[None], 0)
        by_drive, by_step = np.zeros_like(heard), np.zeros_like(step)
        for layer in reversed(range(len(values))):
            i = layer % len(step)
            by_drive[i] += by_value
            if layer:
                by_step[i] += by_value[:, None] * values[layer - 1]
                by_value = by_value + (step[i] * by_value[:, None]).sum(axis=0)
        rows = (
            (by_drive * heard).sum(axis=(1, 3)),
            discount * (by_step * successor).sum(axis=(1, 2, 4)),
            (by_step * matching).sum(axis=(1, 2, 4)),
        )
        back = sum(by_step[:, :, u, None] * chain[:, u] for u in range(len(chain)))
        inner = c[:, None] * by_step + (a * by_drive)[:, :, None] * paid + discount * b[:, None] * back
        inner -= (inner * matching).sum(axis=2, keepdims=True)
        inner *= matching
        scores = inner.transpose(0, 3, 4, 1, 2)
        if ctx.single:
            scores = scores.sum(axis=2, keepdims=True)
        return torch.from_numpy(np.stack(rows, -1)), torch.from_numpy(scores), *[None] * 6
