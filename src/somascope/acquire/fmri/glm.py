"""Activation in one run: design, fit, contrast, maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.fmri import choices
from somascope.acquire.fmri.contrasts import contrast as weights_of
from somascope.acquire.fmri.design import Design, Events, confounds_of, design
from somascope.acquire.fmri.model import Fit, Noise, fit
from somascope.acquire.fmri.runs import head_mask, map_of, repetition_time, volumes
from somascope.acquire.fmri.statistics import Answer, evaluate
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.fmri.glm"


def fit_run(
    run: Image, made: Design, *, noise: Noise = "ar1", mask: Array | None = None
) -> Fit:  # fmt: skip
    """Fit every voxel of ``run`` where ``mask`` ``(nz, ny, nx)`` is true (default: the head)."""
    data = volumes(run, NAME, least=3)
    chosen = head_mask(data) if mask is None else np.asarray(mask, bool)
    if chosen.shape != run.grid.shape:
        raise ParameterError(
            f"{NAME}: the mask has shape {chosen.shape} and the run {run.grid.shape}"
        )
    return fit(data.reshape(len(data), -1), made, mask=chosen.ravel(), noise=noise)


def residuals(run: Image, fitted: Fit) -> Array:
    """What the fit leaves, ``(scans, nz, ny, nx)`` float32, 0 outside the mask (not whitened)."""
    data = volumes(run, NAME).reshape(run.shape[0], -1)
    left = data - fitted.design.matrix.astype(np.float32) @ fitted.beta
    left[:, fitted.bins < 0] = 0
    return left.reshape(run.shape)


def maps(run: Image, fitted: Fit, answer: Answer, *, title: str, percent: bool) -> list[Image]:
    """Effect, statistic and z of an answer as images on the run's grid."""
    effect, unit = answer.effect, run.unit
    if percent:
        level = np.abs(fitted.mean)
        effect = np.divide(100 * effect, level, out=np.zeros_like(effect), where=level > 0)
        unit = "%"
    shape = run.grid.shape
    name = title[:24]
    return [
        map_of(run, effect.reshape(shape), unit=unit, text=f"effect {name}"),
        map_of(run, answer.statistic.reshape(shape), unit="1", text=f"{answer.kind} {name}"),
        map_of(run, answer.z.reshape(shape), unit="1", text=f"z {name}"),
    ]


def design_of(
    run: Image,
    events: Events | None,
    *,
    repetition: float,
    model: choices.hrf.Model = "canonical",
    delays: int = 8,
    high_pass: float | None = 128.0,
    confounds: str = "",
    more: Mapping[str, Float] | None = None,
    reference: float = 0.0,
) -> Design:
    """The design of a run, with confounds given as text and as columns."""
    scans = run.shape[0]
    columns: dict[str, Float] = {}
    if confounds.strip():
        values, names = confounds_of(confounds, str(run.attributes.get("Confounds") or ""), scans)
        columns = {n: values[:, i] for i, n in enumerate(names)}
    columns |= dict(more or {})
    return design(
        events, scans=scans, repetition=repetition, model=model, delays=delays,
        high_pass=high_pass, confounds=columns, reference=reference,
    )  # fmt: skip


@operation(NAME)
def glm(
    run: Image,
    *,
    events: choices.EventsText = "",
    onsets: choices.Onsets = (),
    durations: choices.Durations = (),
    conditions: choices.Conditions = (),
    contrast: choices.Contrast = "",
    response: choices.Response = "canonical",
    delays: choices.Delays = 8,
    high_pass: choices.HighPass = 128.0,
    noise: choices.Noise = "ar1",
    confounds: choices.Confounds = "",
    repetition: choices.RepetitionTime = None,
    reference_time: Annotated[
        float,
        Param(
            "When within a scan its values count (half of it after slice timing correction)",
            unit="s",
            minimum=0.0,
            maximum=60.0,
            advanced=True,
        ),
    ] = 0.0,
    percent: Annotated[bool, Param("Effect in per cent of the voxel's mean signal")] = True,
    where: choices.Where = "head",
    output: Annotated[
        Literal["all", "effect", "statistic", "z"], Param("Which of the three maps")
    ] = "all",
    progress: Progress = QUIET,
) -> list[Image]:
    """Fit the general linear model to a run and ask one contrast: effect, t (or F) and z maps.

    Each map ``(nz, ny, nx)``, float32, 0 outside the head. Slow drifts are modelled by cosines,
    noise as first-order autoregressive unless ``noise`` says otherwise. The effect of an F
    question is the root mean square its rows explain.
    """
    volumes(run, NAME, least=3)
    task = choices.events_of(events, onsets, durations, conditions, run=run, operation=NAME)
    spacing = repetition_time(run, repetition, NAME)
    progress(0.0, "design")
    made = design_of(
        run, task, repetition=spacing, model=response, delays=delays, high_pass=high_pass,
        confounds=confounds, reference=reference_time,
    )  # fmt: skip
    asked = contrast.strip() or made.names[0]
    weights = weights_of(asked, made.names)
    progress(0.1, "fitting")
    mask = np.ones(run.grid.shape, bool) if where == "all" else None
    fitted = fit_run(run, made, noise=noise, mask=mask)
    progress(0.9, "contrast")
    found = maps(run, fitted, evaluate(fitted, weights), title=asked, percent=percent)
    progress(1.0, "done")
    return found if output == "all" else [found[["effect", "statistic", "z"].index(output)]]
