"""A run is a 4-D image with the axis ``t``; a map is what is left of it without that axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from somascope.core import Axis, Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_SECONDS = {"s": 1.0, "ms": 1e-3, "1": 1.0, "min": 60.0}
_OF_A_RUN = (
    "TemporalResolution", "NumberOfTemporalPositions", "SliceTiming", "ImageType", "Events",
    "Confounds",
)  # fmt: skip


def volumes(run: Image, operation: str, *, least: int = 2) -> Array:
    """The values as float32 ``(scans, nz, ny, nx)``, C order.

    Raises
    ------
    ParameterError
        Not exactly one leading axis ``t``, fewer than ``least`` scans, complex values.
    """
    names = [a.name for a in run.axes]
    if names != ["t"]:
        raise ParameterError(
            f"{operation} needs a run, an image with the one leading axis 't', and this one has "
            f"{names or 'none'}; give the 4-D series (for several echoes: image.at(echo=0))"
        )
    if run.shape[0] < least:
        raise ParameterError(
            f"{operation} needs at least {least} scans and the run has {run.shape[0]}; give the "
            "whole series"
        )
    if run.data.dtype.kind == "c":
        raise ParameterError(f"{operation} needs real values; take the magnitude of the run first")
    return np.ascontiguousarray(run.data, np.float32)


def repetition_time(run: Image, given: float | None, operation: str) -> float:
    """Seconds from scan to scan: as given, else from the axis ``t``, else RepetitionTime.

    Raises
    ------
    ParameterError
        It is not known, or the scans are not evenly spaced.
    """
    if given is not None:
        return given
    axis = run.axes[0]
    times = np.asarray(axis.values, np.float64) * _SECONDS.get(axis.unit, 1.0)
    if times.size > 1:
        steps = np.diff(times)
        if steps.min() <= 0 or np.ptp(steps) > 0.02 * steps.mean():
            raise ParameterError(
                f"{operation}: scans are {steps.min():.4g} to {steps.max():.4g} s apart; a run has "
                "even times. Give repetition_time in s"
            )
        return float(steps.mean())
    stated = run.attributes.get("RepetitionTime")
    if stated:
        return float(stated) / 1000
    raise ParameterError(
        f"{operation}: the run states no times along 't' and no RepetitionTime; give "
        "repetition_time in s"
    )


def like_run(run: Image, data: Array, text: str, *, drop: Sequence[str] = ()) -> Image:
    """The run with other values of the same kind, its title prolonged by ``text``."""
    return replace(run, data=data, attributes=_titled(run, text, drop=drop))


def map_of(run: Image, data: Array, *, unit: str, text: str, axes: tuple[Axis, ...] = ()) -> Image:
    """A map on the run's grid, float32; marked as a quantity, which DICOM keeps unrounded."""
    attributes = {k: v for k, v in run.attributes.items() if k not in _OF_A_RUN}
    title = str(attributes.get("SeriesDescription") or "")
    attributes["SeriesDescription"] = f"{text}, {title}".rstrip(", ")[:64]
    attributes["ImageType"] = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    return replace(
        run, data=np.asarray(data, np.float32), unit=unit, axes=axes, attributes=attributes
    )


def _titled(run: Image, text: str, *, drop: Sequence[str] = ()) -> dict[str, Any]:
    kept = {k: v for k, v in run.attributes.items() if k not in drop}
    kept["SeriesDescription"] = f"{kept.get('SeriesDescription') or ''} {text}".strip()[:64]
    return kept


def head_mask(data: Array) -> Array:
    """Voxels with signal: temporal mean above a threshold between head and air, bool (nz, ny, nx).

    The threshold is that of two classes (Ridler and Calvard 1978) on the mean image, halved so
    that dim edges of the brain stay in; voxels that do not vary or are not finite are left out.
    """
    with np.errstate(invalid="ignore"):
        mean = data.mean(axis=0) if data.ndim == 4 else np.asarray(data, np.float32)
        moving = np.ptp(data, axis=0) > 0 if data.ndim == 4 else np.ones(mean.shape, bool)
    known = np.isfinite(mean) & moving
    if not known.any():
        return known
    values = mean[known]
    low, level = float(values.min()), float(values.mean())
    for _ in range(50):
        above = values > level
        if above.all() or not above.any():
            return known
        new = 0.5 * float(values[above].mean() + values[~above].mean())
        if abs(new - level) < 1e-4 * max(abs(level), 1e-12):
            break
        level = new
    threshold = low + 0.5 * (level - low)
    # Where hardly any voxel is dark (a cropped brain) there is no air to leave out.
    return known & (mean > threshold) if (values <= threshold).mean() > 0.05 else known
