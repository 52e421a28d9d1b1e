"""The reference algorithms: examples worked out on paper, and what they must satisfy on random ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from icrl import softmax_td as td
from icrl.mrp import divergent_mrp, random_mrp
from icrl.softmax_transformer import softmax_td_prompt, softmax_td_weights

# One feature, 0 or sqrt(log 2): scores are 0 but for state 1 on itself, whose weight is exp(log 2) = 2.
HALF = np.array([[0.0], [np.sqrt(np.log(2))]])
ROUND = np.array([0, 1, 0])  # the context 0 -> 1 -> 0 with rewards 1 and 2
REWARDS = np.array([1.0, 2.0])
seeds = st.integers(0, 2**32)


def context(seed, covered=True):
    """Random features, states, rewards and discount; if covered, every state occurs and S_n = S_0."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 6))
    states = random_mrp(size, 0.5, rng).sample(int(rng.integers(1, 20)), rng)
    if covered:
        states = np.concatenate([states, rng.permutation(size), states[:1]])
    features = rng.normal(size=(size, int(rng.integers(1, 4))))
    return features, states, rng.normal(size=len(states) - 1), float(rng.uniform(0, 0.95))


def operator_step(features, states, rewards, discount):
    """One update of all states, visited or not, as a function: v + M (r + gamma P v - v)."""
    matching = td.matching_matrix(features, states)
    reward, transition = td.empirical_model(states, rewards, len(features))
    return lambda v: v + matching @ (reward + discount * transition @ v - v)


def test_kernel_by_hand():
    """State 0 finds both sources equal; state 1 prefers itself two to one."""
    np.testing.assert_allclose(td.softmax_kernel(HALF, ROUND), [[1 / 2, 1 / 3], [1 / 2, 2 / 3]], rtol=1e-15)


def test_softmax_td_by_hand():
    """TD errors 1, 2 give v(0) = 3/2, v(1) = 5/3; then 1/3, 13/12 give 53/24 and 5/2."""
    values = td.weighted_softmax_td(HALF, ROUND, REWARDS, 0.5, 2)
    expected = [[0, 0, 0], [3 / 2, 5 / 3, 3 / 2], [53 / 24, 5 / 2, 53 / 24]]
    np.testing.assert_allclose(values, expected, rtol=1e-15)


def test_step_size_for_each_layer_by_hand():
    """With alpha = 2, then 1/2: v = (3, 10/3), TD errors -1/3 and 1/6, v = (3 - 1/24, 10/3)."""
    values = td.weighted_softmax_td(HALF, ROUND, REWARDS, 0.5, 2, [2.0, 0.5])
    np.testing.assert_allclose(values[1], [3, 10 / 3, 3], rtol=1e-15)
    np.testing.assert_allclose(values[2], [71 / 24, 10 / 3, 71 / 24], rtol=1e-15)


def test_last_state_is_no_source_by_hand():
    """0 -> 0 -> 1 with equal features: only the two visits of 0 count; both states get the mean reward."""
    states, rewards = np.array([0, 0, 1]), np.array([1.0, 3.0])
    values = td.weighted_softmax_td(np.zeros((2, 1)), states, rewards, 0.5, 1)
    np.testing.assert_array_equal(values, [[0, 0, 0], [2, 2, 2]])
    np.testing.assert_array_equal(td.matching_matrix(np.zeros((2, 1)), states), [[1, 0], [1, 0]])


def test_tabular_td_by_hand():
    """0 -> 0 -> 1 -> 0, rewards 2, 4, 6: v = (3, 6), TD errors .5, 4, 1.5, v = (5.25, 7.5)."""
    values = td.tabular_td(np.array([0, 0, 1, 0]), np.array([2.0, 4.0, 6.0]), 3, 0.5, 2)
    np.testing.assert_array_equal(values, [[0, 0, 0], [3, 6, 0], [5.25, 7.5, 0]])


def test_linear_td_by_hand():
    """Features 1 and 2, alpha 1/2: w = 5/4; then TD errors 1 and 1/8 give w = 25/16."""
    features = np.array([[1.0], [2.0]])
    weights = td.linear_td(features, ROUND, REWARDS, 0.5, 2, 0.5)
    np.testing.assert_array_equal(weights, [[0], [5 / 4], [25 / 16]])


