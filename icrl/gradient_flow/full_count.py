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
    batch, size, actions, _ = features.shape
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
    if setting.at_once > 1 and setting.batch > 1:
        given = f"at_once is {setting.at_once} and batch {setting.batch}"
        raise ValueError(f"{given}; drawn on a device one of the two must be 1")


@checked
def device_lessons(setting: Experiment, generator: Generator) -> Iterator[Lesson]:
    """Lessons without end, as tensors on the device of the generator: each a window of ``batch`` processes.

    Raises:
        ValueError: another setting than SARSA from rollouts with fresh features and Adam.
    """
    _refuse(setting)
    return (Lesson(*(x.clone() for x in given)) for given in _lessons(setting, generator))


class _Recorded:
    """Work in place on tensors that stay where they are; on CUDA a graph that is replayed."""

    def __init__(self, work, device):
        self.work, self.on_cuda, self.graph, self.warm = work, device.type == "cuda", None, False

    def __call__(self):
        if self.graph is not None:
            self.graph.replay()
        elif self.warm and self.on_cuda:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # recorded, not done
                self.work()
            self.graph.replay()
        else:
            self.work()
            self.warm = True


def _lessons(setting, generator):
    """The same, in the same three tensors again and again."""
    options = {"dtype": torch.float64, "device": generator.device}
    batch, (m, k, q), n = setting.batch, setting.shape, setting.num_transitions
    shapes = (batch, n, m), (batch, k), (batch, q), (batch, q), (2, n + 1, batch)
    data, column, update, parameters, uniform = (torch.ones(shape, **options) for shape in shapes)
    world, state = _worlds(setting, batch, generator)

    def window():
        column[:, 1:] = parameters
        for into, x in zip(
            (data, update, state), _follow(setting, world, parameters, uniform, state), strict=True
        ):
            into.copy_(x)
        if setting.follow:
            parameters.add_(update)

    window = _Recorded(window, generator.device)
    while True:
        parameters.uniform_(-setting.spread, setting.spread, generator=generator)
        for _ in range(setting.windows):
            uniform.uniform_(generator=generator)
            window()
            yield Lesson(data, column, update)
        drawn, first = _worlds(setting, batch, generator)
        for into, x in zip((*world, state), (*drawn, first), strict=True):
            into.copy_(x)


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


def _strict_step(blocks, data, column, update):
    """Steps of one window each, one after the other: each sets the gradients and yields."""
    moments = data.mT @ data / data.shape[1]
    for shown in zip(moments, column, update, strict=True):
        with torch.no_grad():
            blocks[0].grad, blocks[1].grad = _strict_gradients(*blocks, *shown)
        yield


def _batched_step(blocks, data, column, update):
    """One step of all windows."""
    with torch.no_grad():
        _, blocks[0].grad, blocks[1].grad = gradients(*blocks, data, column, update)
    yield


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

    Learning rates are rounded to float32, in which PyTorch's fused optimiser reads them; all else is float64.

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
    strict, size, lessons, step_of = setting.batch == 1, 1, _lessons(setting, generator), _batched_step
    if strict:
        common = math.gcd(span, setting.windows)
        size = max(x for x in range(1, min(common, LARGEST_CHUNK) + 1) if common % x == 0)
        lessons, step_of = _strict_chunks(setting, generator, size), _strict_step
    optimize, rate = _adam(setting, blocks, size)
    share = (
        (1 + np.cos(np.pi * np.arange(num_steps) / num_steps)) / 2 if setting.schedule == "cosine" else 1.0
    )
    rates = torch.tensor(
        setting.learning_rate * share * np.ones(num_steps), dtype=torch.float32, device=device
    )
    given = next(lessons)
    buffers, rows = [x.clone() for x in given], []

    def work():
        for i, _ in enumerate(step_of(blocks, *buffers)):
            optimize(i)

    work = _Recorded(work, device)
    for step in range(0, num_steps, size):
        for into, x in zip(buffers, given, strict=True):
            into.copy_(x)
        if step % span == 0:
            rows.append(_moment(step, blocks, buffers, strict))
        rate.copy_(rates[step : step + size])
        work()
        given = next(lessons)
    rows.append(_moment(num_steps, blocks, given, strict))
    return Run(*(np.array(x) for x in zip(*rows, strict=True)))


def _moment(step, blocks, shown, strict):
    """What is kept: the step, the loss on the next window or windows, the blocks."""
    with torch.no_grad():
        loss = gradients(*blocks, *(x[:1] if strict else x for x in shown))[0]
    return step, *(x.detach().cpu().numpy().copy() for x in (loss, *blocks))


def _adam(setting, blocks, size):
    """Adam as a function of the number of a step in its chunk, and the rates of those steps, to be filled."""
    device, first = blocks[0].device, setting.learning_rate
    rates = torch.empty(size, device=device)
    on_cuda = device.type == "cuda"
    if on_cuda:  # then the rate must be a tensor, to be read whenever a graph is replayed
        rate = torch.tensor(first, device=device)
        adam = torch.optim.Adam(blocks, lr=rate, fused=True, capturable=True)
    else:
        adam = torch.optim.Adam(blocks, lr=first)

    def step(i):
        if on_cuda:
            rate.copy_(rates[i])
        else:
            adam.param_groups[0]["lr"] = rates[i].item()
        adam.step()

    return step, rates


@checked
def full_count_rows(
    variant: str, changes: dict, steps: int, draws: int, starts: int, records: int, device: str, seed: int
) -> list[dict]:
    """One training from many starts: a row for each moment. A task of a sweep.

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
        Windows seen and, over the starts, how many have ``c > 0``, the least, median and largest ``|c|``, the
        median loss, the median and largest errors after the scale, and the largest of 1 - cosine.
    """
    setting = replace(Experiment(), **changes)
    words = np.random.SeedSequence([seed, draws, 1]).generate_state(1, np.uint64)
    generator = Generator(available(device)).manual_seed(int(words[0] >> np.uint64(1)))
    blocks = training_start(setting, starts, np.random.default_rng([seed, draws, 0]))
    run = train_on_device(setting, steps, *blocks, generator, records=records + 1)
    found, rows = recovery(setting, run.scores, run.values), []
    off = 1 - np.minimum(abs(found.score_cosine), abs(found.value_cosine))
    for r in range(1, len(run.steps)):
        row = {"variant": variant, "draws": draws, "step": int(run.steps[r]), "starts": starts}
        row |= {"windows": setting.batch * row["step"], "positive": int((found.scale[r] > 0).sum())}
        row["loss"] = np.median(run.losses[r])
        for name, quantile in (("least", 0), ("median", 0.5), ("largest", 1)):
            row[f"scale_{name}"] = np.quantile(abs(found.scale[r]), quantile)
            if quantile:
                row[f"score_error_{name}"] = np.quantile(found.score_error[r], quantile)
                row[f"value_error_{name}"] = np.quantile(found.value_error[r], quantile)
        row["cosine_off"] = off[r].max()
        rows.append({key: float(f"{x:.3g}") if isinstance(x, float) else x for key, x in row.items()})
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
