"""Claims of the chapter `softmax-control`: invariance, the price, passes and loops, certificates."""

from dataclasses import replace

import numpy as np

from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.control.centring import Centred, Started
from icrl.control.comparison import raised, with_rewards
from icrl.control.features import LinearFeatures, SoftmaxFeatures, one_hot_pairs, random_pairs, with_constant
from icrl.control.loop import control
from icrl.control.operators import Beside, LinearOperator, SoftmaxOperator, WindowSarsa, WindowSoftmax
from icrl.control.scores import score
from icrl.control.updaters import LinearSarsa, SoftmaxPairs, Tabular
from icrl.mdp import from_gymnasium, random_mdp
from icrl.rollouts import rollout_batch

CHAPTER = "sec-sc-"


def soft_policies(rng, shape, epsilon):
    """Random epsilon-soft policies, most of them with one favourite action."""
    greedy = rng.dirichlet(np.full(shape[-1], 0.2), size=shape[:-1])
    return (1 - epsilon) * greedy + epsilon / shape[-1]


def plain_softmax(features, table, roll, discount, layers, step, priced=False):
    """Weighted softmax TD over pairs as loops, one run; ended transitions have no successor."""
    flat, values = features.reshape(-1, features.shape[-1]), table.ravel().copy()
    pairs, n = roll.states * table.shape[1] + roll.actions, len(roll.rewards)
    for layer in range(layers + priced):
        errors = np.empty(n)
        for k in range(n):
            after = 0.0 if roll.ended[k] else discount * values[pairs[k + 1]]
            errors[k] = roll.rewards[k] + after - values[pairs[k]]
        if layer == layers:
            values = values + errors.mean() / (1 - discount)
            continue
        new = values.copy()
        for z in range(len(flat)):
            scores = np.array([flat[z] @ flat[p] for p in pairs[:-1]])
            weights = np.exp(scores - scores.max())
            new[z] += step * weights @ errors / weights.sum()
        values = new
    return values.reshape(table.shape)


def pairs_corollary(rng):
    """Theorem 1 on pairs with random features, from random tables, in a random world and in the lake."""
    errors = []
    for process in (random_mdp(4, 3, 0.8, rng), from_gymnasium("FrozenLake-v1", 0.9)):
        shape, seed = process.reward.shape, int(rng.integers(2**31))
        features = 0.5 * rng.normal(size=(2, *shape, 5))
        for priced in (False, True):
            given = int(rng.integers(1, 5)), float(rng.uniform(0.2, 1)), priced
            learner, memory = SoftmaxFeatures(features, *given), rng.normal(size=(2, *shape))
            policies = soft_policies(rng, (2, *shape), 0.5)
            roll = rollout_batch([process] * 2, policies, 15, np.random.default_rng(seed))
            found = learner.update(memory, roll, policies, process.discount)
            for i in range(2):
                one = type(roll)(*(x[i] for x in roll))
                plain = plain_softmax(features[i], memory[i], one, process.discount, *given)
                errors.append(relative_error(found[i], plain))
    return Evidence(largest(errors), 1e-11, "2 worlds, 1-4 layers, with and without the price")


def operators(rng):
    """The blocks against the updates that the long comparisons run, in loops of their own."""
    errors = []
    for processes in (
        [random_mdp(5, 3, 0.9, rng) for _ in range(2)],
        [from_gymnasium("FrozenLake-v1", 0.9)] * 2,
    ):
        shape, seed = (2, *processes[0].reward.shape), int(rng.integers(2**31))
        one, rnd = one_hot_pairs(*shape), random_pairs(*shape, rng)
        pairs = [
            (LinearSarsa(3.0, 2), LinearOperator(one, 3.0, 2)),
            (LinearFeatures(with_constant(rnd), 0.2), LinearOperator(with_constant(rnd), 0.2)),
            (SoftmaxFeatures(rnd, 3, 0.3), SoftmaxOperator(rnd, 3, 0.3)),
            (SoftmaxPairs(3, 4.0, 0.3, "visited"), SoftmaxOperator(2 * one, 3, 0.3, "visited")),
            (SoftmaxPairs(3, 4.0, 0.3), SoftmaxOperator(2 * one, 3, 0.3)),
            (LinearSarsa(3.0, 2), WindowSarsa(3.0, 2)),
            (SoftmaxPairs(3, 4.0, 0.3, "visited"), WindowSoftmax(3, 4.0, 0.3, "visited")),
            (SoftmaxPairs(3, 4.0, 0.3), WindowSoftmax(3, 4.0, 0.3)),
        ]
        for block, operator in pairs:
            runs = [
                control(processes, Started(u, 1.0), range(13), np.random.default_rng(seed))
                for u in (block, operator)
            ]
            tables = [getattr(u, "table", lambda m: m) for u in (block, operator)]
            for x, y in zip(runs[0].memories, runs[1].memories, strict=True):
                errors.append(relative_error(tables[0](x), tables[1](y)))
    return Evidence(largest(errors), 1e-11, "8 learners, 3 worlds, 12 windows")


