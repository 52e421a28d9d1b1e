"""Claims of the chapter `emergence`: the fast path, the trainer, and the algebra of every network.

What trained networks do is in :mod:`icrl.claims.emergence_findings`.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.pretraining import emergence
from icrl.pretraining.forward import prompts, table_values, tables, tables_of_counts
from icrl.pretraining.tasks import Configuration, draw_tasks
from icrl.pretraining.trainer import Trainer, pretrain
from icrl.softmax_td import empirical_model, matching_matrix
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt

CHAPTER = "sec-em-"
SMALL = Configuration(num_layers=3, num_transitions=15, num_seeds=2, num_prompts=4, num_steps=100)


def generator(rng):
    """A generator of torch, seeded by NumPy's."""
    return torch.Generator().manual_seed(int(rng.integers(2**31)))


def random_masked(rng, layers, seeds, d, size=0.4):
    """Random weights inside the masks, ``(layers, seeds, D, D)`` each."""
    value, score = np.zeros((2, layers, seeds, d + 3, d + 3))
    value[..., -1, -3:] = size * rng.normal(size=(layers, seeds, 3))
    score[..., :d, :d] = size * rng.normal(size=(layers, seeds, d, d))
    return torch.from_numpy(value), torch.from_numpy(score)


def fast_path(rng):
    """Tables of counts against the token network: every layer, every column."""
    errors = []
    for layers, d in ((1, None), (1, 3), (4, None), (4, 3)) * 3:
        c = replace(SMALL, num_layers=4, num_features=d, num_transitions=int(rng.integers(3, 25)))
        tasks = emergence.fresh_tasks(c, 6, generator(rng))
        value, score = random_masked(rng, layers, 2, c.width)
        by_state = emergence.state_values(c, value, score, tasks)
        columns = tasks.states.expand(5, 2, *tasks.states.shape[1:])
        tokens = prompts(tasks.features, tasks.states, tasks.worlds.reward)
        network = SoftmaxTransformer(4, c.discount, value[:, :, None], score[:, :, None])
        errors.append(relative_error(by_state.gather(-1, columns), network.values(tokens)))
    return Evidence(largest(errors), 1e-12, "24 random networks, shared and per-layer, 6 worlds each")


def gradients(rng):
    """Gradients that the trainer's own step left, against one prompt at a time through the token network."""
    errors = []
    for d in (None, 3) * 3:
        c = replace(SMALL, num_features=d, initial_scale=0.4)
        trainer = Trainer(c, generator(rng), torch.float64)
        (rows, block), drawn = trainer.kept[0], torch.Generator()
        drawn.set_state(trainer.generator.get_state())
        tasks = draw_tasks(c, (1, c.num_seeds, c.num_prompts), drawn)
        value, score = trainer.matrices((rows, block))
        trainer.chunk(1)
        by_rows, by_block = (x.grad for x in trainer.free)
        for seed in range(c.num_seeds):
            network = SoftmaxTransformer(3, c.discount, value[0, seed], score[0, seed]).requires_grad_()
            for k in range(c.num_prompts):
                features = tasks.features[0, 0 if d is None else seed, 0 if d is None else k].numpy()
                states, reward = tasks.states[0, seed, k].numpy(), tasks.worlds.reward[0, seed, k].numpy()
                ends = states[:-1], states[1:]
                now, later = (network(softmax_td_prompt(features, s, reward[s[:-1]]))[-1, -1] for s in ends)
                error = reward[states[-2]] + c.discount * later.detach() - now
                (error**2 / 2 / c.num_prompts).backward()
            by_value, by_score = network.value_weights.grad, network.score_weights.grad
            errors.append(relative_error(by_rows[0, seed], by_value[-1, -3:]))
            errors.append(relative_error(by_block[0, seed], by_score[:-3, :-3]))
    return Evidence(largest(errors), 1e-11, "6 steps of 2 seeds and 4 prompts, one-hot and Gaussian features")


