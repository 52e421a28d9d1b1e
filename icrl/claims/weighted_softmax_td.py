"""Claims of the chapter `weighted-softmax-td`."""

import numpy as np
import torch
from flint import arb, arb_mat, ctx

from icrl import mrp, softmax_td
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.claims.theorem_2 import started_at
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

CHAPTER = "sec-wstd-"


def random_context(rng, covered=True, num_features=None):
    """A random process, random features, and a context; `covered`: every state occurs, S_n = S_0."""
    num_states = int(rng.integers(2, 7))
    discount = float(rng.uniform(0, 0.95))
    process = mrp.random_mrp(num_states, discount, rng)
    num_features = num_features or int(rng.integers(1, 5))
    features = rng.normal(size=(num_states, num_features))
    if covered:
        states = rng.permutation(np.append(np.arange(num_states), process.sample(20, rng)))
        states = np.append(states, states[0])
    else:
        states = process.sample(int(rng.integers(1, 8)), rng)
    # Rewards of their own, not a function of the state: the algebra must not need that.
    return features, states, rng.normal(size=len(states) - 1), discount


def operator_form(rng):
    """Loop against v + alpha M (r + gamma P v - v), over all states, visited or not."""
    errors = []
    for trial in range(100):
        features, states, rewards, discount = random_context(rng, covered=trial % 2 == 0)
        alpha = float(rng.uniform(0.1, 1.5))
        loop = softmax_td.weighted_softmax_td(features, states, rewards, discount, 5, alpha)
        # The closed form of M: visits times exponentiated scores, normalised; nothing of the loop's kernel.
        counts = np.bincount(states[:-1], minlength=len(features))
        matching = counts * np.exp(features @ features.T)
        matching /= matching.sum(axis=1, keepdims=True)
        errors.append(relative_error(softmax_td.matching_matrix(features, states), matching))
        reward, transition = softmax_td.empirical_model(states, rewards, len(features))
        v = np.zeros(len(features))
        for layer in range(6):
            errors.append(relative_error(loop[layer], v[states]))
            v = v + alpha * matching @ (reward + discount * transition @ v - v)
    return Evidence(largest(errors), 1e-12, "100 contexts, half with unvisited states; every layer")


def slow_context(rng, scale, merge=False, unseen=0):
    """A covered context of four states, a step size at which softmax TD converges, the layers to its end.

    ``merge`` gives states 2 and 3 the same features; ``unseen`` states are added that never occur.
    """
    while True:
        discount, step = float(rng.uniform(0, 0.8)), float(rng.uniform(0.6, 1.3))
        process = mrp.random_mrp(4, discount, rng)
        states = np.append(rng.permutation(4), process.sample(30, rng))
        states = np.append(states, states[0])
        features = rng.normal(size=(4 + unseen, 5)) * scale
        alike = np.minimum(states, 2) if merge else states
        matrix = softmax_td.iteration_matrix(features, alike, discount, step)
        factor = np.abs(np.linalg.eigvals(matrix)).max()
        if factor < 0.97:  # else too slow to run to the end, or divergent: the claims suppose neither
            if merge:
                features[3] = features[2]
            rewards = rng.normal(size=len(states) - 1)
            layers = int(np.ceil(np.log(1e-13) / np.log(factor)))
            return features, states, rewards, discount, layers, step


def fixed_point(rng):
    """The loop run to its end, under ten kernels, against (I - gamma P)^{-1} r."""
    errors = []
    for scale in np.linspace(1.2, 3, 10):
        features, states, rewards, discount, layers, step = slow_context(rng, scale)
        loop = softmax_td.weighted_softmax_td(features, states, rewards, discount, layers, step)
        _, empirical = softmax_td.empirical_process(states, rewards, discount)
        errors.append(relative_error(loop[-1], empirical.value()[states]))
    return Evidence(largest(errors), 1e-10, "ten kernels, discounts and step sizes, run to the end")


def factor_gamma(rng):
    """The iteration matrix applied to the constant vector."""
    errors = []
    for _ in range(200):
        features, states, _, discount = random_context(rng)
        alpha = float(rng.uniform(0.1, 2))
        matrix = softmax_td.iteration_matrix(features, states, discount, alpha)
        expected = np.full(len(matrix), 1 - alpha * (1 - discount))
        errors.append(relative_error(matrix.sum(axis=1), expected))
    return Evidence(largest(errors), 1e-12, "200 contexts")


def tabular_limit(rng):
    """The distance from matching exactly: formula against matrix."""
    errors = []
    for _ in range(200):
        _, states, _, _ = random_context(rng)
        tau = float(rng.uniform(0, 12))
        counts = np.bincount(states[:-1])
        matching = softmax_td.matching_matrix(np.sqrt(tau) * np.eye(len(counts)), states)
        norm = np.abs(matching - np.eye(len(counts))).sum(axis=1).max()
        n, rarest = counts.sum(), counts.min()
        formula = 2 * (n - rarest) / (rarest * np.exp(tau) + n - rarest)
        errors.append(relative_error(norm, formula))
    return Evidence(largest(errors), 1e-12, "200 contexts, inverse temperature 0 to 12")


