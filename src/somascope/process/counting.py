"""Kernels that read a volume once and count: histograms, ranks, moments.

Each core counts its own part into its own tables, so the result does not depend on their number.
Four tables in turn keep runs of equal values (air) from waiting for their own last increment.
"""

from __future__ import annotations

from typing import Any, cast

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.core.tensors import is_tensor
from somascope.process.chunks import sealed

PARTS = 16
"""Parts a volume is counted in; more than the cores that share them."""

BLOCK = 128
"""Values whose places are found before they are counted."""


@numba.njit(parallel=True, cache=True)
def _count_words(values: Array, counts: Array, parts: int) -> None:
    n = values.size
    for p in numba.prange(parts):
        start, stop = n * p // parts, n * (p + 1) // parts
        table = np.zeros((4, 65536), np.uint32)
        whole = start + (stop - start) // 4 * 4
        for i in range(start, whole, 4):
            table[0, values[i]] += np.uint32(1)
            table[1, values[i + 1]] += np.uint32(1)
            table[2, values[i + 2]] += np.uint32(1)
            table[3, values[i + 3]] += np.uint32(1)
        for i in range(whole, stop):
            table[0, values[i]] += np.uint32(1)
        for k in range(65536):
            counts[p, k] = (
                np.int64(table[0, k]) + np.int64(table[1, k])
                + np.int64(table[2, k]) + np.int64(table[3, k])
            )  # fmt: skip


@numba.njit(parallel=True, cache=True)
def _count_bins(
    values: Array,
    edges: Array,
    low: Any,
    scale: Any,
    one: Any,
    near: Any,
    counts: Array,
    parts: int,
) -> None:
    """``counts[p]``: below, the bins, above, not a number.

    A block's places are found first, in loops that become vector instructions, then counted. Where
    a value of the block lies within ``near`` of an edge (in bins), rounding may have put it on the
    wrong side: then the whole block is compared with the edges.
    """
    n, bins = values.size, edges.size - 3
    half = one / (one + one)
    top = one * (bins + 1) + half
    missing = np.uint32(bins + 2)
    for p in numba.prange(parts):
        table = np.zeros((4, bins + 3), np.uint32)
        place = np.empty(BLOCK, np.uint32)
        start, stop = n * p // parts, n * (p + 1) // parts
        for first in range(start, stop, BLOCK):
            size = min(BLOCK, stop - first)
            block = values[first : first + size]
            close = np.uint32(0)
            for i in range(size):
                v = block[i]
                t = (v - low) * scale + one
                t = max(half, t)
                t = min(top, t)
                k = np.int32(t)
                f = t - k * one
                close |= np.uint32(f < near) | np.uint32(f > one - near)
                place[i] = missing if np.isnan(v) else np.uint32(k)
            if close:
                for i in range(size):
                    v = block[i]
                    k = np.uint32(0) if np.isnan(v) else place[i]
                    k -= np.uint32(v < edges[k])
                    k += np.uint32(v >= edges[k + np.uint32(1)])
                    place[i] = missing if np.isnan(v) else k
            whole = size // 4 * 4
            for i in range(0, whole, 4):
                table[0, place[i]] += np.uint32(1)
                table[1, place[i + 1]] += np.uint32(1)
                table[2, place[i + 2]] += np.uint32(1)
                table[3, place[i + 3]] += np.uint32(1)
            for i in range(whole, size):
                table[0, place[i]] += np.uint32(1)
        for k in range(bins + 3):
            counts[p, k] = (
                np.int64(table[0, k]) + np.int64(table[1, k])
                + np.int64(table[2, k]) + np.int64(table[3, k])
            )  # fmt: skip


