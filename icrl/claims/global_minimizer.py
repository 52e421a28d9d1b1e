"""Claims of the chapter `global-minimizer`."""

import numpy as np
import torch

from icrl import mrp
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.contraction import population_iteration_matrix
from icrl.neu.limits import asymptotics, limit_gradient, limit_update
from icrl.neu.loss import TaskDistribution, construction_gradient, neu_terms, own_entries, squared_norm
from icrl.softmax_td import empirical_process, iteration_matrix
from icrl.softmax_transformer import softmax_td_weights

CHAPTER = "sec-gm-"
PAPER = "Xie et al. (2026), "


def one_hot_tasks(rng, size, count, discount=0.5):
    """Random dense processes with one-hot features of squared norm 6, every state visited often enough."""
    processes = []
    while len(processes) < count:
        process = mrp.random_mrp(size, discount, rng)
        if process.stationary_distribution().min() > 0.1:
            processes.append(process)
    return TaskDistribution(processes, np.sqrt(6) * np.eye(size))


def random_weights(rng, size, scale=0.3):
    """Gaussian V and A."""
    return [torch.from_numpy(scale * rng.normal(size=(size, size))) for _ in range(2)]


def identity(rng):
    """All windows, no sampling: E[TD error x gradient] against E[(gamma error' - error) x gradient]."""
    errors = []
    for n in (1, 3, 6):
        process = [mrp.random_mrp(2, rng.uniform(0, 0.95), rng)]
        tasks = TaskDistribution(process, rng.normal(size=(2, 2)))
        terms = neu_terms(tasks, tasks.enumerate(n), *random_weights(rng, 5), int(rng.integers(1, 4)))
        errors.append(relative_error(terms.mean(terms.td_updates), terms.mean(terms.error_updates)))
    return Evidence(largest(errors), 1e-11, "2 states, all windows of n = 1, 3, 6, Gaussian V and A")


def inequality(rng):
    """J against (1 + gamma) times the root mean squares of error and gradient; error: relative excess."""
    excess, ratios = [], []
    for at_construction in (True, False):
        tasks = one_hot_tasks(rng, 2, 2, rng.uniform(0.2, 0.9))
        weights = softmax_td_weights(2) if at_construction else random_weights(rng, 5)
        terms = neu_terms(tasks, tasks.enumerate(6), *weights, 3)
        squares = terms.mean(terms.error**2) * terms.mean((terms.gradient**2).sum(axis=(1, 2, 3)))
        ratios.append(
            np.linalg.norm(terms.mean(terms.td_updates)) / ((1 + tasks.discount) * np.sqrt(squares))
        )
        excess.append(max(0.0, ratios[-1] - 1))
    seen = f"all windows of n = 6; J is {ratios[0]:.2f} (construction) and {ratios[1]:.2f} of the bound"
    return Evidence(largest(excess), 1e-12, seen)


def estimators(rng):
    """Paired: mean difference of the two forms in standard errors; then the ratio of their spreads."""
    tasks, own = one_hot_tasks(rng, 3, 8), own_entries(3)
    # Short contexts and few layers: both means are far from 0, so that a wrong form shows.
    terms = neu_terms(tasks, tasks.sample(5, 4000, rng), *softmax_td_weights(3), 2)
    difference = (terms.td_updates - terms.error_updates)[:, own]
    z = np.abs(difference.mean(axis=0)) / (difference.std(axis=0) / np.sqrt(len(difference)))
    terms = neu_terms(tasks, tasks.sample(60, 1200, rng), *softmax_td_weights(3), 6)
    spreads = [x[:, own].var(axis=0).sum() for x in (terms.td_updates, terms.error_updates)]
    factor = np.sqrt(spreads[0] / spreads[1])
    error = float(z.max()) if factor > 2 else np.inf
    seen = f"means at n = 5, L = 2 (4000 windows); spread {factor:.1f} times smaller at n = 60, L = 6 (1200)"
    return Evidence(error, 4.5, seen)


def unbiased(rng):
    """squared_norm on Gaussian draws with a known mean: bias in standard errors, and its interval."""
    mean, size, runs = np.array([0.3, -0.2, 0.1]), 40, 4000
    scale = rng.uniform(0.5, 1.5, 3)
    seen = [squared_norm(mean + scale * rng.normal(size=(size, 3))) for _ in range(runs)]
    estimates, errors = np.array(seen).T
    z = abs(estimates.mean() - mean @ mean) / (estimates.std() / np.sqrt(runs))
    ratio = np.sqrt((errors**2).mean()) / estimates.std()
    error = z if abs(ratio - 1) < 0.1 else np.inf
    return Evidence(float(error), 4.5, f"{runs} samples of 40; claimed / true standard error {ratio:.2f}")


