"""Claims of the chapter `depth` on the least error there is: optima, other classes of networks, momentum.

And on what training finds.
"""

import numpy as np
import torch
from scipy.optimize import linprog

from icrl import depth, softmax_transformer
from icrl.claims.depth import CHAPTER, KINDS, by_counts, draw_context, of_states, run, td_weights
from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.pretraining import Configuration, fresh_tasks, pretrain, query_values
from icrl.softmax_transformer import SoftmaxTransformer


def focused_answer(rng, states, num_layers, num_states):
    """A random focused network, every matrix written out: the row by which its answer reads the rewards.

    Three memory rows, two heads, matrices of its own in each layer; column by column, one unit reward at a
    time. Returns ``(num_states,)``.
    """
    sources, columns, rows = states[:-1], len(states), 3
    attention = (sources[:, None] == states).astype(float)
    attention /= attention.sum(axis=0)
    back = np.eye(columns, k=-1)
    layers = [
        (rng.normal(size=(2, rows, rows)), rng.normal(size=(2, rows, rows + 1))) for _ in range(num_layers)
    ]
    form, read = rng.normal(size=rows), np.empty(num_states)
    for s in range(num_states):
        memory = np.zeros((rows, columns))
        reward = np.append(sources == s, 0.0)
        for (keep, move), heads in layers:
            tokens = np.vstack([reward, memory])[:, :-1]
            memory = memory + sum(head @ tokens @ attention for head in heads)
            memory = keep @ memory + move @ memory @ back
        read[s] = form @ memory[:, -1]
    return read


def focused_minimax(rng):
    """Programmes on cycles against the formulas, random focused networks, TD on contexts of any chain."""
    errors = []
    for _ in range(20):
        size, gamma = int(rng.integers(3, 9)), float(rng.uniform(0.2, 0.97))
        layers, states = int(rng.integers(1, size)), np.arange(3 * size + 1) % size
        read = focused_answer(rng, states, layers, size)
        read /= max(1.0, np.abs(read).max())
        errors.append(np.abs(read[layers:]).max())  # it sees as many steps ahead as it has layers
        bellman = np.eye(size) - gamma * depth.cycle(size)
        errors.append(gamma**layers - np.abs(np.eye(size)[0] - read @ bellman).sum())
    for _ in range(12):
        size, gamma = int(rng.integers(2, 9)), float(rng.uniform(0.2, 0.97))
        layers = int(rng.integers(1, size))
        chain, last = depth.cycle(size), gamma**size
        value = depth.best_on_chain(chain, gamma, layers, rewards="value").error
        bounded = depth.best_on_chain(chain, gamma, layers, rewards="bounded").error
        errors.append(abs(value - gamma**layers))
        errors.append(abs(bounded - (gamma**layers - last) / ((1 - gamma) * (1 - last))))
        errors.append(depth.best_on_chain(chain, gamma, size, rewards="value").error)  # m layers: exact
        features, states, rewards, gamma = draw_context(rng, focused=True)
        _, reward, transition = by_counts(states, rewards)
        value = np.linalg.solve(np.eye(len(reward)) - gamma * transition, reward)
        rows = run(td_weights(len(features), layers), features, states, rewards, gamma)
        bound = gamma ** np.arange(layers + 1) * np.abs(value).max()
        errors.append((np.abs(rows - value).max(axis=1) - bound).max())
    return Evidence(
        largest(errors), 1e-8, "12 cycles by programme, 20 networks, 12 contexts; difference or excess"
    )


