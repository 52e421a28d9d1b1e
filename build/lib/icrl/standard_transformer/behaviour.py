"""A trained network from outside: its Jacobian, its symmetries, and what moves it.

Everything here treats the network as a function from rewards and counts to values.
See :doc:`/book/standard-transformer`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.standard_transformer.hypotheses import basis, empirical
from icrl.standard_transformer.prompts import Prompts
from icrl.standard_transformer.training import Setting, predict


@checked
def squared_errors(
    setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts
) -> Float[Tensor, "E B"]:
    """Squared error of the value, the mean over the visits of each prompt ``(B,)``."""
    with torch.no_grad():
        return prompts.mean_square(predict(setting, parameters, prompts) - prompts.value)


def paired(errors: Float[Tensor, "*e B"], rival: Float[Tensor, " B"]) -> tuple[Tensor, Tensor]:
    """Mean of ``errors - rival`` over the same worlds, and the half-width of its 95% interval.

    NaN where the rival has no number.
    """
    valid.tensor("errors", errors)
    valid.tensor("rival", rival, finite=False)
    if not errors.ndim or rival.shape != errors.shape[-1:] or not rival.numel():
        raise ValueError(f"rival has shape {tuple(rival.shape)}, errors {tuple(errors.shape)}; pair the same")
    difference = errors - rival
    return difference.mean(-1), 1.96 * difference.std(-1) / difference.shape[-1] ** 0.5


@checked
def jacobian(
    setting: Setting,
    parameters: Float[Tensor, "E P"],
    prompts: Prompts,
    averaged: Bool[Tensor, "L H"] | None = None,
) -> Float[Tensor, "E B S S"]:
    """``dv(s)/dr(x)`` for every seed and prompt ``(B,)``: how much the value of s hears the reward of x."""
    seeds = len(parameters)
    reward = prompts.reward.expand(seeds, *prompts.reward.shape).clone().requires_grad_()
    wide = prompts._replace(
        counts=prompts.counts.expand(seeds, *prompts.counts.shape),
        names=prompts.names.expand(seeds, *prompts.names.shape),
    ).with_reward(reward)
    values = predict(setting, parameters.detach(), wide, averaged).sum((0, 1))
    rows = [
        torch.autograd.grad(value, reward, retain_graph=i + 1 < len(values))[0]
        for i, value in enumerate(values)
    ]
    return torch.stack(rows, -2)


@checked(finite=False)  # NaN where nothing is to be explained
def coefficients(
    operator: Float[Tensor, "*e B S S"], prompts: Prompts, discount: float, degree: int = 2
) -> tuple[Float[Tensor, "*e degree_plus_2"], Float[Tensor, " *e"]]:
    """A Jacobian, or the matrix of a hypothesis, in the basis ``gamma^j (P^j - 1 mu')`` and the price.

    One least-squares fit over all worlds and entries, rows weighted by visits. Hypotheses go through the
    same fit, so that what they predict and what is measured are the same thing.

    Returns:
        The coefficients ``c_0 .. c_degree`` and the price, and the share of the variance that is explained
        beyond the price alone; NaN where the price alone explains everything.
    """
    terms = basis(empirical(prompts.counts), discount, degree).to(operator)
    scale = prompts.weight.to(operator).sqrt()[..., None]
    columns = (terms * scale).flatten(1).T
    target = (operator * scale).flatten(-3)
    gram = columns.T @ columns
    valid.conditioned("prompts", gram.detach().numpy())
    fitted = torch.linalg.solve(gram, columns.T @ target[..., None])[..., 0]
    left = (target - fitted @ columns.T).square().sum(-1)
    price = columns[:, -1]
    alone = (target @ price / (price @ price))[..., None] * price
    return fitted, 1 - left / (target - alone).square().sum(-1)


SHIFTS, SCALES = (0.25, 1.0, 2.0), (0.5, 2.0, 5.0)


@checked
def symmetries(
    setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts
) -> dict[str, Float[Tensor, " E"]]:
    """How far a network is from being linear in the rewards, seed by seed.

    ``odd``: rms of ``v(-r) + v(r)`` over that of ``2v(r)``. ``additive``: rms of
    ``v(r/2) + v(q/2) - v((r+q)/2)`` over that of the last, where q are the rewards of the next prompt.
    ``shift c``: mean of ``v(r + c) - v(r)`` over ``c / (1 - gamma)``. ``scale a``: rms of
    ``v(ar)/a - v(r)`` over that of ``v(r)``. A linear map has 0, 0, and 0 for the scales.
    """
    with torch.no_grad():

        def value(reward):
            return predict(setting, parameters, prompts.with_reward(reward))

        def rms(x):
            return prompts.mean_square(x).mean(-1).sqrt()

        r, q = prompts.reward, prompts.reward.roll(1, 0)
        here, both = value(r), value((r + q) / 2)
        result = {
            "odd": rms(value(-r) + here) / (2 * rms(here)),
            "additive": rms(value(r / 2) + value(q / 2) - both) / rms(both),
        }
        for c in SHIFTS:
            result[f"shift {c:g}"] = (prompts.weight * (value(r + c) - here)).sum(-1).mean(-1)
            result[f"shift {c:g}"] *= (1 - setting.discount) / c
        for a in SCALES:
            result[f"scale {a:g}"] = rms(value(a * r) / a - here) / rms(here)
    return result


@checked
def swapped(prompts: Prompts, generator: Generator) -> Prompts:
    """The same contexts after one state has exchanged the counts of its two most frequent successors.

    The number of visits of every state stays, hence the mean reward; the chain does not. The state is
    drawn among those with two successors seen, so that no new transition appears; a context without such
    a state stays as it is. (The true values are left as they were.)
    """
    counts = prompts.counts
    if counts.ndim != 3:
        raise ValueError(f"counts has shape {tuple(counts.shape)}; give prompts with one batch axis")
    ranked = counts.sort(-1, descending=True)
    eligible = (ranked.values[..., 1] > 0).double()
    some = eligible.any(-1)
    chosen = torch.multinomial(eligible + (~some).double()[:, None], 1, generator=generator)[:, 0]
    each = torch.arange(len(counts), device=counts.device)
    a, b = ranked.indices[each, chosen, 0], ranked.indices[each, chosen, 1]
    moved = counts.clone()
    moved[each, chosen, a], moved[each, chosen, b] = counts[each, chosen, b], counts[each, chosen, a]
    return prompts._replace(counts=torch.where(some[:, None, None], moved, counts))


@checked
def moves(
    setting: Setting, parameters: Float[Tensor, "E P"], before: Prompts, after: Prompts
) -> Float[Tensor, "E B S"]:
    """How the values of a network answer a change of the context."""
    with torch.no_grad():
        return predict(setting, parameters, after) - predict(setting, parameters, before)


@checked
def slopes(
    moved: Float[Tensor, "E B S"], predicted: Float[Tensor, "k B S"], prompts: Prompts
) -> Float[Tensor, "E k"]:
    """Least-squares slope of what moved on each prediction alone, through 0, weighted by visits.

    Raises:
        ValueError: a prediction that moves nothing.
    """
    valid.tensor("predicted", predicted)
    still = (~predicted.flatten(1).any(-1)).nonzero()
    if len(still):
        raise ValueError(f"predicted[{int(still[0])}] is 0 everywhere; a slope needs something that moves")
    moved, predicted = moved.double(), predicted.double()
    target = (prompts.weight * moved).flatten(1)
    columns, weighted = predicted.flatten(1), (prompts.weight * predicted).flatten(1)
    return target @ columns.T / (weighted * columns).sum(-1)
