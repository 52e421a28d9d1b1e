"""The rivals against plain loops; what each predicts."""

import numpy as np
import pytest
import torch

from icrl.standard_transformer import (
    Setting,
    add_k,
    basis,
    bayes,
    best_k,
    best_linear,
    certainty_equivalence,
    coefficients,
    combination,
    empirical,
    fit_rivals,
    one_prompt,
    paired,
    priced,
    rival_operators,
    td,
    values_of,
)

LAW = Setting(kinds=("boyan",), discount=0.8, num_transitions=12)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def looped_model(counts, reward):
    """Rewards, transitions and mean of one context by hand, with the common rule."""
    n, size = counts.sum(), len(counts)
    mu = counts.sum(1) / n
    mean = sum(mu[s] * reward[s] for s in range(size))
    r, p = np.zeros(size), np.zeros((size, size))
    for s in range(size):
        seen = counts[s].sum()
        r[s] = reward[s] if seen else mean
        p[s] = counts[s] / seen if seen else mu
    return r, p, mean


def test_operators_against_plain_loops():
    prompts = LAW.draw((40,), generator())
    assert (prompts.counts.sum(-1) == 0).any()  # some states are unvisited
    model, gamma = empirical(prompts.counts), 0.8
    operators = {
        "td": combination(td(4, gamma), model, gamma),
        "priced": combination(priced(3), model, gamma),
        "exact": certainty_equivalence(model, gamma),
    }
    values = {k: x.numpy() for k, x in values_of(operators, prompts.reward).items()}
    for i in range(40):
        r, p, mean = looped_model(prompts.counts[i].numpy(), prompts.reward[i].numpy())
        v = np.zeros(5)
        for _ in range(4):
            v = r + gamma * p @ v
        np.testing.assert_allclose(values["td"][i], v, atol=1e-12)
        v = np.full(5, mean / (1 - gamma))
        for _ in range(3):
            v = r + gamma * p @ v
        np.testing.assert_allclose(values["priced"][i], v, atol=1e-12)
        for _ in range(300):
            v = r + gamma * p @ v
        np.testing.assert_allclose(values["exact"][i], v, atol=1e-12)


def test_the_price_alone_is_that_of_the_mean_for_ever():
    prompts = LAW.draw((3,), generator())
    operators = rival_operators(prompts, 0.8, fit_rivals(prompts, 0.8), generator(), 3, "boyan")
    for i in range(3):
        mean = looped_model(prompts.counts[i].numpy(), prompts.reward[i].numpy())[2]
        found = operators["price"][i] @ prompts.reward[i]
        np.testing.assert_allclose(found, np.full(5, mean / (1 - 0.8)), atol=1e-12)


def test_reward_of_an_unvisited_state_is_not_used():
    prompts = LAW.draw((200,), generator())
    unseen = prompts.counts.sum(-1) == 0
    assert unseen.any()
    operators = rival_operators(prompts, 0.8, fit_rivals(prompts, 0.8), generator(), 3, "boyan")
    before = values_of(operators, prompts.reward)
    after = values_of(operators, prompts.reward + 100 * unseen)
    for name in operators:
        assert torch.allclose(before[name], after[name], atol=1e-9), name


def test_best_linear_is_best():
    prompts = LAW.draw((300,), generator())
    best = best_linear(prompts, 0.8, 2)
    model = empirical(prompts.counts)

    def error(c):
        values = (combination(c, model, 0.8) @ prompts.reward[..., None])[..., 0]
        return float(prompts.mean_square(values - prompts.value).mean())

    least = error(best)
    for i in range(4):
        for step in (-0.02, 0.02):
            moved = best.clone()
            moved[i] += step
            assert error(moved) > least
    flat = torch.linalg.lstsq(
        (basis(model, 0.8, 2) @ prompts.reward[..., None]).flatten(1).T, prompts.value.flatten()[:, None]
    ).solution[:, 0]
    assert error(flat) > least + 1e-9  # visits weigh