def test_empirical_model_by_hand():
    """0 is left for 1, 0 and 1 with rewards 1, 2, 6; 1 is left for 0 with 5; 2 is never left."""
    states, rewards = np.array([0, 1, 0, 0, 1]), np.array([1.0, 5.0, 2.0, 6.0])
    reward, transition = td.empirical_model(states, rewards, 3)
    np.testing.assert_allclose(reward, [3, 5, 0], rtol=1e-15)
    np.testing.assert_allclose(transition, [[1 / 3, 2 / 3, 0], [1, 0, 0], [0, 0, 0]], rtol=1e-15)


def test_empirical_process_by_hand():
    """States are renumbered: 4 and 7 become 0 and 1; v0 = 1 + v1/2, v1 = 2 + v0/2."""
    visited, process = td.empirical_process(np.array([4, 7, 4]), REWARDS, 0.5)
    np.testing.assert_array_equal(visited, [4, 7])
    np.testing.assert_array_equal(process.transition, [[0, 1], [1, 0]])
    np.testing.assert_allclose(process.value(), [8 / 3, 10 / 3], rtol=1e-15)
    _, process = td.empirical_process(np.array([4, 7, 7, 9, 9, 7]), np.arange(5.0), 0.5)  # 9 returns to 7
    np.testing.assert_array_equal(process.transition, [[0, 1, 0], [0, 1 / 2, 1 / 2], [0, 1 / 2, 1 / 2]])
    np.testing.assert_array_equal(process.reward, [0, 3 / 2, 7 / 2])


@pytest.mark.parametrize("states", [[0, 1], [0, 0, 1], [1, 2, 1, 0]])
def test_an_uncovered_end_is_refused(states):
    """The last state has no outgoing transition, so there is no closed empirical chain."""
    states, rewards = np.array(states), np.zeros(len(states) - 1)
    message = f"states ends in {states[-1]}.*never leaves"
    with pytest.raises(ValueError, match=message):
        td.empirical_process(states, rewards, 0.5)
    with pytest.raises(ValueError, match=message):
        td.iteration_matrix(np.eye(3), states, 0.5)
    with pytest.raises(ValueError, match=message):
        td.fixed_point(np.eye(3)[::-1].copy(), states, rewards, 0.5)


def test_iteration_matrix_by_hand():
    """I - M (I - P/2) with M = ((1/2, 1/2), (1/3, 2/3)) and P the swap."""
    expected = [[3 / 4, -1 / 4], [0, 1 / 2]]
    np.testing.assert_allclose(td.iteration_matrix(HALF, ROUND, 0.5), expected, atol=1e-15)


def test_fixed_point_by_hand():
    """Visited states have v = (8/3, 10/3); feature 2 sqrt(log 2) has kernel (1, 4), Z = 5: 58/15."""
    features = np.array([[0.0], [1.0], [2.0], [1.0]]) * HALF[1]
    limit = td.fixed_point(features, ROUND, REWARDS, 0.5)
    np.testing.assert_allclose(limit, [8 / 3, 10 / 3, 58 / 15, 10 / 3], rtol=1e-13)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.booleans())
def test_matching_matrix_pays_attention_to_visited_states_only(seed, covered):
    """Rows sum to 1, nothing is negative, and the columns of states never left are zero."""
    features, states, _, _ = context(seed, covered)
    matching = td.matching_matrix(features, states)
    np.testing.assert_allclose(matching.sum(axis=1), 1, atol=1e-14)
    assert matching.min() >= 0
    unvisited = np.setdiff1d(np.arange(len(features)), states[:-1])
    assert not matching[:, unvisited].any()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds)
def test_matching_matrix_is_the_gram_form(seed):
    """M(s, s') = n_s' exp(x(s).x(s')) / sum_u n_u exp(x(s).x(u))."""
    features, states, _, _ = context(seed, covered=False)
    weighted = np.exp(features @ features.T) * np.bincount(states[:-1], minlength=len(features))
    expected = weighted / weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(td.matching_matrix(features, states), expected, atol=1e-14)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.booleans())
