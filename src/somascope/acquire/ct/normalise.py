"""`acquire.ct.normalise`: detector counts become line integrals, and every repair is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array


def field(acquisition: Acquisition, name: str) -> Array | None:
    """A flat or dark field of the detector's shape; repeated exposures are averaged.

    Raises
    ------
    GeometryError
        Another shape than ``range[1:]`` or ``(n, *range[1:])``: another detector.
    ParameterError
        Values that are not finite.
    """
    if name not in acquisition.calibration:
        return None
    values = np.asarray(acquisition.calibration[name], np.float64)
    shape = tuple(acquisition.operator.range[1:])
    if values.shape != shape and values.shape[1:] != shape:
        raise GeometryError(
            f"calibration[{name!r}] has shape {values.shape} but the detector is {shape}; the "
            f"{name} field must be of the same detector, one exposure or several: (n, {shape})"
        )
    if name != "defects" and not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ParameterError(f"calibration[{name!r}] has {bad} values that are not finite")
    return values if values.shape == shape else values.mean(axis=0)


def bridge(rows: Array, bad: Array) -> Array:
    """``rows`` with ``bad`` entries interpolated linearly along the last axis.

    ``bad`` broadcasts to ``rows``. A row with nothing good keeps its values.
    """
    out = np.array(rows)
    bad = np.broadcast_to(bad, rows.shape)
    flat, holes = out.reshape(-1, rows.shape[-1]), bad.reshape(-1, rows.shape[-1])
    place = np.arange(rows.shape[-1])
    for k in np.flatnonzero(holes.any(axis=1)):
        good = ~holes[k]
        if good.any():
            flat[k, holes[k]] = np.interp(place[holes[k]], place[good], flat[k, good])
    return out


def defective(blank: Array, *, threshold: float) -> Array:
    """Elements whose open-beam signal is below ``threshold`` of the median, or none at all."""
    middle = float(np.median(blank[blank > 0])) if (blank > 0).any() else 0.0
    return ~(blank > threshold * middle)


@operation("acquire.ct.normalise")
def normalise(
    acquisition: Acquisition,
    *,
    defect_threshold: Annotated[
        float,
        Param("Elements that give less than this share of the usual open beam are defective",
              minimum=0.0, maximum=0.99),
    ] = 0.1,
    floor: Annotated[
        float,
        Param("Least transmitted share: signals below it, and negative ones, count as it",
              minimum=1e-9, maximum=0.1),
    ] = 1e-5,
    starved_limit: Annotated[
        float,
        Param("Refuse an acquisition where more than this share of samples had no signal",
              minimum=0.0, maximum=1.0, advanced=True),
    ] = 0.2,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Turn raw detector counts into line integrals with the flat and the dark field.

    ``p = -ln((raw - dark) / (flat - dark))``. Defective elements (``calibration["defects"]``, and
    those the flat field shows) and samples that are not finite are bridged along the detector row;
    signals of nothing or less are set to ``floor``. The result keeps ``weights`` (photons per ray,
    0 where bridged), ``defects`` and ``starved`` in its calibration, and the numbers in
    ``ImageComments``.
    """
    raw = np.asarray(acquisition.samples)
    if acquisition.unit != "{counts}":
        raise UnitError(
            f"acquire.ct.normalise takes detector counts ({{counts}}) but the samples are in "
            f"{acquisition.unit!r}: they were corrected before"
        )
    if raw.dtype.kind not in "fiu":
        raise UnitError(f"detector counts are real numbers; these are {raw.dtype}")
    flat = field(acquisition, "flat")
    if flat is None:
        raise ParameterError(
            "the acquisition has no flat field; give the open beam as calibration['flat']"
        )
    dark = field(acquisition, "dark")
    blank = flat if dark is None else flat - dark
    dead = defective(blank, threshold=defect_threshold)
    known = field(acquisition, "defects")
    if known is not None:
        dead |= known > 0
    if dead.all():
        raise ParameterError(
            "no detector element is brighter in the flat field than in the dark field; are the "
            "two exchanged?"
        )
    progress(0.1, "subtracting the dark field")
    signal = raw.astype(np.float32) - (0 if dark is None else dark.astype(np.float32))
    lost = ~np.isfinite(signal)
    share = signal / np.where(dead, 1, blank).astype(np.float32)
    holes = lost | dead
    starved = (share <= floor) & ~holes
    if starved.mean() > starved_limit:
        raise ParameterError(
            f"{starved.mean():.0%} of the samples are zero or negative after the dark field; the "
            "flat and dark fields do not belong to this scan, or nothing passes the object"
        )
    progress(0.4, "bridging defects")
    values = -np.log(np.maximum(np.where(holes, 1, share), np.float32(floor)))
    if holes.any():
        values = bridge(values, holes)
    progress(0.9, "weighing")
    weights = np.where(holes, 0, np.maximum(signal, 0)).astype(np.float32)
    text = (
        f"{int(dead.sum())} defective of {dead.size} elements, {int(lost.sum())} samples not "
        f"finite, {int(starved.sum())} without signal of {raw.size}"
    )
    done = acquisition.with_samples(values.astype(np.float32), unit="1")
    kept = {k: v for k, v in acquisition.calibration.items() if k not in ("flat", "dark")}
    return replace(
        done,
        calibration={**kept, "weights": weights, "defects": dead, "starved": starved},
        attributes={**acquisition.attributes, "ImageComments": text},
    )
