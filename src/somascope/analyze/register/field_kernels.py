"""Kernels of dense fields on a lattice: interpolation, composition, warping, normal equations.

A lattice has one node for each cell of ``c`` voxels (per axis) of a level; node ``k`` lies at
voxel ``c k + (c - 1) / 2``. Fields are ``(lz, ly, lx, 3)`` float32 in mm along the grid's axes
(z, y, x). Sums are taken slice by slice and never raced for: results repeat to the bit.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(inline="always")
def _clip(p: float, n: int) -> tuple[int, int, float]:
    """Lower and upper neighbour of position ``p`` among ``n`` samples, and the way between."""
    if not p > 0.0:
        return 0, 0, np.float32(0.0)
    if p >= n - 1:
        return n - 1, n - 1, np.float32(0.0)
    i = int(p)
    return i, i + 1, np.float32(p - i)


@numba.njit(parallel=True, fastmath=True, cache=True)
def compose(a: Array, b: Array, per_mm: Array, out: Array) -> None:
    """``out(x) = b(x) + a(x + b(x))``: the displacement of ``a`` after ``b``, on one lattice.

    ``per_mm`` ``(3,)``: nodes per mm along z, y, x.
    """
    lz, ly, lx, _ = a.shape
    for j in numba.prange(lz * ly):
        z = j // ly
        y = j - z * ly
        for x in range(lx):
            bz, by, bx = b[z, y, x, 0], b[z, y, x, 1], b[z, y, x, 2]
            z0, z1, tz = _clip(z + bz * per_mm[0], lz)
            y0, y1, ty = _clip(y + by * per_mm[1], ly)
            x0, x1, tx = _clip(x + bx * per_mm[2], lx)
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
    z0, z1, tz = _clip((z - 0.5 * (cell[0] - 1)) / cell[0], lz)
    y0, y1, ty = _clip((y - 0.5 * (cell[1] - 1)) / cell[1], ly)
    sz, sy = np.float32(1) - tz, np.float32(1) - ty
    w00, w01, w10, w11 = sz * sy, sz * ty, tz * sy, tz * ty
    for x in range(lx):
        for i in range(3):
            row[x, i] = (w00 * field[z0, y0, x, i] + w01 * field[z0, y1, x, i]
                         + w10 * field[z1, y0, x, i] + w11 * field[z1, y1, x, i])  # fmt: skip


@numba.njit(inline="always")
def _sampled(volume: Array, a: float, b: float, c: float) -> float:
    """Linear interpolation at ``(a, b, c)``; not a number more than half a voxel outside."""
    nz, ny, nx = volume.shape
    if (not (a > -0.5 and b > -0.5 and c > -0.5)) or a > nz - 0.5 or b > ny - 0.5 or c > nx - 0.5:
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


@numba.njit(parallel=True, cache=True)
def warp(
    volume: Array, field: Array, cell: Array, per_mm: Array, m: Array, out: Array
) -> None:  # fmt: skip
    """``volume`` at ``m @ (x + field(x), 1)`` for every voxel of ``out``; NaN outside.

    ``m`` ``(3, 4)`` from voxels of ``out`` to voxels of ``volume``; ``per_mm``: voxels of ``out``
    per mm; ``cell`` ``(3,)``: voxels per node.
    """
    nz, ny, nx = out.shape
    lx = field.shape[2]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        row = np.empty((lx, 3), np.float32)
        _row(field, z, y, cell, row)
        for x in range(nx):
            x0, x1, t = _clip((x - 0.5 * (cell[2] - 1)) / cell[2], lx)
            s = np.float32(1) - t
            pz = z + (s * row[x0, 0] + t * row[x1, 0]) * per_mm[0]
            py = y + (s * row[x0, 1] + t * row[x1, 1]) * per_mm[1]
            px = x + (s * row[x0, 2] + t * row[x1, 2]) * per_mm[2]
            a = m[0, 0] * pz + m[0, 1] * py + m[0, 2] * px + m[0, 3]
            b = m[1, 0] * pz + m[1, 1] * py + m[1, 2] * px + m[1, 3]
            c = m[2, 0] * pz + m[2, 1] * py + m[2, 2] * px + m[2, 3]
            out[z, y, x] = _sampled(volume, a, b, c)


@numba.njit(parallel=True, cache=True)
def spread(field: Array, cell: Array, out: Array) -> None:
    """The lattice's field at every voxel: ``out`` ``(nz, ny, nx, 3)``."""
    nz, ny, nx, _ = out.shape
    lx = field.shape[2]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        row = np.empty((lx, 3), np.float32)
        _row(field, z, y, cell, row)
        for x in range(nx):
            x0, x1, t = _clip((x - 0.5 * (cell[2] - 1)) / cell[2], lx)
            for i in range(3):
                out[z, y, x, i] = (np.float32(1) - t) * row[x0, i] + t * row[x1, i]