def test_operator_form(seed, covered):
    """The loop is v + M (r + gamma P v - v), visited or not, at every layer."""
    features, states, rewards, discount = context(seed, covered)
    loop = td.weighted_softmax_td(features, states, rewards, discount, 5)
    step, v = operator_step(features, states, rewards, discount), np.zeros(len(features))
    for layer in loop:
        np.testing.assert_allclose(layer, v[states], atol=1e-12)
        v = step(v)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.floats(0, 15))
def test_tabular_limit(seed, tau):
    """Features sqrt(tau) e_s: the distance of M from the identity is the formula, exactly."""
    _, states, _, _ = context(seed)
    counts = np.bincount(states[:-1])
    matching = td.matching_matrix(np.sqrt(tau) * np.eye(len(counts)), states)
    distance = np.abs(matching - np.eye(len(counts))).sum(axis=1)
    n = counts.sum()
    formula = 2 * (n - counts) / (counts * np.exp(tau) + n - counts)
    np.testing.assert_allclose(distance, formula, atol=1e-12)
    assert formula.argmax() == counts.argmin()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds)
def test_sharp_one_hot_softmax_td_is_tabular_td(seed):
    """At inverse temperature 40 nothing is left of the difference."""
    _, states, rewards, discount = context(seed)
    size = states.max() + 1
    softmax = td.weighted_softmax_td(np.sqrt(40) * np.eye(size), states, rewards, discount, 10)
    tabular = td.tabular_td(states, rewards, int(size), discount, 10)
    np.testing.assert_allclose(softmax, tabular[:, states], atol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, st.booleans())
def test_inner_product_kernel_is_linear_td(seed, covered):
    """Without the softmax the values stay in the span of the features, with linear TD's weights."""
    features, states, rewards, discount = context(seed, covered)
    kernel = features[states[:-1]] @ features.T / len(rewards)
    steps = np.random.default_rng(seed).uniform(0.05, 0.3, size=8)
    values = td.kernel_td(kernel, states, rewards, discount, 8, steps)
    weights = td.linear_td(features, states, rewards, discount, 8, steps)
    np.testing.assert_allclose(values, weights @ features[states].T, atol=1e-12)


@pytest.mark.parametrize("sharpness", np.linspace(1, 6, 10))
def test_the_kernel_does_not_move_the_fixed_point(sharpness):
    """Ten kernels, run to the end: always the certainty-equivalence value of the context."""
    rng = np.random.default_rng(0)
    states = np.append(random_mrp(4, 0.7, rng).sample(40, rng), [0, 1, 2, 3])
    states, rewards = np.append(states, states[0]), rng.normal(size=len(states))
    directions = rng.normal(size=(4, 3))
    features = sharpness * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    matrix = td.iteration_matrix(features, states, 0.7)
    layers = int(np.log(1e-14) / np.log(np.abs(np.linalg.eigvals(matrix)).max()))
    visited, process = td.empirical_process(states, rewards, 0.7)
    np.testing.assert_array_equal(visited, [0, 1, 2, 3])
    end = td.weighted_softmax_td(features, states, rewards, 0.7, layers)[-1]
    np.testing.assert_allclose(end, process.value()[states], atol=1e-10)
    np.testing.assert_allclose(td.fixed_point(features, states, rewards, 0.7), process.value(), atol=1e-10)


@pytest.mark.parametrize("alike", [(), ((1, 2),), ((1, 2), (3, 5)), ((4, 5),)])
def test_fixed_point_is_where_a_long_run_ends(alike):
    """Six states of which 4 and 5 are never visited, some with equal features, visited or not."""
    rng = np.random.default_rng(1)
    states = np.append(random_mrp(4, 0.6, rng).sample(40, rng), [0, 1, 2, 3])
    states, rewards = np.append(states, states[0]), rng.normal(size=len(states))
    directions = rng.normal(size=(6, 4))
    features = 2 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for one, other in alike:
        features[other] = features[one]
    step, v = operator_step(features, states, rewards, 0.6), np.zeros(6)
    for _ in range(3000):
        v = step(v)
    np.testing.assert_allclose(step(v), v, atol=1e-13)
    np.testing.assert_allclose(td.fixed_point(features, states, rewards, 0.6), v, atol=1e-10)


