"""What is read off trained weights."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from literal_pretraining import forward, prompt

from icrl.pretraining import emergence
from icrl.pretraining.tasks import Configuration, draw_tasks, random_worlds

SMALL = Configuration(num_layers=3, num_transitions=12, num_seeds=2, num_prompts=5, num_steps=120)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_attention_between_states_and_its_focus():
    c, e = replace(SMALL, inverse_temperature=2.0), np.exp(2)
    _, score = emergence.construction(c)
    attention = emergence.state_attention(c, score)[0, 0]
    expected = torch.full((4, 4), 1 / (e + 3), dtype=torch.float64).fill_diagonal_(e / (e + 3))
    assert torch.allclose(attention, expected, rtol=0, atol=1e-12)
    lopsided = score.clone()
    lopsided[..., 0, 1] = 1.0  # source 0 scores for listener 1
    expected[1] = torch.tensor([e, e, 1, 1]) / (2 * e + 2)
    found = emergence.state_attention(c, lopsided)[0, 0]
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    mixed = torch.stack([m * torch.eye(4) + (1 - m) / 4 for m in (0.3, 1, 0.6)])
    mixed[2, :2] = mixed[2, :2].flip(0)  # half of the states hear another one instead
    for batch in ((3,), (2, 3), (1, 2, 3)):
        focus = emergence.focus(mixed.expand(*batch, 4, 4))
        assert torch.allclose(focus, torch.tensor([0.3, 1, 0.2]).expand(batch), atol=1e-6)


def test_polynomial_of_full_degree_is_exact():
    """One world, degree S - 1: by Cayley and Hamilton the value is such a polynomial."""
    worlds = random_worlds("random", (1,), 4, generator())
    coefficients = emergence.best_polynomial(worlds, 0.9, 4)
    value = emergence.krylov(*worlds, 0.9, 4) @ coefficients
    assert torch.allclose(value, worlds.value(0.9), rtol=0, atol=1e-8)


def test_powers_of_a_chain_in_any_batch():
    worlds = random_worlds("random", (2, 3), 4, generator())
    found = emergence.krylov(*worlds, 0.7, 3)
    for index in ((), (1,), (1, 2)):
        chain, reward = (x[index] for x in worlds)
        powers = [0.7**k * (torch.linalg.matrix_power(chain, k) @ reward[..., None]) for k in range(3)]
        assert torch.allclose(found[index], torch.cat(powers, -1))
        assert torch.allclose(emergence.krylov(chain, reward, 0.7, 3), found[index])


TINY = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)


TASKS = emergence.fresh_tasks(TINY, 3, torch.Generator().manual_seed(0))


VALUE, SCORE = emergence.construction(TINY)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("value", "score", "message"),
    [
        (
            VALUE[..., 1:, 1:],
            SCORE,
            r"score_weights has shape \(1, 1, 7, 7\); its axis D must have length 6",
        ),
        (VALUE, SCORE[0], r"score_weights has shape \(1, 7, 7\)"),
        (VALUE.expand(3, 1, 7, 7), SCORE, r"score_weights has shape .* its axis K must have length 3"),
        (VALUE * torch.nan, SCORE, r"value_weights\[0, 0, 0, 0\] is nan"),
    ],
)
def test_refuses_weights_that_do_not_fit_the_prompt(value, score, message):
    for function in (emergence.state_values, emergence.query_values, emergence.squared_errors):
        with pytest.raises(ValueError, match=message):
            function(TINY, value, score, TASKS)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., :6, :6], "for 4 features and 2 layers it must be"),
        (
            lambda x: x.expand(3, 1, 7, 7),
            r"value_weights has shape \(3, 1, 7, 7\); .* \(1 or 2, seeds, 7, 7\)",
        ),
        (lambda x: x.expand(1, 3, 7, 7), "value_weights holds 3 seeds, tasks 2; they must agree"),
    ],
)
def test_refuses_weights_that_fit_each_other_but_not_the_tasks(change, message):
    tasks = draw_tasks(TINY, (2, 3), generator())
    for call in (emergence.state_values, emergence.query_values, emergence.on_exact_chain):
        with pytest.raises(ValueError, match=message):
            call(TINY, change(VALUE), change(SCORE), tasks)
        for seeds in (1, 2):  # one for all, or one each
            for layers in (1, 2):
                weights = (x.expand(layers, seeds, 7, 7) for x in (VALUE, SCORE))
                assert call(TINY, *weights, tasks).isfinite().all()
    with pytest.raises(ValueError, match=r"score_weights has shape \(1, 1, 6, 6\); it must end in 7, S \+ 3"):
        emergence.state_attention(TINY, SCORE[..., :6, :6])


@pytest.mark.bad_input
def test_refuses_values_of_other_tasks_and_no_tasks():
    for values in (torch.zeros(1, 4, 4), torch.zeros(1, 3, 3), torch.zeros(2, 3, 4)):
        with pytest.raises(ValueError, match=r"values has shape .*; it must be \(1, 3, 4\)"):
            emergence.at_query(values.double(), TASKS)
    with pytest.raises(ValueError, match=r"values has shape \(2, 4\); its last axis must be 3"):
        emergence.fitted_response(TINY, torch.zeros(2, 4).double(), TASKS)
    with pytest.raises(ValueError, match="num_tasks is 0; it must be at least 1"):
        emergence.fresh_tasks(TINY, 0, generator())


@pytest.mark.bad_input
def test_refuses_tables_need_masks():
    with pytest.raises(ValueError, match="entries outside the masks"):
        emergence.state_values(TINY, VALUE + 1, SCORE, TASKS)


@pytest.mark.bad_input
def test_refuses_attention_between_states_needs_one_hot_features():
    for change in ({"num_features": 4}, {"attention": "linear"}):
        with pytest.raises(ValueError, match="one-hot features and softmax attention"):
            emergence.state_attention(replace(TINY, **change), SCORE)


@pytest.mark.bad_input
def test_refuses_coefficients():
    with pytest.raises(ValueError, match=r"coefficients has shape \(2, 2\)"):
        emergence.horner_rows(torch.eye(2))
    with pytest.raises(ValueError, match=r"coefficients has shape \(0,\)"):
        emergence.horner_rows(torch.zeros(0))
    with pytest.raises(ValueError, match=r"coefficients\[1\] is inf"):
        emergence.horner_rows(torch.tensor([1.0, torch.inf]))


def three_steps():
    """Two states, 0 -> 0 -> 1 -> 0 with rewards 1, 1, 3; state 2 is never left, and asked for."""
    c = replace(TINY, num_states=3, num_layers=2, discount=0.5)
    tasks = emergence.fresh_tasks(c, 1, generator())
    reward = torch.tensor([[[1.0, 3.0, 7.0]]], dtype=torch.float64)
    transition = torch.tensor([[[[0.5, 0.5, 0], [0.5, 0, 0.5], [1, 0, 0]]]], dtype=torch.float64)
    worlds = tasks.worlds._replace(reward=reward, transition=transition)
    return c, tasks._replace(worlds=worlds, states=torch.tensor([[[0, 0, 1, 2]]]))


def test_the_model_of_a_context_by_hand():
    """What the context does not tell is filled by its means."""
    _, tasks = three_steps()
    model, mean = emergence.filled_model(tasks)
    assert mean.item() == pytest.approx(5 / 3)
    assert model.reward[0, 0].tolist() == pytest.approx([1, 3, 5 / 3])
    assert model.transition[0, 0].tolist() == [[0.5, 0.5, 0], [0, 0, 1], pytest.approx([2 / 3, 1 / 3, 0])]


def test_baselines_by_hand():
    c, tasks = three_steps()
    said = {name: x.item() for name, x in emergence.baselines(c, tasks).items()}
    assert said["mean / (1 - gamma)"] == pytest.approx(10 / 3)
    assert said["r + gamma mean / (1 - gamma)"] == pytest.approx(10 / 3)  # the mean stands in for the reward
    assert said["centred TD + mean / (1 - gamma)"] == pytest.approx(
        10 / 3
    )  # 2/3 (1 - 5/3) + 1/3 (3 - 5/3) = 0
    matrix = np.eye(3) - 0.5 * np.array([[0.5, 0.5, 0], [0, 0, 1], [2 / 3, 1 / 3, 0]])
    value = np.linalg.solve(matrix, [1, 3, 5 / 3])[2]
    assert said["certainty equivalence"] == pytest.approx(value)


def test_best_linear_rule_beats_those_it_contains_where_it_was_fitted():
    c = replace(TINY, num_layers=3, discount=0.9)
    tasks, fresh = (emergence.fresh_tasks(c, 400, generator(k)) for k in (5, 6))
    truth = emergence.at_query(tasks.worlds.value(0.9), tasks)[0]
    rules = emergence.baselines(c, tasks)
    del rules["certainty equivalence"]  # the others are linear in the terms
    fitted = (emergence.best_linear(c, tasks, tasks) - truth).square().mean()
    assert all(fitted <= (x - truth).square().mean() for x in rules.values())
    assert not torch.allclose(emergence.best_linear(c, fresh, tasks), emergence.best_linear(c, tasks, tasks))
    again = emergence.best_linear(c, tasks, fresh)  # half the rewards, half the value
    half = fresh._replace(worlds=fresh.worlds._replace(reward=fresh.worlds.reward / 2))
    torch.testing.assert_close(emergence.best_linear(c, tasks, half), again / 2)


def test_on_the_exact_chain_the_construction_is_the_truncated_series():
    """Sharp attention, long worlds: r + gamma P r + ..., L terms."""
    c = replace(TINY, num_layers=4, inverse_temperature=1.0)
    tasks = emergence.fresh_tasks(c, 5, generator())
    value, score = emergence.construction(c)
    seen = emergence.on_exact_chain(c, value, 60 * score, tasks)
    series = emergence.krylov(tasks.worlds.transition, tasks.worlds.reward, c.discount, 4).sum(-1)
    torch.testing.assert_close(seen, emergence.at_query(series, tasks), rtol=0, atol=1e-9)


def plain(rows, attention, reward, transition, discount, layers):
    """The layers as a loop over states: each hears what the others have read."""
    values = np.zeros(len(reward))
    for layer in range(layers):
        a, b, c = rows[layer % len(rows)]
        values = values + attention @ (a * reward + b * discount * transition @ values + c * values)
    return values


def context_of(tasks, i):
    """Reward, share of visits and seen transitions of one context, by counting."""
    states, reward = tasks.states[0, i].tolist(), tasks.worlds.reward[0, i].numpy()
    counts = np.zeros((len(reward), len(reward)))
    for here, there in pairwise(states):
        counts[here, there] += 1
    visits = counts.sum(axis=1)
    return reward, visits / visits.sum(), counts / np.maximum(visits, 1)[:, None], states[-1]


ODD = replace(TINY, num_layers=3, num_states=5, num_transitions=6, discount=0.8, kind="random")


def test_fresh_tasks_of_other_worlds_and_another_length():
    pretrained = replace(ODD, objective="monte-carlo")
    tasks = emergence.fresh_tasks(pretrained, 4, generator(1), kind="loop", num_transitions=9)
    assert tasks.states.shape == (1, 4, 10)
    assert ((tasks.worlds.transition > 0).sum(-1) == 2).all()
    same = emergence.fresh_tasks(pretrained, 4, generator(1))
    assert same.states.shape == (1, 4, 7)
    assert ((same.worlds.transition > 0).sum(-1) == 5).all()


def test_baselines_by_loops():
    """Contexts that lack states, queries that were visited and queries that were not."""
    tasks = emergence.fresh_tasks(ODD, 40, generator(2))
    found, unseen = emergence.baselines(ODD, tasks), 0
    for i in range(40):
        reward, share, seen, query = context_of(tasks, i)
        mean = share @ reward
        filled = np.where(share > 0, reward, mean)
        chain = np.where(share[:, None] > 0, seen, share)
        term, centred = filled - mean, np.zeros(5)
        for _ in range(3):
            centred, term = centred + term, 0.8 * chain @ term
        expected = {
            "mean / (1 - gamma)": mean / 0.2,
            "r + gamma mean / (1 - gamma)": filled[query] + 0.8 * mean / 0.2,
            "centred TD + mean / (1 - gamma)": centred[query] + mean / 0.2,
            "certainty equivalence": np.linalg.solve(np.eye(5) - 0.8 * chain, filled)[query],
        }
        assert {name: values[i].item() for name, values in found.items()} == pytest.approx(expected)
        plainly = np.linalg.solve(np.eye(5) - 0.8 * seen, reward * (share > 0))
        np.testing.assert_allclose(emergence.certainty_equivalence(ODD, tasks)[0, i], plainly)
        unseen += share[query] == 0
    assert 0 < unseen < 40


def test_focused_and_exact_values_by_loops():
    """Rows for each layer; sharp attention on contexts, and smooth one-sided attention on whole chains."""
    tasks, rng = emergence.fresh_tasks(ODD, 6, generator(3)), np.random.default_rng(4)
    rows = rng.normal(size=(3, 3))
    focused = emergence.focused_values(ODD, torch.from_numpy(rows), tasks)
    value, score = torch.zeros(2, 3, 2, 8, 8, dtype=torch.float64)
    scores = rng.normal(size=(3, 2, 5, 5))
    value[..., -1, -3:] = torch.from_numpy(np.stack([rows, -rows], axis=1))
    score[..., :5, :5] = torch.from_numpy(scores)
    exact = emergence.on_exact_chain(ODD, value, score, tasks)
    sampled = emergence.state_values(ODD, value, score, tasks)
    asked = emergence.query_values(ODD, value, score, tasks)
    for i in range(6):
        reward, share, seen, query = context_of(tasks, i)
        own = np.where(share[:, None] > 0, np.eye(5), share)
        np.testing.assert_allclose(focused[i], plain(rows, own, reward, seen, 0.8, 3), atol=1e-12)
        chain = tasks.worlds.transition[0, i].numpy()
        mu = tasks.worlds.stationary_distribution()[0, i].numpy()
        for seed, sign in ((0, 1), (1, -1)):
            values, context = np.zeros(5), np.zeros(5)
            for layer in range(3):
                kernel = np.exp(ODD.inverse_temperature * scores[layer, seed])
                a, b, c = sign * rows[layer]
                heard = (mu[:, None] * kernel / (mu @ kernel)).T  # listener, source
                values = values + heard @ (a * reward + b * 0.8 * chain @ values + c * values)
                heard = (share[:, None] * kernel / (share @ kernel)).T
                context = context + heard @ (a * reward + b * 0.8 * seen @ context + c * context)
                np.testing.assert_allclose(sampled[layer + 1, seed, i], context, rtol=1e-9, atol=1e-12)
            assert asked[seed, i].item() == pytest.approx(context[query], rel=1e-9)
            assert exact[seed, i].item() == pytest.approx(values[query], rel=1e-10)


def test_best_polynomial_is_weighted_by_visits():
    """What is left over is orthogonal to every power, in the mean over worlds and stationary states."""
    worlds = random_worlds("boyan", (30,), 5, generator(5))
    basis = emergence.krylov(*worlds, 0.9, 2)
    left = worlds.value(0.9) - basis @ emergence.best_polynomial(worlds, 0.9, 2)
    mu = worlds.stationary_distribution()
    assert (basis * (mu * left)[..., None]).sum((0, 1)).abs().max() < 1e-10
    assert (basis * left[..., None]).sum((0, 1)).abs().max() > 1e-2


def test_response_of_smooth_attention():
    """On a chain: rewards that vary and rewards that do not, rows for each layer, or one for all."""
    worlds, rng = random_worlds("random", (1,), 4, generator(6)), np.random.default_rng(7)
    chain, mu = worlds.transition[0].numpy(), worlds.stationary_distribution()[0].numpy()
    heard = 0.7 * np.eye(4) + 0.3 * mu
    varying = rng.normal(size=4)
    varying -= mu @ varying
    for rows in (rng.normal(size=(3, 3)), rng.normal(size=(1, 3))):
        found = emergence.response(torch.from_numpy(rows), 3, discount=0.8, focus=0.7)
        powers = [np.linalg.matrix_power(0.8 * chain, k) @ varying for k in range(3)]
        expected = found.coefficients.numpy() @ powers + 2 * found.mean_gain
        np.testing.assert_allclose(plain(rows, heard, varying + 2, chain, 0.8, 3), expected, atol=1e-12)


def test_response_of_sharp_attention_and_rows_made_for_a_polynomial():
    """Focus 1 unless said otherwise; Horner's rows give the polynomial back."""
    coefficients = torch.tensor([2.0, -3, 0.5, 4], dtype=torch.float64)
    rows = emergence.horner_rows(coefficients)
    assert rows.tolist() == [[4, 1, -1], [0.5, 1, -1], [-3, 1, -1], [2, 1, -1]]
    found = emergence.response(rows, 4, discount=0.7)
    np.testing.assert_allclose(found.coefficients, coefficients, atol=1e-12)
    assert found.mean_gain == pytest.approx(2 - 3 * 0.7 + 0.5 * 0.49 + 4 * 0.343)


