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
    """The radius of every state from counts, the inverse as a series, on contexts up to 20 000 long."""
    errors = []
    while len(errors) < 100:
        process, features = random_task(rng)
        states = process.sample(int(np.exp(rng.uniform(np.log(10), np.log(20_000)))), rng)
        if states[-1] not in states[:-1]:
            continue
        gamma, reward, n = process.discount, process.reward, len(states) - 1
        limits = (reward.min(), reward.max())
        seen = contraction.certificate(features, states, reward[states[:-1]], gamma, limits, 1, 0.1)
        visited, counts, transition, _ = by_counts(features, states, process)
        width = np.ptp(reward) / (1 - gamma)
        term = width * np.sqrt(np.log(2 * process.num_states * n / 0.1) / (2 * counts))
        total = term
        while term.max() > 1e-13 * total.max():
            term = gamma * transition[:, visited] @ term
            total = total + term
        errors.append(relative_error(seen.radius / np.minimum(gamma * total, width), np.ones(len(visited))))
    return Evidence(largest(errors), 1e-9, "100 contexts, every visited state")


def fork(rng):
    """Certificates where a rarely visited state decides: its own visits count, not the context's length."""
    process, wrong = rare_fork(2000), 0
    for _ in range(100):
        states = process.sample(2000, rng, start=1)
        rewards = process.reward[states[:-1]]
        seen = contraction.certificate(2 * np.eye(4), states, rewards, 0.5, (-1, 1), 1, 0.1)
        low, high = seen.interval.T
        value = process.value()[seen.visited]
        wrong += not np.all((low <= value) & (value <= high))
    return Evidence(upper_end(wrong, 100), 0.1, f"{wrong} of 100 are wrong; error: 95 % upper end")


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
        "range of possible values.",
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
        "A certificate that is told the range of the rewards seen, not of all there are, is wrong.",
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
