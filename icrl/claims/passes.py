"""Claims of the chapter `softmax-control`: what a pass guarantees, the loop, certificates, rates."""

import numpy as np
import torch

from icrl.claims.registry import Claims, Evidence, largest, relative_error, upper_end
from icrl.claims.softmax_control import claim, soft_policies
from icrl.control import passes
from icrl.control.comparison import few_successors
from icrl.control.operators import pass_operator
from icrl.mdp import MarkovDecisionProcess, random_mdp
from icrl.rollouts import rollout_batch
from icrl.softmax_td import empirical_model, matching_matrix
from icrl.softmax_transformer import SoftmaxTransformer, priced_td_weights, softmax_td_prompt


def one_pass(rng):
    """Improvement never below what is promised; equal to it where an overrated action changes places."""
    excess, miss = [], []
    for _ in range(60):
        gamma, epsilon = float(rng.uniform(0, 0.95)), float(rng.uniform(0, 0.6))
        actions = int(rng.integers(2, 5))
        process = few_successors(5, actions, gamma, rng)
        shape = process.reward.shape
        old = soft_policies(rng, shape, min(0.9, epsilon + rng.choice([0.0, 0.2])))
        estimate = process.q_values(old) + rng.exponential(1.0) * rng.normal(size=shape)
        found = passes.improvement(process, old, estimate, epsilon)
        floor = -(1 - epsilon) / (1 - gamma) * found.span.max()
        scale = max(1.0, np.abs(found.gained).max())
        excess.append(max(0.0, (found.promised - found.gained).max(), floor - found.gained.min()) / scale)
        # Two actions, each preferred to the other by its error alone: the promise is kept to the letter.
        process = few_successors(5, 2, gamma, rng)
        choice = np.eye(2)[rng.integers(2, size=5)]
        old = (1 - epsilon) * choice + epsilon / 2
        true = process.q_values(old)
        lead = (choice * true).sum(axis=1) - ((1 - choice) * true).sum(axis=1)
        error = (1 - choice) * (np.maximum(lead, 0) + rng.uniform(0.1, 1, 5))[:, None]
        found = passes.improvement(process, old, true + error + rng.normal(size=(5, 1)), epsilon)
        scale = max(1.0, np.abs(found.gained).max())
        miss.append(np.abs(found.promised - found.gained).max() / scale)
        # One state, two actions, the worse overestimated by hardly more than it is worse: all of the floor.
        worse = float(rng.uniform(0.1, 1))
        process = MarkovDecisionProcess(np.ones((1, 2, 1)), np.array([[0.0, -worse]]), gamma)
        old = np.array([[1 - epsilon / 2, epsilon / 2]])
        estimate = process.q_values(old) + np.array([[0.0, worse * (1 + 1e-6)]])
        found = passes.improvement(process, old, estimate, epsilon)
        floor = (1 - epsilon) / (1 - gamma) * found.span.max()
        miss.append(max(0.0, abs(found.gained[0] / floor + 1) - 2e-6))
    return Evidence(max(largest(excess), largest(miss)), 1e-9, "60 worlds for the bound, 120 for equality")


def lost_on_the_ladder(rungs, stays, gamma, epsilon, span=1.0):
    """What the loop has lost in the end, as a share of the limit, and after each pass, of its bound."""
    process, errors = passes.ladder(rungs, stays, gamma, epsilon, span)
    policy = np.full(process.reward.shape, epsilon / (stays + 1))
    policy[:, 0] += 1 - epsilon
    best, distance, used = passes.best_soft(process, epsilon).max(axis=1), 0.0, []
    for error in errors:
        found = passes.improvement(process, policy, process.q_values(policy) + error, epsilon)
        policy = found.policy
        bound = passes.loop_factor(gamma, epsilon) * distance
        bound += (1 - epsilon) * found.span.max() / (1 - gamma)
        distance = (best - process.under(policy).value()).max()
        used.append(distance / bound)
    return distance / passes.loop_bound(gamma, epsilon, span), used


def loop(rng):
    """Distances along loops with errors of any kind never above the bound; on the ladder, nearly it."""
    excess = []
    for _ in range(12):
        gamma, epsilon = float(rng.uniform(0.3, 0.95)), float(rng.uniform(0, 0.6))
        process = few_successors(5, 3, gamma, rng)
        best = passes.best_soft(process, epsilon).max(axis=1)
        policy = soft_policies(rng, (5, 3), epsilon)
        distance, size = np.abs(best - process.under(policy).value()).max(), rng.exponential(0.3)
        for _ in range(25):
            estimate = process.q_values(policy) + size * rng.normal(size=(5, 3))
            found = passes.improvement(process, policy, estimate, epsilon)
            bound = passes.loop_factor(gamma, epsilon) * distance
            bound += (1 - epsilon) * found.span.max() / (1 - gamma)
            policy = found.policy
            lost = best - process.under(policy).value()
            distance = np.abs(lost).max()
            excess.append(max(0.0, distance - bound, -lost.min()))
    used = lost_on_the_ladder(16, 500, float(rng.uniform(0.75, 0.85)), float(rng.uniform(0, 0.4)))[1]
    error = largest([*excess, 0.992 - min(used), max(used) - 1])
    return Evidence(error, 1e-9, f"12 worlds, 25 passes, errors of any size; a ladder uses {min(used):.3f}")


