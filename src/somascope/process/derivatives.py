"""First and second derivatives of a volume at a scale, fused: nothing of its size is kept.

Each core takes bands of rows of a plane: it smooths and derives along z from the planes around,
then along y row by row, then along x, and hands over the gradient or the sum.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.chunks import sealed
from somascope.process.separable import reflect

BAND = 64
"""Rows worked on together: their smoothed copies stay in the second cache."""

REACH = 4.0
"""Gaussian kernels end at this many standard deviations."""

MAGNITUDE, SUM, COMPONENTS = range(3)

Pair = tuple[Float, Float]


def gaussian_pair(sigma: float, order: int) -> Pair:
    """Gaussian of ``sigma`` samples and its derivative of ``order`` 1 or 2, as correlations.

    As SciPy's: the derivative is that of the normalised samples' Gaussian; then scaled so that a
    slope, or a parabola, comes out exactly. A width of 0 gives plain differences.
    """
    if sigma <= 0:
        return np.array([0.0, 1.0, 0.0]), np.array(
            [-0.5, 0.0, 0.5] if order == 1 else [1.0, -2.0, 1.0]
        )
    radius = max(int(REACH * sigma + 0.5), 1)
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    g = np.exp(-0.5 * (x / max(sigma, 0.1)) ** 2)
    g /= g.sum()
    if order == 1:
        d = x * g
        return g, d / (x * d).sum()
    d = g * (x**2 - (g * x**2).sum())
    return g, d * (2.0 / (x**2 * d).sum())


SOBEL: Pair = (np.array([0.25, 0.5, 0.25]), np.array([-0.5, 0.0, 0.5]))
"""Smoothing and central difference of Sobel's operator, for a slope per voxel."""


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _added(w: float, source: Array, out: Array) -> None:
    for x in range(out.size):
        out[x] += w * source[x]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _added4(
    a: float, p: Array, b: float, q: Array, c: float, r: Array, d: float, s: Array, out: Array
) -> None:
    for x in range(out.size):
        out[x] += a * p[x] + b * q[x] + c * r[x] + d * s[x]


@numba.njit(cache=True)
def _across(row: Array, taps: Array, out: Array) -> None:
    """``out[x] <- sum_k taps[k] row[x + k]``."""
    n = out.size
    whole = taps.size // 4 * 4
    out[:] = 0
    for k in range(0, whole, 4):
        _added4(
            taps[k], row[k : k + n], taps[k + 1], row[k + 1 : k + 1 + n], taps[k + 2],
            row[k + 2 : k + 2 + n], taps[k + 3], row[k + 3 : k + 3 + n], out,
        )  # fmt: skip
    for k in range(whole, taps.size):
        _added(taps[k], row[k : k + n], out)


@numba.njit(cache=True)
def _down(rows: Array, first: int, taps: Array, out: Array) -> None:
    """``out <- sum_k taps[k] rows[first + k]``."""
    whole = taps.size // 4 * 4
    out[:] = 0
    for k in range(0, whole, 4):
        i = first + k
        _added4(
            taps[k], rows[i], taps[k + 1], rows[i + 1], taps[k + 2], rows[i + 2], taps[k + 3],
            rows[i + 3], out,
        )  # fmt: skip
    for k in range(whole, taps.size):
        _added(taps[k], rows[first + k], out)


@numba.njit(cache=True)
def _through(volume: Array, border: Array, z: int, y: int, taps: Array, out: Array) -> None:
    """``out <- sum_k taps[k] volume[border[z + k], y]``."""
    whole = taps.size // 4 * 4
    out[:] = 0
    for k in range(0, whole, 4):
        i = z + k
        _added4(
            taps[k], volume[border[i], y], taps[k + 1], volume[border[i + 1], y], taps[k + 2],
            volume[border[i + 2], y], taps[k + 3], volume[border[i + 3], y], out,
        )  # fmt: skip
    for k in range(whole, taps.size):
        _added(taps[k], volume[border[z + k], y], out)


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _written(kind: int, a: Array, b: Array, c: Array, out: Array, z: int, y: int) -> None:
    if kind == 0:
        row = out[0, z, y]
        for x in range(row.size):
            row[x] = np.sqrt(a[x] * a[x] + b[x] * b[x] + c[x] * c[x])
    elif kind == 1:
        row = out[0, z, y]
        for x in range(row.size):
            row[x] = a[x] + b[x] + c[x]
    else:
        out[0, z, y] = a
        out[1, z, y] = b
        out[2, z, y] = c


