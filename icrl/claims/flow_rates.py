"""Claims of the chapter `gradient-flow`: how fast the flow is, and how far it may go."""

import itertools
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from icrl.claims.gradient_flow import PAPER, claim, near, spectrum
from icrl.claims.registry import Claims, Evidence, largest
from icrl.gradient_flow.basins import follow, local_rate, norm_bound, polyak, random_start
from icrl.gradient_flow.flow import gradient_flow
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_actor_critic_tasks, random_tasks


def slow_start(rng):
    """Slope of the log of the loss, late, against -2 mu at the predicted landing point."""
    errors = []
    for d, sign in ((2, 1), (3, -1)):
        loss = random_tasks("gaussian", d, 200, rng)
        teacher = loss.on_manifold(sign * rng.uniform(0.8, 1.25))
        # A start with a clear share of the slowest direction, so that the others die out within the run.
        slow = loss.unpack(np.linalg.eigh(loss.hessian(*teacher))[1][:, 1])
        start = [x + 0.1 * y + 0.01 * rng.normal(size=x.shape) for x, y in zip(teacher, slow, strict=True)]
        # At its default tolerance the solver's own error would be as large as what is measured here.
        flow = gradient_flow(loss, *start, 2000.0, atol=1e-15, stop=1e-18)
        late = (flow.losses < 1e-12) & (flow.losses > 1e-17)
        slope = np.polyfit(flow.times[late], np.log(flow.losses[late]), 1)[0]
        errors.append(abs(slope / (-2 * richness(loss, landing_point(loss, *start, sign)[0]).gap) - 1))
    return Evidence(largest(errors), 0.02, "2 flows, d = 2 and 3, loss between 1e-12 and 1e-17")


def polyak_near(rng):
    """|grad|^2 / (2 loss) close to the manifold must not fall below the gap; along the slowest, equal it."""
    lacks = []
    for kind in ("gaussian", "one-hot"):
        loss = random_tasks(kind, 2, 140, rng)
        seen, teacher = richness(loss), loss.on_manifold(1.0)
        # Along the slowest direction the inequality is an equality, so a gap that is too large shows.
        slow = loss.unpack(1e-5 * np.linalg.eigh(loss.hessian(*teacher))[1][:, seen.null_dimension])
        points = [[x + y for x, y in zip(teacher, slow, strict=True)]]
        squares = sum((g**2).sum() for g in loss.gradients(*points[0]))
        lacks.append(abs(1 - squares / (2 * loss.loss(*points[0]) * seen.gap)))
        for point in points + [near(rng, loss, 1.0, 1e-5) for _ in range(50)]:
            squares = sum((g**2).sum() for g in loss.gradients(*point))
            lacks.append(max(0.0, 1 - squares / (2 * loss.loss(*point) * seen.gap)))
    return Evidence(largest(lacks), 1e-3, "102 points at distance 1e-5, two along the slowest direction")


def faint_last(loss):
    """The tasks with the last parameter and the reward hardly heard, of either sign.

    What is heard least is then their entry of P12, which meets no other: the gap is nearly that of P12 alone.
    """
    (_, size), moments = loss.parameters.shape, loss.moments
    faint, other = np.append(np.ones(size - 1), 0.03), np.append(np.ones(size - 1), -1.0)
    dull, odd = (np.append(np.ones(moments.shape[1] - 1), x) for x in (0.1, -1.0))
    moments = [moments * np.outer(dull * x, dull * x) for x in (odd, odd**2)]
    parameters = [loss.parameters * faint * x for x in (other, other**2)]
    pairs = zip(*itertools.product(moments, parameters), strict=True)
    return replace(loss, **dict(zip(("moments", "parameters"), map(np.concatenate, pairs), strict=True)))