def circle_optimum(rng):
    """The optimum in the 2-norm, bracketed by a programme, and its polynomial as a network on any chain."""
    errors, slack = [], 1 / np.cos(np.pi / 64)
    for layers in (1, 2, 3, 5):
        gamma = float(rng.uniform(0.3, 0.9))
        formula = gamma**layers / (1 - gamma**2)
        found = depth.best_on_circle(gamma, layers)
        errors.append(max(found.error - formula, formula - slack * found.error) / formula)
        plain = depth.best_on_circle(gamma, layers, rewards="value").error
        errors.append(max(plain - gamma**layers, gamma**layers - slack * plain) / gamma**layers)
        z = np.exp(1j * rng.uniform(0, 2 * np.pi, size=50))
        exact = np.polynomial.polynomial.polyval(gamma * z, depth.circle_polynomial(layers, gamma))
        errors.append(np.abs(np.abs(exact - 1 / (1 - gamma * z)) - formula).max())
        for _ in range(20):
            features, states, rewards, _ = draw_context(rng, focused=True)
            share, reward, transition = by_counts(states, rewards)
            value, score = td_weights(len(features), layers)
            value[0, -1, -3] = 1 / (1 - gamma**2)
            output = run((value, score), features, states, rewards, gamma)[-1]
            miss = output - np.linalg.solve(np.eye(len(reward)) - gamma * transition, reward)
            errors.append(np.sqrt(share @ miss**2) - formula * np.sqrt(share @ reward**2))
    return Evidence(largest(errors), 1e-6, "4 depths by linear programme, 80 contexts; difference or excess")


def least_on_ring(size, gamma, rho, layers, averaging):
    """The least worst error on a lazy ring of any size, in closed form: no programme.

    With x = gamma rho the error at state 0 is sum_j (c_j - mean c) r_j, at most the sum of positive parts.
    Where averages may be taken the first L entries are free, and best level with the mean. Where not, the
    first L + 1 must make up for the rest on constants: at the last of them that is cheapest, and the others
    are level with the mean.
    """
    j, x = np.arange(size), gamma * rho
    c = x**j / -np.expm1(size * np.log(x))
    if averaging:
        tail = c[layers:]
        return np.maximum(tail - tail.sum() / len(tail), 0).sum()
    # Unknown mean y: entries below L are y; entry L is c_L + rho^L d_L with all d_k adding up to -D.
    powers, wrap, missing = rho ** np.arange(layers + 1), c[: layers + 1] * x**size, gamma ** (layers + 1)
    fixed = wrap[-1] + powers[-1] * ((wrap[:-1] / powers[:-1]).sum() - missing / (1 - gamma))
    slope = -powers[-1] * (1 / powers[:-1]).sum()
    y = (fixed + c[layers + 1 :].sum()) / (size - layers - slope)
    assert y < c[-1]  # so that no other entry lies below the mean
    return y - (fixed + slope * y)


def mixing_limits(gamma, rho, layers):
    """The theorem's two numbers: with an average in the last layer, and with a focused one in its place."""
    decayed = (gamma * rho) ** layers
    return decayed / (1 - gamma * rho), decayed * gamma / (1 - gamma)


def mixing_minimax(rng):
    """Programmes on lazy rings against closed forms, these on endless rings against the two limits.

    Then both networks on random chains, and on a long ring, where they attain them.
    """
    errors = []
    for _ in range(4):
        gamma, rho, layers = (
            float(rng.uniform(0.3, 0.95)),
            float(rng.uniform(0.2, 0.9)),
            int(rng.integers(1, 5)),
        )
        options = {"rewards": "span", "states": [0]}
        limits = mixing_limits(gamma, rho, layers)
        for averaging, limit in zip((True, False), limits, strict=True):
            size = int(rng.integers(30, 50))
            depth_of = layers if averaging else layers + 1
            chain = depth.lazy_cycle(size, rho)
            seen = depth.best_on_chain(chain, gamma, depth_of, averaging=averaging, **options).error
            exact = least_on_ring(size, gamma, rho, layers, averaging)
            errors.append(abs(seen / exact - 1))
            endless = least_on_ring(300_000, gamma, rho, layers, averaging) / limit
            errors += [endless - 1, 0.9995 - endless]
        errors.append(float(depth.worth_a_layer(gamma, rho) != (limits[0] < limits[1])))
    for _ in range(40):
        features, states, rewards, gamma = draw_context(rng, focused=True)
        _, reward, transition = by_counts(states, rewards)
        rho, layers = depth.dobrushin(transition), int(rng.integers(1, 6))
        if rho <= 0.999:
            off = misses_of_both(features, states, reward, transition, gamma, layers)
            for miss, limit in zip(off, mixing_limits(gamma, rho, layers), strict=True):
                limit *= np.ptp(reward)
                errors.append((miss - limit) / max(1, limit))
    # The ring itself, of 300 states, and the rewards that hurt: rho = 1, 0.97 of the bound and all of it.
    ring, gamma, layers = depth.cycle(300), float(rng.uniform(0.2, 0.3)), int(rng.integers(1, 4))
    states, place = np.arange(301) % 300, np.arange(300)
    for part, reward in enumerate(
        (((place >= layers) & (place < layers + 4)) + 0.0, 1.0 - (place == layers))
    ):
        miss = misses_of_both(30 * np.eye(300), states, reward, ring, gamma, layers)[part]
        used = miss / mixing_limits(gamma, 1.0, layers)[part]
        errors += [used - 1, (0.97, 1 - 1e-9)[part] - used]
    return Evidence(
        largest(errors), 1e-6, "8 rings by linear programme, 40 contexts, one ring of 300; excess"
    )


