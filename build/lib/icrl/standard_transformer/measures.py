"""All instruments of the chapter on one trained run, as rows of tables.

See :doc:`/book/standard-transformer`.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from icrl._arguments import checked
from icrl.standard_transformer import behaviour, hypotheses, inside
from icrl.standard_transformer.prompts import Prompts
from icrl.standard_transformer.training import Run, Setting

RIVALS = ("linear 2", "certainty equivalence", "add-k", "bayes")
"""What a network is paired with."""


@checked(finite=False)
def measured(name: str, run: Run, generator: Generator, num_worlds: int = 1000) -> dict[str, list[dict]]:
    """Every instrument, on fresh worlds, in float64.

    Args:
        name: of the run, written into each row.
        run: from :func:`icrl.standard_transformer.training.train`.
        generator: source of randomness.
        num_worlds: on which errors are measured; the Jacobian gets a tenth of them, the heads half of those.

    Returns:
        The rows of four tables, ``runs`` (one a seed), ``conditions`` (seed and test law), ``layers``
        (seed and layer), ``heads`` (seed, layer and head). NaN for a rival that does not exist there.
    """
    c, parameters = run.setting, run.parameters.double()
    rivals = hypotheses.fit_rivals(c.draw((4 * num_worlds,), generator), c.discount)
    few, fewer = (c.draw((max(20, num_worlds // x),), generator) for x in (10, 20))
    head = {
        "run": name,
        "kinds": "+".join(c.kinds),
        "discount": c.discount,
        "num_transitions": c.num_transitions,
        "num_states": c.num_states,
        "num_layers": c.num_layers,
        "loss": c.loss,
    }
    rows = [head | {"seed": seed} for seed in range(len(parameters))]
    conditions = _conditions(c, parameters, rivals, generator, num_worlds)
    law = [row for row in conditions if row["condition"] == "law"]
    outside = _outside(c, parameters, rivals, few, generator)
    for seed, row in enumerate(rows):
        row |= {key: law[seed][key] for key in ("msve", *(f"msve {x}" for x in RIVALS), "msve price")}
        row["dead"] = int(row["msve"] > row["msve price"])
        row |= {key: float(x[seed]) for key, x in outside.items()}
    short = [{"run": name, "seed": row["seed"], "num_layers": c.num_layers} for row in rows]
    layers = list(_layers(c, parameters, generator, num_worlds))
    heads = list(_heads(c, parameters, fewer))
    tables = {"conditions": conditions, "layers": layers, "heads": heads}
    tables = {key: [short[row.pop("seed")] | row for row in x] for key, x in tables.items()}
    return {key: [_rounded(row) for row in x] for key, x in ({"runs": rows} | tables).items()}


def _rounded(row):
    """Five digits: what a reader may compare."""
    return {key: float(f"{x:.5g}") if isinstance(x, float) else x for key, x in row.items()}


def laws(setting: Setting) -> dict[str, Setting]:
    """Laws to test on: the one of training first, then one change each."""
    c = setting
    result = {"law": c}
    result |= {f"kind {kind}": replace(c, kinds=(kind,)) for kind in ("boyan", "loop", "random")}
    if len(c.kinds) == 1:
        del result[f"kind {c.kinds[0]}"]
    for factor, n in ((0.25, c.num_transitions // 4), (4, 4 * c.num_transitions)):
        result[f"length x{factor:g}"] = replace(c, num_transitions=n)
    if not c.gaussian:
        result |= {f"states {s}": replace(c, num_states=s) for s in (3, 4) if s < c.num_states}
    return result


REWARDS = {"reward x2": (2.0, 0.0), "reward x5": (5.0, 0.0), "reward +1": (1.0, 1.0)}
"""How the rewards are changed, by a factor and an offset."""


def _conditions(c, parameters, rivals, generator, num_worlds):
    """Paired errors on the law of training and on others; with scaled rewards in units of the scale."""
    result = []
    for name, law in laws(c).items():
        prompts = law.draw((num_worlds,), generator)
        result += _errors(name, law, parameters, rivals, prompts, generator, 1.0)
        if name == "law":
            for change, (factor, offset) in REWARDS.items():
                moved = prompts.with_reward(factor * prompts.reward + offset)
                moved = moved._replace(value=factor * prompts.value + offset / (1 - c.discount))
                result += _errors(change, law, parameters, rivals, moved, generator, factor)
    return result


def _errors(name, law, parameters, rivals, prompts, generator, factor):
    kind = law.kinds[0] if len(law.kinds) == 1 else None
    operators = hypotheses.rival_operators(prompts, law.discount, rivals, generator, law.num_layers, kind)
    errors = {
        key: prompts.mean_square(value - prompts.value) / factor**2
        for key, value in hypotheses.values_of(operators, prompts.reward).items()
    }
    ours = behaviour.squared_errors(law, parameters, prompts) / factor**2
    missing = torch.full_like(ours[0], torch.nan)
    rows = []
    for seed, mine in enumerate(ours):
        row = {"seed": seed, "condition": name, "msve": float(mine.mean())}
        row["msve price"] = float(errors["price"].mean())
        for key in RIVALS:
            other = errors.get(key, missing)
            mean, half = behaviour.paired(mine, other)
            row |= {
                f"msve {key}": float(other.mean()),
                f"less {key}": float(mean),
                f"half {key}": float(half),
            }
        rows.append(row)
    return rows


def _outside(c, parameters, rivals, prompts, generator):
    """Jacobian, symmetries and the swapped transition, each seed."""
    fitted, explained = behaviour.coefficients(
        behaviour.jacobian(c, parameters, prompts), prompts, c.discount
    )
    result = dict(zip(("c0", "c1", "c2", "price"), fitted.T, strict=True)) | {"explained": explained}
    result |= behaviour.symmetries(c, parameters, prompts)
    after = behaviour.swapped(prompts, generator)
    moved = behaviour.moves(c, parameters, prompts, after)
    predicted = predicted_moves(prompts, after, c.discount, rivals)
    result["swap rms"] = prompts.mean_square(moved).mean(-1).sqrt()
    slopes = behaviour.slopes(moved, torch.stack(list(predicted.values())), prompts)
    for i, (key, move) in enumerate(predicted.items()):
        result[f"swap rms {key}"] = prompts.mean_square(move).mean().sqrt().expand(len(parameters))
        result[f"swap slope {key}"] = slopes[:, i]
        missed = prompts.mean_square(moved - move).mean(-1).sqrt()
        result[f"swap missed {key}"] = missed / result["swap rms"]
    return result


@checked
def predicted_moves(
    before: Prompts, after: Prompts, discount: float, rivals: hypotheses.Rivals
) -> dict[str, Float[Tensor, "B S"]]:
    """By how much each hypothesis says that the values move when the counts change."""
    result = {}
    for key in ("linear 1", "linear 2", "certainty equivalence", "add-k"):
        values = []
        for prompts in (before, after):
            model = hypotheses.empirical(prompts.counts)
            if key.startswith("linear"):
                matrix = hypotheses.combination(rivals.linear[int(key[-1])], model, discount)
            elif key == "add-k":
                matrix = hypotheses.add_k(prompts.counts, discount, rivals.k)
            else:
                matrix = hypotheses.certainty_equivalence(model, discount)
            values.append((matrix @ prompts.reward[..., None])[..., 0])
        result[key] = values[1] - values[0]
    return result


def _layers(c, parameters, generator, num_worlds):
    prompts = tuple(c.draw((num_worlds // 2,), generator) for _ in range(2))
    errors, held = inside.lens(c, parameters, prompts[1])
    shares = inside.probes(c, parameters, prompts, generator)
    short = {"certainty equivalence": "ce", "P r": "Pr", "P^2 r": "PPr"}
    for layer in range(c.num_layers + 1):
        for seed in range(len(parameters)):
            row = {"seed": seed, "layer": layer, "lens msve": float(errors[layer, seed])}
            row |= {
                f"lens {key}": float(x)
                for key, x in zip(("c0", "c1", "price"), held[layer, seed], strict=True)
            }
            for kind, share in shares.items():
                for i, key in enumerate(inside.PROBED):
                    row[f"probe {kind} {short[key]}"] = float(share[layer, seed, i])
            yield row


def _heads(c, parameters, prompts):
    scores = inside.head_scores(c, parameters, prompts)
    errors, fits = inside.patched(c, parameters, prompts)
    for layer in range(c.num_layers):
        for head in range(c.num_heads):
            for seed in range(len(parameters)):
                row = {"seed": seed, "layer": layer + 1, "head": head}
                row |= {key: float(x[layer, seed, head]) for key, x in scores._asdict().items()}
                row["patched msve"] = float(errors[layer, head, seed])
                for key, x in zip(("c0", "c1", "c2", "price"), fits[layer, head, seed], strict=True):
                    row[f"patched {key}"] = float(x)
                yield row
