"""A trained network from inside: layer lens, probes with their controls, and heads.

See :doc:`/book/standard-transformer`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from icrl._arguments import checked
from icrl.standard_transformer.behaviour import coefficients, jacobian
from icrl.standard_transformer.hypotheses import basis, certainty_equivalence, empirical
from icrl.standard_transformer.model import Pass, initial_parameters, readout_of, stacked_pass
from icrl.standard_transformer.prompts import Prompts, compressed
from icrl.standard_transformer.training import Setting, for_all_seeds, predict


def traced(setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts) -> Pass:
    """The forward pass of every seed on prompts ``(B,)``, taken apart."""
    with torch.no_grad():
        wide = for_all_seeds(prompts, len(parameters))
        return stacked_pass(setting.architecture, parameters, *compressed(wide))


@checked
def lens(
    setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts
) -> tuple[Float[Tensor, "L_plus_1 E"], Float[Tensor, "L_plus_1 E 3"]]:
    """The network's own readout after each layer: its error, and what it holds.

    Returns:
        The mean squared error of the value; and the least-squares coefficients of the value read there
        on ``(I - 1 mu') r``, ``gamma (P - 1 mu') r`` and the price.
    """
    residual = traced(setting, parameters, prompts).residual
    columns = basis(empirical(prompts.counts), setting.discount, 1) @ prompts.reward[..., None]
    scale = prompts.weight.sqrt()
    columns = columns.flatten(1).T * scale.flatten()[:, None]
    errors, held = [], []
    for x in residual:
        values = readout_of(setting.architecture, parameters, x)
        errors.append(prompts.mean_square(values - prompts.value).mean(-1))
        held.append(torch.linalg.lstsq(columns, (values * scale).flatten(1).T).solution.T)
    return torch.stack(errors), torch.stack(held)


PROBED = ("certainty equivalence", "P r", "P^2 r")
"""What a probe looks for, in this order certainty equivalence, mean reward one and two steps ahead."""


def probe_targets(prompts: Prompts, discount: float) -> Float[Tensor, "B S 3"]:
    """The quantities of :data:`PROBED` for each state."""
    model, r = empirical(prompts.counts), prompts.reward[..., None]
    one = model.transition @ (model.filled @ r)
    exact = certainty_equivalence(model, discount) @ r
    return torch.cat([exact, one, model.transition @ one], -1)


def nuisances(prompts: Prompts) -> Float[Tensor, "B S 3"]:
    """What is known without any model: 1, the reward of the state, and the mean reward."""
    model, r = empirical(prompts.counts), prompts.reward[..., None]
    seen = model.filled @ r
    return torch.cat([torch.ones_like(seen), seen, model.mean @ r], -1)


@checked
def probe(
    hidden: tuple[Float[Tensor, "N w"], Float[Tensor, "M w"]],
    target: tuple[Float[Tensor, "N k"], Float[Tensor, "M k"]],
    known: tuple[Float[Tensor, "N q"], Float[Tensor, "M q"]] | None = None,
    ridge: float = 1e-3,
) -> Float[Tensor, " k"]:
    """Held-out share of variance of each target that a linear probe explains.

    Args:
        hidden: residuals, for fitting and held out.
        target: what is looked for.
        known: if given, whatever is linear in it is taken out of target and residuals first.
        ridge: relative to the variance of the residuals.
    """
    if known is None:
        known = tuple(torch.ones_like(x[:, :1]) for x in hidden)
    for name, pair in (("hidden", hidden), ("target", target), ("known", known)):
        if [len(x) for x in pair] != [len(x) for x in hidden]:
            raise ValueError(
                f"{name} has {[len(x) for x in pair]} rows; {[len(x) for x in hidden]} belong here"
            )

    def without(pair):
        fit = torch.linalg.lstsq(known[0], pair[0]).solution
        return pair[0] - known[0] @ fit, pair[1] - known[1] @ fit

    (x, x_new), (y, y_new) = without(hidden), without(target)
    gram = x.T @ x
    weight = ridge * gram.diagonal().mean() + 1e-12
    fit = torch.linalg.solve(gram + weight * torch.eye(len(gram)).to(gram), x.T @ y)
    return 1 - (y_new - x_new @ fit).square().sum(0) / y_new.square().sum(0)


@checked
def probes(
    setting: Setting,
    parameters: Float[Tensor, "E P"],
    prompts: tuple[Prompts, Prompts],
    generator: Generator,
) -> dict[str, Float[Tensor, "L_plus_1 E 3"]]:
    """Probes of :data:`PROBED` after every layer, with the controls that a probe needs.

    Args:
        setting: of the networks.
        parameters: one row for each seed.
        prompts: worlds to fit on and held-out worlds.
        generator: of the random network and the shuffle.

    Returns:
        Held-out shares of variance. ``"plain"`` takes nothing out, ``"plain random"`` is the same on an
        untrained network, ``"partial"`` takes reward and mean reward out, ``"partial random"`` is that on
        an untrained network, and ``"shuffled"`` is ``"partial"`` with the labels of another world.
    """
    untrained = initial_parameters(setting.architecture, len(parameters), generator, parameters.dtype)
    passes = {"": [], " random": []}
    for name, p in (("", parameters), (" random", untrained)):
        passes[name] = [traced(setting, p, x).residual.flatten(2, 3) for x in prompts]
    target = tuple(probe_targets(x, setting.discount).flatten(0, 1) for x in prompts)
    known = tuple(nuisances(x).flatten(0, 1) for x in prompts)
    size = setting.num_states
    order = torch.randperm(len(target[0]) // size, generator=generator, device=generator.device)
    shuffled = target[0].unflatten(0, (-1, size))[order].flatten(0, 1), target[1]
    plan = {
        "plain": ("", target, None),
        "plain random": (" random", target, None),
        "partial": ("", target, known),
        "partial random": (" random", target, known),
        "shuffled": ("", shuffled, known),
    }
    result = {}
    for name, (which, aim, taken) in plan.items():
        fit, new = passes[which]
        result[name] = torch.stack(
            [
                torch.stack([probe((fit[i, e], new[i, e]), aim, taken) for e in range(fit.shape[1])])
                for i in range(len(fit))
            ]
        )
    return result


class Heads(NamedTuple):
    """What each head listens to, beyond what an average over the context would, ``(L, E, H)`` each.

    Attributes:
        same: share of a query ``s`` that goes to transitions *from* ``s``.
        into: share of a query ``s`` that goes to transitions *into* ``s``.
        following: share of a transition ``(s, s')`` that goes to transitions *from* ``s'``; what TD needs.
    """

    same: Tensor
    into: Tensor
    following: Tensor


@checked
def head_scores(setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts) -> Heads:
    """The attention of every head, summarised; the share that the counts alone would give is subtracted."""
    paid = traced(setting, parameters, prompts).attention
    here, there = prompts.pairs.T
    sources = len(here)
    counts = prompts.counts[:, here, there]
    share = counts / counts.sum(-1, keepdim=True)
    states = torch.arange(setting.num_states, device=here.device)
    excess = paid - share[:, None, None]
    queries, tokens = excess[..., sources:, :], excess[..., :sources, :]

    def at(x, listener, source):
        return (x * (listener[:, None] == source).to(x)).sum(-1)

    return Heads(
        at(queries, states, here).mean((2, 4)),
        at(queries, states, there).mean((2, 4)),
        (at(tokens, there, here) * share[:, None]).sum(-1).mean(2),
    )


@checked
def patched(
    setting: Setting, parameters: Float[Tensor, "E P"], prompts: Prompts
) -> tuple[Float[Tensor, "L H E"], Float[Tensor, "L H E 4"]]:
    """Each head in turn hears only the average over the context, by counts (it is not switched off).

    Returns:
        The mean squared error of the value, and the coefficients of the Jacobian (degree 2, then price).
    """
    c = setting
    errors, fits = [], []
    for i in range(c.num_layers * c.num_heads):
        averaged = torch.zeros(c.num_layers * c.num_heads, dtype=torch.bool, device=parameters.device)
        averaged[i] = True
        averaged = averaged.unflatten(0, (c.num_layers, c.num_heads))
        with torch.no_grad():
            values = predict(c, parameters, prompts, averaged)
        errors.append(prompts.mean_square(values - prompts.value).mean(-1))
        fits.append(coefficients(jacobian(c, parameters, prompts, averaged), prompts, c.discount)[0])
    shape = (c.num_layers, c.num_heads)
    return torch.stack(errors).unflatten(0, shape), torch.stack(fits).unflatten(0, shape)
