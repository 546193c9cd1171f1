"""Connected components by runs: a row's runs of set voxels are joined with those they touch.

A volume has far fewer runs than voxels, so the joining (union-find with path halving) is short;
counting, listing and writing back go over the rows on all cores.
"""

from __future__ import annotations

import sys

import numba
import numpy as np

from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.chunks import alone_if_small


@numba.njit(parallel=True, cache=True)
def _count(mask: Array, counts: Array) -> None:
    nz, ny, nx = mask.shape
    for j in numba.prange(nz * ny):
        row = mask[j // ny, j % ny]
        n = np.uint32(row[0] != 0)
        for x in range(1, nx):
            n += np.uint32((row[x] != 0) & (row[x - 1] == 0))
        counts[j + 1] = n


@numba.njit(parallel=True, cache=True)
def _list(mask: Array, first: Array, begin: Array, end: Array) -> None:
    nz, ny, nx = mask.shape
    for j in numba.prange(nz * ny):
        row = mask[j // ny, j % ny]
        k = first[j]
        if k == first[j + 1]:
            continue
        inside = False
        for x in range(nx):
            if row[x] != 0 and not inside:
                begin[k] = x
                inside = True
            elif row[x] == 0 and inside:
                end[k] = x
                k += 1
                inside = False
        if inside:
            end[k] = nx


@numba.njit(parallel=True, cache=True)
def _list_words(words: Array, first: Array, begin: Array, end: Array) -> None:
    """As `_list`, for rows ``(rows, nx / 8)`` of eight voxels each: most are alike all through."""
    empty, full = np.uint64(0), np.uint64(0x0101010101010101)
    for j in numba.prange(words.shape[0]):
        k = first[j]
        if k == first[j + 1]:
            continue
        inside = False
        same = empty
        for w in range(words.shape[1]):
            eight = words[j, w]
            if eight == same:
                continue
            for b in range(8):
                on = (eight >> np.uint64(8 * b)) & np.uint64(255) != 0
                if on and not inside:
                    begin[k] = 8 * w + b
                elif inside and not on:
                    end[k] = 8 * w + b
                    k += 1
                inside = on
            same = full if inside else empty
        if inside:
            end[k] = 8 * words.shape[1]


@numba.njit(cache=True)
def _root(parent: Array, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def _join(
    a: int, a_stop: int, b: int, b_stop: int, reach: int, begin: Array, end: Array, parent: Array
) -> None:
    """Runs of two rows that overlap (``reach`` 0) or also touch at a corner (1)."""
    while a < a_stop and b < b_stop:
        if begin[a] < end[b] + reach and begin[b] < end[a] + reach:
            p, q = _root(parent, a), _root(parent, b)
            # The smaller number stays the root: components are numbered by their first voxel.
            if p < q:
                parent[q] = p
            elif q < p:
                parent[p] = q
        if end[a] < end[b]:
            a += 1
        else:
            b += 1


@numba.njit(cache=True)
def _join_slice(
    z: int, back: int, ny: int, rank: int, first: Array, begin: Array, end: Array, parent: Array
) -> None:
    """Join the rows of slice ``z`` with each other (``back`` 0) or with those of the one before."""
    for y in range(ny):
        j = z * ny + y
        if first[j] == first[j + 1]:
            continue
        for dy in range(-1, 2 if back else 0):
            apart = back + abs(dy)
            if y + dy < 0 or y + dy >= ny or apart > rank:
                continue
            k = j - back * ny + dy
            reach = 1 if apart < rank else 0
            _join(first[j], first[j + 1], first[k], first[k + 1], reach, begin, end, parent)


@numba.njit(parallel=True, cache=True)
def _joined(
    nz: int, ny: int, rank: int, first: Array, begin: Array, end: Array, parent: Array, parts: int
) -> None:
    """Join all runs: slabs of slices side by side, then slab to slab.

    A root is the smallest number of its component, whatever the order of the joins.
    """
    for part in numba.prange(parts):
        low, high = part * nz // parts, (part + 1) * nz // parts
        for z in range(low, high):
            _join_slice(z, 0, ny, rank, first, begin, end, parent)
            if z > low:
                _join_slice(z, 1, ny, rank, first, begin, end, parent)
    for part in range(1, parts):
        _join_slice(part * nz // parts, 1, ny, rank, first, begin, end, parent)


@numba.njit(cache=True)
def _numbered(parent: Array, begin: Array, end: Array, sizes: Array) -> int:
    """Roots become 0, 1, 2 ... in order of their first voxel; ``sizes`` their voxels."""
    n = 0
    for k in range(parent.size):
        if parent[k] == k:
            parent[k] = n
            sizes[n] = end[k] - begin[k]
            n += 1
        else:
            parent[k] = parent[parent[k]]  # smaller, and numbered already
            sizes[parent[k]] += end[k] - begin[k]
    return n


@numba.njit(parallel=True, cache=True)
def _written(first: Array, begin: Array, end: Array, names: Array, out: Array) -> None:
    nz, ny, _ = out.shape
    for j in numba.prange(nz * ny):
        row = out[j // ny, j % ny]
        row[:] = 0
        for k in range(first[j], first[j + 1]):
            row[begin[k] : end[k]] = names[k]


def label(mask: Array, rank: int) -> tuple[Array, Array]:
    """Number the components of ``(nz, ny, nx)`` (bool or uint8), the largest first.

    ``rank`` 1, 2 or 3: voxels are neighbours that differ in up to so many indices by one.

    Returns
    -------
    tuple
        int32 labels from 1 (equal ones in order of their first voxel), and voxel counts ``(n,)``.
    """
    if is_tensor(mask):
        from somascope.process import gpu

        return gpu.label(mask, rank)  # pyright: ignore[reportArgumentType]
    with alone_if_small(mask.size):
        return _labelled(np.ascontiguousarray(mask).view(np.uint8), rank)


def _labelled(mask: Array, rank: int) -> tuple[Array, Array]:
    nz, ny, _ = mask.shape
    first = np.zeros(nz * ny + 1, np.int64)
    _count(mask, first)
    np.cumsum(first, out=first)
    total = int(first[-1])
    begin, end = np.empty(total, np.int32), np.empty(total, np.int32)
    if mask.shape[2] % 8 == 0 and sys.byteorder == "little":
        _list_words(mask.reshape(nz * ny, -1).view(np.uint64), first, begin, end)
    else:
        _list(mask, first, begin, end)
    parent = np.arange(total, dtype=np.int64)
    _joined(nz, ny, rank, first, begin, end, parent, min(nz, numba.get_num_threads()))
    sizes = np.zeros(total, np.int64)
    n = _numbered(parent, begin, end, sizes)
    sizes = sizes[:n]
    order = np.argsort(-sizes, kind="stable")
    names = np.empty(n, np.int32)
    names[order] = np.arange(1, n + 1, dtype=np.int32)
    out = np.empty(mask.shape, np.int32)
    _written(first, begin, end, names[parent] if total else names, out)
    return out, sizes[order]
