"""Claims of the chapter `gradient-flow`."""

import numpy as np
import torch
from scipy.optimize import brentq

from icrl.claims.registry import Claim, Evidence, largest, relative_error
from icrl.gradient_flow import gradient_flow, mimicking_loss
from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.richness import landing_point, random_tasks, richness

CHAPTER = "sec-gf-"
PAPER = "Liang and Lai (2026), "


def random_prompts(rng, actor, tasks=30):
    """Prompts of random tasks, the teacher's P and V, and how many entries are read out."""
    d, k, n = 2, 2, 6
    w, phi, phi_next, rewards = (rng.normal(size=(tasks, *s)) for s in ((d,), (n, d), (n, d), (n,)))
    if not actor:
        return sarsa_prompt(w, phi, phi_next, rewards, 0.8), *sarsa_weights(d, 1.0), d
    policy, scores = rng.normal(size=(tasks, k)), rng.normal(size=(tasks, n, k))
    prompts = actor_critic_prompt(w, policy, phi, phi_next, rewards, scores, 0.8)
    return prompts, *actor_critic_weights(d, k, 1.0, 0.5), d + k


def autograd(prompts, teacher, P, V, p):
    """The loss of the whole block by its own forward pass, and its gradients in P and V."""
    model = LinearTransformer(P.clone().requires_grad_(), V.clone().requires_grad_(), p)
    wanted = LinearTransformer(*teacher, p).readout(prompts)
    loss = ((model.readout(prompts) - wanted) ** 2).sum(-1).mean() / 2
    loss.backward()
    return loss.item(), model.P.grad.numpy(), model.V.grad.numpy()


def gaussian_block(rng, size, p, corner):
    """Gaussian P and V; without ``corner`` the blocks P22 and V22 are zero."""
    P, V = torch.from_numpy(rng.normal(size=(2, size, size)))
    if not corner:
        P[-p - 1 :, -p - 1 :] = V[-p - 1 :, -p - 1 :] = 0
    return P, V


def gradients(rng):
    """The closed form in the moments against the block's forward pass and autograd."""
    errors = []
    for actor in (False, True) * 5:
        prompts, *teacher, p = random_prompts(rng, actor)
        P, V = gaussian_block(rng, prompts.shape[1], p, False)
        value, by_P, by_V = autograd(prompts, teacher, P, V, p)
        loss, m = mimicking_loss(prompts, *teacher, p), prompts.shape[1] - p - 1
        blocks = P[:m, m:].numpy(), V[m + 1 :, :m].numpy()
        score, values = loss.gradients(*blocks)
        errors += [relative_error(loss.loss(*blocks), value), relative_error(score, by_P[:m, m:])]
        errors.append(relative_error(values, by_V[m + 1 :, :m]))
    return Evidence(largest(errors), 1e-11, "10 sets of 30 tasks, SARSA and actor-critic, Gaussian blocks")


def proposition_3_1(rng):
    """Autograd through the whole block: the named gradients, which must be exactly zero."""
    errors = []
    for actor in (False, True) * 5:
        for corner in (False, True):
            prompts, *teacher, p = random_prompts(rng, actor)
            P, V = gaussian_block(rng, prompts.shape[1], p, corner)
            _, by_P, by_V = autograd(prompts, teacher, P, V, p)
            m = prompts.shape[1] - p - 1
            still = [by_P[:, :m], by_V[: m + 1]]  # P11 and P21; V11, V12 and the first rows below
            if not corner:
                still += [by_P[m:, m:], by_V[m + 1 :, m:]]
            errors += [np.abs(x).max() for x in still]
    return Evidence(largest(errors), 0.0, "20 Gaussian blocks, half with P22 = V22 = 0")


