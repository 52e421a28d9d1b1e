"""Every claim of the chapter holds, and each of its parts fails where something is broken on purpose."""

from dataclasses import replace

import numpy as np
import pytest
from early import still_holds

from icrl import depth, softmax_td, softmax_transformer
from icrl.claims import depth as chapter
from icrl.claims import depth_optima as optima

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS + optima.CLAIMS}


def holds(name, seed=4):
    return still_holds(CLAIMS[name], seed)


def changed(module, name, change):
    """`module.name` whose result goes through `change(result, *arguments, **keywords)`."""
    original = getattr(module, name)
    return module, name, lambda *a, **k: change(original(*a, **k), *a, **k)


def scaled_row(factor, layer=-1):
    """Weights whose row of one layer is scaled."""

    def change(weights, *_, **__):
        value, score = weights[0].clone(), weights[1]
        value[layer] *= factor
        return value, score

    return change


def attending_last_layer(weights, *_, **__):
    """The last layer attends by features, as the others do."""
    score = weights[1].clone()
    score[-1] = score[0]
    return weights[0], score


def rolled(weights, *_, **__):
    """The last layer comes first."""
    return weights[0].roll(1, 0), weights[1].roll(1, 0)


def error_times(factor, **wanted):
    """An optimum whose error is scaled where the keywords are these."""

    def change(best, *_, **keywords):
        if all(keywords.get(name) == value for name, value in wanted.items()):
            return best._replace(error=best.error * factor)
        return best

    return change


class Deaf(softmax_transformer.SoftmaxTransformer):
    """Forgets the target row at the very end."""

    def forward(self, prompt, num_queries=1):
        z = super().forward(prompt, num_queries).clone()
        z[..., -2, :] = 0
        return z


def shorter(module, name, position):
    """`module.name` with one layer less than asked for."""
    original = getattr(module, name)

    def change(*arguments):
        arguments = list(arguments)
        arguments[position] -= 1
        return original(*arguments)

    return module, name, change


def price_off(wrong):
    """Priced TD pays a thousandth too much on contexts that `wrong(states)` picks."""
    original = chapter.run

    def run(weights, features, states, rewards, gamma):
        rows = original(weights, features, states, rewards, gamma)
        return rows + 1e-3 * (np.arange(len(rows)) == len(rows) - 1)[:, None] * wrong(states)

    return chapter, "run", run


def own_part(factor):
    """A certificate of priced TD whose bound, but for the floor, is scaled."""
    return lambda c, *_: replace(c, bound=c.floor + factor * (c.bound - c.floor))


def inexact_when_deep(best, chain, discount, num_layers, **_):
    return best._replace(error=best.error + 1e-3 * (num_layers >= len(chain)))


def without_step(num_features, num_layers, discount, step_size=1.0):
    return softmax_transformer_priced(num_features, num_layers, discount)


def first_without_step(num_features, num_layers, discount, step_size=1.0):
    value, score = softmax_transformer_priced(num_features, num_layers, discount)
    return value.roll(1, 0), score.roll(1, 0)


softmax_transformer_priced = softmax_transformer.priced_td_weights
priced = (softmax_transformer, "priced_td_weights")
first = (depth, "price_first_weights")