def resume(rng):
    """A run that was stopped and continued against one that was not: largest difference, 0 wanted."""
    seed, errors = int(rng.integers(2**31)), []
    for masks in ("paper", "free"):
        c = replace(SMALL, masks=masks, num_steps=150, num_seeds=1)
        whole = pretrain(c, torch.Generator().manual_seed(seed))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.pt"
            pretrain(c, torch.Generator().manual_seed(seed), checkpoint=path, until=100)
            continued = pretrain(c, torch.Generator(), checkpoint=path)
        errors += [float((a - b).abs().max()) for a, b in zip(whole, continued, strict=True)]
    return Evidence(largest(errors), 0.0, "150 steps, stopped after 100, masked and free")


def polynomial(rng):
    """The token network against sums of products of M and MP, formed by the plain loops' room."""
    errors = []
    for layers in (1, 2, 4) * 3:
        size, n, discount = 4, int(rng.integers(12, 30)), rng.uniform(0, 0.95)
        states, reward = rng.integers(size, size=n + 1), rng.normal(size=size)
        states[-1] = states[0]  # so that the query is a state that the context knows
        features, (value, _) = rng.normal(size=(size, 3)), random_masked(rng, layers, 1, 3)
        matching = matching_matrix(features, states)
        seen, transition = empirical_model(states, reward[states[:-1]], size)
        expected, rows = 0, value[:, 0, -1, -3:].numpy()
        for first in range(layers):
            term = rows[first, 0] * matching @ seen
            for a_later in rows[first + 1 :]:
                operator = np.eye(size) + a_later[2] * matching
                term = (operator + a_later[1] * discount * matching @ transition) @ term
            expected = expected + term
        score = torch.diag(torch.tensor([1.0] * 3 + [0.0] * 3, dtype=torch.float64))
        network = SoftmaxTransformer(layers, discount, value[:, 0], score)
        computed = network.values(softmax_td_prompt(features, states, reward[states[:-1]]))[-1]
        errors.append(relative_error(computed, expected[states]))
    return Evidence(largest(errors), 1e-11, "9 networks of 1 to 4 layers with their own rows, 4 states")


def covering(c, rng, num=40):
    """Tasks whose context visits every state."""
    tasks = emergence.fresh_tasks(replace(c, kind="random", num_transitions=60), num, generator(rng))
    context = tables(tasks.states, tasks.worlds.reward)
    return tasks, context, (context.visits > 0).all(-1)[0]


def horner(rng):
    """A random polynomial, reached by rows (a_l, 1, -1), against its sum of powers."""
    errors = []
    for layers in range(1, 8):
        c = replace(SMALL, num_layers=layers, discount=rng.uniform(0, 0.95))
        wanted = torch.from_numpy(rng.normal(size=layers))
        tasks, context, covers = covering(c, rng)
        reached = emergence.focused_values(c, emergence.horner_rows(wanted), tasks)[covers]
        expected, power = 0, context.reward[0, covers, :, None]
        for coefficient in wanted:
            expected = expected + coefficient * power[..., 0]
            power = c.discount * context.transition[0, covers] @ power
        errors.append(relative_error(reached, expected))
    return Evidence(largest(errors), 1e-12, "7 random polynomials, up to 40 contexts each")


def construction_gap(rng):
    """With M = I the construction misses the certainty-equivalence value by (gamma P)^L of it."""
    errors = []
    for layers in (1, 3, 8):
        c = replace(SMALL, num_layers=layers, discount=rng.uniform(0.3, 0.95))
        tasks, context, covers = covering(c, rng)
        rows = torch.tensor([[1.0, 1.0, -1.0]], dtype=torch.float64)
        left = emergence.certainty_equivalence(c, tasks)[0, covers]
        missing = left - emergence.focused_values(c, rows, tasks)[covers]
        for _ in range(layers):
            left = c.discount * (context.transition[0, covers] @ left[..., None])[..., 0]
        errors.append(relative_error(missing, left))
    return Evidence(largest(errors), 1e-11, "3 depths, up to 40 contexts each")


