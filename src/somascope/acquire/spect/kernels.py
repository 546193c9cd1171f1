"""Rotate, attenuate and blur layer by layer: the compiled loops of `spect.parallel`.

The image is held as lines along the axis of rotation, ``(y, x, v)``: all weights are per line, and
everything inside is vectors over the slices. A view is one walk from the farthest layer to the
nearest, ``s = blur(s) + e f``, with ``e`` what comes from there to the camera and ``f`` the layer's
activity, both by bilinear interpolation; nothing the size of a volume is stored: ``e`` begins as
what passes the whole body (`survival`) and grows with every layer left behind. Photons are thus
attenuated along the column they set out in. A straight path has gone only the square of its share
of the way sideways while it is still in the body; the sum ``s``, attenuated instead, would be
spread by then by more than twice its share, and leave the body too early. ``f`` is the mean of two
samples, a quarter of a layer before and behind its middle: their mean removes the beat
between the two lattices, by which a single voxel would count up to a fifth too much or too little
at 45 degrees. The transpose
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
        first, last = 0, columns
        for shift in (-0.25, 0.25):
            y, x = place[0] + (k + shift) * place[4], place[1] + (k + shift) * place[5]
            a, b = _reach(y, place[2], shape[0], columns)
            c, d = _reach(x, place[3], shape[1], columns)
            first, last = max(first, a, c), min(last, b, d)
        if low < high:
            low, high = max(0, low - margin), min(columns, high + margin)
        if first < last:
            low, high = min(low, first), max(high, last)
            out[k, 0], out[k, 1] = first, last
        out[k, 2], out[k, 3] = min(low, high), high
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _blur(s: Array, t: Array, row: Array, taps: Array, low: int, high: int) -> None:
    """``s`` into ``t``, both (columns + 4, lines + 4), over columns low..high; ``row`` is room.

    The borders of two, and two columns on both sides of the range, are zero in ``s``.
    """
    a0, a1, a2 = taps[0, 0], taps[0, 1], taps[0, 2]
    b0, b1, b2 = taps[1, 0], taps[1, 1], taps[1, 2]
    lines = np.uint64(s.shape[1] - 4)
    for j in range(low + 2, high + 2):
        l2, l1, m, r1, r2 = s[j - 2], s[j - 1], s[j], s[j + 1], s[j + 2]
        for z in range(np.uint64(2), lines + np.uint64(2)):
            row[z] = a0 * m[z] + a1 * (l1[z] + r1[z]) + a2 * (l2[z] + r2[z])
        out = t[j]
        for z in range(np.uint64(2), lines + np.uint64(2)):
            out[z] = (
                b0 * row[z]
                + b1 * (row[z - np.uint64(1)] + row[z + np.uint64(1)])
                + b2 * (row[z - np.uint64(2)] + row[z + np.uint64(2)])
            )


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _mix(out: Array, flat: Array, at: Array, w: Array, lines: int) -> None:
    """``out = sum_i w[i] flat[at[i]:at[i] + lines]``: a line between four."""
    a, b, c, d = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2]), np.uint64(at[3])
    wa, wb, wc, wd = w[0], w[1], w[2], w[3]
    for z in range(np.uint64(lines)):
        out[z] = wa * flat[a + z] + wb * flat[b + z] + wc * flat[c + z] + wd * flat[d + z]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _mean(out: Array, flat: Array, at: Array, w: Array, lines: int) -> None:
    """``out`` becomes the mean of itself and a line between four."""
    half = out.dtype.type(0.5)
    a, b, c, d = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2]), np.uint64(at[3])
    wa, wb, wc, wd = half * w[0], half * w[1], half * w[2], half * w[3]
    for z in range(np.uint64(lines)):
        more = wa * flat[a + z] + wb * flat[b + z] + wc * flat[c + z] + wd * flat[d + z]
        out[z] = half * out[z] + more


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _place(p: Array, k: float, j: int, nx: int, lines: int, at: Array, w: Array) -> None:
    """Where the four lines about column ``j`` of layer ``k`` begin, and their weights."""
    y, x = p[0] + k * p[4] + j * p[2], p[1] + k * p[5] + j * p[3]
    iy, ix = int(y), int(x)
    fy, fx = y - iy, x - ix
    at[0] = (iy * nx + ix) * lines
    at[1] = at[0] + lines
    at[2] = at[0] + nx * lines
    at[3] = at[2] + lines
    w[0], w[1] = (1 - fy) * (1 - fx), (1 - fy) * fx
    w[2], w[3] = fy * (1 - fx), fy * fx


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _wide(given: Array, taps: Array, t: Array, out: Array) -> None:
    """Both axes of ``(columns, lines)`` with wide symmetric kernels; ``t`` is room of that size."""
    columns, lines = given.shape
    radius = taps.shape[1] - 1
    for j in range(columns):
        line = t[j]
        line[:] = 0
        for r in range(-min(radius, j), min(radius, columns - 1 - j) + 1):
            w, other = taps[0, abs(r)], given[j + r]
            for z in range(np.uint64(lines)):
                line[z] += w * other[z]
    for j in range(columns):
        line, other = out[j], t[j]
        line[:] = 0
        for r in range(-min(radius, lines - 1), min(radius, lines - 1) + 1):
            w = taps[1, abs(r)]
            low = np.uint64(max(0, -r))
            shift = np.uint64(max(0, r))
            for z in range(np.uint64(lines - abs(r))):
                line[z + low] += w * other[z + shift]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def survival(
    start: int, stop: int, held: Array, place: Array, layers: Array, out: Array
) -> None:  # fmt: skip
    """What passes all layers, ``(views, columns, lines)``; the arguments are those of `project`."""
    ny, nx, lines = held.shape
    columns = out.shape[1]
    n, one = np.uint64(lines), held.dtype.type(1)
    kept = held.reshape(-1)
    q = np.zeros(lines, held.dtype)
    at, w = np.zeros(4, np.int64), np.zeros(4, held.dtype)
    for v in range(start, stop):
        ranges = _ranges(place[v], layers[v], (ny, nx), columns, 0)
        out[v] = one
        for k in range(layers[v]):
            for j in range(ranges[k, 0], ranges[k, 1]):
                _place(place[v], k, j, nx, lines, at, w)
                _mix(q, kept, at, w, lines)
                line = out[v, j]
                for z in range(n):
                    half = q[z] + one
                    line[z] /= half * half


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def project(
    start: int,
    stop: int,
    image: Array,
    held: Array,
    through: Array,
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
        ``(ny + 4, nx + 4, lines)`` with a border of zeros.
    held
        Likewise: by what half a layer weakens, a factor above 1, less 1; or of size 0 for no
        attenuation.
    through
        `survival`, ``(views, columns, lines)``; unused without attenuation.
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
    n, one = np.uint64(lines), image.dtype.type(1)
    flat, kept = image.reshape(-1), held.reshape(-1)
    s = np.zeros((columns + 4, lines + 4), image.dtype)
    t = np.zeros((columns + 4, lines + 4), image.dtype)
    row = np.zeros(lines + 4, image.dtype)
    f, q = np.zeros(lines, image.dtype), np.zeros(lines, image.dtype)
    at, w = np.zeros(4, np.int64), np.zeros(4, image.dtype)
    end = np.zeros((columns, lines), image.dtype)
    room = np.zeros((columns, lines), image.dtype)
    comes = np.zeros((columns, lines), image.dtype)
    blurs = last.shape[2] > 1
    margin = 2 * passes if blurs else 0
    for v in range(start, stop):
        p, count = place[v], layers[v]
        ranges = _ranges(p, count, (ny, nx), columns, margin)
        if kept.size > 0:
            comes[:] = through[v]
        s[:] = 0
        t[:] = 0
        for k in range(count):
            first, stops, low, high = ranges[k]
            if blurs:
                for _ in range(passes):
                    _blur(s, t, row, steps[v, k], low, high)
                    s, t = t, s
            for j in range(first, stops):
                _place(p, k - 0.25, j, nx, lines, at, w)
                _mix(f, flat, at, w, lines)
                _place(p, k + 0.25, j, nx, lines, at, w)
                _mean(f, flat, at, w, lines)
                line = s[j + 2]
                if kept.size > 0:
                    _place(p, k, j, nx, lines, at, w)
                    _mix(q, kept, at, w, lines)
                    e = comes[j]
                    for z in range(n):
                        half = q[z] + one
                        here = e[z] * half
                        line[z + np.uint64(2)] += here * f[z]
                        e[z] = here * half
                else:
                    for z in range(n):
                        line[z + np.uint64(2)] += f[z]
        for j in range(columns):
            line, other, factor = end[j], s[j + 2], scale[v]
            for z in range(n):
                line[z] = other[z + np.uint64(2)] * factor
        _wide(end, last[v], room, out[v])


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def spread(
    start: int,
    stop: int,
    rows: Array,
    held: Array,
    through: Array,  # noqa: ARG001  (the arguments are those of `project`)
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

    ``rows`` is ``(views, columns, lines)``, ``out`` ``(chunks, ny + 4, nx + 4, lines)``; the other
    arguments as for `project`. The sum over ``out`` is the image.
    """
    _, ny, nx, lines = out.shape
    columns = rows.shape[1]
    n, one, share = np.uint64(lines), out.dtype.type(1), out.dtype.type(0.5)
    kept = held.reshape(-1)
    s = np.zeros((columns + 4, lines + 4), out.dtype)
    t = np.zeros((columns + 4, lines + 4), out.dtype)
    row = np.zeros(lines + 4, out.dtype)
    f, q = np.zeros(lines, out.dtype), np.zeros(lines, out.dtype)
    at, w = np.zeros(4, np.int64), np.zeros(4, out.dtype)
    wide = np.zeros((columns, lines), out.dtype)
    room = np.zeros((columns, lines), out.dtype)
    comes = np.ones((columns, lines), out.dtype)
    blurs = last.shape[2] > 1
    margin = 2 * passes if blurs else 0
    for c in range(start, stop):
        flat = out[c].reshape(-1)
        for v in range(shares[c], shares[c + 1]):
            p, count = place[v], layers[v]
            ranges = _ranges(p, count, (ny, nx), columns, margin)
            _wide(rows[v], last[v], room, wide)
            comes[:] = one
            s[:] = 0
            t[:] = 0
            for j in range(columns):
                line, other, factor = s[j + 2], wide[j], scale[v]
                for z in range(n):
                    line[z + np.uint64(2)] = other[z] * factor
            for i in range(count):
                k = count - 1 - i
                first, stops, low, high = ranges[k]
                # What no voxel of this or a farther layer needs must not come back by the blur.
                for side in range(2):
                    for j in (low + side, high + 2 + side):
                        s[j] = 0
                        t[j] = 0
                for j in range(first, stops):
                    line = s[j + 2]
                    if kept.size > 0:
                        _place(p, k, j, nx, lines, at, w)
                        _mix(q, kept, at, w, lines)
                        e = comes[j]
                        for z in range(n):
                            half = one / (q[z] + one)
                            here = e[z] * half
                            f[z] = line[z + np.uint64(2)] * here
                            e[z] = here * half
                    else:
                        for z in range(n):
                            f[z] = line[z + np.uint64(2)]
                    for shift in (-0.25, 0.25):
                        _place(p, k + shift, j, nx, lines, at, w)
                        for corner in range(4):
                            base, weight = np.uint64(at[corner]), w[corner] * share
                            for z in range(n):
                                flat[base + z] += weight * f[z]
                if blurs:
                    for _ in range(passes):
                        _blur(s, t, row, steps[v, k], low, high)
                        s, t = t, s
