"""Claims of the chapter `contraction`."""

import numpy as np
from scipy.stats import bootstrap

from icrl import contraction, mrp, softmax_td
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error, upper_end
from icrl.constructions.certified_runs import by_counts, covered_task, floor_errors, random_task
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

CHAPTER = "sec-ct-"


def recursion(rng):
    """The loop's errors, layer by layer, against the recursion with operators summed from the kernel."""
    errors = []
    for _ in range(30):
        process, features, states = covered_task(rng)
        rewards, gamma, value = process.reward[states[:-1]], process.discount, process.value()
        loop = softmax_td.weighted_softmax_td(features, states, rewards, gamma, 6)
        kernel = softmax_td.softmax_kernel(features, states).T
        matching = kernel @ np.eye(process.num_states)[states[:-1]]
        successor = kernel @ np.eye(process.num_states)[states[1:]]
        noise = gamma * (successor - matching @ process.transition) @ value
        e = -value
        for row in loop:
            errors.append(relative_error(row, (value + e)[states]))
            e = (np.eye(len(e)) - matching + gamma * successor) @ e + noise
    return Evidence(largest(errors), 1e-11, "30 contexts, six layers, every layer")


def norm_bound(rng):
    """Both sides of the norm bound; its first step is an equality."""
    errors = []
    for _ in range(100):
        process, features, states = covered_task(rng)
        _, _, transition, _ = by_counts(features, states, process)
        matching = softmax_td.matching_matrix(features, states)
        identity = np.eye(len(matching))
        rest = np.linalg.norm(identity - matching, np.inf)
        errors.append(abs(rest - 2 * (1 - matching.diagonal().min())))
        matrix = softmax_td.iteration_matrix(features, states, process.discount)
        errors.append(np.abs(matrix - (identity - matching + process.discount * matching @ transition)).max())
        errors.append(np.linalg.norm(matrix, np.inf) - rest - process.discount)
    return Evidence(largest(errors), 1e-12, "100 contexts; the largest excess")


def population(rng):
    """Self-attention of a context against that of the stationary distribution; counts against Poisson."""
    excess, identity = [], []
    for _ in range(60):
        process, features = random_task(rng)
        states = process.sample(100, rng)
        mu, g = process.stationary_distribution(), contraction.poisson_solution(process)
        counts = np.bincount(states[:-1], minlength=len(mu))
        martingale = (g[states[1:]] - (process.transition @ g)[states[:-1]]).sum(axis=0)
        identity.append(relative_error(counts - 100 * mu, g[states[0]] - g[states[-1]] + martingale))
        off = np.abs(counts / (100 * mu) - 1).max()
        endless = contraction.population_matching(features, mu).diagonal()
        excess.append((endless - 2 * off - softmax_td.matching_matrix(features, states).diagonal()).max())
    return Evidence(largest([*excess, *identity]), 1e-10, "60 contexts; largest excess or difference")


def theorem_2(rng):
    """The bound with all constants, at the context length from which it is proved."""
    runs, failures, delta = 0, 0, 0.1
    while runs < 40:
        process, features = random_task(rng, sharp=True)
        if contraction.assumption_margin(features, process) <= 0.02:
            continue
        required = contraction.population_bound(features, process, 1, delta).required
        if required > 20_000:  # a matter of time only: the chain is drawn before the context is
            continue
        bound = contraction.population_bound(features, process, required, delta)
        states = process.sample(required, rng)
        _, _, transition, matching = by_counts(features, states, process)
        value, v, holds, gamma = process.value(), np.zeros(process.num_states), True, process.discount
        # The two events of the proof that may fail with probability delta, and what follows from them.
        margin, mu = contraction.assumption_margin(features, process), process.stationary_distribution()
        g, size = contraction.poisson_solution(process), len(mu)
        root = np.sqrt(np.log(4 * size / delta) / 2 * required)
        counts = np.bincount(states[:-1], minlength=size)
        martingale = (g[states[1:]] - (process.transition @ g)[states[:-1]]).sum(axis=0)
        noise = counts * ((transition - process.transition) @ value)
        holds &= (np.abs(martingale) <= np.ptp(g, axis=0) * root).all()
        holds &= (np.abs(noise) <= np.ptp(value) * root).all()
        holds &= (np.abs(counts - required * mu) <= margin / 4 * required * mu + 1e-9).all()
        matrix = np.eye(size) - matching @ (np.eye(size) - gamma * transition)
        holds &= np.abs(matrix).sum(axis=1).max() <= bound.rate + 1e-12
        holds &= gamma * np.abs(matching @ (noise / counts)).max() <= margin * bound.floor + 1e-12
        for layer in range(40):
            limit = bound.rate**layer * np.abs(value).max() + bound.floor
            holds &= np.abs(v - value).max() <= limit
            v = v + matching @ (process.reward + gamma * transition @ v - v)
        runs, failures = runs + 1, failures + (not holds)
    return Evidence(
        upper_end(failures, runs), delta, f"{failures} of {runs} contexts fail; error: 95 % upper end"
    )