def gaps_of_blocks(loss):
    """The numbers a and b: least eigenvalues of V21 alone and of P12 alone, off the scaling direction."""
    score, value = loss.on_manifold(1.0)
    hessian, bounds = loss.hessian(score, value), []
    for part, block in ((slice(0, value.size), value), (slice(value.size, None), score)):
        basis = np.linalg.svd(block.reshape(1, -1))[2][1:]
        bounds.append(np.linalg.eigvalsh(basis @ hessian[part, part] @ basis.T)[0])
    return bounds


def scale_bound(rng):
    """The gap at c against c^2 a and b / c^2, from each block alone off the scaling direction."""
    excess, tasks = [], [random_tasks("gaussian", 2, 140, rng) for _ in range(3)]
    for loss in [*tasks, faint_last(tasks[0])]:
        bounds = gaps_of_blocks(loss)
        for c in np.geomspace(0.1, 10, 9):
            gap = richness(loss, c).gap
            excess.append(gap / min(c**2 * bounds[0], bounds[1] / c**2) - 1)
            if 0.3 < c < 3:  # farther out autograd's spectrum has lost the digits
                excess.append(1e-3 * abs(gap / spectrum(loss, c)[1] - 1))
    return Evidence(max(0.0, largest(excess)), 1e-9, "36 gaps, c from 0.1 to 10; the middle ones by autograd")


def escape(rng):
    """Time to grow from size 1e-8 to 1e-3, against the singular values of the coupling, formed by hand."""
    errors = []
    for kind in ("gaussian", "one-hot"):
        loss = random_tasks(kind, 2, 140, rng)
        score, value = (1e-8 * rng.normal(size=x.shape) for x in loss.on_manifold(1.0))
        heard = loss.moments @ loss.teacher_score @ loss.parameters[:, :, None]
        targets = (loss.teacher_value @ heard)[..., 0]
        coupling = np.einsum("ta,tij,tl->aijl", targets, loss.moments, loss.parameters) / len(targets)
        left, sigma, right = np.linalg.svd(coupling.reshape(value.size, -1), full_matrices=False)
        growing = (left.T @ value.ravel() + right @ score.ravel()) / np.sqrt(2)
        predicted = brentq(
            lambda t, g=growing, s=sigma: np.linalg.norm(g * np.exp(s * t)) - 1e-3, 0, 99 / sigma[0]
        )
        flow = gradient_flow(loss, score, value, 1.2 * predicted, atol=1e-20)
        size = np.sqrt((flow.values**2).sum(axis=(1, 2)) + (flow.scores**2).sum(axis=(1, 2)))
        reached = np.interp(np.log(1e-3), np.log(np.maximum.accumulate(size)), flow.times)
        errors.append(abs(reached / predicted - 1))
    return Evidence(largest(errors), 1e-3, "2 flows from size 1e-8 to 1e-3")


def rates(rng):
    """Mean slope over seven decades against the decay of each eigenvector, and against its bracket."""
    flows, misses = 0, []
    for d in (1, 2, 3, None):
        loss = random_tasks("gaussian", d, 75 * d, rng) if d else _actor_critic(rng)
        for _ in range(2):
            landing = follow(loss, random_start(loss, "teacher", 0.2, rng), 4000.0, stop=1e-18)
            seen = local_rate(landing.flow, loss)
            mu = richness(loss, landing_point(loss, *_first(landing.flow))[0]).gap
            misses += [abs(seen.slope / seen.expected - 1), abs(seen.gap / mu - 1)]
            misses += [1 - seen.slope / (2 * mu), seen.slope / seen.steepest - 1]
            flows += 1
    return Evidence(largest(misses), 1e-3, f"{flows} flows, d = 1, 2, 3 and actor-critic, loss 1e-8 to 1e-15")


def _actor_critic(rng):
    return random_actor_critic_tasks("gaussian", 1, 2, 150, rng)


def _first(flow):
    return flow.scores[0], flow.values[0]