def scaled(process, by, offset):
    """The same task with every reward multiplied and raised."""
    return raised(replace(process, reward=by * process.reward, outcome_reward=None), offset)


def invariance(rng):
    """Loops on r and on a r + c with random features: the same policies, values a q + const."""
    errors, different = [], 0.0
    for _ in range(4):
        shape, gamma = (2, 5, 3), float(rng.uniform(0.3, 0.95))
        processes = [random_mdp(5, 3, gamma, rng) for _ in range(2)]
        by, offset, seed = (
            float(2.0 ** rng.integers(-2, 3)),
            float(rng.uniform(-3, 3)),
            int(rng.integers(2**31)),
        )
        given = random_pairs(*shape, rng), int(rng.integers(1, 5)), float(rng.uniform(0.1, 0.6))
        learner = SoftmaxFeatures(*given, priced=bool(rng.integers(2)))
        runs = [
            control(each, learner, range(21), np.random.default_rng(seed))
            for each in (processes, [scaled(p, by, offset) for p in processes])
        ]
        different = max(different, np.abs(runs[0].policies - runs[1].policies).max())
        moved = runs[1].memories - by * runs[0].memories
        errors.append(np.ptp(moved, axis=(2, 3)).max() / max(1.0, np.abs(moved).max()))
        assert np.abs(moved[-1]).max() > 0
    error = largest(errors) if different == 0 else np.inf
    return Evidence(error, 1e-10, "8 worlds, 20 windows: policies equal, values up to a shift")


def centring(rng):
    """Centred Expected SARSA against a plain loop, and the same policies under raised rewards, ends too."""
    errors, different = [], 0.0
    lake = from_gymnasium("FrozenLake-v1", 0.9, is_slippery=False)
    lake = with_rewards(lake, float(rng.uniform(-0.5, 0.5)), -1.0)
    for process in (random_mdp(5, 3, 0.9, rng), lake):
        seed, step, offset = int(rng.integers(2**31)), float(rng.uniform(0.1, 0.9)), float(rng.uniform(-2, 2))
        learner = Centred(Tabular("expected-sarsa", step))
        run = control([process], learner, range(21), np.random.default_rng(seed))
        draws, start, paid = np.random.default_rng(seed), None, []
        q, actions = np.zeros(process.reward.shape), process.num_actions
        for window in range(1, 21):
            ties = np.round(q, 10) == np.round(q, 10).max(axis=1, keepdims=True)
            policy = 0.9 * ties / ties.sum(axis=1, keepdims=True) + 0.1 / actions
            roll = process.rollout(policy, 20, draws, start)
            start, paid = int(roll.states[-1]), [*paid, *roll.rewards.tolist()]
            mean = sum(paid) / len(paid)
            for k in range(20):
                s, a, t = roll.states[k], roll.actions[k], roll.states[k + 1]
                following = 0.0 if roll.ended[k] else policy[t] @ q[t]
                q[s, a] += step * (roll.rewards[k] - mean + process.discount * following - q[s, a])
            errors.append(relative_error(run.memories[window, 0, :, :actions], q))
        told = replace(
            process,
            reward=process.reward + offset * ~process.terminal[:, None],
            outcome_reward=None
            if process.outcome_reward is None
            else process.outcome_reward + offset * ~process.terminal[:, None, None],
        )
        other = control([told], learner, range(21), np.random.default_rng(seed))
        different = max(different, np.abs(run.policies - other.policies).max())
    return Evidence(
        largest(errors) if different == 0 else np.inf,
        1e-10,
        "2 worlds, one with ends, 20 windows",
    )


def price(rng):
    """With the price the loop holds other values and chooses the same policies."""
    errors, different = [], 0.0
    for _ in range(3):
        processes = [random_mdp(5, 3, float(rng.uniform(0.5, 0.95)), rng)]
        processes, seed = processes * 2, int(rng.integers(2**31))
        given = int(rng.integers(1, 5)), 4.0, float(rng.uniform(0.05, 0.5)), "all"
        runs = [
            control(processes, SoftmaxPairs(*given, priced), range(26), np.random.default_rng(seed))
            for priced in (False, True)
        ]
        different = max(different, np.abs(runs[0].policies - runs[1].policies).max())
        moved = runs[1].memories - runs[0].memories
        errors.append(np.ptp(moved, axis=(2, 3)).max() / max(1.0, np.abs(moved).max()))
        different = different if np.abs(moved[1]).max() > 1e-6 else np.inf
    error = largest(errors) if different == 0 else np.inf
    return Evidence(error, 1e-10, "3 worlds, 25 windows: policies equal, values up to a shift that is not 0")


