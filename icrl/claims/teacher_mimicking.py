"""Claims of the chapter `teacher-mimicking`: what training finds, what its tasks tell, what its blocks do.

At sizes at which they take seconds; the chapter itself runs the paper's.
"""

from dataclasses import replace

import numpy as np

from icrl.claims.registry import Claim, Claims, Evidence, largest
from icrl.control.deployment import (
    Blocks,
    Teacher,
    deploy,
    from_data,
    myopic,
    optimal,
    shares,
    uniform,
    values,
)
from icrl.gradient_flow.experiment import Experiment, train_side_by_side, training_start
from icrl.gradient_flow.mirror_well import GaussianLoss, mirror_well, mirrored_loss
from icrl.gradient_flow.recovery import experiment_tasks, null_dimension, recovery, spectrum, unseen_data
from icrl.gradient_flow.richness import richness

SMALL = Experiment(num_states=3, num_actions=2, learning_rate=5e-3, batch=40, windows=50)
TINY = Experiment(
    num_states=2,
    num_actions=2,
    features="one-hot",
    step_size=1.0,
    spread=3**0.5,
    batch=32,
    windows=20,
    learning_rate=0.02,
    gain=0.1 * 14**0.5,
)


def trained(setting, steps, seeds, rng):
    """Blocks of a training, from their start to their end; as many batches drawn at once as it comes to."""
    setting = replace(setting, at_once=min(5, 1 + steps // setting.windows))
    return train_side_by_side(setting, steps, *training_start(setting, seeds, rng), rng, records=3)


def recovered(rng):
    """Relative difference to the construction after one scale that seven of twelve starts keep, both methods.

    Not all arrive: of 192 starts of actor-critic on four sets of tasks four did not, of 240 of SARSA none. If
    one in seventeen does not (the upper end of 99 %), six or more of twelve are left with probability 3e-5.
    """
    errors, arrived = [], []
    sarsa = replace(SMALL, learning_rate=1e-2)
    for setting in (sarsa, replace(sarsa, method="actor-critic", step_size=0.5, actor_step=0.3)):
        run = trained(setting, 1200, 12, rng)
        seen = recovery(setting, run.scores[-1], run.values[-1])
        off = np.sort(np.maximum(seen.score_error, seen.value_error))
        errors.append(off[6])
        arrived.append(f"{(off <= 0.05).sum()} of 12")
    return Evidence(largest(errors), 0.05, f"SARSA {arrived[0]}, actor-critic {arrived[1]}; 1200 steps")


def rich(rng):
    """Null eigenvalues of the Hessian, counted from first windows, against 1 and 2 d + 2; and the span."""
    wrong, seen = 0, []
    for method, kind, predicted in (
        ("sarsa", "fresh", 1),
        ("sarsa", "fixed", 14),
        ("sarsa", "one-hot", 14),
        ("actor-critic", "fresh", 1),
    ):
        setting = replace(SMALL, method=method, features=kind, num_transitions=int(rng.integers(1, 15)))
        loss = experiment_tasks(setting, 900, rng)
        seen.append(null_dimension(spectrum(loss)))
        wrong += seen[-1] != predicted
        if method == "sarsa":
            wrong += richness(loss).rich != (kind == "fresh")
    return Evidence(float(wrong), 0.0, f"null directions {seen}; full span for fresh features only")


def same_in_deployment(rng):
    """Share of the gap by which the median of nine blocks misses its teacher; untrained ones, by far.

    The median, since of 384 blocks six were still more than 0.15 from the construction. At the upper end of
    99 % for their rate, five of nine are with probability 8e-6.
    """
    run = trained(replace(SMALL, learning_rate=1e-2), 700, 9, rng)
    worlds = SMALL.worlds(90, rng)
    weights, seed = 0 * SMALL.parameters(90, rng), int(rng.integers(2**32))
    floor, ceiling = (values(worlds, x(worlds)) for x in (uniform, optimal))
    reached = []
    for learner in (
        Teacher(SMALL),
        Blocks(SMALL, run.scores[-1], run.values[-1]),
        Blocks(SMALL, run.scores[0], run.values[0]),
    ):
        played = deploy(worlds, learner, weights, [30], np.random.default_rng(seed))
        reached.append(values(worlds, played.policies[-1]))
    gap = (ceiling - floor).mean()
    misses = [np.median((x - reached[0]).mean(axis=1)) / gap for x in reached[1:]]
    error = abs(misses[0]) if abs(misses[1]) > 0.2 else np.inf
    return Evidence(
        float(error), 0.05, f"90 worlds, 9 blocks: {misses[0]:+.3f} of the gap, untrained {misses[1]:+.3f}"
    )


def following_protects(rng):
    """Starts that align off z: more by Algorithm 1 than on independent windows; error: what is lacking.

    Of 720 starts each on fifteen streams 617 aligned and 59. At the upper ends of 99 % for the two rates,
    and with the spread between streams, a lead of less than 12 in 36 has probability 1e-4; at the rates
    themselves 3e-6.
    """
    counts, starts = [], 36
    for setting in (TINY, replace(TINY, windows_from="independent")):
        run = trained(setting, 900, starts, rng)
        seen = recovery(setting, run.scores[-1], run.values[-1], unseen_data(setting))
        counts.append(int((np.minimum(abs(seen.score_cosine), abs(seen.value_cosine)) > 0.98).sum()))
    return Evidence(
        float(max(0, counts[1] + starts // 3 - counts[0])),
        0.0,
        f"aligned of {starts}: {counts[0]} by Algorithm 1, {counts[1]} on independent transitions",
    )


def ranked_deployments(rng):
    """Shares in the same worlds; error: by how much an order is missed, with margins.

    Of 0.2 for the weights at zero, 0.35 for the other learners, 0.97 for the myopic policy. In 3000 worlds
    the shares are .34, .70, .86, .91 and .985, and 800 worlds are 6 standard errors and more from each limit.
    """
    worlds, weights = SMALL.worlds(800, rng), SMALL.parameters(800, rng)
    floor, ceiling = (values(worlds, x(worlds)) for x in (uniform, optimal))
    seed = int(rng.integers(2**32))
    played = [deploy(worlds, Teacher(SMALL), x * weights, [12], np.random.default_rng(seed)) for x in (1, 0)]
    policies = [run.policies[-1] for run in played]
    policies += [from_data(kind, worlds, played[0].history) for kind in ("LSTD-Q", "certainty equivalence")]
    policies.append(myopic(worlds))
    reached = [shares(values(worlds, x), floor, ceiling, rng, draws=1).share for x in policies]
    at_random, at_zero, lstd, certain, told = reached
    lacking = max(0.0, at_random + 0.2 - at_zero, at_random + 0.35 - min(lstd, certain), 0.97 - told)
    text = "teacher {:.2f}, from zero {:.2f}; LSTD-Q {:.2f}, certainty equivalence {:.2f}; myopic {:.2f}"
    return Evidence(float(lacking), 0.0, text.format(*reached))


RANKED = Experiment(
    num_states=2,
    num_actions=2,
    epsilon=1.0,
    num_transitions=5,
    batch=16,
    windows=25,
    learning_rate=0.04,
)
CHANGES = {
    "one window a step": {"batch": 1},
    "one-hot": {"features": "one-hot"},
    "start ten times larger": {"gain": 1.0},
    "ε = 0.1": {"epsilon": 0.1},
    "constant rate": {"schedule": "constant"},
    "weights frozen": {"follow": False},
}


def ranked_changes(rng):
    """Factors by which one change each leaves blocks farther from the construction; error: what lacks.

    Twelve starts, the same for all, on equal draws; the median of the paired factors. For the two changes
    that lose most it is above 5, for the next two above 1.1; a constant rate leaves it below 100, weights
    that stand still below 10, one-hot features below 3 if what no task shows is left out. In 27 runs the
    logarithms of these medians had means 5 or more standard deviations from these limits
    and looked normal; the risk is stated for a margin a quarter smaller, which 27 runs vouch for.
    """
    starts, draws = (int(x) for x in rng.integers(2**32, size=2))
    errors, off = {}, {}
    for name, change in {"as it is": {}, **CHANGES}.items():
        setting = replace(RANKED, at_once=13, **change)
        first = training_start(setting, 12, np.random.default_rng(starts))
        run = train_side_by_side(setting, 300, *first, np.random.default_rng(draws), records=2)
        hidden = unseen_data(setting)
        for found, unseen in ((errors, None), (off, hidden if hidden.size else None)):
            seen = recovery(setting, run.scores[-1], run.values[-1], unseen)
            found[name] = np.maximum(seen.score_error, seen.value_error)
    factors = {name: np.sort(np.log10(errors[name] / errors["as it is"])) for name in CHANGES}
    middle = {name: np.median(x) for name, x in factors.items()}
    beside = np.median(np.log10(off["one-hot"] / errors["as it is"]))  # off z one-hot is hardly worse
    least, most = np.log10([5, 5, 1.1, 1.1]), np.log10([100, 10, 3])
    at = list(middle.values())
    lacking = [*(least - at[:4]), *(np.array([*at[4:], beside]) - most)]
    text = ", ".join(f"{name} {10 ** x[2]:.2g} to {10 ** x[9]:.2g}" for name, x in factors.items())
    return Evidence(float(max(0.0, *lacking)), 0.0, f"times farther, by 12 starts: {text}")


def mirrored_rest(rng):
    """Gradient, polynomial, null directions, bends and determinant of the well, and the saddle at n = 1."""
    errors = []
    for n in (int(rng.integers(5, 60)), 1):
        law = GaussianLoss(2, rng.uniform(0.3, 0.95), n, step_size=rng.uniform(0.5, 2))
        well = mirror_well(law)
        errors += [np.abs(x).max() for x in law.gradients(well.score, well.value)]
        numbers = rng.normal(size=4)
        point = np.zeros((5, 3)), np.zeros((2, 5))
        mirror = np.diag([1.0, -1.0])
        point[0][:2, 1:], point[0][2:4, 1:] = numbers[2] * mirror, numbers[3] * mirror
        point[1][:, :2], point[1][:, 2:4] = numbers[0] * mirror, numbers[1] * mirror
        errors.append(abs(mirrored_loss(law, numbers) - law.loss(*point)) / law.loss(*point))
        bends = np.linalg.eigvalsh(law.hessian(well.score, well.value))
        down = bends[0] < -1e-5
        fits = down if n == 1 else not down and (np.abs(bends) < 1e-5).sum() == 2
        fits &= well.loss > 1e-3 and np.linalg.det(well.value[:, :2]) < 0
        errors.append(0.0 if fits else np.inf)
    return Evidence(largest(errors), 1e-10, "two laws, one of windows of a single transition")


def claim(name, source, statement, kind, section, check, risk=0.0):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, "sec-tm-" + section, check, risk)


CLAIMS = Claims(
    claim(
        "mimicking-recovers",
        "Liang and Lai (2026), Algorithm 1; the measure ours",
        "Trained by Algorithm 1 on random worlds of three states, 40 at a time, most blocks end up within 5% "
        r"of $(cP^\star_{12},c^{-1}\bar V^\star_{21})$, one $c$ for both: seven of twelve starts or more, of "
        "SARSA and of actor-critic.",
        "limit",
        "training",
        recovered,
        risk=5e-5,
    ),
    claim(
        "mimicking-rich",
        "ours",
        r"The tasks of the experiment are rich from their first window on: one null direction; with one "
        r"table for all worlds, of as many independent features as pairs, $2d+2$.",
        "bound",
        "rich",
        rich,
    ),
    claim(
        "mimicking-deployed",
        "ours",
        "In unseen worlds trained blocks, the median of nine, do what their teacher does, to a twentieth of "
        "the gap.",
        "limit",
        "deployment",
        same_in_deployment,
        risk=1e-5,
    ),
    claim(
        "following-protects",
        "ours",
        "With one-hot features, more starts align under Algorithm 1, whose weights follow the teacher, than "
        "on independent transitions and weights drawn anew, with the same optimiser, by a third or more.",
        "control",
        "protects",
        following_protects,
        risk=1e-4,
    ),
    claim(
        "deployments-ranked",
        "ours",
        "In unseen worlds the teacher does better if its weights begin at zero than at random, worse than "
        "LSTD-Q and certainty equivalence on its own windows; the myopic policy closes nearly everything.",
        "control",
        "deployment",
        ranked_deployments,
        risk=1e-5,
    ),
    claim(
        "training-changes-ranked",
        "ours",
        "With two states and two actions, beside a training that always explores, one window a step and "
        "one-hot features leave blocks, in the median of twelve, more than five times farther from the "
        "construction (one-hot ones less than three times off what no task shows); a start ten times larger "
        "and a teacher that seldom explores leave them farther; weights that stand still less than ten "
        "times, a constant rate less than a hundred times.",
        "control",
        "changes",
        ranked_changes,
        risk=1e-4,
    ),
    claim(
        "mirror-well",
        "ours",
        "In two dimensions the Gaussian population loss has a stationary point at a positive loss, made of "
        "reflections, a minimum up to its two null directions; for windows of one transition it is a saddle.",
        "bound",
        "reach",
        mirrored_rest,
    ),
)
