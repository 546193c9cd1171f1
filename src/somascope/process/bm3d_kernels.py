"""Groups of like blocks filtered together: the kernel of block matching in three dimensions.

Bands of rows are worked on by one core each, into sums of their own, which are added in order: the
result does not depend on how many cores there are.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array

BLOCK = 8
GROUP = 16
BAND = 8
"""Rows of reference blocks that one core takes together."""


def cosines() -> Array:
    """The orthonormal cosine transform of 8 samples, ``(8, 8)`` float32."""
    k, x = np.mgrid[:BLOCK, :BLOCK]
    c = np.cos(np.pi * (x + 0.5) * k / BLOCK) * np.sqrt(2 / BLOCK)
    c[0] /= np.sqrt(2)
    return c.astype(np.float32)


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _turned(block: Array, c: Array, back: int, work: Array) -> None:
    """Cosine transform of a block ``(8, 8)`` in place, or its inverse."""
    for i in range(BLOCK):
        work[i] = 0
        for k in range(BLOCK):
            w = c[k, i] if back else c[i, k]
            for x in range(BLOCK):
                work[i, x] += w * block[k, x]
    for i in range(BLOCK):
        block[i] = 0
        for k in range(BLOCK):
            v = work[i, k]
            for x in range(BLOCK):
                block[i, x] += v * (c[k, x] if back else c[x, k])


@numba.njit(fastmath={"contract", "nsz"}, cache=True)
def _haar(group: Array, n: int, back: int, work: Array) -> None:
    """Orthonormal Haar transform across the first ``n`` (a power of two) blocks, in place."""
    s = np.float32(0.7071067811865476)
    size = 2 if back else n
    while 2 <= size <= n:
        half = size // 2
        for k in range(half):
            for i in range(BLOCK):
                for x in range(BLOCK):
                    if back:
                        a, b = group[k, i, x], group[half + k, i, x]
                        work[2 * k, i, x], work[2 * k + 1, i, x] = s * (a + b), s * (a - b)
                    else:
                        a, b = group[2 * k, i, x], group[2 * k + 1, i, x]
                        work[k, i, x], work[half + k, i, x] = s * (a + b), s * (a - b)
        group[:size] = work[:size]
        size = size * 2 if back else half


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _apart(guide: Array, y: int, x: int, v: int, u: int, limit: float) -> Any:
    total = np.float32(0)
    for i in range(BLOCK):
        a, b = guide[y + i, x : x + BLOCK], guide[v + i, u : u + BLOCK]
        for k in range(BLOCK):
            d = a[k] - b[k]
            total += d * d
        if total > limit:
            break
    return total


@numba.njit(cache=True)
def _alike(
    guide: Array, y: int, x: int, radius: int, limit: float, found: Array, far: Array
) -> int:
    """The blocks most like the one at ``y, x``, itself first; how many, a power of two."""
    ny, nx = guide.shape
    found[0, 0], found[0, 1], far[0] = y, x, -1.0
    n = 1
    for v in range(max(y - radius, 0), min(y + radius, ny - BLOCK) + 1):
        for u in range(max(x - radius, 0), min(x + radius, nx - BLOCK) + 1):
            if v == y and u == x:
                continue
            most = limit if n < GROUP else far[n - 1]
            d = _apart(guide, y, x, v, u, most)
            if d >= most:
                continue
            k = n if n < GROUP else n - 1
            while far[k - 1] > d:
                far[k], found[k, 0], found[k, 1] = far[k - 1], found[k - 1, 0], found[k - 1, 1]
                k -= 1
            far[k], found[k, 0], found[k, 1] = d, v, u
            n = min(n + 1, GROUP)
    size = 1
    while 2 * size <= n:
        size *= 2
    return size


@numba.njit(parallel=True, cache=True)
def collaborated(
    noisy: Array, guide: Array, c: Array, rows: Array, columns: Array, radius: int, limit: float,
    threshold: float, out: Array,
) -> None:  # fmt: skip
    """One pass over a slice whose noise has the standard deviation 1.

    Parameters
    ----------
    noisy, guide, out
        ``(ny, nx)`` float32. Blocks are matched in ``guide``.
    rows, columns
        Where reference blocks begin.
    limit
        Greatest sum of squared differences of blocks that are alike.
    threshold
        Above 0: coefficients below it are dropped. 0: Wiener's filter, by the spectrum of
        ``guide``.
    """
    ny, nx = noisy.shape
    bands = (rows.size + BAND - 1) // BAND
    sums = np.zeros((bands, 2, BAND * BLOCK + 2 * radius + BLOCK, nx), np.float32)
    for b in numba.prange(bands):
        group = np.empty((GROUP, BLOCK, BLOCK), np.float32)
        basic = np.empty((GROUP, BLOCK, BLOCK), np.float32)
        work = np.empty((GROUP, BLOCK, BLOCK), np.float32)
        found, far = np.empty((GROUP, 2), np.int64), np.empty(GROUP, np.float32)
        first = max(rows[b * BAND] - radius, 0)
        for y in rows[b * BAND : (b + 1) * BAND]:
            for x in columns:
                n = _alike(guide, y, x, radius, limit, found, far)
                for k in range(n):
                    v, u = found[k, 0], found[k, 1]
                    group[k] = noisy[v : v + BLOCK, u : u + BLOCK]
                    _turned(group[k], c, 0, work[0])
                    if threshold == 0:
                        basic[k] = guide[v : v + BLOCK, u : u + BLOCK]
                        _turned(basic[k], c, 0, work[0])
                _haar(group, n, 0, work)
                kept = 0.0
                if threshold > 0:
                    for k in range(n):
                        for i in range(BLOCK):
                            for q in range(BLOCK):
                                if abs(group[k, i, q]) < threshold and k + i + q > 0:
                                    group[k, i, q] = 0
                                else:
                                    kept += 1.0
                else:
                    _haar(basic, n, 0, work)
                    for k in range(n):
                        for i in range(BLOCK):
                            for q in range(BLOCK):
                                p = basic[k, i, q] * basic[k, i, q]
                                w = p / (p + np.float32(1))
                                group[k, i, q] *= w
                                kept += w * w
                _haar(group, n, 1, work)
                weight = np.float32(1.0 / max(kept, 1e-3))
                for k in range(n):
                    _turned(group[k], c, 1, work[0])
                    v, u = found[k, 0] - first, found[k, 1]
                    for i in range(BLOCK):
                        for q in range(BLOCK):
                            sums[b, 0, v + i, u + q] += weight * group[k, i, q]
                            sums[b, 1, v + i, u + q] += weight
    total = np.zeros((2, ny, nx), np.float32)
    for b in range(bands):
        first = max(rows[b * BAND] - radius, 0)
        n = min(sums.shape[2], ny - first)
        total[:, first : first + n] += sums[b, :, :n]
    out[:] = total[0] / np.maximum(total[1], np.float32(1e-30))
