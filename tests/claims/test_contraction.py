"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import numpy as np
import pytest
from early import still_holds

from icrl import constructions, contraction, softmax_td
from icrl.claims import certificate, theorem_2
from icrl.claims import contraction as chapter
from icrl.softmax_transformer import SoftmaxTransformer

CLAIMS = {claim.id: claim for claim in theorem_2.CLAIMS + chapter.CLAIMS + certificate.CLAIMS}


def holds(name, seed=3):
    return still_holds(CLAIMS[name], seed)


def wrap(module, name, change):
    """`module.name` with its result passed through `change`."""
    original = getattr(module, name)
    return module, name, lambda *a, **k: change(original(*a, **k))


def replaced(**change):
    """A change of a result's attributes: functions of the old value."""

    def apply(result):
        for name, new in change.items():
            object.__setattr__(result, name, new(getattr(result, name)))
        return result

    return apply


BROKEN = {
    "theorem-2-recursion": wrap(softmax_td, "kernel_td", lambda v: -v),
    "theorem-2-norm": wrap(softmax_td, "iteration_matrix", lambda b: 2 * np.eye(len(b)) - b),
    "population-operator": wrap(constructions, "poisson_solution", lambda g: -g),
    "theorem-2-constants": wrap(
        constructions, "population_bound", replaced(floor=lambda x: 0.01 * x, rate=lambda x: 0.3 * x)
    ),
    "theorem-2-formula": wrap(constructions, "population_bound", replaced(floor=lambda x: 1.01 * x)),
    "zero-temperature": wrap(contraction, "population_matching", lambda m: 0.9 * m + 0.1 * np.eye(len(m))),
    "nearly-equal-features": wrap(constructions, "slow_eigenvalue", lambda c: 1.1 * c),
    "coverage-may-mislead": wrap(contraction, "hoeffding_radius", lambda x: 2 * x),
    "assumption-contracts": wrap(
        contraction, "population_iteration_matrix", lambda b: 2 * np.eye(len(b)) - b
    ),
    "assumption-threshold": wrap(contraction, "population_matching", lambda m: m[:, ::-1]),
    "best-match-elsewhere": wrap(contraction, "population_matching", lambda m: m[:, ::-1]),
    "assumption-not-needed": wrap(
        contraction, "population_iteration_matrix", lambda b: 2 * np.eye(len(b)) - b
    ),
    "rate-per-layer": wrap(contraction, "population_matching", lambda m: m.T / m.T.sum(1, keepdims=True)),
    "context-error": wrap(softmax_td, "empirical_model", lambda model: (model[0] + 0.1, model[1])),
    "certificate": wrap(contraction, "hoeffding_radius", lambda x: x / 100),
    "certificate-formula": wrap(contraction, "hoeffding_radius", lambda x: x * 1.001),
    "certificate-rare-state": wrap(contraction, "hoeffding_radius", lambda x: x.min() + 0 * x),
    "floor-slope": wrap(chapter, "floor_errors", lambda e: e**2),
    "floor-fixed": wrap(softmax_td, "softmax_kernel", lambda k: np.roll(k, 1, axis=0)),
    "understated-range": wrap(contraction.valid, "width", lambda x: x + 1000),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_can_fail(name, monkeypatch):
    monkeypatch.setattr(*BROKEN[name])
    assert not holds(name)


def test_a_shifted_interval_is_seen(monkeypatch):
    original = contraction.certificate
    center = replaced(estimate=lambda x: x + 1e-3 + 2 * np.abs(x))
    monkeypatch.setattr(contraction, "certificate", lambda *a, **k: center(original(*a, **k)))
    assert not holds("certificate")


def test_a_transformer_that_steps_too_far_is_seen(monkeypatch):
    original = SoftmaxTransformer.values
    monkeypatch.setattr(SoftmaxTransformer, "values", lambda *a, **k: 1.1 * original(*a, **k))
    assert not holds("rate-per-layer")


def radius_with(visits=lambda n, total: n, union=True):
    def radius(counts, *, num_states, num_transitions, span, delta):
        pairs = num_states * num_transitions if union else 1
        return span * np.sqrt(np.log(2 * pairs / delta) / (2 * visits(counts, num_transitions)))

    return radius


def test_the_right_radius_is_the_packages(monkeypatch):
    monkeypatch.setattr(contraction, "hoeffding_radius", radius_with())
    assert holds("certificate-formula")


@pytest.mark.parametrize(
    ("name", "radius"),
    [
        ("certificate-formula", radius_with(lambda n, total: total + 0 * n)),
        ("certificate-rare-state", radius_with(lambda n, total: total + 0 * n)),
        ("certificate-rare-state", radius_with(lambda n, total: n.mean() + 0 * n)),
        ("certificate-formula", radius_with(union=False)),
    ],
)
def test_a_wrong_count_in_the_radius_is_seen(name, radius, monkeypatch):
    """The context's length or the mean count for the visits of a state; no union over states and counts."""
    monkeypatch.setattr(contraction, "hoeffding_radius", radius)
    assert not holds(name)


@pytest.mark.parametrize(
    "change", [lambda b: b.T, lambda b: np.eye(len(b)), lambda b: 2 * np.eye(len(b)) - b]
)
def test_a_wrong_inverse_is_seen(change, monkeypatch):
    """Transposed, dropped, or with the sign of the discount flipped; the estimate itself is left alone."""
    discounted = contraction.discounted

    def wrong(transition, discount, right):
        solution = discounted(transition, discount, right)
        system = np.eye(len(transition)) - discount * transition
        solution[:, 1] = np.linalg.solve(change(system), right[:, 1])  # the radius
        return solution

    monkeypatch.setattr(contraction, "discounted", wrong)
    assert not holds("certificate-formula")


def bound_with(rate=lambda r, c: r, floor=lambda x, rate: x, required=lambda n: n, states=lambda s: 1):
    """`population_bound` with one of its parts changed."""
    original = constructions.population_bound

    def mutant(features, process, num_transitions, delta):
        found = original(features, process, num_transitions, min(delta * states(process.num_states), 0.99))
        margin = contraction.assumption_margin(features, process)
        new = rate(found.rate, margin)
        return constructions.PopulationBound(new, floor(found.floor, found.rate), required(found.required))

    return mutant


@pytest.mark.parametrize(
    "mutant",
    [
        bound_with(rate=lambda r, c: 1 - 2 * c),
        bound_with(rate=lambda r, c: 1 - c),
        bound_with(floor=lambda x, rate: x * (1 - rate)),  # without 1 / C
        bound_with(states=lambda size: size),  # lambda without |S|: log(4 / delta)
        bound_with(required=lambda n: n // 2),
    ],
    ids=["limit rate", "paper's rate", "no division by the margin", "no union over states", "half as long"],
)
def test_a_wrong_constant_of_theorem_2_is_seen(mutant, monkeypatch):
    monkeypatch.setattr(constructions, "population_bound", mutant)
    assert not holds("theorem-2-formula")


@pytest.mark.parametrize(
    "mutant",
    [
        bound_with(floor=lambda x, rate: x / 10),
        bound_with(floor=lambda x, rate: x * 10),
        bound_with(rate=lambda r, c: r - c),
        bound_with(rate=lambda r, c: (1 + r) / 2),
    ],
    ids=["floor too low", "floor too high", "rate too low", "rate too high"],
)
def test_a_bound_of_theorem_2_that_fails_or_says_nothing_is_seen(mutant, monkeypatch):
    """On sampled contexts: no formula is compared here."""
    monkeypatch.setattr(constructions, "population_bound", mutant)
    assert not holds("theorem-2-constants")


def norms_of(change):
    """The loop's kernel changed: the second norm bound speaks of what attention averages."""
    original = softmax_td.softmax_kernel
    return lambda *a: change(original(*a))


def others_halved(matrix):
    """All eigenvalues of I - matrix but the slowest are halved."""
    operator = np.eye(len(matrix)) - matrix
    values, vectors = np.linalg.eig(operator)
    values[np.argsort(np.abs(values))[1:]] /= 2
    return np.eye(len(matrix)) - (vectors * values @ np.linalg.inv(vectors)).real


@pytest.mark.parametrize(
    ("module", "attribute", "mutant", "name"),
    [
        (softmax_td, "softmax_kernel", norms_of(lambda k: 1.1 * k), "theorem-2-norm"),
        (softmax_td, "softmax_kernel", norms_of(lambda k: k - k.mean(axis=0)), "theorem-2-norm"),
        (*wrap(contraction, "population_matching", lambda m: m**1.1), "population-operator"),
        (*wrap(contraction, "population_iteration_matrix", lambda b: 0.9 * b), "zero-temperature"),
        (
            *wrap(contraction, "population_iteration_matrix", lambda b: b + 0.01 * np.eye(len(b))),
            "zero-temperature",
        ),
        (*wrap(chapter, "floor_errors", np.sqrt), "floor-slope"),
        (*wrap(contraction.valid, "width", lambda x: 0 * x), "understated-range"),
        (*wrap(theorem_2, "started_at", lambda v: v[:1] + 0 * v), "theorem-2-recursion"),
        (*wrap(chapter, "started_at", lambda v: 1.001 * v), "rate-per-layer"),
        (*wrap(contraction, "certificate", replaced(rate=lambda r: 1.01 * r)), "rate-per-layer"),
        (*wrap(contraction, "certificate", replaced(rate=lambda r: 0.99 * r)), "rate-per-layer"),
        (*wrap(contraction, "certificate", replaced(distance=lambda d: 0.9 * d)), "rate-per-layer"),
        (*wrap(constructions, "slow_eigenvalue", lambda c: -c), "nearly-equal-features"),
        (*wrap(softmax_td, "iteration_matrix", others_halved), "nearly-equal-features"),
        (*wrap(contraction, "assumption_margin", lambda m: m + 2e-3), "best-match-elsewhere"),
        (*wrap(contraction, "assumption_margin", lambda m: m - 2e-3), "best-match-elsewhere"),
        (*wrap(contraction, "assumption_margin", lambda m: 1.01 * m), "best-match-elsewhere"),
        (*wrap(softmax_td, "empirical_model", lambda m: (m[0], 0 * m[1])), "coverage-may-mislead"),
    ],
)
def test_a_fault_in_a_part_is_seen(module, attribute, mutant, name, monkeypatch):
    monkeypatch.setattr(module, attribute, mutant)
    assert not holds(name)


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_what_self_attention_keeps_is_a_bound_and_is_attained(factor, monkeypatch):
    """Where counts are off it keeps a little less than promised; then more, so that nothing attains it."""
    original, calls = contraction.population_matching, []

    def mutant(features, distribution):
        calls.append(original(features, distribution))
        # In each round: the true frequencies, counts that are off, the worst counts.
        return calls[-1] if len(calls) % 3 == 1 else factor * calls[-1]

    monkeypatch.setattr(contraction, "population_matching", mutant)
    assert not holds("population-operator")


def spectral(matrix):
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def certificate_with(**change):
    """`certificate` with fields computed from the whole of it."""
    original = contraction.certificate

    def mutant(*arguments, **options):
        found = original(*arguments, **options)
        for name, new in change.items():
            object.__setattr__(found, name, new(found))
        return found

    return mutant


@pytest.mark.parametrize(
    "mutant",
    [
        certificate_with(floor=lambda c: c.radius.mean()),
        certificate_with(bound=lambda c: c.bound - c.floor + c.radius.mean()),
        certificate_with(rate=lambda c: 0.99 * c.rate),
        certificate_with(bound=lambda c: c.floor + c.initial),
        certificate_with(distance=lambda c: c.initial),
        certificate_with(initial=lambda c: np.abs(c.estimate).mean()),
        certificate_with(visits=lambda c: c.visits + 1),
    ],
    ids=["mean floor", "mean in bound", "rate", "no layers", "distance", "initial", "visits"],
)
def test_a_wrong_field_of_the_certificate_is_seen(mutant, monkeypatch):
    monkeypatch.setattr(contraction, "certificate", mutant)
    assert not holds("certificate-formula")


@pytest.mark.parametrize("name", ["certificate-formula", "certificate-rare-state"])
def test_a_span_without_the_horizon_is_seen(name, monkeypatch):
    """The range of the rewards in place of the range of the values: no 1 / (1 - gamma)."""
    original, discount = contraction.valid.width, {}
    seen = contraction.valid.discount
    monkeypatch.setattr(
        contraction.valid, "discount", lambda g: discount.setdefault("last", seen(g)) and seen(g)
    )

    def narrow(reward_range, rewards):
        return original(reward_range, rewards) * (1 - discount.pop("last"))

    monkeypatch.setattr(contraction.valid, "width", narrow)
    assert not holds(name)


def test_the_spectral_radius_for_the_rate_is_seen(monkeypatch):
    """The radius of the matrix in place of its norm."""
    original, matrices = contraction.certificate, []
    power = np.linalg.matrix_power
    monkeypatch.setattr(
        contraction.np.linalg, "matrix_power", lambda m, k: (matrices.append(m), power(m, k))[1]
    )

    def mutant(*arguments, **options):
        found = original(*arguments, **options)
        object.__setattr__(found, "rate", spectral(matrices[-1]))
        return found

    monkeypatch.setattr(contraction, "certificate", mutant)
    assert not holds("certificate-formula")
    assert not holds("rate-per-layer")
