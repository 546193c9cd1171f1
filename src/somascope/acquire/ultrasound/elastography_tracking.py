"""How far tissue has moved along the beam between two frames of IQ, guided from row to row.

The phase of the correlation tells the displacement to a small part of a wavelength, but only up
to half wavelengths; which one, the neighbours that are known already say: the search goes from
the probe downwards and tries what the pixels above it found (Zahiri-Azar and Salcudean, IEEE TBME
53, 2006; phase root seeking: Pesavento et al., IEEE UFFC 46, 1999).
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(inline="always", cache=True)
def _correlation(
    a: Array, b: Array, y: int, x: int, lag: float, tall: int, wide: int
) -> tuple[complex, float]:
    """``sum conj(a(y)) b(y + lag)`` of the window, and its magnitude over both powers' mean."""
    ny, nx = a.shape
    whole = int(np.floor(lag))
    rest = lag - whole
    total = 0j
    pa = pb = 0.0
    for p in range(max(y - tall, 0), min(y + tall, ny - 1) + 1):
        q = p + whole
        if q < 0 or q >= ny - 1:
            continue
        for r in range(max(x - wide, 0), min(x + wide, nx - 1) + 1):
            one = a[p, r]
            two = (1 - rest) * b[q, r] + rest * b[q + 1, r]
            total += np.conj(one) * two
            pa += one.real * one.real + one.imag * one.imag
            pb += two.real * two.real + two.imag * two.imag
    size = np.sqrt(pa * pb)
    return total, (abs(total) / size if size > 0 else 0.0)


@numba.njit(inline="always", cache=True)
def _refined(
    a: Array, b: Array, y: int, x: int, lag: float, turn: float, tall: int, wide: int
) -> tuple[float, float]:
    """Two steps of phase root seeking from ``lag``; the lag and its correlation."""
    quality = 0.0
    for _ in range(2):
        total, quality = _correlation(a, b, y, x, lag, tall, wide)
        if quality == 0.0:
            return lag, 0.0
        error = np.angle(total) + turn * lag
        error -= 2 * np.pi * np.round(error / (2 * np.pi))
        lag -= error / turn
    return lag, quality


@numba.njit(cache=True)
def track(
    a: Array, b: Array, turn: float, most: float, tall: int, wide: int
) -> tuple[Array, Array]:
    """Displacement in rows (deeper is positive) and correlation, both ``(ny, nx)`` float64.

    Parameters
    ----------
    a, b
        Frames ``(ny, nx)`` complex, baseband: an echo that moves by d rows turns by
        ``-turn d``.
    turn
        Radians per row: ``4 pi f dy / c``.
    most
        Largest displacement in rows at the top.
    tall, wide
        Half the window in rows and columns.
    """
    ny, nx = a.shape
    found = np.zeros((ny, nx))
    quality = np.zeros((ny, nx))
    # The first row has no neighbour above: all displacements are tried, an eighth of a wavelength
    # apart, on a window four times as tall.
    step = 2 * np.pi / turn / 4
    top = min(4 * tall, ny // 4)
    for x in range(nx):
        best = -1.0
        start = 0.0
        tries = int(np.ceil(most / step))
        for k in range(-tries, tries + 1):
            lag = k * step
            _, q = _correlation(a, b, top, x, lag, top, max(wide, 2))
            if q > best:
                best, start = q, lag
        found[0, x], quality[0, x] = start, best
    # One column may have found a neighbouring wavelength: the row's median is tried too.
    middle = float(np.median(found[0]))
    for y in range(ny):
        above = max(y - 1, 0)
        previous = found[above].copy()
        for x in range(nx):
            best = -1.0
            chosen = previous[x]
            for k in range(4):
                lag = middle if k == 3 else previous[min(max(x + k - 1, 0), nx - 1)]
                lag, q = _refined(a, b, y, x, lag, turn, tall, wide)
                if q > best:
                    best, chosen = q, lag
            found[y, x], quality[y, x] = chosen, best
        middle = float(np.median(found[y]))
    return found, quality


def slope(values: Array, weights: Array, *, rows: int) -> Array:
    """Weighted least-squares slope along the first axis over ``2 rows + 1`` entries (per entry).

    Kallel and Ophir, Ultrasonic Imaging 19, 1997. ``(ny, nx)`` in and out.
    """
    from scipy.ndimage import uniform_filter1d

    n = 2 * rows + 1
    y = np.arange(len(values), dtype=np.float64)[:, None]

    def mean(v: Array) -> Array:
        return n * uniform_filter1d(v, n, axis=0, mode="constant")

    w, wy, wv = mean(weights), mean(weights * y), mean(weights * values)
    wyy, wyv = mean(weights * y * y), mean(weights * y * values)
    spread = w * wyy - wy * wy
    return (w * wyv - wy * wv) / np.where(spread > 0, spread, 1.0)
