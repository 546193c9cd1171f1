"""Weighted sums along one axis of a volume: the kernel under smoothing and resampling.

``out[j] = sum_k weight[j, k] * volume[index[j, k]]`` along one of the axes ``(z, y, x)``, on all
cores. The taps are given per output sample, so that borders and changes of spacing cost no branch.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

COLUMNS = 512
"""Voxels of a row taken together along z."""


@numba.njit(parallel=True, fastmath=True, cache=True)
def _along_z(volume: Array, index: Array, weight: Array, out: Array) -> None:
    nz, ny, nx = out.shape
    taps = index.shape[1]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        row = out[z, y]
        row[:] = 0
        for k in range(taps):
            w = weight[z, k]
            source = volume[index[z, k], y]
            for x in range(nx):
                row[x] += w * source[x]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _along_y(volume: Array, index: Array, weight: Array, out: Array) -> None:
    nz, ny, nx = out.shape
    taps = index.shape[1]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        row = out[z, y]
        row[:] = 0
        for k in range(taps):
            w = weight[y, k]
            source = volume[z, index[y, k]]
            for x in range(nx):
                row[x] += w * source[x]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _along_x(volume: Array, index: Array, weight: Array, out: Array) -> None:
    nz, ny, nx = out.shape
    taps = index.shape[0]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        row = out[z, y]
        source = volume[z, y]
        row[:] = 0
        # Tap by tap over the whole row: the inner loop has no dependence and becomes a gather.
        for k in range(taps):
            for x in range(nx):
                row[x] += weight[k, x] * source[index[k, x]]


@numba.njit(fastmath=True, cache=True)
def _weighted(rows: Array, first: int, kernel: Array, out: Array) -> None:
    """``out <- sum_k kernel[k] rows[first + k]``, four rows to a pass: fewer loads and stores."""
    n, taps = out.size, kernel.size
    whole = taps // 4 * 4
    out[:] = 0
    for k in range(0, whole, 4):
        a, b, c, d = kernel[k], kernel[k + 1], kernel[k + 2], kernel[k + 3]
        p, q = rows[first + k], rows[first + k + 1]
        r, s = rows[first + k + 2], rows[first + k + 3]
        for x in range(n):
            out[x] += a * p[x] + b * q[x] + c * r[x] + d * s[x]
    for k in range(whole, taps):
        a, p = kernel[k], rows[first + k]
        for x in range(n):
            out[x] += a * p[x]


@numba.njit(fastmath=True, cache=True)
def _across(row: Array, kernel: Array, out: Array) -> None:
    """``out[x] <- sum_k kernel[k] row[x + k]``."""
    n, taps = out.size, kernel.size
    whole = taps // 4 * 4
    out[:] = 0
    for k in range(0, whole, 4):
        a, b, c, d = kernel[k], kernel[k + 1], kernel[k + 2], kernel[k + 3]
        p, q, r, s = row[k : k + n], row[k + 1 :], row[k + 2 :], row[k + 3 :]
        for x in range(n):
            out[x] += a * p[x] + b * q[x] + c * r[x] + d * s[x]
    for k in range(whole, taps):
        a, p = kernel[k], row[k : k + n]
        for x in range(n):
            out[x] += a * p[x]


@numba.njit(parallel=True, cache=True)
def _within(volume: Array, ky: Array, kx: Array, by: Array, bx: Array, out: Array) -> None:
    """Along x and y, plane by plane: a plane stays in the cache between the two."""
    nz, ny, nx = volume.shape
    for z in numba.prange(nz):
        plane = np.empty((by.size, nx), out.dtype)
        row = np.empty(bx.size, out.dtype)
        reach = (by.size - ny) // 2
        for y in range(ny):
            if kx.size > 1:
                for i in range(bx.size):
                    row[i] = volume[z, y, bx[i]]
                _across(row, kx, plane[y + reach])
            else:
                plane[y + reach] = volume[z, y]
        for i in range(reach):
            plane[i] = plane[by[i] + reach]
            plane[ny + reach + i] = plane[by[ny + reach + i] + reach]
        for y in range(ny):
            _weighted(plane, y, ky, out[z, y])


@numba.njit(parallel=True, cache=True)
def _through(volume: Array, kernel: Array, border: Array) -> None:
    """Along z in place: the rows over one another are copied together, so no plane is read twice.

    They lie a power of two apart as often as not, where a cache has no room for them all.
    """
    nz, ny, nx = volume.shape
    parts = (nx + COLUMNS - 1) // COLUMNS
    for j in numba.prange(ny * parts):
        y = j // parts
        x0 = (j - y * parts) * COLUMNS
        m = min(COLUMNS, nx - x0)
        rows = np.empty((border.size, m), volume.dtype)
        for i in range(border.size):
            rows[i] = volume[border[i], y, x0 : x0 + m]
        for z in range(nz):
            _weighted(rows, z, kernel, volume[z, y, x0 : x0 + m])


def convolve(volume: Array, kernels: tuple[Array, Array, Array]) -> Array:
    """Convolve with odd symmetric kernels along (z, y, x), mirrored at the outer voxel edges.

    ``volume`` is ``(nz, ny, nx)`` float32 or float64, each kernel ``(2 r + 1,)``; one of length 1
    leaves its axis alone. Two passes over the memory: x and y together, then z.
    """
    kz, ky, kx = (np.ascontiguousarray(k, dtype=volume.dtype) for k in kernels)
    bz, by, bx = (
        reflect(np.arange(-(k.size // 2), n + k.size // 2), n).astype(np.int32)
        for k, n in zip((kz, ky, kx), volume.shape, strict=True)
    )
    out = np.empty(volume.shape, volume.dtype)
    _within(np.ascontiguousarray(volume), ky, kx, by, bx, out)
    if kz.size > 1:
        _through(out, kz, bz)
    return out


def along(volume: Array, axis: int, *, index: Array, weight: Array) -> Array:
    """Apply taps along one axis.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``, float32 or float64, C order.
    axis
        0, 1 or 2 for z, y, x.
    index, weight
        ``(n_out, taps)``: which samples of that axis make output sample ``j``, and how much of
        each.

    Returns
    -------
    Array
        The volume with ``n_out`` samples along ``axis``, same dtype.
    """
    shape = list(volume.shape)
    shape[axis] = index.shape[0]
    out = np.empty(shape, volume.dtype)
    volume = np.ascontiguousarray(volume)
    weight = np.ascontiguousarray(weight, dtype=volume.dtype)
    index = np.ascontiguousarray(index, dtype=np.int32)
    if axis == 0:
        _along_z(volume, index, weight, out)
    elif axis == 1:
        _along_y(volume, index, weight, out)
    else:
        _along_x(volume, np.ascontiguousarray(index.T), np.ascontiguousarray(weight.T), out)
    return out


def reflect(index: Array, size: int) -> Array:
    """Indices outside ``0..size-1`` mirrored back at the outer voxel edges (``c b a | a b c``)."""
    period = 2 * size
    folded = np.mod(index, period)
    return np.where(folded < size, folded, period - 1 - folded)
