"""The whole block: gradients by differences, and what its flow conserves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from icrl.gradient_flow import block_gradients, corner_flow, whole_block
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights


def test_gradients_by_differences():
    rng = np.random.default_rng(0)
    prompts = sarsa_prompt(
        rng.normal(size=(6, 2)), *rng.normal(size=(2, 6, 4, 2)), rng.normal(size=(6, 4)), 0.7
    )
    teacher = sarsa_weights(2, 0.5)
    P, V = torch.from_numpy(rng.normal(size=(2, 8, 8)))
    _, by_P, by_V = block_gradients(prompts, teacher, P, V, 2)
    for i, j in ((0, 5), (6, 7), (7, 6)):
        step = torch.zeros(8, 8, dtype=torch.float64)
        step[i, j] = 1e-5
        up, down = (block_gradients(prompts, teacher, P + s * step, V, 2)[0] for s in (1, -1))
        assert by_P[i, j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)
        up, down = (block_gradients(prompts, teacher, P, V + s * step, 2)[0] for s in (1, -1))
        assert by_V[i, j] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)
    assert block_gradients(prompts, teacher, *teacher, 2)[0] == 0
    learned, wanted = (LinearTransformer(*blocks, 2).readout(prompts).numpy() for blocks in ((P, V), teacher))
    squares = [(a - b) @ (a - b) / 2 for a, b in zip(learned, wanted, strict=True)]
    assert block_gradients(prompts, teacher, P, V, 2)[0] == pytest.approx(np.mean(squares))


def test_the_law_of_the_corners():
    seen = corner_flow(20.0, np.random.default_rng(1))
    assert seen.drift < 1e-7
    assert seen.law == pytest.approx([v**2 - s**2 for v, s in zip(seen.value, seen.score, strict=True)])
    assert str(seen).count(" to ") == 3


def disturbed(seed):
    """The draws of a flow: its prompts, and the teacher with all entries moved by 0.2 times Gaussian ones."""
    rng = np.random.default_rng(seed)
    w, phi, rewards = rng.normal(size=(60, 1)), rng.normal(size=(2, 60, 4, 1)), rng.normal(size=(60, 4))
    teacher = sarsa_weights(1, 1.0)
    start = [x.numpy() + 0.2 * y for x, y in zip(teacher, rng.normal(size=(2, 5, 5)), strict=True)]
    return sarsa_prompt(w, *phi, rewards, 0.8), teacher, start


def corners(P, V):
    """Symmetric and antisymmetric part of ``P22``, and the foot of ``V22``."""
    return (P[3:, 3:] + P[3:, 3:].T) / 2, (P[3:, 3:] - P[3:, 3:].T) / 2, V[4, 3:]


@pytest.mark.parametrize("time", [1e-6, 1e-3])
def test_a_short_flow_is_a_step_down_the_gradient(time):
    prompts, teacher, start = disturbed(1)
    seen = corner_flow(time, np.random.default_rng(1))
    slopes = block_gradients(prompts, teacher, *map(torch.from_numpy, start), 1)[1:]
    end = [x - time * y for x, y in zip(start, slopes, strict=True)]
    symmetric, _, foot = zip(corners(*start), corners(*end), strict=True)
    for found, blocks in ((seen.score, symmetric), (seen.value, foot)):
        first, last = map(np.linalg.norm, blocks)
        assert np.isclose(found[0], first, rtol=1e-12)
        assert np.isclose(found[1] - found[0], last - first, rtol=0.02, atol=1e-13)
        assert abs(last - first) > 1e-3 * time


MOVED = {"symmetric": np.eye(2), "antisymmetric": np.array([[0, 3], [-3, 0]]), "foot": np.zeros((2, 2))}


@pytest.mark.parametrize("part", list(MOVED))
def test_drift_is_measured(part, monkeypatch):
    """Along a path that is no flow: what is conserved changes most at its middle."""
    path = np.random.default_rng(0).normal(size=(1, 2, 5, 5)) + np.zeros((3, 1, 1, 1))
    path[1, 0, 3:, 3:] += MOVED[part]
    path[1, 1, 4, 3:] += 2 * (part == "foot")
    path[2, 1, 4, 3] += 0.1
    path[2, 0, 3, 3] += 0.2
    solved = SimpleNamespace(y=path.reshape(3, -1).T)
    monkeypatch.setattr(whole_block, "solve_ivp", lambda *_, **__: solved)
    seen = corner_flow(1.0, np.random.default_rng(1))
    symmetric, _, foot = map(np.array, zip(*(corners(*x) for x in path), strict=True))
    laws = [(v**2).sum() - (s**2).sum() for v, s in zip(foot, symmetric, strict=True)]
    assert np.isclose(seen.drift, 3 if part == "antisymmetric" else np.ptp(laws))
    assert np.allclose(seen.law, laws[::2])
    assert np.allclose(seen.score, [np.linalg.norm(x) for x in symmetric[::2]])
    assert np.allclose(seen.value, [np.linalg.norm(x) for x in foot[::2]])


@pytest.mark.bad_input
@pytest.mark.parametrize("time", [0.9e-6, 1.2e6])
def test_refuses_times_that_do_not_end(time):
    with pytest.raises(ValueError, match="it must lie between 1e-6 and 1e6"):
        corner_flow(time, np.random.default_rng(0))


@pytest.mark.bad_input
def test_refuses_no_time():
    with pytest.raises(ValueError, match="time is 0; it must be positive"):
        corner_flow(0.0, np.random.default_rng(0))
