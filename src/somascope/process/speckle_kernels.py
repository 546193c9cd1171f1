"""The kernels under the speckle filters: local moments, weighted windows, a diffusion step.

All work on ``(nz, ny, nx)`` float32, each slice by itself, on all cores; borders are mirrored at
the outer pixel edges. NaN pixels are left out of what their neighbours become, and stay.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array
from somascope.process.selection import mirror

BAND = 32
"""Rows that one thread works on with sums that slide down."""


@numba.njit(cache=True, error_model="numpy", boundscheck=False)
def _slide(row: Array, sign: float, base: float, one: Array, two: Array, many: Array) -> None:
    """Add a row to the sums over columns (``sign`` 1), or take it away (-1)."""
    for x in range(row.size):
        v = np.float64(row[x]) - base
        there = abs(v) < np.inf  # false for NaN
        v = v if there else 0.0
        one[x] += sign * v
        two[x] += sign * v * v
        many[x] += sign if there else 0.0


@numba.njit(parallel=True, cache=True, error_model="numpy", boundscheck=False)
def moments(volume: Array, radius: int, mean: Array, variance: Array) -> None:
    """Mean and variance of the square of ``2 radius + 1`` pixels around each pixel."""
    nz, ny, nx = volume.shape
    bands = (ny + BAND - 1) // BAND
    for j in numba.prange(nz * bands):
        z = j // bands
        first = (j - z * bands) * BAND
        # About a value of the band's own: sums of squares of large values would lose the variance.
        base = np.float64(volume[z, first, nx // 2])
        if not np.isfinite(base):
            base = 0.0
        one, two, many = np.zeros(nx), np.zeros(nx), np.zeros(nx)
        for k in range(-radius, radius + 1):
            _slide(volume[z, mirror(first + k, ny)], 1.0, base, one, two, many)
        for y in range(first, min(first + BAND, ny)):
            a = b = n = 0.0
            for k in range(-radius, radius):
                i = mirror(k, nx)
                a += one[i]
                b += two[i]
                n += many[i]
            for x in range(nx):
                i = x + radius if x + radius < nx else mirror(x + radius, nx)
                a += one[i]
                b += two[i]
                n += many[i]
                share = 1.0 / n if n > 0 else np.nan
                m = a * share
                mean[z, y, x] = m + base
                variance[z, y, x] = max(b * share - m * m, 0.0) if n > 0 else np.nan
                i = x - radius if x >= radius else mirror(x - radius, nx)
                a -= one[i]
                b -= two[i]
                n -= many[i]
            if y + 1 < min(first + BAND, ny):
                _slide(volume[z, mirror(y - radius, ny)], -1.0, base, one, two, many)
                _slide(volume[z, mirror(y + radius + 1, ny)], 1.0, base, one, two, many)


@numba.njit(parallel=True, cache=True, error_model="numpy", boundscheck=False)
def shrunk(
    volume: Array, mean: Array, variance: Array, own: float, gain: float, relative: int, out: Array
) -> None:
    """``m + gain max(0, 1 - own / C) (x - m)``; C the variance, ``relative`` to the mean squared.

    ``own`` is what speckle alone has of C.
    """
    nz, ny, nx = volume.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        for x in range(nx):
            m, spread = mean[z, y, x], variance[z, y, x]
            unit = m * m if relative else np.float32(1)
            weight = np.float32(0)
            if spread > own * unit and (m > 0 or not relative):
                weight = gain * (1 - own * unit / spread)
            out[z, y, x] = m + weight * (volume[z, y, x] - m)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def exponential(
    volume: Array, radius: int, steepness: Array, step_y: float, step_x: float, out: Array
) -> None:
    """Mean weighted with ``exp(-steepness d)`` at distance d; steps are those of the grid."""
    nz, ny, nx = volume.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        side = 2 * radius + 1
        distance = np.empty((side, side), np.float32)
        for p in range(side):
            for q in range(side):
                distance[p, q] = np.hypot((p - radius) * step_y, (q - radius) * step_x)
        for x in range(nx):
            if not np.isfinite(volume[z, y, x]):
                out[z, y, x] = volume[z, y, x]
                continue
            total = np.float32(0)
            weights = np.float32(0)
            steep = steepness[z, y, x]
            for p in range(side):
                row = volume[z, mirror(y + p - radius, ny)]
                for q in range(side):
                    v = row[mirror(x + q - radius, nx)]
                    if np.isfinite(v):
                        w = np.exp(-steep * distance[p, q])
                        total += w * v
                        weights += w
            out[z, y, x] = total / weights


@numba.njit(parallel=True, cache=True, error_model="numpy")
def conduction(volume: Array, q0: float, weight_y: float, weight_x: float, out: Array) -> None:
    """SRAD's diffusion coefficient at each pixel (Yu and Acton 2002, eq. 31 to 33)."""
    nz, ny, nx = volume.shape
    scale = q0 * q0 * (1 + q0 * q0)
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        up, down = volume[z, max(y - 1, 0)], volume[z, min(y + 1, ny - 1)]
        row = volume[z, y]
        for x in range(nx):
            v = row[x]
            n, s = up[x] - v, down[x] - v
            w, e = row[max(x - 1, 0)] - v, row[min(x + 1, nx - 1)] - v
            if not np.isfinite(v):
                out[z, y, x] = 0
                continue
            n = n if np.isfinite(n) else np.float32(0)
            s = s if np.isfinite(s) else np.float32(0)
            w = w if np.isfinite(w) else np.float32(0)
            e = e if np.isfinite(e) else np.float32(0)
            v = max(v, np.float32(1e-6))
            gradient = (weight_y * (n * n + s * s) + weight_x * (w * w + e * e)) / (v * v)
            laplace = (weight_y * (n + s) + weight_x * (w + e)) / v
            lower = 1 + 0.25 * laplace
            q2 = (0.5 * gradient - 0.0625 * laplace * laplace) / max(lower * lower, 1e-6)
            c = 1 / (1 + (q2 - q0 * q0) / scale)
            out[z, y, x] = min(max(c, 0.0), 1.0)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def diffused(
    volume: Array, c: Array, step: float, weight_y: float, weight_x: float, out: Array
) -> None:
    """One explicit step of ``dI/dt = div(c grad I)``, no flow over the borders."""
    nz, ny, nx = volume.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        ya, yb = max(y - 1, 0), min(y + 1, ny - 1)
        for x in range(nx):
            v = volume[z, y, x]
            xa, xb = max(x - 1, 0), min(x + 1, nx - 1)
            n, s = volume[z, ya, x] - v, volume[z, yb, x] - v
            w, e = volume[z, y, xa] - v, volume[z, y, xb] - v
            # Yu and Acton's discretisation: the coefficient of the farther of each pair.
            here = c[z, y, x]
            flow = np.float32(0)
            if np.isfinite(n):
                flow += weight_y * here * n
            if np.isfinite(s):
                flow += weight_y * c[z, yb, x] * s
            if np.isfinite(w):
                flow += weight_x * here * w
            if np.isfinite(e):
                flow += weight_x * c[z, y, xb] * e
            out[z, y, x] = v + 0.25 * step * flow
