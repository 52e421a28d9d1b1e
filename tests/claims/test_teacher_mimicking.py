"""Every claim of the chapter holds, and refuses each of these wrong programs: one for each part."""

from dataclasses import replace

import numpy as np
import pytest
from early import still_holds
from remembered import remembered

from icrl.claims import teacher_mimicking as chapter

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}
SEED = 5
DEAR = {name: remembered(getattr(chapter, name)) for name in ("train_side_by_side", "mirror_well")}


@pytest.fixture(autouse=True)
def trained_once(monkeypatch):
    for name, function in DEAR.items():
        monkeypatch.setattr(chapter, name, function)


def holds(name, seed=SEED):
    return still_holds(CLAIMS[name], seed)


def patched(monkeypatch, name, change):
    """The chapter's function of this name, its result passed through `change`."""
    original = getattr(chapter, name)
    monkeypatch.setattr(chapter, name, lambda *args, **kwargs: change(original(*args, **kwargs)))


RECOVERY = [
    lambda run: run._replace(scores=-run.scores),  # the blocks' product has the wrong sign
    lambda run: run._replace(scores=1.1 * run.scores, values=1.1 * run.values),  # and the wrong size
    lambda run: run._replace(scores=run.scores[:, :, ::-1]),
    lambda run: run._replace(values=run.values[..., ::-1, :]),
    lambda run: run._replace(scores=run.scores[:1], values=run.values[:1]),  # not trained
]


@pytest.mark.parametrize("fault", RECOVERY)
def test_recovery_refuses(monkeypatch, fault):
    patched(monkeypatch, "train_side_by_side", fault)
    assert not holds("mimicking-recovers")


def test_recovery_refuses_a_rule_that_stands_still(monkeypatch):
    """One method alone may not fail: an actor that is never taught."""
    original = chapter.train_side_by_side

    def untaught(setting, steps, *rest, **options):
        run = original(setting, steps, *rest, **options)
        if setting.actor:
            run.values[..., setting.num_weights :, :] *= 0.5
        return run

    monkeypatch.setattr(chapter, "train_side_by_side", untaught)
    assert not holds("mimicking-recovers")


@pytest.mark.parametrize("kind", ["fresh", "fixed", "one-hot"])
def test_richness_refuses(monkeypatch, kind):
    """All tasks of one kind: two of the three counts are wrong, whichever it is."""
    original = chapter.experiment_tasks
    monkeypatch.setattr(
        chapter, "experiment_tasks", lambda s, *args: original(replace(s, features=kind), *args)
    )
    assert not holds("mimicking-rich")


def test_richness_refuses_equal_weights(monkeypatch):
    """Weights 0 in the first window leave a whole block of P12 free."""
    original = chapter.experiment_tasks
    monkeypatch.setattr(chapter, "experiment_tasks", lambda s, *args: original(replace(s, spread=0.0), *args))
    assert not holds("mimicking-rich")


def test_richness_refuses_a_span_that_is_not_full(monkeypatch):
    """The count alone is not richness."""
    patched(monkeypatch, "richness", lambda seen: replace(seen, span=seen.full_span - 1))
    assert not holds("mimicking-rich")


DEPLOYMENT = [
    lambda run: run._replace(values=0.2 * run.values),  # another step size
    lambda run: run._replace(scores=run.scores[[0, 1, 0]], values=run.values[[0, 1, 0]]),  # not trained
    lambda run: run._replace(scores=run.scores[[2, 1, 2]], values=run.values[[2, 1, 2]]),  # no contrast
]


@pytest.mark.parametrize("fault", DEPLOYMENT)
def test_deployment_refuses(monkeypatch, fault):
    patched(monkeypatch, "train_side_by_side", fault)
    assert not holds("mimicking-deployed")


@pytest.mark.parametrize(
    "change", [{"follow": False}, {"windows_from": "exchanged"}, {"windows_from": "independent"}]
)
def test_protection_refuses(monkeypatch, change):
    """Weights that stand still or are another world's, and no rollouts, in the place of Algorithm 1."""
    monkeypatch.setattr(chapter, "TINY", replace(chapter.TINY, **change))
    assert not holds("following-protects")


