"""Exercises on softmax TD, its transformer, contraction and divergence: every solution run."""

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from icrl import contraction, divergence, mrp, softmax_td
from icrl.constructions.literal import literal_forward
from icrl.softmax_td import weighted_softmax_td
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights

# ------------------------------------------------------------------ weighted-softmax-td


def test_wstd_1_two_states_converge():
    rng = np.random.default_rng(0)
    for _ in range(200):
        states = np.append(rng.permutation(2), rng.integers(2, size=9))
        features = rng.normal(size=(2, 2)) * rng.uniform(0.2, 3)
        values = np.linalg.eigvals(softmax_td.iteration_matrix(features, states, rng.uniform(0, 0.99)))
        assert np.abs(values).max() < 1


def test_wstd_2_more_transitions_lower_the_floor_and_keep_the_speed():
    rng = np.random.default_rng(41)
    process = mrp.boyan_chain(5, 0.7, rng)
    features = rng.normal(size=(5, 8))
    floors, layers = {200: [], 2000: []}, {200: [], 2000: []}
    for n in floors:
        for _ in range(60):
            states = np.append(process.sample(n, rng), 0)
            states[-1] = states[0]
            _, model = softmax_td.empirical_process(states, process.reward[states[:-1]], 0.7)
            floors[n].append(np.abs(model.value() - process.value()).max())
            radius = np.abs(np.linalg.eigvals(contraction_matrix(features, states, model))).max()
            layers[n].append(-1 / np.log(radius))
    assert 2.2 < np.mean(floors[200]) / np.mean(floors[2000]) < 4.5  # sqrt(10) = 3.2
    assert 0.5 < np.median(layers[200]) / np.median(layers[2000]) < 2


def test_wstd_2_the_counts_of_two_states_set_the_speed():
    rng = np.random.default_rng(41)
    process = mrp.boyan_chain(5, 0.7, rng)
    features, states = rng.normal(size=(5, 8)), process.sample(200, rng)
    counts = np.bincount(states[:-1])
    assert counts[:2].tolist() == [6, 8]
    assert np.round(200 * process.stationary_distribution()[:2]).tolist() == [12, 14]
    model = softmax_td.empirical_process(states, process.reward[states[:-1]], 0.7)[1]
    bellman = np.eye(5) - 0.7 * model.transition
    for tau in (0.1, 0.2, 0.3):
        layers = []
        for visits in (counts, np.array([12, 14, *counts[2:]])):
            matching = contraction.population_matching(np.sqrt(tau) * features, visits / visits.sum())
            layers.append(-1 / np.log(np.abs(np.linalg.eigvals(np.eye(5) - matching @ bellman)).max()))
        assert round(layers[1] / layers[0], 1) == 0.6


def test_wstd_2_layers_to_an_error_of_a_trillionth():
    """Of the chapter's context and of the longer one: 0.6 times as many where softmax is blunt, 1.3 at 1."""
    layers = {}
    for n in (200, 2000):
        rng = np.random.default_rng(41)
        process = mrp.boyan_chain(5, 0.7, rng)
        features, states = rng.normal(size=(5, 8)), process.sample(n, rng)
        model = softmax_td.empirical_process(states, process.reward[states[:-1]], 0.7)[1]
        for tau in (0.1, 0.2, 0.3, 1.0):
            layer = contraction_matrix(np.sqrt(tau) * features, states, model)
            error, steps = -model.value(), 0
            while np.abs(error).max() > 1e-12:
                error, steps = layer @ error, steps + 1
            layers[n, tau] = steps
    ratios = [round(layers[2000, tau] / layers[200, tau], 1) for tau in (0.1, 0.2, 0.3, 1.0)]
    assert ratios == [0.6, 0.6, 0.6, 1.3]


def contraction_matrix(features, states, model):
    matching = contraction.population_matching(features, np.bincount(states[:-1]) / (len(states) - 1))
    return np.eye(5) - matching @ (np.eye(5) - model.discount * model.transition)