BROKEN = {
    "priced-td": {
        "price": changed(*priced, scaled_row(1.0001)),
        "averages by features": changed(*priced, attending_last_layer),
        "price first": changed(*priced, rolled),
        "steps ignored": (*priced, without_step),
        "target row": (chapter, "SoftmaxTransformer", Deaf),
    },
    "price-first-shifts": {
        "price": changed(*first, scaled_row(1.0001, 0)),
        "price last": changed(*first, lambda w, *_, **__: (w[0].roll(-1, 0), w[1].roll(-1, 0))),
        "steps ignored": (*first, first_without_step),
    },
    "price-and-ends": {"no kernel": changed(softmax_td, "softmax_kernel", lambda k, *_: 0 * k)},
    "price-closed-contexts": {
        "price": changed(*first, scaled_row(1.0001, 0)),
        "Pythagoras": changed(chapter, "td_weights", scaled_row(0.999)),
        "span": changed(depth, "dobrushin", lambda x, *_: 0.5 * x),
        "norm": changed(depth, "deviation_norm", lambda x, *_: 0.5 * x),
    },
    "forgets-late": {
        "biased coin": (depth, "de_bruijn", lambda bits: np.kron(np.ones((2, 1)), _biased(bits))),
        "forgets at once": (depth, "de_bruijn", lambda bits: depth.lazy_cycle(2**bits, 0.0)),
        "a ring that forgets": (depth, "cycle", lambda size: depth.lazy_cycle(size, 0.99)),
        "coefficient": changed(depth, "dobrushin", lambda x, *_: 0.99 * x),
    },
    "price-last": {
        "price": changed(*priced, scaled_row(1.0001)),
        "averages by features": changed(*priced, attending_last_layer),
        "price first": changed(*priced, rolled),
        "closed contexts": price_off(lambda states: states[0] == states[-1]),
        "open contexts": price_off(lambda states: states[0] != states[-1]),
    },
    "price-first-constant": {
        "price": changed(*first, scaled_row(1.001, 0)),
        "transposed": changed(chapter, "by_counts", lambda x, *_: (x[0], x[1], x[2].T)),
        "no loud state": changed(chapter, "draw_context", lambda x, *_, **__: (0 * x[0], *x[1:])),
    },
    "price-first-open": {"price": changed(*first, scaled_row(1.001, 0))},
    "price-first-hurts": {
        "price last": changed(*first, lambda w, *_: (w[0].roll(-1, 0), w[1].roll(-1, 0))),
        "TD as bad": (chapter, "td_weights", lambda d, n: depth.price_first_weights(d, n - 1, 0.99)),
        "price last as bad": changed(*priced, rolled),
    },
    "priced-certificate": {
        "floor": changed(depth, "priced_certificate", lambda c, *_: replace(c, floor=c.floor / 100)),
        "distance": changed(
            depth, "priced_certificate", lambda c, *_: replace(c, distance=1.01 * c.distance)
        ),
        "bound": changed(
            depth,
            "priced_certificate",
            lambda c, *_: replace(c, bound=c.floor + (c.bound - c.floor) / 10),
        ),
        "floor by ten": changed(depth, "priced_certificate", lambda c, *_: replace(c, floor=c.floor / 10)),
        "bound, a little less": changed(depth, "priced_certificate", own_part(0.98)),
        "bound, a little more": changed(depth, "priced_certificate", own_part(1.02)),
        "no open end": changed(
            depth,
            "priced_certificate",
            lambda c, *_: replace(c, bound=c.floor + (c.bound - c.floor) / (1 + c.open_end)),
        ),
        "step size ignored": (
            depth,
            "priced_certificate",
            lambda *a, f=depth.priced_certificate: f(*a[:7]),
        ),
    },
    "focused-minimax": {
        "values": changed(depth, "best_on_chain", error_times(1.001, rewards="value")),
        "rewards": changed(depth, "best_on_chain", error_times(0.999, rewards="bounded")),
        "as many layers as states": changed(depth, "best_on_chain", inexact_when_deep),
        "TD": changed(optima, "td_weights", scaled_row(0.8)),
        "a network that sees too far": (
            optima,
            "focused_answer",
            lambda rng, states, n, size, f=optima.focused_answer: f(rng, states, n + 1, size),
        ),
    },
    "circle-optimum": {
        "too large": changed(depth, "best_on_circle", error_times(1.01)),
        "too small": changed(depth, "best_on_circle", error_times(0.99)),
        "values": changed(depth, "best_on_circle", error_times(0.99, rewards="value")),
        "polynomial": (depth, "circle_polynomial", depth.own_price_polynomial),
        "network": changed(optima, "run", lambda x, *_, **__: 2 * x),
    },
    "minimax-with-mixing": {
        "averaging, above": changed(depth, "best_on_chain", error_times(1.001, averaging=True)),
        "averaging, below": changed(depth, "best_on_chain", error_times(0.999, averaging=True)),
        "alone, above": changed(depth, "best_on_chain", error_times(1.001, averaging=False)),
        "alone, below": changed(depth, "best_on_chain", error_times(0.999, averaging=False)),
        "limit with averages, larger": changed(optima, "mixing_limits", lambda x, *_: (1.002 * x[0], x[1])),
        "limit with averages, smaller": changed(optima, "mixing_limits", lambda x, *_: (0.998 * x[0], x[1])),
        "limit without, larger": changed(optima, "mixing_limits", lambda x, *_: (x[0], 1.002 * x[1])),
        "limit without, smaller": changed(optima, "mixing_limits", lambda x, *_: (x[0], 0.998 * x[1])),
        "who wins": changed(depth, "worth_a_layer", lambda x, *_: not x),
        "price last": changed(*priced, scaled_row(0.9)),
        "own price": changed(depth, "own_price_weights", scaled_row(0.99, 0)),
    },
    "doubled-paths": {
        "powers": changed(depth, "doubling_weights", scaled_row(0.999)),
        "blunt": (depth, "doubling_weights", lambda *a, f=depth.doubling_weights: f(*a, sharpness=3.0)),
    },
    "momentum-layer": {
        "discount": (depth, "momentum_weights", lambda d, n, g, f=depth.momentum_weights: f(d, n, 0.999 * g)),
        "no momentum": (
            depth,
            "momentum_weights",
            lambda d, n, g, f=depth.momentum_weights: f(d, n, 0.0),
        ),
    },
    "momentum-converges": {
        "spectral radius": (
            depth,
            "momentum_converges",
            lambda p, g: bool((np.abs(np.linalg.eigvals(p)) < 1 / g).all()),
        ),
        "real parts": (depth, "momentum_converges", lambda p, g: g < 0.5**0.5),
    },
    "momentum-reversible": {
        "one layer less": shorter(depth, "chebyshev_error", 3),
        "constant, larger": changed(optima, "reversible_bound", lambda x, *_: 1.001 * x),
        "constant, smaller": changed(optima, "reversible_bound", lambda x, *_: 0.999 * x),
        "a chain on which less is possible": (depth, "cycle", lambda n, f=depth.cycle: f(n + 1)),
        "a little more is left": changed(depth, "chebyshev_error", lambda x, *_: 1.001 * x),
    },
    "averaging-emerges": {
        "no layer averages": changed(depth, "layer_focus", lambda x, *_: x + 0.3),
        "shared ones too": changed(depth, "layer_focus", lambda x, *_: x - 0.3),
        "TD": changed(
            depth, "estimates", lambda x, *_: x._replace(layers=x.layers | {"TD": x.layers["price last"]})
        ),
    },
}


@pytest.fixture(scope="module", autouse=True)
def trained_once():
    """The faults of `averaging-emerges` lie in what is measured: its networks are trained once."""
    kept, original = {}, optima.pretrain

    def pretrain(c, generator, **options):
        key = c, generator.initial_seed()
        if key not in kept:
            kept[key] = original(c, generator, **options), generator.get_state()
        generator.set_state(kept[key][1])
        return kept[key][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optima, "pretrain", pretrain)
        yield


def _biased(bits):
    """The upper half of de Bruijn's matrix with a coin that falls on 0 in six of ten cases."""
    half = np.zeros((2 ** (bits - 1), 2**bits))
    for s in range(len(half)):
        half[s, 2 * s], half[s, 2 * s + 1] = 0.6, 0.4
    return half


def test_every_claim_has_a_fault():
    assert set(BROKEN) == set(CLAIMS)


@pytest.mark.parametrize(("name", "part"), [(n, part) for n, parts in BROKEN.items() for part in parts])
def test_can_fail(name, part, monkeypatch):
    monkeypatch.setattr(*BROKEN[name][part])
    assert not holds(name)
