"""What trained networks do: each claim holds, and fails for the named wrong program."""

import pytest
import torch
from early import still_holds
from remembered import remembered

from icrl.claims import emergence_findings as chapter
from icrl.pretraining import emergence, trainer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}
PRETRAIN, OBJECTIVES, BASELINES = remembered(chapter.pretrain), trainer.objectives, emergence.baselines


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def untrained(c, g):
    """What stands at the start: training that is thrown away need not be long."""
    run = PRETRAIN(c, g, until=1)
    first = [x[:1].expand_as(x) for x in (run.value_weights, run.score_weights)]
    return run._replace(value_weights=first[0], score_weights=first[1])


def construction(c, g):
    run = PRETRAIN(c, g, until=1)
    built = [x.expand(len(run.steps), 1, c.num_seeds, *x.shape[2:]) for x in emergence.construction(c)]
    return run._replace(value_weights=built[0], score_weights=built[1])


def constant(c, weights, scores, tasks):
    """A network that says the mean reward at its full price, whatever its weights are."""
    return emergence.baselines(c, tasks)["mean / (1 - gamma)"].expand(weights.shape[1], -1)


def targets(change):
    """`objectives` with another target; the prediction is as it was."""

    def changed(c, tasks):
        for i, (predict, target) in enumerate(OBJECTIVES(c, tasks)):
            states, n = tasks.states[i], c.num_transitions
            reward = torch.take_along_dim(tasks.worlds.reward[i], states[..., n : n + 1], -1)[..., 0]
            yield predict, lambda *free, t=target, r=reward: change(t(*free), r)

    return changed


def flipped(target, reward):
    """r - gamma v for r + gamma v."""
    return 2 * reward - target


def blind(target, reward):
    """No future."""
    return reward


def short_sighted(target, reward):
    """A tenth of the future less."""
    return 0.9 * target + 0.1 * reward


def ungenerous(target, reward):
    """A tenth of the reward less."""
    return target - 0.1 * reward


def overwritten(c, g):
    """What was kept of the start is what stands at the end."""
    run = PRETRAIN(c, g)
    last = [x[-1:].expand_as(x) for x in (run.value_weights, run.score_weights)]
    return run._replace(value_weights=last[0], score_weights=last[1])


def one_reward(c, weights, scores, tasks):
    """A network that learned its best multiple of the present reward, from a start far off."""
    now = emergence.at_query(tasks.worlds.reward, tasks)
    truth = emergence.at_query(tasks.worlds.value(c.discount), tasks)
    best = (now * truth).mean() / now.square().mean()
    return (best * now if weights.abs().max() > 0.3 else -9 * now).expand(c.num_seeds, -1)


def paying(factor):
    """The construction with another factor on the reward."""

    def changed(c, original=emergence.construction):
        value, score = original(c)
        value = value.clone()
        value[..., -1, -3] *= factor
        return value, score

    return changed


def leaking(c, weights, scores, tasks, original=emergence.query_values):
    """Attention that sums to a hundredth more than one."""
    weights = weights.clone()
    weights[..., -1, :] *= 1.01
    return original(c, weights, scores, tasks)


def silent(rule):
    """One of the rules says nothing."""

    def changed(c, tasks):
        rules = BASELINES(c, tasks)
        return rules | {rule: 0 * rules[rule]}

    return changed


FAULTS = [
    ("training-helps", chapter, "pretrain", untrained),
    ("training-helps", trainer, "objectives", targets(flipped)),
    ("training-helps", trainer, "objectives", targets(blind)),
    ("training-helps", trainer, "objectives", targets(short_sighted)),
    ("training-helps", trainer, "objectives", targets(ungenerous)),
    ("training-helps", chapter, "pretrain", overwritten),
    ("training-helps", emergence, "query_values", one_reward),
    ("training-finds-td", chapter, "pretrain", untrained),
    ("training-finds-td", trainer, "objectives", targets(flipped)),
    ("training-finds-td", trainer, "objectives", targets(blind)),
    ("far-sighted-beats-construction", chapter, "pretrain", untrained),
    ("far-sighted-beats-construction", chapter, "pretrain", construction),
    ("far-sighted-beats-construction", emergence, "query_values", constant),
    ("price-of-the-mean", chapter, "pretrain", untrained),
    ("price-of-the-mean", chapter, "pretrain", construction),
    ("price-of-the-mean", trainer, "objectives", targets(blind)),
    ("price-of-the-mean", emergence, "construction", paying(1.01)),
    ("price-of-the-mean", emergence, "query_values", leaking),
    *(
        ("simple-rules-beat-training", emergence, "baselines", silent(rule))
        for rule in ("certainty equivalence", "centred TD + mean / (1 - gamma)")
    ),
]


@pytest.mark.parametrize(("claim", "place", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, place, name, fault):
    monkeypatch.setattr(chapter, "far_run_from", chapter.far_run_from.__wrapped__)
    if name != "objectives":  # the fault lies outside the training
        monkeypatch.setattr(chapter, "pretrain", PRETRAIN)
    monkeypatch.setattr(place, name, fault)
    assert not holds(claim)
