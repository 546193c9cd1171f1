"""Several runs of one subject: fitted each by itself, their effects averaged (fixed effects)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.fmri import choices
from somascope.acquire.fmri.contrasts import contrast as weights_of
from somascope.acquire.fmri.glm import design_of, fit_run
from somascope.acquire.fmri.runs import head_mask, map_of, repetition_time, volumes
from somascope.acquire.fmri.statistics import evaluate, t_to_z
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

NAME = "acquire.fmri.fixed"
Weighting: TypeAlias = Literal["precision", "equal"]


@dataclass(frozen=True, eq=False)
class Fixed:
    """Averaged effect, its variance, t and z, each ``(v,)``, and the degrees of freedom."""

    effect: Array
    variance: Array
    t: Array
    z: Array
    dof: float


def fixed_effects(
    effects: Array, variances: Array, dof: Sequence[float], *, weighting: Weighting = "precision"
) -> Fixed:
    """Average ``effects`` ``(runs, v)`` that have the ``variances`` ``(runs, v)``.

    ``precision`` weights each run by its inverse variance, voxel by voxel (Worsley et al.,
    NeuroImage 15 (2002) 1-15, section 2.4); ``equal`` takes the mean. Degrees of freedom add up.
    Voxels whose variance is 0 in any run come out 0.

    Raises
    ------
    ParameterError
        Shapes that do not agree.
    """
    effects, variances = np.asarray(effects, np.float64), np.asarray(variances, np.float64)
    if effects.shape != variances.shape or len(effects) != len(dof):
        raise ParameterError(
            f"effects {effects.shape}, variances {variances.shape} and {len(dof)} degrees of "
            "freedom do not belong together; give one of each per run"
        )
    known = (variances > 0).all(axis=0)
    if weighting == "precision":
        precision = 1 / np.where(known, variances, 1.0)
        variance = 1 / precision.sum(axis=0)
        effect = (effects * precision).sum(axis=0) * variance
    else:
        variance = variances.mean(axis=0) / len(variances)
        effect = effects.mean(axis=0)
    effect = np.where(known, effect, 0.0)
    variance = np.where(known, variance, 0.0)
    t = np.divide(effect, np.sqrt(variance), out=np.zeros_like(effect), where=known)
    t = t.astype(np.float32)
    total = float(np.sum(dof))
    return Fixed(effect.astype(np.float32), variance.astype(np.float32), t, t_to_z(t, total), total)


def _checked(runs: tuple[Image, ...]) -> None:
    if len(runs) < 2:
        raise ParameterError(
            f"{NAME} needs at least 2 runs of a subject; {len(runs)} given. acquire.fmri.glm takes "
            "one"
        )
    for number, run in enumerate(runs, 1):
        volumes(run, NAME, least=3)
        if not run.grid.allclose(runs[0].grid):
            raise GeometryError(
                f"{NAME}: run {number} is on {run.grid!r} and the first on {runs[0].grid!r}; "
                "realign all runs to one, or coregister them"
            )


@operation(NAME)
def fixed(
    *runs: Image,
    events: choices.EventsText = "",
    onsets: choices.Onsets = (),
    durations: choices.Durations = (),
    conditions: choices.Conditions = (),
    contrast: choices.Contrast = "",
    weighting: Annotated[
        Weighting, Param("Weight of a run: its precision in the voxel, or the same for all")
    ] = "precision",
    response: choices.Response = "canonical",
    delays: choices.Delays = 8,
    high_pass: choices.HighPass = 128.0,
    noise: choices.Noise = "ar1",
    confounds: choices.Confounds = "",
    repetition: choices.RepetitionTime = None,
    percent: Annotated[bool, Param("Effect in per cent of each run's mean signal")] = True,
    where: choices.Where = "head",
    output: Annotated[
        Literal["all", "effect", "statistic", "z"], Param("Which of the three maps")
    ] = "all",
    progress: Progress = QUIET,
) -> list[Image]:
    """Several runs of one subject in one model: effect, t and z maps of a contrast.

    Each run ``(t, nz, ny, nx)`` keeps drifts, confounds, level and noise of its own; the effects
    are averaged with their precision. Without ``events`` every run brings its own task (from BIDS).
    The contrast has one row. `acquire.fmri.group` asks the effect maps of several subjects.
    """
    _checked(runs)
    masks = [
        np.ones(r.grid.shape, bool) if where == "all" else head_mask(volumes(r, NAME)) for r in runs
    ]
    mask = np.logical_and.reduce(masks)
    effects: list[Array] = []
    variances: list[Array] = []
    dof: list[float] = []
    asked = contrast.strip()
    for run in progress.over(runs, "fitting"):
        task = choices.events_of(events, onsets, durations, conditions, run=run, operation=NAME)
        made = design_of(
            run, task, repetition=repetition_time(run, repetition, NAME), model=response,
            delays=delays, high_pass=high_pass, confounds=confounds,
        )  # fmt: skip
        asked = asked or made.names[0]
        weights = np.atleast_2d(weights_of(asked, made.names))
        if len(weights) != 1:
            raise ParameterError(
                f"{NAME}: the contrast {asked!r} has {len(weights)} rows; effects are averaged for "
                "one row, so ask row by row"
            )
        fitted = fit_run(run, made, noise=noise, mask=mask)
        answer = evaluate(fitted, weights)
        scale = np.ones_like(answer.effect)
        if percent:
            level = np.abs(fitted.mean)
            scale = np.divide(100, level, out=np.zeros_like(level), where=level > 0)
        effects.append(answer.effect * scale)
        variances.append((answer.error * scale) ** 2)
        dof.append(fitted.dof)
    found = fixed_effects(np.stack(effects), np.stack(variances), dof, weighting=weighting)
    first, shape, name = runs[0], mask.shape, asked[:24]
    maps = [
        map_of(first, found.effect.reshape(shape), unit="%" if percent else first.unit,
               text=f"effect {name}, {len(runs)} runs"),
        map_of(first, found.t.reshape(shape), unit="1", text=f"t {name}, {len(runs)} runs"),
        map_of(first, found.z.reshape(shape), unit="1", text=f"z {name}, {len(runs)} runs"),
    ]  # fmt: skip
    progress(1.0, "done")
    return maps if output == "all" else [maps[["effect", "statistic", "z"].index(output)]]