def two_jobs(rng):
    """Stationary counts, uniform and not: the network against p on deviations and w on the mean reward."""
    errors = []
    for trial, layers in enumerate((1, 2, 3, 5) * 3):
        size, discount, sharp = int(rng.integers(2, 6)), rng.uniform(0, 0.95), rng.uniform(0, 4)
        counts = sum(np.eye(size)[rng.permutation(size)] for _ in range(7))  # rows and columns sum to 7
        reward, rows = rng.normal(size=size), torch.from_numpy(rng.normal(size=(layers, 3)))
        scores, focus = sharp * np.eye(size), (np.exp(sharp) - 1) / (np.exp(sharp) - 1 + size)
        if trial % 3:  # a few laps around some of the states: as often left as entered, not all alike
            for _ in range(4):
                some = rng.permutation(size)[: rng.integers(1, size + 1)]
                counts[some, np.roll(some, 1)] += 1
            share = counts.sum(axis=1) / counts.sum()
            scores = np.log((focus * np.eye(size) + (1 - focus) * share) / share)
        context = tables_of_counts(torch.from_numpy(counts), torch.from_numpy(reward))
        computed = table_values(rows, torch.from_numpy(scores)[None], context, discount, layers)[-1]
        seen = emergence.response(rows, layers, discount=discount, focus=focus)
        mean = counts.sum(axis=1) @ reward / counts.sum()
        power = reward - mean
        expected = np.full(size, seen.mean_gain * mean)
        for coefficient in seen.coefficients.tolist():
            expected = expected + coefficient * power
            power = discount * (counts @ power) / counts.sum(axis=1)
        errors.append(relative_error(computed, expected))
    return Evidence(largest(errors), 1e-11, "12 networks with random rows, sharpness and contexts")


def explained(c, tasks, said):
    """The share by two regressions in NumPy, on contexts read by plain loops."""
    rows = []
    for states, reward in zip(tasks.states[0].numpy(), tasks.worlds.reward[0].numpy(), strict=True):
        seen, transition = empirical_model(states, reward[states[:-1]], len(reward))
        mean = reward[states[:-1]].mean()
        power = np.where(np.isin(np.arange(len(reward)), states[:-1]), seen - mean, 0)
        rows.append([mean])
        for _ in range(c.num_layers):
            rows[-1].append(power[states[-1]])
            power = c.discount * transition @ power
    left = [
        ((said - basis @ np.linalg.lstsq(basis, said, rcond=None)[0]) ** 2).mean()
        for basis in (np.array(rows)[:, :1], np.array(rows))
    ]
    return 1 - left[1] / left[0]


def fit(rng):
    """Values made by plain loops from a known p and w: the fit must give both back."""
    errors = []
    for layers in (1, 3, 4):
        c = replace(SMALL, num_layers=layers, num_states=5, discount=rng.uniform(0.3, 0.95))
        tasks = emergence.fresh_tasks(replace(c, kind="random", num_transitions=40), 60, generator(rng))
        wanted, gain, values = rng.normal(size=layers), rng.normal(), []
        for states, rewards in zip(tasks.states[0].numpy(), tasks.worlds.reward[0].numpy(), strict=True):
            seen, transition = empirical_model(states, rewards[states[:-1]], 5)
            mean = rewards[states[:-1]].mean()
            power = np.where(np.isin(np.arange(5), states[:-1]), seen - mean, 0)
            total = np.full(5, gain * mean)
            for coefficient in wanted:
                total = total + coefficient * power
                power = c.discount * transition @ power
            values.append(total[states[-1]])
        (found,), share = emergence.fitted_response(c, torch.tensor([values]), tasks)
        errors += [relative_error(found.coefficients, wanted), abs(found.mean_gain - gain)]
        errors.append(abs(float(share[0]) - 1))
        noise = torch.from_numpy(rng.normal(size=(1, len(values))))
        _, share = emergence.fitted_response(c, torch.tensor([values]) + noise, tasks)
        errors.append(abs(float(share[0]) - explained(c, tasks, (np.array(values) + noise.numpy()[0]))))
    return Evidence(largest(errors), 1e-9, "3 depths, 60 contexts each, random p and w")