@numba.njit(parallel=True, fastmath={"contract", "arcp", "nsz"}, cache=True)
def moments(f: Array, m: Array, weight: Array, cell: Array, out: Array) -> None:
    """Sums of w, w f, w m, w ff, w mm, w fm of each cell: ``out`` ``(6, lz, ly, lx)``.

    Voxels without a value (NaN) in either are left out. ``weight`` has the volume's shape, or one
    element where every voxel counts alike.
    """
    nz, ny, nx = f.shape
    _, lz, ly, lx = out.shape
    cz, cy, cx = cell[0], cell[1], cell[2]
    plain = weight.size == 1
    for j in numba.prange(lz * ly):
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


@numba.njit(inline="always")
def _slope(v: Array, z: int, y: int, x: int, axis: int, n: int) -> float:
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


@numba.njit(parallel=True, cache=True)
def normal_equations(
    f: Array, m: Array, weight: Array, cell: Array, per_mm: Array, fit: Array,
    matrix: Array, right: Array, cost: Array,
) -> None:  # fmt: skip
    """Gauss-Newton sums of each cell for ``r = m - (slope f + level)``.

    ``fit`` ``(3, lz, ly, lx)``: slope, level and weight of each cell. The gradient is the mean of
    the two images' (both move by half). ``matrix`` ``(lz, ly, lx, 6)`` holds zz yy xx zy zx yx of
    ``sum w g g'``, ``right`` ``(lz, ly, lx, 3)`` ``-sum w g r``, ``cost`` ``(lz, ly)`` sums
    of ``w r r``.
    """
    nz, ny, nx = f.shape
    lz, ly, lx, _ = right.shape
    cz, cy, cx = cell[0], cell[1], cell[2]
    plain = weight.size == 1
    for j in numba.prange(lz * ly):
        kz = j // ly
        ky = j - kz * ly
        total = 0.0
        for k in range(lx):
            for i in range(6):
                matrix[kz, ky, k, i] = 0
            for i in range(3):
                right[kz, ky, k, i] = 0
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
                    gz = (
                        np.float32(0.5)
                        * per_mm[0]
                        * (_slope(m, z, y, x, 0, nz) + slope * _slope(f, z, y, x, 0, nz))
                    )
                    gy = (
                        np.float32(0.5)
                        * per_mm[1]
                        * (_slope(m, z, y, x, 1, ny) + slope * _slope(f, z, y, x, 1, ny))
                    )
                    gx = (
                        np.float32(0.5)
                        * per_mm[2]
                        * (_slope(m, z, y, x, 2, nx) + slope * _slope(f, z, y, x, 2, nx))
                    )
                    if np.isnan(r) or np.isnan(gz) or np.isnan(gy) or np.isnan(gx):
                        continue
                    total += w * r * r
                    vz, vy, vx = w * gz, w * gy, w * gx
                    matrix[kz, ky, k, 0] += vz * gz
                    matrix[kz, ky, k, 1] += vy * gy
                    matrix[kz, ky, k, 2] += vx * gx
                    matrix[kz, ky, k, 3] += vz * gy
                    matrix[kz, ky, k, 4] += vz * gx
                    matrix[kz, ky, k, 5] += vy * gx
                    right[kz, ky, k, 0] -= vz * r
                    right[kz, ky, k, 1] -= vy * r
                    right[kz, ky, k, 2] -= vx * r
        cost[kz, ky] = total