def test_wstd_3_reward_one():
    states = mrp.boyan_chain(5, 0.7, np.random.default_rng(1)).sample(200, np.random.default_rng(2))
    run = weighted_softmax_td(np.random.default_rng(3).normal(size=(5, 8)), states, np.ones(200), 0.7, 30)
    np.testing.assert_allclose(run[-1], (1 - 0.7**30) / 0.3, rtol=1e-12)


def test_wstd_4_kernels_that_alternate():
    states = np.array([0, 1, 2, 0, 1, 2, 0])
    first, second = (
        softmax_td.iteration_matrix(np.array(x, dtype=float)[:, None], states, 0.9)
        for x in ((-3, 3, 2), (-1, 3, -3))
    )
    radii = [np.abs(np.linalg.eigvals(m)).max() for m in (first, second, first @ second)]
    assert np.round(radii, 2).tolist() == [0.9, 0.9, 1.69]


def test_wstd_breaks_a_higher_temperature_helps():
    trap, features = mrp.divergent_mrp()
    states = trap.sample(2000, np.random.default_rng(0), start=0)
    for scale, converges in ((1, False), (0.5, True)):
        operator = np.eye(3) - softmax_td.iteration_matrix(scale * features, states, 0.9)
        assert (divergence.largest_step_size(operator) > 0) == converges


# ------------------------------------------------------------------ softmax-transformer


def example():
    rng = np.random.default_rng(39)
    process = mrp.boyan_chain(num_states=5, discount=0.8, rng=rng)
    features = rng.normal(size=(5, 3))
    states = process.sample(num_transitions=40, rng=rng)
    return process, features, states, process.reward[states[:-1]]


def test_st_breaks_a_reversible_chain_forgives_a_wrong_shift():
    """Predecessors are distributed like successors there; around a circle they are not."""
    value, score = (w.numpy() for w in softmax_td_weights(3))
    features, reward = np.random.default_rng(0).normal(size=(4, 3)), np.array([1, -1, 0.5, 0.2])

    def fault(lap, laps):
        states = np.append(np.tile(lap, laps), lap[0])
        rewards = reward[states[:-1]]
        prompt = softmax_td_prompt(features, states, rewards).numpy()
        wrong = literal_forward(prompt, value, score, 0.8, 6, moves=1)[-1]
        return np.abs(wrong - weighted_softmax_td(features, states, rewards, 0.8, 6)[-1]).max()

    back_and_forth, circle = [0, 1, 2, 3, 2, 1], [0, 1, 2, 3]
    assert fault(back_and_forth, 30) < 0.15 * fault(back_and_forth, 3)
    assert fault(circle, 30) > 0.5 * fault(circle, 3)


@pytest.mark.parametrize("head", ["shift", "dual"])
def test_st_1_any_reward_of_the_query(head):
    _, features, states, rewards = example()
    prompt, model = softmax_td_prompt(features, states, rewards), None
    model = SoftmaxTransformer(6, 0.8, *softmax_td_weights(3), head=head)
    changed = prompt.clone()
    changed[3, -1] = 17.0
    assert torch.equal(model.values(prompt), model.values(changed))


def test_st_2_without_mask_and_discount_the_query_is_one_more_transition():
    process, features, states, _ = example()
    states = states[:12]
    prompt = softmax_td_prompt(features, states, process.reward[states[:-1]]).numpy()
    prompt[3, -1] = process.reward[states[-1]]
    value, score = (w.numpy() for w in softmax_td_weights(3))
    unmasked = literal_forward(prompt, value, score, 0.0, 6, mask=False)
    longer, paid = np.append(states, 0), process.reward[states]
    run = weighted_softmax_td(features, longer, paid, 0.0, 6)[:, :-1]
    np.testing.assert_allclose(unmasked, run, atol=1e-12)
    prompt[2, :-1] = 0
    wrong = literal_forward(prompt, value, score, 0.5, 6, mask=False)
    right = weighted_softmax_td(features, longer, paid, 0.5, 6)[:, :-1]
    assert np.abs(wrong - right).max() > 1e-3  # with a discount the successor's value is missing


