"""What tests share: libraries loaded in good time, one thread a process, who runs under types, the order."""

import gc
from pathlib import Path

# It asks the garbage collector who holds a generator, and later would be told: nobody.
import hypothesis

# Before `icrl`: what is first imported from inside it, under jaxtyping's hook, bypasses Python's own cache
# of compiled modules, and every process would spend ten seconds on compiling.
import scipy.stats  # noqa: F401
import sympy  # noqa: F401
import torch

torch.set_num_threads(1)  # pytest-xdist fills the cores already
gc.disable()  # while all is loaded: nothing of it is garbage, and to find that out takes long


TESTS = Path(__file__).parent
LONGEST = ("tests/book/test_rendered.py", "tests/claims/test_table.py")
"""Files that take minutes: with them last, one worker would be done long before the other."""


def begins(item):
    """What comes first: the longest files, then the notebooks, then the rest as it stands."""
    name = item.path.relative_to(TESTS.parent).as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST) + (item.path.suffix != ".ipynb")


def pytest_collection_modifyitems(items):
    """Modules run under types; what they refuse does not, nor do claims and book: they take twice as long."""
    for item in items:
        parts = item.path.relative_to(TESTS.parent).parts
        if parts[0] == "book" or parts[1] in ("claims", "book") or item.get_closest_marker("bad_input"):
            item.add_marker("untyped")
    items.sort(key=begins)


@hypothesis.settings(max_examples=1, database=None)
@hypothesis.given(hypothesis.strategies.none())
def drawn_once(_):
    """Hypothesis registers its own generator at the first draw; it must be known before the freeze."""


def pytest_collection_finish():
    """What is imported by now stays, and is not looked through again."""
    drawn_once()
    gc.freeze()
    gc.enable()


def pytest_configure(config):
    """Else pytest-xdist would begin with the files that hold the most tests."""
    config.option.loadscopereorder = False
