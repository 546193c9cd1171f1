"""Rotate, attenuate and blur layer by layer: the compiled loops of `spect.parallel`.

The image is held as lines along the axis of rotation, ``(y, x, v)``: all weights are per line, and
everything inside is vectors over the slices. A view is one walk from the farthest layer to the
nearest, ``s = (blur(s) q + f) q``, with ``q`` what half a layer lets through and ``f`` the layer's
activity, both by bilinear interpolation; nothing the size of a volume is stored. The transpose
walks back. Rows of a layer that no voxel reaches, now or farther away, are left out.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(cache=True, nogil=True)
def _reach(start: float, step: float, size: int, count: int) -> tuple[int, int]:
    """Indices j of ``count`` with ``0 <= start + j step < size - 1``, a hair inside."""
    top = size - 1 - 1e-5
    if abs(step) < 1e-9:
        return (0, count) if 0 <= start < top else (0, 0)
    a, b = -start / step, (top - start) / step
    low = max(0, int(np.ceil(min(a, b) - 1e-9)))
    high = min(count, int(np.floor(max(a, b) + 1e-9)) + 1)
    return low, max(low, high)


@numba.njit(cache=True, nogil=True)
def _ranges(place: Array, layers: int, shape: tuple[int, int], columns: int, margin: int) -> Array:
    """Per layer: first and last column inside the image; and of all that came from farther."""
    out = np.zeros((layers, 4), np.int64)
    low, high = columns, 0
    for k in range(layers):
        y, x = place[0] + k * place[4], place[1] + k * place[5]
        a, b = _reach(y, place[2], shape[0], columns)
        c, d = _reach(x, place[3], shape[1], columns)
        first, last = max(a, c), min(b, d)
        if low < high:
            low, high = max(0, low - margin), min(columns, high + margin)
        if first < last:
            low, high = min(low, first), max(high, last)
            out[k, 0], out[k, 1] = first, last
        out[k, 2], out[k, 3] = min(low, high), high
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _blur(s: Array, t: Array, taps: Array, low: int, high: int, lines: int) -> None:
    """``s`` (columns + 4, lines + 4; a border of two zeros) in place, over columns low..high."""
    a0, a1, a2 = taps[0, 0], taps[0, 1], taps[0, 2]
    b0, b1, b2 = taps[1, 0], taps[1, 1], taps[1, 2]
    for j in range(low + 2, high + 2):
        for z in range(2, lines + 2):
            t[j, z] = (
                a0 * s[j, z] + a1 * (s[j - 1, z] + s[j + 1, z]) + a2 * (s[j - 2, z] + s[j + 2, z])
            )
    for j in range(low + 2, high + 2):
        for z in range(2, lines + 2):
            s[j, z] = (
                b0 * t[j, z] + b1 * (t[j, z - 1] + t[j, z + 1]) + b2 * (t[j, z - 2] + t[j, z + 2])
            )


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _wide(given: Array, taps: Array, out: Array) -> None:
    """Both axes of ``(columns, lines)`` with wide symmetric kernels; zero beyond the border."""
    columns, lines = given.shape
    radius = taps.shape[1] - 1
    t = np.zeros_like(given)
    for j in range(columns):
        for r in range(-min(radius, j), min(radius, columns - 1 - j) + 1):
            w = taps[0, abs(r)]
            for z in range(lines):
                t[j, z] += w * given[j + r, z]
    for j in range(columns):
        out[j, :] = 0
        for r in range(-radius, radius + 1):
            w = taps[1, abs(r)]
            for z in range(max(0, -r), min(lines, lines - r)):
                out[j, z] += w * t[j, z + r]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def project(
    start: int,
    stop: int,
    image: Array,
    passed: Array,
    place: Array,
    layers: Array,
    steps: Array,
    passes: int,
    last: Array,
    scale: Array,
    out: Array,
) -> None:
    """Views ``start`` to ``stop`` of ``out`` ``(views, columns, lines)``.

    Parameters
    ----------
    image
        ``(ny + 2, nx + 2, lines)`` with a border of zeros.
    passed
        Likewise: what half a layer lets through, less 1; or of size 0 for no attenuation.
    place
        ``(views, 6)`` in padded indices: ``(y, x)`` of column 0 in the farthest layer, the step
        from column to column, and from layer to layer.
    layers, scale
        Per view: how many, and the factor of the whole.
    steps, passes, last
        Of `response.Walk`.
    """
    ny, nx, lines = image.shape
    columns = out.shape[1]
    weak = passed.size > 0
    zero = image.dtype.type(0)
    one = image.dtype.type(1)
    s = np.zeros((columns + 4, lines + 4), image.dtype)
    t = np.zeros((columns + 4, lines + 4), image.dtype)
    q = np.ones(lines, image.dtype)
    blurs = last.shape[2] > 1
    for v in range(start, stop):
        p = place[v]
        count = layers[v]
        ranges = _ranges(p, count, (ny, nx), columns, 2 * passes if blurs else 0)
        s[:] = zero
        t[:] = zero
        for k in range(count):
            first, end, low, high = ranges[k]
            if blurs:
                for _ in range(passes):
                    _blur(s, t, steps[v, k], low, high, lines)
            for j in range(first, end):
                y, x = p[0] + k * p[4] + j * p[2], p[1] + k * p[5] + j * p[3]
                iy, ix = int(y), int(x)
                fy, fx = image.dtype.type(y - iy), image.dtype.type(x - ix)
                w00, w01 = (one - fy) * (one - fx), (one - fy) * fx
                w10, w11 = fy * (one - fx), fy * fx
                r00, r01 = image[iy, ix], image[iy, ix + 1]
                r10, r11 = image[iy + 1, ix], image[iy + 1, ix + 1]
                row = s[j + 2]
                if weak:
                    m00, m01 = passed[iy, ix], passed[iy, ix + 1]
                    m10, m11 = passed[iy + 1, ix], passed[iy + 1, ix + 1]
                    for z in range(lines):
                        q[z] = one + w00 * m00[z] + w01 * m01[z] + w10 * m10[z] + w11 * m11[z]
                    for z in range(lines):
                        f = w00 * r00[z] + w01 * r01[z] + w10 * r10[z] + w11 * r11[z]
                        row[z + 2] = (row[z + 2] * q[z] + f) * q[z]
                else:
                    for z in range(lines):
                        row[z + 2] += w00 * r00[z] + w01 * r01[z] + w10 * r10[z] + w11 * r11[z]
        _wide(s[2 : columns + 2, 2 : lines + 2], last[v], out[v])
        for j in range(columns):
            for z in range(lines):
                out[v, j, z] *= scale[v]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def spread(
    start: int,
    stop: int,
    rows: Array,
    passed: Array,
    place: Array,
    layers: Array,
    steps: Array,
    passes: int,
    last: Array,
    scale: Array,
    shares: Array,
    out: Array,
) -> None:
    """The transpose: views ``shares[c]`` to ``shares[c + 1]`` into ``out[c]``, which is its own.

    ``rows`` is ``(views, columns, lines)``, ``out`` ``(chunks, ny + 2, nx + 2, lines)``; the other
    arguments as for `project`. The sum over ``out`` is the image.
    """
    _, ny, nx, lines = out.shape
    columns = rows.shape[1]
    weak = passed.size > 0
    zero = out.dtype.type(0)
    one = out.dtype.type(1)
    s = np.zeros((columns + 4, lines + 4), out.dtype)
    t = np.zeros((columns + 4, lines + 4), out.dtype)
    q = np.ones(lines, out.dtype)
    wide = np.zeros((columns, lines), out.dtype)
    blurs = last.shape[2] > 1
    for c in range(start, stop):
        image = out[c]
        for v in range(shares[c], shares[c + 1]):
            p = place[v]
            count = layers[v]
            ranges = _ranges(p, count, (ny, nx), columns, 2 * passes if blurs else 0)
            _wide(rows[v], last[v], wide)
            s[:] = zero
            t[:] = zero
            for j in range(columns):
                for z in range(lines):
                    s[j + 2, z + 2] = wide[j, z] * scale[v]
            for n in range(count):
                k = count - 1 - n
                first, end, low, high = ranges[k]
                for j in range(low):
                    s[j + 2, :] = zero
                for j in range(high, columns):
                    s[j + 2, :] = zero
                for j in range(first, end):
                    y, x = p[0] + k * p[4] + j * p[2], p[1] + k * p[5] + j * p[3]
                    iy, ix = int(y), int(x)
                    fy, fx = out.dtype.type(y - iy), out.dtype.type(x - ix)
                    w00, w01 = (one - fy) * (one - fx), (one - fy) * fx
                    w10, w11 = fy * (one - fx), fy * fx
                    r00, r01 = image[iy, ix], image[iy, ix + 1]
                    r10, r11 = image[iy + 1, ix], image[iy + 1, ix + 1]
                    row = s[j + 2]
                    if weak:
                        m00, m01 = passed[iy, ix], passed[iy, ix + 1]
                        m10, m11 = passed[iy + 1, ix], passed[iy + 1, ix + 1]
                        for z in range(lines):
                            q[z] = one + w00 * m00[z] + w01 * m01[z] + w10 * m10[z] + w11 * m11[z]
                        for z in range(lines):
                            g = row[z + 2] * q[z]
                            q[z] *= g
                            row[z + 2] = g
                    for z in range(lines):
                        r00[z] += w00 * row[z + 2]
                    for z in range(lines):
                        r01[z] += w01 * row[z + 2]
                    for z in range(lines):
                        r10[z] += w10 * row[z + 2]
                    for z in range(lines):
                        r11[z] += w11 * row[z + 2]
                    if weak:
                        for z in range(lines):
                            row[z + 2] = q[z]
                if blurs:
                    for _ in range(passes):
                        _blur(s, t, steps[v, k], low, high, lines)
