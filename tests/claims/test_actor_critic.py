"""The claims of the chapter `actor-critic`: they hold, and each fails when what it checks is broken."""

import numpy as np
import pytest
import scipy.special
from early import still_holds

from icrl import gymnasium_tasks, linear_transformer, mdp, policies
from icrl.claims import actor_critic as claims
from icrl.constructions import literal

BY_ID = {claim.id: claim for claim in claims.CLAIMS}


def holds(name, seed=0):
    return still_holds(BY_ID[name], seed)


def changed(function, change):
    """The function with its result changed."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def last_row_negated(weights):
    """The last row of V belongs to the actor."""
    weights[1][-1] *= -1
    return weights


@pytest.mark.parametrize("name", ["theorem-3-3", "actor-critic-closed-loop", "sampled-actor-step"])
def test_sign_of_the_actor(monkeypatch, name):
    """beta g with the wrong sign."""
    broken = changed(linear_transformer.actor_critic_weights, last_row_negated)
    monkeypatch.setattr(claims, "actor_critic_weights", broken)
    assert not holds(name)


def test_sign_of_the_next_features(monkeypatch):
    """The score subtracts the next value."""

    def flip(weights):
        weights[0][:] = weights[0].abs() * -1
        return weights

    monkeypatch.setattr(
        claims, "actor_critic_weights", changed(linear_transformer.actor_critic_weights, flip)
    )
    assert not holds("theorem-3-3")


def test_sign_of_the_critic(monkeypatch):
    """alpha phi with the wrong sign; the actor is as it should be."""

    def broken(num_features, num_policy_features, *rest, original=claims.actor_critic_weights):
        P, V = original(num_features, num_policy_features, *rest)
        V[-num_features - num_policy_features] *= -1
        return P, V

    monkeypatch.setattr(claims, "actor_critic_weights", broken)
    assert not holds("theorem-3-3")


@pytest.mark.parametrize("name", ["score", "saturated-policies"])
def test_scores_that_are_not_centred(monkeypatch, name):
    """The mean under the policy is not what is subtracted."""
    monkeypatch.setattr(policies, "softmax_score", changed(policies.softmax_score, lambda g: g + 1))
    assert not holds(name)


@pytest.mark.parametrize("name", ["actor-follows-gradient", "sampled-actor-step", "score"])
def test_sign_of_the_score(monkeypatch, name):
    """The gradient of minus the log-probability."""
    monkeypatch.setattr(policies, "softmax_score", changed(policies.softmax_score, np.negative))
    assert not holds(name)


@pytest.mark.parametrize("name", ["td-error-advantage", "pair-critic-stalls", "actor-follows-gradient"])
def test_expectations_without_the_discount(monkeypatch, name):
    """The critic's promise counted in full."""
    expectations = claims.expectations

    def broken(process, *rest):
        object.__setattr__(process, "discount", (1 + process.discount) / 2)
        return expectations(process, *rest)

    monkeypatch.setattr(claims, "expectations", broken)
    assert not holds(name)


def test_a_critic_of_states_that_stalls(monkeypatch):
    """Were the state critic's step zero too, the contrast would be empty."""
    zero = changed(claims.expectations, lambda result: (0 * result[0], 0 * result[1]))
    monkeypatch.setattr(claims, "expectations", zero)
    assert not holds("pair-critic-stalls")


@pytest.mark.parametrize("part", [0, 1])
def test_one_mean_alone_that_is_not_zero(monkeypatch, part):
    """The TD error's or the actor step's."""

    def off(result):
        return tuple(x + 1e-3 * (k == part) for k, x in enumerate(result))

    monkeypatch.setattr(claims, "expectations", changed(claims.expectations, off))
    assert not holds("pair-critic-stalls")


def test_optimum_of_another_discount(monkeypatch):
    """The oracle must notice a wrong discount, and a policy that is not improved to the end."""
    backup = mdp.MarkovDecisionProcess._backup
    monkeypatch.setattr(mdp.MarkovDecisionProcess, "_backup", lambda self, v: backup(self, 0.99 * v))
    assert not holds("optimal-q-oracle")
    monkeypatch.undo()
    uniform = {"optimal_q": lambda self: self.q_values(np.full(self.reward.shape, 1 / self.num_actions))}
    monkeypatch.setattr(mdp.MarkovDecisionProcess, *uniform.popitem())
    assert not holds("optimal-q-oracle")


@pytest.mark.parametrize("fault", ["alive", "reward", "transition", "start"])
def test_conversions_that_go_wrong(monkeypatch, fault):
    """Endings ignored, rewards shifted, successors of another action, a start of its own."""
    read = gymnasium_tasks.read_table

    def broken(env_id):
        table = read(env_id)
        if fault == "alive":
            table["terminal"] = np.zeros_like(table["terminal"])
        elif fault == "reward":
            table["reward"], table["outcome_reward"] = table["reward"] + 0.5, table["outcome_reward"] + 0.5
            table["terminal"] = np.zeros_like(table["terminal"])
        elif fault == "transition":
            for name in ("transition", "outcome_reward", "reward"):
                table[name] = np.roll(table[name], 1, axis=1)
        else:
            table["start"] = np.eye(len(table["start"]))[1]
        return table

    monkeypatch.setattr(mdp, "read_table", broken)
    assert not holds("gymnasium-conversion")


def test_controls_that_do_not_miss(monkeypatch):
    """If a broken block equalled the intact one, or the intact one strayed, the claim would say so."""
    broken = literal.literal_actor_critic
    monkeypatch.setattr(literal, "literal_actor_critic", lambda *args: broken(*args[:-1], None))
    assert not holds("broken-blocks-miss")
    monkeypatch.setattr(literal, "literal_actor_critic", lambda *args: 1.01 * broken(*args))
    assert not holds("broken-blocks-miss")


@pytest.mark.parametrize("fault", literal.ACTOR_CRITIC_FAULTS)
def test_each_broken_update_must_miss(monkeypatch, fault):
    miss = claims.actor_critic_miss
    monkeypatch.setattr(
        claims, "actor_critic_miss", lambda rng, name: miss(rng, None if name == fault else name)
    )
    assert not holds("broken-blocks-miss")


def test_unstable_softmax(monkeypatch):
    """Exponentials without the maximum subtracted."""

    def naive(x, axis):
        with np.errstate(over="ignore", invalid="ignore"):
            odds = np.exp(x)
            return odds / odds.sum(axis=axis, keepdims=True)

    monkeypatch.setattr(scipy.special, "softmax", naive)
    with pytest.raises(ValueError, match="nan"):
        holds("saturated-policies")
