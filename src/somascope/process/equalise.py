"""Contrast limited adaptive histogram equalisation: tile histograms, mappings, interpolation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.chunks import alone_if_small
from somascope.process.entries import like, working

VOXELS = 1 << 18
"""Voxels in floating point at one time."""
BLENDED = 4
"""Entries of a row's tables per voxel up to which it pays to blend them along y beforehand."""


@numba.njit(parallel=True, cache=True)
def _histograms(
    volume: Array, low: float, scale: float, bins: int, ez: Array, ey: Array, ex: Array
) -> Array:
    tz, ty, tx = ez.size - 1, ey.size - 1, ex.size - 1
    counts = np.zeros((tz * ty * tx, bins), np.uint32)
    last = np.uint32(bins - 1)
    for t in numba.prange(tz * ty * tx):
        iz = t // (ty * tx)
        iy = (t // tx) % ty
        ix = t % tx
        for z in range(ez[iz], ez[iz + 1]):
            for y in range(ey[iy], ey[iy + 1]):
                line = volume[z, y]
                for x in range(ex[ix], ex[ix + 1]):
                    p = (line[x] - low) * scale
                    if p >= 0 and p <= bins:  # false for NaN
                        counts[t, min(np.uint32(p), last)] += np.uint32(1)
    return counts


@numba.njit(parallel=True, cache=True)
def _mappings(counts: Array, limit: float) -> Array:
    """Cumulative mappings at the bin edges, ``(tiles, bins + 1)`` in [0, 1].

    The clipped counts are raised by one number until their sum is the old one: so no bin is above
    the limit and no slope above ``limit``. The sum is concave in that number and made of straight
    pieces: Newton's steps come from below and end on it.
    """
    tiles, bins = counts.shape
    table = np.empty((tiles, bins + 1), np.float32)
    for t in numba.prange(tiles):
        total = 0.0
        for b in range(bins):
            total += counts[t, b]
        height = limit * total / bins
        raised, filled = 0.0, 0.0
        for _ in range(bins):
            filled, free = 0.0, 0.0
            for b in range(bins):
                value = counts[t, b] + raised
                filled += min(value, height)
                free += 1.0 if value < height else 0.0
            if free == 0 or filled >= total * (1 - 1e-12):
                break
            raised += (total - filled) / free
        table[t, 0] = 0
        run = 0.0
        for b in range(bins):
            if total > 0:
                run += min(counts[t, b] + raised, height) / filled
            else:
                run += 1.0 / bins
            table[t, b + 1] = run
    return table


@numba.njit(cache=True)
def _between(edges: Array, n: int) -> tuple[Array, Array, Array]:
    """Per sample: the tiles before and after it, and the weight of the later one."""
    before = np.empty(n, np.int32)
    after = np.empty(n, np.int32)
    weight = np.empty(n, np.float32)
    tiles = edges.size - 1
    t = 0
    for i in range(n):
        while t + 1 < tiles and i >= 0.5 * (edges[t + 1] + edges[t + 2] - 1):
            t += 1
        here = 0.5 * (edges[t] + edges[t + 1] - 1)
        before[i] = t
        after[i] = min(t + 1, tiles - 1)
        if after[i] == t or i <= here:
            after[i] = t
            weight[i] = 0
        else:
            there = 0.5 * (edges[t + 1] + edges[t + 2] - 1)
            weight[i] = (i - here) / (there - here)
    return before, after, weight


@numba.njit(parallel=True, cache=True)
def _apply(
    volume: Array,
    out: Array,
    table: Array,
    low: float,
    scale: float,
    layers: tuple[Array, Array, Array],
    ey: Array,
    ex: Array,
) -> None:
    """``layers``: what `_between` says of the slices of ``volume``."""
    nz, ny, nx = volume.shape
    ty, tx = ey.size - 1, ex.size - 1
    bins = table.shape[1] - 1
    width = bins / scale
    z0, z1, wz = layers
    y0, y1, wy = _between(ey, ny)
    x0, x1, wx = _between(ex, nx)
    last = np.uint32(bins - 1)
    blended = tx * bins <= BLENDED * nx
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        aa = (z0[z] * ty + y0[y]) * tx
        ab = (z0[z] * ty + y1[y]) * tx
        ba = (z1[z] * ty + y0[y]) * tx
        bb = (z1[z] * ty + y1[y]) * tx
        u = wy[y]
        v = wz[z]
        line, target = volume[z, y], out[z, y]
        if blended and v == 0:
            own = np.empty((tx, bins + 1), np.float32)
            for t in range(tx):
                _blend(table[aa + t], table[ab + t], u, own[t])
            for x in range(nx):
                value = line[x]
                p = (value - low) * scale
                if p >= 0 and p <= bins:
                    b = min(np.uint32(p), last)
                    value = low + width * _mix(own, x0[x], x1[x], wx[x], b, p - b)
                target[x] = value
            continue
        for x in range(nx):
            value = line[x]
            p = (value - low) * scale
            if not (p >= 0 and p <= bins):
                target[x] = value
                continue
            b = min(np.uint32(p), last)
            f = p - b
            w = wx[x]
            i0 = x0[x]
            i1 = x1[x]
            mapped = (1 - v) * (
                (1 - u) * _mix(table, aa + i0, aa + i1, w, b, f)
                + u * _mix(table, ab + i0, ab + i1, w, b, f)
            )
            if v > 0:
                mapped += v * (
                    (1 - u) * _mix(table, ba + i0, ba + i1, w, b, f)
                    + u * _mix(table, bb + i0, bb + i1, w, b, f)
                )
            target[x] = low + mapped * width


@numba.njit(cache=True)
def _blend(one: Array, two: Array, share: Any, out: Array) -> None:
    w = np.float32(share)
    for b in range(out.size):
        out[b] = one[b] + w * (two[b] - one[b])


@numba.njit(inline="always")
def _mix(table: Array, t0: int, t1: int, w: float, b: Any, f: float) -> float:
    first = table[t0, b] + f * (table[t0, b + 1] - table[t0, b])
    second = table[t1, b] + f * (table[t1, b + 1] - table[t1, b])
    return first + w * (second - first)


def edges(size: int, tile: float) -> Array:
    """Where the tiles of about ``tile`` samples begin and end: ``(tiles + 1,)`` integers."""
    tiles = max(1, min(round(size / max(tile, 1.0)), size))
    return (np.arange(tiles + 1) * size // tiles).astype(np.int64)


def equalise(
    volume: Array,
    tile: tuple[float, float, float],
    *,
    limit: float,
    low: float,
    high: float,
    bins: int,
) -> Array:
    """Equalise the values from ``low`` to ``high`` tile by tile; all other values stay.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in floating point, given back in its own type.
    tile
        Size of the tiles in voxels ``(z, y, x)``; rounded so that whole tiles fill the axis.
    limit
        Greatest slope of a tile's mapping, at least 1 (where the mapping is the identity).
    low, high
        The values mapped, onto the same range.
    bins
        Of the histograms. Mappings are continuous: piecewise linear within a bin.

    Notes
    -----
    Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), with
    the excess redistributed exactly and the mapping interpolated within bins.
    """
    if is_tensor(volume):
        from somascope.process.tables import gpu

        tensor: Any = volume
        found: Any = gpu.equalise(tensor, tile, limit=limit, low=low, high=high, bins=bins)
        return found
    ez, ey, ex = (edges(n, t) for n, t in zip(volume.shape, tile, strict=True))
    # Scalars of the working type keep the inner loops in single precision.
    kind = working(volume[:0]).dtype.type
    start, scale = kind(low), kind(bins / (high - low))
    out, layers = np.empty_like(volume), _between(ez, len(volume))
    limit = max(limit, 1.0)
    if volume.dtype == kind:
        with alone_if_small(volume.size):
            counts = _histograms(volume, start, scale, bins, ez, ey, ex)
            _apply(volume, out, _mappings(counts, limit), start, scale, layers, ey, ex)
        return out
    few = max(VOXELS // max(volume[0].size, 1), 1)
    counts = np.zeros((ez.size - 1, (ey.size - 1) * (ex.size - 1), bins), np.uint32)
    for k, (first, last) in enumerate(pairwise(ez)):
        for z in range(first, last, few):
            part = working(volume[z : min(z + few, last)])
            counts[k] += _histograms(part, start, scale, bins, np.array([0, len(part)]), ey, ex)
    table = _mappings(counts.reshape(-1, bins), limit)
    for z in range(0, len(volume), few):
        part = working(volume[z : z + few])
        found = np.empty_like(part)
        z0, z1, weight = (v[z : z + few] for v in layers)
        _apply(part, found, table, start, scale, (z0, z1, weight), ey, ex)
        out[z : z + few] = like(found, volume.dtype)
    return out