def context_asymptotics(rng):
    """Autograd after 200 layers, and the growth in one more, against the closed forms."""
    errors, found = [], 0
    while found < 5:
        d, gamma, alpha = int(rng.integers(1, 4)), rng.uniform(0.1, 0.8), rng.uniform(0.5, 1)
        process, features = mrp.random_mrp(3, gamma, rng), rng.normal(size=(3, d)) * 1.5
        states = process.sample(12, rng)
        states[-1] = states[rng.integers(12)]
        rewards = process.reward[states[:-1]]
        matrix = iteration_matrix(features, states, gamma, alpha)
        if np.abs(np.linalg.eigvals(matrix)).max() > 0.85:
            continue
        found += 1
        context = features, states, rewards, gamma
        (_, now), (_, then) = (construction_gradient(*context, k, alpha) for k in (200, 201))
        seen, grown = asymptotics(features, states, rewards, gamma, alpha), then - now
        still, rows = [*range(d), d + 2], [*range(d + 1), d + 2]  # columns; rows but the target
        limit_slope = np.zeros_like(grown)
        limit_slope[0, d], limit_slope[1, d + 1] = seen.reward, seen.target_slope
        errors += [relative_error(grown, limit_slope), relative_error(now[0, -1], seen.current)]
        errors.append(relative_error(now[1, d + 1, still], seen.target_limit[still]))
        errors += [np.abs(now[0, d + 1]).max(), np.abs(now[0, :d]).max()]
        errors.append(np.abs(now[1][np.ix_(rows, still)]).max())
    return Evidence(largest(errors), 1e-8, "5 contexts of n = 12, all entries of V and A, L = 200")


def gradient_limit(rng):
    """Closed contexts, which are their own population: every depth, all entries but two columns of A."""
    errors = []
    for _ in range(5):
        d, gamma = int(rng.integers(1, 4)), rng.uniform(0, 0.9)
        process, features = mrp.random_mrp(3, gamma, rng), rng.normal(size=(3, d))
        states = process.sample(20, rng)
        states = np.append(states, states[0])
        rewards = process.reward[states[:-1]]
        visited, empirical = empirical_process(states, rewards, gamma)
        query, still = np.searchsorted(visited, states[-1]), [*range(d), d + 2]
        for depth in (1, 2, 6):
            alpha, tau = rng.uniform(0.3, 1.2), rng.uniform(0.3, 2)
            output, gradient = construction_gradient(features, states, rewards, gamma, depth, alpha, tau)
            seen = limit_gradient(
                features[visited], empirical, depth, step_size=alpha, inverse_temperature=tau
            )
            errors += [abs(output - seen.values[query])]
            errors.append(relative_error(gradient[0], seen.gradients[query, 0]))
            errors.append(relative_error(gradient[1][:, still], seen.gradients[query, 1][:, still]))
    tasks = one_hot_tasks(rng, 3, 2)
    for p, process in zip(tasks.transitions, tasks.processes, strict=True):
        v, mu = process.value(), process.stationary_distribution()
        kernel = mu * np.exp(6 * np.eye(3))
        heard = kernel @ (p @ v**2 - (p @ v) ** 2) / kernel.sum(axis=1)
        now, then = (limit_gradient(tasks.features, process, k).gradients for k in (150, 151))
        slopes = -0.25 * heard[:, None] * np.column_stack([process.reward, 0.5 * p @ v])
        errors.append(relative_error((then - now)[:, 1, 4, 3:5], slopes))
    return Evidence(largest(errors), 1e-10, "5 closed contexts at depths 1, 2, 6; slopes of two tasks")


def balanced_cycle(symbols, order):
    """A cyclic word that holds every word of this length exactly once (a De Bruijn cycle), greedily."""
    word, seen = [0] * (order - 1), set()
    while len(seen) < symbols**order:
        tail = tuple(word[len(word) - order + 1 :])
        step = next(s for s in reversed(range(symbols)) if (*tail, s) not in seen)
        seen.add((*tail, step))
        word.append(step)
    return np.array(word[: symbols**order])


def query_limit(rng):
    """Independent states on a cycle that holds all triples equally often, repeated: n times the error."""
    name = np.array([0, 0, 1, 2])  # four symbols, three states: probabilities 1/2, 1/4, 1/4
    shares = np.array([0.5, 0.25, 0.25])
    process = mrp.MarkovRewardProcess(np.tile(shares, (3, 1)), rng.uniform(-1, 1, 3), 0.6)
    features, cycle, gaps = 1.5 * np.eye(3), name[balanced_cycle(4, 3)], []
    wanted = limit_gradient(features, process, 4).gradients
    for repeats in (4, 16):
        states = np.append(np.tile(cycle, repeats), cycle[0])
        _, gradient = construction_gradient(features, states, process.reward[states[:-1]], 0.6, 4)
        gaps.append(np.abs(gradient - wanted[states[-1]]).max())
    return Evidence(
        abs(4 * gaps[1] / gaps[0] - 1), 0.1, f"gaps {gaps[0]:.0e}, {gaps[1]:.0e} at n = 256, 1024"
    )


