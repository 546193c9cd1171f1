"""Kernels of dense fields on a lattice: interpolation, composition, warping, normal equations.

A lattice has one node for each cell of ``c`` voxels (per axis) of a level; node ``k`` lies at
voxel ``c k + (c - 1) / 2``. Fields are ``(lz, ly, lx, 3)`` float32 in mm along the grid's axes
(z, y, x). Sums are taken slice by slice and never raced for: results repeat to the bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array


@numba.njit(inline="always")
def _clip(p: Any, n: int) -> tuple[int, int, Any]:
    """Lower and upper neighbour of position ``p`` among ``n`` samples, and the way between."""
    if not p > np.float32(0):
        return 0, 0, np.float32(0.0)
    if p >= n - 1:
        return n - 1, n - 1, np.float32(0.0)
    i = int(p)
    return i, i + 1, np.float32(p - i)


@numba.njit(nogil=True, fastmath=True, cache=True)
def _compose(start: int, stop: int, a: Array, b: Array, per_mm: Array, out: Array) -> None:
    lz, ly, lx, _ = a.shape
    for j in range(start, stop):
        z = j // ly
        y = j - z * ly
        for x in range(lx):
            bz, by, bx = b[z, y, x, 0], b[z, y, x, 1], b[z, y, x, 2]
            z0, z1, tz = _clip(np.float32(z) + bz * per_mm[0], lz)
            y0, y1, ty = _clip(np.float32(y) + by * per_mm[1], ly)
            x0, x1, tx = _clip(np.float32(x) + bx * per_mm[2], lx)
            sz, sy, sx = np.float32(1) - tz, np.float32(1) - ty, np.float32(1) - tx
            w00, w01, w10, w11 = sz * sy, sz * ty, tz * sy, tz * ty
            for i in range(3):
                low = (w00 * a[z0, y0, x0, i] + w01 * a[z0, y1, x0, i]
                       + w10 * a[z1, y0, x0, i] + w11 * a[z1, y1, x0, i])  # fmt: skip
                high = (w00 * a[z0, y0, x1, i] + w01 * a[z0, y1, x1, i]
                        + w10 * a[z1, y0, x1, i] + w11 * a[z1, y1, x1, i])  # fmt: skip
                out[z, y, x, i] = b[z, y, x, i] + sx * low + tx * high


@numba.njit(inline="always")
def _row(field: Array, z: int, y: int, cell: Array, row: Array) -> None:
    """The lattice's row at voxel row ``(z, y)``, interpolated in z and y."""
    lz, ly, lx, _ = field.shape
    z0, z1, tz = _clip(np.float32((z - 0.5 * (cell[0] - 1)) / cell[0]), lz)
    y0, y1, ty = _clip(np.float32((y - 0.5 * (cell[1] - 1)) / cell[1]), ly)
    sz, sy = np.float32(1) - tz, np.float32(1) - ty
    w00, w01, w10, w11 = sz * sy, sz * ty, tz * sy, tz * ty
    for x in range(lx):
        for i in range(3):
            row[x, i] = (w00 * field[z0, y0, x, i] + w01 * field[z0, y1, x, i]
                         + w10 * field[z1, y0, x, i] + w11 * field[z1, y1, x, i])  # fmt: skip