def rate(rng):
    """The transformer's distance to the certainty-equivalence value, against the bound, in every layer."""
    excess = []
    for _ in range(30):
        process, features, states = covered_task(rng)
        rewards, gamma, alpha = process.reward[states[:-1]], process.discount, float(rng.uniform(0.2, 1.2))
        weights = softmax_td_weights(num_features=features.shape[1], step_size=alpha)
        rows = SoftmaxTransformer(12, gamma, *weights).values(softmax_td_prompt(features, states, rewards))
        limit = softmax_td.empirical_process(states, rewards, gamma)[1].value()
        for layer, row in enumerate(rows.numpy()):
            seen = contraction.certificate(features, states, rewards, gamma, (-1, 1), layer, 0.1, alpha)
            off = np.abs(row - limit[states]).max()
            bound = seen.rate**layer * seen.initial
            excess += [(off - bound) / max(1.0, bound), relative_error(seen.distance, off)]
    return Evidence(
        largest(excess), 1e-11, "30 contexts, 12 layers, every layer; largest excess or difference"
    )


def context_error(rng):
    """Certainty-equivalence value minus truth, on contexts that miss states the chain can reach."""
    errors, missing = [], 0
    for _ in range(200):
        process = mrp.random_mrp(int(rng.integers(2, 9)), float(rng.uniform(0, 0.95)), rng)
        states = process.sample(int(rng.integers(2, 12)), rng)
        states[-1] = states[0]
        rewards, value = process.reward[states[:-1]], process.value()
        visited, empirical = softmax_td.empirical_process(states, rewards, process.discount)
        missing += len(visited) < process.num_states
        rows = np.zeros((len(visited), process.num_states))
        rows[:, visited] = empirical.transition
        noise = (rows - process.transition[visited]) @ value
        bellman = np.eye(len(visited)) - process.discount * empirical.transition
        formula = process.discount * np.linalg.solve(bellman, noise)
        errors.append(relative_error(empirical.value() - value[visited], formula))
    return Evidence(largest(errors), 1e-10, f"200 contexts, {missing} with unvisited states")


def slope(rng):
    """The slope of the floor against the context length, on logarithmic axes, over random chains."""
    lengths = (200, 800, 3200)
    processes = [mrp.random_mrp(4, 0.8, rng) for _ in range(40)]
    mean = np.nanmean(np.log(floor_errors(processes, lengths, 8, rng)), axis=2)
    slopes = np.polyfit(np.log(lengths), mean.T, 1)[0]
    interval = bootstrap((slopes,), np.mean, n_resamples=999, rng=rng).confidence_interval
    seen = f"40 chains; 95 % interval {interval.low:.2f} to {interval.high:.2f}; error: its far end"
    return Evidence(largest([abs(interval.low + 0.5), abs(interval.high + 0.5)]), 0.1, seen)


def floor_fixed(rng):
    """The error of a run to its end, under three temperatures."""
    spreads = []
    for _ in range(3):
        process = mrp.random_mrp(4, 0.5, rng)
        states = np.append(np.append(rng.permutation(4), process.sample(30, rng)), 0)
        errors = []
        for tau in (4.0, 6.0, 9.0):
            arguments = np.sqrt(tau) * np.eye(4), states, process.reward[states[:-1]], 0.5
            loop = softmax_td.weighted_softmax_td(*arguments, 80)
            errors.append(np.abs(loop[-1] - process.value()[states]).max())
        spreads.append(np.ptp(errors))
    return Evidence(largest(spreads), 1e-8, "three contexts, temperatures 1/4 to 1/9, run to the end")


def threshold(rng):
    """The margin of Assumption 5.1 at the inverse temperature where it should vanish."""
    errors = []
    for _ in range(100):
        process, _ = random_task(rng)
        mu, gamma = process.stationary_distribution(), process.discount
        tau = np.log((1 + gamma) / (1 - gamma)) + np.log((1 - mu.min()) / mu.min())
        errors.append(abs(contraction.assumption_margin(np.sqrt(tau) * np.eye(len(mu)), process)))
    return Evidence(largest(errors), 1e-12, "100 tasks, one-hot features")


def elsewhere(rng):
    """Self-attention of a state that matches another better than itself, at temperatures of all kinds."""
    excess, seen = [], 0
    for _ in range(100):
        process, features = random_task(rng)
        gram, mu = features @ features.T, process.stationary_distribution()
        s, u = np.unravel_index(np.argmax(gram - gram.diagonal()[:, None]), gram.shape)
        if gram[s, u] <= gram[s, s]:
            continue
        seen += 1
        for tau in (0.0, 0.1, 1.0, 10.0):
            matching = contraction.population_matching(np.sqrt(tau) * features, mu)
            excess.append(matching[s, s] - mu[s] / (mu[s] + mu[u]))
    return Evidence(max(0.0, largest(excess)), 1e-12, f"{seen} tasks, four temperatures; largest excess")