def root_form(rng):
    """Random rows shared by L layers: coefficients against the product over roots of unity, and the roots."""
    errors = []
    for layers in range(1, 10):
        a, b, c = (float(x) for x in rng.choice([-1, 1], 3) * rng.uniform(0.5, 1.5, 3))
        row = torch.tensor([[a, b, c]], dtype=torch.float64)
        computed = emergence.response(row, layers, discount=0.5).coefficients.numpy()
        omega = np.exp(2j * np.pi * np.arange(1, layers) / layers)
        product = np.array([a + 0j])
        for w in omega:
            product = np.convolve(product, [1 + c - w, b])
        errors.append(np.abs(computed - product).max() / np.abs(product).max())
        roots = np.roots(computed[::-1])
        real = roots[np.abs(roots.imag) < 1e-6 * np.abs(roots).max()].real if layers > 1 else roots
        errors.append(float(len(real) != (layers % 2 == 0)))  # one for even L, none for odd
        if layers % 2 == 0:
            errors.append(np.abs(real + (2 + c) / b).max(initial=0) / max(1, abs((2 + c) / b)))
        if layers == 3:
            discriminant = computed[1] ** 2 - 4 * computed[0] * computed[2]
            errors.append(abs(discriminant + 3 * (a * b) ** 2) / (a * b) ** 2)
    return Evidence(largest(errors), 1e-8, "9 depths, random rows: coefficients, real roots, discriminant")


def claim(name, source, statement, kind, section, check, **more):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, CHAPTER + section, check, **more)


CLAIMS = Claims(
    claim(
        "pretraining-tables",
        "ours",
        "Under the masks the value of a column depends on its state only: tables of counts give the token "
        "network's values at every layer and column.",
        "identity",
        "table",
        fast_path,
    ),
    claim(
        "pretraining-gradients",
        "ours",
        "The semi-gradient of a batch of seeds and prompts is that of one prompt at a time.",
        "identity",
        "table",
        gradients,
    ),
    claim(
        "pretraining-resume",
        "ours",
        "A run that is stopped and continued from its checkpoint ends bit for bit where it would have ended.",
        "identity",
        "larger",
        resume,
    ),
    claim(
        "forward-polynomial",
        "ours",
        r"The output is "
        r"$\sum_l\prod_{k>l}(I+c_k\widehat M+b_k\gamma\widehat M\widehat P)\,a_l\widehat M\hat r$, "
        "later layers to the left.",
        "identity",
        "polynomials",
        polynomial,
    ),
    claim(
        "horner-reachability",
        "ours",
        r"On covered contexts with $\widehat M=I$ rows $(a_l,1,-1)$ reach every polynomial of degree below "
        r"$L$ in $\gamma\widehat P$.",
        "identity",
        "polynomials",
        horner,
    ),
    claim(
        "construction-gap",
        "ours",
        r"On covered contexts with $\widehat M=I$ the construction misses $\hat v$ by exactly "
        r"$(\gamma\widehat P)^L\hat v$.",
        "identity",
        "polynomials",
        construction_gap,
    ),
    claim(
        "two-jobs",
        "ours",
        r"On covered contexts with attention $mI+(1-m)\mathbf 1\nu^\top$, $\nu$ stationary, the network is a "
        "polynomial on deviations from the mean reward and a separate factor on the mean.",
        "identity",
        "jobs",
        two_jobs,
    ),
    claim(
        "response-fit",
        "ours",
        "The fit of $p$ and $w$ to what a network says gives back those that were put in.",
        "identity",
        "jobs",
        fit,
    ),
    claim(
        "shared-row-roots",
        "ours",
        r"With $\widehat M=I$ one row for $L$ layers gives $a\prod_{\omega\ne1}(1+c+bx-\omega)$ over the "
        r"$L$-th roots of unity: for $a,b\ne0$ one real root, $-(2+c)/b$, for even $L$, none for odd.",
        "identity",
        "polynomials",
        root_form,
    ),
)
