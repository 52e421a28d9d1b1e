"""How far a training has come: one scale for both blocks, what is left after it, what its tasks identify.

The functions whose rows fill the tables of the chapter stand here too. See :doc:`/book/teacher-mimicking`.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.gradient_flow.experiment import (
    Experiment,
    behaviour,
    fixed_table,
    lesson,
    train_side_by_side,
    training_start,
)
from icrl.gradient_flow.flow import MimickingLoss


class Recovery(NamedTuple):
    """Learned blocks beside ``(c P*12, V*21 / c)``; an entry for each block of the batch.

    - ``scale``: ``c``. With ``a, b`` the shares of the teacher in ``P12`` and ``V21``,
      ``|c| = sqrt(|a / b|)``, and the sign is that of ``a``: one number for both blocks;
    - ``score_error``, ``value_error``: relative norms of ``P12 / c - P*12`` and ``c V21 - V*21``;
    - ``score_cosine``, ``value_cosine``: with the teacher's blocks, whatever the scale.
    """

    scale: Float[np.ndarray, "*K"]
    score_error: Float[np.ndarray, "*K"]
    value_error: Float[np.ndarray, "*K"]
    score_cosine: Float[np.ndarray, "*K"]
    value_cosine: Float[np.ndarray, "*K"]


@checked
def recovery(
    setting: Experiment,
    scores: Float[np.ndarray, "*K m k"],
    values: Float[np.ndarray, "*K q m"],
    unseen: Float[np.ndarray, "m nu"] | None = None,
) -> Recovery:
    """Compare blocks with the construction.

    Args:
        setting: whose teacher.
        scores: ``P12``.
        values: ``V21``.
        unseen: orthonormal ``z`` that no task shows; projected off blocks and teacher first, if given.

    Raises:
        ValueError: blocks of other shapes than the setting's.
    """
    m, k, q = setting.shape
    scores, values = valid.array("scores", scores), valid.array("values", values)
    for name, x, shape in (("scores", scores, (m, k)), ("values", values, (q, m))):
        if x.shape[-2:] != shape:
            raise ValueError(f"{name} has shape {x.shape}; it must end in {shape}, as the setting has it")
    P, V = setting.teacher()
    if unseen is not None and np.size(unseen):
        unseen = valid.array("unseen", unseen, 2)
        off = np.eye(m) - unseen @ unseen.T
        P, V, scores, values = off @ P, V @ off, off @ scores, values @ off
    inner = [(x * y).sum((-1, -2)) for x, y in ((scores, P), (values, V))]
    sizes = [np.linalg.norm(x, axis=(-1, -2)) for x in (scores, values)]
    norms = [np.linalg.norm(x) for x in (P, V)]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sign(inner[0]) * np.sqrt(np.abs(inner[0] / inner[1])) * norms[1] / norms[0]
        over, times = scores / scale[..., None, None], values * scale[..., None, None]
        errors = [
            np.linalg.norm(x - y, axis=(-1, -2)) / n
            for x, y, n in zip((over, times), (P, V), norms, strict=True)
        ]
        cosines = [x / y / n for x, y, n in zip(inner, sizes, norms, strict=True)]
    return Recovery(scale, *errors, *cosines)


@checked
def unseen_data(
    setting: Experiment, table: Float[np.ndarray, "S A d"] | None = None
) -> Float[np.ndarray, "m nu"]:
    """The ``z`` with ``z' x = 0`` in every window of SARSA: none with fresh features, one with a fixed table.

    If ``t' phi = 1`` for every pair, ``(gamma t, -t, 0)`` annihilates every ``(phi, gamma phi_next, r)``:
    one-hot features, and any table of as many independent vectors.
    """
    m, d = setting.shape[0], setting.num_weights
    if setting.actor or setting.features == "fresh":
        return np.zeros((m, 0))
    t = np.ones(d)
    if setting.features == "fixed":
        rows = valid.array("table", table, 3).reshape(d, d)
        valid.conditioned("table", rows)
        t = np.linalg.solve(rows, t)
    z = np.concatenate([setting.discount * t, -t, [0.0]])
    return (z / np.linalg.norm(z))[:, None]


@checked
def experiment_tasks(
    setting: Experiment, num_tasks: int, rng: np.random.Generator, *, windows: int = 1
) -> MimickingLoss:
    """The loss of the experiment's own tasks: the last of ``windows`` windows of each of ``T`` processes.

    Raises:
        ValueError: windows that are not from rollouts, a count below 1.
    """
    if setting.windows_from != "rollouts":
        raise ValueError(f'windows_from is {setting.windows_from!r}; it must be "rollouts" here')
    table = fixed_table(setting, rng) if setting.features == "fixed" else None
    worlds, starts = setting.worlds(valid.count("num_tasks", num_tasks, 1), rng, table), None
    parameters = setting.parameters(num_tasks, rng)
    for _ in range(valid.count("windows", windows, 1)):
        policies = behaviour(setting, worlds, parameters)
        window = worlds.window(policies, setting.num_transitions, rng, starts)
        given = lesson(setting, worlds, window, parameters)
        starts, parameters = window.states[:, -1], parameters + setting.follow * given.update
    moments = given.data.swapaxes(1, 2) @ given.data / setting.num_transitions
    return MimickingLoss((moments + moments.swapaxes(1, 2)) / 2, given.column, *setting.teacher())


@checked
def spectrum(loss: MimickingLoss, chunk: int = 100) -> Float[np.ndarray, " p"]:
    """Eigenvalues of the Hessian at the teacher, falling, as shares of the largest.

    For sizes at which :func:`icrl.gradient_flow.richness.richness` would take too long: the Gram matrix of
    the Jacobian is summed over chunks of tasks.
    """
    total, point = 0.0, loss.on_manifold(1.0)
    for i in range(0, len(loss.moments), valid.count("chunk", chunk, 1)):
        part = replace(loss, moments=loss.moments[i : i + chunk], parameters=loss.parameters[i : i + chunk])
        jacobian = part.jacobian(*point)
        total = total + len(part.moments) * (jacobian.T @ jacobian)
    values = np.linalg.eigvalsh(total)[::-1]
    return values / values[0]


@checked
def null_dimension(eigenvalues: Float[np.ndarray, " p"], share: float = 1e-10) -> int:
    """How many eigenvalues are zero: below this share of the largest."""
    return int((eigenvalues < share * eigenvalues[0]).sum())


# ------------------------------------------------------------------------------------------ Long runs


@checked
def training_rows(
    part: str, variant: str, changes: dict, steps: int, draws: int, seeds: int, records: int, seed: int
) -> list[dict]:
    """One training of the comparison: a row for each seed and moment.

    Args:
        part: of the table.
        variant: its name there.
        changes: of :class:`~icrl.gradient_flow.experiment.Experiment`.
        steps: of the optimiser.
        draws: number of the stream of tasks; all seeds of a call share it.
        seeds: how many starts.
        records: moments, the start left out.
        seed: of the sweep. The same ``draws`` of two variants begin alike.
    """
    setting = replace(Experiment(), **changes)
    table = None
    if setting.features == "fixed":
        table = fixed_table(setting, np.random.default_rng([seed, draws, 1]))
    blocks = training_start(setting, seeds, np.random.default_rng([seed, draws, 0]))
    rng = np.random.default_rng([seed, draws, 1])
    run = train_side_by_side(setting, steps, *blocks, rng, records=records)
    whole = recovery(setting, run.scores, run.values)
    unseen = unseen_data(setting, table)
    off = recovery(setting, run.scores, run.values, unseen if unseen.size else None)
    rows = []
    for r in range(1, len(run.steps)):
        for s in range(seeds):
            row = {"part": part, "variant": variant, "draws": draws, "seed": s, "step": int(run.steps[r])}
            row |= {"loss": run.losses[r, s], "scale": whole.scale[r, s]}
            row |= {"score_error": whole.score_error[r, s], "value_error": whole.value_error[r, s]}
            row |= {"score_off": off.score_error[r, s], "value_off": off.value_error[r, s]}
            row["cosine_off"] = min(abs(off.score_cosine[r, s]), abs(off.value_cosine[r, s]))
            rows.append({key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in row.items()})
    return rows


@checked
def experiment_richness_row(features: str, num_states: int, num_tasks: int, seed: int) -> dict:
    """Zero eigenvalues of the Hessian at the experiment's size, counted, and the next one."""
    setting = Experiment(num_states=num_states, features=features)
    values = spectrum(experiment_tasks(setting, num_tasks, np.random.default_rng(seed)))
    null = null_dimension(values)
    d = setting.num_weights
    predicted = 1 if features == "fresh" else 2 * d + 2
    row = {"features": features, "d": d, "parameters": len(values), "tasks": num_tasks}
    row |= {"predicted": predicted, "null": null, "next": float(f"{values[-null - 1]:.2g}")}
    return row | {"largest_null": float(f"{abs(values[-null:]).max():.0e}"), "seed": seed}
