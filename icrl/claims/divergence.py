"""Claims of the chapter `divergence`."""

import numpy as np
from scipy.stats import binomtest

from icrl import mrp, softmax_td
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.contraction import population_matching
from icrl.divergence import exact_chains, operators, search, smooth_limit
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

CHAPTER = "sec-dv-"


def random_process(rng, num_states, equal_norms=False):
    """One random chain of the search: features, process."""
    features, transition, discount = search.random_chains(1, num_states, rng, equal_norms=equal_norms)
    transition = transition[0] / transition[0].sum(axis=1, keepdims=True)
    return features[0], mrp.MarkovRewardProcess(transition, rng.normal(size=num_states), discount[0])


def closed_context(rng, process, transitions=40):
    """A trajectory that leaves every state and ends where it began."""
    states = process.sample(transitions, rng)
    states = np.concatenate([states, rng.permutation(process.num_states)])
    return np.append(states, states[0])


def two_states(rng):
    """The second eigenvalue in closed form against the operator's, and that it lies in (0, 2)."""
    errors = []
    for trial in range(200):
        features, process = random_process(rng, 2)
        mu = process.stationary_distribution()
        if trial % 2:  # a context, closed or not
            states = process.sample(int(rng.integers(1, 12)), rng)
            states = np.append(states, [0, 1, rng.integers(2)])
            matrix = softmax_td.iteration_matrix(features, states, process.discount)
            mu = np.bincount(states[:-1]) / (len(states) - 1)
            _, seen = softmax_td.empirical_process(states, np.zeros(len(states) - 1), 0.5)
            transition = seen.transition
        else:
            matrix = np.eye(2) - operators.population_operator(features, process)
            transition = process.transition
        a, b = features  # det M from the normalisers, with the common factors cancelled by hand
        gap = np.exp(-((a - b) @ (a - b)))
        near = mu[0] + mu[1] * np.exp(a @ b - a @ a), mu[1] + mu[0] * np.exp(a @ b - b @ b)
        second = mu[0] * mu[1] * (1 - gap) / (near[0] * near[1])
        second *= 1 - process.discount * (np.trace(transition) - 1)
        expected = sorted([process.discount, 1 - second])
        errors.append(relative_error(np.sort(np.linalg.eigvals(matrix).real), expected))
        if not 0 < second < 2 or np.abs(np.linalg.eigvals(matrix)).max() >= 1:
            errors.append(np.inf)
    return Evidence(largest(errors), 1e-9, "200 chains and contexts; every spectral radius below 1")


def step_range(rng):
    """Runs of the recursion just below and above the largest step size, and where there is none."""
    trap, trap_features = mrp.divergent_mrp()
    wrong, stable, unstable = 0, 0, 0
    while stable < 40 or unstable < 20:
        features, process = random_process(rng, int(rng.integers(2, 6)))
        if stable >= 40:  # near the example: mostly divergent
            transition = 0.95 * trap.transition + 0.05 * mrp.random_mrp(3, 0.9, rng).transition
            process = mrp.MarkovRewardProcess(transition, trap.reward, trap.discount)
            features = trap_features * rng.uniform(0.8, 1) + 0.1 * rng.normal(size=(3, 1))
        operator = operators.population_operator(features, process)
        least, limit = np.linalg.eigvals(operator).real.min(), operators.largest_step_size(operator)
        if stable < 40 and least > 1e-3:
            stable, steps = stable + 1, {0.98 * limit: True, 1.02 * limit: False}
        elif stable >= 40 and least < -1e-2:
            unstable, wrong, steps = unstable + 1, wrong + (limit != 0), {0.01: False, 1.0: False}
        else:
            continue
        for alpha, settles in steps.items():
            with np.errstate(all="ignore"):  # an overflow is a divergence, too
                power = np.linalg.matrix_power(np.eye(len(operator)) - alpha * operator, 2**17)
            size = np.abs(power).max()
            wrong += not (size < 1e-9 if settles else not size < 1e3)
    return Evidence(float(wrong), 0.0, "40 chains at 0.98 and 1.02 of the limit, 20 without: wrong ones")