def balance(rng):
    """Autograd: <V21, grad> = <P12, grad>, likewise for the corner blocks; and the drift of one flow."""
    errors = []
    for actor in (False, True) * 5:
        prompts, *teacher, p = random_prompts(rng, actor)
        P, V = gaussian_block(rng, prompts.shape[1], p, True)
        _, by_P, by_V = autograd(prompts, teacher, P, V, p)
        m = prompts.shape[1] - p - 1
        for columns in (slice(0, m), slice(m, None)):
            rows = (V.numpy() * by_V)[m + 1 :, columns].sum(), (P.numpy() * by_P)[columns, m:].sum()
            errors.append(relative_error(*rows))
        errors.append(relative_error(by_P[m:, m:], by_P[m:, m:].T))
    loss = random_tasks("gaussian", 2, 140, rng)
    flow = gradient_flow(loss, *(0.3 * rng.normal(size=x.shape) for x in loss.on_manifold(1.0)), 20.0)
    errors.append(1e-3 * np.ptp(flow.balance))
    return Evidence(largest(errors), 1e-10, f"30 identities; drift of a flow {np.ptp(flow.balance):.0e}")


def near(rng, loss, scale, distance):
    """A start beside the manifold: every entry moved by a Gaussian of this size."""
    return [x + distance * rng.normal(size=x.shape) for x in loss.on_manifold(scale)]


def landing(rng):
    """Predicted against reached: score and value blocks, both signs of c, with and without null data."""
    errors = []
    for kind, sign in (("gaussian", 1), ("gaussian", -1), ("one-hot", 1), ("copied", -1)):
        loss = random_tasks(kind, 2, 140, rng)
        start = near(rng, loss, sign * rng.uniform(0.8, 1.25), 0.1)
        flow = gradient_flow(loss, *start, 2000.0, stop=1e-15)
        _, *blocks = landing_point(loss, *start, sign)
        errors += [relative_error(flow.scores[-1], blocks[0]), relative_error(flow.values[-1], blocks[1])]
    return Evidence(largest(errors), 1e-6, "4 flows: Gaussian, one-hot and copied features, both signs of c")


def null_counts(rng):
    """Zero eigenvalues of a Hessian by autograd, counted, against 1, 2d + 2 and 4d + 3."""
    wrong, seen = 0, []
    kinds = [("gaussian", 2), ("gaussian", 3), ("one-hot", 2), ("one-hot", 3), ("copied", 2), ("copied", 3)]
    for kind, d in [*kinds, ("ended", 2), ("two discounts", 2)]:
        loss = random_tasks(kind, d, 300, rng)
        moments, columns = torch.from_numpy(loss.moments), torch.from_numpy(loss.parameters)
        score, value = (torch.from_numpy(x) for x in loss.on_manifold(rng.uniform(0.7, 1.4)))

        def function(v, s, data=(moments, columns, value @ moments @ score @ columns[..., None])):
            return ((v @ data[0] @ s @ data[1][..., None] - data[2]) ** 2).sum() / 2 / len(data[0])

        parts = torch.autograd.functional.hessian(function, (value, score))
        sizes = value.numel(), score.numel()
        rows = [torch.cat([parts[i][j].reshape(sizes[i], sizes[j]) for j in (0, 1)], 1) for i in (0, 1)]
        values = torch.linalg.eigvalsh(torch.cat(rows)).numpy()
        seen.append(int((np.abs(values) < 1e-11 * values[-1]).sum()))
        wrong += seen[-1] != {"one-hot": 2 * d + 2, "copied": 4 * d + 3}.get(kind, 1)
    return Evidence(float(wrong), 0.0, f"null dimensions {seen}, those predicted")


def one_hot_manifold(rng):
    """Loss at teacher plus b z' and z eta', with one-hot features and no ended episode."""
    errors = []
    for d in (2, 3, 4):
        loss = random_tasks("one-hot", d, 50, rng, discount=0.7)
        z = np.concatenate([np.full(d, 0.7), -np.ones(d), [0.0]])
        score, value = loss.on_manifold(rng.uniform(0.5, 2))
        moved = score + np.outer(z, rng.normal(size=d + 1)), value + np.outer(rng.normal(size=d), z)
        errors.append(np.abs(loss.residuals(*moved)).max())
    return Evidence(largest(errors), 1e-12, "d = 2, 3, 4, a Gaussian b and eta each")