def misses_of_both(features, states, reward, transition, gamma, layers):
    """Largest errors of the price last and of the own price, with as many layers."""
    value, size = np.linalg.solve(np.eye(len(reward)) - gamma * transition, reward), len(reward)
    last = softmax_transformer.priced_td_weights(size, layers, gamma)
    own = depth.own_price_weights(size, layers + 1, gamma)
    return [
        np.abs(run(weights, features, states, reward[states[:-1]], gamma)[-1] - value).max()
        for weights in (last, own)
    ]


def doubled_paths(rng):
    """The network that writes features, on cycles: its error is gamma^(2^(L-1)) of the value, exactly."""
    errors = []
    for size, layers, gamma in ((64, 7, 0.95), (20, 5, 0.9), (7, 3, 0.8)):
        reward, states = rng.uniform(-1, 1, size), np.arange(size + 1) % size
        value = np.linalg.solve(np.eye(size) - gamma * depth.cycle(size), reward)
        weights = depth.doubling_weights(size, layers, gamma)
        model = SoftmaxTransformer(layers, gamma, *weights)
        row = model.values(depth.doubling_prompt(states, reward, size))[-1].numpy()
        steps = 2 ** (layers - 1)
        expected = value - gamma**steps * np.roll(value, -(steps % size))
        errors.append(relative_error(row, expected[states]))
    return Evidence(largest(errors), 1e-12, "cycles of 64, 20 and 7 states with 7, 5 and 3 layers")


def momentum(rng):
    """The network with one more memory row, against Chebyshev's polynomials of an eigendecomposition."""
    errors = []
    for _ in range(40):
        features, states, rewards, gamma = draw_context(rng, focused=True)
        _, reward, transition = by_counts(states, rewards)
        size, layers = len(reward), int(rng.integers(1, 9))
        value = np.linalg.solve(np.eye(size) - gamma * transition, reward)
        weights = depth.momentum_weights(size, layers, gamma)
        model = SoftmaxTransformer(layers, gamma, *weights)
        rows = model.values(depth.momentum_prompt(features, states, rewards)).numpy()
        for layer, row in enumerate(rows):
            chosen = np.append(np.zeros(layer), 1)
            series = np.polynomial.chebyshev.cheb2poly(chosen)
            left = sum(c * np.linalg.matrix_power(transition, k) for k, c in enumerate(series)) @ value
            scale = np.cosh(layer * np.arccosh(1 / gamma))
            errors.append(relative_error(of_states(row, states), value - left / scale))
    return Evidence(largest(errors), 1e-10, "40 contexts, every layer")


