"""What the rooms of pretraining refuse, and what they say."""

from dataclasses import replace

import pytest
import torch

from icrl.pretraining import emergence
from icrl.pretraining.tasks import Configuration, random_worlds, sample_states
from icrl.pretraining.trainer import pretrain

pytestmark = pytest.mark.bad_input

SMALL = Configuration(num_layers=2, num_transitions=8, num_seeds=2, num_prompts=4, num_steps=150)
TASKS = emergence.fresh_tasks(SMALL, 3, torch.Generator().manual_seed(0))
VALUE, SCORE = emergence.construction(SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.0}, r"discount is 1; it must lie in \[0, 1\)"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"num_states": 1}, "num_states is 1; it must be at least 2"),
        ({"num_seeds": 2.0}, "num_seeds is 2.0; it must be an integer"),
        ({"num_features": 0}, "num_features is 0"),
        ({"inverse_temperature": -1.0}, "inverse_temperature is -1; it must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be finite"),
        ({"initial_scale": 0.0}, "initial_scale is 0; it must be positive"),
        ({"kind": "grid"}, "kind is 'grid'; it must be one of boyan, loop, random"),
        ({"masks": "none"}, "masks is 'none'; it must be one of paper, free"),
        ({"objective": "mc"}, "objective is 'mc'"),
        ({"attention": "hard"}, "attention is 'hard'"),
        ({"weights": "tied"}, "weights is 'tied'"),
    ],
)
def test_configuration(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("value", "score", "message"),
    [
        (
            VALUE[..., 1:, 1:],
            SCORE,
            r"value_weights has shape \(1, 1, 6, 6\); for 4 features and 2 layers it",
        ),
        (VALUE, SCORE[0], r"score_weights has shape \(1, 7, 7\)"),
        (VALUE.expand(3, 1, 7, 7), SCORE, r"must be \(1 or 2, seeds, 7, 7\)"),
        (VALUE * torch.nan, SCORE, r"value_weights\[0, 0, 0, 0\] is nan"),
    ],
)
def test_weights_that_do_not_fit_the_prompt(value, score, message):
    for function in (emergence.state_values, emergence.query_values, emergence.squared_errors):
        with pytest.raises(ValueError, match=message):
            function(SMALL, value, score, TASKS)


def test_tables_need_masks():
    with pytest.raises(ValueError, match="entries outside the masks"):
        emergence.state_values(SMALL, VALUE + 1, SCORE, TASKS)


def test_attention_between_states_needs_one_hot_features():
    for change in ({"num_features": 4}, {"attention": "linear"}):
        with pytest.raises(ValueError, match="one-hot features and softmax attention"):
            emergence.state_attention(replace(SMALL, **change), SCORE)


def test_coefficients():
    with pytest.raises(ValueError, match=r"coefficients has shape \(2, 2\)"):
        emergence.horner_rows(torch.eye(2))


def test_a_diverging_run_stops_and_keeps_its_checkpoint(tmp_path):
    wild = replace(SMALL, attention="linear", num_layers=8, learning_rate=30.0)
    path = tmp_path / "run.pt"
    message = r"learning_rate is 30; at step \d+ the loss of seed \d is .*diverges"
    with pytest.raises(ValueError, match=message):
        pretrain(wild, torch.Generator().manual_seed(0), checkpoint=path)
    assert not path.exists()  # it did not survive its first chunk
    calm = replace(SMALL, learning_rate=1e-3)
    pretrain(calm, torch.Generator().manual_seed(0), checkpoint=path, until=50)
    kept = path.read_bytes()
    state = torch.load(path, weights_only=True)
    state["free"][0][:] = 1e9  # the next chunk diverges
    torch.save(state, path)
    kept = path.read_bytes()
    with pytest.raises(ValueError, match="diverges"):
        pretrain(calm, torch.Generator().manual_seed(0), checkpoint=path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


def test_a_start_that_is_too_large_is_named():
    wild = replace(SMALL, attention="linear", num_layers=8, initial_scale=50.0)
    with pytest.raises(ValueError, match="initial_scale 50 is too large"):
        pretrain(wild, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 3}, "has num_layers 2, the configuration 3"),
        ({"masks": "free"}, "has masks 'paper', the configuration 'free'"),
        ({"num_steps": 200}, "has num_steps 150"),
        ({"num_features": 4}, "has num_features None"),
    ],
)
def test_checkpoint_of_another_configuration(tmp_path, change, message):
    path = tmp_path / "run.pt"
    pretrain(SMALL, torch.Generator().manual_seed(0), checkpoint=path, until=50)
    with pytest.raises(ValueError, match=message):
        pretrain(replace(SMALL, **change), torch.Generator(), checkpoint=path)
    with pytest.raises(ValueError, match=r"has dtype 'torch.float64', the configuration 'torch.float32'"):
        pretrain(SMALL, torch.Generator(), checkpoint=path, dtype=torch.float32)


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"checkpoint run.pt cannot be read"):
        pretrain(SMALL, torch.Generator(), checkpoint=path)


def test_worlds_and_trajectories():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="kind is 'grid'"):
        random_worlds("grid", (2,), 3, generator)
    with pytest.raises(ValueError, match="num_states is 1"):
        random_worlds("loop", (2,), 1, generator)
    with pytest.raises(ValueError, match="num_transitions is 0"):
        sample_states(torch.eye(2)[None], 0, generator)
