"""Claims of the chapter `divergence`: which chains, and which features, are safe."""

from fractions import Fraction

import numpy as np

from icrl import divergence, mrp, softmax_td
from icrl.claims.divergence import LONG_CYCLES, closed_context, random_process
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.contraction import population_matching

CHAPTER = "sec-dv-"


def safe_chains(rng):
    """P = cI + 1p': the spectrum of B against that of a symmetric matrix, for sources of any kind."""
    errors, negative = [], 0
    for trial in range(200):
        size = int(rng.integers(2, 7))
        draws = rng.multinomial(1000, rng.dirichlet(np.full(size, rng.choice([0.5, 3])))) + 1
        q = [Fraction(int(k), 1000 + size) for k in draws]
        # From the most negative c that leaves the diagonal non-negative to nearly 1.
        lowest = -min(q) / (1 - min(q))
        c = lowest + (1 - lowest) * Fraction(int(rng.integers(0, 100)), 100) * (trial % 3 > 0)
        rows = [[(1 - c) * q[t] + c * (s == t) for t in range(size)] for s in range(size)]
        part = divergence.independent_part(rows)
        if part is None or [str(x) for x in (part[0], *part[1])] != [
            str(x) for x in (c, *((1 - c) * p for p in q))
        ]:
            errors.append(np.inf)
        negative += c < 0
        mu = np.array(q, dtype=float) if trial % 2 else rng.dirichlet(np.ones(size))
        features = rng.normal(size=(size, int(rng.integers(1, 4)))) * rng.uniform(0.2, 1.5)
        gamma = float(rng.uniform(0, 0.99))
        p = np.array(rows, dtype=float)
        operator = population_matching(features, mu) @ (np.eye(size) - gamma * p)
        kernel = np.exp(features @ features.T)
        root = np.sqrt(mu / (kernel @ mu))
        matching = np.linalg.eigvalsh(root[:, None] * kernel * root)  # 1 is the largest
        expected = np.sort(np.append((1 - gamma * float(c)) * matching[:-1], 1 - gamma))
        found = np.linalg.eigvals(operator)
        errors += [relative_error(np.sort(found.real), expected), np.abs(found.imag).max()]
        errors.append(max(0.0, np.abs(1 - found).max() - 1))
    seen = f"200 chains, {negative} with c < 0, half off-policy: spectra, and spectral radii above 1"
    return Evidence(largest(errors) if negative > 20 else np.inf, 1e-7, seen)


def random_rows(rng, size, positive=False):
    """A random chain of hundredths, and random sources."""
    shares = rng.dirichlet(np.full(size, rng.choice([0.3, 2.0])), size=size)
    left = 100 - positive * size
    rows = [[Fraction(int(k) + positive, 100) for k in rng.multinomial(left, row)] for row in shares]
    return rows, [int(k) for k in rng.integers(1, 50, size=size)]