def test_st_3_two_step_returns_need_one_move_by_two():
    _, features, states, rewards = example()
    n, gamma = len(rewards), 0.8
    paid = rewards[:-1] + gamma * rewards[1:]  # the last transition has no second step
    kernel = softmax_td.softmax_kernel(features, states[:-1])  # its sources are the first n - 1
    v = np.zeros(5)
    z = softmax_td_prompt(features, states, rewards).numpy()
    z[3] = 0
    z[3, : n - 1] = paid
    value, score = (w.numpy() for w in softmax_td_weights(3))
    for _ in range(8):
        scores = z.T @ score @ z
        weights = np.exp(scores[: n - 1] - scores[: n - 1].max(axis=0))
        z = z + value @ z[:, : n - 1] @ (weights / weights.sum(axis=0))
        z[-2] = 0
        z[-2, :-2] = gamma**2 * z[-1, 2:]  # one move, by two columns
        v = v + kernel.T @ (paid + gamma**2 * v[states[2:]] - v[states[: n - 1]])
        np.testing.assert_allclose(z[-1], v[states], atol=1e-12)


def test_st_4_large_features():
    """Equal to rounding at any factor; rounding bites at a tie, and learning is lost."""
    process, features, states, rewards = example()
    truth = process.value()[states]
    for factor in (5, 200):
        x = features * factor
        loop = weighted_softmax_td(x, states, rewards, 0.8, 12)
        model = SoftmaxTransformer(12, 0.8, *softmax_td_weights(3))
        values = model.values(softmax_td_prompt(x, states, rewards)).numpy()
        assert np.abs(values - loop).max() < 1e-14
        assert np.abs(loop[-1] - truth).max() > 2
    scores = x @ x.T
    assert scores.max() > 1e5
    assert (scores.argmax(axis=1) != np.arange(5)).any()
    assert np.isin(softmax_td.softmax_kernel(x, np.arange(6) % 5).round(300), [0, 1]).mean() > 0.7
    visits = np.bincount(states[:-1])[states[:-1], None]  # a column hears one state, all its visits alike
    assert np.isin((softmax_td.softmax_kernel(x, states) * visits).round(14), [0, 1]).all()
    across = np.cross(x[3], x[0])
    tied = x.copy()
    tied[1] = x[0] + 0.5 * across * np.linalg.norm(x[0]) / np.linalg.norm(across)
    moved = {}
    for name, y in (("no tie", x), ("tie", tied)):
        still = weighted_softmax_td(y, states, rewards, 0.8, 12)
        moved[name] = max(
            np.abs(weighted_softmax_td(y @ turn, states, rewards, 0.8, 12) - still).max()
            for turn in ortho_group.rvs(3, size=20, random_state=0)
        )
    assert moved["no tie"] < 1e-13
    assert 1e-12 < moved["tie"] < 1e-9


# ------------------------------------------------------------------ contraction


def test_ct_1_temperatures_that_the_assumption_asks():
    for gamma, expected in ((0.9, 5.14), (0.99, 7.49)):
        tau = np.log((1 + gamma) / (1 - gamma)) + np.log(9)
        assert round(tau, 2) == expected
        process = mrp.MarkovRewardProcess(np.roll(np.eye(10), 1, axis=1), np.zeros(10), gamma)
        for shift in (-0.01, 0.01):
            margin = contraction.assumption_margin(np.sqrt(tau + shift) * np.eye(10), process)
            assert (margin > 0) == (shift > 0)


def test_ct_2_given_the_count_successors_are_not_independent():
    """m - 1 stays and one exit: the estimate is 1 / m, and 1 in half of the contexts."""
    process = mrp.MarkovRewardProcess(np.array([[0.5, 0.5], [0, 1]]), np.zeros(2), 0.5)
    rng, ones = np.random.default_rng(0), 0
    for _ in range(400):
        states = process.sample(60, rng, start=0)
        visits = int((states[:-1] == 0).sum())
        _, transition = softmax_td.empirical_model(states, np.zeros(60), 2)
        assert transition[0, 1] == pytest.approx(1 / visits)
        ones += visits == 1
    assert abs(ones / 400 - 0.5) < 4.5 * 0.025


def test_ct_3_failures_of_all_pairs_sum_to_delta():
    m = np.arange(1, 10**6, dtype=float)
    assert (1 / (m * (m + 1))).sum() == pytest.approx(1, abs=1e-5)