def test_protection_refuses_no_contrast(monkeypatch):
    """Rollouts on both sides."""
    original = chapter.train_side_by_side
    monkeypatch.setattr(
        chapter,
        "train_side_by_side",
        lambda s, *args, **options: original(replace(s, windows_from="rollouts"), *args, **options),
    )
    assert not holds("following-protects")


@pytest.mark.parametrize("name", list(chapter.CHANGES))
def test_ranking_refuses_a_change_that_is_none(monkeypatch, name):
    """Each change in turn is left out, or, where it should do little harm, is one that does much."""
    little = name in ("constant rate", "weights frozen")
    change = {"batch": 1, "epsilon": 0.1} if little else {}
    monkeypatch.setitem(chapter.CHANGES, name, change)
    assert not holds("training-changes-ranked")


def test_ranking_refuses_one_hot_blocks_that_are_far_off_z_too(monkeypatch):
    monkeypatch.setattr(chapter, "unseen_data", lambda setting: np.zeros((9, 0)))
    assert not holds("training-changes-ranked")


WELL = [
    lambda well: well._replace(score=1.001 * well.score),  # not stationary
    lambda well: well._replace(score=well.score[:, [0, 2, 1]], value=well.value[::-1]),  # turned by half
    lambda well: well._replace(loss=0.0),
]


@pytest.mark.parametrize("fault", WELL)
def test_well_refuses(monkeypatch, fault):
    patched(monkeypatch, "mirror_well", fault)
    assert not holds("mirror-well")


def test_well_refuses_a_wrong_polynomial_and_a_wrong_hessian(monkeypatch):
    with monkeypatch.context() as inner:
        patched(inner, "mirrored_loss", lambda loss: loss + 1e-6)
        assert not holds("mirror-well")
    original = chapter.GaussianLoss.hessian
    for change in (lambda x: -x, lambda x: x + 1e-3 * np.eye(len(x))):  # a maximum; no null directions
        with monkeypatch.context() as inner:
            inner.setattr(chapter.GaussianLoss, "hessian", lambda *args, f=change: f(original(*args)))
            assert not holds("mirror-well")


def test_well_refuses_a_teacher_in_its_place(monkeypatch):
    """Stationary, and a minimum, but at loss zero and no mirror."""
    original = chapter.mirror_well

    def teacher(law):
        score, value = law.teacher
        return original(law)._replace(score=score, value=value, loss=law.loss(score, value))

    monkeypatch.setattr(chapter, "mirror_well", teacher)
    assert not holds("mirror-well")


def by_kind(wrong):
    """The policy that data allow, but the uniform one for this kind of learner."""
    original = chapter.from_data
    return lambda kind, worlds, history: (
        chapter.uniform(worlds) if kind == wrong else original(kind, worlds, history)
    )


RANKED = {
    "one start for both teachers": ("deploy", lambda s, learner, w, *rest: DEPLOY(s, learner, 0 * w, *rest)),
    "no start at zero": ("deploy", lambda s, learner, w, *rest: DEPLOY(s, learner, w + 0.3, *rest)),
    "LSTD-Q": ("from_data", by_kind("LSTD-Q")),
    "certainty equivalence": ("from_data", by_kind("certainty equivalence")),
    "nothing told": ("myopic", chapter.uniform),
    "told, but it explores": (
        "myopic",
        lambda worlds, f=chapter.myopic: 0.97 * f(worlds) + 0.03 * chapter.uniform(worlds),
    ),
}
DEPLOY = chapter.deploy


@pytest.mark.parametrize("fault", RANKED)
def test_ranked_deployments_refuse(monkeypatch, fault):
    """One start for both teachers; policies that are not from the data, or not told the rewards."""
    monkeypatch.setattr(chapter, *RANKED[fault])
    assert not holds("deployments-ranked")
