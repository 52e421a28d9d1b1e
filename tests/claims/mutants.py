"""Wrong programs for the claims about softmax TD and its transformer, each with one thing changed."""

import numpy as np
import torch

from icrl import long_contexts as LC
from icrl import softmax_td as TD
from icrl import softmax_transformer as ST
from icrl.claims import softmax_transformer as ST_CLAIMS
from icrl.claims import weighted_softmax_td as TD_CLAIMS


def exponentials(features, states, sign=1):
    """exp of the scores of all states of the trajectory, the last one too, by every state."""
    return np.exp(sign * features[states] @ features.T)


def kernel_without_mask(features, states):
    weights = exponentials(features, states)
    return (weights / weights.sum(axis=0))[:-1]


def kernel_over_queries(features, states):
    weights = exponentials(features, states)[:-1]
    return weights / weights.sum(axis=1, keepdims=True)


def kernel_with_flipped_scores(features, states):
    weights = exponentials(features, states, sign=-1)[:-1]
    return weights / weights.sum(axis=0)


def kernel_shifted(features, states):
    weights = exponentials(features, states)[1:]
    return weights / weights.sum(axis=0)


def kernel_telling_equal_features_apart(features, states, original=TD.softmax_kernel):
    return original(np.hstack([features, np.eye(len(features))]), states)


def kernel_uniform_for_unvisited_states(features, states, original=TD.softmax_kernel):
    kernel = original(features, states)
    kernel[:, np.setdiff1d(np.arange(len(features)), states)] = 1 / len(kernel)
    return kernel


def kernel_bent(features, states, original=TD.softmax_kernel):
    """What is not linear in the scores, a twentieth larger."""
    kernel, scores = original(features, states), features[states[:-1]] @ features.T
    return kernel + 0.05 * (kernel - (1 + scores - scores.mean(axis=0)) / len(scores))


def loop(td_error):
    """`kernel_td` with another TD error, a function of reward, next value, value, discount."""

    def mutant(kernel, states, rewards, discount, num_layers, step_size=1.0):
        values = np.zeros((num_layers + 1, len(states)))
        for layer, alpha in enumerate(np.broadcast_to(step_size, num_layers)):
            v = values[layer]
            values[layer + 1] = v + alpha * td_error(rewards, v[1:], v[:-1], discount) @ kernel[:, states]
        return values

    return mutant


def changed(function, change):
    """The function with its result passed through `change`."""
    return lambda *a, **k: change(function(*a, **k))


def tabular_td_by_sums(states, rewards, num_states, discount, num_iterations, step_size):
    values = np.zeros((num_iterations + 1, num_states))
    for i, v in enumerate(values[:-1]):
        values[i + 1] = v
        errors = rewards + discount * v[states[1:]] - v[states[:-1]]
        np.add.at(values[i + 1], states[:-1], step_size * errors)
    return values


def tabular_td_without_steps(states, rewards, num_states, discount, iterations, step_size, o=TD.tabular_td):
    return o(states, rewards, num_states, discount, iterations)


def linear_td_by_sums(features, states, rewards, discount, num_iterations, step_size, original=TD.linear_td):
    return original(features, states, rewards, discount, num_iterations, step_size * len(rewards))


def row(*numbers):
    """`softmax_td_weights` with this last row for [0, 1, 1, -1]."""

    def mutant(num_features, step_size=1.0, original=ST.softmax_td_weights):
        value, score = original(num_features, step_size)
        value[..., -1, -3:] = torch.from_numpy(np.multiply.outer(step_size, np.array(numbers, dtype=float)))
        return value, score

    return mutant


def weights_with_one_step_for_all(num_features, step_size=1.0, original=ST.softmax_td_weights):
    return original(num_features, np.ravel(step_size)[0])


def weights_with_flipped_scores(num_features, step_size=1.0, original=ST.softmax_td_weights):
    value, score = original(num_features, step_size)
    return value, -score


def attention_without_mask(prompt, score, num_queries=1):
    return (prompt.mT @ score @ prompt).softmax(-2)[..., : prompt.shape[-1] - num_queries, :]


def attention_masking_one_query(prompt, score, num_queries=1):
    weights = (prompt[..., :-1].mT @ score @ prompt).softmax(-2)
    return weights[..., : prompt.shape[-1] - num_queries, :]


def groups_without_counts(kinds, score, visits, original=LC._attend):
    return original(kinds, score, visits.clamp(max=1))


def groups_with_queries_as_sources(kinds, score, visits, original=LC._attend):
    return original(kinds, score, visits + 1)


