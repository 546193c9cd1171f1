"""Kernels of filters that weigh each neighbour by how like it is: bilateral and non-local means.

Rows are handled in blocks with one neighbour at a time in the outer loop: the inner loop is plain
arithmetic on contiguous float32 and becomes vector instructions, the exponential included.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array

BLOCK = 128
"""Voxels of a row handled together: their sums stay in the first cache."""

ROWS = 16
"""Rows whose patches share the squares of their differences."""

_F = np.float32


LOG2E = 1.4426950408889634

MISSING = 1e15
"""Stands for NaN: so far from every value that its weight is 2^-125."""


@numba.njit(inline="always")
def power2(t: Any) -> Any:
    """``2^t`` for ``t <= 0`` in single precision, relative error 4e-6, without a call.

    The whole part is written into the exponent's bits, the rest is a polynomial on [0, 1].
    """
    t = max(t, _F(-125.0))
    n = np.int32(t) - np.int32(1)
    f = t - _F(n)
    p = _F(1.3534167e-2)
    p = p * f + _F(5.2011464e-2)
    p = p * f + _F(2.4144275e-1)
    p = p * f + _F(6.9300383e-1)
    p = p * f + _F(1.0000026)
    return p * np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def bilateral(padded: Array, radius: Array, space: Array, out: Array) -> None:
    """Means weighted by ``2^(space - difference^2)``.

    Parameters
    ----------
    padded
        ``(nz + 2 rz, ny + 2 ry, nx + 2 rx)`` float32, scaled so that the squares of differences
        are logarithms to base 2 of weights; `MISSING` for NaN.
    radius
        ``rz, ry, rx``.
    space
        ``(2 rz + 1, 2 ry + 1, 2 rx + 1)`` float32: logarithms of the weights in space, at most 0.
    out
        ``(nz, ny, nx)`` float32, scaled alike; undefined where the centre is missing.
    """
    nz, ny, nx = out.shape
    rz, ry, rx = radius
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        total = np.empty(BLOCK, np.float32)
        weight = np.empty(BLOCK, np.float32)
        middle = padded[z + rz, y + ry]
        for x0 in range(0, nx, BLOCK):
            m = min(BLOCK, nx - x0)
            centre = middle[x0 + rx : x0 + rx + m]
            total[:] = 0
            weight[:] = 0
            for dz in range(2 * rz + 1):
                for dy in range(2 * ry + 1):
                    row = padded[z + dz, y + dy]
                    for dx in range(rx):
                        # The two neighbours at one distance share its weight and the sums' way.
                        s = space[dz, dy, dx]
                        left = row[x0 + dx : x0 + dx + m]
                        right = row[x0 + 2 * rx - dx : x0 + 2 * rx - dx + m]
                        for x in range(m):
                            c, u, v = centre[x], left[x], right[x]
                            a = power2(s - (u - c) * (u - c))
                            b = power2(s - (v - c) * (v - c))
                            total[x] += a * u + b * v
                            weight[x] += a + b
                    s = space[dz, dy, rx]
                    part = row[x0 + rx : x0 + rx + m]
                    for x in range(m):
                        c, v = centre[x], part[x]
                        a = power2(s - (v - c) * (v - c))
                        total[x] += a * v
                        weight[x] += a
            for x in range(m):
                out[z, y, x0 + x] = total[x] / weight[x]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _squared(
    padded: Array, out: Array, planes: int, z: int, w: int, y: int, v: int, x: int, u: int, n: int
) -> None:
    """Sum over ``planes`` of the squared differences of two rows."""
    out[:n] = 0
    for k in range(planes):
        here, there = padded[z + k, y][x : x + n], padded[w + k, v][u : u + n]
        for i in range(n):
            d = there[i] - here[i]
            out[i] += d * d


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _added(rows: Array, out: Array, first: int, count: int, n: int) -> None:
    out[:n] = rows[first, :n]
    for k in range(first + 1, first + count):
        for i in range(n):
            out[i] += rows[k, i]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _weighed(
    values: Array, close: Array, slope: Any, bias: Any, n: int, total: Array, weight: Array
) -> None:
    for x in range(n):
        w = power2(max(close[x] - bias, _F(0)) * slope)
        total[x] += w * values[x]
        weight[x] += w


@numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def nonlocal_means(
    padded: Array, search: Array, patch: Array, slope: Any, bias: Any, out: Array
) -> None:
    """Means weighted by how like the patches around two voxels are.

    Parameters
    ----------
    padded
        float32, finite, with ``search + patch`` voxels added at each side.
    search, patch
        Radii ``(z, y, x)`` of the window looked through and of the patches compared.
    slope, bias
        The weight is ``2^(slope * max(sum of squared differences - bias, 0))``; ``slope < 0``.
    out
        ``(nz, ny, nx)`` float32.
    """
    nz, ny, nx = out.shape
    sz, sy, sx = search
    pz, py, px = patch
    across = (ny + ROWS - 1) // ROWS
    for j in numba.prange(nz * across):
        z = j // across
        y0 = (j - z * across) * ROWS
        rows = min(ROWS, ny - y0)
        total = np.empty((ROWS, BLOCK), np.float32)
        weight = np.empty((ROWS, BLOCK), np.float32)
        squares = np.empty((ROWS + 2 * py, BLOCK + 2 * px), np.float32)
        line = np.empty(BLOCK + 2 * px, np.float32)
        close = np.empty(BLOCK, np.float32)
        for x0 in range(0, nx, BLOCK):
            m = min(BLOCK, nx - x0)
            wide = m + 2 * px
            total[:] = 0
            weight[:] = 0
            for dz in range(2 * sz + 1):
                for dy in range(2 * sy + 1):
                    for dx in range(2 * sx + 1):
                        for r in range(rows + 2 * py):
                            _squared(
                                padded, squares[r], 2 * pz + 1, z + sz, z + dz, y0 + sy + r,
                                y0 + dy + r, x0 + sx, x0 + dx, wide,
                            )  # fmt: skip
                        for r in range(rows):
                            _added(squares, line, r, 2 * py + 1, wide)
                            close[:m] = line[:m]
                            for q in range(1, 2 * px + 1):
                                for x in range(m):
                                    close[x] += line[x + q]
                            values = padded[z + dz + pz, y0 + dy + py + r][x0 + dx + px :]
                            _weighed(values, close, slope, bias, m, total[r], weight[r])
            for r in range(rows):
                for x in range(m):
                    out[z, y0 + r, x0 + x] = total[r, x] / weight[r, x]
