"""What a pretrained network computes: its errors, its attention, and its polynomial in the chain.

After ``L`` layers a masked network is a polynomial in the attention and the empirical chain, applied to the
rewards; here are its coefficients, and the best ones. Ours. See :doc:`/book/emergence`.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.pretraining.forward import Tables, masked, prompts, state_scores, table_values, tables, token_values
from icrl.pretraining.tasks import Configuration, Tasks, Worlds, draw_tasks


@checked
def construction(configuration: Configuration) -> tuple[Tensor, Tensor]:
    """``V`` and ``A`` of Theorem 1 in the shape of a run with one seed, ``(1, 1, D, D)`` each."""
    d = configuration.width
    value, score = torch.zeros(2, 1, 1, d + 3, d + 3, dtype=torch.float64)
    value[..., -1, -3:] = torch.tensor([1.0, 1.0, -1.0])
    score[..., :d, :d] = torch.eye(d)
    return value, score


@checked
def fresh_tasks(
    configuration: Configuration,
    num_tasks: int,
    generator: Generator,
    *,
    kind: str | None = None,
    num_transitions: int | None = None,
) -> Tasks:
    """Fresh tasks ``(1, num_tasks)`` for all seeds, of other worlds or another length if given."""
    change = {"kind": kind, "num_transitions": num_transitions}
    changed = replace(configuration, objective="td", **{k: v for k, v in change.items() if v is not None})
    tasks = draw_tasks(changed, (1, valid.count("num_tasks", num_tasks, 1)), generator)
    return tasks._replace(states=tasks.states[..., :-1])


@checked
def state_values(
    configuration: Configuration,
    value_weights: Float[Tensor, "K seeds D D"],
    score_weights: Float[Tensor, "K seeds D D"],
    tasks: Tasks,
) -> Float[Tensor, "L_plus_1 seeds B S"]:
    """The value of every state after every layer; for masked weights only.

    Raises:
        ValueError: weights that do not fit the prompt, or entries outside the masks, which make memories
            depend on more than the state.
    """
    value_weights, score_weights = _fit(configuration, value_weights, score_weights, tasks)
    if not masked(value_weights, score_weights):
        raise ValueError(
            "value_weights or score_weights have entries outside the masks; states have no value"
        )
    c, (rows, scores) = configuration, _parts(value_weights, score_weights, tasks)
    context = tables(tasks.states, tasks.worlds.reward)
    return table_values(rows, scores, context, c.discount, c.num_layers, c.attention)


@checked
def query_values(
    configuration: Configuration,
    value_weights: Float[Tensor, "K seeds D D"],
    score_weights: Float[Tensor, "K seeds D D"],
    tasks: Tasks,
) -> Float[Tensor, "seeds B"]:
    """The value of the query after the last layer, for any weights: by tables where they are exact."""
    value_weights, score_weights = _fit(configuration, value_weights, score_weights, tasks)
    if masked(value_weights, score_weights):
        values = state_values(configuration, value_weights, score_weights, tasks)[-1]
        query = tasks.states[..., -1:].expand(*values.shape[:-1], 1)
        return values.gather(-1, query).squeeze(-1)
    c, tokens = configuration, prompts(tasks.features, tasks.states, tasks.worlds.reward)
    value, score = value_weights[:, :, None], score_weights[:, :, None]
    return token_values(value, score, tokens, c.discount, c.num_layers, c.attention)


@checked
def squared_errors(
    configuration: Configuration,
    value_weights: Float[Tensor, "K seeds D D"],
    score_weights: Float[Tensor, "K seeds D D"],
    tasks: Tasks,
) -> Float[Tensor, "seeds B"]:
    """Squared distance of the query's value from the truth; its mean over tasks is the MSVE."""
    truth = at_query(tasks.worlds.value(configuration.discount), tasks)
    return (query_values(configuration, value_weights, score_weights, tasks) - truth).square()