def test_equal_features_conserve_the_difference_of_their_values():
    """Both move by the same amount, so from zero they never part; the limit is the merged chain's."""
    states, rewards = np.array([0, 1, 2, 1, 0]), np.array([1.0, -1.0, 3.0, 2.0])
    features = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    values = td.weighted_softmax_td(features, states, rewards, 0.5, 500)
    np.testing.assert_array_equal(values[:, 0], values[:, 2])
    _, merged = td.empirical_process(np.array([0, 1, 0, 1, 0]), rewards, 0.5)
    np.testing.assert_allclose(values[-1, :2], merged.value(), atol=1e-12)
    np.testing.assert_allclose(td.fixed_point(features, states, rewards, 0.5), merged.value()[[0, 1, 0]])


@pytest.mark.parametrize(
    "features", [[[1e-9], [2e-9], [1.0]], [[1.0], [40.0], [2.0]]], ids=["too alike", "one drowns the other"]
)
def test_an_interpolant_lost_to_rounding_is_refused(features):
    """The visited values are still known; the unvisited state's is refused, not made up."""
    features = np.array(features)
    np.testing.assert_allclose(td.fixed_point(features[:2], ROUND, REWARDS, 0.5), [8 / 3, 10 / 3])
    with pytest.raises(ValueError, match=r"features.*condition \S+; .* below 1e\+12"):
        td.fixed_point(features, ROUND, REWARDS, 0.5)


def test_a_single_state():
    """All weight on itself: v <- r + gamma v, towards the mean reward over 1 - gamma."""
    states, rewards, features = np.zeros(4, dtype=int), np.array([1.0, 2.0, 6.0]), np.array([[5.0]])
    values = td.weighted_softmax_td(features, states, rewards, 0.5, 3)
    np.testing.assert_allclose(values[:, 0], [0, 3, 4.5, 5.25], rtol=1e-15)
    np.testing.assert_array_equal(td.matching_matrix(features, states), [[1]])
    np.testing.assert_allclose(td.iteration_matrix(features, states, 0.5, 0.8), [[0.6]], rtol=1e-15)
    np.testing.assert_allclose(td.fixed_point(features, states, rewards, 0.5), [6], rtol=1e-15)


def test_the_last_state_may_be_left_at_the_very_end():
    """0 -> 1 -> 1 with rewards 1 and 2: v(1) = 2 + v(1)/2 = 4 and v(0) = 1 + v(1)/2 = 3."""
    np.testing.assert_allclose(td.fixed_point(HALF, np.array([0, 1, 1]), REWARDS, 0.5), [3, 4], rtol=1e-15)


def test_no_layers_leave_everything_at_zero():
    """Only the row before the first update."""
    assert not td.weighted_softmax_td(HALF, ROUND, REWARDS, 0.5, 0).any()
    assert td.weighted_softmax_td(HALF, ROUND, REWARDS, 0.5, 0).shape == (1, 3)
    np.testing.assert_array_equal(td.tabular_td(ROUND, REWARDS, 2, 0.5, 0), [[0, 0]])
    np.testing.assert_array_equal(td.linear_td(np.eye(2), ROUND, REWARDS, 0.5, 0), [[0, 0]])


@pytest.mark.parametrize(
    ("algorithm", "first"),
    [
        (lambda *more: td.weighted_softmax_td(HALF, ROUND, REWARDS, 0.5, 1, *more), [3 / 2, 5 / 3, 3 / 2]),
        (lambda *more: td.priced_softmax_td(HALF, ROUND, REWARDS, 0.5, 1, *more), [3 / 2, 5 / 3, 3 / 2]),
        (lambda *more: td.kernel_td(np.eye(2), ROUND, REWARDS, 0.5, 1, *more), [1, 2, 1]),
        (lambda *more: td.tabular_td(ROUND, REWARDS, 2, 0.5, 1, *more), [1, 2]),
        (lambda *more: td.linear_td(np.eye(2), ROUND, REWARDS, 0.5, 1, *more), [1 / 2, 1]),
    ],
)
def test_the_step_is_one_unless_given(algorithm, first):
    """By hand, and in proportion to the step where it is given."""
    np.testing.assert_allclose(algorithm()[1], first, rtol=1e-15)
    np.testing.assert_allclose(algorithm(0.25)[1], np.array(first) / 4, rtol=1e-15)


