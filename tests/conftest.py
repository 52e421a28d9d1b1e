"""What all tests share: libraries loaded in good time, one thread a process, and who runs under types."""

from pathlib import Path

# Before `icrl`: what is first imported from inside it, under jaxtyping's hook, bypasses Python's own cache
# of compiled modules, and every process would spend ten seconds on compiling.
import scipy.stats  # noqa: F401
import sympy  # noqa: F401
import torch

torch.set_num_threads(1)  # pytest-xdist fills the cores already


def pytest_collection_modifyitems(items):
    """Modules run under types; what they refuse does not, nor do claims and book: they take twice as long."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in ("claims", "book") or item.get_closest_marker("bad_input"):
            item.add_marker("untyped")
