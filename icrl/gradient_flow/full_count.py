"""Algorithm 1 of Liang and Lai (2026) on any device, where all ten million windows are affordable.

The lessons of :mod:`icrl.gradient_flow.experiment` (SARSA, fresh features, rollouts) with the draws of a
``torch.Generator``, on its device: a window is worked out for all states first, so that following it costs
one operation a step. The strict form, one window a step, needs a dozen small operations for each of millions
of steps; where there is CUDA they are recorded once and replayed. See :doc:`/book/teacher-mimicking`.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.experiment import Experiment, Lesson, Run, gradients, training_start
from icrl.gradient_flow.recovery import recovery

LARGEST_CHUNK = 250
"""Steps of the strict form that are recorded together, at most."""


def _follow(setting, world, parameters, uniform, start):
    """One window of each world: rows ``x_i``, what the teacher adds, and the last state.

    ``world`` is features ``(B, S, A, d)``, cumulative transition rows and rewards, ``(B, S, A, S)`` both;
    ``uniform (2, n+1, B)`` chooses actions and successors, as :meth:`Worlds.window` does.
    """
    features, rows, paid = world
    batch, size, actions, d = features.shape
    n, each = setting.num_transitions, torch.arange(batch, device=features.device)
    q = (features.flatten(1, 2) @ parameters[..., None])[..., 0].unflatten(1, (size, actions))
    best = (q == q.amax(-1, keepdim=True)).to(q)
    policy = (1 - setting.epsilon) * best / best.sum(-1, keepdim=True) + setting.epsilon / actions
    choose = policy.cumsum(-1)
    choose = choose / choose[..., -1:]
    # For every step and state: the action, and the state after it.
    action = (choose <= uniform[0][..., None, None]).sum(-1)  # (n+1, B, S)
    taken = action[:n, ..., None, None].expand(-1, -1, -1, 1, size)
    after = rows.expand(n, *rows.shape).gather(-2, taken)[..., 0, :]
    after = (after <= uniform[1, :n, :, None, None]).sum(-1)  # (n, B, S)
    state, states = start[:, None], []
    for k in range(n):
        states.append(state)
        state = after[k].gather(1, state)
    states = torch.cat([*states, state], 1)  # (B, n+1)
    chosen = action.permute(1, 2, 0).gather(1, states[:, None])[:, 0]
    seen = features[each[:, None], states, chosen]  # (B, n+1, d)
    reward = paid[each[:, None], states[:, :-1], chosen[:, :-1], states[:, 1:]]
    phi, following = seen[:, :-1], setting.discount * seen[:, 1:]
    errors = reward + ((following - phi) @ parameters[..., None])[..., 0]
    update = setting.step_size / n * (phi.mT @ errors[..., None])[..., 0]
    return torch.cat([phi, following, reward[..., None]], -1), update, states[:, -1]


def _worlds(setting, batch, generator):
    """Features, cumulative transition rows and rewards of fresh processes, and the first states."""
    options = {"dtype": torch.float64, "device": generator.device}
    size, actions = setting.num_states, setting.num_actions

    def simplex(*shape, concentration=1.0):
        drawn = torch._standard_gamma(
            torch.full((*shape, size), concentration, **options), generator=generator
        )
        return (drawn / drawn.sum(-1, keepdim=True)).cumsum(-1)

    def uniform(*shape):
        return 2 * torch.rand(shape, generator=generator, **options) - 1

    rows = simplex(batch, size, actions, concentration=setting.concentration)
    first = simplex(batch)
    world = uniform(batch, size, actions, size * actions), rows / rows[..., -1:], uniform(*rows.shape)
    start = (first / first[:, -1:] <= torch.rand(batch, 1, generator=generator, **options)).sum(-1)
    return world, start


def _refuse(setting):
    wanted = {"method": "sarsa", "features": "fresh", "windows_from": "rollouts", "optimizer": "adam"}
    for name, value in wanted.items():
        if getattr(setting, name) != value:
            raise ValueError(f"{name} is {getattr(setting, name)!r}; drawn on a device it must be {value!r}")


@checked
def device_lessons(setting: Experiment, generator: Generator) -> Iterator[Lesson]:
    """Lessons without end, as tensors on the device of the generator: each a window of ``batch`` processes.

    Raises:
        ValueError: another setting than SARSA from rollouts with fresh features and Adam.
    """
    _refuse(setting)
    return _lessons(setting, generator)


def _lessons(setting, generator):
    options = {"dtype": torch.float64, "device": generator.device, "generator": generator}
    batch, (_, _, q) = setting.batch, setting.shape
    while True:
        world, state = _worlds(setting, batch, generator)
        parameters = setting.spread * (2 * torch.rand(batch, q, **options) - 1)
        for _ in range(setting.windows):
            uniform = torch.rand(2, setting.num_transitions + 1, batch, **options)
            data, update, state = _follow(setting, world, parameters, uniform, state)
            yield Lesson(data, torch.cat([torch.ones_like(parameters[:, :1]), parameters], 1), update)
            if setting.follow:
                parameters = parameters + update


def _strict_chunks(setting, generator, size):
    """Lessons of ``size`` steps of the strict form, one window each; ``size`` divides the windows.

    All windows of one process after the other; ``at_once`` processes are drawn side by side.
    """
    draws = _lessons(replace(setting, batch=setting.at_once, at_once=1), generator)
    kept = None
    while True:
        for i in range(setting.windows):
            given = next(draws)
            if kept is None:
                kept = [x.new_empty(setting.windows, *x.shape) for x in given]
            for into, x in zip(kept, given, strict=True):
                into[i] = x
        for b in range(setting.at_once):
            for i in range(0, setting.windows, size):
                yield Lesson(*(x[i : i + size, b] for x in kept))


def _strict_gradients(score, value, moment, column, update):
    """Gradients of the loss of one window in both blocks of each start, both of rank one."""
    heard = (score @ column) @ moment  # (K, m); the moment is symmetric
    errors = (value @ heard[..., None])[..., 0] - update
    back = (errors[:, None] @ value)[:, 0] @ moment
    return back[..., None] * column, errors[..., None] * heard[:, None]


class _StrictSteps:
    """``size`` steps of the strict form; on CUDA replayed as one graph from the second call on."""

    def __init__(self, setting, blocks, adam, rate, size):
        (m, k, q), like = setting.shape, blocks[0].detach()
        shapes = (size, m, m), (size, k), (size, q), (size,)
        self.buffers = [like.new_empty(shape) for shape in shapes]
        self.blocks, self.adam, self.rate, self.graph, self.warm = blocks, adam, rate, None, False

    def __call__(self, lessons, rates):
        data = lessons.data
        torch.matmul(data.mT, data, out=self.buffers[0]).div_(data.shape[1])
        for into, x in zip(self.buffers[1:], (*lessons[1:], rates), strict=True):
            into.copy_(x)
        if self.graph is not None:
            self.graph.replay()
        elif self.warm and self.rate.is_cuda:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self._steps()
            self.graph.replay()
        else:
            self._steps()
            self.warm = True

    def _steps(self):
        for *shown, rate in zip(*self.buffers, strict=True):
            with torch.no_grad():
                self.blocks[0].grad, self.blocks[1].grad = _strict_gradients(*self.blocks, *shown)
            self.rate.copy_(rate)
            self.adam.step()


@checked
def train_on_device(
    setting: Experiment,
    num_steps: int,
    score: Float[np.ndarray, "K m k"],
    value: Float[np.ndarray, "K q m"],
    generator: Generator,
    *,
    records: int = 11,
) -> Run:
    """:func:`icrl.gradient_flow.experiment.train_side_by_side` on the device of the generator.

    Args:
        setting: what is done; SARSA from rollouts with fresh features, and Adam.
        num_steps: steps of the optimiser, a multiple of ``records - 1``.
        score: ``P12`` at the start, of each block.
        value: ``V21`` at the start.
        generator: draws processes, features, parameters and windows.
        records: moments to keep, evenly spaced, first and last included.

    Raises:
        ValueError: another setting, moments that are not evenly spaced, blocks of other shapes.
    """
    _refuse(setting)
    num_steps, records = valid.count("num_steps", num_steps, 1), valid.count("records", records, 2)
    (m, k, q), starts, device = setting.shape, len(score), generator.device
    span, rest = divmod(num_steps, records - 1)
    if rest or not span:
        raise ValueError(f"num_steps is {num_steps}; it must be a multiple of records - 1, {records - 1}")
    score = valid.shaped("score", score, (starts, m, k), "data by parameters, for each block")
    value = valid.shaped("value", value, (starts, q, m), "readout by data, for each block")
    blocks = [torch.tensor(x, device=device).requires_grad_() for x in (score, value)]
    rate = torch.tensor(setting.learning_rate, device=device, dtype=torch.float64)
    on_cuda = {"fused": True, "capturable": True} if rate.is_cuda else {}
    adam = torch.optim.Adam(blocks, lr=rate, **on_cuda)
    rates = [setting.learning_rate] * num_steps
    if setting.schedule == "cosine":
        rates = [
            setting.learning_rate * (1 + math.cos(math.pi * i / num_steps)) / 2 for i in range(num_steps)
        ]
    rates = torch.tensor(rates, dtype=torch.float64, device=device)
    strict, size = setting.batch == 1, 1
    if strict:
        common = math.gcd(span, setting.windows)
        size = max(x for x in range(1, min(common, LARGEST_CHUNK) + 1) if common % x == 0)
        steps = _StrictSteps(setting, blocks, adam, rate, size)
    lessons = _strict_chunks(setting, generator, size) if strict else _lessons(setting, generator)
    rows = []
    for step in range(0, num_steps + 1, size):
        given = next(lessons)
        if step % span == 0:
            shown = [x[:1] for x in given] if strict else given
            with torch.no_grad():
                loss = gradients(*blocks, *shown)[0]
            rows.append((step, *(x.detach().cpu().numpy().copy() for x in (loss, *blocks))))
        if step == num_steps:
            return Run(*(np.array(x) for x in zip(*rows, strict=True)))
        if strict:
            steps(given, rates[step : step + size])
            continue
        with torch.no_grad():
            _, blocks[0].grad, blocks[1].grad = gradients(*blocks, *given)
        rate.copy_(rates[step])
        adam.step()
    raise AssertionError("the last step is always a moment that is kept")


@checked
def full_count_rows(
    variant: str, changes: dict, steps: int, draws: int, starts: int, records: int, device: str, seed: int
) -> list[dict]:
    """One training at many starts: a row for each start and moment. A task of a sweep.

    Args:
        variant: its name in the table.
        changes: of :class:`~icrl.gradient_flow.experiment.Experiment`.
        steps: of the optimiser.
        draws: number of the stream of tasks; all starts share it.
        starts: how many blocks are trained side by side.
        records: moments, the start left out.
        device: where, ``"cpu"`` or ``"cuda"``; what they draw differs.
        seed: of the sweep.

    Returns:
        Windows seen, loss, common scale, relative errors after it, and the smaller of the two cosines.
    """
    setting = replace(Experiment(), **changes)
    words = np.random.SeedSequence([seed, draws, 1]).generate_state(1, np.uint64)
    generator = Generator(available(device)).manual_seed(int(words[0] >> np.uint64(1)))
    blocks = training_start(setting, starts, np.random.default_rng([seed, draws, 0]))
    run = train_on_device(setting, steps, *blocks, generator, records=records + 1)
    found, rows = recovery(setting, run.scores, run.values), []
    cosine = np.minimum(abs(found.score_cosine), abs(found.value_cosine))
    for r in range(1, len(run.steps)):
        for start in range(starts):
            row = {"variant": variant, "draws": draws, "start": start, "step": int(run.steps[r])}
            row |= {"windows": setting.batch * row["step"], "loss": run.losses[r, start]}
            for name, x in zip(("scale", "score_error", "value_error"), found[:3], strict=True):
                row[name] = x[r, start]
            row["one_less_cosine"] = 1 - cosine[r, start]
            rows.append({key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in row.items()})
    return rows


@checked
def available(device: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: PyTorch knows no such device, or this machine has none.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device is {device!r}; this machine has none: {str(error).splitlines()[0]}"
        ) from None
    return torch.device(device)
