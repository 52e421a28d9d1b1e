"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

from dataclasses import replace

import numpy as np
import pytest
from early import still_holds

import icrl.mdp
from icrl.claims import control as chapter
from icrl.claims import rollouts as claims_of_rollouts
from icrl.control import loop, scores
from icrl.control import updaters as learners
from icrl.linear_transformer import sarsa_weights
from icrl.policies import epsilon_greedy
from icrl.policy_improvement import sarsa_update

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS + claims_of_rollouts.CLAIMS}
LOOPS = ("control-loop-sarsa", "control-loop-actor-critic", "control-loop-softmax", "control-loop-tabular")


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


@pytest.fixture
def small(monkeypatch):
    """The loops without Taxi, which is slow under typed tests."""
    monkeypatch.setattr(chapter, "TASKS", chapter.TASKS[:4])


def changed(function, change):
    """The function with its result passed through `change`."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def endless(function):
    """An updater that does not see where episodes end."""

    def update(self, memory, roll, policies, discount):
        return function(self, memory, roll._replace(ended=np.zeros_like(roll.ended)), policies, discount)

    return update


def first_action_wins(q, epsilon=0.0):
    q = np.round(q, 10)
    return epsilon_greedy(np.eye(q.shape[-1])[q.argmax(-1)], epsilon)


def epsilon_greedy_of(q, epsilon=0.0):
    """Ties count to the last bit."""
    return epsilon_greedy(q, epsilon)


def restarting(function):
    """Every window begins a new episode."""
    return lambda processes, policies, n, rng, starts: function(processes, policies, n, rng, None)


def no_names(keys):
    """Each column its own slot, as if no pair occurred twice."""
    return np.broadcast_to(np.arange(keys.shape[1]), keys.shape).copy()


UPDATERS = {LOOPS[0]: "LinearSarsa", LOOPS[1]: "ActorCritic", LOOPS[2]: "SoftmaxPairs", LOOPS[3]: "Tabular"}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("fault", ["ends", "slots", "restart", "discount", "ties", "rounding"])
def test_a_broken_loop_is_not_the_plain_loop(name, fault, small, monkeypatch):
    learner = getattr(learners, UPDATERS[name])
    if fault == "ends":
        monkeypatch.setattr(learner, "update", endless(learner.update))
    elif fault == "slots" and name == LOOPS[3]:
        pytest.skip("tables have no slots")
    elif fault == "slots":
        monkeypatch.setattr(learners, "slots", no_names)
    elif fault == "restart":
        monkeypatch.setattr(loop, "rollout_batch", restarting(loop.rollout_batch))
    elif fault == "discount":
        monkeypatch.setattr(loop, "common_discount", changed(loop.common_discount, lambda x: 0.9 * x))
    elif name == LOOPS[1]:
        pytest.skip("an actor has no ties")
    elif fault == "rounding":
        monkeypatch.setattr(learners, "greedy", epsilon_greedy_of)
    else:
        monkeypatch.setattr(learners, "greedy", first_action_wins)
    assert not holds(name)


@pytest.mark.parametrize("kind", ["sarsa", "expected-sarsa", "q-learning"])
def test_one_kind_of_table_that_does_what_another_does(kind, monkeypatch):
    monkeypatch.setattr(chapter, "TASKS", chapter.TASKS[:1])
    update, other = learners.Tabular.update, "sarsa" if kind != "sarsa" else "q-learning"
    monkeypatch.setattr(
        learners.Tabular,
        "update",
        lambda self, *args: update(replace(self, kind=other) if self.kind == kind else self, *args),
    )
    assert not holds("control-loop-tabular")


def test_a_layer_too_many(small, monkeypatch):
    update = learners.SoftmaxPairs.update
    monkeypatch.setattr(
        learners.SoftmaxPairs,
        "update",
        lambda self, *args: update(replace(self, num_layers=self.num_layers + 1), *args),
    )
    assert not holds("control-loop-softmax")


def always_from_zero(roll):
    """Every episode begins in state 0, whatever the start distribution says."""
    states = roll.states.copy()
    states[:, 1:][roll.ended] = 0
    return roll._replace(states=states)


def unpaid(roll):
    """Rewards that stand in no table."""
    return roll._replace(rewards=roll.rewards + 0.5)


def one_side(side):
    """Only the score block has its gauge set, or only the value block."""

    def half(P, V, discount):
        return [(learners.regauge(P, V, discount), (P, V))[k != side][k] for k in (0, 1)]

    return half


def louder(part):
    """Actor-critic that steps a tenth farther, as critic or as actor."""

    def update(w, *rest, original=chapter.actor_critic_update):
        new = list(original(w, *rest))
        new[part] = new[part] + 0.1 * (new[part] - (w, rest[0])[part])
        return tuple(new)

    return update


FAULTS = [
    (
        "oracle-on-gymnasium",
        icrl.mdp.MarkovDecisionProcess,
        "optimal_q",
        changed(icrl.mdp.MarkovDecisionProcess.optimal_q, lambda q: 1.01 * q),
    ),
    (
        "oracle-on-gymnasium",
        icrl.mdp.MarkovDecisionProcess,
        "value_iteration",
        lambda self, n, f=icrl.mdp.MarkovDecisionProcess.value_iteration: f(self, n + 1),
    ),
    ("exact-success", scores, "goals", lambda process: process.terminal),
    ("exact-success", chapter, "score", lambda p, policies, n: scores.score(p, policies, n + 3)),
    ("exact-success", chapter, "score", lambda p, policies, n: scores.score(p, policies, n - 1)),
    (
        "rollouts-follow-the-tables",
        claims_of_rollouts,
        "rollout_batch",
        changed(claims_of_rollouts.rollout_batch, lambda r: r._replace(ended=np.zeros_like(r.ended))),
    ),
    (
        "rollouts-follow-the-tables",
        claims_of_rollouts,
        "rollout_batch",
        changed(claims_of_rollouts.rollout_batch, always_from_zero),
    ),
    (
        "rollouts-follow-the-tables",
        claims_of_rollouts,
        "rollout_batch",
        changed(claims_of_rollouts.rollout_batch, unpaid),
    ),
    (
        "first-reward-time",
        chapter,
        "first_reward_time",
        changed(chapter.first_reward_time, lambda t: 1.05 * t),
    ),
    (
        "raised-rewards",
        chapter,
        "SoftmaxPairs",
        lambda layers, tau, step, _: learners.SoftmaxPairs(layers, tau, step, "visited"),
    ),
    ("gauge", chapter, "regauge", lambda P, V, discount: learners.regauge(P, V, 0.9 * discount)),
    ("raised-one-window", chapter, "sarsa_update", lambda *a: sarsa_update(*a[:-2], 0.9 * a[-2], a[-1])),
    *(("raised-one-window", chapter, "actor_critic_update", louder(part)) for part in (0, 1)),
    ("gauge", chapter, "regauge", lambda P, V, discount: (P, V)),
    ("gauge", chapter, "regauge", one_side(0)),
    ("gauge", chapter, "regauge", one_side(1)),
    ("gauge-matters", chapter, "misses", lambda rng, ended, gamma, f=chapter.misses: f(rng, False, gamma)),
    ("gauge-matters", chapter, "misses", lambda rng, ended, gamma, f=chapter.misses: f(rng, ended, 0.9)),
    ("gauge-matters", chapter, "moved_block", lambda d, gamma, scale, rng: sarsa_weights(d, 1.0, scale)),
    ("lost-gap", scores, "goals", lambda process: process.start > 0),
    ("lost-gap", chapter, "score", changed(chapter.score, lambda s: s._replace(share=0.5 * s.share))),
]


@pytest.mark.parametrize(("name", "owner", "attribute", "broken"), FAULTS, ids=[f[0] for f in FAULTS])
def test_fails_where_broken(name, owner, attribute, broken, monkeypatch):
    monkeypatch.setattr(owner, attribute, broken)
    assert not holds(name)