def test_divergence_of_the_book():
    """On the divergent process distinct features do not help: an eigenvalue of B is negative."""
    process, features = divergent_mrp()
    rng = np.random.default_rng(0)
    states = process.sample(5000, rng)
    states = np.append(states, states[0])
    for alpha in (0.01, 0.1, 1.0):
        assert np.abs(np.linalg.eigvals(td.iteration_matrix(features, states, 0.9, alpha))).max() > 1


def test_the_priced_loop_by_hand():
    """Two states, three transitions, one update: worked out on paper with equal features."""
    states, rewards = np.array([0, 1, 1, 0]), np.array([3.0, 1.0, 2.0])
    rows = td.priced_softmax_td(np.ones((2, 1)), states, rewards, 0.5, 1)
    # Equal features: one update gives all columns the mean reward 2; then every TD error is R - 1.
    assert np.allclose(rows, np.array([[0.0] * 4, [2.0] * 4, [4.0] * 4]), rtol=0, atol=1e-15)
    unlike = td.priced_softmax_td(30 * np.eye(2), states, rewards, 0.5, 1)
    # Each state hears itself: v = (3, 3/2); TD errors 3/4, 1/4, 2; mean 1, price 2.
    assert np.allclose(unlike[2], np.array([5, 3.5, 3.5, 5]), rtol=0, atol=1e-12)


HALVES, REWARD = np.full((2, 2), 0.5), np.zeros(2)


GIVEN_FEATURES, GIVEN_STATES, GIVEN_REWARDS = np.eye(2), np.array([0, 1, 0]), np.ones(2)


NAN, INF, RAGGED = np.nan, np.inf, [[1.0, 0.0], [1.0]]


ON_CONTEXTS = {
    "softmax_kernel": lambda x, s, r: td.softmax_kernel(x, s),
    "matching_matrix": lambda x, s, r: td.matching_matrix(x, s),
    "weighted_softmax_td": lambda x, s, r: td.weighted_softmax_td(x, s, r, 0.5, 2),
    "linear_td": lambda x, s, r: td.linear_td(x, s, r, 0.5, 2),
    "iteration_matrix": lambda x, s, r: td.iteration_matrix(x, s, 0.5),
    "fixed_point": lambda x, s, r: td.fixed_point(x, s, r, 0.5),
    "softmax_td_prompt": lambda x, s, r: softmax_td_prompt(x, s, r),
    "kernel_td": lambda x, s, r: td.kernel_td(HALVES, s, r, 0.5, 2),
    "tabular_td": lambda x, s, r: td.tabular_td(s, r, 2, 0.5, 2),
    "empirical_model": lambda x, s, r: td.empirical_model(s, r, 2),
    "empirical_process": lambda x, s, r: td.empirical_process(s, r, 0.5),
}


WITHOUT_FEATURES = ["kernel_td", "tabular_td", "empirical_model", "empirical_process"]


BATCHED = ["softmax_td_prompt"]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", [name for name in ON_CONTEXTS if name not in WITHOUT_FEATURES])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[0.0, NAN], [1.0, 0.0]], "features[0, 1] is nan; every entry must be finite"),
        ([[0.0, 1.0], [-INF, 0.0]], "features[1, 0] is -inf; every entry must be finite"),
        ([1.0, 2.0], "features has shape (2,); it must ..."),
        (1.0, "features has shape (); it must ..."),
        (np.empty((2, 0)), "features has shape (2, 0); no axis may be empty"),
        (np.empty((0, 2)), "features has shape (0, 2); no axis may be empty"),
        (RAGGED, "features is [[1.0, 0.0], [1.0]]; it must be an array of real numbers"),
        (None, "features is None, of dtype object; it must be an array of real numbers"),
        ([[1j], [0]], "features is ..., of dtype complex128; it must be an array of real numbers"),
        ([[1.0, 2.0]], "states[1] is 1; states run from 0 to 0"),
    ],
)
def test_refuses_features(name, features, message):
    """A row of finite numbers for each state."""
    refused(message, ON_CONTEXTS[name], features, GIVEN_STATES, GIVEN_REWARDS)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ON_CONTEXTS)
