"""The table of claims: each holds, each can fail, and the command line says which."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import icrl.__main__ as command
from icrl import softmax_td, softmax_transformer
from icrl.claims import CLAIMS, registry
from icrl.claims import softmax_transformer as transformer_claims
from icrl.claims import weighted_softmax_td as td_claims
from icrl.claims.registry import Claim, Evidence, largest, relative_error

BOOK = Path(__file__).parents[2] / "book"
MINE = {claim.id: claim for claim in td_claims.CLAIMS + transformer_claims.CLAIMS}
TD, ST, TD_CLAIMS, ST_CLAIMS = softmax_td, softmax_transformer, td_claims, transformer_claims


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", MINE)
def test_holds(name, seed):
    """On instances that `python -m icrl` does not draw by default."""
    evidence = MINE[name].check(np.random.default_rng(seed))
    assert evidence.holds, evidence


def test_ids_are_unique_short_names():
    """They are typed after --only and linked from the book; kinds are explained."""
    names = [claim.id for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(f'"{claim.kind}"' in Claim.__doc__ for claim in CLAIMS)


def test_every_section_is_a_label_of_the_book():
    """A claim points to the section that proves it."""
    labels = {m for page in BOOK.glob("*.md") for m in re.findall(r"^\((.+)\)=$", page.read_text(), re.M)}
    assert {claim.section for claim in CLAIMS} - labels == set()


# ------------------------------------------------------------------------------------------- Registry


def test_evidence_holds_up_to_its_tolerance_and_never_for_nan():
    """The tolerance itself is still within."""
    assert Evidence(1.0, 1.0, "").holds
    assert not Evidence(1.1, 1.0, "").holds
    assert not Evidence(np.nan, 1.0, "").holds
    assert not Evidence(np.inf, 1.0, "").holds


def test_relative_error_by_hand():
    """Relative to the largest expected entry where that exceeds 1, absolute elsewhere."""
    assert relative_error([1.0, 12.0], [0.0, 10.0]) == 0.2
    assert relative_error([0.5, 0.0], [0.0, 0.0]) == 0.5
    assert np.isnan(relative_error([1.0, np.nan], [1.0, 1.0]))
    with pytest.raises(ValueError, match=r"computed has shape \(1,\); expected has \(2,\)"):
        relative_error([1.0], [1.0, 2.0])


def test_largest_keeps_nan_wherever_it_stands():
    """Python's own max would lose it behind a number."""
    assert largest(iter([1.0, 3.0, 2.0])) == 3
    for errors in ([np.nan, 1.0], [1.0, np.nan], [1.0, np.nan, 2.0]):
        assert np.isnan(largest(errors))


def fake(name, error):
    """A claim whose check sees this error, with tolerance 1."""
    return Claim(
        name, "nobody", "A statement.", "identity", "sec-x", lambda rng: Evidence(error, 1.0, "seen")
    )


def test_pages_say_which_claims_fail():
    """In the terminal and in the book, with errors that have no order of magnitude among them."""
    claims = [fake(f"e{i}", error) for i, error in enumerate([0.0, 3e-5, 2.0, np.inf, np.nan])]
    report, all_hold = registry.table(claims, seed=0)
    assert [line[:5] for line in report.splitlines()] == ["holds", "holds", "FAILS", "FAILS", "FAILS"]
    assert not all_hold
    page = registry.markdown(claims, {c.id: c.check(None) for c in claims})
    assert page.count("**holds**") == 2
    assert page.count("**FAILS**") == 3
    assert re.findall(r"error (.*?),", page) == ["0", "≤ 0.0001", "≤ 10", "inf", "nan"]


# ---------------------------------------------------------------------------------------- Command line


def run_command(monkeypatch, *arguments, claims=None):
    """The exit code of ``python -m icrl``, in this process."""
    monkeypatch.setattr(sys, "argv", ["icrl", *arguments])
    if claims is not None:
        monkeypatch.setattr(command, "CLAIMS", tuple(claims))
    try:
        return command.main()
    except SystemExit as refused:
        return refused.code


def test_command_runs_as_a_module():
    """From outside, one claim, exit code 0 and its row."""
    argv = [sys.executable, "-m", "icrl", "--only", "symbolic-layer"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=BOOK.parent, check=False)
    assert done.returncode == 0
    assert re.fullmatch(r"holds  symbolic-layer +symbolic .*\n", done.stdout)


