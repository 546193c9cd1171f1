"""Second derivatives of a volume at a scale, plane by plane, and what is made of their eigenvalues.

Every core takes planes: it smooths and derives along z from the planes around, then along y row by
row and along x, and hands each voxel's six derivatives to the measure. Nothing of the size of the
volume is kept but input and output.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.neighbours import LOG2E, power2

REACH = 4.0
"""Kernels end at this many standard deviations."""

FRANGI, SATO, MEIJERING, NORM = range(4)


def kernels(sigma: float) -> tuple[Float, Float, Float]:
    """Gaussian of ``sigma`` samples and its first and second derivative, each ``(2 r + 1,)``.

    Normalised so that constants, slopes and parabolas come out exactly.
    """
    radius = max(int(REACH * sigma + 0.5), 1)
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    g = np.exp(-0.5 * (x / max(sigma, 0.1)) ** 2)
    g /= g.sum()
    first = x * g  # as a correlation: the sum of x f(x) is the slope
    first /= (x * first).sum()
    second = g * (x**2 - (g * x**2).sum())
    second *= 2.0 / (x**2 * second).sum()
    return g, first, second


@numba.njit(inline="always")
def eigenvalues(xx: Any, yy: Any, zz: Any, xy: Any, xz: Any, yz: Any) -> tuple[Any, Any, Any]:
    """Of a symmetric 3 x 3 matrix, ascending, in closed form (Smith, CACM 4, 1961)."""
    q = (xx + yy + zz) / 3.0
    a, b, c = xx - q, yy - q, zz - q
    off = xy * xy + xz * xz + yz * yz
    p = np.sqrt(max((a * a + b * b + c * c + 2.0 * off) / 6.0, 0.0))
    if p < 1e-30:
        return q, q, q
    det = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    r = min(max(det / (2.0 * p * p * p), -1.0), 1.0)
    phi = np.arccos(r) / 3.0
    high = q + 2.0 * p * np.cos(phi)
    low = q + 2.0 * p * np.cos(phi + 2.0943951023931953)
    return low, 3.0 * q - high - low, high


@numba.njit(inline="always")
def _by_size(a: Any, b: Any, c: Any) -> tuple[Any, Any, Any]:
    if abs(a) > abs(b):
        a, b = b, a
    if abs(b) > abs(c):
        b, c = c, b
    if abs(a) > abs(b):
        a, b = b, a
    return a, b, c


@numba.njit(inline="always")
def _neurite(low: Any, high: Any, share: Any, own: Any) -> Any:
    """The modified eigenvalue of greatest size, where it is that of a bright ridge."""
    ridge, valley = -(own * low + share), own * high + share
    return ridge if ridge > 0 and ridge >= valley else 0.0


@numba.njit(inline="always")
def _measure(
    kind: int, flat: int, sign: Any, xx: Any, yy: Any, zz: Any, xy: Any, xz: Any, yz: Any,
    alpha: Any, beta: Any, gamma: Any,
) -> Any:  # fmt: skip
    """Of bright tubes; ``sign`` -1 turns dark ones bright. ``flat``: in two dimensions."""
    if kind == NORM:
        square = xx * xx + yy * yy + 2.0 * xy * xy
        return np.sqrt(square if flat else square + zz * zz + 2.0 * (xz * xz + yz * yz))
    if flat:
        mean, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
        root = np.sqrt(half * half + xy * xy)
        low, high = sign * mean - root, sign * mean + root
        if kind == SATO:
            return max(-low, 0.0)
        if kind == MEIJERING:
            return _neurite(low, high, (low + high) / 3.0, 2.0 / 3.0)
        if abs(low) > abs(high):
            low, high = high, low
        if high >= 0:
            return 0.0
        blob = low / high
        return np.exp(-blob * blob / (2.0 * beta * beta)) * (
            1.0 - np.exp(-(low * low + high * high) / (2.0 * gamma * gamma))
        )
    low, middle, high = eigenvalues(
        sign * xx, sign * yy, sign * zz, sign * xy, sign * xz, sign * yz
    )
    if kind == SATO:
        return np.sqrt(low * middle) if middle < 0 else 0.0
    if kind == MEIJERING:
        return _neurite(low, high, (low + middle + high) / 4.0, 0.75)
    l1, l2, l3 = _by_size(low, middle, high)
    if l2 >= 0 or l3 >= 0:
        return 0.0
    plate = l2 / l3
    blob = l1 * l1 / (l2 * l3)
    size = l1 * l1 + l2 * l2 + l3 * l3
    return (
        (1.0 - np.exp(-plate * plate / (2.0 * alpha * alpha)))
        * np.exp(-blob / (2.0 * beta * beta))
        * (1.0 - np.exp(-size / (2.0 * gamma * gamma)))
    )


@numba.njit(fastmath=True, cache=True)
def _plane(padded: Array, z: int, first: int, taps: Array, out: Array) -> None:
    """``out <- sum_k taps[k] padded[z + k]``, rows from ``first`` on."""
    ny, nx = out.shape
    for y in range(ny):
        row = out[y]
        row[:] = 0
        for k in range(taps.size):
            w = taps[k]
            if w != 0:
                source = padded[z + k, first + y]
                for x in range(nx):
                    row[x] += w * source[x]


@numba.njit(fastmath=True, cache=True)
def _row(plane: Array, y: int, taps: Array, out: Array) -> None:
    """Four rows at a time: what is summed is read and written a quarter as often."""
    n = out.size
    out[:] = 0
    whole = taps.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        p, q = plane[y + k], plane[y + k + 1]
        r, s = plane[y + k + 2], plane[y + k + 3]
        for x in range(n):
            out[x] += (a * p[x] + b * q[x]) + (c * r[x] + d * s[x])
    for k in range(whole, taps.size):
        w, source = taps[k], plane[y + k]
        for x in range(n):
            out[x] += w * source[x]


@numba.njit(fastmath=True, cache=True)
def _across(row: Array, taps: Array, out: Array) -> None:
    n = out.size
    out[:] = 0
    whole = taps.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        p, q, r, s = row[k:], row[k + 1 :], row[k + 2 :], row[k + 3 :]
        for x in range(n):
            out[x] += (a * p[x] + b * q[x]) + (c * r[x] + d * s[x])
    for k in range(whole, taps.size):
        w, source = taps[k], row[k:]
        for x in range(n):
            out[x] += w * source[x]


@numba.njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, cache=True)
def _frangi_flat(h: Array, sign: float, beta: float, gamma: float, target: Array) -> None:
    """`_measure` of a row in two dimensions, as vector instructions."""
    round_ = np.float32(LOG2E / (2.0 * beta * beta))
    faint = np.float32(LOG2E / (2.0 * gamma * gamma))
    way, zero, one = np.float32(sign), np.float32(0), np.float32(1)
    two = np.float32(0.5)
    for x in range(target.size):
        mean, half = way * two * (h[0, x] + h[1, x]), two * (h[0, x] - h[1, x])
        root = np.sqrt(half * half + h[3, x] * h[3, x])
        # The curvature along the ridge and, larger, across it: below 0 on a bright one.
        along, across = mean + root, mean - root
        ridge = mean < zero
        below = across if ridge else -one
        blob = along / below
        size = along * along + across * across
        v = power2(-blob * blob * round_) * (one - power2(-size * faint))
        v = v if ridge else zero
        target[x] = max(target[x], v)


@numba.njit(nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, cache=True)
def measured(
    start: int, stop: int, most: Float, padded: Array, taps: Any, kind: int, flat: int,
    sign: float, alpha: float, beta: float, gamma: float, out: Array, bands: int,
) -> None:  # fmt: skip
    """Put the measure into ``out`` where it is larger (not the norm).

    Parameters
    ----------
    start, stop
        Which of the ``nz bands`` parts.
    most
        ``(nz bands,)`` float64: becomes the greatest of each part.
    padded
        ``(nz + 2 rz, ny + 2 ry, nx + 2 rx)`` float32.
    taps
        Nine float32 arrays: smoothing, first and second derivative along z, then y, then x.
    out
        ``(nz, ny, nx)`` float32.
    bands
        Parts of rows of each plane that are handled side by side.
    """
    z0, z1, z2, y0, y1, y2, x0, x1, x2 = taps
    _, ny, nx = out.shape
    _, wide, long = padded.shape
    reach = wide - ny
    for part in range(start, stop):
        most[part] = 0
        z, band = part // bands, part % bands
        low, high = band * ny // bands, (band + 1) * ny // bands
        rows = high - low + reach
        plane0 = np.empty((rows, long), np.float32)
        plane1 = np.empty((rows if not flat else 1, long), np.float32)
        plane2 = np.empty((rows if not flat else 1, long), np.float32)
        _plane(padded, z, low, z0, plane0)
        if not flat:
            _plane(padded, z, low, z1, plane1)
            _plane(padded, z, low, z2, plane2)
        r = np.empty((6, long), np.float32)
        h = np.zeros((6, nx), np.float32)
        for y in range(high - low):
            _row(plane0, y, y0, r[0])
            _row(plane0, y, y2, r[1])
            _row(plane0, y, y1, r[3])
            _across(r[0], x2, h[0])
            _across(r[1], x0, h[1])
            _across(r[3], x1, h[3])
            if not flat:
                _row(plane2, y, y0, r[2])
                _row(plane1, y, y0, r[4])
                _row(plane1, y, y1, r[5])
                _across(r[2], x0, h[2])
                _across(r[4], x1, h[4])
                _across(r[5], x0, h[5])
            target = out[z, low + y]
            if flat and kind == FRANGI:
                _frangi_flat(h, sign, beta, gamma, target)
                continue
            for x in range(nx):
                v = _measure(
                    kind, flat, sign, h[0, x], h[1, x], h[2, x], h[3, x], h[4, x], h[5, x],
                    alpha, beta, gamma,
                )  # fmt: skip
                most[part] = max(most[part], v)
                if kind != NORM and v > target[x]:
                    target[x] = v