def three_states_iff(rng):
    """The sign of the trace criterion against the eigenvalues, for any source weights; critical discount."""
    trap, trap_features = mrp.divergent_mrp()
    wrong, unstable, runs = 0, 0, 300
    for trial in range(runs):
        features, process = random_process(rng, 3)
        if trial % 2:  # near the example, so that both verdicts occur often
            transition = 0.9 * trap.transition + 0.1 * process.transition
            process = mrp.MarkovRewardProcess(transition, process.reward, process.discount)
            features = trap_features * rng.uniform(0.4, 1.1) + 0.2 * rng.normal(size=(3, 1))
        operator = operators.population_operator(features, process)
        real = np.linalg.eigvals(operator).real.min()
        if abs(real) > 1e-9:
            unstable += real < 0
            wrong += (real < 0) != (np.trace(operator) < 1 - process.discount)
            wrong += (real < 0) != (process.discount > operators.critical_discount(features, process))
    # With one verdict only, the comparison would be blind.
    error = float(wrong) if 30 < unstable < runs - 30 else np.inf
    return Evidence(error, 0.0, f"{runs} chains, {unstable} of them unstable: disagreements")


def proof(chain, converges, order=None):
    """A proof by ball arithmetic; the error counts what could not be certified."""

    def check(_):
        exact = chain()
        failures = int(exact.converges() != converges)
        if order is not None:
            failures += not exact.symmetric_functions(512)[order - 1] < 0
        # The exact operator must be that of the package, or the proof is about something else.
        process, features = exact.floats()
        operator = operators.population_operator(features, process)
        failures += not np.allclose(np.array(exact.operator().tolist(), dtype=float), operator, atol=1e-7)
        return Evidence(float(failures), 0.0, "ball arithmetic, exact input: steps not certified")

    return check


def temperature(_):
    """The three states at inverse temperature 2/5 and 1/2."""
    chain = exact_chains.three_states()
    verdicts = [chain.at(inverse_temperature=tau).converges() for tau in ("2/5", "1/2")]
    return Evidence(float(verdicts != [True, False]), 0.0, "ball arithmetic at 0.4 and 0.5")


EXTREMAL = {
    "99/100": ("29/25", "28/25"),
    "9/10": ("8/5", "31/20"),
    "1/2": ("15/4", "37/10"),
    "1/10": ("20", "39/2"),
}
LONG_CYCLES = (("1/2", "219089/100000", 14), ("9/10", "121716/100000", 14), ("9/10", "113855/100000", 46))
"""Discount, root, length: unstable chains that miss the inflow condition by a fifth and by a twentieth."""
LIMIT = 1
"""What the conditions must not exceed; the extremal chains object as soon as it is raised."""


def tight(_):
    """For each discount a chain certified unstable that misses the condition by less than a hundredth."""
    failures = 0
    for discount, (root, _) in EXTREMAL.items():
        chain = exact_chains.tight_chain(discount, root)
        failures += chain.converges() + (not chain.symmetric_functions(512)[0] < 0)
        failures += not LIMIT < chain.mean_condition(512) < LIMIT + exact_chains.fmpq(1, 100)
    return Evidence(float(failures), 0.0, "four discounts; ball arithmetic: steps not certified")