def ladder(rng):
    """The factor is sharp: on the ladder the loop loses almost all that the bound allows, and never more."""
    shares = []
    for _ in range(3):
        gamma, epsilon = float(rng.uniform(0.3, 0.7)), float(rng.uniform(0, 0.5))
        shares.append(lost_on_the_ladder(24, 500, gamma, epsilon, float(rng.uniform(0.5, 2)))[0])
    error = max(0.98 - min(shares), max(shares) - 1, 0.0)
    return Evidence(error, 1e-9, f"3 ladders of 24 rungs: {min(shares):.3f} of the bound or more")


def data_certificate(rng):
    """Windows certify gains; how often one of the certified gains was not there, against delta.

    And the bracket by hand: the least gain for any values within the radii, attained at their ends.
    """
    delta, wrong, spoken, trials, errors = 0.1, 0, 0, 0, []
    for n, runs in ((300, 60), (1000, 60), (4000, 60)):
        gamma, epsilon = float(rng.uniform(0.2, 0.5)), 0.4
        processes = [few_successors(2, 2, gamma, rng) for _ in range(runs)]
        policies = soft_policies(rng, (runs, 2, 2), epsilon)
        rolls = rollout_batch(processes, policies, n, rng)
        for i, (process, policy) in enumerate(zip(processes, policies, strict=True)):
            pairs = rolls.states[i] * 2 + rolls.actions[i]
            if pairs[-1] not in pairs[:-1]:
                continue
            true = process.q_values(policy)
            estimate = rng.normal(size=(2, 2)) if i % 2 else true
            given = pairs, rolls.rewards[i], gamma, (-1.0, 1.0), delta
            found = passes.certified_improvement(policy, estimate, epsilon, *given)
            gain = ((found.policy - policy) * true).sum(axis=1)
            wrong += bool((gain < found.bracket - 1e-9).any())
            spoken += found.certified and np.abs(found.policy - policy).max() > 1e-9
            trials += 1
            value, radius = box(pairs, rolls.rewards[i], gamma, 2.0, delta, 4)
            moved = (found.policy - policy).ravel()
            with np.errstate(invalid="ignore"):
                least = np.where(np.abs(moved) < 1e-12, 0, moved * value - np.abs(moved) * radius)
            least, told = least.reshape(2, 2).sum(axis=1), np.isfinite(found.bracket)
            errors.append(np.abs(least[told] - found.bracket[told]).max(initial=0))
            errors.append(0.0 if told.all() or np.isinf(radius).any() else np.inf)
    error = upper_end(wrong, trials) - delta if spoken and largest(errors) < 1e-9 else np.inf
    return Evidence(error, 0.0, f"{trials} windows: {spoken} changes certified, {wrong} wrong")


def box(pairs, rewards, gamma, width, delta, size):
    """Values of the pairs that a window left, and their radii, by a series; no bound for the others."""
    n, counts = len(rewards), np.bincount(pairs[:-1], minlength=size)
    moves, left = np.zeros((size, size)), counts > 0
    np.add.at(moves, (pairs[:-1], pairs[1:]), 1 / counts[pairs[:-1]])
    seen = np.bincount(pairs[:-1], rewards / counts[pairs[:-1]], size)
    noise = np.zeros(size)
    noise[left] = width / (1 - gamma) * np.sqrt(np.log(2 * size * n / delta) / (2 * counts[left]))
    value, reach = seen, noise
    for _ in range(100):  # gamma < 1/2
        value, reach = seen + gamma * moves @ value, noise + gamma * moves @ reach
    return value, np.where(left, np.minimum(gamma * reach, width / (1 - gamma)), np.inf)


def covered_window(process, policy, n, rng):
    """A window in which every pair is left and the last one has been left before."""
    while True:
        roll = process.rollout(policy, n, rng)
        pairs = roll.states * process.num_actions + roll.actions
        if len(np.unique(pairs[:-1])) == process.reward.size:
            return pairs, roll.rewards