@numba.njit(parallel=True, cache=True)
def _count_high(keys: Array, counts: Array, parts: int) -> None:
    n = keys.size
    for p in numba.prange(parts):
        table = np.zeros((2, 65536), np.uint32)
        for i in range(n * p // parts, n * (p + 1) // parts):
            table[i & 1, keys[i] >> np.uint32(16)] += np.uint32(1)
        for k in range(65536):
            counts[p, k] = np.int64(table[0, k]) + np.int64(table[1, k])


@numba.njit(parallel=True, cache=True)
def _count_low(keys: Array, high: Any, counts: Array, parts: int) -> None:
    n = keys.size
    for p in numba.prange(parts):
        for i in range(n * p // parts, n * (p + 1) // parts):
            if keys[i] >> np.uint32(16) == high:
                counts[p, keys[i] & np.uint32(0xFFFF)] += 1


@numba.njit(parallel=True, cache=True)
def _powers(values: Array, centre: float, sums: Float, parts: int) -> None:
    """``sums[p]``: number of finite values, and sums of the first four powers about ``centre``."""
    n = values.size
    for p in numba.prange(parts):
        count, s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n * p // parts, n * (p + 1) // parts):
            d = np.float64(values[i]) - centre
            if np.isfinite(d):
                q = d * d
                count += 1.0
                s1 += d
                s2 += q
                s3 += q * d
                s4 += q * q
        sums[p, 0], sums[p, 1], sums[p, 2], sums[p, 3], sums[p, 4] = count, s1, s2, s3, s4


@numba.njit(parallel=True, cache=True)
def _count_pairs(
    a: Array, b: Array, low: Float, scale: Float, bins: Array, counts: Array, parts: int
) -> None:
    n = a.size
    for p in numba.prange(parts):
        for i in range(n * p // parts, n * (p + 1) // parts):
            u = (np.float64(a[i]) - low[0]) * scale[0]
            v = (np.float64(b[i]) - low[1]) * scale[1]
            if u >= 0 and u <= bins[0] and v >= 0 and v <= bins[1]:
                j = min(np.int64(u), bins[0] - 1)
                k = min(np.int64(v), bins[1] - 1)
                counts[p, j, k] += 1


@numba.njit(parallel=True, cache=True)
def _extremes(bits: Array, most: Any, inf: Any, shift: Any, found: Array, parts: int) -> None:
    """Signed integers in the order of the floating values: their least and greatest vectorise."""
    n = bits.size
    for p in numba.prange(parts):
        low, high = most, -most
        for i in range(n * p // parts, n * (p + 1) // parts):
            b = bits[i]
            key = b ^ ((b >> shift) & most)
            finite = (b & most) < inf
            low = min(low, key if finite else most)
            high = max(high, key if finite else -most)
        found[p, 0], found[p, 1] = low, high


def extremes(values: Array) -> tuple[float, float]:
    """Smallest and largest finite value of a 1-D array; 0 and 0 where there is none."""
    if is_tensor(values):
        from somascope.process.tables import gpu

        found: Any = gpu.extremes(cast("Any", values))
        return found
    if not values.size:
        return 0.0, 0.0
    if values.dtype.kind != "f" or values.dtype.itemsize == 2:
        finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    kind = np.dtype(f"i{values.dtype.itemsize}").type
    most = kind(np.iinfo(kind).max)
    inf = values.dtype.type(np.inf).view(kind)
    found = np.empty((PARTS, 2), kind)
    bits = sealed(values.view(kind))
    _extremes(bits, most, inf, kind(8 * values.dtype.itemsize - 1), found, PARTS)
    low, high = found[:, 0].min(), found[:, 1].max()
    if low > high:
        return 0.0, 0.0
    ends = np.array([low, high], kind)
    ends ^= (ends >> kind(8 * values.dtype.itemsize - 1)) & most
    low, high = ends.view(values.dtype)
    return float(low), float(high)


def words(values: Array) -> tuple[Array, Array]:
    """How often each value of an 8 or 16 bit integer array occurs: values and counts, int64.

    ``values`` is 1-D; the values run over the whole range of the type.
    """
    if is_tensor(values):
        from somascope.process.tables import gpu

        found: Any = gpu.words(cast("Any", values))
        return found
    if values.dtype.itemsize == 1:
        info = np.iinfo(values.dtype)
        found = np.bincount(values.view(np.uint8), minlength=256)
        found = np.roll(found, -int(info.min)) if info.min else found
        return np.arange(info.min, info.max + 1), found.astype(np.int64)
    info = np.iinfo(values.dtype)
    counts = np.empty((PARTS, 65536), np.int64)
    _count_words(sealed(values.view(np.uint16)), counts, PARTS)
    total = counts.sum(axis=0)
    if info.min:
        total = np.roll(total, -int(info.min))
    return np.arange(info.min, info.max + 1), total


def binned(values: Array, edges: Float) -> Array:
    """Counts ``(bins + 3,)``: below the first edge, each bin, above the last edge, NaN.

    ``values`` is 1-D, ``edges`` even; a value on an edge counts above it, on the last one below,
    as in `numpy.histogram`.
    """
    if is_tensor(values):
        from somascope.process.tables import gpu

        found: Any = gpu.binned(cast("Any", values), edges)
        return found
    low, high, bins = float(edges[0]), float(edges[-1]), edges.size - 1
    scale = bins / (high - low)
    # How far single precision may miss a place, in bins.
    miss = scale * max(abs(low), abs(high)) * 2.0**-22
    single = values.dtype == np.float32 and miss < 0.05 and scale < 1e30
    kind = np.float32 if single else np.float64
    # The smallest number of the type at or above each edge tells the same sides.
    inner = edges.astype(kind)
    inner = np.where(inner < edges, np.nextafter(inner, kind(np.inf)), inner)
    inner[-1] = np.nextafter(kind(high), kind(np.inf))  # the last edge itself lies inside
    # Nothing lies beyond the last side, infinity included: no value is at or above NaN.
    sides = np.concatenate([[kind(-np.inf)], inner, [kind(np.nan)]]).astype(kind)
    counts = np.empty((PARTS, bins + 3), np.int64)
    near = kind(max(miss, 1e-6))
    _count_bins(sealed(values), sides, kind(low), kind(scale), kind(1), near, counts, PARTS)
    return counts.sum(axis=0)


def powers(values: Array, centre: float) -> Float:
    """Number of finite values and the sums of the powers 1 to 4 of ``value - centre``."""
    sums = np.empty((PARTS, 5))
    _powers(sealed(values), centre, sums, PARTS)
    return sums.sum(axis=0)


def ordered(keys: Array, ranks: Array) -> Array:
    """The keys at the 0-based ``ranks`` of the sorted array; nothing is sorted.

    ``keys`` is 1-D uint32. Two passes over 16 bits each: radix selection.
    """
    counts = np.empty((PARTS, 65536), np.int64)
    _count_high(keys, counts, PARTS)
    upto = np.cumsum(counts.sum(axis=0))
    result = np.empty(len(ranks), np.uint32)
    seen: dict[int, Array] = {}
    for i, rank in enumerate(ranks):
        high = int(np.searchsorted(upto, rank, side="right"))
        if high not in seen:
            counts[:] = 0
            _count_low(keys, np.uint32(high), counts, PARTS)
            seen[high] = np.cumsum(counts.sum(axis=0))
        before = int(upto[high - 1]) if high else 0
        low = int(np.searchsorted(seen[high], rank - before, side="right"))
        result[i] = np.uint32(high << 16 | low)
    return result


def pairs(a: Array, b: Array, edges_a: Float, edges_b: Float) -> Array:
    """Joint counts ``(bins_a, bins_b)`` int64 of two 1-D arrays of equal length."""
    if is_tensor(a):
        from somascope.process.tables import gpu

        found: Any = gpu.pairs(cast("Any", a), cast("Any", b), edges_a, edges_b)
        return found
    low = np.array([edges_a[0], edges_b[0]])
    bins = np.array([edges_a.size - 1, edges_b.size - 1])
    scale = bins / np.array([edges_a[-1] - edges_a[0], edges_b[-1] - edges_b[0]])
    counts = np.zeros((4, *bins), np.int64)
    _count_pairs(sealed(a), sealed(b), low, scale, bins, counts, 4)
    return counts.sum(axis=0)