def momentum_condition(rng):
    """The condition on eigenvalues against growth over 600 layers; and the extremal cycle of four."""
    wrong, seen = 0, 0
    while seen < 100:
        size, gamma = int(rng.integers(2, 7)), float(rng.uniform(0.5, 0.99))
        chain = (
            depth.lazy_cycle(size, rng.uniform()) if seen % 2 else KINDS[seen % 3](size, 0.5, rng).transition
        )
        eigenvalues = np.linalg.eigvals(chain)
        size = eigenvalues.real**2 + eigenvalues.imag**2 / (1 - gamma**2)
        if np.abs(gamma**2 * size.max() - 1) < 0.03:
            continue
        seen += 1
        previous, current = np.eye(len(chain)), gamma * chain
        omega, log = 2 / (2 - gamma**2), 0.0
        for step in range(800):
            previous, current = current, omega * (gamma * chain @ current - previous) + previous
            omega = 1 / (1 - gamma**2 * omega / 4)
            norm = np.abs(current).max() + np.abs(previous).max()
            log += np.log(norm) * (step >= 200)
            previous, current = previous / norm, current / norm
        wrong += (log < 0) != depth.momentum_converges(chain, gamma)
    four = depth.cycle(4)
    for gamma, converges in ((0.70, True), (0.7072, False)):
        wrong += depth.momentum_converges(four, gamma) != converges
    return Evidence(float(wrong), 0.0, "100 chains and the cycle of four; wrong verdicts")


def reversible_bound(gamma, layers):
    """``1 / T_L(1 / gamma)``, by its hyperbolic form."""
    return 1 / np.cosh(layers * np.arccosh(1 / gamma))


def momentum_reversible(rng):
    """On reversible chains: the bound, attained, its rate in closed form, and no polynomial below it."""
    errors = []
    for _ in range(40):
        size, gamma, layers = int(rng.integers(2, 8)), float(rng.uniform(0.3, 0.98)), int(rng.integers(1, 12))
        flow = rng.uniform(size=(size, size)) * (rng.uniform(size=(size, size)) < 0.7) + 1e-3
        flow += flow.T
        share, chain = flow.sum(axis=1) / flow.sum(), flow / flow.sum(axis=1, keepdims=True)
        bound, kappa = reversible_bound(gamma, layers), gamma / (1 + np.sqrt(1 - gamma**2))
        for e in (rng.normal(size=size), np.ones(size)):
            left = depth.chebyshev_error(chain, e, gamma, layers)[-1]
            used = np.sqrt(share @ left**2) - bound * np.sqrt(share @ e**2)
            errors.append(used)
        errors.append(abs(used))  # constants are multiplied by the bound
        errors.append(abs(bound - 2 * kappa**layers / (1 + kappa ** (2 * layers))))
    # The walk on a ring of 2 L states has the eigenvalues where Chebyshev's polynomial is largest.
    for layers in range(1, 7):
        gamma, ring = float(rng.uniform(0.3, 0.98)), depth.cycle(2 * layers)
        nodes = np.unique(np.linalg.eigvalsh((ring + ring.T) / 2).round(12))
        # 1 - (1 - gamma x) p(x) at these, for p in Chebyshev's basis: its largest size made least.
        basis = (1 - gamma * nodes)[:, None] * np.polynomial.chebyshev.chebvander(nodes, layers - 1)
        size = -np.ones((len(nodes), 1))
        rows, right = np.block([[-basis, size], [basis, size]]), np.ones(len(nodes))
        cost, free = np.append(np.zeros(layers), 1), [(None, None)] * (layers + 1)
        least = linprog(cost, rows, np.append(-right, right), bounds=free).fun
        errors.append(1e-4 * abs(least / reversible_bound(gamma, layers) - 1))
    return Evidence(largest(errors), 1e-11, "40 reversible chains, 6 programmes; difference or excess")


def averaging_emerges(rng):
    """Trained live on Boyan chains: who has a layer that averages, and which head the answers are near to.

    With weights of their own 546 of 636 networks had one, with shared ones one of 700. They are independent:
    that fewer than half of 24 have one has probability 9e-6, that more than 2 of 12 have 1.4e-5, the rates
    being drawn from what these counts leave open. How near the answers are is said of the median: eleven
    of 192 networks are beyond its limit, one by far, of the shared ones none of 96; at the upper ends of 99 %
    for these rates half of the networks are with probability 2e-5.
    """
    generator, counts = torch.Generator().manual_seed(int(rng.integers(2**31))), []
    for weights, networks in (("per-layer", 24), ("shared", 12)):
        c = Configuration(
            discount=0.9,
            num_states=5,
            num_layers=2,
            num_seeds=networks,
            num_steps=300,
            num_prompts=32,
            weights=weights,
        )
        run = pretrain(c, generator, dtype=torch.float32)
        value, score = run.value_weights[-1].double(), run.score_weights[-1].double()
        counts.append(int((depth.layer_focus(c, score) < 0.2).any(0).sum()))
        tasks = fresh_tasks(c, 1000, generator)
        said, query = query_values(c, value, score, tasks), tasks.states[..., -1:]
        heads = depth.estimates(depth.sharp(tasks), c.discount, c.num_layers).layers
        away = [
            (said - heads[name][-1].gather(-1, query)[..., 0]).square().mean(-1)
            for name in ("price last", "TD")
        ]
        counts.append(float((away[0] / away[1]).quantile(0.5)))
    own, near, shared, also = counts
    error = max(0, 12 - own, shared - 2) + max(0.0, near - 0.2, also - 0.2)
    return Evidence(
        error,
        0.0,
        f"2 layers: {own} of 24 networks average with weights of their own, {shared} of 12 with shared ones",
    )


