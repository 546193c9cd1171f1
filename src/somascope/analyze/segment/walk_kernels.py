"""Kernels of a weighted 7-point Laplacian with its coarser copies, in single precision.

Arrays are ``(nz, ny, nx)``. ``wz[z, y, x]`` is the weight between a voxel and the next one along z
(0 on the last plane), ``wy`` and ``wx`` likewise; ``inverse`` is 1 over the diagonal, 0 where there
is no unknown.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, inline="always")
def _sides(x: Array, wz: Array, wy: Array, wx: Array, z: int, y: int, out: Array) -> None:
    """``out`` <- what a row's neighbours give it."""
    nz, ny, nx = x.shape
    row, w = x[z, y], wx[z, y]
    out[nx - 1] = 0
    for i in range(nx - 1):
        out[i] = w[i] * row[i + 1]
    for i in range(1, nx):
        out[i] += w[i - 1] * row[i - 1]
    if y > 0:
        near, v = x[z, y - 1], wy[z, y - 1]
        for i in range(nx):
            out[i] += v[i] * near[i]
    if y < ny - 1:
        near, v = x[z, y + 1], wy[z, y]
        for i in range(nx):
            out[i] += v[i] * near[i]
    if z > 0:
        near, v = x[z - 1, y], wz[z - 1, y]
        for i in range(nx):
            out[i] += v[i] * near[i]
    if z < nz - 1:
        near, v = x[z + 1, y], wz[z, y]
        for i in range(nx):
            out[i] += v[i] * near[i]


@numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def applied(
    x: Array, wz: Array, wy: Array, wx: Array, diagonal: Array, out: Array, product: Array
) -> None:
    """``out <- A x``; ``product[z]`` is the part of ``x . A x`` that a plane gives."""
    nz, ny, nx = x.shape
    for z in numba.prange(nz):
        line = np.empty(nx, np.float32)
        total = 0.0
        for y in range(ny):
            _sides(x, wz, wy, wx, z, y, line)
            row, d, target = x[z, y], diagonal[z, y], out[z, y]
            part = np.float32(0)
            for i in range(nx):
                v = d[i] * row[i] - line[i]
                target[i] = v
                part += v * row[i]
            total += part
        product[z] = total


@numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def swept(
    x: Array, b: Array, wz: Array, wy: Array, wx: Array, inverse: Array, step: Any, out: Array
) -> None:
    """One damped Jacobi sweep: ``out <- x + step (b - A x) / diagonal``."""
    nz, ny, nx = x.shape
    for z in numba.prange(nz):
        line = np.empty(nx, np.float32)
        for y in range(ny):
            _sides(x, wz, wy, wx, z, y, line)
            row, given, v, target = x[z, y], b[z, y], inverse[z, y], out[z, y]
            for i in range(nx):
                s = step * v[i] * (given[i] + line[i])
                target[i] = s + (row[i] - step * row[i] if v[i] > 0 else np.float32(0))


@numba.njit(cache=True)
def restricted(fine: Array, step: Array, out: Array) -> None:
    """``out`` <- sums of ``fine`` over cells of ``step`` voxels."""
    sz, sy, sx = step
    nz, ny, nx = fine.shape
    out[:] = 0
    for z in range(nz):
        for y in range(ny):
            source, target = fine[z, y], out[z // sz, y // sy]
            if sx == 1:
                for x in range(nx):
                    target[x] += source[x]
            else:
                for x in range(nx // 2):
                    target[x] += source[2 * x] + source[2 * x + 1]
                if nx % 2:
                    target[nx // 2] += source[nx - 1]


@numba.njit(cache=True)
def crossing(fine: Array, axis: int, step: Array, out: Array) -> None:
    """``out`` <- the weights along ``axis`` that lead from one cell to the next, summed."""
    sz, sy, sx = step
    nz, ny, nx = fine.shape
    out[:] = 0
    for z in range(nz):
        if axis == 0 and z % sz != sz - 1:
            continue
        for y in range(ny):
            if axis == 1 and y % sy != sy - 1:
                continue
            source, target = fine[z, y], out[z // sz, y // sy]
            for x in range(nx):
                if axis != 2 or x % sx == sx - 1:
                    target[x // sx] += source[x]


@numba.njit(cache=True)
def prolonged(coarse: Array, step: Array, x: Array, inverse: Array) -> None:
    """Add to every unknown what its cell was corrected by."""
    sz, sy, sx = step
    nz, ny, nx = x.shape
    for z in range(nz):
        for y in range(ny):
            source, row, v = coarse[z // sz, y // sy], x[z, y], inverse[z, y]
            for i in range(nx):
                if v[i] > 0:
                    row[i] += source[i // sx]


@numba.njit(cache=True)
def weighted(
    values: Array, inside: Array, sharp: Any, least: Any, across: Array, out: Array
) -> None:
    """Weights ``across[axis] * max(exp(-sharp (difference)^2), least)`` along the three axes.

    ``out`` is ``(3, nz, ny, nx)``; 0 where one of the two voxels is not ``inside``.
    """
    nz, ny, nx = values.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                here = values[z, y, x]
                for axis in range(3):
                    p, q, r = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    w = np.float32(0)
                    if p < nz and q < ny and r < nx and inside[z, y, x] and inside[p, q, r]:
                        d = values[p, q, r] - here
                        w = across[axis] * max(np.exp(-sharp * d * d), least)
                    out[axis, z, y, x] = w


@numba.njit(cache=True)
def grounded(weights: Array, labels: Array, number: int, diagonal: Array, b: Array) -> None:
    """Diagonal and right-hand side where labelled voxels are held: at 1 of ``number``, else at 0.

    ``labels`` 0 are the unknowns; elsewhere both are 0.
    """
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                total, held = np.float32(0), np.float32(0)
                if labels[z, y, x] == 0:
                    for axis in range(3):
                        p, q, r = axis == 0, axis == 1, axis == 2
                        if z >= p and y >= q and x >= r:
                            w = weights[axis, z - p, y - q, x - r]
                            total += w
                            if labels[z - p, y - q, x - r] == number:
                                held += w
                        if z + p < nz and y + q < ny and x + r < nx:
                            w = weights[axis, z, y, x]
                            total += w
                            if labels[z + p, y + q, x + r] == number:
                                held += w
                diagonal[z, y, x] = total
                b[z, y, x] = held