def error_split(rng):
    """What a pass of L warm-started layers leaves, from the transformer, against its two parts."""
    errors = []
    for _ in range(8):
        gamma, layers = float(rng.uniform(0.1, 0.95)), int(rng.integers(1, 8))
        process = random_mdp(3, 2, gamma, rng)
        policy, size, step = soft_policies(rng, (3, 2), 0.8), 6, float(rng.uniform(0.3, 1))
        pairs, rewards = covered_window(process, policy, 120, rng)
        features, start = rng.normal(size=(size, 4)), rng.normal(size=size)
        noisy = rewards + rng.normal(size=len(rewards))  # so that the mean rewards are wrong too
        prompt = softmax_td_prompt(features, pairs, noisy, np.arange(size))
        prompt[-1] = torch.from_numpy(start[np.concatenate([pairs, np.arange(size)])])
        prompt[-2, : len(noisy)] = gamma * prompt[-1, 1 : len(noisy) + 1]
        value, score = priced_td_weights(features.shape[1], layers, gamma, step)
        network = SoftmaxTransformer(layers, gamma, value[:-1], score[:-1])
        out = network(prompt, num_queries=1 + size)[-1, len(pairs) :].numpy()
        true = process.q_values(policy).ravel()
        reward, transition = empirical_model(pairs, noisy, size)
        chain = process.under_pairs(policy)
        identity = np.eye(size)
        layer = identity - step * matching_matrix(features, pairs) @ (identity - gamma * transition)
        drift = reward - chain.reward + gamma * (transition - chain.transition) @ true
        noise = np.linalg.solve(identity - gamma * transition, drift)
        limit = np.linalg.solve(identity - gamma * transition, reward)
        split = np.linalg.matrix_power(layer, layers) @ (start - limit) + noise
        errors.append(relative_error(out - true, split))
        matrix, offset = pass_operator(features, pairs, noisy, gamma, step)
        errors.append(relative_error(matrix, layer))
        errors.append(relative_error(matrix @ limit + offset, limit))
    return Evidence(largest(errors), 1e-9, "8 worlds, 1-7 layers, rewards with noise")


def two_rates(rng):
    """A layer's spectrum: the constants at 1 - alpha (1 - gamma), the rest what differences decay at."""
    errors = []
    for _ in range(8):
        gamma, step = float(rng.uniform(0.3, 0.95)), float(rng.uniform(0.3, 1))
        process, policy = random_mdp(3, 2, gamma, rng), soft_policies(rng, (3, 2), 0.8)
        pairs, rewards = covered_window(process, policy, 150, rng)
        sharp = np.sqrt(60) * np.eye(6)
        for features, own in ((rng.normal(size=(6, 3)), step), (sharp, 1.0)):
            matrix, _ = pass_operator(features, pairs, rewards, gamma, own)
            constant = 1 - own * (1 - gamma)
            errors.append(relative_error(matrix.sum(axis=1), np.full(6, constant)))
            values = np.linalg.eigvals(matrix)
            rest = np.delete(values, np.abs(values - constant).argmin())
            errors.append(relative_error(passes.quotient_rate(matrix), np.abs(rest).max()))
        _, transition = empirical_model(pairs, rewards, 6)
        moduli = np.sort(np.abs(np.linalg.eigvals(transition)))
        errors.append(relative_error(passes.quotient_rate(matrix), gamma * moduli[-2]))
        # Many layers: the span of a difference decays at this rate, and not at another.
        x, logs = rng.normal(size=6), []
        for _ in range(500):
            x = matrix @ x
            x -= x[0]  # the constant part would drown the rest in its rounding
            logs.append(np.log(np.abs(x).max()))
            x /= np.abs(x).max()
        rate = np.exp(np.mean(logs[100:]))
        errors.append(max(0.0, abs(rate / passes.quotient_rate(matrix) - 1) - 0.05))
    return Evidence(largest(errors), 1e-7, "8 windows, random and sharp kernels")


CLAIMS = Claims(
    claim(
        "improvement-per-pass",
        "A pass improves every state by at least the discounted brackets, gap minus moved span, and by "
        r"exactly that where two actions change places and the new one was overestimated relative to the "
        r"old; it never loses more than "
        r"$\frac{1-\varepsilon}{1-\gamma}$ times the largest span, which one state loses.",
        "bound",
        "improvement",
        one_pass,
    ),
    claim(
        "loop-bound",
        r"Along every path the distance to the best $\varepsilon$-soft policy shrinks by $\eta$ in a pass, "
        r"up to $\beta_k/(1-\gamma)$, and on the ladder hardly more.",
        "bound",
        "loop",
        loop,
    ),
    claim(
        "loop-bound-sharp",
        r"On ladders of 24 rungs, at $\gamma\le0.7$, the loop loses at least .98 of "
        r"$(1-\gamma\varepsilon)\beta/(1-\gamma)^2$, and never more than all of it.",
        "bound",
        "loop",
        ladder,
    ),
    claim(
        "certified-improvement",
        r"Gains certified by one window are there with probability $1-\delta$ at least, and some are "
        "certified; they are the least of all gains for values within the radii.",
        "interval",
        "improvement",
        data_certificate,
        risk=1e-5,
    ),
    claim(
        "error-of-a-pass",
        r"Where a window leaves every pair and nothing ends, what $L$ warm-started layers leave is "
        r"$E^L(q-\hat q)$ plus the noise of the window.",
        "identity",
        "one-layer",
        error_split,
    ),
    claim(
        "two-rates",
        r"A layer multiplies constants by $1-\alpha(1-\gamma)$ and differences, in the long run, by the "
        r"largest other eigenvalue; with sharp attention and $\alpha=1$ that is "
        r"$\gamma\vert\lambda_2(\widehat P)\vert$.",
        "identity",
        "one-layer",
        two_rates,
    ),
)