@checked
def at_query(values: Float[Tensor, "seeds B S"], tasks: Tasks) -> Float[Tensor, "seeds B"]:
    """The entry of the query state."""
    if values.shape != (*tasks.states.shape[:-1], tasks.worlds.reward.shape[-1]):
        raise ValueError(
            f"values has shape {tuple(values.shape)}; it must be {tuple(tasks.worlds.reward.shape)}"
        )
    return values.gather(-1, tasks.states[..., -1:]).squeeze(-1)


@checked
def certainty_equivalence(configuration: Configuration, tasks: Tasks) -> Float[Tensor, "1 B S"]:
    """The exact value of the chain that the context describes; unvisited states have reward 0, and end."""
    context = tables(tasks.states, tasks.worlds.reward)
    seen = context.reward * (context.visits > 0)
    return Worlds(context.transition, seen).value(configuration.discount)


def filled_model(tasks: Tasks) -> tuple[Worlds, Float[Tensor, "1 B 1"]]:
    """The chain that each context describes, whole, and the mean reward ``(1, B, 1)`` of its steps.

    One fallback for what the context does not tell: a state that it never left has the mean reward, and
    its successor is distributed as the visits are.
    """
    context = tables(tasks.states, tasks.worlds.reward)
    share = context.visits / context.visits.sum(-1, keepdim=True)
    mean = (share * context.reward).sum(-1, keepdim=True)
    seen = context.visits > 0
    transition = torch.where(seen[..., None], context.transition, share[..., None, :])
    return Worlds(transition, torch.where(seen, context.reward, mean)), mean


def baselines(configuration: Configuration, tasks: Tasks) -> dict[str, Float[Tensor, " B"]]:
    """What simple rules say of each query; all have the fallback of :func:`filled_model`.

    ``r`` is the query's reward, ``mean`` that of the context, ``L`` the layers of the configuration: the
    mean at its full price; the reward now and the mean later; ``L`` steps of TD on centred rewards and the
    mean at its full price; certainty equivalence.
    """
    model, mean = filled_model(tasks)
    gamma = configuration.discount
    price = mean / (1 - gamma)
    centred = krylov(model.transition, model.reward - mean, gamma, configuration.num_layers).sum(-1)
    rules = {
        "mean / (1 - gamma)": price.expand_as(model.reward),
        "r + gamma mean / (1 - gamma)": model.reward + gamma * price,
        "centred TD + mean / (1 - gamma)": centred + price,
        "certainty equivalence": model.value(gamma),
    }
    return {name: at_query(values, tasks)[0] for name, values in rules.items()}


def best_linear(configuration: Configuration, given: Tasks, tasks: Tasks) -> Float[Tensor, " B"]:
    """What the best linear rule says of each query of ``tasks``, fitted to the true values of ``given``.

    It adds up, each with a weight of its own, the mean reward and ``L`` terms ``(gamma P)^k`` of the centred
    rewards; fallback as in :func:`baselines`.
    """
    columns = []
    for some in (given, tasks):
        model, mean = filled_model(some)
        terms = krylov(
            model.transition, model.reward - mean, configuration.discount, configuration.num_layers
        )
        terms = torch.cat([terms, mean[..., None].expand_as(terms[..., :1])], -1)
        columns.append(torch.stack([at_query(x, some)[0] for x in terms.unbind(-1)], -1))
    truth = at_query(given.worlds.value(configuration.discount), given)[0]
    return columns[1] @ torch.linalg.lstsq(columns[0], truth[:, None]).solution[:, 0]


def focused_values(
    configuration: Configuration, rows: Float[Tensor, "K 3"], tasks: Tasks
) -> Float[Tensor, "B S"]:
    """Values after the last layer of rows whose attention is so sharp that each state hears itself only.

    A state that the context never left hears all visits alike.
    """
    context = tables(tasks.states, tasks.worlds.reward)
    scores = 2000 * torch.eye(configuration.num_states, dtype=torch.float64)  # e^-2000 is 0
    shape = rows[:, None, None], scores[None, None, None], context
    return table_values(*shape, configuration.discount, configuration.num_layers)[-1, 0]