def test_ct_4_length_for_a_floor_of_a_tenth():
    def floor(n):
        process = np.full((5, 5), 0.2)
        noise = contraction.hoeffding_radius(
            np.full(5, n / 5), num_states=5, num_transitions=n, span=2 / 0.1, delta=0.1
        )
        return (0.9 * np.linalg.solve(np.eye(5) - 0.9 * process, noise)).max()

    assert floor(10**6) == pytest.approx(180 * np.sqrt(np.log(100 * 10**6) / (0.4 * 10**6)))
    assert 0.09 < floor(2 * 10**8) < 0.11


# ------------------------------------------------------------------ divergence


def test_dv_1_the_assumption_gives_stability_at_step_size_one():
    rng, seen = np.random.default_rng(0), 0
    while seen < 30:
        process = mrp.random_mrp(3, float(rng.uniform(0, 0.5)), rng)
        features = np.sqrt(rng.uniform(4, 9)) * np.eye(3) + 0.2 * rng.normal(size=(3, 3))
        if contraction.assumption_margin(features, process) > 0:
            seen += 1
            values = np.linalg.eigvals(divergence.population_operator(features, process))
            assert values.real.min() > 0
            assert np.abs(1 - values).max() < 1


def test_dv_2_polygons_on_doubly_stochastic_chains():
    rng = np.random.default_rng(1)
    for size in range(3, 8):
        angles = 2 * np.pi * np.arange(size) / size
        features = rng.uniform(0.3, 3) * np.column_stack([np.cos(angles), np.sin(angles)])
        parts = [np.eye(size)[rng.permutation(size)] for _ in range(3)] + [np.roll(np.eye(size), 1, axis=1)]
        transition = np.tensordot(rng.dirichlet(np.ones(4)), parts, axes=1)
        for gamma in (0.5, 0.99, 0.9999):
            process = mrp.MarkovRewardProcess(transition, np.zeros(size), gamma)
            assert divergence.normaliser_condition(features, process)[0] == pytest.approx(gamma**2)
            operator = divergence.population_operator(features, process)
            assert divergence.largest_step_size(operator) > 0


def test_dv_3_returns_below_the_trace_are_stable_at_every_discount():
    rng, seen = np.random.default_rng(2), 0
    for _ in range(300):
        process = mrp.random_mrp(3, 0.5, rng)
        features = rng.normal(size=(3, 2))
        matching = contraction.population_matching(features, process.stationary_distribution())
        if np.trace(matching @ process.transition) <= np.trace(matching):
            seen += 1
            assert divergence.critical_discount(features, process) >= 1
            operator = matching @ (np.eye(3) - 0.9999 * process.transition)
            assert np.linalg.eigvals(operator).real.min() > 0
    assert seen > 50


def test_dv_4_decreasing_steps_diverge_like_a_power():
    process, features = mrp.divergent_mrp()
    states = process.sample(1000, np.random.default_rng(0), start=0)
    matrix = np.eye(3) - softmax_td.iteration_matrix(features, states, 0.9)
    value = softmax_td.empirical_process(states, process.reward[states[:-1]], 0.9)[1].value()
    assert np.linalg.eigvals(matrix).real.min() == pytest.approx(-0.43, abs=0.005)
    v, sizes = np.zeros(3), []
    for layer in range(100_000):
        v = v + matrix @ (value - v) / (layer + 1)
        if layer + 1 in (10, 100, 1000, 10_000, 100_000):
            sizes.append(np.abs(v).max())
    assert np.round(sizes[:4]).tolist() == [2, 8, 30, 93]
    assert np.round(np.diff(np.log10(sizes)), 2).tolist() == [0.54, 0.58, 0.48, 0.45]


def test_normalising_scalars_merges_three_states():
    """The features 1, 4, 5 divided by their norms: one feature, and no difference ever moves."""
    process, features = mrp.divergent_mrp()
    operator = divergence.population_operator(features / np.abs(features), process)
    assert abs(np.linalg.det(operator)) < 1e-15
    assert np.linalg.matrix_rank(operator) == 1
