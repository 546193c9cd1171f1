"""Weighted sums along one axis of a volume: the kernel under smoothing and resampling.

``out[j] = sum_k weight[j, k] * volume[index[j, k]]`` along one of the axes ``(z, y, x)``, on all
cores. The taps are given per output sample, so that borders and changes of spacing cost no branch.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


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


@numba.njit(parallel=True, fastmath=True, cache=True)
def _convolve_x(volume: Array, border: Array, kernel: Array, out: Array) -> None:
    nz, ny, nx = out.shape
    taps = kernel.size
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        source = volume[z, y]
        row = out[z, y]
        padded = np.empty(nx + taps - 1, out.dtype)
        for i in range(padded.size):
            padded[i] = source[border[i]]
        row[:] = 0
        for k in range(taps):
            w = kernel[k]
            for x in range(nx):
                row[x] += w * padded[x + k]


def convolve(volume: Array, axis: int, kernel: Array) -> Array:
    """Convolve along one axis with an odd symmetric kernel, mirrored at the outer voxel edges.

    ``volume`` is ``(nz, ny, nx)`` float32 or float64, ``kernel`` ``(2 r + 1,)``.
    """
    size, radius = volume.shape[axis], kernel.size // 2
    if axis == 2:
        border = reflect(np.arange(-radius, size + radius), size).astype(np.int32)
        out = np.empty_like(volume, order="C")
        _convolve_x(np.ascontiguousarray(volume), border, kernel.astype(volume.dtype), out)
        return out
    index = reflect(np.arange(size)[:, None] + np.arange(-radius, radius + 1), size)
    return along(volume, axis, index=index, weight=np.broadcast_to(kernel, index.shape))


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