def assumption(rng):
    """Where the assumption holds with margin C, the population iteration contracts by 1 - 2C."""
    excess = []
    while len(excess) < 60:
        process, features = random_task(rng, sharp=len(excess) % 2 == 0)
        margin = contraction.assumption_margin(features, process)
        if margin > 0:
            matrix = contraction.population_iteration_matrix(features, process)
            excess.append(np.abs(matrix).sum(axis=1).max() - (1 - 2 * margin))
    return Evidence(max(0.0, largest(excess)), 1e-12, "60 tasks that satisfy it; largest excess")


def not_needed(rng):
    """Tasks without the assumption, with a norm above 1, on which the iteration converges all the same."""
    found = 0
    for _ in range(120):
        process, features = random_task(rng)
        matrix = contraction.population_iteration_matrix(features, process)
        norm = np.abs(matrix).sum(axis=1).max()
        radius = np.abs(np.linalg.eigvals(matrix)).max()
        if contraction.assumption_margin(features, process) <= 0 and norm > 1 and radius < 0.999:
            found += np.abs(np.linalg.matrix_power(matrix, 1 << 14)).max() < 1e-3
    return Evidence(
        max(0.0, 0.1 - found / 120), 0.0, f"{found} of 120 random tasks; error: lacking from 1/10"
    )


def claims():
    """The table, as (id, source, statement, kind, end of the section's label, check)."""
    yield (
        "theorem-2-recursion",
        "ours, towards Theorem 2 of Xie et al. (2026)",
        r"$e_{l+1} = (I-\widehat M+\gamma\widehat P_n)e_l + \gamma(\widehat P_n-\widehat MP)v^\pi$ for the "
        r"error $e_l=v_l-v^\pi$.",
        "identity",
        "theorem-2",
        recursion,
    )
    yield (
        "theorem-2-norm",
        "ours, towards Theorem 2 of Xie et al. (2026)",
        r"$\lVert I-\widehat M+\gamma\widehat P_n\rVert_\infty\le2(1-\min_s\widehat M(s,s))+\gamma$.",
        "bound",
        "theorem-2",
        norm_bound,
    )
    yield (
        "population-operator",
        "ours, towards Theorem 2 of Xie et al. (2026)",
        r"$\widehat M(s,s)\ge M_\pi(s,s)-2\varepsilon$ if visit counts are within a relative "
        r"$\varepsilon$ of $n\mu$, and $n_s-n\mu(s)$ is a martingale plus $g_s(S_0)-g_s(S_n)$.",
        "bound",
        "theorem-2",
        population,
    )
    yield (
        "theorem-2-constants",
        "Xie et al. (2026), Theorem 2; constants ours",
        r"Theorem 2 with explicit constants, in every layer, fails with probability at most $\delta=0.1$.",
        "bound",
        "theorem-2",
        theorem_2,
    )
    yield (
        "assumption-contracts",
        "ours",
        r"Under Assumption 5.1 with margin $C$, $\lVert I-M_\pi(I-\gamma P)\rVert_\infty\le1-2C$.",
        "bound",
        "assumption",
        assumption,
    )
    yield (
        "assumption-threshold",
        "ours",
        r"One-hot features $\sqrt\tau e_s$ satisfy Assumption 5.1 iff "
        r"$\tau>\log\frac{1+\gamma}{1-\gamma}+\log\frac{1-\mu_{\min}}{\mu_{\min}}$.",
        "identity",
        "assumption",
        threshold,
    )
    yield (
        "best-match-elsewhere",
        "ours",
        r"If $\langle x_s,x_u\rangle\ge\lVert x_s\rVert^2$ then $M_\pi(s,s)\le\mu_s/(\mu_s+\mu_u)$ "
        "at every temperature.",
        "bound",
        "assumption",
        elsewhere,
    )
    yield (
        "assumption-not-needed",
        "ours",
        "Without Assumption 5.1, and with an iteration matrix of norm above 1, the iteration may converge.",
        "control",
        "assumption",
        not_needed,
    )
    yield (
        "rate-per-layer",
        "ours",
        r"$\lVert v_l-\widehat v\rVert_\infty\le\hat\rho^{\,l}\lVert v_0-\widehat v\rVert_\infty$ "
        "in every layer of the transformer.",
        "bound",
        "sharper",
        rate,
    )
    yield (
        "context-error",
        "ours",
        r"$\widehat v-v^\pi=\gamma(I-\gamma\widehat P)^{-1}(\widehat P-P)v^\pi$ on the visited states, "
        "whether or not others exist.",
        "identity",
        "sharper",
        context_error,
    )
    yield (
        "floor-slope",
        "ours",
        r"The floor $\lVert\widehat v-v^\pi\rVert_\infty$ falls like $n^{-1/2}$.",
        "limit",
        "floor",
        slope,
    )
    yield (
        "floor-fixed",
        "ours",
        "Temperature does not move the floor.",
        "identity",
        "floor",
        floor_fixed,
    )


CLAIMS = Claims(
    *(
        Claim(name, source, statement, kind, CHAPTER + section, check)
        for name, source, statement, kind, section, check in claims()
    )
)
