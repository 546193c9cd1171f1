"""`acquire.xray.correct`: raw counts become line integrals: offset, lag, gain, defects, log."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.xray.projection import Projection
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Float

RAW = "{counts}"


@operation("acquire.xray.correct")
def correct(
    acquisition: Acquisition,
    *,
    logarithm: Annotated[
        bool, Param("To line integrals (unit 1); off: counts proportional to the dose")
    ] = True,
    lag: Annotated[
        bool, Param("Take away what earlier images left, where its law is known")
    ] = True,
    defects: Annotated[bool, Param("Fill defective pixels from their neighbours")] = True,
    progress: Progress = QUIET,
) -> Acquisition:
    """Correct raw detector counts with the calibration measured alongside.

    ``(raw - dark) / (flat - dark)``, defects filled, and minus the logarithm, with the exposures
    of image and flat field taken into account so that the open beam is 0. Without the logarithm
    the result is in counts at the panel's mean gain. Samples ``(views, rows, columns)``, float32.

    Raises
    ------
    UnitError
        The samples are not raw counts: they were corrected before.
    GeometryError
        Flat, dark or defect map of another shape than the detector.
    ParameterError
        Missing flat field, NaN, negative counts, a flat field without signal, no pixel left.
    """
    result = corrected(
        acquisition, logarithm=logarithm, lag=lag, defects=defects, progress=progress
    )
    return acquisition.with_samples(result, unit="1" if logarithm else RAW)


def corrected(
    acquisition: Acquisition,
    *,
    logarithm: bool = True,
    lag: bool = True,
    defects: bool = True,
    progress: Progress = QUIET,
) -> Array:
    """The samples `correct` gives, float32 ``(views, rows, columns)``."""
    raw, calibration = _checked(acquisition)
    dark, gain = calibration["dark"], calibration["flat"] - calibration["dark"]
    bad = find_defects(gain) | calibration["defects"]
    if bad.all():
        raise ParameterError(
            "no pixel of the flat field is brighter than the dark image; measure it again with the "
            "tube on"
        )
    level = float(np.median(gain[~bad]))
    signal = raw.astype(np.float64) - dark
    if lag and "lag" in acquisition.calibration and len(signal) > 1:
        signal = without_lag(signal, *(float(v) for v in acquisition.calibration["lag"]))
    progress(0.4, "gain")
    scale = level / np.where(bad, level, gain)
    out = np.empty(raw.shape, np.float32)
    for k, frame in enumerate(signal):
        flat = frame * scale
        if defects and bad.any():
            flat = filled(flat, bad)
        if logarithm:
            # Where less than half a count came through nothing is known but that it was dark.
            flat = -np.log(np.maximum(flat, 0.5) / level) - _log_exposure(acquisition)
        out[k] = flat
        progress(0.4 + 0.6 * (k + 1) / len(raw), "correcting")
    return out


def find_defects(gain: Float, *, deviation: float = 0.5) -> Array:
    """Pixels whose gain is not positive, or differs from the median around by half or more."""
    from scipy.ndimage import median_filter

    finite = np.nan_to_num(gain, nan=0.0, posinf=0.0, neginf=0.0)
    around = median_filter(finite, size=(5, 9), mode="reflect")
    return (finite <= 0) | (np.abs(finite - around) > deviation * np.abs(around))


def filled(frame: Float, bad: Array) -> Float:
    """``frame`` with ``bad`` pixels taken from the good ones around, along the smoothest direction.

    Of the four directions through a pixel whose two nearest good neighbours lie within four pixels,
    the one over which the values differ least is interpolated linearly; so an edge or a line stays.
    What has no such pair gets the mean of its good surroundings.
    """
    from scipy.ndimage import uniform_filter

    out = frame.copy()
    ny, nx = frame.shape
    y, x = np.nonzero(bad)
    best = np.full(len(y), np.inf)
    value = np.full(len(y), np.nan)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ends = []
        for sign in (-1, 1):
            level, distance = np.full(len(y), np.nan), np.full(len(y), np.inf)
            for step in range(1, 5):
                at = y + sign * step * dy, x + sign * step * dx
                inside = (at[0] >= 0) & (at[0] < ny) & (at[1] >= 0) & (at[1] < nx)
                at = np.clip(at[0], 0, ny - 1), np.clip(at[1], 0, nx - 1)
                take = inside & ~bad[at] & np.isinf(distance)
                level[take], distance[take] = frame[at][take], step
            ends.append((level, distance))
        (a, da), (b, db) = ends
        pair = np.isfinite(a) & np.isfinite(b)
        # A wider gap is a worse witness; the difference counts per its length.
        cost = np.where(pair, np.abs(a - b) + 1e-9, np.inf) * np.hypot(dy, dx) * (da + db)
        better = pair & (cost < best)
        value[better] = ((a * db + b * da) / (da + db))[better]
        best[better] = cost[better]
    rest = np.isnan(value)
    out[y[~rest], x[~rest]] = value[~rest]
    left = np.zeros_like(bad)
    left[y[rest], x[rest]] = True
    size = 5
    while left.any():
        weight = uniform_filter((~left).astype(np.float64), size, mode="reflect")
        mean = uniform_filter(np.where(left, 0.0, out), size, mode="reflect")
        known = left & (weight > 1e-9)
        out[known] = mean[known] / weight[known]
        left &= ~known
        size = 2 * size + 1
    return out


def without_lag(frames: Float, fraction: float, decay: float) -> Float:
    """Undo `detector.persist` frame by frame (the recursion of Hsieh et al., SPIE 4320, 2001)."""
    if not fraction:
        return frames
    keep = np.exp(-1.0 / decay)
    out = np.empty_like(frames)
    stored = np.zeros(frames.shape[1:])
    for k, frame in enumerate(frames):
        out[k] = (frame - (1.0 - keep) * stored) / (1.0 - fraction * keep)
        stored = (stored + fraction * out[k]) * keep
    return out


def _log_exposure(acquisition: Acquisition) -> float:
    """Log of the flat field's exposure over the image's; 0 where they are not known."""
    flat = acquisition.calibration.get("flat_exposure")
    own = acquisition.attributes.get("ExposureInuAs")
    if flat is None or not own:
        return 0.0
    return float(np.log(float(flat) * 1000.0 / float(own)))


def _checked(acquisition: Acquisition) -> tuple[Array, dict[str, Array]]:
    projection = acquisition.operator
    if not isinstance(projection, Projection):
        raise ParameterError(
            f"acquire.xray.correct needs an xray.projection and this acquisition's operator is "
            f"{type(projection).__name__}"
        )
    if acquisition.unit != RAW:
        raise UnitError(
            f"the samples are in {acquisition.unit!r}, not raw counts ({RAW}); they were corrected "
            "already"
        )
    raw = acquisition.samples
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        bad = int((~np.isfinite(raw)).sum())
        raise ParameterError(
            f"{bad} of the raw counts are NaN or infinite; mark those pixels in the calibration's "
            "defects and set them to 0"
        )
    if raw.min() < 0:
        raise ParameterError(
            f"the smallest raw count is {raw.min():g}; counts are not negative: was the dark image "
            "subtracted already?"
        )
    given = acquisition.calibration
    if "flat" not in given:
        raise ParameterError(
            "the acquisition has no flat field; put one into its calibration under 'flat' "
            f"(there is {', '.join(given) or 'nothing'})"
        )
    shape = projection.shape
    result = {
        "flat": given["flat"].astype(np.float64),
        "dark": given.get("dark", np.zeros(shape)).astype(np.float64),
        "defects": given.get("defects", np.zeros(shape, bool)).astype(bool),
    }
    for name, array in result.items():
        if array.shape != shape:
            raise GeometryError(
                f"the {name} image is {array.shape} and the detector {shape}; use one measured "
                "with the same binning and field"
            )
    if not np.isfinite(result["flat"]).all() or not np.isfinite(result["dark"]).all():
        raise ParameterError("flat or dark image hold NaN or infinite values; measure them again")
    return raw, result
