"""Fourier transforms between a plane of coil images and a doubled lattice, coils in lanes.

The lattice is ``(rows, stride, 2, 8)`` seen as ``(rows * stride, 2, 8)``. Image index ``n // 2`` is
its origin; frequencies lie in natural order. Neither direction is normalised.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.acquire.mri.lanes import forward, inverse
from somascope.acquire.mri.vectors import LANES, gather, move, spread, taps_add, taps_read
from somascope.core.grid import Array


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def rows_in(
    start: int,
    stop: int,
    x: Array,
    maps: Array,
    m: int,
    radices: Array,
    twiddles: Array,
    order: Array,
    stride: int,
    work: Array,
) -> None:
    """Row y of ``maps * x``, padded to ``m`` and transformed, into row y of the lattice."""
    n = x.shape[1]
    line = np.empty((m, 2, LANES), np.float32)
    for y in range(start, stop):
        s = maps[y]
        line[n - n // 2 : m - n // 2] = np.float32(0)
        for i in range(n):
            at = i - n // 2
            spread(line, at + m if at < 0 else at, s, i, x[y, i].real, x[y, i].imag)
        forward(line, m, radices, twiddles)
        for j in range(m):
            move(work, y * stride + order[j], line, j)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def columns_in(
    start: int,
    stop: int,
    n: int,
    m: int,
    radices: Array,
    twiddles: Array,
    order: Array,
    stride: int,
    work: Array,
) -> None:
    """The first ``n`` rows of each column, padded to ``m`` and transformed."""
    line = np.empty((m, 2, LANES), np.float32)
    for i in range(start, stop):
        line[n - n // 2 : m - n // 2] = np.float32(0)
        for y in range(n):
            at = y - n // 2
            move(line, at + m if at < 0 else at, work, y * stride + i)
        forward(line, m, radices, twiddles)
        for k in range(m):
            move(work, order[k] * stride + i, line, k)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def columns_out(
    start: int,
    stop: int,
    n: int,
    m: int,
    radices: Array,
    twiddles: Array,
    order: Array,
    stride: int,
    work: Array,
) -> None:
    """Adjoint of `columns_in`."""
    line = np.empty((m, 2, LANES), np.float32)
    for i in range(start, stop):
        for k in range(m):
            move(line, k, work, order[k] * stride + i)
        inverse(line, m, radices, twiddles)
        for y in range(n):
            at = y - n // 2
            move(work, y * stride + i, line, at + m if at < 0 else at)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def rows_out(
    start: int,
    stop: int,
    maps: Array,
    m: int,
    radices: Array,
    twiddles: Array,
    order: Array,
    stride: int,
    work: Array,
    out: Array,
) -> None:
    """Adjoint of `rows_in`: adds to ``out``."""
    n = out.shape[1]
    line = np.empty((m, 2, LANES), np.float32)
    for y in range(start, stop):
        s = maps[y]
        for j in range(m):
            move(line, j, work, y * stride + order[j])
        inverse(line, m, radices, twiddles)
        for i in range(n):
            at = i - n // 2
            real, imag = gather(line, at + m if at < 0 else at, s, i)
            out[y, i] += np.complex64(complex(real, imag))


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def fill(start: int, stop: int, work: Array) -> None:
    """Zero rows."""
    work[start:stop] = np.float32(0)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def interpolate(
    start: int,
    stop: int,
    width: tuple[int, ...],
    work: Array,
    corners: Array,
    stride: int,
    rows: Array,
    columns: Array,
    y: Array,
) -> None:
    """Samples ``y[c, p]`` from the lattice, weights ``rows[p, a] columns[p, b]``."""
    line = np.empty((1, 2, LANES), np.float32)
    for p in range(start, stop):
        taps_read(width, line, 0, work, corners[p], stride, rows, columns, p)
        for c in range(y.shape[0]):
            y[c, p] = np.complex64(complex(line[0, 0, c], line[0, 1, c]))


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def scatter(
    start: int,
    stop: int,
    width: tuple[int, ...],
    first: int,
    bounds: Array,
    order: Array,
    y: Array,
    corners: Array,
    stride: int,
    rows: Array,
    columns: Array,
    work: Array,
) -> None:
    """Adjoint of `interpolate` for the samples of every second band, from ``first``."""
    line = np.zeros((1, 2, LANES), np.float32)
    for k in range(start, stop):
        band = 2 * k + first
        for q in range(bounds[band], bounds[band + 1]):
            p = order[q]
            for c in range(y.shape[0]):
                line[0, 0, c] = y[c, p].real
                line[0, 1, c] = y[c, p].imag
            taps_add(width, line, 0, work, corners[p], stride, rows, columns, p)
