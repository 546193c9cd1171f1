"""Weighted sums along one axis of a volume: the kernel under smoothing and resampling.

``out[j] = sum_k weight[j, k] * volume[index[j, k]]`` along one of the axes ``(z, y, x)``, on all
cores. The taps are given per output sample, so that borders and changes of spacing cost no branch.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import DTypeLike

from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.chunks import sealed

TRUNCATE = 4.0
"""A Gaussian ends at this many standard deviations."""

COLUMNS = 512
"""Columns taken together along z."""


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
    """``out <- sum_k kernel[k] rows[first + k]`` of a symmetric kernel: two pairs to a pass."""
    n, r = out.size, kernel.size // 2
    middle = first + r
    own, a = rows[middle], kernel[r]
    if r % 2:
        p, q, b = rows[middle - 1], rows[middle + 1], kernel[r + 1]
        for x in range(n):
            out[x] = a * own[x] + b * (p[x] + q[x])
    else:
        for x in range(n):
            out[x] = a * own[x]
    for k in range(1 + r % 2, r, 2):
        a, p, q = kernel[r + k], rows[middle - k], rows[middle + k]
        b, s, t = kernel[r + k + 1], rows[middle - k - 1], rows[middle + k + 1]
        for x in range(n):
            out[x] += a * (p[x] + q[x]) + b * (s[x] + t[x])


@numba.njit(fastmath=True, cache=True)
def _across(row: Array, kernel: Array, out: Array) -> None:
    """``out[x] <- sum_k kernel[k] row[x + k]`` of a symmetric kernel."""
    n, r = out.size, kernel.size // 2
    own, a = row[r:], kernel[r]
    if r % 2:
        p, q, b = row[r - 1 :], row[r + 1 :], kernel[r + 1]
        for x in range(n):
            out[x] = a * own[x] + b * (p[x] + q[x])
    else:
        for x in range(n):
            out[x] = a * own[x]
    for k in range(1 + r % 2, r, 2):
        a, p, q = kernel[r + k], row[r - k :], row[r + k :]
        b, s, t = kernel[r + k + 1], row[r - k - 1 :], row[r + k + 1 :]
        for x in range(n):
            out[x] += a * (p[x] + q[x]) + b * (s[x] + t[x])


@numba.njit(nogil=True, cache=True)
def _plane(
    source: Array, ky: Array, kx: Array, by: Array, bx: Array, plane: Array, row: Array, out: Array
) -> None:  # fmt: skip
    """One plane along x and y: it stays in the cache between the two."""
    ny, nx = source.shape
    reach, side = (by.size - ny) // 2, (bx.size - nx) // 2
    for y in range(ny):
        if kx.size > 1:
            for i in range(side):
                row[i] = source[y, bx[i]]
                row[side + nx + i] = source[y, bx[side + nx + i]]
            row[side : side + nx] = source[y]
            _across(row, kx, plane[y + reach])
        else:
            plane[y + reach] = source[y]
    for i in range(reach):
        plane[i] = plane[by[i] + reach]
        plane[ny + reach + i] = plane[by[ny + reach + i] + reach]
    for y in range(ny):
        _weighted(plane, y, ky, out[y])


@numba.njit(nogil=True, cache=True)
def _stack(lines: Array, kernel: Array, border: Array, x0: int, rows: Array) -> None:
    """Along z in place, for some columns: what lies over one another is copied together.

    They lie a power of two apart as often as not, where a cache has no room for them all.
    """
    m = rows.shape[1]
    for i in range(border.size):
        rows[i] = lines[border[i], x0 : x0 + m]
    for z in range(lines.shape[0]):
        _weighted(rows, z, kernel, lines[z, x0 : x0 + m])


@numba.njit(parallel=True, cache=True)
def _within(
    volume: Array, ky: Array, kx: Array, by: Array, bx: Array, out: Array, gaps: Array
) -> None:  # fmt: skip
    """Along x and y, plane by plane; ``gaps`` says which are not finite."""
    nz, ny, nx = volume.shape
    for z in numba.prange(nz):
        gap = np.uint8(0)
        for y in range(ny):
            for x in range(nx):
                # NaN and infinities less themselves are NaN.
                gap |= np.uint8(volume[z, y, x] - volume[z, y, x] != 0)
        gaps[z] = gap
        plane = np.empty((by.size, nx), out.dtype)
        row = np.empty(bx.size, out.dtype)
        _plane(volume[z], ky, kx, by, bx, plane, row, out[z])


@numba.njit(parallel=True, cache=True)
def _through(volume: Array, kernel: Array, border: Array) -> None:
    """Along z in place, so that no plane is read twice."""
    nz, ny, nx = volume.shape
    lines = volume.reshape(nz, ny * nx)
    for j in numba.prange((ny * nx + COLUMNS - 1) // COLUMNS):
        x0 = j * COLUMNS
        rows = np.empty((border.size, min(COLUMNS, ny * nx - x0)), volume.dtype)
        _stack(lines, kernel, border, x0, rows)


@numba.njit(nogil=True, cache=True)
def convolve_into(
    volume: Array, kz: Array, ky: Array, kx: Array, bz: Array, by: Array, bx: Array, out: Array
) -> None:  # fmt: skip
    """`convolve` on the calling thread, for callers that share out whole volumes themselves.

    Kernels and borders as `prepared` gives them; ``out`` has the volume's shape and type.
    """
    nz, ny, nx = volume.shape
    plane = np.empty((by.size, nx), out.dtype)
    row = np.empty(bx.size, out.dtype)
    for z in range(nz):
        _plane(volume[z], ky, kx, by, bx, plane, row, out[z])
    if kz.size == 1:
        return
    lines = out.reshape(nz, ny * nx)
    for x0 in range(0, ny * nx, COLUMNS):
        rows = np.empty((bz.size, min(COLUMNS, ny * nx - x0)), out.dtype)
        _stack(lines, kz, bz, x0, rows)


def gaussians(shape: tuple[int, ...], sigma: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Sampled Gaussians of ``sigma`` voxels along (z, y, x), each of sum 1.

    An axis of one voxel, or with a sigma of 0, has the kernel ``[1]``.
    """
    kernels = [np.ones(1)] * 3
    for axis, s in enumerate(sigma):
        if s > 0 and shape[axis] > 1:
            radius = max(int(TRUNCATE * s + 0.5), 1)
            kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / s) ** 2)
            kernels[axis] = kernel / kernel.sum()
    kz, ky, kx = kernels
    return kz, ky, kx


