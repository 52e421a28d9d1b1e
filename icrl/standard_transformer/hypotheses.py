"""What a trained network might be computing: every hypothesis as a matrix that is applied to the rewards.

Given the counts of a context each of them is linear in the rewards, ``v = H r``. So its values, and what
it predicts for the Jacobian of a network, come from the same ``H``. All but :func:`bayes` share one rule
for what was never visited: the reward there is the mean reward of the context, and every step from there is
a draw from the visits. See :doc:`/book/standard-transformer`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.reduction import _stationary
from icrl.standard_transformer.prompts import Prompts, support


class Model(NamedTuple):
    """What the counts say.

    - ``transition (*b, S, S)``: transition frequencies; the visits in rows that were never visited.
    - ``visits (*b, S)``: shares of the sources.
    - ``filled (*b, S, S)``: the identity; the visits in rows that were never visited. Applied to the true
      rewards it gives the rewards seen.
    """

    transition: Float[Tensor, "*b S S"]
    visits: Float[Tensor, "*b S"]
    filled: Float[Tensor, "*b S S"]

    @property
    def mean(self) -> Float[Tensor, "*b S S"]:
        """``1 mu'``: the matrix that gives every state the mean reward."""
        return self.visits[..., None, :].expand(self.transition.shape)


@checked
def empirical(counts: Float[Tensor, "*b S S"]) -> Model:
    """Frequencies with the common rule for what was never visited.

    Raises:
        ValueError: a context without a transition, or with a negative count.
    """
    valid.tensor("counts", counts)
    visited = counts.sum(-1)
    if (counts < 0).any() or not (visited.sum(-1) > 0).all():
        raise ValueError("counts must not be negative, and each context needs a transition")
    visits = visited / visited.sum(-1, keepdim=True)
    known = (visited > 0)[..., None]
    rows = visits[..., None, :].expand(counts.shape)
    frequencies = counts / visited.clamp(min=1)[..., None]
    eye = torch.eye(counts.shape[-1]).to(counts).expand(counts.shape)
    return Model(torch.where(known, frequencies, rows), visits, torch.where(known, eye, rows))


@checked
def basis(model: Model, discount: float, degree: int) -> Float[Tensor, "degree_plus_2 *b S S"]:
    """``gamma^j (P^j - 1 mu')`` for ``j = 0 .. degree``, then ``1 mu' / (1 - gamma)``, the price.

    TD with ``L`` layers is the sum of the first ``L`` plus ``1 - gamma^L`` times the last; priced TD with
    ``k`` powers is the sum of the first ``k`` and the last.
    """
    valid.discount(discount)
    valid.count("degree", degree, 0)
    power, terms = model.filled, []
    for j in range(degree + 1):
        terms.append(discount**j * (power - model.mean))
        power = model.transition @ power
    return torch.stack([*terms, model.mean / (1 - discount)])


@checked
def combination(
    coefficients: Float[Tensor, " degree_plus_2"], model: Model, discount: float
) -> Float[Tensor, "*b S S"]:
    """The polynomial with these coefficients in :func:`basis`, the price last."""
    terms = basis(model, discount, len(coefficients) - 2)
    return torch.einsum("k,k...->...", coefficients.to(terms), terms)


@checked
def td(num_layers: int, discount: float) -> Float[Tensor, " L_plus_1"]:
    """Coefficients of tabular TD from 0 after ``L >= 1`` iterations."""
    valid.discount(discount)
    valid.count("num_layers", num_layers, 1)
    return torch.tensor([1.0] * num_layers + [1 - discount**num_layers], dtype=torch.float64)


@checked
def priced(num_powers: int) -> Float[Tensor, " k_plus_1"]:
    """Coefficients of priced TD with ``k >= 1`` powers; ``k = 1`` is the reward plus the price."""
    valid.count("num_powers", num_powers, 1)
    return torch.ones(num_powers + 1, dtype=torch.float64)


@checked
def best_linear(prompts: Prompts, discount: float, degree: int) -> Float[Tensor, " degree_plus_2"]:
    """The coefficients in :func:`basis` whose values err least on these prompts, in mean square."""
    columns = basis(empirical(prompts.counts), discount, degree) @ prompts.reward[..., None]
    scale = prompts.weight.flatten().sqrt()[:, None]
    columns = columns.flatten(1).T * scale
    return torch.linalg.lstsq(columns, prompts.value.flatten()[:, None] * scale).solution[:, 0]


@checked
def certainty_equivalence(model: Model, discount: float) -> Float[Tensor, "*b S S"]:
    """``(I - gamma P)^{-1}`` of the frequencies."""
    valid.discount(discount)
    eye = torch.eye(model.transition.shape[-1]).to(model.transition)
    return torch.linalg.solve(eye - discount * model.transition, model.filled)