def test_command_prints_every_claim_and_exits_with_0(monkeypatch, capsys):
    """All of the table, a row for each."""
    assert run_command(monkeypatch, claims=[fake("one", 0.0), fake("two", 0.5)]) == 0
    assert [row.split()[:2] for row in capsys.readouterr().out.splitlines()] == [
        ["holds", "one"],
        ["holds", "two"],
    ]


@pytest.mark.parametrize("error", [2.0, np.nan])
def test_command_exits_with_1_if_a_claim_fails(monkeypatch, capsys, error):
    """Also if it is not the last one."""
    assert run_command(monkeypatch, claims=[fake("bad", error), fake("good", 0.0)]) == 1
    assert "FAILS  bad" in capsys.readouterr().out


def test_command_only_checks_the_one(monkeypatch, capsys):
    """A failing other one does not matter."""
    claims = [fake("bad", 2.0), fake("good", 0.0)]
    assert run_command(monkeypatch, "--only", "good", claims=claims) == 0
    assert "bad" not in capsys.readouterr().out


def test_command_refuses_an_unknown_id_and_names_the_known(monkeypatch, capsys):
    """Exit code 2, as for any wrong argument."""
    assert run_command(monkeypatch, "--only", "theorem-9") == 2
    message = capsys.readouterr().err
    assert "'theorem-9'" in message
    assert all(claim.id in message for claim in CLAIMS)


@pytest.mark.parametrize(("seed", "word"), [("-1", "must not be negative"), ("x", "invalid int")])
def test_command_refuses_a_bad_seed(monkeypatch, capsys, seed, word):
    """Before anything is checked."""
    assert run_command(monkeypatch, f"--seed={seed}") == 2
    assert word in capsys.readouterr().err


def test_command_seed_decides_the_instances(monkeypatch, capsys):
    """The same seed, the same report; another seed, another one; without one it is 0."""
    drawn = replace(fake("drawn", 0.0), check=lambda rng: Evidence(rng.random(), 1.0, "a draw"))
    reports = []
    for arguments in (["--seed", "7"], ["--seed", "7"], ["--seed", "8"], ["--seed", "0"], []):
        run_command(monkeypatch, *arguments, claims=[drawn])
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1] != reports[2]
    assert reports[3] == reports[4]


# --------------------------------------------------------------- Mutations: every claim can be killed


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


def kernel_telling_equal_features_apart(features, states, original=softmax_td.softmax_kernel):
    return original(np.hstack([features, np.eye(len(features))]), states)


def kernel_uniform_for_unvisited_states(features, states, original=softmax_td.softmax_kernel):
    kernel = original(features, states)
    kernel[:, np.setdiff1d(np.arange(len(features)), states)] = 1 / len(kernel)
    return kernel


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


def tabular_td_by_sums(states, rewards, num_states, discount, num_iterations):
    values = np.zeros((num_iterations + 1, num_states))
    for i, v in enumerate(values[:-1]):
        values[i + 1] = v
        np.add.at(values[i + 1], states[:-1], rewards + discount * v[states[1:]] - v[states[:-1]])
    return values


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


def groups_without_counts(kinds, kind, score, original=ST._grouped_weights):
    return original(kinds, kind.unique(), score)


def groups_with_queries_as_sources(kinds, kind, score, original=ST._grouped_weights):
    return original(kinds, torch.cat([kind, torch.arange(kinds.shape[1])]), score)


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