def long_contexts(rng):
    """Exact distance of the expected update from its limit, n = 5 and 10: the ratio must fall clearly."""
    tasks = one_hot_tasks(rng, 2, 1)
    limit = limit_update(tasks, 3)
    gaps = []
    for n in (5, 10):
        terms = neu_terms(tasks, tasks.enumerate(n), *softmax_td_weights(2), 3)
        gaps.append(np.linalg.norm(terms.mean(terms.td_updates) - limit))
    return Evidence(gaps[1] / gaps[0], 0.75, f"L = 3, all windows: {gaps[0]:.3f}, then {gaps[1]:.3f}")


def minimizer(rng):
    """The limit of J at two depths: decay a layer, once the factor L is taken out, against contraction."""
    tasks = one_hot_tasks(rng, 3, 6, rng.uniform(0.3, 0.7))
    radius = max(_radius(tasks, process, 1.0) for process in tasks.processes)
    # As deep as float64 sees J: late enough for the slowest task to stand alone.
    many = int(-24 / np.log(radius))
    few = many // 2
    losses = [np.linalg.norm(limit_update(tasks, depth)) for depth in (few, many)]
    rate = (losses[1] / many / (losses[0] / few)) ** (1 / (many - few))
    seen = f"J = {losses[0]:.0e}, {losses[1]:.0e} at L = {few}, {many}; decay {rate:.3f}, rho {radius:.3f}"
    return Evidence(abs(rate / radius - 1), 0.05, seen)


def _radius(tasks, process, step_size):
    matrix = population_iteration_matrix(tasks.features, process, step_size)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def step_sizes(rng):
    """Inside the convergent range J vanishes with depth; beyond it J grows."""
    tasks = one_hot_tasks(rng, 3, 4)
    eigenvalues = [
        1 - np.linalg.eigvals(population_iteration_matrix(tasks.features, p)) for p in tasks.processes
    ]
    end = min((2 * x.real / np.abs(x) ** 2).min() for x in eigenvalues)
    ratios = []
    for alpha in (0.4 * end, 0.6 * end, 0.85 * end, 1.1 * end):
        few, many = (np.linalg.norm(limit_update(tasks, k, step_size=alpha)) for k in (20, 120))
        ratios.append(many / few)
    error = largest(ratios[:3]) if ratios[3] > 100 else np.inf
    return Evidence(error, 1e-2, f"range ends at {end:.2f}; at 1.1 times that, 100 layers make J grow")


def other_order(rng):
    """n = 1, independent states: growth of one entry a layer, all windows, against Var(r) / (1 - gamma)^2."""
    gamma, shares = rng.uniform(0.2, 0.6), rng.dirichlet(np.full(3, 2.0))
    reward = rng.uniform(-1, 1, 3)
    reward -= shares @ reward
    process = mrp.MarkovRewardProcess(np.tile(shares, (3, 1)), reward, gamma)
    tasks = TaskDistribution([process], rng.normal(size=(3, 2)))
    entries = []
    for depth in (120, 121):
        terms = neu_terms(tasks, tasks.enumerate(1), *softmax_td_weights(2), depth)
        entries.append(terms.mean(terms.td_updates)[0, 2, 2])  # V, reward row, reward column
    grown, wanted = entries[0] - entries[1], shares @ reward**2 / (1 - gamma) ** 2
    return Evidence(abs(grown - wanted), 1e-8, f"{grown:.4f} a layer, at L = 120")


def random_parameters(rng):
    """J on the construction's own entries, all windows: 20 random points must lie clearly above."""
    tasks = one_hot_tasks(rng, 2, 2)
    windows, own = tasks.enumerate(6), own_entries(2)
    points = [softmax_td_weights(2), *(random_weights(rng, 5) for _ in range(20))]
    losses = []
    for weights in points:
        terms = neu_terms(tasks, windows, *weights, 4)
        losses.append(np.linalg.norm(terms.mean(terms.td_updates)[own]))
    median = np.median(losses[1:])
    return Evidence(
        max(0.0, 5 - median / losses[0]), 0.0, f"{losses[0]:.3f} against a median of {median:.2f}"
    )


