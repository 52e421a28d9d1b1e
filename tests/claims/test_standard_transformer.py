"""Every claim of the chapter holds, and fails where something behind it is broken on purpose."""

import pytest
import torch
from early import still_holds

from icrl import standard_transformer as study
from icrl.claims import standard_transformer as chapter
from icrl.standard_transformer import behaviour, hypotheses, inside, training

CLAIMS = {claim.id: claim for claim in chapter.CLAIMS}


def holds(name, seed=5):
    return still_holds(CLAIMS[name], seed)


ORIGINAL = {
    "compressed": training.compressed,
    "stacked": training.stacked_values,
    "basis": hypotheses.basis,
    "td": study.td,
    "priced": study.priced,
    "exact": study.certainty_equivalence,
    "coefficients": study.coefficients,
    "combination": study.combination,
    "swapped": study.swapped,
    "linear": hypotheses.best_linear,
    "bayes": hypotheses.bayes,
    "train": study.train,
    "jacobian": study.jacobian,
    "probe": inside.probe,
    "nuisances": inside.nuisances,
}


def heard_once(prompts):
    tokens, queries, counts = ORIGINAL["compressed"](prompts)
    return tokens, queries, counts.clamp(max=1)


def next_seed(a, parameters, *rest):
    return ORIGINAL["stacked"](a, parameters.roll(1, 0), *rest)


def predecessors(model, discount, degree):
    """Powers of the transposed chain."""
    return ORIGINAL["basis"](model._replace(transition=model.transition.mT), discount, degree)


def undiscounted(model, discount, degree):
    terms = ORIGINAL["basis"](model, discount, degree).clone()
    terms[-1] *= 1 - discount
    return terms


def one_power_less(coefficients):
    return lambda count, *rest: torch.cat([torch.zeros(1).double(), coefficients(count, *rest)[1:]])


def full_price(num_layers, discount):
    result = ORIGINAL["td"](num_layers, discount)
    result[-1] = 1
    return result


def transposed(operator, *rest):
    return ORIGINAL["coefficients"](operator.mT, *rest)


def off_the_rows(coefficients, model, discount):
    """A matrix whose rows do not sum to the price."""
    return ORIGINAL["combination"](coefficients, model, discount) + 0.01 * torch.eye(
        model.visits.shape[-1]
    ).to(model.visits)


def twice(prompts, generator):
    return ORIGINAL["swapped"](ORIGINAL["swapped"](prompts, generator), generator)


def more_visits(prompts, generator):
    """The visits move along with the successors."""
    after = ORIGINAL["swapped"](prompts, generator)
    return after._replace(counts=after.counts + (after.counts != prompts.counts))


def of_degree_0(prompts, discount, degree):
    fit = ORIGINAL["linear"](prompts, discount, 0)
    return torch.cat([fit[:1], torch.zeros(degree).double(), fit[1:]])


def of_high_degree(prompts, discount, degree):
    return ORIGINAL["linear"](prompts, discount, degree) if discount < 0.7 else study.priced(60)


def without_counts(prompts, *rest):
    return ORIGINAL["bayes"](prompts._replace(counts=(prompts.counts > 0).to(prompts.counts)), *rest)


def untrained(setting, generator):
    parameters = study.initial_parameters(setting.architecture, setting.num_seeds, generator)
    return study.Run(setting, parameters, torch.empty(0, setting.num_seeds))


def of_one_power(setting, generator):
    """Trained on the reward alone: what one layer of TD would tell."""

    class Myopic(study.Setting):
        def draw(self, *rest, **change):
            prompts = super().draw(*rest, **change)
            return prompts._replace(value=prompts.reward)

    myopic = Myopic(**{f: getattr(setting, f) for f in setting.__dataclass_fields__})
    return ORIGINAL["train"](myopic, generator)._replace(setting=setting)


def nothing_known(prompts):
    return ORIGINAL["nuisances"](prompts)[..., :1]


def of_noise(hidden, target, *rest, **more):
    return ORIGINAL["probe"](hidden, tuple(torch.randn_like(x) for x in target), *rest, **more)


FAULTS = [
    ("ordinary-compression", training, "compressed", heard_once),
    ("ordinary-compression", training, "stacked_values", next_seed),
    ("ordinary-polynomials", hypotheses, "basis", predecessors),
    ("ordinary-polynomials", study, "td", full_price),
    ("ordinary-polynomials", study, "priced", one_power_less(ORIGINAL["priced"])),
    ("ordinary-polynomials", study, "certainty_equivalence", lambda m, g: ORIGINAL["exact"](m, g**2)),
    ("ordinary-instrument", study, "coefficients", transposed),
    ("ordinary-instrument", behaviour, "basis", undiscounted),
    ("ordinary-instrument", study, "combination", off_the_rows),
    ("ordinary-swap", study, "swapped", twice),
    ("ordinary-swap", study, "swapped", more_visits),
    ("ordinary-swap", study, "swapped", lambda prompts, generator: prompts),
    ("ordinary-separation", hypotheses, "best_linear", of_degree_0),
    ("ordinary-separation", hypotheses, "best_linear", of_high_degree),
    ("ordinary-oracle", hypotheses, "bayes", without_counts),
    ("ordinary-learns", study, "train", untrained),
    ("ordinary-learns", study, "train", of_one_power),
    ("ordinary-probes-mislead", inside, "nuisances", nothing_known),
    ("ordinary-probes-mislead", inside, "probe", of_noise),
]


@pytest.mark.parametrize(("claim", "place", "name", "fault"), FAULTS)
def test_can_fail(monkeypatch, claim, place, name, fault):
    monkeypatch.setattr(place, name, fault)
    assert not holds(claim)
