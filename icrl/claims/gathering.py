"""All claims checked, by several processes."""

from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

from icrl.claims import CLAIMS
from icrl.claims.registry import Evidence


def gather(seed: int, jobs: int = 1) -> dict[str, Evidence]:
    """What the check of every claim saw, by id, in the order of ``CLAIMS``.

    Args:
        seed: of the random instances.
        jobs: processes that share the work; what is seen does not depend on them.
    """
    together = {}
    for claim in CLAIMS:  # what shares its randomness shares what it computes, in one process
        together.setdefault(claim.drawn_with or claim.id, []).append(claim.id)
    # Fresh processes: a fork of one in which PyTorch has worked may hang.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        found = list((map if jobs == 1 else pool.map)(_in_turn, together.values(), repeat(seed)))
    seen = {name: evidence for group in found for name, evidence in group.items()}
    return {claim.id: seen[claim.id] for claim in CLAIMS}


def _in_turn(names, seed):
    return {name: CLAIMS[name].check(CLAIMS[name].generator(seed)) for name in names}
