"""Delay and sum, compiled: tiles of pixels, factorised phases, one 64-bit load per IQ sample.

The delay is a sum, ``tau = arrival(wave, pixel) + path(pixel, element) / c``, so the phase
``exp(2 pi i fd tau)`` is a product: per tile and element the path, its rotation and the aperture's
weight are tabulated once for all waves and frames, and each wave's own rotation is applied once
per pixel after the sum over elements. A tile is small enough that its sums stay in the cache and
wide enough that a trace, once loaded, serves many columns of the picture.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.acquire.ultrasound.das_vectors import LANES, add_eight, pair
from somascope.core.grid import Array

DEPTH = 64
"""Pixels of a tile along the depth."""
COLUMNS = 8
"""Columns of a tile."""
SETS = 80
"""Waves (or frames) whose sums are kept at a time."""

F = np.float32
PLANE, DIVERGING, FOCUSED, DELAYS = 0, 1, 2, 3
BOXCAR, HANN, HAMMING, TUKEY = 0, 1, 2, 3


@numba.njit(fastmath=True, error_model="numpy", inline="always")
def rotation(turns: Any) -> Any:
    """``cos`` and ``sin`` of 2 pi ``turns``, float32, to 4e-7: polynomials that vectorise."""
    x = turns - F(np.int32(turns))
    x = x - F(1) if x > F(0.5) else x
    x = x + F(1) if x < F(-0.5) else x
    # A quarter turn at most on each side: sin(2 pi x) = sin(2 pi (1/2 - x)).
    y = abs(x)
    s = F(0.25) - abs(F(0.25) - y)
    s = -s if x < F(0) else s
    c = F(0.25) - y
    return _sine(c), _sine(s)


@numba.njit(fastmath=True, error_model="numpy", inline="always")
def _sine(x: Any) -> Any:
    """``sin(2 pi x)`` for ``|x| <= 1/4``."""
    z = x * x
    p = F(39.536706) * z + F(-76.56499)
    p = p * z + F(81.60252)
    p = p * z + F(-41.341655)
    p = p * z + F(6.2831852)
    return p * x


@numba.njit(fastmath=True, error_model="numpy", inline="always")
def taper(q: Any, window: int) -> Any:
    """The window's weight at ``q``, 0 in the middle and 1 at the rim; 0 beyond it."""
    if q > F(1):
        return F(0)
    if window == BOXCAR:
        return F(1)
    if window == TUKEY:
        return F(1) if q < F(0.75) else F(0.5) + F(0.5) * rotation(F(2) * q - F(1.5))[0]
    c = rotation(F(0.5) * q)[0]
    return F(0.5) + F(0.5) * c if window == HANN else F(0.54) + F(0.46) * c


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def weights(at: Array, element: Array, normal: Array, rim: Any, f2: Any, window: int,
            away: Array, weight: Array) -> None:  # fmt: skip
    """Path in samples and weight of every point of a tile for one element.

    ``f2`` is twice the f-number: the element takes part where the point's lateral distance times
    ``f2`` is within its depth, both along the element's normal. With ``f2 = 0`` all elements do,
    weighted by ``rim``, their place in the aperture.
    """
    size = at.shape[1]
    for p in range(size):
        x, y, z = at[0, p] - element[0], at[1, p] - element[1], at[2, p] - element[2]
        square = x * x + y * y + z * z
        away[p] = np.sqrt(square)
        deep = x * normal[0] + y * normal[1] + z * normal[2]
        side = np.sqrt(max(square - deep * deep, F(0))) * f2
        weight[p] = side / deep if deep > F(0) else F(2)
    rim = F(rim)
    if f2 == F(0):
        for p in range(size):
            weight[p] = rim if weight[p] < F(2) else F(2)
    if window == BOXCAR:
        for p in range(size):
            weight[p] = F(1) if weight[p] <= F(1) else F(0)
    else:
        for p in range(size):
            weight[p] = taper(weight[p], window)


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def arrivals(kind: int, waves: Array, first: Array, at: Array, elements: Array,
             delays: Array) -> None:  # fmt: skip
    """When each wave reaches each point of a tile, in samples of the record.

    ``waves`` is ``(waves, 7)``: ``t0``, the vector, the beam's axis; ``delays`` of silent elements
    are infinite.
    """
    points = at.shape[1]
    for w in range(waves.shape[0]):
        t0, a, b, c = waves[w, 0], waves[w, 1], waves[w, 2], waves[w, 3]
        row = first[w]
        if kind == PLANE:
            for p in range(points):
                row[p] = t0 + a * at[0, p] + b * at[1, p] + c * at[2, p]
        elif kind == DELAYS:
            row[:] = F(1e30)
            for e in range(elements.shape[0]):
                d = delays[w, e]
                if d < F(1e29):
                    for p in range(points):
                        x, y = at[0, p] - elements[e, 0], at[1, p] - elements[e, 1]
                        z = at[2, p] - elements[e, 2]
                        row[p] = min(row[p], d + np.sqrt(x * x + y * y + z * z))
            for p in range(points):
                row[p] += t0
        else:
            for p in range(points):
                x, y, z = at[0, p] - a, at[1, p] - b, at[2, p] - c
                away = np.sqrt(x * x + y * y + z * z)
                if kind == FOCUSED and x * waves[w, 4] + y * waves[w, 5] + z * waves[w, 6] < F(0):
                    away = -away
                row[p] = t0 + away


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def inside(trace: Array, first: Array, away: Array, cosine: Array, sine: Array, real: Array,
           imaginary: Array, start: int, stop: int) -> None:  # fmt: skip
    """Add a trace to the sums of points ``start..stop``, whole lanes, all heard in the record."""
    for p in range(start, stop, LANES):
        add_eight(trace, first, away, cosine, sine, real, imaginary, p)  # pyright: ignore


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def ends(values: Array) -> Any:
    """Least and greatest value."""
    low, high = values[0], values[0]
    for v in values:
        low, high = min(low, v), max(high, v)
    return low, high


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def partly(trace: Array, first: Array, away: Array, cosine: Array, sine: Array, real: Array,
           imaginary: Array, start: int, stop: int) -> None:  # fmt: skip
    """The same where some samples are before or after the record: they are silent."""
    last = F(trace.shape[0] - 1)
    for p in range(start, stop):
        s = first[p] + away[p]
        if s >= F(0) and s < last:
            i = np.uint32(s)
            f = s - F(i)
            ar, ai = pair(trace[i])  # pyright: ignore
            br, bi = pair(trace[i + np.uint32(1)])  # pyright: ignore
            re = ar + f * (br - ar)
            im = ai + f * (bi - ai)
            real[p] += re * cosine[p] - im * sine[p]
            imaginary[p] += re * sine[p] + im * cosine[p]