CLAIMS = Claims(
    Claim(
        "focused-minimax",
        "ours",
        r"On a cycle longer than the depth the least worst error of a focused network is $\gamma^L$ of "
        r"the value, and $(\gamma^L-\gamma^m)/((1-\gamma)(1-\gamma^m))$ for rewards in $[-1,1]$; TD leaves "
        r"at most $\gamma^L$ of the value on every covered context with $\widehat M=I$.",
        "bound",
        CHAPTER + "focused",
        focused_minimax,
    ),
    Claim(
        "circle-optimum",
        "ours",
        r"In the stationary 2-norm the least worst error over all chains is $\gamma^L/(1-\gamma^2)$ of "
        r"the reward; TD reaches it with its last coefficient over $1-\gamma^2$.",
        "bound",
        CHAPTER + "circle",
        circle_optimum,
    ),
    Claim(
        "minimax-with-mixing",
        "ours",
        r"Over chains with $\tau_1\le\rho$ and rewards of any offset the least worst error is "
        r"$(\gamma\rho)^L/(1-\gamma\rho)$ of the reward's span with averaging, "
        r"$\gamma(\gamma\rho)^L/(1-\gamma)$ with one more focused layer instead.",
        "bound",
        CHAPTER + "mixing",
        mixing_minimax,
    ),
    Claim(
        "doubled-paths",
        "ours",
        r"A network that writes features leaves $\gamma^{2^{L-1}}$ of the value of a cycle.",
        "identity",
        CHAPTER + "outside",
        doubled_paths,
    ),
    Claim(
        "momentum-layer",
        "Golub and Varga (1961); as attention, ours",
        r"One more memory row makes the layers Chebyshev's semi-iteration where $\widehat M=I$: the "
        r"error after $l$ of them is $T_l(\widehat P)e_0/T_l(1/\gamma)$.",
        "identity",
        CHAPTER + "momentum",
        momentum,
    ),
    Claim(
        "momentum-converges",
        "after Manteuffel (1977)",
        "It converges iff every eigenvalue has "
        r"$(\mathrm{Re}\lambda)^2+(\mathrm{Im}\lambda)^2/(1-\gamma^2)<1/\gamma^2$; on all chains iff "
        r"$\gamma<1/\sqrt2$.",
        "identity",
        CHAPTER + "momentum",
        momentum_condition,
    ),
    Claim(
        "momentum-reversible",
        "Golub and Varga (1961)",
        r"On reversible chains it leaves at most $1/T_L(1/\gamma)$, of rate "
        r"$\gamma/(1+\sqrt{1-\gamma^2})$, and no polynomial of that degree leaves less on the walk around "
        r"$2L$ states.",
        "bound",
        CHAPTER + "momentum",
        momentum_reversible,
    ),
    Claim(
        "averaging-emerges",
        "ours",
        "Of networks of two layers trained on Boyan chains at least 12 in 24 get a layer of a focus "
        "below 0.2 (hardly preferring the own state) if each has weights of its own, at most 2 in 12 if "
        "they share them; in the median of either the answers are more than five times nearer to those of "
        "priced TD than of TD, in mean square.",
        "control",
        CHAPTER + "emerges",
        averaging_emerges,
        risk=5e-5,
    ),
)