@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([0, -1, 0], "states[1] is -1; states run from 0 ..."),
        ([0, 1, 2], "states[2] is 2; states run from 0 to 1"),
        (
            np.array([0, 2**63 + 1, 0], dtype=np.uint64),
            "states[1] is 9223372036854775809; states run ... to 1",
        ),
        ([0.0, 1.0, 0.0], "states has dtype float64; states are integers"),
        ([0, NAN, 0], "states has dtype float64; states are integers"),
        ([True, False, True], "states has dtype bool; states are integers"),
        (["a", "b", "a"], "states is ['a', 'b', 'a'], of dtype <U1; it must be an array of integers"),
        (None, "states is None, of dtype object; it must be an array of integers"),
        ([[0, 1], [0]], "states is [[0, 1], [0]]; it must be an array of integers"),
        ([0], "states has shape (1,); a context needs a transition or more, two states"),
        ([], "states has shape (0,); a context needs a transition or more, two states"),
        (0, "states has shape (); a context needs a transition or more, two states"),
        ([[0, 1, 0], [1, 0, 1]], "states has shape (2, 3); one trajectory has one axis, time"),
    ],
)
def test_refuses_states(name, states, message):
    """Integers in range on one axis, at least two."""
    if name == "empirical_process" and " to 1" in message:
        pytest.skip("it has no number of states to compare with")
    if name in BATCHED and "one axis" in message:
        message = "rewards has shape (2,); it must have 2 axes"  # a batch is welcome, if the rest is one
    refused(message, ON_CONTEXTS[name], GIVEN_FEATURES, states, GIVEN_REWARDS)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((3, 2)), "kernel has shape (3, 2); it must be (2, 2), one row for each transition"),
        ([1.0, 1.0], "kernel has shape (2,); it must have 2 axes"),
        ([[NAN, 1.0], [1.0, 1.0]], "kernel[0, 0] is nan; every entry must be finite"),
        ([[1.0], [1.0]], "states[1] is 1; states run from 0 to 0"),
    ],
)
def test_refuses_kernel(kernel, message):
    """A row for each transition, a column for each state."""
    refused(message, td.kernel_td, kernel, GIVEN_STATES, GIVEN_REWARDS, 0.5, 2)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["empirical_process", "iteration_matrix", "fixed_point"])
def test_refuses_last_state_never_left(name):
    """Named as the caller names it, also where states are renumbered inside."""
    features = np.array([[3.0], [2.0], [1.0]])
    message = "states ends in 2, ... it never leaves; ..."
    refused(message, ON_CONTEXTS[name], features, np.array([0, 1, 2]), GIVEN_REWARDS)


STEP_SIZES = [
    (0, "step_size is 0; it must be positive"),
    (-0.5, "step_size is -0.5; it must be positive"),
    ([1.0, 0.0], "step_size is 0; it must be positive"),
    (NAN, "step_size is nan; every entry must be finite"),
    ([1.0, INF], "step_size[1] is inf; every entry must be finite"),
    ([], "step_size has shape (0,); no axis may be empty"),
    ([[1.0, 1.0]], "step_size has shape (1, 2); give one float or one for each of the 2 layers"),
    ("1", "step_size is '1', of dtype <U1; it must be an array of real numbers"),
    (None, "step_size is None, of dtype object; it must be an array of real numbers"),
    (RAGGED, "step_size is [[1.0, 0.0], [1.0]]; it must be an array of real numbers"),
]


TAKE_STEPS = [
    lambda alpha: td.weighted_softmax_td(GIVEN_FEATURES, GIVEN_STATES, GIVEN_REWARDS, 0.5, 2, alpha),
    lambda alpha: td.kernel_td(HALVES, GIVEN_STATES, GIVEN_REWARDS, 0.5, 2, alpha),
    lambda alpha: td.tabular_td(GIVEN_STATES, GIVEN_REWARDS, 2, 0.5, 2, alpha),
    lambda alpha: td.linear_td(GIVEN_FEATURES, GIVEN_STATES, GIVEN_REWARDS, 0.5, 2, alpha),
]


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [*TAKE_STEPS, lambda alpha: softmax_td_weights(2, alpha)])
@pytest.mark.parametrize(("step_size", "message"), STEP_SIZES)
def test_refuses_step_size(function, step_size, message):
    """Positive, one or one for each layer."""
    refused(message, function, step_size)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", TAKE_STEPS)
