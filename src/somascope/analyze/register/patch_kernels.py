"""Kernels of neighbourhood descriptors: made, warped and compared, all channels of a voxel at once.

A descriptor volume is ``(nz, ny, nx, 8)`` float32: six channels, a 0, and 1 where they are known
(see `features.mind`). The channels of a voxel lie together, so that a place is looked up once for
all of them, and the sums run along whole rows.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.analyze.register.field_kernels import _clip, _row
from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array

LANES = 8
KNOWN = np.float32(0.99)
"""A voxel between known and unknown ones is unknown."""


@numba.njit(nogil=True, cache=True)
def _differences(start: int, stop: int, volume: Array, axis: int, out: Array) -> None:
    nz, ny, nx = volume.shape
    for j in range(start, stop):
        z = j // ny
        y = j - z * ny
        z1, y1 = (min(z + 1, nz - 1) if axis == 0 else z), (min(y + 1, ny - 1) if axis == 1 else y)
        here, there, to = volume[z, y], volume[z1, y1], out[z, y]
        step = 1 if axis == 2 else 0
        for x in range(nx):
            d = there[min(x + step, nx - 1)] - here[x]
            to[x] = np.float32(0) if np.isnan(d) else d * d


@numba.njit(nogil=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def _described(
    start: int, stop: int, volume: Array, dz: Array, dy: Array, dx: Array, low: Any, high: Any,
    out: Array,
) -> None:  # fmt: skip
    nz, ny, nx = volume.shape
    count = np.float32(2 * (int(nz > 1) + int(ny > 1) + int(nx > 1)))
    far = np.float32(3.0e38)
    one, eighth = np.float32(1), np.float32(0.125)
    a = np.empty(6, np.float32)
    for j in range(start, stop):
        z = j // ny
        y = j - z * ny
        zl, yl = max(z - 1, 0), max(y - 1, 0)
        zh, yh = min(z + 1, nz - 1), min(y + 1, ny - 1)
        for x in range(nx):
            xl, xh = max(x - 1, 0), min(x + 1, nx - 1)
            to = out[z, y, x]
            if np.isnan(
                volume[z, y, x] + volume[zl, y, x] + volume[zh, y, x] + volume[z, yl, x]
                + volume[z, yh, x] + volume[z, y, xl] + volume[z, y, xh]
            ):  # fmt: skip
                for c in range(8):
                    to[c] = 0
                continue
            a[0], a[1] = dz[zl, y, x], dz[z, y, x]
            a[2], a[3] = dy[z, yl, x], dy[z, y, x]
            a[4], a[5] = dx[z, y, xl], dx[z, y, x]
            least, total = far, np.float32(0)
            for c in range(6):
                total += a[c]
            if nz > 1:
                least = min(a[0], a[1])
            if ny > 1:
                least = min(least, a[2], a[3])
            if nx > 1:
                least = min(least, a[4], a[5])
            per = eighth / min(max(total / count, low), high)
            for c in range(6):
                q = one / (one + max(a[c] - least, np.float32(0)) * per)
                q = q * q
                q = q * q
                to[c] = q * q
            if nz == 1:
                to[0], to[1] = 0, 0
            if ny == 1:
                to[2], to[3] = 0, 0
            if nx == 1:
                to[4], to[5] = 0, 0
            to[6], to[7] = 0, 1


@numba.njit(nogil=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def _warped(start: int, stop: int,
    volume: Array, field: Array, cell: Array, per_mm: Array, out: Array
) -> None:  # fmt: skip
    nz, ny, nx = volume.shape[:3]
    lx = field.shape[2]
    half = np.float32(0.5)
    bz, by, bx = np.float32(nz) - half, np.float32(ny) - half, np.float32(nx) - half
    for j in range(start, stop):
        z = j // ny
        y = j - z * ny
        row = np.empty((lx, 3), np.float32)
        _row(field, z, y, cell, row)
        per = np.float32(1.0 / cell[2])
        off = np.float32(0.5 * (cell[2] - 1) / cell[2])
        for x in range(nx):
            x0, x1, t = _clip(np.float32(x) * per - off, lx)
            s = np.float32(1) - t
            a = np.float32(z) + (s * row[x0, 0] + t * row[x1, 0]) * per_mm[0]
            b = np.float32(y) + (s * row[x0, 1] + t * row[x1, 1]) * per_mm[1]
            c = np.float32(x) + (s * row[x0, 2] + t * row[x1, 2]) * per_mm[2]
            to = out[z, y, x]
            if not (a > -half and b > -half and c > -half and a < bz and b < by and c < bx):
                for k in range(8):
                    to[k] = 0
                continue
            i0, i1, ti = _clip(a, nz)
            j0, j1, tj = _clip(b, ny)
            k0, k1, tk = _clip(c, nx)
            si, sj, sk = np.float32(1) - ti, np.float32(1) - tj, np.float32(1) - tk
            w00, w01, w10, w11 = si * sj, si * tj, ti * sj, ti * tj
            p, q = volume[i0, j0, k0], volume[i0, j0, k1]
            r, u = volume[i0, j1, k0], volume[i0, j1, k1]
            v, w = volume[i1, j0, k0], volume[i1, j0, k1]
            e, g = volume[i1, j1, k0], volume[i1, j1, k1]
            for k in range(8):
                to[k] = (
                    sk * (w00 * p[k] + w01 * r[k] + w10 * v[k] + w11 * e[k])
                    + tk * (w00 * q[k] + w01 * u[k] + w10 * w[k] + w11 * g[k])
                )  # fmt: skip


@numba.njit(nogil=True, cache=True, fastmath=True)
def _slopes(low: Array, high: Array, other_low: Array, other_high: Array, by: Any, out: Array
) -> None:  # fmt: skip
    for i in range(out.size):
        out[i] = by * ((high[i] - low[i]) + (other_high[i] - other_low[i]))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _less(a: Array, b: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] = a[i] - b[i]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _times(a: Array, b: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] = a[i] * b[i]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _added(a: Array, b: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] += a[i] * b[i]


@numba.njit(nogil=True, cache=True)
def _equations(start: int, stop: int,
    f: Array, m: Array, weight: Array, cell: Array, per_mm: Array,
    matrix: Array, right: Array, cost: Array, seen: Array,
) -> None:  # fmt: skip
    nz, ny, nx = f.shape[:3]
    _, _, ly, lx = right.shape
    cz, cy, cx = cell[0], cell[1], cell[2]
    plain = weight.size == 1
    n = nx * 8
    g, wg = np.zeros((3, n), np.float32), np.empty((3, n), np.float32)
    r, wr, w = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    sums = np.empty((10, n), np.float32)
    fr, mr = f.reshape(nz, ny, n), m.reshape(nz, ny, n)
    for j in range(start, stop):
        kz = j // ly
        ky = j - kz * ly
        sums[:] = 0
        count = 0.0
        for z in range(kz * cz, min(kz * cz + cz, nz)):
            zl, zh = max(z - 1, 0), min(z + 1, nz - 1)
            for y in range(ky * cy, min(ky * cy + cy, ny)):
                yl, yh = max(y - 1, 0), min(y + 1, ny - 1)
                here = 0.0
                for x in range(nx):
                    xl, xh = max(x - 1, 0), min(x + 1, nx - 1)
                    least = min(
                        f[z, y, x, 7], f[zl, y, x, 7], f[zh, y, x, 7], f[z, yl, x, 7],
                        f[z, yh, x, 7], f[z, y, xl, 7], f[z, y, xh, 7],
                        m[z, y, x, 7], m[zl, y, x, 7], m[zh, y, x, 7], m[z, yl, x, 7],
                        m[z, yh, x, 7], m[z, y, xl, 7], m[z, y, xh, 7],
                    )  # fmt: skip
                    v = np.float32(0)
                    if least > KNOWN:
                        v = np.float32(1) if plain else weight[z, y, x]
                    for c in range(8):
                        w[8 * x + c] = v
                    here += v
                if not here > 0:
                    continue
                count += here
                own, other = mr[z, y], fr[z, y]
                if nz > 1:
                    by = np.float32(0.5 * per_mm[0] / (zh - zl))
                    _slopes(mr[zl, y], mr[zh, y], fr[zl, y], fr[zh, y], by, g[0])
                if ny > 1:
                    by = np.float32(0.5 * per_mm[1] / (yh - yl))
                    _slopes(mr[z, yl], mr[z, yh], fr[z, yl], fr[z, yh], by, g[1])
                if nx > 1:
                    by = np.float32(0.5 * per_mm[2])
                    _slopes(own[:8], own[8:16], other[:8], other[8:16], by, g[2, :8])
                    _slopes(own[n - 16 : n - 8], own[n - 8 :], other[n - 16 : n - 8],
                            other[n - 8 :], by, g[2, n - 8 :])  # fmt: skip
                    _slopes(own[: n - 16], own[16:], other[: n - 16], other[16:],
                            np.float32(0.5) * by, g[2, 8 : n - 8])  # fmt: skip
                _less(own, other, r)
                _times(w, r, wr)
                for i in range(3):
                    _times(w, g[i], wg[i])
                    _added(wg[i], g[i], sums[i])
                    _added(wg[i], r, sums[6 + i])
                _added(wg[0], g[1], sums[3])
                _added(wg[0], g[2], sums[4])
                _added(wg[1], g[2], sums[5])
                _added(wr, r, sums[9])
        total = 0.0
        for k in range(lx):
            first, last = 8 * k * cx, min(8 * (k + 1) * cx, n)
            for q in range(10):
                part = np.float32(0)
                for i in range(first, last):
                    part += sums[q, i]
                if q < 6:
                    matrix[q, kz, ky, k] = part
                elif q < 9:
                    right[q - 6, kz, ky, k] = -part
                else:
                    total += part
        cost[kz, ky], seen[kz, ky] = total, count


def differences(volume: Array, axis: int, out: Array) -> None:
    """Squared difference to the next voxel along ``axis``; 0 at the end and beside a NaN."""
    shared(_differences, out.shape[0] * out.shape[1], out.size, volume, axis, out)


def described(volume: Array, apart: list[Array], low: Any, high: Any, out: Array) -> None:
    """Descriptors from the smoothed `differences` along z, y and x; see `features.mind`.

    ``low``, ``high``: bounds of the variation that counts as alike.
    """
    rows = volume.shape[0] * volume.shape[1]
    shared(_described, rows, volume.size, volume, *apart, low, high, out)


def warped(volume: Array, field: Array, cell: Array, per_mm: Array, out: Array) -> None:
    """Descriptors at ``x + field(x)``; 0 outside. Arguments as for `field_kernels.warp`."""
    rows = out.shape[0] * out.shape[1]
    shared(_warped, rows, out.size // LANES, volume, field, cell, per_mm, out)


def equations(
    f: Array, m: Array, weight: Array, cell: Array, per_mm: Array, matrix: Array, right: Array
) -> tuple[float, float]:
    """`field_kernels.normal_equations` of all channels for ``r = m - f``, each weighted alike.

    Returns the sum of ``w r r`` and that of ``w`` over the voxels that are known in both.
    """
    cost, seen = np.empty(right.shape[1:3]), np.empty(right.shape[1:3])
    shared(
        _equations, right.shape[1] * right.shape[2], f.size // LANES, f, m, weight, cell, per_mm,
        matrix, right, cost, seen,
    )  # fmt: skip
    return float(cost.sum()), float(seen.sum())
