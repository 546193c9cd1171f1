"""Stand-ins for missing voxels, so that a filter finds no edge where nothing was measured."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array
from somascope.process.filters import smooth


def filled(volume: Array) -> tuple[Array, Array | None]:
    """A float32 volume without gaps, and where it was known (None: everywhere).

    NaN and infinite voxels of ``volume`` ``(nz, ny, nx)`` take the Gaussian mean of the known ones
    around them, of the narrowest of the widths 1, 2, 4 ... voxels that reaches any. Where nothing
    is known all is 0.
    """
    known = np.isfinite(volume)
    if known.all():
        return np.ascontiguousarray(volume, dtype=np.float32), None
    values = np.where(known, volume, 0).astype(np.float32)
    weights = known.astype(np.float32)
    out, open_ = values.copy(), ~known
    sigma, largest = 1.0, 2.0 * max(volume.shape)
    if not known.any():
        return out, known
    while open_.any() and sigma < largest:
        total, weight = (smooth(v, (sigma, sigma, sigma)) for v in (values, weights))
        reached = open_ & (weight > 1e-4)
        out[reached] = total[reached] / weight[reached]
        open_ &= ~reached
        sigma *= 2
    out[open_] = values.sum(dtype=np.float64) / weights.sum(dtype=np.float64)
    return out, known


def restored(result: Array, volume: Array, known: Array | None) -> Array:
    """``result`` with the values of ``volume`` where nothing was known, in place."""
    if known is not None:
        result[~known] = volume[~known]
    return result


def emptied(result: Array, known: Array | None) -> Array:
    """``result`` with NaN where nothing was known, in place."""
    if known is not None:
        result[~known] = np.nan
    return result