@checked
def add_k(counts: Float[Tensor, "*b S S"], discount: float, k: float) -> Float[Tensor, "*b S S"]:
    """Certainty equivalence with ``k > 0`` added to every count, allowed or not."""
    valid.discount(discount)
    model, size = empirical(counts), counts.shape[-1]
    smoothed = counts + valid.positive("k", k)
    visited = (counts.sum(-1) > 0)[..., None]
    rows = torch.where(visited, smoothed / smoothed.sum(-1, keepdim=True), model.mean)
    eye = torch.eye(size).to(counts)
    return torch.linalg.solve(eye - discount * rows, model.filled)


@checked
def best_k(prompts: Prompts, discount: float) -> float:
    """The ``k`` among ``2^-8 .. 2^3`` with which :func:`add_k` errs least on these prompts."""
    candidates = [2.0**power for power in range(-8, 4)]

    def error(k):
        values = (add_k(prompts.counts, discount, k) @ prompts.reward[..., None])[..., 0]
        return float(prompts.mean_square(values - prompts.value).mean())

    return min(candidates, key=error)


@checked
def bayes(
    prompts: Prompts, kind: str, discount: float, generator: Generator, num_draws: int = 64
) -> Float[Tensor, "*b S S"]:
    """The posterior mean of ``(I - gamma P)^{-1}`` under the law of one kind of world.

    Each row of a chain is uniform on the simplex of its allowed successors, so the posterior of the rows
    is Dirichlet; that the first state is stationary enters as a weight of each draw. The oracle knows the
    law and which state is which. Only rewards that were never seen follow the common rule, not the law.

    Args:
        prompts: contexts.
        kind: of the law that they are drawn from.
        discount: ``gamma``.
        generator: source of randomness.
        num_draws: from the posterior of each context.
    """
    valid.count("num_draws", num_draws, 1)
    valid.discount(discount)
    model, size = empirical(prompts.counts), prompts.counts.shape[-1]
    allowed = support(kind, size).to(prompts.counts)
    if (prompts.counts * (1 - allowed)).any():
        raise ValueError(f"kind is {kind!r}; a context holds a transition that it does not allow")
    shape = (prompts.counts + 1).expand(num_draws, *prompts.counts.shape)
    drawn = torch._standard_gamma(shape.double(), generator=generator).to(shape) * allowed
    drawn = drawn / drawn.sum(-1, keepdim=True)
    eye = torch.eye(size).to(drawn)
    stationary = _stationary(drawn)
    first = prompts.first.expand(num_draws, *prompts.first.shape)[..., None]
    weight = stationary.gather(-1, first)
    weight = weight / weight.sum(0)
    inverse = torch.linalg.inv(eye - discount * drawn)
    return (weight[..., None] * inverse).sum(0) @ model.filled


class Rivals(NamedTuple):
    """Rivals fitted on the training law, once: coefficients of :func:`best_linear`, and :func:`best_k`."""

    linear: dict[int, Tensor]
    k: float


DEGREES = (0, 1, 2, 4)


@checked
def fit_rivals(prompts: Prompts, discount: float) -> Rivals:
    """Fit everything that has something to fit, on prompts that are used for nothing else."""
    linear = {degree: best_linear(prompts, discount, degree) for degree in DEGREES}
    return Rivals(linear, best_k(prompts, discount))


@checked
def rival_operators(
    prompts: Prompts,
    discount: float,
    rivals: Rivals,
    generator: Generator,
    num_layers: int = 3,
    kind: str | None = None,
) -> dict[str, Float[Tensor, "*b S S"]]:
    """Every hypothesis as its matrix ``H``, by name; the oracle only where the kind is given."""
    model = empirical(prompts.counts)
    result = {"price": model.mean / (1 - discount)}
    result[f"td {num_layers}"] = combination(td(num_layers, discount), model, discount)
    for k in (1, 2, 3):
        result[f"priced {k}"] = combination(priced(k), model, discount)
    for degree, coefficients in rivals.linear.items():
        result[f"linear {degree}"] = combination(coefficients, model, discount)
    result["certainty equivalence"] = certainty_equivalence(model, discount)
    result["add-k"] = add_k(prompts.counts, discount, rivals.k)
    if kind is not None:
        result["bayes"] = bayes(prompts, kind, discount, generator)
    return result


@checked
def values_of(operators: dict[str, Tensor], reward: Float[Tensor, "*b S"]) -> dict[str, Tensor]:
    """``H r`` for each."""
    return {name: (matrix @ reward[..., None])[..., 0] for name, matrix in operators.items()}