def test_add_k_by_hand_and_its_limits():
    counts = torch.tensor([[3.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    rows = np.array([[3.5, 1.5], [0.5, 2.5]]) / np.array([[5.0], [3.0]])
    expected = np.linalg.inv(np.eye(2) - 0.5 * rows)
    np.testing.assert_allclose(add_k(counts, 0.5, 0.5), expected)
    close = add_k(counts, 0.5, 1e-12)
    torch.testing.assert_close(close, certainty_equivalence(empirical(counts), 0.5))
    few = Setting(kinds=("random",), discount=0.9, num_transitions=20).draw((2000,), generator())
    k = best_k(few, 0.9)
    errors = {
        x: few.mean_square((add_k(few.counts, 0.9, x) @ few.reward[..., None])[..., 0] - few.value).mean()
        for x in (k / 2, k, 2 * k)
    }
    assert min(errors, key=errors.get) == k
    assert k > 2.0**-8


def test_bayes_against_rejection():
    """Two states: the posterior mean by brute force, from worlds whose trajectory has these counts."""
    law = Setting(kinds=("loop",), discount=0.7, num_states=2, num_names=2, num_transitions=3)
    prompts = law.draw((400_000,), generator(1))
    wanted = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    same = (prompts.counts == wanted).all(-1).all(-1) & (prompts.first == 0)
    eye = torch.eye(2).double()
    inverse = torch.linalg.inv(eye - 0.7 * prompts.worlds.transition[same])
    assert len(inverse) > 5000
    one = type(prompts)(
        type(prompts.worlds)(*(x[same][:1] for x in prompts.worlds)),
        *(x[same][:1] for x in prompts[1:-1]),
        prompts.pairs,
    )
    found = bayes(one, "loop", 0.7, generator(2), 50_000)[0]
    error = inverse.std(0) / len(inverse) ** 0.5
    assert ((found - inverse.mean(0)).abs() < 5 * error + 0.01).all()


def test_bayes_is_best_on_its_law():
    """On the same worlds, by more than the noise of sampling them."""
    law = Setting(discount=0.9, num_transitions=40)
    prompts = law.draw((3000,), generator())
    rivals = fit_rivals(law.draw((3000,), generator(1)), 0.9)
    values = values_of(rival_operators(prompts, 0.9, rivals, generator(2), 3, "boyan"), prompts.reward)
    errors = {k: prompts.mean_square(v - prompts.value) for k, v in values.items()}
    oracle = errors.pop("bayes")
    for name, error in errors.items():
        more, half = paired(error[None], oracle)
        assert more > 2 * half, name


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_coefficients_of_known_operators(num_layers):
    prompts = Setting(discount=0.9).draw((50,), generator())
    model = empirical(prompts.counts)
    fitted, explained = coefficients(combination(td(num_layers, 0.9), model, 0.9), prompts, 0.9)
    expected = [float(j < num_layers) for j in range(3)] + [1 - 0.9**num_layers]
    assert torch.allclose(fitted, torch.tensor(expected).double(), atol=1e-9)
    assert abs(explained - 1) < 1e-9
    fitted, _ = coefficients(combination(priced(num_layers), model, 0.9), prompts, 0.9)
    assert torch.allclose(fitted[-1], torch.ones(()).double())


@pytest.mark.parametrize(("discount", "name"), [(1.0, "1"), (-0.5, "-0.5")])
def test_refuses_a_discount_at_which_there_is_no_price(discount, name):
    prompts = Setting(num_transitions=20).draw((2,), generator())
    model = empirical(prompts.counts)
    for call in (
        lambda: basis(model, discount, 1),
        lambda: td(2, discount),
        lambda: certainty_equivalence(model, discount),
        lambda: add_k(prompts.counts, discount, 1.0),
        lambda: bayes(prompts, "boyan", discount, generator()),
    ):
        with pytest.raises(ValueError, match=rf"discount is {name}; it must lie in \[0, 1\)"):
            call()


def test_refuses_counts_of_nothing():
    prompts = Setting(num_transitions=20).draw((2,), generator())
    with pytest.raises(ValueError, match="degree is -1; it must be at least 0"):
        basis(empirical(prompts.counts), 0.5, -1)
    with pytest.raises(ValueError, match="num_draws is 0; it must be at least 1"):
        bayes(prompts, "boyan", 0.5, generator(), 0)
    assert bayes(prompts, "boyan", 0.5, generator(), 1).shape == (2, 5, 5)
    assert basis(empirical(prompts.counts), 0.5, 0).shape == (2, 2, 5, 5)


def test_rivals_by_name():
    """Every one is the matrix that its name says; three layers unless another number is given."""
    prompts, others = (LAW.draw((n,), generator(n)) for n in (30, 40))
    rivals = fit_rivals(others, 0.8)
    found = rival_operators(prompts, 0.8, rivals, generator(1), kind="boyan")
    model = empirical(prompts.counts)
    wanted = {"price": model.mean / (1 - 0.8), "td 3": combination(td(3, 0.8), model, 0.8)}
    wanted |= {f"priced {k}": combination(priced(k), model, 0.8) for k in (1, 2, 3)}
    best = {degree: best_linear(others, 0.8, degree) for degree in (0, 1, 2, 4)}
    wanted |= {f"linear {degree}": combination(c, model, 0.8) for degree, c in best.items()}
    wanted["certainty equivalence"] = certainty_equivalence(model, 0.8)
    wanted["add-k"] = add_k(prompts.counts, 0.8, best_k(others, 0.8))
    wanted["bayes"] = bayes(prompts, "boyan", 0.8, generator(1), 64)
    assert list(found) == list(wanted)
    for name, matrix in wanted.items():
        assert torch.allclose(found[name], matrix, rtol=0, atol=1e-12), name
    assert list(rival_operators(prompts, 0.8, rivals, generator(1), 5)) == [
        {"td 3": "td 5"}.get(name, name) for name in wanted if name != "bayes"
    ]
    assert priced(2).dtype == td(2, 0.8).dtype == torch.float64


def test_operators_in_any_batch():
    """A context has the same matrices alone and in batches; the oracle's chains are chains."""
    prompts = LAW.draw((2, 3), generator(5))
    calls = {
        "filled": lambda n: empirical(n).filled,
        "transition": lambda n: empirical(n).transition,
        "visits": lambda n: empirical(n).visits,
        "combination": lambda n: combination(torch.tensor([1.0, -2, 3, 0.5]), empirical(n), 0.8),
        "exact": lambda n: certainty_equivalence(empirical(n), 0.8),
        "add-k": lambda n: add_k(n, 0.8, 0.5),
    }
    for name, call in calls.items():
        whole = call(prompts.counts)
        for index in ((1,), (1, 2)):
            assert torch.allclose(call(prompts.counts[index]), whole[index], rtol=0, atol=1e-12), name
    for index in ((), (1,), (1, 2)):
        inverse = bayes(one_prompt(prompts, *index), "boyan", 0.8, generator(), 3)
        assert inverse.shape == prompts.counts[index].shape
        assert torch.allclose(inverse.sum(-1), torch.full(inverse.shape[:-1], 1 / (1 - 0.8)).double())


def test_best_linear_by_another_least_squares():
    prompts = LAW.draw((50,), generator(3))
    for degree in (0, 2):
        columns, values = [], []
        for i in range(50):
            r, p, mean = looped_model(prompts.counts[i].numpy(), prompts.reward[i].numpy())
            powers = [0.8**j * (np.linalg.matrix_power(p, j) @ r - mean) for j in range(degree + 1)]
            scale = np.sqrt(prompts.counts[i].sum(1).numpy())
            columns.append(np.stack([*powers, np.full(5, mean / 0.2)], 1) * scale[:, None])
            values.append(prompts.value[i].numpy() * scale)
        best = np.linalg.lstsq(np.concatenate(columns), np.concatenate(values), rcond=None)[0]
        np.testing.assert_allclose(best_linear(prompts, 0.8, degree), best, rtol=1e-8)


def test_best_k_is_a_power_of_two_between_its_limits():
    """As little as there is where the frequencies are the truth, as much where all rows are uniform."""
    dense = Setting(kinds=("random",), num_transitions=30)
    prompts = dense.draw((200,), generator(4))
    for transition, k in ((empirical(prompts.counts).transition, 2.0**-8), (torch.full((5, 5), 0.2), 8.0)):
        chain = transition.double().expand(200, 5, 5)
        value = torch.linalg.solve(torch.eye(5).double() - 0.9 * chain, prompts.reward)
        assert best_k(prompts._replace(value=value), 0.9) == k
    chain = (prompts.counts + 0.25) / (prompts.counts + 0.25).sum(-1, keepdim=True)
    value = torch.linalg.solve(torch.eye(5).double() - 0.9 * chain, prompts.reward)
    assert best_k(prompts._replace(value=value), 0.9) == 0.25


def test_refuses_a_batch_with_one_empty_context():
    counts = torch.ones(3, 2, 2).double()
    counts[1] = 0
    with pytest.raises(ValueError, match="each context needs a transition"):
        empirical(counts)


def test_oracle_refuses_what_its_law_forbids():
    prompts = Setting(kinds=("random",)).draw((5,), generator())
    with pytest.raises(ValueError, match="kind is 'loop'; a context holds a transition"):
        bayes(prompts, "loop", 0.5, generator())


def test_counts_are_added_where_a_state_was_left():
    """A state that was never left has the row of the visits, not the uniform one."""
    counts = torch.tensor([[3.0, 1, 0], [2, 0, 2], [0, 0, 0]]).double()
    rows = torch.tensor([[3.5, 1.5, 0.5], [2.5, 0.5, 2.5], [0, 0, 0]]).double()
    rows[:2] /= 5.5
    rows[2] = torch.tensor([0.5, 0.5, 0])  # four visits each
    wanted = torch.linalg.solve(torch.eye(3) - 0.8 * rows, empirical(counts).filled)
    assert torch.allclose(add_k(counts, 0.8, 0.5), wanted, rtol=0, atol=1e-12)
