"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import numpy as np
import pytest
import torch
from early import still_holds

from icrl.claims import emergence as chapter
from icrl.pretraining import by_hand, emergence, forward, trainer

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


def operators_without_counts(scores, context, attention="softmax"):
    """Every visited state is heard once, however often it was visited."""
    visited = (context.visits > 0).to(context.visits)[..., None, :]
    matching = (scores + visits_log(visited)).softmax(-1)
    return matching, matching @ context.transition


def visits_log(visits):
    return torch.log(visits)


def operators_of_predecessors(scores, context, attention="softmax"):
    matching, _ = ORIGINAL["operators"](scores, context, attention)
    return matching, matching @ context.transition.mT


ORIGINAL = {
    "operators": forward.table_operators,
    "attention": by_hand.attention,
    "tables": forward.tables_of_counts,
    "windows": trainer._windows,
    "response": emergence.response,
    "rows": emergence.horner_rows,
    "fit": emergence.fitted_response,
    "state": torch.Generator.get_state,
    "pretrain": trainer.pretrain,
    "krylov": emergence.krylov,
    "counts": emergence.tables,
}


def same_window(c, tasks):
    """The target reads the prompt itself, not the window one step later."""
    first, *_ = ORIGINAL["windows"](c, tasks)
    return [first, first]


def no_leak(rows, num_layers, *, discount, focus=1.0):
    return ORIGINAL["response"](rows, num_layers, discount=discount)


def other_price(rows, num_layers, **options):
    seen = ORIGINAL["response"](rows, num_layers, **options)
    return seen._replace(mean_gain=1.01 * seen.mean_gain)


def untrained(c, g, **options):
    run = ORIGINAL["pretrain"](c, g, **options)
    first = [x[:1].expand_as(x) for x in (run.value_weights, run.score_weights)]
    return run._replace(value_weights=first[0], score_weights=first[1])


def forgetful(run, path):
    """A checkpoint that does not keep the optimiser's moments."""
    ORIGINAL["load"](run, path)
    for x in run.adam.means + run.adam.squares:
        x.zero_()


ORIGINAL["load"] = trainer.Trainer.load

FAULTS = [
    ("pretraining-tables", forward, "table_operators", operators_without_counts),
    ("pretraining-tables", forward, "table_operators", operators_of_predecessors),
    ("pretraining-gradients", by_hand, "attention", lambda s, v: ORIGINAL["attention"](s, np.minimum(v, 1))),
    ("pretraining-gradients", trainer, "_windows", same_window),
    ("pretraining-resume", trainer.Trainer, "load", forgetful),
    ("forward-polynomial", chapter, "matching_matrix", lambda x, s: np.eye(len(x))),
    ("horner-reachability", emergence, "horner_rows", lambda p: ORIGINAL["rows"](p.flip(0))),
    ("horner-reachability", forward, "table_operators", operators_of_predecessors),
    ("construction-gap", forward, "table_operators", operators_of_predecessors),
    ("two-jobs", emergence, "response", no_leak),
    ("two-jobs", emergence, "response", other_price),
    ("two-jobs", forward, "table_operators", operators_of_predecessors),
    ("response-fit", emergence, "krylov", lambda p, r, g, k: ORIGINAL["krylov"](p.mT, r, g, k)),
    ("response-fit", emergence, "tables", lambda s, r: ORIGINAL["counts"](s, r + r.mean())),
    ("response-fit", emergence, "fitted_response", lambda *a: (ORIGINAL["fit"](*a)[0], torch.ones(1))),
    ("shared-row-roots", emergence, "response", lambda r, n, **k: ORIGINAL["response"](-r, n, **k)),
    ("shared-row-roots", emergence, "response", lambda r, n, **k: ORIGINAL["response"](r.flip(-1), n, **k)),
]


@pytest.mark.parametrize(("claim", "place", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, place, name, fault):
    monkeypatch.setattr(place, name, fault)
    assert not holds(claim)


def test_gradients_see_a_differentiated_target(monkeypatch):
    """A trainer that differentiates its target does not do TD."""

    class Live:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

    monkeypatch.setattr(trainer.torch, "no_grad", Live)
    assert not holds("pretraining-gradients")