@numba.njit(inline="always")
def _sampled(volume: Array, a: Any, b: Any, c: Any) -> Any:
    """Linear interpolation at ``(a, b, c)``; not a number more than half a voxel outside."""
    nz, ny, nx = volume.shape
    half = np.float32(0.5)
    if not (a > -half and b > -half and c > -half
            and a < np.float32(nz) - half and b < np.float32(ny) - half
            and c < np.float32(nx) - half):  # fmt: skip
        return np.float32(np.nan)
    z0, z1, tz = _clip(a, nz)
    y0, y1, ty = _clip(b, ny)
    x0, x1, tx = _clip(c, nx)
    sz, sy, sx = np.float32(1) - tz, np.float32(1) - ty, np.float32(1) - tx
    return (
        sz * (sy * (sx * volume[z0, y0, x0] + tx * volume[z0, y0, x1])
              + ty * (sx * volume[z0, y1, x0] + tx * volume[z0, y1, x1]))
        + tz * (sy * (sx * volume[z1, y0, x0] + tx * volume[z1, y0, x1])
                + ty * (sx * volume[z1, y1, x0] + tx * volume[z1, y1, x1]))
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _warp(start: int, stop: int,
    volume: Array, field: Array, cell: Array, per_mm: Array, m: Array, out: Array
) -> None:  # fmt: skip
    _, ny, nx = out.shape
    lx = field.shape[2]
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
            pz = np.float32(z) + (s * row[x0, 0] + t * row[x1, 0]) * per_mm[0]
            py = np.float32(y) + (s * row[x0, 1] + t * row[x1, 1]) * per_mm[1]
            px = np.float32(x) + (s * row[x0, 2] + t * row[x1, 2]) * per_mm[2]
            a = m[0, 0] * pz + m[0, 1] * py + m[0, 2] * px + m[0, 3]
            b = m[1, 0] * pz + m[1, 1] * py + m[1, 2] * px + m[1, 3]
            c = m[2, 0] * pz + m[2, 1] * py + m[2, 2] * px + m[2, 3]
            out[z, y, x] = _sampled(volume, a, b, c)


@numba.njit(nogil=True, fastmath=True, cache=True)
def _refine(start: int, stop: int,
    v: Array, iz: Array, iy: Array, ix: Array, wz: Array, wy: Array, wx: Array, out: Array
) -> None:  # fmt: skip
    ly, lx = v.shape[2:]
    _, oz, oy, ox = out.shape
    plane, row = np.empty((ly, lx), np.float32), np.empty(lx, np.float32)
    for j in range(start, stop):
        i = j // oz
        z = j - i * oz
        a, b, c, d = v[i, iz[z, 0]], v[i, iz[z, 1]], v[i, iz[z, 2]], v[i, iz[z, 3]]
        for y in range(ly):
            for x in range(lx):
                plane[y, x] = (wz[z, 0] * a[y, x] + wz[z, 1] * b[y, x]
                               + wz[z, 2] * c[y, x] + wz[z, 3] * d[y, x])  # fmt: skip
        for y in range(oy):
            for x in range(lx):
                row[x] = (
                    wy[y, 0] * plane[iy[y, 0], x] + wy[y, 1] * plane[iy[y, 1], x]
                    + wy[y, 2] * plane[iy[y, 2], x] + wy[y, 3] * plane[iy[y, 3], x]
                )  # fmt: skip
            to = out[i, z, y]
            for x in range(ox):
                to[x] = (wx[x, 0] * row[ix[x, 0]] + wx[x, 1] * row[ix[x, 1]]
                         + wx[x, 2] * row[ix[x, 2]] + wx[x, 3] * row[ix[x, 3]])  # fmt: skip


@numba.njit(nogil=True, fastmath={"contract", "arcp", "nsz"}, cache=True)
def _moments(
    start: int, stop: int, f: Array, m: Array, weight: Array, cell: Array, out: Array
) -> None:
    nz, ny, nx = f.shape
    _, _, ly, lx = out.shape
    cz, cy, cx = cell[0], cell[1], cell[2]
    plain = weight.size == 1
    for j in range(start, stop):
        kz = j // ly
        ky = j - kz * ly
        sums = np.zeros((lx, 6), np.float32)
        for z in range(kz * cz, min(kz * cz + cz, nz)):
            for y in range(ky * cy, min(ky * cy + cy, ny)):
                for x in range(nx):
                    a, b = f[z, y, x], m[z, y, x]
                    if np.isnan(a) or np.isnan(b):
                        continue
                    w = np.float32(1) if plain else weight[z, y, x]
                    k = x // cx
                    sums[k, 0] += w
                    sums[k, 1] += w * a
                    sums[k, 2] += w * b
                    sums[k, 3] += w * a * a
                    sums[k, 4] += w * b * b
                    sums[k, 5] += w * a * b
        for k in range(lx):
            for i in range(6):
                out[i, kz, ky, k] = sums[k, i]


@numba.njit(nogil=True, cache=True)
def _fitted(start: int, stop: int, sums: Array, small: Any, least: Any, out: Array) -> None:
    _, _, ly, lx = sums.shape
    for z in range(start, stop):
        for y in range(ly):
            for x in range(lx):
                n = sums[0, z, y, x]
                if not n > 1e-3:
                    out[0, z, y, x], out[1, z, y, x], out[2, z, y, x] = 0, 0, 0
                    continue
                f, m = sums[1, z, y, x] / n, sums[2, z, y, x] / n
                ff = max(sums[3, z, y, x] / n - f * f, np.float32(0))
                mm = max(sums[4, z, y, x] / n - m * m, np.float32(0))
                fm = sums[5, z, y, x] / n - f * m
                slope = fm / (ff + small)
                out[0, z, y, x] = slope
                out[1, z, y, x] = m - slope * f
                out[2, z, y, x] = 1 / (max(mm - slope * fm, np.float32(0)) + least)


@numba.njit(inline="always")
def _slope(v: Array, z: int, y: int, x: int, axis: int, n: int) -> Any:
    """Central difference at a voxel along an axis (one-sided at the border); NaN passes on."""
    i = z if axis == 0 else (y if axis == 1 else x)
    if n == 1:
        return np.float32(0)
    low, high = max(i - 1, 0), min(i + 1, n - 1)
    if axis == 0:
        d = v[high, y, x] - v[low, y, x]
    elif axis == 1:
        d = v[z, high, x] - v[z, low, x]
    else:
        d = v[z, y, high] - v[z, y, low]
    return d / np.float32(high - low)


@numba.njit(nogil=True, cache=True)
def _normal_equations(start: int, stop: int,
    f: Array, m: Array, weight: Array, cell: Array, per_mm: Array, fit: Array,
    matrix: Array, right: Array, cost: Array,
) -> None:  # fmt: skip
    nz, ny, nx = f.shape
    _, _, ly, lx = right.shape
    cz, cy, cx = cell[0], cell[1], cell[2]
    plain = weight.size == 1
    half = np.float32(0.5) * per_mm
    for j in range(start, stop):
        kz = j // ly
        ky = j - kz * ly
        total = 0.0
        sums = np.zeros((lx, 9), np.float32)
        for z in range(kz * cz, min(kz * cz + cz, nz)):
            for y in range(ky * cy, min(ky * cy + cy, ny)):
                for x in range(nx):
                    k = x // cx
                    slope, level, w = fit[0, kz, ky, k], fit[1, kz, ky, k], fit[2, kz, ky, k]
                    if not plain:
                        w = w * weight[z, y, x]
                    if not w > 0:
                        continue
                    r = m[z, y, x] - slope * f[z, y, x] - level
                    gz = half[0] * (_slope(m, z, y, x, 0, nz) + slope * _slope(f, z, y, x, 0, nz))
                    gy = half[1] * (_slope(m, z, y, x, 1, ny) + slope * _slope(f, z, y, x, 1, ny))
                    gx = half[2] * (_slope(m, z, y, x, 2, nx) + slope * _slope(f, z, y, x, 2, nx))
                    if np.isnan(r) or np.isnan(gz) or np.isnan(gy) or np.isnan(gx):
                        continue
                    total += w * r * r
                    vz, vy, vx = w * gz, w * gy, w * gx
                    sums[k, 0] += vz * gz
                    sums[k, 1] += vy * gy
                    sums[k, 2] += vx * gx
                    sums[k, 3] += vz * gy
                    sums[k, 4] += vz * gx
                    sums[k, 5] += vy * gx
                    sums[k, 6] -= vz * r
                    sums[k, 7] -= vy * r
                    sums[k, 8] -= vx * r
        for k in range(lx):
            for i in range(6):
                matrix[i, kz, ky, k] = sums[k, i]
            for i in range(3):
                right[i, kz, ky, k] = sums[k, 6 + i]
        cost[kz, ky] = total


@numba.njit(nogil=True, cache=True)
def _jacobian(start: int, stop: int, field: Array, per_mm: Array, out: Array) -> None:
    lz, ly, lx, _ = field.shape
    for j in range(start, stop):
        z = j // ly
        y = j - z * ly
        zl, zh = max(z - 1, 0), min(z + 1, lz - 1)
        yl, yh = max(y - 1, 0), min(y + 1, ly - 1)
        g = np.empty((3, 3), np.float64)
        for x in range(lx):
            xl, xh = max(x - 1, 0), min(x + 1, lx - 1)
            for i in range(3):
                g[i, 0] = (field[zh, y, x, i] - field[zl, y, x, i]) * per_mm[0] / max(zh - zl, 1)
                g[i, 1] = (field[z, yh, x, i] - field[z, yl, x, i]) * per_mm[1] / max(yh - yl, 1)
                g[i, 2] = (field[z, y, xh, i] - field[z, y, xl, i]) * per_mm[2] / max(xh - xl, 1)
                g[i, i] += 1.0
            out[z, y, x] = (
                g[0, 0] * (g[1, 1] * g[2, 2] - g[1, 2] * g[2, 1])
                - g[0, 1] * (g[1, 0] * g[2, 2] - g[1, 2] * g[2, 0])
                + g[0, 2] * (g[1, 0] * g[2, 1] - g[1, 1] * g[2, 0])
            )


def compose(a: Array, b: Array, per_mm: Array, out: Array) -> None:
    """``out(x) = b(x) + a(x + b(x))``: the displacement of ``a`` after ``b``, on one lattice.

    ``per_mm`` ``(3,)``: nodes per mm along z, y, x.
    """
    shared(_compose, a.shape[0] * a.shape[1], out.size // 3, a, b, per_mm, out)


def warp(volume: Array, field: Array, cell: Array, per_mm: Array, m: Array, out: Array) -> None:
    """``volume`` at ``m @ (x + field(x), 1)`` for every voxel of ``out``; NaN outside.

    ``m`` ``(3, 4)`` from voxels of ``out`` to voxels of ``volume``; ``per_mm``: voxels of ``out``
    per mm; ``cell`` ``(3,)``: voxels per node.
    """
    shared(_warp, out.shape[0] * out.shape[1], out.size, volume, field, cell, per_mm, m, out)


def refine(v: Array, index: list[Array], weight: list[Array], out: Array) -> None:
    """Four taps along each axis: ``v`` ``(3, lz, ly, lx)`` on another lattice.

    ``index`` and ``weight`` ``(n, 4)`` for z, y, x: which nodes make a new one, and how much each.
    """
    shared(_refine, 3 * out.shape[1], out.size // 3, v, *index, *weight, out)


def moments(f: Array, m: Array, weight: Array, cell: Array, out: Array) -> None:
    """Sums of w, w f, w m, w ff, w mm, w fm of each cell: ``out`` ``(6, lz, ly, lx)``.

    Voxels without a value (NaN) in either are left out. ``weight`` has the volume's shape, or one
    element where every voxel counts alike.
    """
    shared(_moments, out.shape[1] * out.shape[2], f.size, f, m, weight, cell, out)


def fitted(sums: Array, floor: Any, out: Array) -> None:
    """Slope, level and weight (1 / variance of what is left) from the sums of `moments`.

    ``floor``: a share of the mean variance of the second image, below which none is believed.
    """
    n = np.maximum(sums[0], np.float32(1e-3))
    seen = max(int((sums[0] > 1e-3).sum()), 1)
    small, least = (
        np.float32(share * np.maximum(sums[k + 2] / n - (sums[k] / n) ** 2, 0).sum() / seen + 1e-12)
        for k, share in ((1, 1e-3), (2, floor))
    )
    shared(_fitted, sums.shape[1], sums.size // 6, sums, small, least, out)


def normal_equations(
    f: Array,
    m: Array,
    weight: Array,
    cell: Array,
    per_mm: Array,
    fit: Array,
    matrix: Array,
    right: Array,
    cost: Array,
) -> None:
    """Gauss-Newton sums of each cell for ``r = m - (slope f + level)``.

    ``fit`` ``(3, lz, ly, lx)``: slope, level and weight of each cell. The gradient is the mean of
    the two images' (both move by half). ``matrix`` ``(6, lz, ly, lx)`` holds zz yy xx zy zx yx of
    ``sum w g g'``, ``right`` ``(3, lz, ly, lx)`` ``-sum w g r``, ``cost`` ``(lz, ly)`` sums
    of ``w r r``.
    """
    shared(
        _normal_equations,
        right.shape[1] * right.shape[2],
        f.size,
        f,
        m,
        weight,
        cell,
        per_mm,
        fit,
        matrix,
        right,
        cost,
    )


def jacobian(field: Array, per_mm: Array, out: Array) -> None:
    """Determinant of the Jacobian of ``x + field(x)``; ``field`` ``(n, n, n, 3)`` in mm."""
    shared(_jacobian, field.shape[0] * field.shape[1], out.size, field, per_mm, out)
