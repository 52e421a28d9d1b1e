"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import dataclasses

import numpy as np
import pytest

from icrl.claims import gradient_flow as chapter
from icrl.gradient_flow import MimickingLoss

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


def holds(name, seed=5):
    return CLAIMS[name].check(np.random.default_rng(seed)).holds


@pytest.mark.parametrize("name", CLAIMS)
def test_holds(name):
    assert "|" not in CLAIMS[name].statement
    assert holds(name)


def changed(name, change):
    """A function of the chapter with its result passed through `change`."""
    original = getattr(chapter, name)
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


def steeper(seen):
    return dataclasses.replace(seen, spectrum=1.5 * seen.spectrum)


def always(kind):
    original = chapter.random_tasks
    return lambda _, *args, **kwargs: original(kind, *args, **kwargs)


FAULTS = [
    ("mimicking-gradients", "mimicking_loss", lambda: changed("mimicking_loss", half_columns)),
    ("proposition-3-1", "sarsa_prompt", lambda: changed("sarsa_prompt", leak)),
    ("flow-balance", "sarsa_prompt", lambda: changed("sarsa_prompt", leak)),
    ("flow-balance", "gradient_flow", lambda: changed("gradient_flow", Drifting)),
    ("landing-point", "landing_point", lambda: changed("landing_point", off_z)),
    ("null-dimension", "random_tasks", lambda: always("gaussian")),
    ("null-dimension", "random_tasks", lambda: always("one-hot")),
    ("one-hot-manifold", "random_tasks", lambda: always("ended")),
    ("one-hot-manifold", "random_tasks", lambda: always("gaussian")),
    ("local-rate", "gradient_flow", lambda: changed("gradient_flow", slower)),
    ("local-rate", "richness", lambda: changed("richness", steeper)),
    ("polyak-lojasiewicz", "richness", lambda: changed("richness", steeper)),
    ("gap-and-scale", "richness", lambda: changed("richness", lambda seen: steeper(steeper(steeper(seen))))),
    ("escape-time", "gradient_flow", lambda: changed("gradient_flow", slower)),
    ("unprojected-landing-misses", "landing_point", lambda: changed("landing_point", other_sign)),
]


@pytest.mark.parametrize(("claim", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, name, fault):
    monkeypatch.setattr(chapter, name, fault())
    assert not holds(claim)


def test_gradients_see_a_lost_moment(monkeypatch):
    original = MimickingLoss.gradients
    monkeypatch.setattr(MimickingLoss, "gradients", lambda *args: [-x for x in original(*args)])
    assert not holds("mimicking-gradients")