@numba.njit(fastmath=True, error_model="numpy", boundscheck=False, nogil=True, cache=True)
def das_tiles(
    begin: int, end: int, tiles: Array, data: Array, kind: int, waves: Array, delays: Array,
    elements: Array, normals: Array, rims: Array, f2: Any, window: int, turn: Any, phase: Any,
    compound: bool, out: Array,  # noqa: FBT001
) -> None:  # fmt: skip
    """Sum the tiles ``begin..end``.

    Parameters
    ----------
    tiles
        ``(tiles, 3, columns * depth)``, points in samples of sound's way (mm fs / c), float32.
    data
        IQ as 64-bit words ``(frames, transmits, elements, samples)``.
    turn
        Carrier in turns per sample; ``phase`` turns at the record's start.
    out
        ``(tiles, rows, 2, columns * depth)``; a row per frame (compound), or per frame and wave.
    """
    frames, count, channels, samples = data.shape
    size = tiles.shape[2]
    runs = size // DEPTH
    away, weight = np.empty(size, F), np.empty(size, F)
    cosine, sine = np.empty(size, F), np.empty(size, F)
    first = np.empty((count, size), F)
    real, imaginary = np.empty((SETS, size), F), np.empty((SETS, size), F)
    least, most = np.empty((count, runs), F), np.empty((count, runs), F)
    low, high = np.empty(runs, np.int64), np.empty(runs, np.int64)
    near, far = np.empty(runs, F), np.empty(runs, F)
    sets = frames * count
    for tile in range(begin, end):
        at = tiles[tile]
        arrivals(kind, waves, first, at, elements, delays)
        for w in range(count):
            for r in range(runs):
                least[w, r], most[w, r] = ends(first[w, r * DEPTH : r * DEPTH + DEPTH])
        out[tile] = F(0)
        for from_set in range(0, sets, SETS):
            to_set = min(sets, from_set + SETS)
            real[:] = F(0)
            imaginary[:] = F(0)
            for e in range(channels):
                weights(at, elements[e], normals[e], rims[e], f2, window, away, weight)
                anything = False
                for r in range(runs):
                    a, b = r * DEPTH, r * DEPTH + DEPTH
                    while a < b and weight[a] == F(0):
                        a += 1
                    while b > a and weight[b - 1] == F(0):
                        b -= 1
                    if b > a:  # whole lanes: beyond the aperture they have no weight
                        a -= a % LANES
                        b += -b % LANES
                        anything = True
                        near[r], far[r] = ends(away[a:b])
                    low[r], high[r] = a, b
                if not anything:
                    continue
                for p in range(size):
                    c, s = rotation(turn * away[p])
                    cosine[p] = c * weight[p]
                    sine[p] = s * weight[p]
                for k in range(from_set, to_set):
                    w = k % count
                    trace, arrive = data[k // count, w, e], first[w]
                    re, im = real[k - from_set], imaginary[k - from_set]
                    for r in range(runs):
                        a, b = low[r], high[r]
                        if b == a:
                            continue
                        early, late = least[w, r] + near[r], most[w, r] + far[r]
                        if late < F(0) or early >= F(samples - 1):
                            continue
                        if early >= F(0) and late < F(samples - 1):
                            inside(trace, arrive, away, cosine, sine, re, im, a, b)
                        else:
                            partly(trace, arrive, away, cosine, sine, re, im, a, b)
            for k in range(from_set, to_set):
                w = k % count
                row = k // count if compound else k
                re, im = out[tile, row, 0], out[tile, row, 1]
                for p in range(size):
                    c, s = rotation(turn * first[w, p] + phase)
                    re[p] += real[k - from_set, p] * c - imaginary[k - from_set, p] * s
                    im[p] += real[k - from_set, p] * s + imaginary[k - from_set, p] * c
