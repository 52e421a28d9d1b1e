"""Claims of the chapter `emergence` about networks that the check trains itself.

Means are compared on fresh worlds, paired, by one-sided intervals of 99.99 %. The limits lie far
beyond: the means compared differ by 12 standard errors and more in all of sixteen runs of `training-helps`
and 32 networks of the far-sighted runs, where 3.72 are asked for, and what is no mean lies 6 deviations and
more from its limits. So the stated risks, 1e-5, hold for tails much heavier than a Gaussian's.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from icrl.claims.emergence import SMALL, claim, generator
from icrl.claims.registry import Claims, Evidence
from icrl.pretraining import emergence
from icrl.pretraining.trainer import pretrain

FAR = "far-sighted-beats-construction"


def upper(differences):
    """Largest upper end of the one-sided 99.99 % intervals for the means of paired differences, by rows."""
    ends = differences.mean(-1) + 3.72 * differences.std(-1) / differences.shape[-1] ** 0.5
    return float(ends.max())


def training_helps(rng):
    """Squared errors on fresh worlds, paired: a tenth of those at the start, half of a r(s), the right size.

    Size: the factor on what a network says that fits the truth best. It is too large where the target has
    too little of the future, or of the reward: by .07 and .12 for a tenth less. Else 1.013 on average, and
    the mean of six networks deviates by .006.
    """
    c = replace(SMALL, num_seeds=6, num_prompts=32, num_steps=300, learning_rate=0.05)
    g = generator(rng)
    run, tasks = pretrain(c, g), emergence.fresh_tasks(c, 12_000, g)
    ends = list(zip(run.value_weights[[0, -1]], run.score_weights[[0, -1]], strict=True))
    before, after = (emergence.squared_errors(c, *weights, tasks) for weights in ends)
    now = emergence.at_query(tasks.worlds.reward, tasks)
    truth = emergence.at_query(tasks.worlds.value(c.discount), tasks)
    scale = (now * truth).mean() / now.square().mean()  # the best there is without a look at successors
    rival, said = (scale * now - truth).square(), emergence.query_values(c, *ends[1], tasks)
    factor = float(((said * truth).mean(-1) / said.square().mean(-1)).mean())
    error = max(0.0, upper(after - before / 10), upper(after - rival / 2), abs(factor - 1.01) - 0.04)
    ratios = [float((after.mean(-1) / x.mean(-1)).max()) for x in (before, rival)]
    seen = f"{ratios[0]:.2f} of the error at the start, {ratios[1]:.2f} of a r(s); factor {factor:.3f}"
    return Evidence(error, 0.0, f"6 seeds, 300 steps; at most {seen}")


def far_sighted(rng):
    """At gamma = .9 with 3 layers, paired on fresh worlds: trained, constructed, and the mean alone."""
    c, run, tasks = far_run(rng)
    trained = emergence.squared_errors(c, run.value_weights[-1], run.score_weights[-1], tasks)
    built = emergence.squared_errors(c, *emergence.construction(c), tasks)
    truth = emergence.at_query(tasks.worlds.value(c.discount), tasks)
    alone = (emergence.baselines(c, tasks)["mean / (1 - gamma)"] - truth).square()
    error = max(0.0, upper(trained - built / 10), upper(trained - alone))
    parts = f"{float(trained.mean() / built.mean()):.3f} of the construction's error"
    return Evidence(error, 0.0, f"2 seeds; {parts}, {float(trained.mean() / alone.mean()):.2f} of the mean's")


def far_run(rng):
    """Configuration, run and 16 000 fresh tasks, far-sighted and shallow; the three claims share them."""
    return far_run_from(int(rng.integers(2**31)))


@lru_cache(maxsize=1)
def far_run_from(seed):
    """The same, from this seed."""
    c = replace(SMALL, num_states=5, discount=0.9, num_transitions=40, num_prompts=64, num_steps=700)
    c, g = replace(c, learning_rate=0.1), torch.Generator().manual_seed(seed)
    return c, pretrain(c, g), emergence.fresh_tasks(c, 16_000, g)


def simple_rules(rng):
    """Certainty equivalence, and centred TD with the price of the mean, paired against trained networks."""
    c, run, tasks = far_run(rng)
    trained = emergence.squared_errors(c, run.value_weights[-1], run.score_weights[-1], tasks)
    truth = emergence.at_query(tasks.worlds.value(c.discount), tasks)
    rules = emergence.baselines(c, tasks)
    names = "certainty equivalence", "centred TD + mean / (1 - gamma)"
    excess = [upper((rules[name] - truth).square() - trained) for name in names]
    seen = f"2 seeds, 16 000 worlds; excess {excess[0]:.3f}, {excess[1]:.3f}"
    return Evidence(max(0.0, *excess), 0.0, seen)


def price(rng):
    """What the mean reward is worth, times 1 - gamma: by a fit, and by raising every reward by one.

    The second is exact: attention sums to one, so each row alone says what it must be.
    """
    c, run, tasks = far_run(rng)
    raised = tasks._replace(worlds=tasks.worlds._replace(reward=tasks.worlds.reward + 1))
    built = emergence.construction(c)
    paid, shifts, off = [], [], []
    for value, score in ((run.value_weights[-1], run.score_weights[-1]), built):
        said, more = (emergence.query_values(c, value, score, x) for x in (tasks, raised))
        fits, _ = emergence.fitted_response(c, said, tasks)
        paid += [(1 - c.discount) * fit.mean_gain for fit in fits]
        shifts += ((1 - c.discount) * (more - said).mean(-1)).tolist()
        off.append(float((more - said - (more - said).mean(-1, keepdim=True)).abs().max()))
    rows = *run.rows[-1, 0].tolist(), (1.0, 1.0, -1.0)
    for shift, (a, b, current) in zip(shifts, rows, strict=True):
        factor = sum((1 + current + c.discount * b) ** k for k in range(c.num_layers))
        off.append(abs(shift / ((1 - c.discount) * a * factor) - 1))
    off.append(abs(shifts[-1] / (1 - c.discount**c.num_layers) - 1))
    error = max(0.0, *(abs(x - 0.95) - 0.15 for x in paid[:-1]), abs(paid[-1] - 0.27) - 0.06)
    seen = f"trained {min(paid[:-1]):.2f} to {max(paid[:-1]):.2f}, constructed {paid[-1]:.2f}"
    seen += f"; by raised rewards {min(shifts[:-1]):.2f} to {max(shifts[:-1]):.2f} and {shifts[-1]:.3f}"
    return Evidence(error if max(off) < 1e-9 else np.inf, 0.0, f"2 seeds, 700 steps; {seen}")


def finds_td(rng):
    """Where gamma^L is small: distance of b/a and -c/a from 1 after a training, which most of seven keep.

    Not all: a start in a hundred or two may be stuck, and one of 348 was off by 0.13. If one in fifty is off
    by more than a tenth (the upper end of 99 %), four or more of seven are with probability 6e-6.
    """
    c = replace(SMALL, num_layers=6, num_transitions=40, num_seeds=7, num_prompts=32, num_steps=900)
    run = pretrain(replace(c, learning_rate=0.1), generator(rng))
    a, b, current = run.rows[-1, 0].T
    ratios = torch.stack([b / a, -current / a])
    off = torch.where(a > 0.3, (ratios - 1).abs().amax(0), torch.inf).sort().values
    spread = f"{float(ratios.min()):.2f} to {float(ratios.max()):.2f}"
    seen = f"7 seeds, gamma^L = 1/64, 900 steps; ratios {spread}"
    return Evidence(float(off[3]), 0.1, seen)


CLAIMS = Claims(
    claim(
        "training-helps",
        "ours",
        r"At $\gamma=0.5$ with three layers three hundred steps leave less than a tenth of the error on "
        "fresh worlds, for every seed of six, and less than half of that of the best multiple of the present "
        "reward. What six networks say is of the right size: the factor that fits it best to the truth is "
        "0.97 to 1.05 in their mean.",
        "bound",
        "emerges",
        training_helps,
        risk=1e-5,
    ),
    claim(
        "training-finds-td",
        "ours",
        r"Where $\gamma^L$ is small ($1/64$), the row $(a,b,c)$ of most networks, four of seven or more, "
        "from small starts, comes within a tenth of a multiple of $(1,1,-1)$.",
        "bound",
        "emerges",
        finds_td,
        risk=1e-5,
    ),
    claim(
        FAR,
        "ours",
        r"At $\gamma=0.9$ with three layers, on Boyan chains of five states, the trained network has less "
        "than a tenth of the construction's "
        "error, and less than the mean reward at its full price.",
        "bound",
        "honest",
        far_sighted,
        risk=1e-5,
    ),
    claim(
        "price-of-the-mean",
        "ours",
        r"There the trained networks pay 0.8 to 1.1 times $\frac1{1-\gamma}$ for the mean reward, by a fit. "
        r"One more of every reward moves the construction by exactly $1-\gamma^3$ times it, and any row by "
        r"$a\sum_{k<3}(1+c+\gamma b)^k$.",
        "bound",
        "jobs",
        price,
        risk=1e-5,
        drawn_with=FAR,
    ),
    claim(
        "simple-rules-beat-training",
        "ours",
        "There certainty equivalence, and TD on centred rewards with the mean at its full price, have a "
        "smaller error than the trained networks.",
        "bound",
        "honest",
        simple_rules,
        risk=1e-5,
        drawn_with=FAR,
    ),
)
