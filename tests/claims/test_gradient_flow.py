"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import dataclasses
import sys

import numpy as np
import pytest
from early import still_holds
from remembered import remembered

from icrl.claims import flow_rates as rates
from icrl.claims import gradient_flow as chapter
from icrl.gradient_flow import whole_block
from icrl.gradient_flow.flow import MimickingLoss

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS + rates.CLAIMS}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


FLOWS = {"gradient_flow": remembered(rates.gradient_flow), "follow": remembered(rates.follow)}


@pytest.fixture
def flowed_once(monkeypatch):
    """Faults that lie in what is made of a flow need not run it again."""
    for name, function in FLOWS.items():
        monkeypatch.setattr(rates, name, function)


def changed(name, change, module=chapter):
    """A function that the claims use, with its result passed through `change`."""
    original = getattr(module, name)
    return lambda *args, **kwargs: change(original(*args, **kwargs))


def half_columns(loss):
    return dataclasses.replace(loss, parameters=0.5 * loss.parameters)


def leak(prompts):
    """A datum above the parameters: one of the two zero blocks is not zero."""
    prompts = prompts.clone()
    prompts[:, 0, -1] = 1
    return prompts


def other_sign(result):
    scale, score, value = result
    return -scale, -score, -value


def off_z(result):
    scale, score, value = result
    return scale, score + 1e-3, value


class Drifting:
    """A flow that grows by a thousandth."""

    def __init__(self, flow):
        self.times, self.losses = flow.times, flow.losses
        self.scores, self.values = (
            1.001 * flow.scores,
            flow.values * np.linspace(1, 1.001, len(flow.times))[:, None, None],
        )

    @property
    def balance(self):
        return (self.values**2).sum(axis=(1, 2)) - (self.scores**2).sum(axis=(1, 2))


def slower(flow):
    return dataclasses.replace(flow, times=1.1 * flow.times)


def halved(seen):
    """Half the gap, as if the law of the rate were e^{-mu t}."""
    return dataclasses.replace(seen, spectrum=0.5 * seen.spectrum)


def steeper(seen):
    return dataclasses.replace(seen, spectrum=1.5 * seen.spectrum)


def widened(factor):
    return lambda seen: dataclasses.replace(seen, margin=factor * seen.margin)


def always(kind, name="random_tasks"):
    original = getattr(chapter, name)
    return lambda _, *args, **kwargs: original(kind, *args, **kwargs)


def seen_along(side):
    """Tasks whose moments show z on one side only, that of the value (b) or that of the score (eta)."""

    def change(loss):
        tilt = np.eye(loss.moments.shape[1]) + 1e-3 * np.eye(loss.moments.shape[1], k=1)
        moments = tilt @ loss.moments if side == "value" else loss.moments @ tilt
        object.__setattr__(loss, "moments", moments)  # past its own check of symmetry
        return loss

    return lambda: changed("random_tasks", change)


def nothing_hidden():
    """Teacher and start without a part along z: the raw balance is right."""
    original = chapter.near

    def near(rng, loss, *sizes):
        z = chapter.richness(loss).data_null
        off = np.eye(len(z)) - z @ z.T
        object.__setattr__(loss, "teacher_score", off @ loss.teacher_score)
        object.__setattr__(loss, "teacher_value", loss.teacher_value @ off)
        score, value = original(rng, loss, *sizes)
        return [off @ score - 0.5 * z, value @ off]  # the check moves the score by z / 2

    return near


def untilted(result):
    """Autograd's loss and gradients, the one in P with a part that no flow of a loss has."""
    value, by_P, by_V = result
    return value, by_P + np.triu(by_P, 1), by_V


def with_gradients(change):
    """Autograd through the whole block, its gradients passed through `change(by_P, by_V, m)`."""

    def fault():
        original = chapter.block_gradients

        def broken(prompts, teacher, P, V, p):
            value, by_P, by_V = original(prompts, teacher, P, V, p)
            return value, *change(by_P.copy(), by_V.copy(), prompts.shape[1] - p - 1)

        return broken

    return fault


