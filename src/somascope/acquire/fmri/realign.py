"""Head motion: estimated volume by volume, taken out, and told in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.fmri.runs import head_mask, like_run, volumes
from somascope.acquire.motion import estimate as follow
from somascope.acquire.motion import reslice as undo
from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

HEAD_RADIUS = 50.0
"""mm; a turn counts as the way a point this far from the centre goes (Power et al. 2012)."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How the head moved.

    ``parameters`` ``(scans, 6)``: mm along L, P, S and degrees about them (`rigid`), relative to
    the reference; ``steps`` of Gauss-Newton per scan (a scan that used all did not settle).
    """

    parameters: Float
    steps: Array

    @property
    def framewise(self) -> Float:
        """Framewise displacement in mm, ``(scans,)``, 0 for the first (Power et al. 2012)."""
        return framewise_displacement(self.parameters)


def framewise_displacement(parameters: Float) -> Float:
    """Sum of the absolute changes of the six parameters, turns as arcs of 50 mm, in mm."""
    change = np.abs(np.diff(parameters, axis=0, prepend=parameters[:1]))
    return change[:, :3].sum(axis=1) + HEAD_RADIUS * np.deg2rad(change[:, 3:]).sum(axis=1)


def dvars(data: Array, mask: Array | None = None) -> Float:
    """Root mean square over ``mask`` of the change to the scan before, in % of the mean signal.

    ``data`` is ``(scans, nz, ny, nx)``; the first entry is 0 (Power et al. 2012).
    """
    chosen = head_mask(data) if mask is None else mask
    out = np.zeros(len(data))
    if not chosen.any():
        return out
    last = data[0][chosen].astype(np.float64)
    level = float(data[:: max(len(data) // 16, 1)].mean(axis=0)[chosen].mean())
    for k in range(1, len(data)):
        here = data[k][chosen].astype(np.float64)
        out[k] = np.sqrt(((here - last) ** 2).mean())
        last = here
    return 100 * out / (abs(level) or 1.0)


def estimate(
    run: Image,
    *,
    reference: Literal["first", "middle", "mean"] = "first",
    fwhm: float = 5.0,
    separation: float = 4.0,
    progress: Progress = QUIET,
) -> Motion:
    """Motion of every scan of ``run`` relative to the reference.

    Parameters
    ----------
    reference
        The first or the middle scan; ``mean`` aligns to the first, then again to the mean of what
        came out.
    fwhm
        Smoothing in mm before differences are taken.
    separation
        About how far apart the voxels are that are looked at, in mm.
    """
    data = volumes(run, "acquire.fmri.realign")
    if reference == "mean":
        rough = _estimate(run.grid, data, data[0], fwhm, separation, _half(progress, 0.0))
        mean = _reslice(data, run.grid, rough.parameters).mean(axis=0)
        return _estimate(run.grid, data, mean, fwhm, separation, _half(progress, 0.5))
    fixed = data[0 if reference == "first" else len(data) // 2]
    return _estimate(run.grid, data, fixed, fwhm, separation, progress)


def _half(progress: Progress, start: float) -> Progress:
    return Progress(lambda f, m: progress(start + f / 2, m))


def _estimate(
    grid: Grid, data: Array, fixed: Array, fwhm: float, separation: float, progress: Progress
) -> Motion:
    parameters, steps = follow(
        data, fixed, grid=grid, body=head_mask, fwhm=fwhm, separation=separation,
        what="acquire.fmri.realign", progress=progress,
    )  # fmt: skip
    return Motion(parameters, steps)


def _reslice(data: Array, grid: Grid, parameters: Float, progress: Progress = QUIET) -> Array:
    out = undo(data, parameters, grid=grid, fill=np.nan, progress=progress)
    # Voxels that were out of sight once would jump: they are 0 throughout.
    lost = np.isnan(out).any(axis=0)
    out[:, lost] = 0
    return out


def reslice(run: Image, motion: Motion, *, progress: Progress = QUIET) -> Image:
    """The run as if the head had not moved: cubic B-splines, one interpolation.

    Voxels that any scan moves out of the field are 0 in all.
    """
    data = volumes(run, "acquire.fmri.realign")
    if len(motion.parameters) != len(data):
        raise ParameterError(
            f"the motion has {len(motion.parameters)} entries for {len(data)} scans"
        )
    return like_run(run, _reslice(data, run.grid, motion.parameters, progress), "realigned")


@operation("acquire.fmri.realign")
def realign(
    run: Image,
    *,
    reference: Annotated[
        Literal["first", "middle", "mean"],
        Param("What all scans are aligned to; mean: the first, then the mean of the result"),
    ] = "first",
    fwhm: Annotated[
        float,
        Param("Smoothing while motion is sought", unit="mm", minimum=0.0, maximum=20.0),
    ] = 5.0,
    separation: Annotated[
        float,
        Param(
            "Distance of the voxels looked at", unit="mm", minimum=1.0, maximum=20.0, advanced=True
        ),
    ] = 4.0,
    progress: Progress = QUIET,
) -> Image:
    """Take head motion out of a run: rigid, scan by scan, cubic splines.

    Shape ``(t, nz, ny, nx)`` in and out, float32. `estimate` and `reslice` are the two halves;
    `estimate` gives the six parameters per scan and framewise displacement.
    """
    motion = estimate(run, reference=reference, fwhm=fwhm, separation=separation,
                      progress=_half(progress, 0.0))  # fmt: skip
    return reslice(run, motion, progress=_half(progress, 0.5))
