"""Wavelet shrinkage of a complex plane in one sweep: transform, shrink, transform back.

The transform is that of `somascope.acquire.operators.Wavelet` (orthogonal, periodic; PyWavelets'
``periodization``). Filters are real, so a complex row is a row of twice as many real numbers, and
every output is a weighted sum of shifted rows: plain vector arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.acquire.mri.vectors import LANES, weighted, weighted_4
from somascope.core.grid import Array


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _sum_rows(
    taps: tuple[int, ...], out: Array, at: int, count: int, x: Array, places: Array, w: Array
) -> None:
    """``out[at : at + count] = sum_t w[t] x[places[t] : + count]``."""
    done = 0
    while done + 4 * LANES <= count:
        weighted_4(taps, out, at + done, x, places, done, w)
        done += 4 * LANES
    while done + LANES <= count:
        weighted(taps, out, at + done, x, places, done, w)
        done += LANES
    for i in range(done, count):
        total = np.float32(0)
        for t in range(w.size):
            total += w[t] * x[places[t] + i]
        out[at + i] = total


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _wrapped(x: Array, start: int, stride: int, n: int, pad: int, out: Array, at: int) -> None:
    """``n`` complex numbers, ``stride`` apart, with ``pad`` more on both sides, periodic."""
    core = at + 2 * pad
    for k in range(n):
        out[core + 2 * k] = x[start + 2 * stride * k]
        out[core + 2 * k + 1] = x[start + 2 * stride * k + 1]
    for k in range(pad):
        before = start + 2 * stride * ((k - pad + pad * n) % n)
        after = start + 2 * stride * (k % n)
        for part in range(2):
            out[at + 2 * k + part] = x[before + part]
            out[core + 2 * (n + k) + part] = x[after + part]


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def shrink_plane(
    taps: tuple[int, ...], a: Array, ny: int, nx: int, levels: int, low: Array, high: Array,
    threshold: float,
) -> None:  # fmt: skip
    """Shrink the wavelet coefficients of ``a``, ``ny * nx`` interleaved complex numbers, in place.

    Both sizes are multiples of ``2**levels``.
    """
    size = low.size
    half = size // 2
    row = 2 * nx
    b = np.empty_like(a)
    places = np.empty(size, np.int64)
    line = np.empty(2 * row + 16 * size, np.float32)
    made = np.empty(row, np.float32)
    for level in range(levels):
        ry, rx = ny >> level, nx >> level
        for k in range(ry // 2):
            for band in range(2):
                for t in range(size):
                    places[t] = ((2 * k + half - t + size * ry) % ry) * row
                to = (k + band * (ry // 2)) * row
                _sum_rows(taps, b, to, 2 * rx, a, places, high if band else low)
        m = rx // 2
        odd = 2 * (m + 2 * size)
        for y in range(ry):
            _wrapped(b, y * row, 2, m, size, line, 0)
            _wrapped(b, y * row + 2, 2, m, size, line, odd)
            for band in range(2):
                for t in range(size):
                    shift = half - t  # sample 2 k + shift is even or odd
                    places[t] = 2 * (size + shift // 2) + (odd if shift % 2 else 0)
                _sum_rows(taps, made, 0, 2 * m, line, places, high if band else low)
                a[y * row + band * 2 * m : y * row + (band + 1) * 2 * m] = made[: 2 * m]
    t_ = np.float32(threshold)
    for i in range(ny * nx):
        p = a[2 * i]
        q = a[2 * i + 1]
        factor = max(np.float32(1) - t_ / np.sqrt(p * p + q * q + np.float32(1e-37)), np.float32(0))
        a[2 * i] = p * factor
        a[2 * i + 1] = q * factor
    weights = np.empty(size, np.float32)
    for level in range(levels - 1, -1, -1):
        ry, rx = ny >> level, nx >> level
        m = rx // 2
        second = 2 * (m + 2 * size)
        for y in range(ry):
            _wrapped(a, y * row, 1, m, size, line, 0)
            _wrapped(a, y * row + 2 * m, 1, m, size, line, second)
            for parity in range(2):
                count = 0
                for j in range((half + parity) % 2, size, 2):
                    # Sample 2 q + parity went into coefficient q + shift with tap j.
                    shift = (parity + j - half) // 2
                    for band in range(2):
                        places[count] = 2 * (size + shift) + band * second
                        weights[count] = high[j] if band else low[j]
                        count += 1
                _sum_rows(taps, made, 0, 2 * m, line, places, weights)
                for q in range(m):
                    b[y * row + 4 * q + 2 * parity] = made[2 * q]
                    b[y * row + 4 * q + 2 * parity + 1] = made[2 * q + 1]
        for y in range(ry):
            count = 0
            for j in range((half + y) % 2, size, 2):
                k = ((y + j - half + size * ry) // 2) % (ry // 2)
                for band in range(2):
                    places[count] = (k + band * (ry // 2)) * row
                    weights[count] = high[j] if band else low[j]
                    count += 1
            _sum_rows(taps, a, y * row, 2 * rx, b, places, weights)
