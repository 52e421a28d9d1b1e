"""What the rooms of the chapter `gradient-flow` refuse, and what they say."""

import numpy as np
import pytest
import torch

from icrl.gradient_flow import basins
from icrl.gradient_flow.flow import MimickingLoss, gradient_flow, mimicking_loss
from icrl.gradient_flow.richness import landing_point, richness
from icrl.gradient_flow.tasks import random_actor_critic_tasks, random_tasks
from icrl.gradient_flow.teacher_mimicking import train
from icrl.linear_transformer import sarsa_weights

pytestmark = pytest.mark.bad_input

LOSS = random_tasks("gaussian", 2, 140, np.random.default_rng(0))
PARTS = {name: getattr(LOSS, name) for name in MimickingLoss.__dataclass_fields__}
SCORE, VALUE = LOSS.on_manifold(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moments": LOSS.moments[:, :4]}, r"moments has shape \(140, 4, 5\)"),
        ({"moments": np.triu(LOSS.moments)}, "moments differ from their transposes by"),
        ({"parameters": LOSS.parameters[1:]}, r"parameters has shape \(139, 3\)"),
        ({"parameters": LOSS.parameters * np.nan}, r"parameters\[0, 0\] is nan"),
        ({"teacher_score": SCORE.T}, r"teacher_score has shape \(3, 5\)"),
        ({"teacher_value": VALUE[:, 1:]}, r"teacher_value has shape \(2, 4\)"),
    ],
)
def test_loss(change, message):
    with pytest.raises(ValueError, match=message):
        MimickingLoss(**(PARTS | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.full_like(SCORE, np.inf)}, r"score\[0, 0\] is inf; every entry must be finite"),
        ({"score": SCORE[1:]}, r"score has shape \(4, 3\); it must be \(5, 3\)"),
        ({"value": VALUE.T}, r"value has shape \(5, 2\)"),
        ({"time": 0.0}, "time is 0; it must be positive"),
        ({"rtol": 1e-16}, r"rtol is 1e-16; it must lie in \[1e-13, 1\)"),
        ({"atol": -1.0}, "atol is -1; it must be positive"),
        ({"stop": np.nan}, "stop is nan"),
    ],
)
def test_flow(change, message):
    with pytest.raises(ValueError, match=message):
        gradient_flow(**({"loss": LOSS, "score": SCORE, "value": VALUE, "time": 1.0} | change))


@pytest.mark.filterwarnings("ignore")
def test_solver_that_gives_up():
    with pytest.raises(ValueError, match="the solver gave up at time"):
        gradient_flow(LOSS, 1e200 * SCORE, 1e200 * VALUE, 1.0)


def test_scale_zero():
    with pytest.raises(ValueError, match="scale is 0; it must not be zero"):
        richness(LOSS, scale=0.0)


def test_nothing_to_learn():
    with pytest.raises(ValueError, match="there is nothing to learn"):
        richness(MimickingLoss(**(PARTS | {"moments": 0 * LOSS.moments})))


def test_sign():
    with pytest.raises(ValueError, match="sign is 0; it must be 1 or -1"):
        landing_point(LOSS, SCORE, VALUE, sign=0)


def test_kind():
    with pytest.raises(ValueError, match="kind is 'uniform'; it must be one of gaussian"):
        random_tasks("uniform", 2, 10, np.random.default_rng(0))


def test_prompts():
    P, V = sarsa_weights(2, 1.0)
    with pytest.raises(ValueError, match=r"prompts has shape \(8, 4\)"):
        mimicking_loss(torch.zeros(8, 4), P, V)
    with pytest.raises(ValueError, match="num_parameters is 7; it must be at most D - 2 = 6"):
        mimicking_loss(torch.zeros(3, 8, 4), P, V, 7)
    with pytest.raises(ValueError, match=r"P has shape \(8, 8\); it must be \(9, 9\)"):
        mimicking_loss(torch.zeros(3, 9, 4), P, V)


@pytest.mark.parametrize("name", ["num_states", "num_steps", "batch", "windows", "init_scale", "records"])
def test_training(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        train(
            **(
                {"num_states": 2, "num_actions": 1, "num_steps": 2, "rng": np.random.default_rng(0)}
                | {name: 0}
            )
        )


def test_actor_critic_tasks():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="kind is 'copied'; it must be one of gaussian, one-hot, ended"):
        random_actor_critic_tasks("copied", 2, 2, 10, rng)
    with pytest.raises(ValueError, match="num_actions is 1; it must be at least 2"):
        random_actor_critic_tasks("one-hot", 2, 1, 10, rng)


def test_too_few_tasks_name_a_direction():
    few = random_tasks("gaussian", 2, 8, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"8 more .* for instance (P12|V21)\[\d, \d\] [+-]0\.\d\d, "):
        landing_point(few, *few.on_manifold(1.0))


def test_start():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="centre is 'one'; it must be 'teacher' or 'zero'"):
        basins.random_start(LOSS, "one", 0.1, rng)
    with pytest.raises(ValueError, match="distance is 0; it must be positive"):
        basins.random_start(LOSS, "zero", 0.0, rng)


def test_rate_of_a_flow_that_did_not_land():
    flow = gradient_flow(LOSS, 0.9 * SCORE, VALUE, 0.1)
    with pytest.raises(ValueError, match="it must fall from top = 1e-08 or above to a tenth of bottom"):
        basins.local_rate(flow, LOSS)