def prepared(
    shape: tuple[int, ...], kernels: tuple[Array, Array, Array], kind: DTypeLike
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Kernels of type ``kind`` and mirrored indices: what `convolve_into` takes, z y x z y x."""
    kz, ky, kx = (np.ascontiguousarray(k, dtype=kind) for k in kernels)
    bz, by, bx = (
        reflect(np.arange(-(k.size // 2), n + k.size // 2), n).astype(np.int32)
        for k, n in zip((kz, ky, kx), shape, strict=True)
    )
    return kz, ky, kx, bz, by, bx


def convolve(volume: Array, kernels: tuple[Array, Array, Array]) -> Array:
    """Convolve with odd symmetric kernels along (z, y, x), mirrored at the outer voxel edges.

    ``volume`` is ``(nz, ny, nx)``, each kernel ``(2 r + 1,)``; one of length 1 leaves its axis
    alone. float64 stays, everything else becomes float32; 16 bit integers are read as they are.
    Two passes over the memory: x and y together, then z.
    """
    return convolved(volume, kernels)[0]


def convolved(volume: Array, kernels: tuple[Array, Array, Array]) -> tuple[Array, bool]:
    """`convolve`, and whether ``volume`` has values that are not finite."""
    kind = np.dtype(np.float64 if volume.dtype == np.float64 else np.float32)
    if volume.dtype not in (kind, np.int16, np.uint16):  # every type compiles a kernel
        volume = volume.astype(kind)
    kz, ky, kx, bz, by, bx = prepared(volume.shape, kernels, kind)
    out = np.empty(volume.shape, kind)
    gaps = np.empty(volume.shape[0], np.uint8)
    _within(sealed(np.ascontiguousarray(volume)), ky, kx, by, bx, out, gaps)
    if kz.size > 1:
        _through(out, kz, bz)
    return out, bool(gaps.any())


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
    if is_tensor(volume):
        from somascope.process import gpu

        return gpu.along(volume, axis, index=index, weight=weight)  # pyright: ignore[reportArgumentType]
    shape = list(volume.shape)
    shape[axis] = index.shape[0]
    out = np.empty(shape, volume.dtype)
    volume = sealed(np.ascontiguousarray(volume))
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
