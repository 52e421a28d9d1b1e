"""Claims of the chapter `standard-transformer`."""

from dataclasses import replace

import numpy as np
import torch

from icrl import standard_transformer as study
from icrl.claims.registry import Claim, Evidence, largest, relative_error
from icrl.standard_transformer import Setting

LAWS = (
    Setting(num_layers=2, num_transitions=40),
    Setting(kinds=("loop",), discount=0.9, num_layers=3, num_heads=2, width=16, num_transitions=30),
    Setting(kinds=("boyan", "random"), num_states=4, num_names=6, num_layers=1, num_transitions=25),
)


def torch_generator(rng):
    """A source of randomness for torch out of one for NumPy."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def compression(rng):
    """The encoder of PyTorch on every transition, and the stack on distinct tokens with counts."""
    errors, generator = [], torch_generator(rng)
    for setting in LAWS:
        parameters = study.initial_parameters(setting.architecture, 3, generator, torch.float64)
        noise = torch.randn(parameters.shape, generator=generator, dtype=torch.float64)
        parameters = parameters + 0.3 * noise
        prompts = setting.draw((4,), generator)
        fast = study.predict(setting, parameters, prompts)
        for seed in range(3):
            network = study.plain_network(setting.architecture, parameters, seed)
            for i in range(4):
                with torch.no_grad():
                    slow = network(*study.literal(study.one_prompt(prompts, i)))
                errors.append(relative_error(fast[seed, i], slow))
    return Evidence(largest(errors), 1e-10, "3 laws, 3 networks, 4 contexts each")


def rewards_and_rows(counts, reward):
    """What one context says, state by state, with the common rule for states that were never visited."""
    share = counts.sum(1) / counts.sum()
    mean = share @ reward
    seen = counts.sum(1) > 0
    rows = np.array([row / row.sum() if row.sum() else share for row in counts])
    return np.where(seen, reward, mean), rows, mean


def polynomials(rng):
    """TD from 0, TD from the price, and the limit of both, by plain loops against their coefficients."""
    errors = []
    for kind in ("boyan", "loop", "random"):
        for gamma in (0.5, 0.9):
            setting = Setting(kinds=(kind,), discount=gamma, num_transitions=int(rng.integers(8, 60)))
            prompts = setting.draw((5,), torch_generator(rng))
            model = study.empirical(prompts.counts)
            for start in ("zero", "price"):
                depth = int(rng.integers(1, 6))
                coefficients = study.td(depth, gamma) if start == "zero" else study.priced(depth)
                ours = study.combination(coefficients, model, gamma) @ prompts.reward[..., None]
                exact = study.certainty_equivalence(model, gamma) @ prompts.reward[..., None]
                for i in range(5):
                    reward, rows, mean = rewards_and_rows(
                        prompts.counts[i].numpy(), prompts.reward[i].numpy()
                    )
                    value = np.full(5, mean / (1 - gamma) if start == "price" else 0.0)
                    for iteration in range(600):
                        if iteration == depth:
                            errors.append(relative_error(ours[i, :, 0], value))
                        value = reward + gamma * rows @ value
                    errors.append(relative_error(exact[i, :, 0], value))
    return Evidence(largest(errors), 1e-9, "30 contexts of 3 kinds, depths 1 to 5, and 600 iterations")


def instrument(rng):
    """The fit of the Jacobian gives back the coefficients of TD and of priced TD, and the shift response."""
    errors, generator = [], torch_generator(rng)
    for setting in LAWS:
        prompts, gamma = setting.draw((40,), generator), setting.discount
        model = study.empirical(prompts.counts)
        for depth in (1, 2, 3):
            fitted, _ = study.coefficients(
                study.combination(study.td(depth, gamma), model, gamma), prompts, gamma
            )
            powers = [float(j < depth) for j in range(3)]
            errors.append(relative_error(fitted, [*powers, 1 - gamma**depth]))
            matrix = study.combination(study.priced(depth), model, gamma)
            fitted, _ = study.coefficients(matrix, prompts, gamma)
            errors.append(relative_error(fitted, [*powers, 1.0]))
            weights = torch.from_numpy(rng.normal(size=depth + 1))
            matrix = study.combination(weights, model, gamma)
            errors.append(relative_error((1 - gamma) * matrix.sum(-1), weights[-1].expand(matrix.shape[:-1])))
    return Evidence(largest(errors), 1e-8, "3 laws, depths 1 to 3")


def swap(rng):
    """Exchanged successors: the mean reward stays; one power moves the chosen state and no other."""
    errors, generator = [], torch_generator(rng)
    for setting in LAWS:
        prompts = setting.draw((60,), generator)
        after = study.swapped(prompts, generator)
        models = [study.empirical(x.counts) for x in (prompts, after)]
        changed = (after.counts != prompts.counts).any(-1)
        values = [
            [
                (study.combination(study.priced(k), m, setting.discount) @ prompts.reward[..., None])[..., 0]
                for m in models
            ]
            for k in (1, 2)
        ]
        errors.append(float((values[0][0] - values[0][1]).abs().max()))
        moved = (values[1][0] - values[1][1]).abs() > 1e-12
        errors.append(float((moved & ~changed).sum()))
        errors.append(float((changed.sum(-1) > 1).sum()))
        errors.append(float(max(0, 60 - 2 * changed.any(-1).sum())))  # most contexts have such a state
    return Evidence(
        largest(errors), 1e-12, "180 contexts of 3 laws; a state moved beside the chosen one counts as 1"
    )


def worlds_separate(rng):
    """By error alone two rivals coincide on short-sighted Boyan chains and differ on far-sighted rings."""
    lacking = []
    for setting, far in ((Setting(), False), (Setting(kinds=("loop",), discount=0.9), True)):
        generator, gamma = torch_generator(rng), setting.discount
        rivals = study.fit_rivals(setting.draw((5000,), generator), gamma)
        prompts = setting.draw((5000,), generator)
        values = study.values_of(study.rival_operators(prompts, gamma, rivals, generator), prompts.reward)
        errors = {k: float(prompts.mean_square(v - prompts.value).mean()) for k, v in values.items()}
        ratio = errors["linear 2"] / errors["certainty equivalence"]
        lacking.append(1.25 - ratio if far else abs(ratio - 1) - 0.1)
    return Evidence(
        max(0.0, largest(lacking)), 0.0, "5000 worlds each; error of the best quadratic over that of c.e."
    )


def oracle(rng):
    """On its own law nothing errs less than the posterior mean, on the same worlds."""
    excess = []
    for kind, n in (("boyan", 40), ("loop", 20), ("random", 30)):
        setting, generator = Setting(kinds=(kind,), discount=0.9, num_transitions=n), torch_generator(rng)
        rivals = study.fit_rivals(setting.draw((2000,), generator), 0.9)
        prompts = setting.draw((2000,), generator)
        operators = study.rival_operators(prompts, 0.9, rivals, generator, 3, kind)
        values = study.values_of(operators, prompts.reward)
        errors = {k: prompts.mean_square(v - prompts.value) for k, v in values.items()}
        least = errors.pop("bayes")
        for error in errors.values():
            less, half = study.paired(least[None], error)
            excess.append(float(less / (half / 1.96)))
    return Evidence(largest(excess), 4.0, "3 kinds, 2000 worlds each; error: excess in standard errors")


def small_network():
    """Two one-layer networks, trained for a few seconds from a fixed generator."""
    setting = Setting(num_layers=1, num_seeds=2, num_prompts=16, num_steps=400, num_states=4, num_names=4)
    return study.train(setting, torch.Generator().manual_seed(7))


def one_layer_learns(rng):
    """The mean is priced beyond what one TD layer can, and the error is below that of reward plus price."""
    run, generator = small_network(), torch_generator(rng)
    setting, parameters = run.setting, run.parameters.double()
    prompts = setting.draw((1500,), generator)
    model = study.empirical(prompts.counts)
    fitted, _ = study.coefficients(study.jacobian(setting, parameters, prompts), prompts, setting.discount)
    price = fitted[:, -1]
    ours = study.squared_errors(setting, parameters, prompts)
    lacking = [0.8 - price.min(), price.max() - 1.1, 0.6 - fitted[:, 0].min()]
    for coefficients in (study.td(1, setting.discount), torch.tensor([0.0, 1.0])):
        values = study.combination(coefficients, model, setting.discount) @ prompts.reward[..., None]
        rival = prompts.mean_square(values[..., 0] - prompts.value).mean()
        lacking.append(ours.mean(-1).max() / rival - 0.6)
    return Evidence(
        max(0.0, largest(float(x) for x in lacking)),
        0.0,
        "2 seeds trained live, 1500 fresh worlds: price in [.8, 1.1], c0 above .6, error below .6 of "
        "one TD layer and of the price alone",
    )


def probes_mislead(rng):
    """On networks that never saw a world a probe finds the value, until the rewards are taken out."""
    setting = replace(LAWS[0], num_transitions=160)
    generator = torch_generator(rng)
    parameters = study.initial_parameters(setting.architecture, 3, generator, torch.float64)
    prompts = tuple(setting.draw((500,), generator) for _ in range(2))
    shares = study.probes(setting, parameters, prompts, generator)
    plain, partial = shares["plain"][-1, :, 0], shares["partial"][-1, :, 0]
    lacking = max(0.0, float(0.2 - plain.min()), float(partial.max() - 0.1))
    return Evidence(lacking, 0.0, f"3 untrained networks: at least {plain.min():.1f} falls to at most 0.1")


def claims():
    """The table, as (id, statement, kind, end of the section's label, check)."""
    yield (
        "ordinary-compression",
        "An encoder without positions gives the same values from the distinct transitions with the "
        "logarithm of their counts in the softmax as from all transitions.",
        "identity",
        "counts",
        compression,
    )
    yield (
        "ordinary-polynomials",
        r"TD from 0 after $L$ layers, priced TD and certainty equivalence are polynomials in the basis "
        r"$\gamma^j(\widehat P^j-\mathbf 1\hat\mu^\top)$ with coefficients 1, up to degree $L-1$ or without "
        "end, and a price.",
        "identity",
        "hypotheses",
        polynomials,
    )
    yield (
        "ordinary-instrument",
        "The fit of a Jacobian gives back these coefficients up to degree 2, and the price is the response "
        "to a shift of all rewards.",
        "identity",
        "hypotheses",
        instrument,
    )
    yield (
        "ordinary-swap",
        "Exchanging the successors of one state moves nothing under reward plus price, and that state "
        "alone under one power.",
        "identity",
        "swap",
        swap,
    )
    yield (
        "ordinary-separation",
        "Best quadratic and certainty equivalence have the same error to a tenth on Boyan chains at "
        r"$\gamma=.5$, and differ by more than a quarter on rings at $\gamma=.9$.",
        "control",
        "separate",
        worlds_separate,
    )
    yield (
        "ordinary-oracle",
        "On its own law the posterior mean (with the common fallback for unseen rewards) errs least of all "
        "rivals.",
        "interval",
        "separate",
        oracle,
    )
    yield (
        "ordinary-learns",
        "An ordinary encoder of one layer learns the price of the mean, which one layer of tabular TD with "
        "unit steps cannot pay.",
        "bound",
        "live",
        one_layer_learns,
    )
    yield (
        "ordinary-probes-mislead",
        "A linear probe finds the value in untrained networks; with reward and mean reward taken out it "
        "finds nothing.",
        "control",
        "probes",
        probes_mislead,
    )


CLAIMS = tuple(
    # One claim compares sampled means; the posterior mean is the best, strictly. In 37 runs the largest of
    # its z had mean -0.8, deviation 1, and was at most 1: above 4 it is with probability 2e-5.
    Claim(name, "ours", statement, kind, "sec-or-" + section, check, risk=5e-5 * (kind == "interval"))
    for name, statement, kind, section, check in claims()
)
