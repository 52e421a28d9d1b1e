"""What the rooms of this study refuse, and what they say."""

from dataclasses import replace

import pytest
import torch

from icrl import standard_transformer as study
from icrl.standard_transformer import Architecture, Setting

pytestmark = pytest.mark.bad_input

SMALL = Setting(num_layers=1, num_transitions=8, num_seeds=2, num_prompts=2, num_steps=2, width=8, hidden=8)
PROMPTS = SMALL.draw((3,), torch.Generator().manual_seed(0))
PARAMETERS = study.initial_parameters(SMALL.architecture, 2, torch.Generator(), torch.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_states": 1}, "num_states is 1; it must be at least 2"),
        ({"num_states": 6}, "num_names is 5; 6 states need as many names"),
        ({"num_transitions": 0}, "num_transitions is 0"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"num_seeds": 1.0}, "num_seeds is 1.0; it must be an integer"),
        ({"num_heads": 3}, "width is 8; it must be a multiple of num_heads, 3"),
        ({"hidden": 0}, "hidden is 0"),
        ({"num_prompts": 0}, "num_prompts is 0"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1; it must be positive"),
        ({"loss": "mse"}, "loss is 'mse'; it must be one of value, td, monte-carlo"),
        ({"kinds": ()}, r"kinds is \(\); each must be one of boyan, loop, random"),
        ({"kinds": ("boyan", "grid")}, r"kinds is \('boyan', 'grid'\)"),
    ],
)
def test_setting(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Architecture(output_scale=0.0), "output_scale is 0; it must be positive"),
        (lambda: study.support("grid", 3), "kind is 'grid'"),
        (lambda: study.support("loop", 1), "num_states is 1"),
        (lambda: study.empirical(torch.zeros(2, 2)), "each context needs a transition"),
        (lambda: study.empirical(-torch.ones(2, 2)), "must not be negative"),
        (lambda: study.empirical(torch.full((2, 2), torch.nan)), r"counts\[0, 0\] is nan"),
        (lambda: study.td(0, 0.5), "num_layers is 0"),
        (lambda: study.priced(0), "num_powers is 0"),
        (lambda: study.add_k(PROMPTS.counts, 0.5, 0.0), "k is 0; it must be positive"),
        (lambda: study.add_k(PROMPTS.counts, 0.5, float("nan")), "k is nan"),
        (lambda: study.initial_parameters(SMALL.architecture, 0, torch.Generator()), "num_seeds is 0"),
        (lambda: study.literal(PROMPTS), r"counts has shape \(3, 5, 5\); give one prompt"),
        (lambda: study.plain_network(SMALL.architecture, PARAMETERS, 2), "seed is 2; seeds run from 0 to 1"),
        (
            lambda: study.paired(torch.ones(2, 3), torch.ones(4)),
            r"rival has shape \(4,\), errors \(2, 3\); pair the same",
        ),
        (
            lambda: study.slopes(torch.ones(1, 3, 5), torch.zeros(1, 3, 5), PROMPTS),
            r"predicted\[0\] is 0 everywhere",
        ),
        (
            lambda: study.probe((torch.ones(3, 1), torch.ones(2, 1)), (torch.ones(3, 1), torch.ones(3, 1))),
            r"target\[1\] has shape .*; its axis M must have length 2",
        ),
        (
            lambda: study.swapped(study.one_prompt(PROMPTS, 0), torch.Generator()),
            r"counts has shape \(5, 5\); give prompts with one batch axis",
        ),
        (
            lambda: study.network_rows(run="x", root=0, steps=1, prompts=1, worlds=9, device="cpu"),
            "run is 'x'; it must be one of boyan .5 160, L 3",
        ),
    ],
)
def test_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_parameters_of_another_architecture():
    with pytest.raises(ValueError, match=r"parameters has shape \(2, 7\); this architecture needs \(seeds, "):
        study.predict(SMALL, PARAMETERS[:, :7], PROMPTS)
    other = replace(SMALL, num_names=6)
    with pytest.raises(ValueError, match="tokens have 14 entries; this architecture reads 12"):
        study.predict(SMALL, PARAMETERS, other.draw((3,), torch.Generator()))


def test_prompts_for_another_number_of_seeds():
    with pytest.raises(ValueError, match=r"tokens has shape .* its axis E must have length 2"):
        study.predict(SMALL, PARAMETERS, SMALL.draw((3, 4), torch.Generator()))


def test_checkpoint_of_another_setting(tmp_path):
    run = study.Run(SMALL, PARAMETERS, torch.empty(0, 2))
    run.save(tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"setting is Setting.*discount=0.9.* was trained as .*discount=0.5"):
        study.load_parameters(replace(SMALL, discount=0.9), tmp_path / "run.pt")
