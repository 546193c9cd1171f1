"""The normal operator of a multi-coil scan in one compiled sweep, eight coils in vector lanes."""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.acquire.mri import lanes
from somascope.acquire.mri.lanes import filtered, forward, inverse
from somascope.acquire.mri.vectors import LANES, gather, move, spread
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

BESIDE = 4
"""Columns taken out of the plane at once: a row of the plane is a page or more apart."""


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
        filtered(line, m, transfer, radices, twiddles)
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
    lines = np.empty((BESIDE, my, 2, LANES), np.float32)
    for i in range(start, stop, BESIDE):
        count = min(BESIDE, stop - i)
        for y in range(ny):
            row = work[y]
            for c in range(count):
                move(lines[c], y, row, i + c)
        for c in range(count):
            line = lines[c]
            line[ny:] = np.float32(0)
            filtered(line, my, transfer[i + c], radices, twiddles)
        for y in range(ny):
            row = work[y]
            for c in range(count):
                move(row, i + c, lines[c], y)


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


@njit(error_model="numpy", cache=True, nogil=True)
def placed(
    start: int, stop: int, y: Array, rows: Array, columns: Array, factor: Array, work: Array
) -> None:
    """``work[j, i] = factor[j, i] y[:, rows[j], columns[i]]``, coils in lanes."""
    coils = y.shape[0]
    for j in range(start, stop):
        row = work[j]
        for i in range(columns.size):
            f = factor[j, i]
            for c in range(coils):
                value = y[c, rows[j], columns[i]]
                row[i, 0, c] = value.real * f
                row[i, 1, c] = value.imag * f
            for c in range(coils, LANES):
                row[i, 0, c] = np.float32(0)
                row[i, 1, c] = np.float32(0)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def columns_back(start: int, stop: int, radices: Array, twiddles: Array, work: Array) -> None:
    """The inverse transform of every column of ``work``, from digit-reversed order."""
    my = work.shape[0]
    lines = np.empty((BESIDE, my, 2, LANES), np.float32)
    for i in range(start, stop, BESIDE):
        count = min(BESIDE, stop - i)
        for y in range(my):
            row = work[y]
            for c in range(count):
                move(lines[c], y, row, i + c)
        for c in range(count):
            inverse(lines[c], my, radices, twiddles)
        for y in range(my):
            row = work[y]
            for c in range(count):
                move(row, i + c, lines[c], y)


def in_lanes(maps: Array) -> Array:
    """Maps ``(coils, a, b)`` as float32 ``(groups, a, b, 2, 8)``; missing coils are zero."""
    coils = maps.shape[0]
    groups = -(-coils // LANES)
    out = np.zeros((groups, *maps.shape[1:], 2, LANES), np.float32)
    for g in range(groups):
        part = np.ascontiguousarray(maps[g * LANES : (g + 1) * LANES], np.complex64)
        pairs = part.view(np.float32).reshape(*part.shape, 2)
        out[g, ..., : len(part)] = np.moveaxis(pairs, 0, -1)
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

    def back(self, y: Array, mask: Array | None, out: Array, work: Array) -> None:
        """Write ``S^H F^H y`` to ``out``: unitary, both centred, for even sizes without padding.

        ``y`` is ``(coils, ny, nx)``, ``mask`` ``(ny, nx)``. The centring is a change of signs.
        """
        (_, ny, nx), m = y.shape, self.transfer.shape[0]
        rows, columns = ((lanes.order(n) + n // 2) % n for n in (ny, nx))
        signs = np.where((lanes.order(ny)[:, None] + lanes.order(nx)) % 2, -1.0, 1.0)
        factor = signs / np.sqrt(ny * nx)
        if mask is not None:
            factor *= mask[np.ix_(rows, columns)]
        factor = factor.astype(np.float32)
        out[:] = 0
        for g, group in enumerate(self.maps):
            part = y[g * LANES : (g + 1) * LANES]
            in_chunks(placed, ny, part, rows, columns, factor, work)
            in_chunks(columns_back, m, *self.columns, work)
            in_chunks(rows_out, ny, group, *self.rows, m, work, out)