def returns(rng):
    """Means of (G - TF + error) grad TF and of (G - TF)^2 - Var(G) - error^2, in standard errors."""
    tasks = one_hot_tasks(rng, 3, 6)
    windows = tasks.sample(20, 4000, rng)
    terms = neu_terms(tasks, windows, *softmax_td_weights(3), 4)
    residual = tasks.returns(windows, rng) - terms.value
    gamma, identity = tasks.discount, np.eye(3)
    spreads = []  # Var G = gamma^2 (Var of the next value + P Var G), the rewards being functions of states
    for p, v in zip(tasks.transitions, tasks.values, strict=True):
        spreads.append(np.linalg.solve(identity - gamma**2 * p, gamma**2 * (p @ v**2 - (p @ v) ** 2)))
    noise = np.array(spreads)[windows.task, windows.states[:, -2]]
    checks = [residual**2 - noise - terms.error**2]
    gradient = terms.gradient[:, own_entries(3)]
    checks += list(((residual + terms.error)[:, None] * gradient).T)
    z = [abs(x.mean()) / (x.std() / np.sqrt(len(x))) for x in checks]
    return Evidence(largest(z), 4.5, "4000 windows of n = 20, returns of 60 rewards")


def claim(name, source, statement, kind, section, check):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, CHAPTER + section, check)


CLAIMS = Claims(
    claim(
        "neu-identity",
        "ours",
        r"At every $\theta$, $\mathbb E[(R+\gamma\,\mathrm{TF}(Z')-\mathrm{TF}(Z))\nabla\mathrm{TF}(Z)]="
        r"\mathbb E[(\gamma\varepsilon(Z')-\varepsilon(Z))\nabla\mathrm{TF}(Z)]$.",
        "identity",
        "identity",
        identity,
    ),
    claim(
        "neu-cauchy-schwarz",
        "ours",
        r"$J_{L,n}\le(1+\gamma)\,(\mathbb E\varepsilon^2)^{1/2}\,"
        r"(\mathbb E\lVert\nabla\mathrm{TF}\rVert^2)^{1/2}$ on stationary windows.",
        "bound",
        "identity",
        inequality,
    ),
    claim(
        "neu-estimators",
        "ours",
        "Both forms of the expected update have the same mean; at the construction the form with errors "
        "spreads at least 2 times less on contexts of 60.",
        "interval",
        "estimator",
        estimators,
    ),
    claim(
        "neu-unbiased-square",
        "ours",
        r"The pairwise estimate of $J^2$ is unbiased, and its standard error is right within 10%.",
        "interval",
        "estimator",
        unbiased,
    ),
    claim(
        "neu-gradient-asymptotics",
        "ours",
        "At the construction, on a context where the layers converge, the reward row of $V$ and two entries "
        "of $A$ grow linearly; all other entries stay bounded, with the limits of the proposition.",
        "identity",
        "gradient",
        context_asymptotics,
    ),
    claim(
        "neu-gradient-limit",
        "ours",
        "Output and gradient of an endless context follow a recursion over states; closed contexts obey it "
        "at every depth, the reward and target columns of $A$ apart; $A_{tr}$ and $A_{tt}$ grow as stated.",
        "identity",
        "gradient",
        gradient_limit,
    ),
    claim(
        "neu-gradient-limit-query",
        "ours",
        "Where all triples of states occur in their true proportions, the whole gradient is that of an "
        "endless context up to $O(1/n)$.",
        "limit",
        "gradient",
        query_limit,
    ),
    claim(
        "neu-long-contexts",
        "ours",
        "At the construction the expected update tends to that of an endless context.",
        "limit",
        "theorem-3",
        long_contexts,
    ),
    claim(
        "theorem-3",
        "ours, in the spirit of " + PAPER + "Theorem 3",
        r"$\lim_L\lim_nJ_{L,n}(\theta^\star)=0$: on endless contexts $J$ decays like $L\rho^L$, $\rho$ the "
        "largest spectral radius of the tasks.",
        "limit",
        "theorem-3",
        minimizer,
    ),
    claim(
        "neu-step-sizes",
        "ours",
        "In that limit every step size of the convergent range is a minimizer; beyond it $J$ grows.",
        "limit",
        "continuum",
        step_sizes,
    ),
    claim(
        "neu-other-order",
        "ours",
        r"Limits do not commute: for $n=1$, independent states and mean reward 0, $J_{L,1}$ grows like $L$; "
        r"one entry by $\operatorname{Var}(r)/(1-\gamma)^2$ a layer.",
        "identity",
        "order",
        other_order,
    ),
    claim(
        "neu-random-parameters",
        "ours",
        "At random parameters $J$ is at least 5 times larger (median) than at the construction, on its own "
        "entries.",
        "control",
        "breaks",
        random_parameters,
    ),
    claim(
        "neu-returns",
        "ours",
        r"With returns $G$ in place of TD targets, $\mathbb E[(G-\mathrm{TF})\nabla\mathrm{TF}]="
        r"-\mathbb E[\varepsilon\nabla\mathrm{TF}]$ and "
        r"$\mathbb E(G-\mathrm{TF})^2=\mathbb E\operatorname{Var}(G\mid\text{task},S_n)"
        r"+\mathbb E\varepsilon^2$.",
        "interval",
        "returns",
        returns,
    ),
)