def ratio_at_the_end(rng):
    """|grad|^2 / (2 loss) late in a flow against the mean of the eigenvalues, weighted by their shares."""
    errors = []
    for kind in ("gaussian", "one-hot"):
        loss = random_tasks(kind, 2, 140, rng)
        for _ in range(2):
            flow = follow(loss, random_start(loss, "teacher", 0.2, rng), 4000.0, stop=1e-18).flow
            here = int(np.argmax(flow.losses <= 1e-9))
            end = flow.scores[-1], flow.values[-1]
            parts = [x[here] - y for x, y in zip((flow.values, flow.scores), end[::-1], strict=True)]
            step = np.concatenate([x.ravel() for x in parts])
            weights, modes = np.linalg.eigh(loss.hessian(*end))
            parts = weights * (modes.T @ step) ** 2
            errors.append(abs(polyak(flow, loss)[here] / (weights @ parts / parts.sum()) - 1))
    return Evidence(largest(errors), 1e-3, "4 flows, SARSA, at loss 1e-9")


def bound_by_hand(loss, score, value):
    """The bounds on the product of the norms and on the norm of both blocks, from the tasks themselves."""
    rows, columns = np.triu_indices(loss.moments.shape[1])
    entries = loss.moments[:, rows, columns] * np.where(rows == columns, 1, np.sqrt(2))
    heard = (entries[:, :, None] * loss.parameters[:, None]).reshape(len(entries), -1)
    chi = np.linalg.svd(heard / np.sqrt(len(heard)), compute_uv=False)[-1]
    zero = (loss.residuals(0 * score, 0 * value) ** 2).sum() / len(heard)
    start = (loss.residuals(score, value) ** 2).sum() / len(heard)
    product = np.sqrt(2) * (np.sqrt(start) + np.sqrt(zero)) / chi
    return product, (((value**2).sum() - (score**2).sum()) ** 2 + 4 * product**2) ** 0.25


def hardly_together(loss):
    """The tasks with two entries of the data hardly ever non-zero at once, of either sign.

    What the tasks hear least is then their product, and no block makes more of it than the bound allows.
    """
    moments, size = loss.moments.copy(), loss.moments.shape[1]
    for i in (0, 1):
        moments *= np.where((np.arange(size) == i)[:, None] ^ (np.arange(size) == i), 0.1, 1.0)
    signs = np.ones((4, size))
    signs[1::2, 0], signs[2:, 1] = -1, -1
    moments = np.concatenate([moments * np.outer(x, x) for x in signs])
    return replace(loss, moments=moments, parameters=np.tile(loss.parameters, (4, 1)))