def data_scaled(by_P, by_V, m):
    """Of the law of V21 and P12."""
    by_V[:, :m] *= 1.1
    return by_P, by_V


def corner_scaled(by_P, by_V, m):
    """Of the law of V22 and P22."""
    by_V[:, m:] *= 1.1
    return by_P, by_V


def corner_turned(by_P, by_V, m):
    """A turn in P22 that its law of norms does not see: an antisymmetric part off the block's own."""
    corner = by_P[m:, m:]
    corner[0, 1] += 1e-3
    corner[1, 0] -= 1e-3
    return by_P, by_V


def with_corners(rng, size, p, corner, original=chapter.gaussian_block):
    return original(rng, size, p, True)


def louder_loss():
    original = chapter.mimicking_loss

    def broken(*args):
        loss = original(*args)
        value = loss.loss(*loss.on_manifold(2.0)) * 0 + 1.01

        class Louder(type(loss)):
            def loss(self, *blocks):
                return value * super().loss(*blocks)

        return Louder(**{field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)})

    return broken


def lost_mode(rate):
    return rate._replace(expected=1.02 * rate.expected)


FAULTS = [
    ("mimicking-gradients", "mimicking_loss", lambda: changed("mimicking_loss", half_columns)),
    ("mimicking-gradients", "mimicking_loss", louder_loss),
    ("proposition-3-1", "sarsa_prompt", lambda: changed("sarsa_prompt", leak)),
    ("proposition-3-1", "gaussian_block", lambda: with_corners),
    *(
        ("flow-balance", "block_gradients", with_gradients(change))
        for change in (data_scaled, corner_scaled, corner_turned)
    ),
    ("flow-balance", "sarsa_prompt", lambda: changed("sarsa_prompt", leak)),
    ("commutant-law", "sarsa_prompt", lambda: changed("sarsa_prompt", leak)),
    ("commutant-law", "block_gradients", lambda: changed("block_gradients", untilted)),
    ("flow-balance", "gradient_flow", lambda: changed("gradient_flow", Drifting)),
    ("landing-point", "landing_point", lambda: changed("landing_point", off_z)),
    ("landing-actor-critic", "landing_point", lambda: changed("landing_point", off_z)),
    ("landing-actor-critic", "landing_point", lambda: changed("landing_point", other_sign)),
    ("null-dimension", "random_tasks", lambda: always("gaussian")),
    ("null-dimension", "random_tasks", lambda: always("one-hot")),
    *(
        ("null-dimension-actor-critic", "random_actor_critic_tasks", lambda kind=kind: always(kind, AC_TASKS))
        for kind in ("gaussian", "one-hot", "ended")
    ),
    ("one-hot-manifold", "random_tasks", lambda: always("ended")),
    ("one-hot-manifold", "random_tasks", lambda: always("gaussian")),
    ("one-hot-manifold", "random_tasks", seen_along("value")),
    ("one-hot-manifold", "random_tasks", seen_along("score")),
    ("unprojected-landing-misses", "landing_point", lambda: changed("landing_point", other_sign)),
    ("unprojected-landing-misses", "near", nothing_hidden),
]
AC_TASKS = "random_actor_critic_tasks"
RATE_FAULTS = [
    ("local-rate", "gradient_flow", slower),
    ("local-rate", "richness", steeper),
    ("polyak-lojasiewicz", "richness", steeper),
    ("polyak-lojasiewicz", "richness", halved),
    ("gap-and-scale", "richness", halved),
    ("gap-and-scale", "gaps_of_blocks", lambda bounds: (bounds[0], 0.99 * bounds[1])),
    ("gap-and-scale", "gaps_of_blocks", lambda bounds: (0.5 * bounds[0], bounds[1])),
    ("escape-time", "gradient_flow", slower),
    ("rate-by-modes", "follow", lambda landing: landing._replace(flow=slower(landing.flow))),
    ("rate-by-modes", "richness", steeper),
    ("rate-by-modes", "local_rate", lost_mode),
    ("rate-by-modes", "local_rate", lambda rate: rate._replace(steepest=0.97 * rate.slope)),
    ("polyak-at-the-end", "polyak", lambda ratios: 1.01 * ratios),
    ("flow-is-bounded", "richness", widened(1.001)),
    ("flow-is-bounded", "richness", widened(0.999)),
    ("flow-is-bounded", "norm_bound", lambda bound: 0.999 * bound),
    ("flow-is-bounded", "bound_by_hand", lambda bounds: (0.02 * bounds[0], bounds[1])),
]


