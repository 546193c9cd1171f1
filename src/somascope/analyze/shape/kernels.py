"""Kernels: values at points and along normals, Mahalanobis costs, and surfaces filled to voxels."""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float

NUDGE = (1.37e-6, 2.11e-6)
"""Voxels by which a surface is moved before it is filled: no line of voxels meets a corner."""


@numba.njit(inline="always")
def _clip(p: float, n: int) -> tuple[int, int, float]:
    if not p > 0.0:
        return 0, 0, 0.0
    if p >= n - 1:
        return n - 1, n - 1, 0.0
    i = int(p)
    return i, i + 1, p - i


@numba.njit(inline="always")
def _value(volume: Array, a: float, b: float, c: float) -> float:
    z0, z1, t = _clip(a, volume.shape[0])
    y0, y1, u = _clip(b, volume.shape[1])
    x0, x1, w = _clip(c, volume.shape[2])
    low = (1 - u) * ((1 - w) * volume[z0, y0, x0] + w * volume[z0, y0, x1]) + u * (
        (1 - w) * volume[z0, y1, x0] + w * volume[z0, y1, x1]
    )
    high = (1 - u) * ((1 - w) * volume[z1, y0, x0] + w * volume[z1, y0, x1]) + u * (
        (1 - w) * volume[z1, y1, x0] + w * volume[z1, y1, x1]
    )
    return (1 - t) * low + t * high


@numba.njit(parallel=True, cache=True)
def lines(volume: Array, at: Float, along: Float, out: Array) -> None:
    """``out[i, j]``: linear interpolation of ``volume`` at ``at[i] + (j - m) along[i]``.

    ``m`` is the middle of the odd number of samples; outside the volume its border goes on.
    """
    n, count = out.shape
    middle = count // 2
    for i in numba.prange(n):
        for j in range(count):
            t = j - middle
            out[i, j] = _value(
                volume, at[i, 0] + t * along[i, 0], at[i, 1] + t * along[i, 1],
                at[i, 2] + t * along[i, 2],
            )  # fmt: skip


@numba.njit(parallel=True, cache=True)
def mahalanobis(values: Array, mean: Array, inverse: Array, out: Array) -> None:
    """Cost of each offset of a profile: Mahalanobis distance, squared, of its normalised slopes.

    ``values`` ``(n, c + k + 1)``, ``mean`` ``(n, k)``, ``inverse`` ``(n, k, k)`` the covariance's,
    ``out`` ``(n, c)``. Slopes are divided by the sum of their sizes (Cootes et al., 1995).
    """
    n, count = out.shape
    k = mean.shape[1]
    for i in numba.prange(n):
        apart = np.empty(k, np.float32)
        for t in range(count):
            total = np.float32(1e-3)
            for j in range(k):
                slope = values[i, t + j + 2] - values[i, t + j]
                apart[j] = slope
                total += abs(slope)
            for j in range(k):
                apart[j] = apart[j] / total - mean[i, j]
            cost = np.float32(0)
            for j in range(k):
                row = np.float32(0)
                for m in range(k):
                    row += inverse[i, j, m] * apart[m]
                cost += apart[j] * row
            out[i, t] = cost


@numba.njit(cache=True)
def fill(points: Float, faces: Array, turns: Array) -> None:
    """Where lines of voxels along x cross a closed surface, and which way; summed along x: inside.

    ``points`` ``(n, 3)`` are voxel indices; ``faces`` ``(m, 3)`` triangles, or ``(m, 2)`` the sides
    of a polygon in slice 0. ``turns`` ``(nz, ny, nx + 1)`` int32 is added to.
    """
    nz, ny, last = turns.shape
    flat = faces.shape[1] == 2
    for f in range(faces.shape[0]):
        a, b = points[faces[f, 0]], points[faces[f, 1]]
        if flat:
            y0, y1 = a[1] + NUDGE[1], b[1] + NUDGE[1]
            low, high = min(y0, y1), max(y0, y1)
            for y in range(max(int(np.ceil(low)), 0), min(int(np.floor(high)), ny - 1) + 1):
                x = a[2] + (y - y0) / (y1 - y0) * (b[2] - a[2])
                column = min(max(int(np.ceil(x)), 0), last - 1)
                turns[0, y, column] += 1 if y1 > y0 else -1
            continue
        c = points[faces[f, 2]]
        az, bz, cz = a[0] + NUDGE[0], b[0] + NUDGE[0], c[0] + NUDGE[0]
        ay, by, cy = a[1] + NUDGE[1], b[1] + NUDGE[1], c[1] + NUDGE[1]
        area = (bz - az) * (cy - ay) - (by - ay) * (cz - az)
        if area == 0:
            continue
        way = 1 if area > 0 else -1
        for z in range(
            max(int(np.ceil(min(az, bz, cz))), 0), min(int(np.floor(max(az, bz, cz))), nz - 1) + 1
        ):
            for y in range(
                max(int(np.ceil(min(ay, by, cy))), 0),
                min(int(np.floor(max(ay, by, cy))), ny - 1) + 1,
            ):
                u = ((bz - z) * (cy - y) - (by - y) * (cz - z)) / area
                v = ((cz - z) * (ay - y) - (cy - y) * (az - z)) / area
                w = 1.0 - u - v
                if u >= 0 and v >= 0 and w >= 0:
                    x = u * a[2] + v * b[2] + w * c[2]
                    turns[z, y, min(max(int(np.ceil(x)), 0), last - 1)] += way
