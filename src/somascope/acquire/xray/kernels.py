"""Compiled ray sums through a voxel volume: Joseph's method for any source, detector and grid.

Joseph (1982): step from plane to plane along the axis the ray runs along most, interpolate
bilinearly in the other two, and weigh by the length of the ray between two planes. The volume
comes with one voxel of zeros around it, so the interpolation needs no branch at its border, and
is read through one flat unsigned index. Positions are fixed-point numbers of 32 + 32 bits: where a
ray goes through a plane costs an addition and a shift, and is exact to 2^-24 of a voxel.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from somascope.core.grid import Array, Float

ONE = 4294967296.0
"""One voxel in fixed point."""
FRACTION = np.float32(2.0**-24)


@numba.njit(fastmath=True, error_model="numpy", cache=True)
def _ray(
    source: Float, pixel: Float, gram: Float, shape: Array
) -> tuple[int, int, int, int, int, float, float, float, float, float]:
    """Axis, the other two, first and last plane, start and step in those two, and weight.

    Plane ``k`` is met at ``u0 + k du`` and ``v0 + k dv``; ``first > last`` for a ray that misses.
    Indices are those of the padded volume.
    """
    d0, d1, d2 = pixel[0] - source[0], pixel[1] - source[1], pixel[2] - source[2]
    axis = 0
    if abs(d1) > abs(d0):
        axis = 1
    if abs(d2) > max(abs(d0), abs(d1)):
        axis = 2
    u, v = (1 if axis == 0 else 0), (1 if axis == 2 else 2)
    along = pixel[axis] - source[axis]
    length = math.sqrt(
        d0 * (gram[0, 0] * d0 + 2.0 * (gram[0, 1] * d1 + gram[0, 2] * d2))
        + d1 * (gram[1, 1] * d1 + 2.0 * gram[1, 2] * d2)
        + d2 * gram[2, 2] * d2
    )
    if along == 0.0:
        return axis, u, v, 1, 0, 0.0, 0.0, 0.0, 0.0, 0.0
    du, dv = (pixel[u] - source[u]) / along, (pixel[v] - source[v]) / along
    u0, v0 = source[u] - source[axis] * du, source[v] - source[axis] * dv
    low = max(min(source[axis], pixel[axis]), 1.0)
    high = min(max(source[axis], pixel[axis]), float(shape[axis] - 2))
    for start, step, size in ((u0, du, shape[u]), (v0, dv, shape[v])):
        if abs(step) > 1e-12:
            a, b = -start / step, (size - 1 - start) / step
            low, high = max(low, min(a, b)), min(high, max(a, b))
        elif start <= 0.0 or start >= size - 1:
            low, high = 1.0, 0.0
    first, last = math.ceil(min(low, 1e9)), math.floor(max(high, -1e9))
    # Rounding may leave an end just outside; one step in is safe, and there the value is zero.
    while first <= last and not (
        1e-3 < u0 + first * du < shape[u] - 1.001 and 1e-3 < v0 + first * dv < shape[v] - 1.001
    ):
        first += 1
    while first <= last and not (
        1e-3 < u0 + last * du < shape[u] - 1.001 and 1e-3 < v0 + last * dv < shape[v] - 1.001
    ):
        last -= 1
    return axis, u, v, first, last, u0, du, v0, dv, length / abs(along)


@numba.njit(parallel=True, error_model="numpy", cache=True)
def occupied(volume: Array) -> Array:
    """First and last index of what is not zero, ``(3, 2)`` for z, y, x; last < first for nothing.

    Rays outside this box meet zeros only; the air around a body is most of many volumes.
    """
    nz, ny, nx = volume.shape
    found = np.empty((nz, 4), np.int64)
    for z in numba.prange(nz):
        top, bottom, left, right = ny, -1, nx, -1
        for y in range(ny):
            first = 0
            while first < nx and volume[z, y, first] == 0:
                first += 1
            if first == nx:
                continue
            last = nx - 1
            while volume[z, y, last] == 0:
                last -= 1
            top, bottom = min(top, y), y
            left, right = min(left, first), max(right, last)
        found[z, 0], found[z, 1], found[z, 2], found[z, 3] = top, bottom, left, right
    box = np.array([[nz, -1], [ny, -1], [nx, -1]])
    for z in range(nz):
        if found[z, 1] >= 0:
            box[0, 0], box[0, 1] = min(box[0, 0], z), z
            box[1, 0], box[1, 1] = min(box[1, 0], found[z, 0]), max(box[1, 1], found[z, 1])
            box[2, 0], box[2, 1] = min(box[2, 0], found[z, 2]), max(box[2, 1], found[z, 3])
    return box


@numba.njit(parallel=True, error_model="numpy", cache=True)
def framed(volume: Array, box: Array, out: Array) -> None:
    """``out`` becomes the voxels of the box with one voxel of zeros around them."""
    nz, ny, nx = out.shape
    for z in numba.prange(nz):
        for y in range(ny):
            if z in (0, nz - 1) or y in (0, ny - 1):
                out[z, y] = 0
                continue
            out[z, y, 0] = out[z, y, nx - 1] = 0
            for x in range(1, nx - 1):
                out[z, y, x] = volume[box[0, 0] + z - 1, box[1, 0] + y - 1, box[2, 0] + x - 1]


@numba.njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def forward(
    volume: Array,
    shape: Array,
    gram: Float,
    sources: Float,
    origins: Float,
    rows: Float,
    columns: Float,
    out: Array,
) -> None:
    """Ray sums in value times mm.

    Parameters
    ----------
    volume
        Flat, with one voxel of zeros around it, which ``shape`` (3) counts.
    gram
        3x3, ``A^T A`` of the grid's axes in mm: lengths in the patient from index steps.
    sources, origins, rows, columns
        ``(nv, 3)`` in padded ``(z, y, x)`` indices: focal spot, centre of pixel (0, 0), step to
        the next row, step to the next column.
    out
        ``(nv, ny, nx)``, written.
    """
    nv, ny, nx = out.shape
    strides = np.empty(3, np.int64)
    strides[0], strides[1], strides[2] = shape[1] * shape[2], shape[2], 1
    for line in numba.prange(nv * ny):
        view, row = line // ny, line % ny
        pixel = np.empty(3)
        for column in range(nx):
            for c in range(3):
                pixel[c] = origins[view, c] + row * rows[view, c] + column * columns[view, c]
            axis, u, v, first, last, u0, du, v0, dv, weight = _ray(
                sources[view], pixel, gram, shape
            )
            sa, su, sv = strides[axis], strides[u], strides[v]
            a, b = np.int64((u0 + first * du) * ONE), np.int64((v0 + first * dv) * ONE)
            da, db = np.int64(du * ONE), np.int64(dv * ONE)
            base = first * sa
            total = volume.dtype.type(0)
            for _ in range(max(last - first + 1, 0)):
                f = np.float32(np.int32((a >> 8) & 0xFFFFFF)) * FRACTION
                g = np.float32(np.int32((b >> 8) & 0xFFFFFF)) * FRACTION
                at = np.uint64(base + (a >> 32) * su + (b >> 32) * sv)
                p, q = volume[at], volume[at + np.uint64(sv)]
                r, s = volume[at + np.uint64(su)], volume[at + np.uint64(su + sv)]
                p += g * (q - p)
                r += g * (s - r)
                total += p + f * (r - p)
                a += da
                b += db
                base += sa
            out[view, row, column] = total * weight


@numba.njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def adjoint(
    rays: Array,
    shape: Array,
    gram: Float,
    sources: Float,
    origins: Float,
    rows: Float,
    columns: Float,
    out: Array,
    slabs: int,
) -> None:
    """The transpose of `forward`: spread ``rays`` (nv, ny, nx) into the flat padded ``out``.

    A ray writes one plane of its main axis per step, so slabs of planes along that axis can be
    filled at the same time without meeting; one pass per axis.
    """
    nv, ny, nx = rays.shape
    strides = np.empty(3, np.int64)
    strides[0], strides[1], strides[2] = shape[1] * shape[2], shape[2], 1
    for main in range(3):
        for slab in numba.prange(slabs):
            begin = shape[main] * slab // slabs
            end = shape[main] * (slab + 1) // slabs
            pixel = np.empty(3)
            for view in range(nv):
                for row in range(ny):
                    for column in range(nx):
                        for c in range(3):
                            pixel[c] = (
                                origins[view, c] + row * rows[view, c] + column * columns[view, c]
                            )
                        axis, u, v, first, last, u0, du, v0, dv, weight = _ray(
                            sources[view], pixel, gram, shape
                        )
                        if axis != main:
                            continue
                        sa, su, sv = strides[axis], strides[u], strides[v]
                        # The same fixed-point positions as `forward`: an exact transpose.
                        a, b = np.int64((u0 + first * du) * ONE), np.int64((v0 + first * dv) * ONE)
                        da, db = np.int64(du * ONE), np.int64(dv * ONE)
                        value = rays[view, row, column] * weight
                        low, high = max(begin, first), min(last + 1, end)
                        a += (low - first) * da
                        b += (low - first) * db
                        base = low * sa
                        for _ in range(max(high - low, 0)):
                            f = np.float32(np.int32((a >> 8) & 0xFFFFFF)) * FRACTION
                            g = np.float32(np.int32((b >> 8) & 0xFFFFFF)) * FRACTION
                            at = np.uint64(base + (a >> 32) * su + (b >> 32) * sv)
                            far = value * f
                            near = value - far
                            out[at] += near - near * g
                            out[at + np.uint64(sv)] += near * g
                            out[at + np.uint64(su)] += far - far * g
                            out[at + np.uint64(su + sv)] += far * g
                            a += da
                            b += db
                            base += sa