def equal_norms_three(rng):
    """Three states on one sphere: the lower bound of the trace, on-policy and on closed contexts."""
    lacks = []
    for trial in range(200):
        features, process = random_process(rng, 3, equal_norms=True)
        mu, transition, gamma = process.stationary_distribution(), process.transition, process.discount
        if trial % 2:
            states = closed_context(rng, process)
            mu = np.bincount(states[:-1]) / (len(states) - 1)
            operator = np.eye(3) - softmax_td.iteration_matrix(features, states, gamma)
        else:
            operator = operators.population_operator(features, process)
            np.testing.assert_allclose(mu @ transition, mu, atol=1e-10)
        distance = ((features[:, None] - features) ** 2).sum(axis=-1)
        bound = (1 - gamma) * (mu / (np.exp(-distance / 2) @ mu)).sum()
        lacks.append((bound - np.trace(operator)) / (1 - gamma))
        if np.linalg.eigvals(operator).real.min() < -1e-9:
            lacks.append(np.inf)
    return Evidence(
        float(np.maximum(0, largest(lacks))), 1e-7, "200 chains and closed contexts: lacking from the bound"
    )


def normaliser_condition(rng):
    """Where the condition holds, all real parts are positive, on chains and on contexts of any kind."""
    holding, lacks = 0, []
    while holding < 200:
        features, process = random_process(rng, int(rng.integers(2, 7)))
        discount = float(rng.uniform(0, 0.7))  # smaller than in the search: the condition holds more often
        process = mrp.MarkovRewardProcess(process.transition, process.reward, discount)
        coarse, sharp = operators.normaliser_condition(features, process)
        mu, transition = process.stationary_distribution(), process.transition
        operator = operators.population_operator(features, process)
        if rng.random() < 0.5:
            states = process.sample(30, rng)
            states = np.concatenate([states, rng.permutation(process.num_states), [states[3]]])
            mu = np.bincount(states[:-1]) / (len(states) - 1)
            _, seen = softmax_td.empirical_process(states, np.zeros(len(states) - 1), discount)
            transition, coarse = seen.transition, np.inf
            sharp = sharp_condition(features, mu, transition, discount)
            operator = np.eye(len(mu)) - softmax_td.iteration_matrix(features, states, discount)
        else:  # the package against the formula as it stands
            lacks.append(abs(sharp / sharp_condition(features, mu, transition, discount) - 1))
            lacks.append(sharp / coarse - 1)
        if sharp <= LIMIT:
            holding += 1
            lacks.append(-np.linalg.eigvals(operator).real.min())
    # Random chains do not come near the limit: long cycles do, and they are unstable.
    for discount, root, length in LONG_CYCLES:
        chain = smooth_limit.long_cycle(discount, root, length)
        if chain.inflow_condition(1024) < LIMIT and chain.excess(2048) < 0:
            lacks.append(np.inf)
    seen = "200 chains and contexts that satisfy it: negative real parts; certified cycles"
    return Evidence(float(np.maximum(0, largest(lacks))), 1e-8, seen)


def mean_condition(rng):
    """The on-policy form with both ends of Z, where it promises what the first condition does not."""
    real_parts = []
    while len(real_parts) < 100:
        features, process = random_process(rng, int(rng.integers(2, 7)))
        discount = float(rng.uniform(0.3, 0.95))
        process = mrp.MarkovRewardProcess(process.transition, process.reward, discount)
        mu = process.stationary_distribution()
        # Shrunk until the quotient of the normalisers is drawn from where the condition holds.
        gram = features @ features.T
        scales = np.geomspace(1e-3, 1, 60) ** 2
        z = np.exp(scales[:, None, None] * gram) @ mu
        roots = np.sqrt(z.max(axis=1) / z.min(axis=1))
        holds = discount * (roots + 1 / roots) / 2 < 1
        scale = np.sqrt(scales[holds].max())
        if operators.normaliser_condition(scale * features, process)[1] >= 1:
            operator = operators.population_operator(scale * features, process)
            real_parts.append(np.linalg.eigvals(operator).real.min())
    # Random chains do not come near the limit: extremal ones do, on both sides of it.
    extremal = [exact_chains.tight_chain(gamma, b) for gamma, roots in EXTREMAL.items() for b in roots]
    safe = [chain for chain in extremal if chain.mean_condition(512) < LIMIT]
    if not safe or not all(chain.converges() for chain in safe):
        real_parts.append(-np.inf)
    return Evidence(
        float(max(0.0, -min(real_parts))),
        1e-8,
        "100 chains where the first condition is silent: negative real parts; extremal chains, certified",
    )


