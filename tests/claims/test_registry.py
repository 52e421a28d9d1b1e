"""The table of claims: each holds, each can fail, and the command line says which."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import icrl.__main__ as command
from icrl.claims import CLAIMS, registry
from icrl.claims.registry import Claim, Evidence, largest, relative_error

BOOK = Path(__file__).parents[2] / "book"


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
    page = registry.markdown({"A chapter": claims}, {c.id: c.check(None) for c in claims})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()[2:]]
    assert [row[3] for row in rows] == ["holds", "holds", "**FAILS**", "**FAILS**", "**FAILS**"]
    assert [row[4] for row in rows] == ["exact", "≥ 10000", "none", "none", "none"]
    assert re.findall(r"error (.*?),", page) == ["0", "≤ 0.0001", "≤ 10", "inf", "nan"]


def test_bars_do_not_end_a_cell():
    """Norms and absolute values stand in formulas, bars elsewhere in words."""
    claim = fake("bars", 0.5)
    object.__setattr__(claim, "statement", r"$\|x\| \ge |x_1|$ | so")
    page = registry.markdown({"A": [claim]}, {"bars": claim.check(None)})
    assert [line.count("|") for line in page.splitlines()] == [7, 7, 7]
    assert r"$\Vert x\Vert  \ge \vert x_1\vert $ &#124; so" in page


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