# What is replaced, by what, and the claims that must see it.
MUTATIONS = [
    (
        TD,
        "softmax_kernel",
        kernel_without_mask,
        "factor-gamma tabular-limit high-temperature theorem-1-shift",
    ),
    (TD, "softmax_kernel", kernel_over_queries, "factor-gamma operator-form"),
    (TD, "softmax_kernel", kernel_with_flipped_scores, "tabular-limit high-temperature several-queries"),
    (TD, "softmax_kernel", kernel_shifted, "operator-form tabular-td per-layer-step-sizes"),
    (TD, "softmax_kernel", kernel_telling_equal_features_apart, "equal-features"),
    (TD, "softmax_kernel", kernel_uniform_for_unvisited_states, "unvisited-query"),
    (TD, "kernel_td", NO_DISCOUNT, "operator-form fixed-point linear-td tabular-td per-layer-step-sizes"),
    (TD, "kernel_td", NO_DISCOUNT, "equal-features unvisited-query several-queries"),
    (TD, "kernel_td", SAME_STATE, "fixed-point linear-td tabular-td"),
    (TD, "kernel_td", NOT_SUBTRACTED, "linear-td per-layer-step-sizes"),
    (TD, "kernel_td", step_size_ignored, "operator-form per-layer-step-sizes theorem-1-dual"),
    (
        TD,
        "matching_matrix",
        changed(TD.matching_matrix, np.transpose),
        "operator-form factor-gamma tabular-limit",
    ),
    (TD, "matching_matrix", COLUMNS_ROLLED, "operator-form tabular-limit"),
    (TD, "empirical_model", rewards_off_by_one, "operator-form fixed-point equal-features"),
    (TD, "empirical_model", time_reversed, "operator-form fixed-point"),
    (TD, "iteration_matrix", discount_ignored, "factor-gamma"),
    (TD, "iteration_matrix", SIGN_FLIPPED, "factor-gamma"),
    (TD, "fixed_point", ZERO_IF_UNVISITED, "unvisited-query"),
    (TD, "tabular_td", tabular_td_by_sums, "tabular-td"),
    (TD, "linear_td", linear_td_by_sums, "linear-td"),
    (ST_CLAIMS, "softmax_td_weights", row(1, 1, 1), "symbolic-layer several-queries"),
    (ST_CLAIMS, "softmax_td_weights", row(1, -1, -1), "symbolic-layer several-queries"),
    (ST_CLAIMS, "softmax_td_weights", row(1, 1, 0), "symbolic-layer per-layer-step-sizes"),
    (ST_CLAIMS, "softmax_td_weights", weights_with_one_step_for_all, "per-layer-step-sizes"),
    (ST_CLAIMS, "softmax_td_weights", weights_with_flipped_scores, "per-layer-step-sizes several-queries"),
    (ST_CLAIMS, "softmax_td_prompt", prompt_off_by_one, "per-layer-step-sizes several-queries"),
    (ST, "softmax_weights", attention_without_mask, "per-layer-step-sizes several-queries"),
    (ST, "softmax_weights", attention_masking_one_query, "several-queries"),
    (ST, "_grouped_weights", groups_without_counts, "theorem-1-shift several-queries"),
    (ST, "_grouped_weights", groups_with_queries_as_sources, "theorem-1-dual several-queries"),
    (LAYERS, "_shift", shift(way=1), "theorem-1-shift theorem-1-dual lemma-1"),
    (LAYERS, "_shift", shift(way=0), "per-layer-step-sizes"),
    (LAYERS, "_shift", shift(scaled=False), "several-queries"),
    (LAYERS, "_shift", shift(cleared=False), "per-layer-step-sizes lemma-1"),
    (ST_CLAIMS, "literal_forward", literal_forward_that_cannot_be_broken, "broken-constructions-miss"),
    (ST_CLAIMS, "literal_forward", ALWAYS_WRONG, "broken-constructions-miss"),
    (ST_CLAIMS, "literal_forward", ALWAYS_NAN, "broken-constructions-miss"),
]
KILLED = [(*where, mutant, name) for *where, mutant, names in MUTATIONS for name in names.split()]


@pytest.mark.parametrize(("module", "attribute", "mutant", "name"), KILLED)
def test_mutation_is_seen(monkeypatch, module, attribute, mutant, name):
    """Something is broken on purpose, and the claim that rests on it fails."""
    monkeypatch.setattr(module, attribute, mutant)
    evidence = MINE[name].check(np.random.default_rng(0))
    assert not evidence.holds, evidence


def test_every_claim_is_killed_by_a_mutation():
    """A claim that nothing can break says nothing."""
    assert {name for *_, name in KILLED} == set(MINE)


def test_intact_mutants_change_nothing(monkeypatch):
    """What the mutants are built from is right: unbroken, the same claims hold."""
    monkeypatch.setattr(TD, "kernel_td", loop(lambda reward, after, before, g: reward + g * after - before))
    monkeypatch.setattr(ST_CLAIMS, "softmax_td_weights", row(1, 1, -1))
    monkeypatch.setattr(LAYERS, "_shift", shift())
    for name in ("per-layer-step-sizes", "operator-form", "linear-td", "tabular-td", "lemma-1"):
        assert MINE[name].check(np.random.default_rng(0)).holds, name
