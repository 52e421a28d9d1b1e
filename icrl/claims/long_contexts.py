"""Claims of the chapter `global-minimizer`: endless contexts, many layers, and depth against length."""

import numpy as np

from icrl import mrp
from icrl.claims.global_minimizer import PAPER, claim, frequent_states, one_hot_tasks
from icrl.claims.registry import Claims, Evidence, largest, relative_error
from icrl.contraction import population_iteration_matrix
from icrl.neu.endless import endless_pass
from icrl.neu.joint import joint_slope, moments_by_counts, pair_entries
from icrl.neu.limits import limit_gradient, limit_update
from icrl.neu.loss import TaskDistribution, construction_gradient, neu_terms
from icrl.softmax_td import empirical_process
from icrl.softmax_transformer import softmax_td_weights


def literal_update(tasks, depth, *, step_size=1.0, inverse_temperature=1.0):
    """The expected update of an endless context: a literal pass, and every pair (query, next) by its law."""
    total = 0.0
    for process in tasks.processes:
        P = process.transition
        mu = np.linalg.matrix_power((P + np.eye(len(P))) / 2, 2**12)[0]  # by walking, not by solving
        options = {"step_size": step_size, "inverse_temperature": inverse_temperature}
        seen = endless_pass(tasks.features, process, depth, **options)
        for s, after in np.ndindex(P.shape):
            error = process.reward[s] + process.discount * seen.values[after] - seen.values[s]
            total = total + mu[s] * P[s, after] * error * seen.gradients[s]
    return total / len(tasks.processes)


def endless(rng):
    """The recursion over states against a pass of the transformer over all stretches of states, and autograd.

    Values, TD errors and every entry of the gradient, at every depth; then the expected update.
    """
    errors, depths = [], {2: (1, 2, 3, 6), 3: (1, 2, 4)}
    for size, deep in depths.items():
        for depth in deep:
            process, features = mrp.random_mrp(size, rng.uniform(0.2, 0.95), rng), rng.normal(size=(size, 2))
            options = {"step_size": rng.uniform(0.3, 1.2), "inverse_temperature": rng.uniform(0.3, 2)}
            pairs = zip(
                limit_gradient(features, process, depth, **options),
                endless_pass(features, process, depth, **options),
                strict=True,
            )
            errors += [relative_error(*pair) for pair in pairs]
        gamma = rng.uniform(0.2, 0.95)
        tasks = TaskDistribution([mrp.random_mrp(size, gamma, rng) for _ in range(3)], features)
        for depth in deep[:3]:
            both = (update(tasks, depth, **options) for update in (limit_update, literal_update))
            errors.append(relative_error(*both))
    return Evidence(largest(errors), 1e-10, "7 processes, 2 or 3 states, up to 6 layers; 6 expected updates")


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
    """Exact expected updates at n = 32 and 64, extrapolated as if the rest were of order 1/n, and limit."""
    errors, pairs = [], pair_entries(2)
    for _ in range(3):
        process, features = frequent_states(rng, rng.uniform(0.3, 0.7)), np.sqrt(6) * np.eye(2)
        limit = limit_update(TaskDistribution([process], features), 3)[pairs]
        short, long = (moments_by_counts(process, features, n, [3]).update[0][pairs] for n in (32, 64))
        short, long = short - limit, long - limit
        errors.append(np.linalg.norm(2 * long - short) / np.linalg.norm(short))
    return Evidence(largest(errors), 0.1, "3 chains of two states, L = 3: what is left of the distance")


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
    return Evidence(abs(rate / radius - 1) if _as_literal(tasks) else np.inf, 0.05, seen)


def _as_literal(tasks, **options):
    """Whether the limit of the update is, at three layers, that of the transformer on an endless context."""
    return relative_error(limit_update(tasks, 3, **options), literal_update(tasks, 3, **options)) < 1e-10


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
    ratios, right = [], True
    for alpha in (0.4 * end, 0.6 * end, 0.85 * end, 1.1 * end):
        right &= _as_literal(tasks, step_size=alpha)
        few, many = (np.linalg.norm(limit_update(tasks, k, step_size=alpha)) for k in (20, 120))
        ratios.append(many / few)
    error = largest(ratios[:3]) if ratios[3] > 100 and right else np.inf
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