def on_exact_chain(
    configuration: Configuration,
    value_weights: Float[Tensor, "K seeds D D"],
    score_weights: Float[Tensor, "K seeds D D"],
    tasks: Tasks,
) -> Float[Tensor, "seeds B"]:
    """Values of the queries if each context showed its chain exactly: stationary visits, true transitions."""
    weights = _fit(configuration, value_weights, score_weights, tasks)
    rows, scores = _parts(*weights, tasks)
    c, worlds = configuration, tasks.worlds
    context = Tables(worlds.stationary_distribution(), worlds.transition, worlds.reward)
    values = table_values(rows, scores, context, c.discount, c.num_layers, c.attention)[-1]
    query = tasks.states[..., -1:].expand(*values.shape[:-1], 1)
    return values.gather(-1, query).squeeze(-1)


@checked
def state_attention(
    configuration: Configuration, score_weights: Float[Tensor, "K seeds D D"]
) -> Float[Tensor, "K seeds S S"]:
    """What each state pays to each, were all visited equally often; one-hot features and softmax only."""
    c = configuration
    if c.num_features is not None or c.attention != "softmax":
        raise ValueError("configuration must have one-hot features and softmax attention")
    if score_weights.shape[-1] != c.num_states + 3:
        raise ValueError(
            f"score_weights has shape {tuple(score_weights.shape)}; it must end in {c.num_states + 3}, S + 3"
        )
    features = c.inverse_temperature**0.5 * torch.eye(c.num_states).to(score_weights)
    return state_scores(score_weights[..., :-3, :-3], features).softmax(-1)


@checked
def focus(attention: Float[Tensor, "*b S S"]) -> Float[Tensor, "*b"]:
    """The ``m`` of the nearest ``m I + (1 - m) 11'/S``: 1 if a state hears only itself, 0 if it hears all."""
    size = attention.shape[-1]
    own = attention.diagonal(dim1=-2, dim2=-1).mean(-1)
    return (size * own - 1) / (size - 1)


class Response(NamedTuple):
    """``p`` and ``w``: what a network makes of rewards that vary, and of rewards that do not.

    ``coefficients (L,)`` are those of ``p(x) = sum_k p_k x^k`` in ``x = gamma P``; ``mean_gain`` is ``w``,
    the factor on the mean reward, in truth ``1/(1 - gamma)``.
    """

    coefficients: Float[Tensor, " L"]
    mean_gain: float


@checked
def response(rows: Float[Tensor, "K 3"], num_layers: int, *, discount: float, focus: float = 1.0) -> Response:
    """The polynomial of a network whose attention is ``m I + (1 - m) 1 nu'``, ``nu`` stationary.

    Args:
        rows: ``(a, b, c)`` of each layer, or one row for all.
        num_layers: ``L``.
        discount: ``gamma``.
        focus: ``m``.
    """
    p, w = torch.zeros(num_layers, dtype=rows.dtype), 0.0
    for layer in range(num_layers):
        a, b, c = rows[layer % len(rows)]
        shifted = torch.cat([p.new_zeros(1), p[:-1]])  # times x; the degree stays below L
        p, w = p + focus * (b * shifted + c * p), w + float(a + (b * discount + c) * w)
        p[0] += focus * a
    return Response(p, w)