def bounded(rng):
    """Points that make the update small for their norms, and flows, against the bound formed by hand."""
    excess, closest = [], np.inf
    loss = hardly_together(random_tasks("gaussian", 2, 140, rng))
    rows = (loss.moments[:, 0, 1, None] * loss.parameters).T
    score, value = (0 * x for x in loss.on_manifold(1.0))
    score[1], value[0, 0] = np.linalg.eigh(rows @ rows.T)[1][:, 0], 1
    heard = loss.residuals(score, value) - loss.residuals(0 * score, 0 * value)
    attained = np.sqrt(2 * (heard**2).sum() / len(heard)) / richness(loss).margin
    excess.append(abs(attained - 1))
    for loss in (random_tasks("gaussian", 2, 140, rng), _actor_critic(rng)):
        # Alternating eigenvectors: of all blocks of norm 1, those that the tasks hear least.
        for _ in range(5):
            score, value = (rng.normal(size=x.shape) for x in loss.on_manifold(1.0))
            for _ in range(60):
                heard = np.einsum("tij,tj->ti", loss.moments, loss.parameters @ score.T)
                least = np.linalg.eigh(heard.T @ heard)[1][:, 0]
                value = np.outer(np.eye(len(value))[0], least)
                rows = np.einsum("tj,tl->tjl", loss.moments @ least, loss.parameters)
                rows = rows.reshape(len(rows), -1)
                score = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(score.shape)
            heard = loss.residuals(score, value) - loss.residuals(0 * score, 0 * value)
            size = np.sqrt((heard**2).sum() / len(heard))
            sigma = richness(loss).margin
            excess.append(max(0.0, sigma / np.sqrt(2) - size))
            closest = min(closest, size * np.sqrt(2) / sigma)
        # From zero, and far out on the manifold, where the balance alone nearly attains the bound.
        far = ([x + 0.01 * rng.normal(size=x.shape) for x in loss.on_manifold(c)] for c in (8.0, -0.05))
        for start in (random_start(loss, "zero", 1.0, rng), random_start(loss, "zero", 1.0, rng), *far):
            flow = gradient_flow(loss, *start, 300.0, rtol=1e-7, atol=1e-10)
            product, bound = bound_by_hand(loss, *start)
            sizes = [np.linalg.norm(x, axis=(1, 2)) for x in (flow.scores, flow.values)]
            excess += [(sizes[0] * sizes[1]).max() / product - 1, np.hypot(*sizes).max() / bound - 1]
            excess.append(abs(norm_bound(loss, *start) / bound - 1))
    return Evidence(
        max(0.0, largest(excess)),
        1e-9,
        f"10 pairs heard least, closest {closest:.2f} x the bound, one on it; 8 flows",
    )


CLAIMS = Claims(
    claim(
        "local-rate",
        "ours, sharpening " + PAPER + "Theorem 3.2",
        r"Near the manifold the loss ends up falling like $e^{-2\mu t}$, $\mu$ the smallest non-zero "
        "eigenvalue of the Hessian at the landing point, if the start has a share of that direction.",
        "limit",
        "rate",
        slow_start,
    ),
    claim(
        "polyak-lojasiewicz",
        PAPER + "Theorem 3.2; the constant ours",
        r"Near the manifold $\lVert\nabla\ell\rVert^2\ge2\mu'\ell$ for every $\mu'<\mu$.",
        "bound",
        "rate",
        polyak_near,
    ),
    claim(
        "gap-and-scale",
        "ours",
        r"For rich tasks the gap at scale $c$ is at most $\min(ac^2,b/c^2)$, with $a$ and $b$ the least "
        r"eigenvalues at $c=1$ of the blocks in $\bar V_{21}$ and $P_{12}$ off the teacher's own.",
        "bound",
        "scale",
        scale_bound,
    ),
    claim(
        "escape-time",
        "ours",
        r"Near 0 a start grows like $e^{\sigma_jt}$ along the singular directions of the coupling: from size "
        r"$\varepsilon$ it leaves after $\ln(1/\varepsilon)/\sigma_1+O(1)$.",
        "limit",
        "sec-tm-saddle",
        escape,
    ),
    claim(
        "rate-by-modes",
        "ours",
        r"Late, the loss falls as if each eigenvector decayed by itself: while it falls by a factor $R$, the "
        r"mean slope lies between $2\mu$ and $2\mu/(1-\ln(1/s)/\ln R)$, with $s$ the share of the slowest.",
        "limit",
        "share",
        rates,
    ),
    claim(
        "polyak-at-the-end",
        "ours",
        r"Late in a flow $\lVert\nabla\ell\rVert^2/2\ell$ is the mean of the eigenvalues, weighted by their "
        "shares in the loss.",
        "limit",
        "share",
        ratio_at_the_end,
    ),
    claim(
        "flow-is-bounded",
        "ours",
        r"For rich tasks $\lVert\bar V_{21}\rVert\lVert P_{12}\rVert\le\sqrt2(\sqrt{2\ell}+\sqrt{2\ell(0,0)})"
        r"/\chi$, $\chi$ the smallest singular value of the tasks: every flow is bounded.",
        "bound",
        "sec-tm-reach",
        bounded,
    ),
)