def sharp_condition(features, mu, transition, discount):
    """gamma^2 max_t (nu P)(t) / nu(t), written out."""
    normalisers = [sum(m * np.exp(x @ y) for m, y in zip(mu, features, strict=True)) for x in features]
    nu = mu * np.array(normalisers)
    return discount**2 * max(nu @ transition / nu)


def no_normalisation(rng):
    """The bare exponential kernel: spectra on random chains, and the loop over transitions on contexts."""
    errors = []
    for _ in range(200):
        features, process = random_process(rng, int(rng.integers(2, 7)))
        eigenvalues = np.linalg.eigvals(operators.unnormalised_operator(features, process))
        errors.append(-eigenvalues.real.min() / np.abs(eigenvalues).max())
    process, features = mrp.divergent_mrp()
    for _ in range(10):
        states = closed_context(rng, process)
        rewards = rng.normal(size=len(states) - 1)
        x = rng.uniform(0.1, 0.4) * features
        _, seen = softmax_td.empirical_process(states, rewards, process.discount)
        operator = operators.unnormalised_operator(x, seen)
        step = 0.9 * operators.largest_step_size(operator)
        if not step:
            return Evidence(np.inf, 1e-8, "a context for which no step size converges")
        kernel = np.exp(x[states[:-1]] @ x.T) / len(rewards)
        run = softmax_td.kernel_td(kernel, states, rewards, process.discount, 100, step)
        left = np.linalg.matrix_power(np.eye(3) - step * operator, 100) @ seen.value()
        errors.append(relative_error(run[-1], (seen.value() - left)[states]))
    return Evidence(
        float(np.maximum(0, largest(errors))), 1e-8, "200 chains: negative real parts; ten contexts: loop"
    )


def sampled(rng):
    """The transformer itself on sampled trajectories; what is lacking from a clear divergence of most."""
    process, features = mrp.divergent_mrp()
    states = mrp.sample_batch(np.repeat(process.transition[None], 100, axis=0), 300, rng)
    rewards = process.reward[states[:, :-1]]
    prompt = softmax_td_prompt(np.repeat(features[None], 100, axis=0), states, rewards)
    model = SoftmaxTransformer(30, process.discount, *softmax_td_weights(1))
    size = model.values(prompt)[-1].abs().amax(dim=-1).numpy()
    tables = [
        np.abs(softmax_td.tabular_td(s, r, 3, process.discount, 30)[-1]).max()
        for s, r in zip(states, rewards, strict=True)
    ]
    blown = int((size > 100 * np.array(tables)).sum())
    low, high = binomtest(blown, 100).proportion_ci(0.95, "exact")
    seen = f"{blown} of 100 trajectories of 300, 95% interval {low:.3f} to {high:.3f}; asked: low end 0.9"
    return Evidence(max(0.0, 0.9 - low), 0.0, seen)


def reweighting(rng):
    """Matching under inner products against Gaussian weights with reweighted sources, written out."""
    errors = []
    for _ in range(200):
        features, process = random_process(rng, int(rng.integers(2, 7)))
        mu = process.stationary_distribution()
        distance = ((features[:, None] - features) ** 2).sum(axis=-1)
        loud = np.log(mu) + (features**2).sum(axis=-1) / 2
        weights = np.exp(loud - distance / 2 - (loud - distance / 2).max(axis=1, keepdims=True))
        expected = weights / weights.sum(axis=1, keepdims=True)
        errors.append(relative_error(population_matching(features, mu), expected))
    return Evidence(largest(errors), 1e-11, "200 chains")


