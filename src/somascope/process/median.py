"""Median of a cubic or square neighbourhood, exact.

3 x 3 (x 3) goes through min/max networks that the compiler turns into vector instructions: the
columns of 9 are sorted once and shared by three windows, and of the 3 sorted columns only the 13
values that can be the median are looked at. Larger windows run generated networks: columns are
sorted, neighbouring columns merged to pairs and fours that many windows share, and the last merge
is pruned to the ranks that can be the median; written out where that compiles soon (`selection`),
exchange by exchange elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, cast

import numba
import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.entries import real_values
from somascope.process.networks import merging, pruned, run, sorting
from somascope.process.selection import SELECTORS, mirror

BLOCK = 128
"""Voxels of a row handled together: their scratch stays in the cache."""

PIECE = 1 << 16
"""Values whose order is turned into integers at a time, for the same reason."""


@numba.njit(cache=True)
def _low(a: Any, b: Any) -> Any:
    return min(a, b)


@numba.njit(cache=True)
def _high(a: Any, b: Any) -> Any:
    return max(a, b)


@numba.njit(cache=True)
def _middle(a: Any, b: Any, c: Any) -> Any:
    return _high(_low(a, b), _low(_high(a, b), c))


@numba.njit(cache=True)
def _sorted3(a: Any, b: Any, c: Any) -> Any:
    low, high = _low(a, b), _high(a, b)
    return _low(low, c), _high(low, _low(high, c)), _high(high, c)


@numba.njit(parallel=True, cache=True)
def _plane3(volume: Array, out: Array) -> None:
    """3 x 3 in each slice, borders mirrored at the outer voxel edges."""
    nz, ny, nx = volume.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        a, b, c = volume[z, max(y - 1, 0)], volume[z, y], volume[z, min(y + 1, ny - 1)]
        s = np.empty((3, nx + 2), volume.dtype)
        for x in range(nx):
            s[0, x + 1], s[1, x + 1], s[2, x + 1] = _sorted3(a[x], b[x], c[x])
        for k in range(3):
            s[k, 0] = s[k, 1]
            s[k, nx + 1] = s[k, nx]
        row = out[z, y]
        for x in range(nx):
            low = _high(_high(s[0, x], s[0, x + 1]), s[0, x + 2])
            mid = _middle(s[1, x], s[1, x + 1], s[1, x + 2])
            high = _low(_low(s[2, x], s[2, x + 1]), s[2, x + 2])
            row[x] = _middle(low, mid, high)


@numba.njit(cache=True)
def _columns(rows: Any, s: Array, nx: int) -> None:
    """Sort the 9 values over each x: rows sorted by three, merged, 25 exchanges (Floyd)."""
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = rows
    for x in range(nx):
        a, b, c = _sorted3(r0[x], r1[x], r2[x])
        d, e, f = _sorted3(r3[x], r4[x], r5[x])
        g, h, i = _sorted3(r6[x], r7[x], r8[x])
        a, d, g = _sorted3(a, d, g)
        b, e, h = _sorted3(b, e, h)
        c, f, i = _sorted3(c, f, i)
        b, d = _low(b, d), _high(b, d)
        f, h = _low(f, h), _high(f, h)
        c, g = _low(c, g), _high(c, g)
        e, g = _low(e, g), _high(e, g)
        c, e = _low(c, e), _high(c, e)
        c, d = _low(c, d), _high(c, d)
        f, g = _low(f, g), _high(f, g)
        s[0, x + 1], s[1, x + 1], s[2, x + 1] = a, b, c
        s[3, x + 1], s[4, x + 1], s[5, x + 1] = d, e, f
        s[6, x + 1], s[7, x + 1], s[8, x + 1] = g, h, i
    for k in range(9):
        s[k, 0] = s[k, 1]
        s[k, nx + 1] = s[k, nx]


@numba.njit(parallel=True, cache=True)
def _cube3(volume: Array, out: Array) -> None:
    """3 x 3 x 3, borders mirrored at the outer voxel edges."""
    nz, ny, nx = volume.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        za, zc = max(z - 1, 0), min(z + 1, nz - 1)
        ya, yc = max(y - 1, 0), min(y + 1, ny - 1)
        s = np.empty((9, nx + 2), volume.dtype)
        rows = (
            volume[za, ya], volume[za, y], volume[za, yc],
            volume[z, ya], volume[z, y], volume[z, yc],
            volume[zc, ya], volume[zc, y], volume[zc, yc],
        )  # fmt: skip
        _columns(rows, s, nx)
        row = out[z, y]
        for x in range(nx):
            # Rank k of the three sorted columns, sorted: low_k <= mid_k <= high_k. A value can be
            # the 14th of 27 only where at most 13 are surely below and at most 13 surely above.
            l5 = _low(_low(s[5, x], s[5, x + 1]), s[5, x + 2])
            l6 = _low(_low(s[6, x], s[6, x + 1]), s[6, x + 2])
            l7 = _low(_low(s[7, x], s[7, x + 1]), s[7, x + 2])
            l8 = _low(_low(s[8, x], s[8, x + 1]), s[8, x + 2])
            m2 = _middle(s[2, x], s[2, x + 1], s[2, x + 2])
            m3 = _middle(s[3, x], s[3, x + 1], s[3, x + 2])
            m4 = _middle(s[4, x], s[4, x + 1], s[4, x + 2])
            m5 = _middle(s[5, x], s[5, x + 1], s[5, x + 2])
            m6 = _middle(s[6, x], s[6, x + 1], s[6, x + 2])
            h0 = _high(_high(s[0, x], s[0, x + 1]), s[0, x + 2])
            h1 = _high(_high(s[1, x], s[1, x + 1]), s[1, x + 2])
            h2 = _high(_high(s[2, x], s[2, x + 1]), s[2, x + 2])
            h3 = _high(_high(s[3, x], s[3, x + 1]), s[3, x + 2])
            # The 7th of these 13: three ascending runs l5..l8, m2..m6, h0..h3. Rank k of two
            # sorted runs A, B is max over i + j = k of min(A_i, B_j) read at their borders.
            # First the 8 values of l and h are merged (odd-even), then met with m.
            b0 = _high(l5, h0)
            a1, b1 = _low(l6, h1), _high(l6, h1)
            a2, b2 = _low(l7, h2), _high(l7, h2)
            a3 = _low(l8, h3)
            a2, b0 = _low(a2, b0), _high(a2, b0)
            a3, b1 = _low(a3, b1), _high(a3, b1)
            a1, a2 = _low(a1, a2), _high(a1, a2)
            a3, b0 = _low(a3, b0), _high(a3, b0)
            b1, b2 = _low(b1, b2), _high(b1, b2)
            # Sorted now: (a0) a1 a2 a3 b0 b1 b2 (b3). The 7th of 13 with m2..m6 (5 values): i of
            # the eight and 7 - i of the five lie at or below it, i from 2 to 7.
            best = _high(a1, m6)
            best = _low(best, _high(a2, m5))
            best = _low(best, _high(a3, m4))
            best = _low(best, _high(b0, m3))
            best = _low(best, _high(b1, m2))
            row[x] = _low(best, b2)


@dataclass(frozen=True)
class _Plan:
    """How the sorted columns of a window are merged: what `_selected` runs.

    ``steps`` has one row per merge: first row and number of the wires made, where their two halves
    come from (first entry in ``order``, number, shift along x; twice), and the part of ``network``
    that merges them. The first row sorts the columns. ``pairs`` are the wires whose larger value is
    a candidate for the median; it is the smallest candidate.
    """

    network: Array
    order: Array
    steps: Array
    pairs: Array
    wires: int


@cache
def _plan(column: int, width: int) -> _Plan:
    """For windows of ``width`` columns of ``column`` values: both odd, ``width`` 3 to 9."""
    exchanges, sorted_ = sorting(range(column))
    networks = [pruned(exchanges, sorted_)]
    orders = {1: (0, sorted_)}  # level: entry of its first wire in ``order``, wires ascending
    order = list(sorted_)
    steps = [(0, column, 0, 0, 0, 0, 0, 0, 0, len(networks[0]))]
    row, used = column, len(networks[0])
    half = (width * column) // 2
    merges = {3: [(1, 1)], 5: [(1, 1), (2, 2)], 7: [(1, 1), (2, 2), (4, 2)]}
    merges[9] = [(1, 1), (2, 2), (4, 4)]
    for a, b in merges[width]:
        level, size = a + b, (a + b) * column
        exchanges, sorted_ = merging(range(a * column), range(a * column, size))
        last = level == width - 1
        network = pruned(exchanges, sorted_[half - column : half + 1] if last else sorted_)
        networks.append(network)
        first, second = orders[a][0], orders[b][0]
        steps.append(
            (row, size, first, a * column, 0, second, b * column, a, used, used + len(network))
        )
        orders[level] = (len(order), [row + k for k in sorted_])
        order += orders[level][1]
        row, used = row + size, used + len(network)
    whole, single = orders[width - 1][1], orders[1][1]
    pairs = [(whole[half - k], single[k - 1] if k else -1) for k in range(column + 1)]
    return _Plan(
        np.concatenate(networks),
        np.array(order, np.int32),
        np.array(steps, np.int32),
        np.array(pairs, np.int32),
        row,
    )


@numba.njit(cache=True)
def _copy(source: Array, target: Array) -> None:
    for x in range(target.size):
        target[x] = source[x]


@numba.njit(cache=True)
def _smaller(a: Array, b: Array) -> None:
    for x in range(a.size):
        a[x] = min(a[x], b[x])


@numba.njit(cache=True)
def _larger(a: Array, b: Array, out: Array) -> None:
    for x in range(a.size):
        out[x] = max(a[x], b[x])


@numba.njit(parallel=True, cache=True)
def _selected(
    volume: Array, out: Array, radius: Array, network: Array, order: Array, steps: Array,
    pairs: Array, rows: int,
) -> None:  # fmt: skip
    nz, ny, nx = volume.shape
    rz, ry, rx = radius
    width = 2 * rx + 1
    last = 2 * rx  # the shift of the column that is not in the last merge
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        wires = np.zeros((rows, BLOCK + width), volume.dtype)
        larger = np.empty(BLOCK, volume.dtype)
        for x0 in range(0, nx, BLOCK):
            m = min(BLOCK, nx - x0)
            wide = m + width - 1
            k = 0
            for dz in range(-rz, rz + 1):
                for dy in range(-ry, ry + 1):
                    source = volume[mirror(z + dz, nz), mirror(y + dy, ny)]
                    if x0 >= rx and x0 + m + rx <= nx:
                        _copy(source[x0 - rx : x0 - rx + wide], wires[k][:wide])
                    else:
                        for x in range(wide):
                            wires[k, x] = source[mirror(x0 - rx + x, nx)]
                    k += 1
            for s in range(steps.shape[0]):
                first, size, a, na, da, b, nb, db, start, stop = steps[s]
                for k in range(na):
                    _copy(wires[order[a + k]][da:wide], wires[first + k][: wide - da])
                for k in range(nb):
                    _copy(wires[order[b + k]][db:wide], wires[first + na + k][: wide - db])
                run(wires[first : first + size], network[start:stop])
            for k in range(pairs.shape[0]):
                target = out[z, y][x0 : x0 + m]
                one = wires[pairs[k, 0]][:m]
                if k == 0:
                    _copy(one, target)
                else:
                    _larger(one, wires[pairs[k, 1]][last : last + m], larger[:m])
                    _smaller(target, larger[:m])


def median(volume: Array, size: tuple[int, int, int]) -> Array:
    """Median over a window of odd ``size`` voxels along (z, y, x), exact.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; integers of 8, 16 and 32 bits and float32 keep their dtype, others become
        float32. NaN counts as larger than every number.

    Returns
    -------
    Array
        Same shape; borders mirrored at the outer voxel edges (``mode="reflect"`` of SciPy).
    """
    if is_tensor(volume):
        from somascope.process.neighbourhood import gpu

        return gpu.median(volume, size)  # pyright: ignore[reportArgumentType]
    if volume.dtype.kind == "f" or volume.dtype.itemsize > 4:
        volume = volume.astype(np.float32, copy=False)
    volume = np.ascontiguousarray(volume)
    if volume.dtype.itemsize == 1:  # two compiled kernels are enough
        wide = volume.astype(np.int16 if volume.dtype.kind == "i" else np.uint16)
        return median(wide, size).astype(volume.dtype)
    keys = key_order(volume)
    out = np.empty_like(keys)
    size = cast("Any", tuple(1 if n == 1 else s for s, n in zip(size, volume.shape, strict=True)))
    if size == (1, 1, 1):
        return volume.copy()
    if size[2] == 1:  # one column alone: let another axis run along the rows
        axis = 1 if size[1] > 1 else 0
        turned = list(size)
        turned[axis], turned[2] = 1, size[axis]
        found = median(volume.swapaxes(axis, 2), cast("Any", tuple(turned)))
        return np.ascontiguousarray(found.swapaxes(axis, 2))
    if size == (3, 3, 3):
        _cube3(keys, out)
    elif size == (1, 3, 3):
        _plane3(keys, out)
    elif size in SELECTORS:
        SELECTORS[size](keys, out, np.array([s // 2 for s in size]))
    else:
        plan = _plan(size[0] * size[1], size[2])
        radius = np.array([s // 2 for s in size])
        _selected(keys, out, radius, plan.network, plan.order, plan.steps, plan.pairs, plan.wires)
    return key_values(out, volume.dtype)


def key_order(volume: Array) -> Array:
    """Unsigned integers in the order of the values."""
    unsigned = np.dtype(f"u{volume.dtype.itemsize}")
    if volume.dtype.kind == "u":
        return volume
    out = np.empty(volume.shape, unsigned)
    sign = unsigned.type(1 << (8 * volume.dtype.itemsize - 1))
    whole, keys = np.ascontiguousarray(volume).view(unsigned).reshape(-1), out.reshape(-1)
    for k in range(0, keys.size, PIECE):
        raw, part = whole[k : k + PIECE], keys[k : k + PIECE]
        if volume.dtype.kind == "i":
            np.bitwise_xor(raw, sign, out=part)
        else:
            # IEEE 754: negative numbers run backwards, so all their bits are turned.
            np.bitwise_xor(raw, _filled(raw) | sign, out=part)
    return out


def key_values(keys: Array, dtype: np.dtype) -> Array:
    """The values of ``dtype`` that `key_order` made ``keys`` of; in their place, if contiguous."""
    if dtype.kind == "u":
        return keys
    keys = np.ascontiguousarray(keys)
    sign = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    flat = keys.reshape(-1)
    for k in range(0, flat.size, PIECE):
        part = flat[k : k + PIECE]
        part ^= sign if dtype.kind == "i" else _filled(~part) | sign
    return keys.view(dtype)


def _filled(words: Array) -> Array:
    """All bits of a word like its first one."""
    bits = 8 * words.dtype.itemsize
    return (words.view(f"i{words.dtype.itemsize}") >> (bits - 1)).view(words.dtype)


@operation("process.median")
def median_(
    image: Image,
    *,
    size: Annotated[Literal[3, 5, 7, 9], Param("Edge of the window in voxels")] = 3,
    dimensions: Annotated[
        Literal["volume", "slice"], Param("A cube of voxels, or a square in each slice")
    ] = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Remove speckle and single outliers, keep edges: the median of a neighbourhood.

    Shape ``(*leading, nz, ny, nx)`` and dtype as they came (float64 becomes float32).
    """
    real_values(image, "process.median")
    window = (size if dimensions == "volume" else 1, size, size)
    volumes = image.data.reshape(-1, *image.grid.shape)
    done = [median(v, window) for v in progress.over(volumes, "median")]
    return image.with_data(np.stack(done).reshape(image.data.shape))
