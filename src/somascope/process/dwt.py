"""One level of a periodic orthogonal wavelet transform along one axis.

``low[k] = sum_j h[j] x[(2 k + L/2 - j) mod n]``, likewise the high band with ``g``: PyWavelets'
``periodization``. An array is seen as ``(outer, n, inner)`` real numbers: complex ones are pairs in
``inner``, since the filters are real. Small arrays stay on one core: starting threads would cost
more than the work.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

PARALLEL_FROM = 1 << 19
"""Number of samples from which the work is worth more than one core."""
PIECE = 2048
"""Samples of ``inner`` taken at a time: what the taps of a filter see stays in the cache."""


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _split_block(x: Array, h: Array, g: Array, out: Array, first: int, stop: int) -> None:
    n = x.shape[0]
    inner = stop - first
    half = n // 2
    taps = h.size
    for k in range(half):
        low = out[k, first:stop]
        high = out[half + k, first:stop]
        low[:] = 0
        high[:] = 0
        for t in range(taps):
            source = x[(2 * k + taps // 2 - t + taps * n) % n, first:stop]
            a = h[t]
            b = g[t]
            for i in range(inner):
                low[i] += a * source[i]
                high[i] += b * source[i]


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _join_block(y: Array, h: Array, g: Array, out: Array, first: int, stop: int) -> None:
    n = y.shape[0]
    inner = stop - first
    half = n // 2
    taps = h.size
    for m in range(n):
        row = out[m, first:stop]
        row[:] = 0
        # x[m] went into the k with 2 k + taps/2 - t = m (mod n): taps of one parity only.
        for t in range((taps // 2 + m) % 2, taps, 2):
            k = ((m - taps // 2 + t + taps * n) // 2) % half
            a = h[t]
            b = g[t]
            low = y[k, first:stop]
            high = y[half + k, first:stop]
            for i in range(inner):
                row[i] += a * low[i] + b * high[i]


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _split_line(x: Array, h: Array, g: Array, out: Array) -> None:
    n, c = x.shape  # c is 1, or 2 for complex pixels
    half = n // 2
    taps = h.size
    for q in range(c):
        even = np.empty(half + taps, x.dtype)
        odd = np.empty(half + taps, x.dtype)
        for i in range(half + taps):
            s = (2 * i - taps // 2 + 1 + taps * n) % n
            even[i] = x[s, q]
            odd[i] = x[s + 1 if s + 1 < n else 0, q]
        low = np.zeros(half, x.dtype)
        high = np.zeros(half, x.dtype)
        for t in range(taps):
            a = h[t]
            b = g[t]
            shift = taps - 1 - t
            line = even[shift // 2 :] if shift % 2 == 0 else odd[shift // 2 :]
            for k in range(half):
                low[k] += a * line[k]
                high[k] += b * line[k]
        for k in range(half):
            out[k, q] = low[k]
            out[half + k, q] = high[k]


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _join_line(y: Array, h: Array, g: Array, out: Array) -> None:
    n, c = y.shape
    half = n // 2
    taps = h.size
    for q in range(c):
        low = np.empty(half + taps, y.dtype)
        high = np.empty(half + taps, y.dtype)
        for i in range(half + taps):
            k = (i - taps // 2 + taps * half) % half
            low[i] = y[k, q]
            high[i] = y[half + k, q]
        for parity in range(2):
            row = np.zeros(half, y.dtype)
            for t in range((taps // 2 + parity) % 2, taps, 2):
                a = h[t]
                b = g[t]
                shift = (parity - taps // 2 + t) // 2 + taps // 2
                for k in range(half):
                    row[k] += a * low[k + shift] + b * high[k + shift]
            for k in range(half):
                out[2 * k + parity, q] = row[k]


@numba.njit(fastmath=True, cache=True)
def _one(kernel: int, x: Array, h: Array, g: Array, out: Array, piece: int) -> None:
    first, stop = piece * PIECE, min((piece + 1) * PIECE, x.shape[1])
    if kernel == 0:
        _split_block(x, h, g, out, first, stop)
    elif kernel == 1:
        _join_block(x, h, g, out, first, stop)
    elif kernel == 2:
        _split_line(x, h, g, out)
    else:
        _join_line(x, h, g, out)


@numba.njit(cache=True)
def _serial(kernel: int, x: Array, h: Array, g: Array, out: Array, pieces: int) -> None:
    for o in range(x.shape[0] * pieces):
        _one(kernel, x[o // pieces], h, g, out[o // pieces], o % pieces)


@numba.njit(parallel=True, cache=True)
def _parallel(kernel: int, x: Array, h: Array, g: Array, out: Array, pieces: int) -> None:
    for o in numba.prange(x.shape[0] * pieces):
        _one(kernel, x[o // pieces], h, g, out[o // pieces], o % pieces)


def _along(x: Array, axis: int, low: Array, high: Array, *, join: bool) -> Array:
    x = np.ascontiguousarray(x)
    shape = x.shape
    outer = int(np.prod(shape[:axis], dtype=np.int64))
    flat = (x.view(np.finfo(x.dtype).dtype) if x.dtype.kind == "c" else x).reshape(
        outer, shape[axis], -1
    )
    out = np.empty_like(flat)
    kernel = (2 if flat.shape[2] <= 2 else 0) + int(join)
    pieces = -(-flat.shape[2] // PIECE)
    run = _parallel if flat.size >= PARALLEL_FROM and outer * pieces > 1 else _serial
    run(kernel, flat, low.astype(flat.dtype), high.astype(flat.dtype), out, pieces)
    return out.reshape(-1).view(x.dtype).reshape(shape)


def analyse(x: Array, axis: int, low: Array, high: Array) -> Array:
    """Averages and details of ``x`` along ``axis``, the first half and the second half of it."""
    return _along(x, axis, low, high, join=False)


def synthesise(y: Array, axis: int, low: Array, high: Array) -> Array:
    """What `analyse` split, joined again: its adjoint and inverse."""
    return _along(y, axis, low, high, join=True)