@checked
def fitted_response(
    configuration: Configuration, values: Float[Tensor, "seeds B"], tasks: Tasks
) -> tuple[list[Response], Float[Tensor, " seeds"]]:
    """The polynomial and the gain nearest to what networks say of the queries, and what the former explains.

    Least squares on ``(gamma P^)^k (r^ - mean)`` and on the mean reward of each context, for each seed. The
    share: of the mean square that the mean reward alone leaves over, how much the polynomial takes away.
    """
    context = tables(tasks.states, tasks.worlds.reward)
    mean = (context.visits * context.reward).sum(-1, keepdim=True) / context.visits.sum(-1, keepdim=True)
    varying = (context.reward - mean) * (context.visits > 0)
    basis = krylov(context.transition, varying, configuration.discount, configuration.num_layers)
    basis = torch.cat([basis, mean[..., None].expand_as(basis[..., :1])], -1)[0]
    basis = torch.take_along_dim(basis, tasks.states[0, :, -1:, None], -2)[:, 0]
    if values.shape[-1] != len(basis):
        raise ValueError(f"values has shape {tuple(values.shape)}; its last axis must be {len(basis)}")
    values = values.to(basis)
    solution = torch.linalg.lstsq(basis, values.mT).solution
    residual = values - (basis @ solution).mT
    alone = basis[:, -1]  # the mean reward
    left = values - (values @ alone / alone.square().sum())[:, None] * alone
    share = 1 - residual.square().mean(-1) / left.square().mean(-1)
    return [Response(x[:-1], float(x[-1])) for x in solution.mT], share


@checked
def horner_rows(coefficients: Float[Tensor, " L"]) -> Float[Tensor, "L 3"]:
    """Rows ``(a_l, 1, -1)``, one for each layer, that make ``sum_k p_k (gamma P)^k r`` where ``M = I``."""
    valid.tensor("coefficients", coefficients)
    if coefficients.ndim != 1 or not len(coefficients):
        raise ValueError(f"coefficients has shape {tuple(coefficients.shape)}; it must be (L,), L >= 1")
    one = torch.ones_like(coefficients)
    return torch.stack([coefficients.flip(0), one, -one], -1)


@checked
def krylov(
    transition: Float[Tensor, "*b S S"], reward: Float[Tensor, "*b S"], discount: float, length: int
) -> Float[Tensor, "*b S k"]:
    """``(gamma P)^k r`` for ``k = 0 .. length - 1``, as columns."""
    columns = [reward[..., None].to(transition)]
    for _ in range(length - 1):
        columns.append(discount * transition @ columns[-1])
    return torch.cat(columns, -1)


@checked
def best_polynomial(worlds: Worlds, discount: float, length: int) -> Float[Tensor, " k"]:
    """Coefficients of the polynomial of degree below ``length`` nearest to the true values of these worlds.

    Least squares over all worlds and states, weighted by the stationary distributions: what the best network
    with ``M = I`` and exact knowledge of the chain could do.
    """
    valid.count("length", length, 1)
    weight = worlds.stationary_distribution().sqrt()[..., None]
    basis = krylov(*worlds, discount, length) * weight
    target = worlds.value(discount)[..., None] * weight
    return torch.linalg.lstsq(basis.reshape(-1, length), target.reshape(-1, 1)).solution[:, 0]


def _parts(value_weights, score_weights, tasks):
    """Rows and state scores of masked weights, with a batch dimension for tasks."""
    return value_weights[:, :, None, -1, -3:], state_scores(
        score_weights[:, :, None, :-3, :-3], tasks.features
    )


def _fit(configuration, value_weights, score_weights, tasks):
    """The weights, checked, with dtype and device of the tasks."""
    d, layers = tasks.features.shape[-1], configuration.num_layers
    for name, x in (("value_weights", value_weights), ("score_weights", score_weights)):
        valid.tensor(name, x)
        if x.ndim != 4 or x.shape[-2:] != (d + 3, d + 3) or len(x) not in (1, layers):
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; for {d} features and {layers} layers it must be "
                f"(1 or {layers}, seeds, {d + 3}, {d + 3})"
            )
        if 1 not in (x.shape[1], len(tasks.states)) and x.shape[1] != len(tasks.states):
            raise ValueError(f"{name} holds {x.shape[1]} seeds, tasks {len(tasks.states)}; they must agree")
    return value_weights.to(tasks.worlds.reward), score_weights.to(tasks.worlds.reward)
