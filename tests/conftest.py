"""What all tests share: libraries loaded in good time, and one thread for each process."""

# Before `icrl`: what is first imported from inside it, under jaxtyping's hook, bypasses Python's own cache
# of compiled modules, and every process would spend ten seconds on compiling.
import scipy.stats  # noqa: F401
import sympy  # noqa: F401
import torch

torch.set_num_threads(1)  # pytest-xdist fills the cores already