def tabular_td(rng):
    """One-hot softmax TD at inverse temperature 40 against batch tabular TD."""
    errors = []
    for _ in range(50):
        _, states, rewards, discount = random_context(rng)
        size = int(states.max()) + 1
        features = np.sqrt(40.0) * np.eye(size)
        alpha = float(rng.uniform(0.1, 1.5))
        softmax = softmax_td.weighted_softmax_td(features, states, rewards, discount, 10, alpha)
        tabular = softmax_td.tabular_td(states, rewards, size, discount, 10, alpha)
        errors.append(relative_error(softmax, tabular[:, states]))
    return Evidence(
        largest(errors), 1e-12, "50 contexts, ten updates each, random step sizes, inverse temperature 40"
    )


def linear_td(rng):
    """The loop with the inner-product kernel against linear TD on weights."""
    errors = []
    for trial in range(100):
        features, states, rewards, discount = random_context(rng, covered=trial % 2 == 0)
        alpha = float(rng.uniform(0.05, 0.5))
        kernel = features[states[:-1]] @ features.T / len(rewards)
        values = softmax_td.kernel_td(kernel, states, rewards, discount, 8, alpha)
        weights = softmax_td.linear_td(features, states, rewards, discount, 8, alpha)
        errors.append(relative_error(values, weights @ features[states].T))
    return Evidence(largest(errors), 1e-12, "100 contexts, eight updates each, every update")


def high_temperature(rng):
    """The remainder of the expansion against Taylor's bound on it, which is quadratic in tau."""
    errors = []
    # One visit among 999 has all of the spread: its weight uses 1 - 3 / n of the bound.
    lone = rng.uniform(0.5, 2) * np.array([[0.0], [1.0], [2.0]]), np.arange(1000) // 998 % 2
    for features, states in [lone, *(random_context(rng)[:2] for _ in range(50))]:
        scores = features[states[:-1]] @ features.T
        spread = np.ptp(scores, axis=0).max()
        # In units of the spread: of nearly equal features a fixed tau would measure rounding.
        for tau in np.array([1e-2, 1e-3, 1e-4]) / spread:
            kernel = softmax_td.softmax_kernel(np.sqrt(tau) * features, states)
            first_order = (1 + tau * (scores - scores.mean(axis=0))) / len(scores)
            remainder = len(scores) * np.abs(kernel - first_order).max()
            # A weight w has w'' = w ((score - mean)^2 - variance) in tau, and w <= exp(tau spread) / n.
            errors.append(remainder / ((tau * spread) ** 2 / 2 * np.exp(tau * spread)))
    return Evidence(largest(errors), 1.0, "51 contexts, scores to 1e-4 apart; error: share of the bound used")


def equal_features(rng):
    """Two states that look alike: their difference stays, and from zero the run ends as if they were one."""
    errors, apart = [], []
    for _ in range(10):
        features, states, rewards, discount, layers, step = slow_context(rng, 2.0, merge=True)
        loop = softmax_td.weighted_softmax_td(features, states, rewards, discount, layers, step)
        merged = np.minimum(states, 2)
        _, aggregated = softmax_td.empirical_process(merged, rewards, discount)
        errors.append(relative_error(loop[-1], aggregated.value()[merged]))
        unmerged = softmax_td.empirical_process(states, rewards, discount)[1].value()[states]
        apart.append(relative_error(loop[-1], unmerged))
        start = rng.normal(size=4)
        run = started_at(start, features, states, rewards, discount, 20, float(rng.uniform(0.1, 1)))
        two, three = (run[:, np.flatnonzero(states == s)[0]] for s in (2, 3))
        errors.append(relative_error(two - three, np.full(21, start[2] - start[3])))
    # The value of the unmerged chain must be another one, else the comparison is blind.
    error = largest(errors) if largest(apart) > 1e-3 else np.inf
    return Evidence(
        error, 1e-10, "ten contexts, run to the end, and from random starts; unmerged values differ"
    )