def _claim(name, statement, kind, section, check):
    return Claim(name, "ours", statement, kind, CHAPTER + section, check)


CLAIMS = Claims(
    _claim(
        "step-size-range",
        r"With distinct features softmax TD converges from every start for step size $\alpha$ iff all "
        r"eigenvalues $\lambda$ of $B=M(I-\gamma P)$ have positive real part and "
        r"$\alpha < \min 2\,\mathrm{Re}\,\lambda/\lvert\lambda\rvert^2$.",
        "bound",
        "stability",
        step_range,
    ),
    _claim(
        "two-states",
        r"With two states of distinct features and $\alpha=1$ softmax TD always converges, on contexts too.",
        "identity",
        "two",
        two_states,
    ),
    _claim(
        "three-states-criterion",
        r"With three states of distinct features some step size converges iff $\mathrm{tr}\,B>1-\gamma$.",
        "bound",
        "three",
        three_states_iff,
    ),
    _claim(
        "three-states-diverge",
        "An on-policy chain of three states diverges for every step size.",
        "proof",
        "three",
        proof(exact_chains.three_states, False, order=1),
    ),
    _claim(
        "divergence-temperature",
        r"The three states converge for small steps at $\tau=0.4$ and for none at $\tau=0.5$.",
        "proof",
        "phase",
        temperature,
    ),
    _claim(
        "sampled-divergence",
        "The transformer diverges on trajectories sampled from that chain, where tabular TD does not.",
        "control",
        "sampled",
        sampled,
    ),
    _claim(
        "loudness",
        r"Inner-product attention is Gaussian attention whose sources are reweighted by $e^{\|x\|^2/2}$.",
        "identity",
        "loudness",
        reweighting,
    ),
    _claim(
        "equal-norms-three",
        r"On-policy, three states with distinct features of equal norm have $\mathrm{tr}\,B>1-\gamma$: small "
        "step sizes converge.",
        "bound",
        "norms",
        equal_norms_three,
    ),
    _claim(
        "equal-norms-rescue",
        "The three states with a coordinate appended that equalises the norms converge.",
        "proof",
        "norms",
        proof(exact_chains.three_states_equal_norms, True),
    ),
    _claim(
        "equal-norms-four",
        "Four states with features of equal norm can diverge on-policy, for every step size.",
        "proof",
        "norms",
        proof(exact_chains.four_states_equal_norms, False, order=2),
    ),
    _claim(
        "equal-norms-five",
        "Five states with features of equal norm can diverge on-policy, for every step size, with integer "
        r"features and $\gamma=0.9$.",
        "proof",
        "norms",
        proof(exact_chains.five_states_equal_norms, False, order=3),
    ),
    _claim(
        "normaliser-condition",
        r"If $\gamma^2\max_t(\nu^\top P)(t)/\nu(t)\le1$ with $\nu=\mu Z$, and features are distinct, small "
        "step sizes converge.",
        "bound",
        "normaliser-proof",
        normaliser_condition,
    ),
    _claim(
        "normaliser-condition-mean",
        r"On-policy, with distinct features, small step sizes converge if "
        r"$\gamma\cdot\frac12(\sqrt q+1/\sqrt q)\le1$, where $q=\max Z/\min Z$.",
        "bound",
        "normaliser-proof",
        mean_condition,
    ),
    _claim(
        "normaliser-condition-sharp",
        r"On-policy, the 1 in $\gamma\cdot\frac12(\sqrt q+1/\sqrt q)\le1$, $q=\max Z/\min Z$, cannot be "
        "raised: at discounts 0.1 to 0.99 chains just beyond it diverge for every step size.",
        "proof",
        "sharp",
        tight,
    ),
    _claim(
        "no-normalisation",
        "With distinct features, the exponential kernel without the normalisation of the softmax converges "
        "on-policy for small enough steps.",
        "bound",
        "bare",
        no_normalisation,
    ),
)