def test_fitted_response_by_another_least_squares():
    """Of a polynomial, which it finds whole, and of noise, of which a share is explained."""
    tasks, rng = emergence.fresh_tasks(ODD, 40, generator(8)), np.random.default_rng(9)
    columns = np.zeros((40, 4))
    for i in range(40):
        reward, share, seen, query = context_of(tasks, i)
        term = (reward - share @ reward) * (share > 0)
        for k in range(3):
            columns[i, k], term = term[query], 0.8 * seen @ term
        columns[i, 3] = share @ reward
    values = np.stack([columns @ [1, 0.5, -2, 3], rng.normal(size=40)])
    responses, explained = emergence.fitted_response(ODD, torch.from_numpy(values), tasks)
    for said, response, part in zip(values, responses, explained, strict=True):
        best, (left,), *_ = np.linalg.lstsq(columns, said, rcond=None)
        _, (alone,), *_ = np.linalg.lstsq(columns[:, 3:], said, rcond=None)
        np.testing.assert_allclose([*response.coefficients, response.mean_gain], best, atol=1e-10)
        assert part.item() == pytest.approx(1 - left / alone, abs=1e-10)
    np.testing.assert_allclose(responses[0].coefficients, [1, 0.5, -2], atol=1e-10)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_values_of_free_weights_are_those_of_the_tokens(attention):
    """Written out, prompt by prompt; the squared error is that of the true value of the query."""
    c = replace(ODD, attention=attention)
    tasks = emergence.fresh_tasks(c, 4, generator(10))
    value, score = 0.3 * torch.randn(2, 3, 2, 8, 8, generator=generator(11), dtype=torch.float64)
    found, errors = (f(c, value, score, tasks) for f in (emergence.query_values, emergence.squared_errors))
    for seed in range(2):
        for i in range(4):
            tokens = prompt(tasks.features[0, 0], tasks.states[0, i], tasks.worlds.reward[0, i])
            wanted = forward(value[:, seed], score[:, seed], tokens, 0.8, 3, attention)
            assert found[seed, i].item() == pytest.approx(wanted.item(), rel=1e-9)
            truth = tasks.worlds.value(0.8)[0, i, tasks.states[0, i, -1]]
            assert errors[seed, i].item() == pytest.approx((wanted - truth).item() ** 2, rel=1e-9)


@pytest.mark.bad_input
def test_a_polynomial_has_a_coefficient():
    with pytest.raises(ValueError, match="length is 0"):
        emergence.best_polynomial(random_worlds("boyan", (2,), 3, generator(0)), 0.9, 0)
