"""All claims at once."""

from concurrent.futures import ThreadPoolExecutor

from icrl.claims import Claims, gathering
from icrl.claims.registry import Claim, Evidence


def drawn(rng):
    return Evidence(rng.random(), 1.0, str(rng.random()))


def test_what_is_gathered_does_not_depend_on_the_number_of_jobs(monkeypatch):
    """Claims that share randomness stand apart, and come back in their order. Threads for processes."""
    names = {"a": "", "b": "", "c": "a", "d": "b", "e": "a"}
    some = [Claim(x, "ours", "s", "bound", "s", drawn, drawn_with=y) for x, y in names.items()]
    monkeypatch.setattr(gathering, "CLAIMS", Claims(*some))
    monkeypatch.setattr(gathering, "ProcessPoolExecutor", lambda jobs, _: ThreadPoolExecutor(jobs))
    seen = gathering.gather(seed=3, jobs=2)
    assert list(seen) == [*"abcde"]
    assert seen == gathering.gather(seed=3) == {x.id: drawn(x.generator(3)) for x in some}
    assert seen["a"] == seen["c"] != seen["b"]