def joint(rng):
    """Exact growth of the update in one more layer, times n, at two lengths; extrapolated, against c."""
    errors, features = [], np.sqrt(6) * np.eye(2)
    for _ in range(3):
        process = frequent_states(rng, rng.uniform(0.3, 0.6))
        slopes = []
        for n in (36, 72):
            now, then = moments_by_counts(process, features, n, [n, n + 1]).update
            slopes.append(n * (then - now)[0, 2])  # the reward row of V
        wanted = joint_slope(process, features)
        errors.append(np.linalg.norm(2 * slopes[1] - slopes[0] - wanted) / np.linalg.norm(wanted))
    return Evidence(largest(errors), 0.05, "3 chains of two states, n = L = 36 and 72")


def joint_limit(rng):
    """J times n / L where depth grows with length, over the size of c: it must settle at 1."""
    process, features = frequent_states(rng, rng.uniform(0.3, 0.6)), np.sqrt(6) * np.eye(2)
    size, ratios = np.linalg.norm(joint_slope(process, features)), []
    for n in (64, 128):
        loss = np.linalg.norm(moments_by_counts(process, features, n, [n // 2]).update)
        ratios.append(loss * n / (n // 2) / size)
    error = abs(2 * ratios[1] - ratios[0] - 1)
    return Evidence(error, 0.02, f"n = 64, 128 and L = n / 2: {ratios[0]:.3f}, {ratios[1]:.3f}")


CLAIMS = Claims(
    claim(
        "neu-endless-context",
        "ours",
        r"The recursion for $v_L$, $y_L$ and $J_{L,\infty}$ is the transformer on an endless context: "
        "values, every entry of the gradient and the expected update, at every depth.",
        "identity",
        "tangents",
        endless,
    ),
    claim(
        "neu-gradient-limit",
        "ours",
        "Output and gradient of an endless context follow a recursion over states; closed contexts obey it "
        "at every depth, the reward and target columns of $A$ apart; $A_{tr}$ and $A_{tt}$ grow as stated.",
        "identity",
        "tangents",
        gradient_limit,
    ),
    claim(
        "neu-gradient-limit-query",
        "ours",
        "Where all triples of states occur in their true proportions, the whole gradient is that of an "
        "endless context up to $O(1/n)$.",
        "limit",
        "tangents",
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
        r"$\lim_L\lim_nJ_{L,n}(\theta^\star)=0$: on endless contexts $J=O(L\kappa^L)$ for every $\kappa$ "
        r"above $\rho$, the largest spectral radius of the tasks; on random tasks it decays like $L\rho^L$.",
        "limit",
        "theorem-3",
        minimizer,
    ),
    claim(
        "neu-step-sizes",
        "ours",
        "On endless contexts $J$ vanishes with depth at every step size of the convergent range; beyond it, "
        "for nearly all rewards, $J$ grows.",
        "limit",
        "continuum",
        step_sizes,
    ),
    claim(
        "neu-other-order",
        "ours",
        r"Layers first, $n=1$: for independent states and mean reward 0, $J_{L,1}$ grows like $L$; "
        r"one entry by $\operatorname{Var}(r)/(1-\gamma)^2$ a layer.",
        "identity",
        "order-proof",
        other_order,
    ),
    claim(
        "neu-joint-slope",
        "ours",
        r"Where depth and length grow together, one more layer adds $c/n$ to the reward row of the expected "
        "update, with $c$ from the first two moments of the frequencies of pairs.",
        "limit",
        "joint-proof",
        joint,
    ),
    claim(
        "neu-joint-limit",
        "ours",
        r"$J_{L,n}=(\lVert c\rVert+o(1))\,L/n$ where $L\to\infty$, $n\kappa^L\to0$ and $n\ge c_3(L+1)$, on "
        "aperiodic chains: contexts must be long for the depth.",
        "limit",
        "joint-proof",
        joint_limit,
    ),
)