@pytest.mark.parametrize(("claim", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, name, fault):
    monkeypatch.setattr(chapter, name, fault())
    assert not holds(claim)


@pytest.mark.parametrize(("claim", "name", "change"), RATE_FAULTS)
def test_rates_can_fail(flowed_once, monkeypatch, claim, name, change):
    monkeypatch.setattr(rates, name, changed(name, change, rates))
    assert not holds(claim)


def test_rates_see_a_wrong_jacobian(flowed_once, monkeypatch):
    """The decay of the eigenvectors comes from the Jacobian at the end alone."""
    original = MimickingLoss.jacobian
    monkeypatch.setattr(MimickingLoss, "jacobian", lambda *args: 1.01 * original(*args))
    assert not holds("rate-by-modes")


def short_flow(time, rng, original=chapter.corner_flow):
    """A short piece of the flow is long enough for a fault to show, and not for what is right to drift."""
    return original(time / 300, rng)


def test_corner_law_holds_on_a_short_flow(monkeypatch):
    monkeypatch.setattr(chapter, "corner_flow", short_flow)
    assert holds("corner-law")


def test_corner_law_sees_what_is_no_gradient(monkeypatch):
    wrong = changed("block_gradients", untilted, whole_block)
    monkeypatch.setattr(whole_block, "block_gradients", wrong)
    monkeypatch.setattr(chapter, "corner_flow", short_flow)
    assert not holds("corner-law")


@pytest.mark.parametrize("part", ["norms", "turn"])
def test_corner_law_sees_each_part(monkeypatch, part):
    original = whole_block.block_gradients

    def broken(prompts, teacher, P, V, p):
        value, by_P, by_V = original(prompts, teacher, P, V, p)
        m = prompts.shape[1] - p - 1
        change = corner_scaled if part == "norms" else corner_turned
        return value, *change(by_P.copy(), by_V.copy(), m)

    monkeypatch.setattr(whole_block, "block_gradients", broken)
    monkeypatch.setattr(chapter, "corner_flow", short_flow)
    assert not holds("corner-law")


@pytest.mark.parametrize("claim", ["null-dimension", "null-dimension-actor-critic"])
def test_null_directions_are_counted_by_the_package(monkeypatch, claim):
    """Faint directions taken for null ones; then none at all."""
    module = sys.modules["icrl.gradient_flow.richness"]
    for threshold in (1e-2, 1e-18):
        monkeypatch.setattr(module, "NULL", threshold)
        assert not holds(claim)


def test_commutant_law_needs_a_matrix_that_commutes(monkeypatch):
    """Were every matrix conserved, the contrast would be empty."""
    zero = changed("block_gradients", lambda result: (result[0], 0 * result[1], 0 * result[2]))
    monkeypatch.setattr(chapter, "block_gradients", zero)
    assert not holds("commutant-law")


def test_gradients_see_a_lost_moment(monkeypatch):
    original = MimickingLoss.gradients
    monkeypatch.setattr(MimickingLoss, "gradients", lambda *args: [-x for x in original(*args)])
    assert not holds("mimicking-gradients")