def local_rate(rng):
    """Slope of the log of the loss, late, against -2 mu at the predicted landing point."""
    errors = []
    for d, sign in ((2, 1), (3, -1)):
        loss = random_tasks("gaussian", d, 200, rng)
        teacher = loss.on_manifold(sign * rng.uniform(0.8, 1.25))
        # A start with a clear share of the slowest direction, so that the others die out within the run.
        slow = loss.unpack(np.linalg.eigh(loss.hessian(*teacher))[1][:, 1])
        start = [x + 0.1 * y + 0.01 * rng.normal(size=x.shape) for x, y in zip(teacher, slow, strict=True)]
        flow = gradient_flow(loss, *start, 2000.0, stop=1e-18)
        late = (flow.losses < 1e-12) & (flow.losses > 1e-17)
        slope = np.polyfit(flow.times[late], np.log(flow.losses[late]), 1)[0]
        errors.append(abs(slope / (-2 * richness(loss, landing_point(loss, *start, sign)[0]).gap) - 1))
    return Evidence(largest(errors), 0.02, "2 flows, d = 2 and 3, loss between 1e-12 and 1e-17")


def polyak(rng):
    """|grad|^2 / (2 loss) close to the manifold must not fall below the gap; error: relative lack."""
    lacks = []
    for kind in ("gaussian", "one-hot"):
        loss = random_tasks(kind, 2, 140, rng)
        seen, teacher = richness(loss), loss.on_manifold(1.0)
        # Along the slowest direction the inequality is an equality, so a gap that is too large shows.
        slow = loss.unpack(1e-5 * np.linalg.eigh(loss.hessian(*teacher))[1][:, seen.null_dimension])
        points = [[x + y for x, y in zip(teacher, slow, strict=True)]]
        for point in points + [near(rng, loss, 1.0, 1e-5) for _ in range(50)]:
            squares = sum((g**2).sum() for g in loss.gradients(*point))
            lacks.append(max(0.0, 1 - squares / (2 * loss.loss(*point) * seen.gap)))
    return Evidence(largest(lacks), 1e-3, "102 points at distance 1e-5, two along the slowest direction")


def scale_bound(rng):
    """The gap at c against c^2 a and b / c^2, from each block alone off the scaling direction."""
    excess = []
    for _ in range(3):
        loss = random_tasks("gaussian", 2, 140, rng)
        score, value = loss.on_manifold(1.0)
        hessian, bounds = loss.hessian(score, value), []
        for part, block in ((slice(0, value.size), value), (slice(value.size, None), score)):
            basis = np.linalg.svd(block.reshape(1, -1))[2][1:]
            bounds.append(np.linalg.eigvalsh(basis @ hessian[part, part] @ basis.T)[0])
        for c in np.geomspace(0.1, 10, 9):
            excess.append(richness(loss, c).gap / min(c**2 * bounds[0], bounds[1] / c**2) - 1)
    return Evidence(max(0.0, largest(excess)), 1e-9, "27 gaps, c from 0.1 to 10")


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


def unprojected(rng):
    """One-hot: the scale that the raw balance predicts must differ from the one reached by 1e-3."""
    loss = random_tasks("one-hot", 2, 140, rng)
    start = near(rng, loss, 1.0, 0.1)
    start[0] += 0.5 * richness(loss).data_null  # along z, where the tasks see nothing
    flow = gradient_flow(loss, *start, 2000.0, stop=1e-15)
    off = np.eye(5) - richness(loss).data_null @ richness(loss).data_null.T
    reached = (flow.scores[-1] * (off @ loss.teacher_score)).sum() / ((off @ loss.teacher_score) ** 2).sum()
    p, v, k = (loss.teacher_score**2).sum(), (loss.teacher_value**2).sum(), flow.balance[0]
    raw = np.sqrt((np.sqrt(k**2 + 4 * p * v) - k) / (2 * p))
    right = landing_point(loss, *start)[0]
    error = max(0.0, 1e-3 - abs(raw - reached)) if abs(right - reached) < 1e-5 else np.inf
    return Evidence(error, 0.0, f"reached {reached:.4f}, projected {right:.4f}, unprojected {raw:.4f}")