def unsafe_chains(rng):
    """Features that make a chain diverge, for chains of every other kind and discounts from 1/100 on."""
    failures, runs = 0, 0
    while runs < 24:
        rows, sources = random_rows(rng, 3 + runs % 4)
        gamma = (Fraction(1, 100), Fraction(3, 10), Fraction(9, 10), Fraction(99, 100))[runs // 4 % 4]
        if divergence.independent_part(rows) is not None:
            continue
        runs += 1
        chain = divergence.unsafe_features(rows, gamma, sources)
        # The proof must be about this chain, these sources, and distinct features in the plane.
        given = divergence.exact_chain(rows, gamma, [[s] for s in range(len(rows))], 1, sources)
        failures += (chain.transition, chain.discount) != (given.transition, given.discount)
        failures += chain.distribution != given.distribution
        failures += {len(x) for x in chain.features} != {2}
        failures += len({str(x[1]) for x in chain.features}) < len(rows)
        failures += not chain.excess(2048) < 0
    # On-policy, and the smallest departure from independence that hundredths allow.
    near = [["1/2", "1/4", "1/4"], ["1/2", "26/100", "24/100"], ["1/2", "1/4", "1/4"]]
    failures += not divergence.unsafe_features(near, "1/100").excess(2048) < 0
    return Evidence(float(failures), 0.0, "25 chains of 3 to 6 states, ball arithmetic: steps not certified")


def smooth_limit(rng):
    """The trace's excess over its limit, with weights and values of either sign of F."""
    errors, signs = [], set()
    for trial in range(20):
        rows, sources = random_rows(rng, 3 + trial % 3, positive=True)
        w = [Fraction(int(k), 7) for k in rng.integers(1, 60, size=len(rows))]
        y = [Fraction(int(k) * 10 + s, 5) for s, k in enumerate(rng.integers(-9, 9, size=len(rows)))]
        y[-1] = -sum(a * b for a, b in zip(w[:-1], y[:-1], strict=True)) / w[-1]
        gamma = Fraction(int(rng.integers(1, 100)), 100)
        if len(set(y)) < len(y):
            continue
        form = divergence.smooth_form(rows, gamma, w, y)
        chain = divergence.smooth_chain(rows, gamma, w, y, sources if trial % 2 else None, 12)
        after = [sum(p * v for p, v in zip(row, y, strict=True)) for row in rows]
        by_hand = float(sum(a * b * (b - gamma * c) for a, b, c in zip(w, y, after, strict=True)))
        errors.append(abs(float(form.p) / float(form.q) / by_hand - 1))
        step = 2.0**-12 / max(abs(float(v)) for v in y)
        expected = step**2 * by_hand / float(sum(w))
        # F is a difference: compare with the size of its terms.
        size = step**2 * float(sum(a * b * b for a, b in zip(w, y, strict=True)) / sum(w))
        errors.append(abs(float(chain.excess(1024).mid()) - expected) / size)
        signs.add(form > 0)
    return Evidence(largest(errors), 1e-3, f"20 chains at the smoothness 2^-12; signs of F {sorted(signs)}")


def one_hot(rng):
    """One-hot features on chains and closed contexts: radius against bound, which a lazy chain attains."""
    excess = []
    for trial in range(300):
        process = random_process(rng, int(rng.integers(2, 8)))[1]
        tau = float(10 ** rng.uniform(-1, 0.9))
        features = np.sqrt(tau) * np.eye(process.num_states)
        if trial % 2:
            states = closed_context(rng, process)
            mu = np.bincount(states[:-1]) / (len(states) - 1)
            matrix = softmax_td.iteration_matrix(features, states, process.discount)
        else:
            mu = process.stationary_distribution()
            matrix = np.eye(len(mu)) - divergence.population_operator(features, process)
        radius = np.abs(np.linalg.eigvals(matrix)).max()
        excess.append(radius - divergence.one_hot_radius(mu, tau, process.discount))
    lazy = mrp.MarkovRewardProcess((1 - 1e-6) * np.eye(3) + 1e-6 / 3, np.zeros(3), 0.9)
    matrix = np.eye(3) - divergence.population_operator(np.sqrt(2) * np.eye(3), lazy)
    attained = np.abs(np.linalg.eigvals(matrix)).max() - divergence.one_hot_radius(
        np.full(3, 1 / 3), 2.0, 0.9
    )
    excess.append(abs(attained) / 100)  # within 1e-6 of it
    return Evidence(max(0.0, largest(excess)), 1e-7, "300 chains and closed contexts, and a lazy chain at it")


def one_hot_off_policy(_):
    """The certified chain is the one of the book, written out, and it is unstable."""
    chain = divergence.four_states_off_policy()
    sources, moves = np.array([1, 162_755, 227, 2]), np.eye(4)[[3, 0, 2, 2]]
    matching = population_matching(np.sqrt(6.6) * np.eye(4), sources / sources.sum())
    operator = matching @ (np.eye(4) - 0.99 * moves)
    certified = np.array(chain.operator().tolist(), dtype=float)
    failures = chain.converges() + (not np.allclose(certified, operator, rtol=0, atol=1e-12))
    return Evidence(float(failures), 0.0, "ball arithmetic, exact input: steps not certified")


def one_hot_traces(rng):
    """tr(MP) <= tr M for one-hot features and any sources; three states are then stable."""
    excess = []
    for trial in range(300):
        process = random_process(rng, 3 + trial % 4)[1]
        size, mu = process.num_states, rng.dirichlet(np.full(process.num_states, 0.3)) + 1e-9
        matching = population_matching(np.sqrt(rng.uniform(0.1, 8)) * np.eye(size), mu / mu.sum())
        excess.append(np.trace(matching @ process.transition) - np.trace(matching))
        if size == 3:
            operator = matching @ (np.eye(3) - process.discount * process.transition)
            excess.append(-np.linalg.eigvals(operator).real.min())
    return Evidence(max(0.0, largest(excess)), 1e-9, "300 chains, sources off-policy; largest excess")


def small_features(rng):
    """Features scaled to the limit: the quotient of the normalisers, and the real parts."""
    excess = []
    for trial in range(200):
        features, process = random_process(rng, int(rng.integers(2, 7)))
        gamma = float(rng.uniform(0.05, 0.99))
        if trial == 0:  # two states on a line, one of them nearly always: q attains exp(XD)
            features = np.array([[1.0], [-1.0]])
            process = mrp.MarkovRewardProcess(np.array([[1 - 1e-9, 1e-9], [1, 0]]), np.zeros(2), gamma)
        process = mrp.MarkovRewardProcess(process.transition, process.reward, gamma)
        spread = np.linalg.norm(features, axis=1).max()
        spread *= np.linalg.norm(features[:, None] - features, axis=2).max()
        features = features * np.sqrt(divergence.safe_spread(gamma) / spread)
        z = np.exp(features @ features.T) @ process.stationary_distribution()
        root = np.sqrt(z.max() / z.min())
        mean = gamma * (root + 1 / root) / 2
        excess.append(mean - 1 if trial else abs(mean - 1))
        excess.append(-np.linalg.eigvals(divergence.population_operator(features, process)).real.min())
    return Evidence(max(0.0, largest(excess)), 1e-6, "200 chains at the limit, one that attains it")


LIMIT = 1.0
"""What the inflow condition must not exceed; long cycles object as soon as it is raised."""


def inflow_sharp(_):
    """Long cycles certified unstable that miss the condition by as little as promised."""
    failures = 0
    for (discount, root, length), top in zip(LONG_CYCLES, (1.2, 1.2, 1.05), strict=True):
        chain = divergence.long_cycle(discount, root, length)
        failures += not chain.excess(2048) < 0
        failures += not LIMIT < chain.inflow_condition(1024) < top
        stationary = divergence.exact_chain(
            chain.transition.tolist(), discount, [[s] for s in range(len(chain.distribution))]
        )
        failures += chain.distribution != stationary.distribution
    return Evidence(float(failures), 0.0, "15, 15 and 47 states; ball arithmetic: steps not certified")


def _claim(name, statement, kind, section, check):
    return Claim(name, "ours", statement, kind, CHAPTER + section, check)


CLAIMS = Claims(
    _claim(
        "safe-chains",
        r"On chains $P=cI+\mathbf 1p^\top$ the eigenvalues of $B$ are $1-\gamma$, $(1-\gamma c)\lambda_M$: "
        r"$\alpha=1$ converges whatever the features, if distinct, and the sources.",
        "identity",
        "smooth",
        safe_chains,
    ),
    _claim(
        "unsafe-chains",
        "On every other chain, at every positive discount, some features in the plane diverge for every "
        "step size.",
        "proof",
        "smooth",
        unsafe_chains,
    ),
    _claim(
        "smooth-limit",
        r"In the smooth limit $\mathrm{tr}\,B-(1-\gamma)$ is $\varepsilon^2F/\sum w$ with "
        r"$F=\sum_s w_sy_s(y-\gamma Py)_s$.",
        "limit",
        "smooth",
        smooth_limit,
    ),
    _claim(
        "one-hot-on-policy",
        r"One-hot features $\sqrt\tau e_s$ converge on-policy at $\alpha=1$, with spectral radius at most "
        r"$1-(1-\gamma)E\mu_{\min}/(1+E\mu_{\min})$, $E=e^\tau-1$.",
        "bound",
        "onehot",
        one_hot,
    ),
    _claim(
        "one-hot-three-states",
        r"With one-hot features $\mathrm{tr}(MP)\le\mathrm{tr}\,M$ for all sources: three states are safe "
        "off-policy.",
        "bound",
        "onehot",
        one_hot_traces,
    ),
    _claim(
        "one-hot-off-policy",
        "Four states with one-hot features can diverge off-policy, for every step size.",
        "proof",
        "onehot",
        one_hot_off_policy,
    ),
    _claim(
        "small-features",
        "On-policy, with distinct features, small step sizes converge if "
        r"$\max\lVert x\rVert\max\lVert x-x'\rVert\le2\,\mathrm{arcosh}(1/\gamma)$.",
        "bound",
        "normaliser-proof",
        small_features,
    ),
    _claim(
        "inflow-condition-sharp",
        r"The 1 in $\gamma^2\max_t(\nu^\top P)(t)/\nu(t)\le1$ cannot be raised: cycles beyond it diverge.",
        "proof",
        "sharp",
        inflow_sharp,
    ),
)
