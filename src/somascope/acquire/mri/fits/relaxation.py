"""T1 from inversion or saturation recovery and variable flip angles; T2 and T2* from echoes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.fits import curves
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.series import map_image, points, voxels

Threshold = Annotated[
    float,
    Param("Voxels below this share of the greatest signal are left at 0", minimum=0.0, maximum=1.0),
]
Longest = Annotated[
    float, Param("Longer times are cut to it", unit="ms", minimum=1.0, maximum=100000.0)
]


@operation("acquire.mri.t1")
def t1(
    image: Image,
    *,
    method: Annotated[
        Literal["inversion", "saturation", "flip"],
        Param(
            "Recovery after inversion or saturation (axis inversion), or flip angles (axis flip)"
        ),
    ] = "inversion",
    repetition_time: Annotated[
        float | None,
        Param("Of variable flip angles; none: RepetitionTime of the image", unit="ms", minimum=0.1),
    ] = None,
    threshold: Threshold = 0.05,
    longest: Longest = 6000.0,
    progress: Progress = QUIET,
) -> Image:
    """T1 map in ms.

    Recovery: ``S = A - B exp(-TI / T1)`` with three free parameters; magnitude images of an
    inversion get their sign back by trying each point as the last negative one and keeping the best
    fit (Nekolla et al. 1992). Flip angles: spoiled gradient echo, ``S / sin a = E1 S / tan a + c``
    (Gupta 1977; Deoni et al. 2003), weighted by the sines.
    """
    axis = "flip" if method == "flip" else "inversion"
    x, values = points(image, axis, "acquire.mri.t1", least=2 if method == "flip" else 3)
    rows, chosen = voxels(np.real(values) if method != "flip" else np.abs(values), threshold)
    progress(0.1, "fit")
    if method == "flip":
        found = _flip_angles(x, rows, _repetition(image, repetition_time))
    else:
        order = np.argsort(x)
        found = _recovery(x[order], rows[:, order], inverted=method == "inversion")
    found = np.where((found > 0) & np.isfinite(found), np.minimum(found, longest), 0)
    progress(1.0, "fitted")
    return map_image(
        image, axis, found, chosen, unit="ms", description="T1",
        drop=("InversionTime", "FlipAngle") if axis == "flip" else ("InversionTime",),
    )  # fmt: skip


def _repetition(image: Image, given: float | None) -> float:
    if given is not None:
        return given
    stated = image.attributes.get("RepetitionTime")
    if not stated:
        raise ParameterError(
            "acquire.mri.t1: the image states no RepetitionTime; give repetition_time in ms"
        )
    return float(stated)


def _flip_angles(x: Array, rows: Array, repetition: float) -> Array:
    angle = np.deg2rad(x)
    tangent, sine = rows / np.tan(angle), rows / np.sin(angle)
    weight = np.broadcast_to(np.sin(angle) ** 2, rows.shape)
    total = weight.sum(1)
    mean_t, mean_s = (weight * tangent).sum(1) / total, (weight * sine).sum(1) / total
    over = (weight * (tangent - mean_t[:, None]) * (sine - mean_s[:, None])).sum(1)
    under = (weight * (tangent - mean_t[:, None]) ** 2).sum(1)
    slope = np.clip(over / np.where(under > 0, under, 1), 1e-9, 1 - 1e-9)
    return -repetition / np.log(slope)


def _recovery(x: Array, rows: Array, *, inverted: bool) -> Array:
    """T1 of each row; magnitudes (no negative value anywhere) get their polarity back."""
    if inverted and not (rows < 0).any():
        lowest = np.argmin(rows, axis=1)[:, None]
        number = np.arange(len(x))
        # The point at the null may have either sign: the better start decides.
        before, after = (np.where(number < lowest + extra, -rows, rows) for extra in (0, 1))
        gap = [curves.recovery_start(x, tried)[1] for tried in (before, after)]
        rows = np.where((gap[0] <= gap[1])[:, None], before, after)
    return 1 / np.maximum(curves.recovery(x, rows)[:, 2], 1e-12)


@operation("acquire.mri.t2")
def t2(
    image: Image,
    *,
    offset: Annotated[bool, Param("Fit a constant under the decay (noise floor)")] = False,
    threshold: Threshold = 0.05,
    longest: Longest = 3000.0,
    progress: Progress = QUIET,
) -> Image:
    """T2 map in ms from spin echoes along the axis ``echo`` (ms).

    Least squares of ``S = A exp(-TE / T2) [+ C]``, begun from the weighted logarithm.
    """
    return _decay(image, "T2", offset, threshold, longest, progress)


@operation("acquire.mri.t2star")
def t2star(
    image: Image,
    *,
    offset: Annotated[bool, Param("Fit a constant under the decay (noise floor)")] = False,
    threshold: Threshold = 0.05,
    longest: Longest = 1000.0,
    progress: Progress = QUIET,
) -> Image:
    """T2* map in ms from gradient echoes along the axis ``echo`` (ms); the fit is that of T2."""
    return _decay(image, "T2*", offset, threshold, longest, progress)


def _decay(
    image: Image,
    what: str,
    offset: bool,  # noqa: FBT001
    threshold: float,
    longest: float,
    progress: Progress,
) -> Image:
    name = f"acquire.mri.{'t2' if what == 'T2' else 't2star'}"
    x, values = points(image, "echo", name, least=3 if offset else 2)
    rows, chosen = voxels(np.abs(values), threshold)
    progress(0.1, "fit")
    found = curves.decay(x, rows, offset=offset)
    time = 1 / np.maximum(found[:, 1], 1e-12)
    time = np.where(found[:, 1] > 0, np.minimum(time, longest), 0)
    progress(1.0, "fitted")
    return map_image(image, "echo", time, chosen, unit="ms", description=what, drop=("EchoTime",))