def claim(name, source, statement, kind, section, check):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, CHAPTER + section, check)


CLAIMS = (
    claim(
        "mimicking-gradients",
        "ours, from " + PAPER + "eq. (15)",
        r"The loss and its gradients are closed forms in the moments $\widehat\Sigma_t$ and $\tilde w_t$.",
        "identity",
        "loss",
        gradients,
    ),
    claim(
        "proposition-3-1",
        PAPER + "Proposition 3.1, eq. (8)",
        r"The gradients in $P_{11},P_{21},V_{11},V_{12}$ and the first rows of $V_{21},V_{22}$ are zero; "
        r"so are those in $P_{22},\bar V_{22}$ where both blocks are zero.",
        "identity",
        "invariance",
        proposition_3_1,
    ),
    claim(
        "flow-balance",
        "ours",
        r"The flow conserves $\lVert\bar V_{21}\rVert^2-\lVert P_{12}\rVert^2$ and "
        r"$\lVert\bar V_{22}\rVert^2-\lVert P_{22}\rVert^2$ and the "
        r"antisymmetric part of $P_{22}$.",
        "identity",
        "landing",
        balance,
    ),
    claim(
        "landing-point",
        "ours",
        "Conserved quantities predict where on the manifold the flow lands, up to the sign of $c$.",
        "identity",
        "landing",
        landing,
    ),
    claim(
        "null-dimension",
        "ours",
        "The Hessian on the manifold has 1 null direction for Gaussian features, $2d+2$ for one-hot ones, "
        "$4d+3$ for a copied feature, and 1 again with ended episodes or two discounts.",
        "identity",
        "richness",
        null_counts,
    ),
    claim(
        "one-hot-manifold",
        "ours",
        r"With one-hot features and $z=(\gamma\mathbf 1,-\mathbf 1,0)$ the loss is zero at "
        r"$(cP^\star_{12}+z\eta^\top,c^{-1}\bar V^\star_{21}+bz^\top)$ for all $b$ and $\eta$.",
        "identity",
        "richness",
        one_hot_manifold,
    ),
    claim(
        "local-rate",
        "ours, sharpening " + PAPER + "Theorem 3.2",
        r"Near the manifold the loss ends up falling like $e^{-2\mu t}$, $\mu$ the smallest non-zero "
        "eigenvalue of the Hessian at the landing point, if the start has a share of that direction.",
        "limit",
        "rate",
        local_rate,
    ),
    claim(
        "polyak-lojasiewicz",
        PAPER + "Theorem 3.2; the constant ours",
        r"Near the manifold $\lVert\nabla\ell\rVert^2\ge2\mu'\ell$ for every $\mu'<\mu$.",
        "bound",
        "rate",
        polyak,
    ),
    claim(
        "gap-and-scale",
        "ours",
        r"The gap at scale $c$ is at most $\min(ac^2,b/c^2)$.",
        "bound",
        "rate",
        scale_bound,
    ),
    claim(
        "escape-time",
        "ours",
        r"Near 0 a start grows like $e^{\sigma_jt}$ along the singular directions of the coupling: from size "
        r"$\varepsilon$ it leaves after $\ln(1/\varepsilon)/\sigma_1+O(1)$.",
        "limit",
        "saddle",
        escape,
    ),
    claim(
        "unprojected-landing-misses",
        "ours",
        "With one-hot features the balance predicts the landing point only off $z$.",
        "control",
        "landing",
        unprojected,
    ),
)