@numba.njit(cache=True)
def _bordered(row: Array, border: Array, out: Array) -> None:
    reach = (border.size - row.size) // 2
    out[reach : reach + row.size] = row
    for i in range(reach):
        out[i] = row[border[i]]
        out[reach + row.size + i] = row[border[reach + row.size + i]]


@numba.njit(parallel=True, cache=True)
def _fused(
    volume: Array, taps: Array, borders: Array, radius: Array, kind: int, deep: int, out: Array
) -> None:
    nz, ny, nx = volume.shape
    rz, ry, rx = radius[0], radius[1], radius[2]
    gz, dz = taps[0, 0, : 2 * rz + 1], taps[0, 1, : 2 * rz + 1]
    gy, dy = taps[1, 0, : 2 * ry + 1], taps[1, 1, : 2 * ry + 1]
    gx, dx = taps[2, 0, : 2 * rx + 1], taps[2, 1, : 2 * rx + 1]
    bz, by, bx = borders[0, : nz + 2 * rz], borders[1, : ny + 2 * ry], borders[2, : nx + 2 * rx]
    bands = (ny + BAND - 1) // BAND
    for j in numba.prange(nz * bands):
        z = j // bands
        y0 = (j - z * bands) * BAND
        rows = min(BAND, ny - y0)
        smoothed = np.empty((rows + 2 * ry, nx), np.float32)
        derived = np.zeros((rows + 2 * ry if deep else 1, nx), np.float32)
        for i in range(rows + 2 * ry):
            y = int(by[y0 + i])
            if deep:
                _through(volume, bz, z, y, gz, smoothed[i])
                _through(volume, bz, z, y, dz, derived[i])
            else:
                smoothed[i] = volume[z, y]
        line = np.empty(nx, np.float32)
        wide = np.empty(nx + 2 * rx, np.float32)
        a, b, c = np.zeros(nx, np.float32), np.empty(nx, np.float32), np.empty(nx, np.float32)
        for i in range(rows):
            if deep:
                _down(derived, i, gy, line)
                _bordered(line, bx, wide)
                _across(wide, gx, a)
            _down(smoothed, i, dy, line)
            _bordered(line, bx, wide)
            _across(wide, gx, b)
            _down(smoothed, i, gy, line)
            _bordered(line, bx, wide)
            _across(wide, dx, c)
            _written(kind, a, b, c, out, z, y0 + i)


def derived(
    volume: Array,
    pairs: tuple[Pair, Pair, Pair],
    weights: tuple[float, float, float],
    *,
    kind: int,
    deep: bool,
    out: Array | None = None,
) -> Array:
    """The gradient's size, its components, or the sum of derivatives along the three axes.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)`` float32 without gaps; borders are mirrored at the outer voxel edges.
    pairs
        Per axis (z, y, x) the taps that smooth and those that derive, of equal odd length.
    weights
        Per axis what its derivative is multiplied with: ``1 / spacing`` for a slope per mm.
    kind
        `MAGNITUDE`, `SUM` or `COMPONENTS`.
    deep
        False: each slice by itself, nothing along z.
    out
        Where the components go, if there is a place for them.

    Returns
    -------
    Array
        float32 ``(nz, ny, nx)``; `COMPONENTS`: ``(3, nz, ny, nx)``.
    """
    radius = [len(g) // 2 for g, _ in pairs]
    if not deep:
        radius[0] = 0
    longest = 2 * max(radius) + 1
    taps = np.zeros((3, 2, longest), np.float32)
    borders = np.zeros((3, max(volume.shape) + longest - 1), np.int32)
    for axis, ((g, d), r, w, n) in enumerate(
        zip(pairs, radius, weights, volume.shape, strict=True)
    ):
        if axis > 0 or deep:
            taps[axis, 0, : 2 * r + 1], taps[axis, 1, : 2 * r + 1] = g, np.asarray(d) * w
        borders[axis, : n + 2 * r] = reflect(np.arange(-r, n + r), n)
    if out is None:
        out = np.empty((3 if kind == COMPONENTS else 1, *volume.shape), np.float32)
    source = sealed(np.ascontiguousarray(volume))
    _fused(source, taps, borders, np.array(radius), kind, int(deep), out)
    return out if kind == COMPONENTS else out[0]