def unvisited_query(rng):
    """The value that a state never visited gets, after every update: loop against kernel interpolant."""
    errors = []
    for trial in range(20):
        features, states, rewards, discount, layers, step = slow_context(rng, 1.6, unseen=1)
        covered = trial % 2 == 0
        if not covered:  # ends in the state it never left: the formula holds, a limit is not promised
            states[-1], layers = 4, 30
        columns = softmax_td.weighted_softmax_td(features, states, rewards, discount, layers, step)
        td_errors = step * (rewards + discount * columns[:-1, 1:] - columns[:-1, :-1])
        loop = (td_errors @ softmax_td.softmax_kernel(features, states)[:, 4]).cumsum()
        counts = np.bincount(states[:-1], minlength=4)
        gram, to_query = np.exp(features[:4] @ features[:4].T), np.exp(features[:4] @ features[4])
        # Values of the visited states after every update; rows divided by Z, else they differ by many
        # orders of magnitude.
        first = [np.flatnonzero(states == s)[0] for s in range(4)]
        coefficients = np.linalg.solve(gram / (gram @ counts)[:, None], columns[1:, first].T)
        errors.append(relative_error(loop, to_query @ coefficients / (to_query @ counts)))
        if covered:
            limit = softmax_td.fixed_point(features, states, rewards, discount)[4]
            errors.append(relative_error(loop[-1], limit))
        else:  # the last column is that state, in the loop itself
            errors.append(relative_error(loop, columns[1:, -1]))
    return Evidence(
        largest(errors), 1e-9, "20 contexts, half of them not covered: every update, and the limit"
    )


def invertible(rng):
    """Determinants in ball arithmetic, features alike, nearly alike and distinct; the package's entries."""
    failures = 0
    for trial in range(60):
        size, dimension = int(rng.integers(2, 7)), int(rng.integers(1, 4))
        whole = rng.integers(-64, 65, size=(size, dimension))
        alike = trial % 3 == 0
        whole[1] = whole[0] + (not alike) * (np.arange(dimension) == 0) * (1 if trial % 3 == 1 else 40)
        if len(np.unique(whole, axis=0)) < size - alike:
            continue
        states = np.append(rng.permutation(np.append(np.arange(size), rng.integers(size, size=9))), 0)
        counts = np.bincount(states[:-1])
        with ctx.workprec(512):
            rows = []
            for x in whole.tolist():
                scores = (sum(a * b for a, b in zip(x, y, strict=True)) for y in whole.tolist())
                weights = [
                    int(n) * (arb(score) / 32**2).exp() for n, score in zip(counts, scores, strict=True)
                ]
                rows.append([weight / sum(weights, arb(0)) for weight in weights])
            determinant = arb_mat(rows).det()
        matching = softmax_td.matching_matrix(whole / 32, states)
        failures += not np.allclose(matching, np.array(rows, dtype=float), rtol=0, atol=1e-12)
        if alike:  # two equal rows, in the package too
            failures += not (determinant.contains(0) and (matching[0] == matching[1]).all())
        else:
            failures += not determinant > 0
    return Evidence(
        float(failures), 0.0, "60 contexts; the sign of the determinant certified: steps that fail"
    )


def converges_iff(rng):
    """The transformer from random starts, where the spectral radius is below 1 and where it is above."""
    wrong, verdicts = 0, {False: 0, True: 0}
    trap, features = mrp.divergent_mrp()
    for _ in range(400):
        if min(verdicts.values()) == 12:
            break
        process = mrp.random_mrp(3, trap.discount, rng)
        process = mrp.MarkovRewardProcess(
            0.8 * trap.transition + 0.2 * process.transition, process.reward, trap.discount
        )
        states = np.concatenate([process.sample(40, rng), [0, 1, 2]])
        states = np.append(states, rng.integers(3))
        x = features * rng.uniform(0.3, 1.1) + 0.2 * rng.normal(size=(3, 1))
        values = 1 - np.linalg.eigvals(softmax_td.iteration_matrix(x, states, 0.9))
        limit = (2 * values.real / np.abs(values) ** 2).min()  # of the step size, if positive
        alpha = float(limit * rng.choice([0.85, 1.2]) if limit > 0.1 else rng.uniform(0.3, 1.5))
        radius = np.abs(np.linalg.eigvals(softmax_td.iteration_matrix(x, states, 0.9, alpha))).max()
        if 0.97 < radius < 1.03 or verdicts[bool(radius < 1)] >= 12:
            continue
        verdicts[bool(radius < 1)] += 1
        rewards = rng.normal(size=len(states) - 1)
        limit = softmax_td.empirical_process(states, rewards, 0.9)[1].value()
        start = limit + rng.normal(size=3)
        # One in 3000 of these matrices leaves a thousand times more than its radius says; none so seen, 1e5.
        layers = int(np.ceil(np.log(1e12) / abs(np.log(radius))))
        run = started_at(start, x, states, rewards, 0.9, layers, alpha)
        left = np.abs(run[-1] - limit[states]).max() / np.abs(start - limit).max()
        wrong += not (left < 1e-6 if radius < 1 else left > 1e4)
    wrong += 24 - sum(verdicts.values())
    return Evidence(float(wrong), 0.0, "12 contexts on each side of 1, random starts, step sizes: wrong ones")