@numba.njit(parallel=True, fastmath=True, cache=True)
def laplacian(v: Array, scale: Array, out: Array) -> None:
    """Minus the Laplacian with free borders; ``scale`` ``(3,)`` is 1 / node distance squared."""
    lz, ly, lx, _ = v.shape
    for j in numba.prange(lz * ly):
        z = j // ly
        y = j - z * ly
        zl, zh = max(z - 1, 0), min(z + 1, lz - 1)
        yl, yh = max(y - 1, 0), min(y + 1, ly - 1)
        for x in range(lx):
            xl, xh = max(x - 1, 0), min(x + 1, lx - 1)
            for i in range(3):
                here = v[z, y, x, i] + v[z, y, x, i]
                out[z, y, x, i] = (
                    scale[0] * (here - v[zl, y, x, i] - v[zh, y, x, i])
                    + scale[1] * (here - v[z, yl, x, i] - v[z, yh, x, i])
                    + scale[2] * (here - v[z, y, xl, i] - v[z, y, xh, i])
                )


@numba.njit(parallel=True, fastmath=True, cache=True)
def apply_system(
    matrix: Array, p: Array, once: Array, twice: Array, membrane: float, bending: float,
    out: Array, dots: Array,
) -> None:  # fmt: skip
    """``out = matrix p + membrane once + bending twice``; ``dots`` ``(lz,)`` of ``p . out``."""
    lz, ly, lx, _ = p.shape
    for z in numba.prange(lz):
        total = 0.0
        for y in range(ly):
            for x in range(lx):
                a, b, c = p[z, y, x, 0], p[z, y, x, 1], p[z, y, x, 2]
                g = matrix[z, y, x]
                u = g[0] * a + g[3] * b + g[4] * c
                v = g[3] * a + g[1] * b + g[5] * c
                w = g[4] * a + g[5] * b + g[2] * c
                u += membrane * once[z, y, x, 0] + bending * twice[z, y, x, 0]
                v += membrane * once[z, y, x, 1] + bending * twice[z, y, x, 1]
                w += membrane * once[z, y, x, 2] + bending * twice[z, y, x, 2]
                out[z, y, x, 0], out[z, y, x, 1], out[z, y, x, 2] = u, v, w
                total += a * u + b * v + c * w
        dots[z] = total


@numba.njit(parallel=True, fastmath=True, cache=True)
def invert_blocks(matrix: Array, extra: float, out: Array) -> None:
    """Inverses of the 3x3 blocks with ``extra`` on their diagonals (same six entries)."""
    lz, ly, lx, _ = matrix.shape
    for z in numba.prange(lz):
        for y in range(ly):
            for x in range(lx):
                g = matrix[z, y, x]
                a, b, c = g[0] + extra, g[1] + extra, g[2] + extra
                d, e, f = g[3], g[4], g[5]
                p, q, r = b * c - f * f, e * f - d * c, d * f - b * e
                det = a * p + d * q + e * r
                s = np.float32(1) / det
                out[z, y, x, 0] = p * s
                out[z, y, x, 1] = (a * c - e * e) * s
                out[z, y, x, 2] = (a * b - d * d) * s
                out[z, y, x, 3] = q * s
                out[z, y, x, 4] = r * s
                out[z, y, x, 5] = (d * e - a * f) * s


@numba.njit(parallel=True, fastmath=True, cache=True)
def precondition(
    inverse: Array, r: Array, q: Array, p: Array, x: Array, step: float, z_out: Array, dots: Array
) -> None:  # fmt: skip
    """``x += step p``, ``r -= step q``, ``z = inverse r``; ``dots`` ``(lz,)`` of ``r . z``."""
    lz, ly, lx, _ = r.shape
    for k in numba.prange(lz):
        total = 0.0
        for y in range(ly):
            for i in range(lx):
                for a in range(3):
                    x[k, y, i, a] += step * p[k, y, i, a]
                    r[k, y, i, a] -= step * q[k, y, i, a]
                u, v, w = r[k, y, i, 0], r[k, y, i, 1], r[k, y, i, 2]
                g = inverse[k, y, i]
                a0 = g[0] * u + g[3] * v + g[4] * w
                a1 = g[3] * u + g[1] * v + g[5] * w
                a2 = g[4] * u + g[5] * v + g[2] * w
                z_out[k, y, i, 0], z_out[k, y, i, 1], z_out[k, y, i, 2] = a0, a1, a2
                total += u * a0 + v * a1 + w * a2
        dots[k] = total


@numba.njit(parallel=True, cache=True)
def jacobian(field: Array, per_mm: Array, out: Array) -> None:
    """Determinant of the Jacobian of ``x + field(x)``; ``field`` ``(n, n, n, 3)`` in mm."""
    lz, ly, lx, _ = field.shape
    for j in numba.prange(lz * ly):
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