def shift(way=-1, scaled=True, cleared=True):
    """`_shift` with the memory moved the wrong way, not discounted, or the target row kept."""

    def mutant(self, prompt, update):
        result = prompt + update
        current = (update if self.head == "dual" else result)[..., -1, :]
        moved = (self.discount if scaled else 1) * torch.roll(current, way, -1)
        moved[..., -1 if way < 0 else 0] = 0
        kept = result[..., -2, :] if self.head == "dual" or not cleared else 0
        return torch.cat([result[..., :-2, :], (kept + moved)[..., None, :], result[..., -1:, :]], -2)

    return mutant


def stays(start, features, states, *arguments, original=TD_CLAIMS.started_at):
    """A run that never leaves its start: nothing converges, nothing diverges."""
    run = original(start, features, states, *arguments)
    return 0 * run + run[:1]


def drifts_apart(*arguments, original=TD_CLAIMS.started_at):
    """Every value shrinks by a thousandth in a layer."""
    run = original(*arguments)
    return run * 0.999 ** np.arange(len(run))[:, None]


def never_arrives(*arguments, original=TD_CLAIMS.started_at):
    """Runs that grow still do, runs that converge stop short."""
    return original(*arguments) + 0.01


def never_grows(*arguments, original=TD_CLAIMS.started_at):
    """Runs that converge still do."""
    return np.clip(original(*arguments), -1e3, 1e3)


def too_far_alone(num_layers, discount, value, score, original=ST.SoftmaxTransformer):
    """Three times the step: each kernel diverges by itself."""
    return original(num_layers, discount, 3 * value, score)


def step_size_forgotten(*arguments, original=TD_CLAIMS.started_at):
    return original(*arguments[:6])


def one_kernel_for_all(num_layers, discount, value, score, original=ST.SoftmaxTransformer):
    return original(num_layers, discount, value, score[:1])


def never_diverges(num_layers, discount, value, score, original=ST.SoftmaxTransformer):
    """A thousandth of every update: too slow to get anywhere."""
    return original(num_layers, discount, value / 1e3, score)


def shift_with_last_target(change, original=ST.SoftmaxTransformer._shift):
    """`_shift` with another entry in the last column of the target row, which no source ever reads."""

    def mutant(self, prompt, update):
        result = original(self, prompt, update).clone()
        result[..., -2, -1] = change(self, result)
        return result

    return mutant


def rows_that_change(self, prompt, num_queries=1, original=ST.SoftmaxTransformer.layers):
    """Feature and reward rows doubled after the last layer."""
    *others, last = original(self, prompt, num_queries)
    yield from others
    last = last.clone()
    last[..., :-2, :] *= 2
    yield last


def literal_forward_that_cannot_be_broken(*arguments, original=ST_CLAIMS.literal_forward, **options):
    return original(*arguments)


def rewards_off_by_one(states, rewards, num_states, original=TD.empirical_model):
    return original(states, np.roll(rewards, 1), num_states)


def time_reversed(states, rewards, num_states, original=TD.empirical_model):
    return original(states, rewards, num_states)[0], original(states[::-1], rewards, num_states)[1]


def step_size_ignored(kernel, states, rewards, discount, num_layers, step_size=1.0, original=TD.kernel_td):
    return original(kernel, states, rewards, discount, num_layers)


def discount_ignored(features, states, discount, step_size=1.0, original=TD.iteration_matrix):
    return original(features, states, 0.0, step_size)


def prompt_off_by_one(features, states, rewards, queries=None, original=ST.softmax_td_prompt):
    return original(features, states, np.roll(rewards, 1), queries)


NO_DISCOUNT = loop(lambda reward, after, before, discount: reward + after - before)
SAME_STATE = loop(lambda reward, after, before, discount: reward + discount * before - before)
NOT_SUBTRACTED = loop(lambda reward, after, before, discount: reward + discount * after)
COLUMNS_ROLLED = changed(TD.matching_matrix, lambda m: np.roll(m, 1, axis=1))
SIGN_FLIPPED = changed(TD.iteration_matrix, lambda m: 2 * np.eye(len(m)) - m)
ZERO_IF_UNVISITED = changed(TD.fixed_point, lambda v: np.append(v[:4], 0))
ALWAYS_WRONG = changed(ST_CLAIMS.literal_forward, lambda rows: rows + 1)
ALWAYS_NAN = changed(ST_CLAIMS.literal_forward, lambda rows: rows * np.nan)
LAYERS = ST.SoftmaxTransformer
