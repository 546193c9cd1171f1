"""Beamformers that look at the channels before they add them, compiled, tile by tile."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.acquire.ultrasound.das_kernel import (
    DEPTH,
    F,
    arrivals,
    ends,
    inside,
    partly,
    rotation,
    weights,
)
from somascope.core.grid import Array

DMAS, CF, GCF, CAPON = 0, 1, 2, 3


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def adaptive_tiles(
    begin: int, end: int, tiles: Array, data: Array, kind: int, waves: Array, delays: Array,
    elements: Array, normals: Array, rims: Array, f2: Any, window: int, turn: Any, phase: Any,
    method: int, share: float, loading: float, cutoff: int, out: Array,
) -> None:  # fmt: skip
    """As `das_kernel.das_tiles`, one row of ``out`` per frame; all waves compounded per channel.

    ``share`` is the subaperture's part of the active elements and ``loading`` the diagonal load of
    Capon; ``cutoff`` the number of low spatial frequencies on each side of zero of the GCF.
    """
    frames, count, channels, samples = data.shape
    size = tiles.shape[2]
    runs = size // DEPTH
    away, weight = np.empty(size, F), np.empty((channels, size), F)
    cosine, sine = np.empty(size, F), np.empty(size, F)
    first = np.empty((count, size), F)
    tc, ts = np.empty((count, size), F), np.empty((count, size), F)
    re, im = np.empty((channels, size), F), np.empty((channels, size), F)
    a, b = np.empty(size, F), np.empty(size, F)
    x = np.empty(channels, np.complex64)
    w = np.empty(channels, F)
    for tile in range(begin, end):
        at = tiles[tile]
        arrivals(kind, waves, first, at, elements, delays)
        for t in range(count):
            for p in range(size):
                tc[t, p], ts[t, p] = rotation(turn * first[t, p] + phase)
        for frame in range(frames):
            re[:] = F(0)
            im[:] = F(0)
            for e in range(channels):
                weights(at, elements[e], normals[e], rims[e], f2, window, away, weight[e])
                if not np.any(weight[e] > F(0)):
                    continue
                for p in range(size):
                    cosine[p], sine[p] = rotation(turn * away[p])
                for t in range(count):
                    a[:] = F(0)
                    b[:] = F(0)
                    for r in range(runs):
                        lo, hi = r * DEPTH, r * DEPTH + DEPTH
                        least, most = ends(first[t, lo:hi])
                        near, far = ends(away[lo:hi])
                        early, late = least + near, most + far
                        if late < F(0) or early >= F(samples - 1):
                            continue
                        trace = data[frame, t, e]
                        if early >= F(0) and late < F(samples - 1):
                            inside(trace, first[t], away, cosine, sine, a, b, lo, hi)
                        else:
                            partly(trace, first[t], away, cosine, sine, a, b, lo, hi)
                    for p in range(size):
                        re[e, p] += a[p] * tc[t, p] - b[p] * ts[t, p]
                        im[e, p] += a[p] * ts[t, p] + b[p] * tc[t, p]
            for p in range(size):
                n = 0
                for e in range(channels):
                    if weight[e, p] > F(0):
                        x[n] = complex(re[e, p], im[e, p])
                        w[n] = weight[e, p]
                        n += 1
                value = np.complex64(0)
                if n > 0:
                    if method == DMAS:
                        value = _dmas(x[:n], w[:n])
                    elif method == CF:
                        value = _coherence(x[:n], w[:n], 0)
                    elif method == GCF:
                        value = _coherence(x[:n], w[:n], cutoff)
                    else:
                        value = _capon(x[:n], share, loading)
                out[tile, frame, 0, p] = value.real
                out[tile, frame, 1, p] = value.imag


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def _dmas(x: Array, w: Array) -> Any:
    """``sum_{i<j} u_i u_j``, ``u = sqrt|w x| exp(i arg x)``, with the phase of the plain sum."""
    total, squares = np.complex64(0), np.complex64(0)
    for i in range(x.shape[0]):
        m = abs(x[i])
        if m > 0:
            u = x[i] * (np.sqrt(w[i] / m))
            total += u
            squares += u * u
    y = F(0.5) * (total * total - squares)
    m = abs(y)
    if m == 0:
        return np.complex64(0)
    # The product has twice the phase; the carrier's phase is that of the plain sum.
    m2 = abs(total)
    return np.complex64(total * (m / m2)) if m2 > 0 else np.complex64(0)


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def _coherence(x: Array, w: Array, cutoff: int) -> Any:
    """The weighted sum times the share of the energy in low spatial frequencies."""
    n = x.shape[0]
    total, energy = np.complex64(0), F(0)
    for i in range(n):
        total += w[i] * x[i]
        energy += x[i].real * x[i].real + x[i].imag * x[i].imag
    if energy == 0:
        return np.complex64(0)
    low = F(0)
    for m in range(-cutoff, cutoff + 1):
        part = np.complex64(0)
        for i in range(n):
            c, s = rotation(F(m * i) / F(n))
            part += x[i] * np.complex64(complex(c, -s))
        low += part.real * part.real + part.imag * part.imag
    return np.complex64(total * (low / (F(n) * energy)))


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def _capon(x: Array, share: float, loading: float) -> Any:
    """Minimum variance with subaperture averaging and diagonal loading, times the aperture."""
    n = x.shape[0]
    size = max(1, int(share * n))
    if size == 1 or n < 3:
        return np.complex64(np.sum(x))
    count = n - size + 1
    r = np.empty((size, size), np.complex64)
    # The first row directly; along each diagonal one product enters and one leaves.
    for j in range(size):
        total = np.complex64(0)
        for k in range(count):
            total += x[k] * np.conj(x[k + j])
        r[0, j] = total
        for i in range(1, size - j):
            total += x[count - 1 + i] * np.conj(x[count - 1 + i + j])
            total -= x[i - 1] * np.conj(x[i - 1 + j])
            r[i, i + j] = total
    trace = F(0)
    for i in range(size):
        trace += r[i, i].real
    if not trace > 0:
        return np.complex64(0)
    load = F(loading) * trace / F(size)
    for i in range(size):
        r[i, i] = np.complex64(complex(r[i, i].real + load, 0))
    # Cholesky R = U^H U row by row in the upper half, and U^H y = 1 on the way.
    y = np.ones(size, np.complex64)
    for i in range(size):
        d = r[i, i].real
        if not d > 0:
            return np.complex64(np.sum(x))
        inverse = F(1) / np.sqrt(d)
        for j in range(i, size):
            r[i, j] = r[i, j] * inverse
        y[i] = y[i] * inverse
        for k in range(i + 1, size):
            f = np.conj(r[i, k])
            for j in range(k, size):
                r[k, j] -= f * r[i, j]
            y[k] -= f * y[i]
    norm = F(0)
    for i in range(size):
        norm += y[i].real * y[i].real + y[i].imag * y[i].imag
    for i in range(size - 1, -1, -1):
        total = y[i]
        for j in range(i + 1, size):
            total -= r[i, j] * y[j]
        y[i] = total / r[i, i]
    value = np.complex64(0)
    for k in range(count):
        for i in range(size):
            value += np.conj(y[i]) * x[k + i]
    return np.complex64(value * (F(n) / (norm * F(count))))
