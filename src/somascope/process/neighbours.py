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

BAND = 32
"""Rows that one core takes."""

OUTSIDE = -1e6
"""Logarithm of the weight of what lies outside the window."""

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


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _both(p: Array, q: Array, s: Any, n: int, tp: Array, wp: Array, tq: Array, wq: Array) -> None:
    """Neighbours ``q`` of ``p`` are neighbours of theirs: one weight for both."""
    for x in range(n):
        u, v = p[x], q[x]
        a = power2(s - (v - u) * (v - u))
        tp[x] += a * v
        wp[x] += a
        tq[x] += a * u
        wq[x] += a


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _one(p: Array, q: Array, s: Any, n: int, tp: Array, wp: Array) -> None:
    """Neighbours ``q`` of ``p``."""
    for x in range(n):
        v = q[x]
        a = power2(s - (v - p[x]) * (v - p[x]))
        tp[x] += a * v
        wp[x] += a


def bands(out: Array) -> int:
    """Pieces that `bilateral` has for a result ``(nz, ny, nx)``."""
    return out.shape[0] * -(-out.shape[1] // BAND)


@numba.njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def bilateral(
    start: int, stop: int, padded: Array, radius: Array, space: Array, out: Array
) -> None:
    """Means weighted by ``2^(space - difference^2)``, in the `bands` from ``start`` to ``stop``.

    Within a slice two voxels have one weight for each other, which is computed once for both; a
    band of rows is one core's, and only pairs that leave it are computed again.

    Parameters
    ----------
    padded
        ``(nz + 2 rz, ny + 2 ry, nx + 2 rx)`` float32, scaled so that the squares of differences
        are logarithms to base 2 of weights; `MISSING` for NaN.
    radius
        ``rz, ry, rx``.
    space
        ``(2 rz + 1, 2 ry + 1, 2 rx + 1)`` float32: logarithms of the weights in space, at most 0;
        `OUTSIDE` what does not count.
    out
        ``(nz, ny, nx)`` float32, scaled alike; undefined where the centre is missing.
    """
    _, ny, nx = out.shape
    rz, ry, rx = radius
    per = (ny + BAND - 1) // BAND
    for j in range(start, stop):
        z, low = j // per, j % per * BAND
        rows = min(BAND, ny - low)
        total = np.zeros((rows, nx + 2 * rx), np.float32)
        weight = np.zeros((rows, nx + 2 * rx), np.float32)
        mine = slice(rx, rx + nx)
        for y in range(-ry, rows):
            p = padded[z + rz, low + y + ry]
            for dy in range(1, ry + 1):
                if y + dy < 0 or (y < 0 and y + dy >= rows):
                    continue
                q = padded[z + rz, low + y + dy + ry]
                for dx in range(-rx, rx + 1):
                    s = space[rz, ry + dy, rx + dx]
                    if s <= OUTSIDE:
                        continue
                    if y < 0:
                        _one(
                            q[mine], p[rx - dx :], s, nx, total[y + dy, mine], weight[y + dy, mine]
                        )
                    elif y + dy >= rows:
                        _one(p[mine], q[rx + dx :], s, nx, total[y, mine], weight[y, mine])
                    else:
                        # All pairs of which at least one lies in the row.
                        first = rx - max(dx, 0)
                        n = nx + abs(dx)
                        _both(
                            p[first:], q[first + dx :], s, n, total[y, first:], weight[y, first:],
                            total[y + dy, first + dx :], weight[y + dy, first + dx :],
                        )  # fmt: skip
        for y in range(rows):
            t, w = total[y, mine], weight[y, mine]
            p = padded[z + rz, low + y + ry, mine]
            for dz in range(2 * rz + 1):
                for dy in range(2 * ry + 1):
                    if dz == rz and dy != ry:
                        continue
                    q = padded[z + dz, low + y + dy]
                    for dx in range(2 * rx + 1):
                        s = space[dz, dy, dx]
                        if s > OUTSIDE:
                            _one(p, q[dx:], s, nx, t, w)
            target = out[z, low + y]
            for x in range(nx):
                target[x] = t[x] / w[x]


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