@pytest.mark.parametrize("length", [1, 3])
def test_refuses_wrong_number_of_step_sizes(function, length):
    """Neither one for all nor one for each of the two layers."""
    message = f"step_size has shape ({length},); give one float or one for each of the 2 layers"
    refused(message, function, [1.0] * length)


@pytest.mark.bad_input
def test_refuses_step_size_of_the_iteration_matrix():
    """It is one layer."""
    message = "step_size has shape (2,); give one float or one for each of the 1 layers"
    refused(message, td.iteration_matrix, GIVEN_FEATURES, GIVEN_STATES, 0.5, [1.0, 1.0])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: td.kernel_td(HALVES, ROUND, REWARDS, 0.5, -1), "num_layers is -1; it must be at least 0"),
        (lambda: td.tabular_td(ROUND, REWARDS, 2, 0.5, -1), "num_iterations is -1; it must be at least 0"),
        (lambda: td.linear_td(HALF, ROUND, REWARDS, 0.5, -1), "num_iterations is -1; it must be at least 0"),
        (lambda: td.tabular_td(ROUND, REWARDS, 0, 0.5, 1), "num_states is 0; it must be at least 1"),
        (lambda: td.empirical_model(ROUND, REWARDS, 0), "num_states is 0; it must be at least 1"),
    ],
)
def test_refuses_counts(function, message):
    """No fewer than no updates, and than one state."""
    refused(message, function)


@pytest.mark.bad_input
def test_refuses_features_too_alike():
    """The interpolant of an unvisited state would be rounding error."""
    message = (
        "features of what was visited gives a linear system of condition ...; it must be below 1e+12, ..."
    )
    refused(message, td.fixed_point, [[1e-9], [2e-9], [1.0]], GIVEN_STATES, GIVEN_REWARDS, 0.5)


@pytest.mark.bad_input
def test_what_overflows_is_refused_by_name():
    """Finite input, infinite output: the argument and the update are named; just below, the limit."""
    context = [0, 1, 0], [1.0, -1.0]
    large = np.array([[1e155], [-1e155]])
    refused("features has entries so large that a score, ...", td.softmax_kernel, large, [0, 1, 0])
    kernel = td.softmax_kernel(large / 10, [0, 1, 0])
    np.testing.assert_array_equal(
        kernel, np.eye(2)
    )  # differences beyond the range of float64 are weights of 0
    process, features = divergent_mrp()
    states = np.array([0, 1, 0, 1, 0, 2, 1, 0])
    rewards = process.reward[states[:-1]]
    run = lambda layers: td.weighted_softmax_td(features, states, rewards, 0.999, layers, 9.0)  # noqa: E731
    refused("num_layers is 3000, but update ... leaves the range of float64: ...", run, 3000)
    refused("num_iterations is 2000, ...", td.tabular_td, *context, 2, 0.9, 2000, 9.0)
    refused("num_iterations is 2000, ...", td.linear_td, np.eye(2), *context, 0.9, 2000, 9.0)
    twice = [0, 0, 0], [1e308, 1e308]  # states and rewards, whose sum has no number
    refused("rewards has entries so large that a mean leaves the range ...", td.empirical_model, *twice, 1)
    once = [0, 1, 0], [1e308, 1e308]
    message = "rewards has entries so large that a value leaves the range of float64"
    refused(message, td.fixed_point, np.eye(2), *once, 0.9)
    near = np.array([[1.0], [1.1], [3.0]])  # the third, never visited, is interpolated far from the others
    message = "rewards has entries so large that the limit leaves the range of float64"
    assert np.abs(td.fixed_point(near, [0, 1, 0], [0.0, 1e306], 0.5)).max() > 1e307
    refused(message, td.fixed_point, near, [0, 1, 0], [0.0, 5e307], 0.5)
