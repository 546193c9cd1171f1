"""Parametric maps of dynamic PET: Patlak, Logan with plasma or reference tissue, and ratios.

All curves are means over frames. The graphical equations are linear in concentrations and their
integrals, so their means over frames hold exactly; integrals are averaged over each frame too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from somascope.acquire.pet.decay import Frames, frames
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

Start: TypeAlias = Annotated[
    float,
    Param("Frames from here on are fitted (t*): when the plot has become a line", unit="min",
          minimum=0.0, maximum=100000.0),
]  # fmt: skip
SegmentNumber: TypeAlias = Annotated[
    int, Param("Segment of the mask that is the region", minimum=1, maximum=65535)
]
Times: TypeAlias = Annotated[
    tuple[float, ...] | None,
    Param("Times of a measured plasma curve since the image's time zero; it replaces the region",
          unit="s"),
]  # fmt: skip
Values: TypeAlias = Annotated[
    tuple[float, ...] | None,
    Param("Plasma concentrations at these times, in the image's unit and decay corrected like it"),
]
Threshold: TypeAlias = Annotated[
    float,
    Param("Voxels whose mean is below this share of the highest are left at 0", minimum=0.0,
          maximum=1.0, step=0.01),
]  # fmt: skip


class Curve:
    """An input function as the fits need it: its mean and the mean of its integral per frame.

    ``mean`` ``(frames,)`` in the image's unit, ``integral`` ``(frames,)`` in that unit times s.
    """

    def __init__(self, mean: Float, integral: Float) -> None:
        self.mean, self.integral = mean, integral


def curve_of_frames(values: Float, when: Frames) -> Curve:
    """The input read off the image: constant within each frame, linear over gaps.

    Before the first frame it rises linearly from zero at time zero.
    """
    area, before, end = 0.0, 0.0, 0.0
    integral = np.empty(len(values))
    for i, (value, start, duration) in enumerate(
        zip(values, when.start, when.duration, strict=True)
    ):
        area += max(start - end, 0.0) * (before + value) / 2
        integral[i] = area + value * duration / 2
        area += value * duration
        before, end = value, start + duration
    return Curve(np.asarray(values, np.float64), integral)


def curve_of_samples(times: Float, values: Float, when: Frames) -> Curve:
    """The input from samples ``(n,)`` at ``times`` in s: linear between them, zero at time zero.

    After the last sample it stays; frames may not begin a quarter of the scan after it.

    Raises
    ------
    ParameterError
        Times that do not rise, another number of values, or samples that end too early.
    """
    times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if times.shape != values.shape or len(times) < 3 or (np.diff(times) <= 0).any():
        raise ParameterError(
            f"an input curve has {len(times)} times and {len(values)} values; give at least three "
            "of each, times rising"
        )
    if not (np.isfinite(times).all() and np.isfinite(values).all()):
        raise ParameterError("the input curve has values that are not finite")
    if times[-1] < 0.75 * when.end[-1]:
        raise ParameterError(
            f"the input curve ends at {times[-1]:g} s and the scan at {when.end[-1]:g} s; sample "
            "the blood until the end"
        )
    if times[0] > 0:
        times, values = np.append(0.0, times), np.append(0.0, values)
    last = max(float(when.end[-1]), float(times[-1])) + 1.0
    times, values = np.append(times, last), np.append(values, values[-1])
    knots = np.concatenate([[0.0], np.cumsum(np.diff(times) * (values[1:] + values[:-1]) / 2)])

    def integral(t: Float) -> Float:
        i = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        u = t - times[i]
        slope = (values[i + 1] - values[i]) / (times[i + 1] - times[i])
        return np.where(u >= 0, knots[i] + values[i] * u + slope * u * u / 2, 0.0)

    share = (np.arange(64) + 0.5) / 64
    inside = when.start[:, None] + when.duration[:, None] * share
    mean = (integral(when.end) - integral(when.start)) / when.duration
    return Curve(mean, integral(inside).mean(axis=1))


def region_curve(image: Image, mask: Mask, *, segment: int = 1) -> Float:
    """Mean over a region in every frame, ``(frames,)``, of an image with the one axis ``t``.

    Raises
    ------
    GeometryError
        The mask is on another grid.
    ParameterError
        The segment is empty or not there.
    """
    if not mask.grid.allclose(image.grid):
        raise GeometryError(
            f"the mask is on {mask.grid!r} and the image on {image.grid!r}; draw it on this image"
        )
    if segment not in [s.number for s in mask.segments]:
        raise ParameterError(
            f"the mask has no segment {segment}; it has {[s.number for s in mask.segments]}"
        )
    chosen = np.asarray(mask.plane(segment), np.float64)
    if chosen.sum() <= 0:
        raise ParameterError(f"segment {segment} of the mask has no voxels")
    return np.tensordot(np.asarray(image.data, np.float64), chosen, axes=3) / chosen.sum()


@operation("acquire.pet.patlak")
def patlak(
    image: Image,
    mask: Mask,
    *,
    start: Start = 20.0,
    segment: SegmentNumber = 1,
    input_times: Times = None,
    input_values: Values = None,
    threshold: Threshold = 0.02,
    progress: Progress = QUIET,
) -> list[Image]:
    """Net influx ``Ki`` of an irreversible tracer from a dynamic series and its input.

    Patlak, Blasberg and Fenstermacher (J Cereb Blood Flow Metab 3:1, 1983): after ``start`` the
    tissue over plasma plotted against the integral of plasma over plasma is a line of slope ``Ki``.
    The region of the mask is the blood; a measured curve replaces it. Gives ``Ki`` in ml/min/ml,
    the intercept ``V0`` in ml/ml, and the coefficient of determination of each voxel's line.
    """
    when = _dynamic(image, "acquire.pet.patlak")
    curve = _input(image, mask, when, segment, input_times, input_values)
    late = _late(when, start, "acquire.pet.patlak")
    if (curve.mean[late] <= 0).any():
        raise ParameterError("acquire.pet.patlak: the input is not positive in the frames fitted")
    rows, chosen = _rows(image, threshold)
    progress(0.3, "fitting")
    x = np.broadcast_to(curve.integral[late] / curve.mean[late], (len(rows), int(late.sum())))
    slope, offset, quality = _lines(x, rows[:, late] / curve.mean[late])
    progress(1.0, "fitted")
    return [
        _map(image, slope * 60.0, chosen, unit="ml/min/ml", name="Patlak Ki"),
        _map(image, offset, chosen, unit="ml/ml", name="Patlak V0"),
        _map(image, quality, chosen, unit="1", name="Patlak R2"),
    ]


@operation("acquire.pet.logan")
def logan(
    image: Image,
    mask: Mask,
    *,
    region: Annotated[
        Literal["reference", "blood"],
        Param("What the mask's region is: tissue without the target (gives DVR) or blood (gives "
              "VT)"),
    ] = "reference",
    start: Start = 30.0,
    segment: SegmentNumber = 1,
    k2: Annotated[
        float | None,
        Param("Clearance k2' of the reference tissue; its term is left out if not given",
              unit="/min", minimum=1e-4, maximum=10.0),
    ] = None,
    method: Annotated[
        Literal["graphical", "multilinear"],
        Param("Logan's line, or Ichise's multilinear form (MA1), less biased by noise"),
    ] = "graphical",
    input_times: Times = None,
    input_values: Values = None,
    threshold: Threshold = 0.02,
    progress: Progress = QUIET,
) -> list[Image]:  # fmt: skip
    """Distribution volume ``VT`` or its ratio ``DVR`` of a reversible tracer.

    Logan et al. (J Cereb Blood Flow Metab 10:740, 1990; 16:834, 1996): after ``start``, the
    integral of tissue over tissue plotted against that of the input over tissue is a line of slope
    ``VT`` (plasma input), or ``DVR`` (reference tissue; with ``k2`` its term ``C/k2'`` too). Ichise
    et al. (22:1271, 2002) solve the same equation for the tissue, whose noise then is on one side
    alone. Gives the map, VT in ml/ml or DVR without a unit, and the coefficient of determination.
    A measured plasma curve replaces the region.
    """
    when = _dynamic(image, "acquire.pet.logan")
    measured = input_times is not None or input_values is not None
    curve = _input(image, mask, when, segment, input_times, input_values)
    late = _late(when, start, "acquire.pet.logan")
    relative = region == "reference" and not measured
    if k2 is not None and not relative:
        raise ParameterError("acquire.pet.logan: k2 belongs to a reference tissue, not to blood")
    drive = curve.integral + (60.0 / k2 * curve.mean if k2 is not None else 0.0)
    rows, chosen = _rows(image, threshold)
    progress(0.3, "fitting")
    area = _integrals(rows, when)
    if method == "graphical":
        tissue = np.where(np.abs(rows[:, late]) > 1e-30, rows[:, late], 1e-30)
        slope, _, quality = _lines(drive[late] / tissue, area[:, late] / tissue)
    else:
        slope, quality = _multilinear(rows[:, late], drive[late], area[:, late])
    progress(1.0, "fitted")
    name = "DVR" if relative else "VT"
    return [
        _map(image, slope, chosen, unit="1" if relative else "ml/ml", name=f"Logan {name}"),
        _map(image, quality, chosen, unit="1", name="Logan R2"),
    ]


@operation("acquire.pet.suvr")
def suvr(
    image: Image,
    mask: Mask,
    *,
    segment: SegmentNumber = 1,
    start: Annotated[
        float, Param("Frames from here on are averaged", unit="min", minimum=0.0)
    ] = 0.0,
    stop: Annotated[
        float | None, Param("Frames up to here; to the end if not given", unit="min", minimum=0.0)
    ] = None,
) -> Image:
    """Uptake relative to a reference region (SUVR), of a static image or the mean of late frames.

    Frames count with their durations. The ratio has no unit and needs neither weight nor dose.
    """
    static = image
    if any(a.name == "t" for a in image.axes):
        when = _dynamic(image, "acquire.pet.suvr")
        chosen = when.start >= start * 60 - 1
        if stop is not None:
            chosen &= when.end <= stop * 60 + 1
        if not chosen.any():
            raise ParameterError(
                f"acquire.pet.suvr: no frame lies between {start:g} and {stop or 0:g} min; frames "
                f"are from {when.start[0] / 60:g} to {when.end[-1] / 60:g} min"
            )
        weight = when.duration * chosen / when.duration[chosen].sum()
        data = np.tensordot(weight, np.asarray(image.data, np.float64), axes=1)
        static = replace(image, data=data, axes=())
    elif image.axes:
        raise ParameterError(f"acquire.pet.suvr: the image has axes {image.axis_names[:-3]}")
    mean = float(region_curve(static, mask, segment=segment))
    if not mean > 0:
        raise ParameterError(f"acquire.pet.suvr: the reference region's mean is {mean:g}")
    data = (np.asarray(static.data, np.float64) / mean).astype(np.float32)
    return _made(image, data, unit="1", name="SUVR")


def _dynamic(image: Image, name: str) -> Frames:
    if [a.name for a in image.axes] != ["t"]:
        raise ParameterError(
            f"{name} takes a dynamic image with the one axis t; this one has "
            f"{list(image.axis_names[:-3]) or 'none'}"
        )
    if not np.isfinite(image.data).all():
        raise ParameterError(f"{name}: the image has values that are not finite; mask them first")
    if image.attributes.get("DecayCorrection") == "NONE":
        raise ParameterError(
            f"{name}: DecayCorrection is NONE; kinetics need frames corrected to one time"
        )
    return frames(image)


def _input(
    image: Image,
    mask: Mask,
    when: Frames,
    segment: int,
    times: tuple[float, ...] | None,
    values: tuple[float, ...] | None,
) -> Curve:
    if (times is None) != (values is None):
        raise ParameterError("an input curve is input_times and input_values; give both or none")
    if times is not None and values is not None:
        return curve_of_samples(np.asarray(times), np.asarray(values), when)
    return curve_of_frames(region_curve(image, mask, segment=segment), when)


def _late(when: Frames, start: float, name: str) -> Array:
    late = when.start >= start * 60.0 - 1.0
    if late.sum() < 3:
        raise ParameterError(
            f"{name}: {int(late.sum())} frames begin after {start:g} min; a line needs three "
            f"(frames begin at {', '.join(f'{s / 60:g}' for s in when.start)} min)"
        )
    return late


def _rows(image: Image, threshold: float) -> tuple[Float, Array]:
    """Curves ``(voxels, frames)`` of those with enough activity, and which they are (flat)."""
    values = image.data.reshape(image.shape[0], -1).T.astype(np.float64)
    level = values.mean(axis=1)
    chosen = level > threshold * max(float(np.quantile(level, 0.999)), 1e-30)
    return values[chosen], chosen


def _integrals(rows: Float, when: Frames) -> Float:
    """Mean over each frame of the integral since time zero, per row."""
    gaps = np.maximum(when.start - np.append(0.0, when.end[:-1]), 0.0)
    before = np.concatenate([np.zeros((len(rows), 1)), rows[:, :-1]], axis=1)
    pieces = rows * when.duration
    full = np.cumsum(pieces + gaps * (before + rows) / 2, axis=1)
    return full - pieces / 2


def _lines(x: Float, y: Float) -> tuple[Float, Float, Float]:
    """Slope, intercept and coefficient of determination of each row."""
    mx, my = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    sxx = ((x - mx) ** 2).sum(axis=1)
    sxy = ((x - mx) * (y - my)).sum(axis=1)
    syy = ((y - my) ** 2).sum(axis=1)
    slope = sxy / np.where(sxx > 0, sxx, 1)
    explained = sxy**2 / np.where(sxx * syy > 0, sxx * syy, 1)
    return slope, my[:, 0] - slope * mx[:, 0], np.clip(explained, 0, 1)


def _multilinear(rows: Float, drive: Float, area: Float) -> tuple[Float, Float]:
    """``C = g1 int(input) + g2 int(C)``: ``-g1/g2`` is the volume (Ichise 2002, MA1)."""
    aa, ab, bb = (drive**2).sum(), area @ drive, (area**2).sum(axis=1)
    ya, yb = rows @ drive, (rows * area).sum(axis=1)
    det = aa * bb - ab**2
    det = np.where(np.abs(det) > 0, det, 1)
    g1, g2 = (bb * ya - ab * yb) / det, (aa * yb - ab * ya) / det
    residual = ((rows - g1[:, None] * drive - g2[:, None] * area) ** 2).sum(axis=1)
    spread = ((rows - rows.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    quality = 1 - residual / np.where(spread > 0, spread, 1)
    return -g1 / np.where(np.abs(g2) > 1e-30, g2, -1e30), np.clip(quality, 0, 1)


def _map(image: Image, values: Float, chosen: Array, *, unit: str, name: str) -> Image:
    data = np.zeros(len(chosen), np.float32)
    data[chosen] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return _made(image, data.reshape(image.grid.shape), unit=unit, name=name)


_OF_FRAMES = ("ActualFrameDuration", "DecayFactor", "FrameReferenceTime", "SUVType", "Units",
              "WindowCenter", "WindowWidth")  # fmt: skip


def _made(image: Image, data: Array, *, unit: str, name: str) -> Image:
    kept: dict[str, Any] = {k: v for k, v in image.attributes.items() if k not in _OF_FRAMES}
    kept["SeriesDescription"] = f"{kept.get('SeriesDescription', '')} {name}".strip()[:64]
    return replace(image, data=data, unit=unit, axes=(), attributes=kept)
