"""The whole public face, called with right arguments and with one that is not: no surprises.

`make test` takes 300 calls, drawn by Hypothesis; `make fuzz` ten thousand (FUZZ_CALLS).
"""

import contextlib
import itertools
import os

import fuzz
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import icrl

resource = pytest.importorskip("resource", reason="limits of time and memory are those of Unix")
FACE = fuzz.face()


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """What saves is given names of files, too."""
    with contextlib.chdir(tmp_path_factory.mktemp("fuzz")):
        yield


CALLS = int(os.environ.get("FUZZ_CALLS", "300"))
KINDS = st.one_of(st.none(), st.sampled_from([*fuzz.BAD, *fuzz.CHANGES]))


@pytest.mark.bad_input
@pytest.mark.timeout(60 + CALLS)
@settings(
    max_examples=CALLS,
    derandomize=CALLS == 300,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(sorted(FACE)), st.integers(0, 999), st.integers(0, 19), KINDS)
def test_every_call_is_answered_or_refused(name, seed, which, kind):
    """Finite numbers, or a plain ValueError that names an argument; no hang."""
    given = fuzz.arguments(FACE[name], seed)
    changed = given if kind is None else fuzz.spoil(FACE[name], given, which, kind)
    assert changed is None or fuzz.outcome(FACE[name], changed) is None


@pytest.mark.bad_input
def test_no_call_asks_for_much_memory():
    """After the calls above: what this process ever held, in GB (Linux counts kB, macOS bytes)."""
    unit = 1e6 if os.uname().sysname == "Linux" else 1e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit < 4


@pytest.mark.bad_input
def test_the_face_is_found():
    """By looking: a function that a study adds to its ``__all__`` is called from then on."""
    called = {thing.__name__ for thing in FACE.values()}
    assert set(icrl.__all__) <= called
    assert len(FACE) > 350
    assert all(fuzz.parameters(thing) is not None for thing in FACE.values())


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", ["nan", "bare", "nameless", "hang"])
def test_what_the_fuzzer_would_object_to(wrong, monkeypatch):
    """A function of each undocumented kind."""
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)

    def function(size: int = 1):
        if wrong == "nan":
            return float("nan")
        if wrong == "bare":
            return {}["size"]
        if wrong == "nameless":
            raise ValueError("operands could not be broadcast")
        while True:
            size += 1

    assert fuzz.outcome(function, {"size": 1})


@pytest.mark.bad_input
def test_what_has_no_end_is_begun():
    """The first of them are looked at."""
    assert fuzz.outcome(lambda: (1.0 for _ in itertools.count()), {}) is None
    assert fuzz.outcome(lambda: (np.nan if i == 9 else 1.0 for i in itertools.count()), {})
