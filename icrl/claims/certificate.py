"""Claims about the certificate of the chapter `contraction`."""

import numpy as np

from icrl import contraction, mrp
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error, upper_end
from icrl.constructions.certified_runs import by_counts, certified_run, random_task, rare_fork


def certified(rng):
    """Fresh certificates against the truth; one is wrong if any of its statements is."""
    runs = [run for run in (certified_run(rng) for _ in range(200)) if run]
    failures = sum(not holds for _, _, holds, _ in runs)
    seen = f"{failures} of {len(runs)} are wrong; error: 95 % upper end"
    return Evidence(upper_end(failures, 200), 0.1, seen)


def formula(rng):
    """Every field from counts, the inverse as a series, on contexts up to 20 000 long, off all defaults."""
    errors, runs = [], 0
    while runs < 100:
        process, features = random_task(rng)
        states = process.sample(int(np.exp(rng.uniform(np.log(10), np.log(20_000)))), rng)
        if states[-1] not in states[:-1]:
            continue
        gamma, reward, n, runs = process.discount, process.reward, len(states) - 1, runs + 1
        limits = (reward.min() - rng.random(), reward.max() + rng.random())
        layers, delta, alpha = (
            int(rng.integers(6)),
            float(rng.uniform(0.01, 0.5)),
            float(rng.uniform(0.3, 1.5)),
        )
        seen = contraction.certificate(
            features, states, reward[states[:-1]], gamma, limits, layers, delta, step_size=alpha
        )
        visited, counts, transition, matching = by_counts(features, states, process)
        inside = gamma * transition[:, visited]
        width = (limits[1] - limits[0]) / (1 - gamma)
        noise = width * np.sqrt(np.log(2 * process.num_states * n / delta) / (2 * counts))
        radius = np.minimum(gamma * neumann(inside, noise), width)
        value = neumann(inside, reward[visited])
        matrix = np.eye(len(visited)) - alpha * (matching - matching @ inside)
        rate, left = max(sum(abs(entry) for entry in row) for row in matrix), value
        for _ in range(layers):
            left = matrix @ left
        fields = {
            "radius": radius,
            "floor": max(radius),
            "estimate": value,
            "initial": max(abs(value)),
            "rate": rate,
            "bound": rate**layers * max(abs(value)) + max(radius),
            "distance": max(abs(left)),
            "visits": counts,
        }
        errors += [relative_error(getattr(seen, name), np.array(x)) for name, x in fields.items()]
    return Evidence(largest(errors), 1e-9, "100 contexts, every visited state, eight fields")


def neumann(matrix, vector):
    """``(I - matrix)^{-1} vector``, term by term."""
    total, term = vector, vector
    while np.abs(term).max() > 1e-14 * max(np.abs(total).max(), 1e-300):
        term = matrix @ term
        total = total + term
    return total


def fork(rng):
    """Certificates where a rarely visited state decides: its own visits count, and the horizon does."""
    wrong = {}
    for discount in (0.5, 0.95):
        process, wrong[discount] = rare_fork(2000, discount), 0
        for _ in range(100):
            states = process.sample(2000, rng, start=1)
            if states[-1] not in states[:-1]:
                continue  # refused: no certificate, hence none that is wrong
            rewards = process.reward[states[:-1]]
            seen = contraction.certificate(2 * np.eye(4), states, rewards, discount, (-1, 1), 1, 0.1)
            low, high = seen.interval.T
            value = process.value()[seen.visited]
            wrong[discount] += int(not np.all((low <= value) & (value <= high)))
    error = max(upper_end(failures, 100) for failures in wrong.values())
    return Evidence(error, 0.1, f"of 100 each wrong, by discount: {wrong}; error: 95 % upper end")


def understated(rng):
    """A rare state holds the only reward. A certificate told the range of the rewards *seen* is wrong."""
    wrong, told = 0, 0
    for _ in range(100):
        transition = np.array([[0.0, 0.999, 0.001], [0.999, 0.0, 0.001], [0.5, 0.5, 0.0]])
        process = mrp.MarkovRewardProcess(transition, np.array([0.0, 0.0, 1000.0]), 0.9)
        states = process.sample(60, rng, start=0)
        rewards = process.reward[states[:-1]]
        if (states == 2).any():
            continue
        for limits in ((rewards.min(), rewards.max()), (0.0, 1000.0)):
            seen = contraction.certificate(2 * np.eye(3), states, rewards, 0.9, limits, 80, 0.1)
            miss = np.abs(seen.estimate - process.value()[seen.visited]).max() > seen.bound
            wrong, told = wrong + (miss and limits[1] == 0), told + (miss and limits[1] > 0)
    return Evidence(
        float(max(0, 50 - wrong) + told),
        0.0,
        f"{wrong} of 100 wrong with the seen range, {told} with the true",
    )


def claims():
    """The table, as (id, statement, kind, end of the section's label, check)."""
    yield (
        "certificate",
        r"The certificate is wrong with probability at most $\delta=0.1$.",
        "bound",
        "certificate",
        certified,
    )
    yield (
        "certificate-formula",
        r"Its floor is $\lVert\gamma(I-\gamma\widehat P)^{-1}w\rVert_\infty$, capped at the width of the "
        r"range of possible values, its bound $\hat\rho^{\,L}\lVert\hat v\rVert_\infty$ more.",
        "identity",
        "certificate",
        formula,
    )
    yield (
        "certificate-rare-state",
        r"It is wrong with probability at most $\delta=0.1$ where a state met twice in 2000 decides.",
        "bound",
        "certificate",
        fork,
    )
    yield (
        "understated-range",
        "A certificate told the range of the rewards seen, not of all there are, may nearly always be wrong.",
        "control",
        "breaks",
        understated,
    )


CLAIMS = Claims(
    *(
        Claim(name, "ours", statement, kind, "sec-ct-" + section, check)
        for name, statement, kind, section, check in claims()
    )
)