def ranking(rng):
    """32 random tasks, 60 windows, the same for all: shares of the gap closed, paired."""
    tasks, seed = [random_mdp(9, 4, 0.9, rng) for _ in range(32)], int(rng.integers(2**31))
    expected = Tabular("expected-sarsa", 0.2)
    learners = {
        "all pairs": WindowSoftmax(1, 4.0, 0.16, "all"),
        "visited pairs": WindowSoftmax(1, 4.0, 0.16, "visited"),
        "Expected SARSA": expected,
        "centred": Centred(expected),
    }
    share = {}
    for name, learner in learners.items():
        run = control(tasks, learner, [60], np.random.default_rng(seed))
        share[name] = score(tasks, run.policies).share[0].mean()
    behind = max(share["visited pairs"], share["Expected SARSA"])
    lead = min(share["all pairs"], share["centred"]) - behind
    apart = abs(share["all pairs"] - share["centred"])
    shares = ", ".join(f"{name} {x:.2f}" for name, x in share.items())
    return Evidence(float(max(0.02 - lead, apart - 0.07)), 0.0, f"32 tasks, 60 windows: {shares}")


AHEAD = {
    "all pairs": ((0.02, 0.05, 0.1), lambda step: WindowSoftmax(8, 4.0, step, "all")),
    "centred": ((0.2, 0.4, 0.7), lambda step: Centred(Tabular("expected-sarsa", step))),
}
BEHIND = {
    "visited pairs": ((0.2, 0.4, 0.8), lambda step: WindowSoftmax(8, 4.0, step, "visited")),
    "Expected SARSA": ((0.4, 0.7, 1.0), lambda step: Tabular("expected-sarsa", step)),
}
"""Step sizes about the best one on raised rewards, and the learners."""


def ranking_at_own_steps(rng):
    """20 raised tasks, 20 windows: two learners at steps chosen on one half of the tasks and scored on the
    other, both ways; two at the best of theirs on the very tasks that are scored."""
    tasks = [raised(random_mdp(9, 4, 0.9, rng)) for _ in range(20)]
    first, share = np.arange(20) < 10, {}
    for name, (steps, make) in (AHEAD | BEHIND).items():
        every = tasks * len(steps)
        run = control(every, Beside([make(step) for step in steps]), [20], rng)
        shares = score(every, run.policies).share[0].reshape(len(steps), -1)
        halves = [shares[:, half].mean(axis=1) for half in (first, ~first)]
        chosen = [halves[1 - k][halves[k].argmax()] for k in (0, 1)]
        share[name] = np.mean(chosen) if name in AHEAD else shares.mean(axis=1).max()
    lead = min(share[name] for name in AHEAD) - max(share[name] for name in BEHIND)
    shares = ", ".join(f"{name} {x:.2f}" for name, x in share.items())
    return Evidence(float(0.05 - lead), 0.0, f"20 raised tasks, 20 windows: {shares}")


def claim(name, statement, kind, section, check, source="ours", risk=0.0):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, CHAPTER + section, check, risk)


CLAIMS = Claims(
    claim(
        "softmax-control-pairs",
        "On the columns of state-action pairs, warm-started and with every pair as a query, the softmax "
        "transformer is weighted softmax TD on the table of pairs; with a layer that averages, priced TD.",
        "identity",
        "pairs",
        pairs_corollary,
        "ours, from Xie et al. (2026), Theorem 1",
    ),
    claim(
        "softmax-control-operators",
        "The blocks and the updates that the long comparisons run hold the same tables, window by window.",
        "identity",
        "comparison",
        operators,
    ),
    claim(
        "softmax-control-invariance",
        "With every pair queried, a constant start and no ends, rewards $ar+c$, $a>0$, leave all policies of "
        "the loop as they are, whatever the features, and send the table to $aq$ plus a constant.",
        "identity",
        "invariance",
        invariance,
    ),
    claim(
        "centring-invariance",
        "Expected SARSA on rewards minus their running mean is its plain loop, and raised rewards leave its "
        "policies as they are, ends included.",
        "identity",
        "invariance",
        centring,
        "ours, after Naik et al. (2024)",
    ),
    claim(
        "price-changes-nothing",
        "Without ends and with every pair queried, a price head after the layers moves all pairs alike, so "
        "that every policy of the loop stays.",
        "identity",
        "price",
        price,
    ),
    claim(
        "control-ranking",
        r"On random tasks at $\gamma=0.9$, after 60 windows, softmax with all pairs queried, and Expected "
        "SARSA on centred rewards, are ahead of softmax on visited pairs and of Expected SARSA as it is; the "
        "two lie close together.",
        "bound",
        "tables",
        ranking,
        risk=1e-5,
    ),
    claim(
        "control-ranking-own-steps",
        r"On random tasks at $\gamma=0.9$ with rewards in $[0,2]$, after 20 windows, softmax with all pairs "
        "queried, and Expected SARSA on centred rewards, each at a step size chosen on other tasks, are "
        "ahead of softmax on visited pairs and of Expected SARSA as it is at the best of three step sizes.",
        "bound",
        "tables",
        ranking_at_own_steps,
        risk=1e-5,
    ),
)
