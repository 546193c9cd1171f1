"""Cubic B-splines: values between voxels with the least loss for a kernel of four taps.

Prefilter and boundary (mirrored at the outer voxel centres) after Unser, Aldroubi and Eden, IEEE
Trans. Signal Process. 41 (1993) 821-848.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks, sealed

POLE = float(np.sqrt(3.0) - 2.0)


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def filter_lines(c: Array) -> None:
    """Prefilter ``(n, m)`` along its first axis, all columns together, in place."""
    n, m = c.shape
    if n < 2:
        return
    z = np.float32(POLE)
    first = np.empty(m, c.dtype)
    power, mirrored = POLE, POLE ** (n - 1)
    for i in range(m):
        first[i] = c[0, i] + np.float32(mirrored) * c[n - 1, i]
    mirrored = mirrored * mirrored / POLE
    for k in range(1, n - 1):
        w = np.float32(power + mirrored)
        # Beyond 40 samples the weights are below single precision.
        if k < 40 or k > n - 40:
            for i in range(m):
                first[i] += w * c[k, i]
        power *= POLE
        mirrored /= POLE
    scale = np.float32(6.0 / (1.0 - POLE ** (2 * n - 2)))
    for i in range(m):
        c[0, i] = first[i] * scale
    for k in range(1, n):
        for i in range(m):
            c[k, i] = np.float32(6.0) * c[k, i] + z * c[k - 1, i]
    end = np.float32(POLE / (POLE * POLE - 1.0))
    for i in range(m):
        c[n - 1, i] = end * (z * c[n - 2, i] + c[n - 1, i])
    for k in range(n - 2, -1, -1):
        for i in range(m):
            c[k, i] = z * (c[k + 1, i] - c[k, i])


@numba.njit(nogil=True, cache=True)
def prefilter_into(volume: Array, out: Array) -> None:
    """Spline coefficients of ``volume`` ``(nz, ny, nx)`` float32 into ``out``."""
    nz, ny, nx = volume.shape
    out[:] = volume
    filter_lines(out.reshape(nz, ny * nx))
    turned = np.empty((nx, ny), np.float32)
    for z in range(nz):
        filter_lines(out[z])
        for y in range(ny):
            for x in range(nx):
                turned[x, y] = out[z, y, x]
        filter_lines(turned)
        for y in range(ny):
            for x in range(nx):
                out[z, y, x] = turned[x, y]


@numba.njit(nogil=True, cache=True)
def weights(t: float) -> tuple[float, float, float, float]:
    """The four weights of a cubic B-spline at a fraction ``t`` past the second sample."""
    u = 1.0 - t
    return (
        u * u * u / 6.0,
        (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
        (3.0 * u * u * u - 6.0 * u * u + 4.0) / 6.0,
        t * t * t / 6.0,
    )


@numba.njit(nogil=True, cache=True)
def fold(i: int, n: int) -> int:
    """An index mirrored at the outer voxel centres."""
    if n == 1:
        return 0
    if i < 0:
        i = -i
    if i >= n:
        i = 2 * (n - 1) - i
    return min(max(i, 0), n - 1)


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def value_at(c: Array, a: float, b: float, d: float) -> float:
    """The spline of coefficients ``c`` at fractional indices (z, y, x) inside the volume."""
    nz, ny, nx = c.shape
    ia, ib, ic = int(np.floor(a)), int(np.floor(b)), int(np.floor(d))
    wa, wb, wc = weights(a - ia), weights(b - ib), weights(d - ic)
    total = 0.0
    inside = ic >= 1 and ic < nx - 2
    for i in range(4):
        plane = c[fold(ia + i - 1, nz)]
        part = 0.0
        for j in range(4):
            row = plane[fold(ib + j - 1, ny)]
            if inside:
                line = (
                    wc[0] * row[ic - 1] + wc[1] * row[ic] + wc[2] * row[ic + 1]
                    + wc[3] * row[ic + 2]
                )  # fmt: skip
            else:
                line = 0.0
                for k in range(4):
                    line += wc[k] * row[fold(ic + k - 1, nx)]
            part += wb[j] * line
        total += wa[i] * part
    return total


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _rows(start: int, stop: int, c: Array, m: Float, out: Array, fill: float) -> None:
    nz, ny, nx = c.shape
    oy, ox = out.shape[1], out.shape[2]
    for j in range(start, stop):
        z = j // oy
        y = j - z * oy
        for x in range(ox):
            a = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + m[0, 3]
            b = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + m[1, 3]
            d = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + m[2, 3]
            if (
                a < -0.500001 or b < -0.500001 or d < -0.500001
                or a > nz - 0.499999 or b > ny - 0.499999 or d > nx - 0.499999
            ):  # fmt: skip
                out[z, y, x] = fill
            else:
                a = min(max(a, 0.0), nz - 1.0)
                b = min(max(b, 0.0), ny - 1.0)
                d = min(max(d, 0.0), nx - 1.0)
                out[z, y, x] = value_at(c, a, b, d)


@numba.njit(nogil=True, cache=True)
def resample_into(c: Array, m: Float, out: Array, fill: float) -> None:
    """`resample` of coefficients into ``out`` on the calling thread."""
    _rows(0, out.shape[0] * out.shape[1], c, m, out, fill)


def coefficients(volume: Array) -> Array:
    """Spline coefficients of ``volume`` ``(nz, ny, nx)``, float32."""
    source = np.ascontiguousarray(volume, np.float32)
    out = np.empty_like(source)
    prefilter_into(sealed(source), out)
    return out


def resample(c: Array, affine: Float, shape: tuple[int, int, int], *, fill: float = 0.0) -> Array:
    """Values at ``affine @ (z, y, x, 1)`` (4x4, to indices of ``c``) for each voxel of ``shape``.

    ``fill`` goes where that is more than half a voxel outside.
    """
    out = np.empty(shape, np.float32)
    in_chunks(
        _rows, shape[0] * shape[1], c, np.ascontiguousarray(affine[:3], np.float64), out, fill
    )
    return out
