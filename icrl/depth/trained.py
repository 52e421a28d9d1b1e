"""Does training find a layer like the averaging one? Networks with weights of their own in each layer.

Under the masks of :doc:`/book/emergence` a layer averages if its scores vanish; with weights of its own each
layer may. Ours; see :doc:`/book/depth`.
"""

from dataclasses import asdict

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.depth.measure import HEADS, estimates, squared_errors
from icrl.pretraining import (
    Configuration,
    Tables,
    Tasks,
    Worlds,
    fitted_response,
    focus,
    fresh_tasks,
    masked,
    pretrain,
    query_values,
    state_attention,
    state_scores,
    table_values,
)

TESTED = 10**6
"""Added to a seed where fresh tasks are drawn, so that what training draws does not matter to them."""


@checked
def layer_gains(
    rows: Float[Tensor, "K *b 3"], num_layers: int, discount: float
) -> Float[Tensor, "L_plus_1 *b"]:
    """What a network makes of rewards that are all 1, after every layer; in truth ``1 / (1 - gamma)``.

    Attention does not matter, since it sums to 1: ``w + a + (b gamma + c) w`` in each layer.

    Args:
        rows: ``(a, b, c)`` of each layer, or one for all.
        num_layers: ``L``.
        discount: ``gamma``.
    """
    gains = [torch.zeros_like(rows[0, ..., 0])]
    for layer in range(valid.count("num_layers", num_layers, 1)):
        a, b, c = rows[layer % len(rows)].unbind(-1)
        gains.append(gains[-1] + a + (b * valid.discount(discount) + c) * gains[-1])
    return torch.stack(gains)


def layer_focus(
    configuration: Configuration, score_weights: Float[Tensor, "K seeds D D"]
) -> Float[Tensor, "K seeds"]:
    """How much each layer of each network attends to the own state: 1 itself only, 0 all states alike.

    Negative if a state hears itself less than the others; how evenly they are heard it does not say. For
    one-hot features and softmax attention. The book calls a layer averaging where this is below 0.2.
    """
    return focus(state_attention(configuration, score_weights))


@checked
def missed(
    configuration: Configuration,
    value_weights: Float[Tensor, "K seeds D D"],
    score_weights: Float[Tensor, "K seeds D D"],
    worlds: Worlds,
) -> Float[Tensor, "2 seeds"]:
    """Where trained networks stand on the plane of :func:`icrl.depth.plane.plane`, for these worlds.

    Each is shown the chain exactly: stationary visits, true transitions. First the share of a constant that
    it misses; then, of rewards without their mean, the root mean square share of the differences of values.

    Args:
        configuration: one-hot features and softmax attention.
        value_weights: ``(K, seeds, D, D)``, under the masks.
        score_weights: likewise.
        worlds: ``(B,)``, one closed class each.

    Raises:
        ValueError: entries outside the masks; other features.
    """
    c = configuration
    if c.num_features is not None or c.attention != "softmax" or not masked(value_weights, score_weights):
        raise ValueError(
            "configuration must have one-hot features and softmax attention, and the weights no entries "
            "outside the masks"
        )
    share, rows = worlds.stationary_distribution(), value_weights[..., -1, -3:]
    features = c.inverse_temperature**0.5 * torch.eye(c.num_states).to(score_weights)
    scores = state_scores(score_weights[:, :, None, :-3, :-3], features)
    varying = worlds.reward - (share * worlds.reward).sum(-1, keepdim=True)
    truth = Worlds(worlds.transition, varying).value(c.discount)
    context = Tables(share[None], worlds.transition[None], varying[None])
    said = table_values(rows[:, :, None], scores, context, c.discount, c.num_layers)[-1]
    left = (share * (said - truth).square()).sum((-2, -1)) / (share * truth.square()).sum()
    gain = layer_gains(rows, c.num_layers, c.discount)[-1]
    return torch.stack([(1 - (1 - c.discount) * gain).abs(), left.sqrt()])


@checked
def sharp(tasks: Tasks) -> Tasks:
    """The same tasks with one-hot features so long that a visited state hears itself only."""
    size = tasks.worlds.reward.shape[-1]
    eye = 30 * torch.eye(size).to(tasks.worlds.reward)
    return tasks._replace(features=eye.reshape(*(1,) * (tasks.states.ndim - 1), size, size))


@checked
def trained_layer_rows(*, configuration: dict, seed: int) -> list[dict]:
    """Pretrain the networks of one configuration; a row for each layer of each.

    A task of ``book/sweeps/depth.py``.

    Args:
        configuration: fields of :class:`icrl.pretraining.tasks.Configuration`; one-hot features.
        seed: of what draws starts, worlds and trajectories of the training; another generator draws the fresh
            tasks, the same ones for all numbers of layers and both kinds of weights.

    Returns:
        Rows with kind, weights, num_layers; network and layer; the layer's ``(a, b, c)``, focus, and the gain
        on constants after it; of the network: mean squared error on 4096 fresh tasks of its own length and of
        640 transitions, its gain on the mean reward and the share that a polynomial explains of the rest
        (:func:`~icrl.pretraining.emergence.fitted_response`), and its root mean square distance to the
        answers of each head of as many layers, with sharp attention; and the errors of these heads and of
        the estimates without depth.
    """
    c = Configuration(**configuration)
    generator = Generator().manual_seed(seed)
    run = pretrain(c, generator)
    value, score = run.value_weights[-1], run.score_weights[-1]
    focuses, gains = layer_focus(c, score), layer_gains(run.rows[-1], c.num_layers, c.discount)
    tested = Generator().manual_seed(seed + TESTED)
    near, far = (fresh_tasks(c, 4096, tested, num_transitions=n) for n in (c.num_transitions, 640))
    said, truth = query_values(c, value, score, near), near.worlds.value(c.discount)
    fits, share = fitted_response(c, said, near)
    rivals, common = estimates(sharp(near), c.discount, c.num_layers), {}
    query = near.states[..., -1:]
    distance = {}
    for name in HEADS:
        answer = rivals.layers[name][-1].gather(-1, query)[..., 0]
        distance["to " + name] = (said - answer).square().mean(-1).sqrt()
        common["msve " + name] = squared_errors(near, rivals.layers[name][-1], c.discount).mean().item()
    for name, values in rivals.limits.items():
        common["msve " + name] = squared_errors(near, values, c.discount).mean().item()
    own = (said - truth.gather(-1, query)[..., 0]).square().mean(-1)
    long_truth = far.worlds.value(c.discount).gather(-1, far.states[..., -1:])[..., 0]
    long = (query_values(c, value, score, far) - long_truth).square().mean(-1)
    rows = []
    for network in range(c.num_seeds):
        whole = {"msve": own[network], "msve_640": long[network], "gain": fits[network].mean_gain}
        whole |= {"explained": share[network]} | {name: x[network] for name, x in distance.items()} | common
        for layer in range(c.num_layers):
            k = layer % len(value)
            part = dict(zip("abc", run.rows[-1, k, network].tolist(), strict=True))
            part |= {"focus": focuses[k, network], "constant": gains[layer + 1, network]}
            numbers = {name: round(float(x), 5) for name, x in (part | whole).items()}
            shown = {name: asdict(c)[name] for name in ("kind", "weights", "num_layers")}
            rows.append(shown | {"network": network, "layer": layer + 1} | numbers)
    return rows
