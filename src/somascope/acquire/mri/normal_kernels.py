"""The normal operator of a multi-coil scan in one compiled sweep, eight coils in vector lanes."""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.acquire.chunks import in_chunks
from somascope.acquire.mri import lanes
from somascope.acquire.mri.lanes import forward, inverse
from somascope.acquire.mri.vectors import LANES, gather, move, scale, spread
from somascope.core.grid import Array


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def along_lines(
    start: int,
    stop: int,
    x: Array,
    maps: Array,
    transfer: Array,
    radices: Array,
    twiddles: Array,
    out: Array,
) -> None:
    """``out += S^H F^H D F S x`` along the last axis of lines ``start:stop`` of ``(lines, n)``.

    ``maps`` is ``(lines, n, 2, 8)``, ``transfer`` ``(m,)`` in digit-reversed order, m >= n.
    """
    n = x.shape[1]
    m = transfer.size
    line = np.empty((m, 2, LANES), np.float32)
    for k in range(start, stop):
        s = maps[k]
        for i in range(n):
            spread(line, i, s, i, x[k, i].real, x[k, i].imag)
        line[n:] = np.float32(0)
        forward(line, m, radices, twiddles)
        for i in range(m):
            scale(line, i, transfer[i])
        inverse(line, m, radices, twiddles)
        for i in range(n):
            real, imag = gather(line, i, s, i)
            out[k, i] += np.complex64(complex(real, imag))


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def rows_in(
    start: int,
    stop: int,
    x: Array,
    maps: Array,
    radices: Array,
    twiddles: Array,
    m: int,
    work: Array,
) -> None:
    """``work[y] = F S x[y]`` for every row, zero-padded to ``m``."""
    nx = x.shape[1]
    for y in range(start, stop):
        line = work[y]
        s = maps[y]
        for i in range(nx):
            spread(line, i, s, i, x[y, i].real, x[y, i].imag)
        line[nx:m] = np.float32(0)
        forward(line, m, radices, twiddles)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def columns(
    start: int, stop: int, ny: int, transfer: Array, radices: Array, twiddles: Array, work: Array
) -> None:
    """``F^H D F`` on every column of ``work``; ``transfer`` is ``(mx, my)``, digit-reversed."""
    my = transfer.shape[1]
    line = np.empty((my, 2, LANES), np.float32)
    for i in range(start, stop):
        for y in range(ny):
            move(line, y, work[y], i)
        line[ny:] = np.float32(0)
        forward(line, my, radices, twiddles)
        for k in range(my):
            scale(line, k, transfer[i, k])
        inverse(line, my, radices, twiddles)
        for y in range(ny):
            move(work[y], i, line, y)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def rows_out(
    start: int,
    stop: int,
    maps: Array,
    radices: Array,
    twiddles: Array,
    m: int,
    work: Array,
    out: Array,
) -> None:
    """``out[y] += S^H F^H work[y]`` for every row."""
    nx = out.shape[1]
    for y in range(start, stop):
        line = work[y]
        s = maps[y]
        inverse(line, m, radices, twiddles)
        for i in range(nx):
            real, imag = gather(line, i, s, i)
            out[y, i] += np.complex64(complex(real, imag))


def in_lanes(maps: Array) -> Array:
    """Maps ``(coils, a, b)`` as float32 ``(groups, a, b, 2, 8)``; missing coils are zero."""
    coils = maps.shape[0]
    groups = -(-coils // LANES)
    out = np.zeros((groups, *maps.shape[1:], 2, LANES), np.float32)
    for c in range(coils):
        out[c // LANES, ..., 0, c % LANES] = maps[c].real
        out[c // LANES, ..., 1, c % LANES] = maps[c].imag
    return out


class LineKernel:
    """``sum_c S^H F^H D F S`` along the last axis of ``(lines, n)``."""

    def __init__(self, maps: Array, transfer: Array) -> None:
        m = transfer.size
        self.maps = in_lanes(maps)
        self.plan = lanes.plan(m)
        # One over m: neither transform is normalised.
        self.transfer = np.ascontiguousarray(transfer[lanes.order(m)] / m, np.float32)

    def apply(self, x: Array, out: Array) -> None:
        """Write the result of ``x`` to ``out``."""
        out[:] = 0
        for group in self.maps:
            in_chunks(along_lines, len(x), x, group, self.transfer, *self.plan, out)


class PlaneKernel:
    """``sum_c S^H F^H D F S`` of a plane ``(ny, nx)`` with the transform along both axes."""

    def __init__(self, maps: Array, transfer: Array) -> None:
        my, mx = transfer.shape
        self.maps = in_lanes(maps)
        self.rows, self.columns = lanes.plan(mx), lanes.plan(my)
        placed = transfer[np.ix_(lanes.order(my), lanes.order(mx))].T
        self.transfer = np.ascontiguousarray(placed / (mx * my), np.float32)

    @property
    def work(self) -> tuple[int, ...]:
        """Shape of the scratch array; a row longer, so that columns do not share cache sets."""
        ny, mx = self.maps.shape[1], self.transfer.shape[0]
        return (ny, mx + 1, 2, LANES)

    def apply(self, x: Array, out: Array, work: Array) -> None:
        """Write the result of ``x`` to ``out``."""
        out[:] = 0
        m = self.transfer.shape[0]
        for group in self.maps:
            in_chunks(rows_in, len(x), x, group, *self.rows, m, work)
            in_chunks(columns, m, len(x), self.transfer, *self.columns, work)
            in_chunks(rows_out, len(x), group, *self.rows, m, work, out)
