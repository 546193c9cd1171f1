"""Kernels that take points and images through a displacement on a grid."""

from __future__ import annotations

import numba
import numpy as np

from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array, Float
from somascope.process.chunks import sealed


@numba.njit(inline="always")
def _clip(p: float, n: int) -> tuple[int, int, float]:
    if not p > 0.0:
        return 0, 0, 0.0
    if p >= n - 1:
        return n - 1, n - 1, 0.0
    i = int(p)
    return i, i + 1, p - i


@numba.njit(nogil=True, cache=True)
def displaced(field: Array, a: float, b: float, c: float, out: Float) -> None:
    """Linear interpolation of ``field`` ``(3, nz, ny, nx)``; the border's value outside."""
    _, nz, ny, nx = field.shape
    z0, z1, t = _clip(a, nz)
    y0, y1, u = _clip(b, ny)
    x0, x1, w = _clip(c, nx)
    for i in range(3):
        f = field[i]
        low = (1 - u) * ((1 - w) * f[z0, y0, x0] + w * f[z0, y0, x1]) + u * (
            (1 - w) * f[z0, y1, x0] + w * f[z0, y1, x1]
        )
        high = (1 - u) * ((1 - w) * f[z1, y0, x0] + w * f[z1, y0, x1]) + u * (
            (1 - w) * f[z1, y1, x0] + w * f[z1, y1, x1]
        )
        out[i] = (1 - t) * low + t * high


@numba.njit(nogil=True, cache=True)
def _through(
    start: int, stop: int, points: Float, matrix: Float, field: Array, index: Float, out: Float
) -> None:
    for k in range(start, stop):
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        d = np.empty(3)
        displaced(
            field,
            index[0, 0] * x + index[0, 1] * y + index[0, 2] * z + index[0, 3],
            index[1, 0] * x + index[1, 1] * y + index[1, 2] * z + index[1, 3],
            index[2, 0] * x + index[2, 1] * y + index[2, 2] * z + index[2, 3],
            d,
        )
        for i in range(3):
            out[k, i] = matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] * z + matrix[i, 3] + d[i]


@numba.njit(nogil=True, cache=True)
def _places(
    start: int,
    stop: int,
    shape: tuple[int, int, int],
    linear: Float,
    field: Array,
    index: Float,
    into: Float,
    out: Array,
) -> None:
    _, ny, nx = shape
    for j in range(start, stop):
        z = j // ny
        y = j - z * ny
        d = np.empty(3)
        for x in range(nx):
            displaced(
                field,
                index[0, 0] * z + index[0, 1] * y + index[0, 2] * x + index[0, 3],
                index[1, 0] * z + index[1, 1] * y + index[1, 2] * x + index[1, 3],
                index[2, 0] * z + index[2, 1] * y + index[2, 2] * x + index[2, 3],
                d,
            )
            for i in range(3):
                out[z, y, x, i] = (
                    linear[i, 0] * z + linear[i, 1] * y + linear[i, 2] * x + linear[i, 3]
                    + into[i, 0] * d[0] + into[i, 1] * d[1] + into[i, 2] * d[2]
                )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _looked_up(
    start: int, stop: int, volume: Array, at: Array, order: int, fill: float, out: Array
) -> None:
    nz, ny, nx = volume.shape
    _, oy, ox = out.shape
    for j in range(start, stop):
        z = j // oy
        y = j - z * oy
        w = np.empty((3, 4))
        first = np.empty(3, np.int64)
        for x in range(ox):
            a, b, c = at[z, y, x, 0], at[z, y, x, 1], at[z, y, x, 2]
            if not (
                a > -0.5001 and b > -0.5001 and c > -0.5001
                and a < nz - 0.4999 and b < ny - 0.4999 and c < nx - 0.4999
            ):  # fmt: skip
                out[z, y, x] = fill
                continue
            if order == 0:
                ia = min(max(int(np.floor(a + 0.5)), 0), nz - 1)
                ib = min(max(int(np.floor(b + 0.5)), 0), ny - 1)
                ic = min(max(int(np.floor(c + 0.5)), 0), nx - 1)
                out[z, y, x] = volume[ia, ib, ic]
                continue
            taps = 2 if order == 1 else 4
            for i in range(3):
                p = a if i == 0 else (b if i == 1 else c)
                f = np.floor(p)
                t = p - f
                if order == 1:
                    first[i] = int(f)
                    w[i, 0], w[i, 1] = 1 - t, t
                else:
                    first[i] = int(f) - 1
                    w[i, 0] = ((-0.5 * t + 1.0) * t - 0.5) * t
                    w[i, 1] = (1.5 * t - 2.5) * t * t + 1.0
                    w[i, 2] = ((-1.5 * t + 2.0) * t + 0.5) * t
                    w[i, 3] = (0.5 * t - 0.5) * t * t
            total = 0.0
            for p in range(taps):
                iz = min(max(first[0] + p, 0), nz - 1)
                for q in range(taps):
                    iy = min(max(first[1] + q, 0), ny - 1)
                    row = 0.0
                    for r in range(taps):
                        ix = min(max(first[2] + r, 0), nx - 1)
                        row += w[2, r] * volume[iz, iy, ix]
                    total += w[0, p] * w[1, q] * row
            out[z, y, x] = total


def through(points: Float, matrix: Float, field: Array, index: Float, out: Float) -> None:
    """``matrix @ x + field(index @ x)`` for points ``(n, 3)``; matrices ``(3, 4)``."""
    shared(_through, len(points), len(points), points, matrix, field, index, out)


def places(
    shape: tuple[int, int, int], linear: Float, field: Array, index: Float, into: Float, out: Array
) -> None:
    """Where each voxel of a grid lies in another image, ``(nz, ny, nx, 3)`` voxels.

    ``linear`` ``(3, 4)`` voxel to place without the field; ``index`` voxel to voxel of the field;
    ``into`` ``(3, 3)`` field (mm) to voxels of the image.
    """
    shared(_places, shape[0] * shape[1], out.size // 3, shape, linear, field, index, into, out)


def looked_up(volume: Array, at: Array, order: int, fill: float, out: Array) -> None:
    """``volume`` at places ``(nz, ny, nx, 3)``: 0 nearest, 1 linear, 3 cubic (Keys)."""
    volume = sealed(volume)
    shared(_looked_up, out.shape[0] * out.shape[1], out.size, volume, at, order, fill, out)
