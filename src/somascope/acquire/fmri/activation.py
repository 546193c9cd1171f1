"""The whole way from a run to its activation, in one step: timing, motion, smoothing, model."""

from __future__ import annotations

from typing import Annotated, Literal

from somascope.acquire.fmri import choices
from somascope.acquire.fmri.confounds import (
    MotionColumns,
    components,
    motion_columns,
    noisy_voxels,
    spikes,
)
from somascope.acquire.fmri.contrasts import contrast as weights_of
from somascope.acquire.fmri.glm import design_of, fit_run, maps
from somascope.acquire.fmri.realign import estimate, reslice
from somascope.acquire.fmri.runs import head_mask, repetition_time, volumes
from somascope.acquire.fmri.slicetiming import slicetiming
from somascope.acquire.fmri.smooth import smooth
from somascope.acquire.fmri.statistics import evaluate
from somascope.core import QUIET, Image, Param, Progress, operation

NAME = "acquire.fmri.activation"


@operation(NAME)
def activation(
    run: Image,
    *,
    events: choices.EventsText = "",
    onsets: choices.Onsets = (),
    durations: choices.Durations = (),
    conditions: choices.Conditions = (),
    contrast: choices.Contrast = "",
    timing: Annotated[
        Literal["none", "stated", "ascending", "descending", "interleaved"],
        Param("Slice timing: not corrected, as the run states, or by order"),
    ] = "none",
    realign: Annotated[bool, Param("Take head motion out")] = True,
    motion: Annotated[
        MotionColumns, Param("Motion in the model: 6 parameters, with changes, with squares")
    ] = "6",
    scrub: Annotated[
        float | None,
        Param("Scans that move more than this from the one before count for nothing", unit="mm",
              minimum=0.05),
    ] = None,
    noise_components: Annotated[
        int, Param("Courses of the noisiest 2 % of voxels in the model", minimum=0, maximum=20)
    ] = 0,
    fwhm: Annotated[
        float, Param("Smoothing, full width at half maximum", unit="mm", minimum=0.0, maximum=30.0)
    ] = 6.0,
    response: choices.Response = "canonical",
    high_pass: choices.HighPass = 128.0,
    noise: choices.Noise = "ar1",
    repetition: choices.RepetitionTime = None,
    output: Annotated[
        Literal["all", "effect", "statistic", "z"], Param("Which of the three maps")
    ] = "all",
    progress: Progress = QUIET,
) -> list[Image]:  # fmt: skip
    """Find activation in a run: slice timing, realignment, smoothing, and the linear model.

    Gives effect (%), t (or F) and z maps ``(nz, ny, nx)`` of one contrast, 0 outside the head.
    The same steps can be taken one by one: `acquire.fmri.slicetiming`, `realign`, `smooth`, `glm`.
    """
    data = volumes(run, NAME, least=4)
    task = choices.events_of(events, onsets, durations, conditions, run=run, operation=NAME)
    spacing = repetition_time(run, repetition, NAME)
    progress(0.0, "timing")
    whole = run
    if timing != "none":
        whole = slicetiming(whole, order=timing, repetition=spacing)
    columns = {}
    if realign or motion != "none" or scrub is not None:
        moved = estimate(run, progress=_part(progress, 0.05, 0.45))
        columns |= motion_columns(moved, motion)
        if scrub is not None:
            columns |= spikes(moved.framewise, scrub)
        if realign:
            whole = reslice(whole, moved, progress=_part(progress, 0.45, 0.7))
    mask = head_mask(volumes(whole, NAME))
    if noise_components:
        data = volumes(whole, NAME)
        columns |= components(
            data, noisy_voxels(data, mask), noise_components, repetition=spacing,
            high_pass=high_pass,
        )  # fmt: skip
    if fwhm > 0:
        whole = smooth(whole, fwhm=fwhm, progress=_part(progress, 0.7, 0.85))
    made = design_of(
        whole, task, repetition=spacing, model=response, high_pass=high_pass, more=columns,
        reference=spacing / 2 if timing != "none" else 0.0,
    )  # fmt: skip
    asked = contrast.strip() or made.names[0]
    weights = weights_of(asked, made.names)
    progress(0.85, "fitting")
    fitted = fit_run(whole, made, noise=noise, mask=mask)
    found = maps(run, fitted, evaluate(fitted, weights), title=asked, percent=True)
    progress(1.0, "done")
    return found if output == "all" else [found[["effect", "statistic", "z"].index(output)]]


def _part(progress: Progress, first: float, last: float) -> Progress:
    return Progress(lambda f, m: progress(first + (last - first) * f, m))