def alternating(rng):
    """Two kernels that converge, alone and in turns, as layers of one transformer."""
    x, states = np.array([[-3.0, -1], [3, 3], [2, -3]]), np.array([0, 1, 2, 0, 1, 2, 0])
    rewards = rng.normal(size=6)
    limit = softmax_td.empirical_process(states, rewards, 0.9)[1].value()[states]
    value, score = softmax_td_weights(2)
    alone = []
    for feature in range(2):
        one = score * 0
        one[feature, feature] = 1
        alone.append(one)
    prompt, left = softmax_td_prompt(x, states, rewards), []
    for turns in ((0, 0), (1, 1), (0, 1)):
        scores = torch.stack([alone[turns[layer % 2]] for layer in range(80)])
        run = SoftmaxTransformer(80, 0.9, value, scores).values(prompt).numpy()
        left.append(np.abs(run[-1] - limit).max() / np.abs(limit).max())
    error = max(left[0] - 0.01, left[1] - 0.01, 0.0) + (not left[2] > 1e5)
    seen = f"80 layers: errors {left[0]:.0e}, {left[1]:.0e} alone, {left[2]:.0e} in turns"
    return Evidence(float(error), 0.0, seen)


CLAIMS = Claims(
    Claim(
        "operator-form",
        "ours",
        r"Softmax TD is $v \leftarrow v + \alpha\,\widehat M(\hat r + \gamma \widehat P v - v)$: the "
        "attention matrix preconditions the empirical Bellman equation.",
        "identity",
        CHAPTER + "operator",
        operator_form,
    ),
    Claim(
        "fixed-point",
        "ours",
        "On a covered context whose visited states differ in their features, a convergent run ends at "
        r"$(I-\gamma\widehat P)^{-1}\hat r$, whatever the kernel.",
        "identity",
        CHAPTER + "fixed-point",
        fixed_point,
    ),
    Claim(
        "invertible-iff-distinct",
        "ours",
        r"$\widehat M$ is invertible if and only if the visited states have distinct features; then "
        r"$\det\widehat M>0$.",
        "proof",
        CHAPTER + "fixed-point",
        invertible,
    ),
    Claim(
        "converges-iff-radius",
        "ours",
        "On a covered context with distinct features, softmax TD converges to "
        r"$(I-\gamma\widehat P)^{-1}\hat r$ from every start if and only if "
        r"$\rho(I-\alpha\widehat M(I-\gamma\widehat P))<1$.",
        "bound",
        CHAPTER + "fixed-point",
        converges_iff,
        risk=2e-6,
    ),
    Claim(
        "alternating-kernels",
        "ours",
        "Two kernels that each converge may diverge when they alternate.",
        "control",
        CHAPTER + "fixed-point",
        alternating,
    ),
    Claim(
        "factor-gamma",
        "ours",
        r"$(I-\alpha\widehat M(I-\gamma\widehat P))\mathbf 1 = (1-\alpha(1-\gamma))\mathbf 1$, "
        "whatever the kernel, on a covered context.",
        "identity",
        CHAPTER + "factor-gamma",
        factor_gamma,
    ),
    Claim(
        "tabular-limit",
        "ours",
        r"One-hot features $\sqrt\tau e_s$: $\lVert\widehat M - I\rVert_\infty$ is "
        r"$\max_s 2(n-n_s)/(n_s e^\tau + n - n_s)$, exactly.",
        "identity",
        CHAPTER + "tabular",
        tabular_limit,
    ),
    Claim(
        "tabular-td",
        "special case named by Xie et al. (2026); this form ours",
        "On a covered context, sharp one-hot attention is batch tabular TD, with the same step size.",
        "limit",
        CHAPTER + "tabular",
        tabular_td,
    ),
    Claim(
        "linear-td",
        "special case named by Xie et al. (2026); this form ours",
        "With the inner product in place of the softmax, the update is linear TD.",
        "identity",
        CHAPTER + "linear",
        linear_td,
    ),
    Claim(
        "high-temperature",
        "ours",
        r"$K_\tau(s,S_{k-1})$ $= \frac1n + \frac\tau n(\langle x_s,x_k\rangle$ "
        r"$-\,\mathrm{mean}_j\langle x_s,x_j\rangle) + O(\tau^2)$.",
        "limit",
        CHAPTER + "linear",
        high_temperature,
    ),
    Claim(
        "equal-features",
        "ours",
        "Visited states with equal features keep the difference of their values, from every start. From zero "
        "they are merged: if the merged context is covered, a convergent run ends at the value of the merged "
        "chain.",
        "identity",
        CHAPTER + "equal-features",
        equal_features,
    ),
    Claim(
        "unvisited-query",
        "ours",
        "Started from zero, a state that the context never visits gets the kernel interpolant of the "
        "visited values, if these states differ in their features.",
        "identity",
        CHAPTER + "unvisited",
        unvisited_query,
    ),
)
