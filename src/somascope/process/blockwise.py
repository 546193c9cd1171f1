"""Non-local means block by block: whole blocks are weighed and averaged, not single voxels.

Coupe, Yger, Prima, Hellier, Kervrann, Barillot, IEEE Trans Med Imaging 27:425 (2008): blocks about
every ``radius + 1``-th voxel are restored as the weighted mean of the blocks around them, and a
voxel becomes the mean of what the blocks over it say. A weight is found once per block instead of
once per voxel.

Voxels are taken apart by their place between the centres along x, so that the same voxel of
neighbouring blocks is contiguous and becomes vector instructions.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array
from somascope.process.neighbours import power2

BLOCK = 128
"""Blocks of a row handled together: their sums stay in the cache."""

_F = np.float32


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _squared(here: Array, there: Array, out: Array) -> None:
    for i in range(out.size):
        d = there[i] - here[i]
        out[i] += d * d


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _squared3(
    a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, out: Array
) -> None:  # fmt: skip
    """Three rows against three others at once: the sum is read and written once."""
    for i in range(out.size):
        x, y, z = d[i] - a[i], e[i] - b[i], f[i] - c[i]
        out[i] += x * x + y * y + z * z


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _added(a: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] += a[i]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _weights(close: Array, slope: Any, bias: Any, total: Array) -> None:
    """Squares become weights, in place, and are added to the total."""
    for i in range(close.size):
        w = power2(max(close[i] - bias, _F(0)) * slope)
        close[i] = w
        total[i] += w


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _gathered(weight: Array, values: Array, out: Array) -> None:
    for i in range(weight.size):
        out[i] += weight[i] * values[i]


@numba.njit(cache=True)
def _before(search: int, step: int) -> int:
    """Centres in front of the first one, so that all it is compared with is there."""
    return 1 + (search + step - 1) // step


@numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _blocks(
    apart: Array, search: Array, patch: Array, first: Array, slope: Any, bias: Any, out: Array
) -> None:  # fmt: skip
    """Add what the blocks of every other row say, from row ``first`` ``(z, y)`` on.

    Parameters
    ----------
    apart
        ``(step, ., ., .)`` float32: ``[r, ..., c]`` is voxel ``step c + r`` of the padded volume
        along x.
    search, patch
        Radii ``(z, y, x)``.
    first
        Blocks two rows apart have no voxel in common, so that rows of one call run side by side.
    slope, bias
        As in `neighbours.nonlocal_means`.
    out
        ``(nz, ny, nx)``: sums over the blocks.
    """
    nz, ny, nx = out.shape
    sz, sy, sx = search
    pz, py, px = patch
    step = px + 1
    before = _before(sx, step)
    deep, high, wide = (nz + pz) // (pz + 1), (ny + py) // (py + 1), (nx + px) // step
    planes, rows = (deep - first[0] + 1) // 2, (high - first[1] + 1) // 2
    across, tall, size = 2 * px + 1, 2 * py + 1, (2 * pz + 1) * (2 * py + 1)
    for j in numba.prange(planes * rows):
        z = (first[0] + 2 * (j // rows)) * (pz + 1)
        y = (first[1] + 2 * (j % rows)) * (py + 1)
        gathered = np.empty((size * across, BLOCK), np.float32)
        squares = np.empty((step, BLOCK + 1), np.float32)
        close, total = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        for c0 in range(0, wide, BLOCK):
            m = min(BLOCK, wide - c0)
            gathered[:] = 0
            total[:] = 0
            for dz in range(2 * sz + 1):
                for dy in range(2 * sy + 1):
                    for dx in range(-sx, sx + 1):
                        # Squares of all voxels from the first block's to the last's; those before
                        # a centre are counted with the centre before it.
                        for r in range(step):
                            line = squares[r, : m + 1]
                            line[:] = 0
                            q, e = (r + dx) % step, (r + dx) // step
                            a, b = before + c0 - 1, before + c0 - 1 + e
                            k = 0
                            while k < size:
                                u, v = z + sz + k // tall, y + sy + k % tall
                                w, t = z + dz + k // tall, y + dy + k % tall
                                if tall >= 3 and k % tall + 3 <= tall:
                                    _squared3(
                                        apart[r, u, v, a : a + m + 1],
                                        apart[r, u, v + 1, a : a + m + 1],
                                        apart[r, u, v + 2, a : a + m + 1],
                                        apart[q, w, t, b : b + m + 1],
                                        apart[q, w, t + 1, b : b + m + 1],
                                        apart[q, w, t + 2, b : b + m + 1],
                                        line,
                                    )
                                    k += 3
                                else:
                                    _squared(
                                        apart[r, u, v, a : a + m + 1],
                                        apart[q, w, t, b : b + m + 1],
                                        line,
                                    )
                                    k += 1
                        close[:m] = squares[0, 1 : m + 1]
                        for r in range(1, step):
                            _added(squares[r, 1 : m + 1], close[:m])
                            _added(squares[r, :m], close[:m])
                        _weights(close[:m], slope, bias, total[:m])
                        for k in range(size):
                            w, t = z + dz + k // tall, y + dy + k % tall
                            for d in range(-px, px + 1):
                                q, e = (d + dx) % step, (d + dx) // step
                                b = before + c0 + e
                                _gathered(
                                    close[:m], apart[q, w, t, b : b + m],
                                    gathered[k * across + d + px],
                                )  # fmt: skip
            for k in range(size):
                w, t = z - pz + k // tall, y - py + k % tall
                if w < 0 or w >= nz or t < 0 or t >= ny:
                    continue
                for d in range(-px, px + 1):
                    line = gathered[k * across + d + px]
                    for i in range(m):
                        x = (c0 + i) * step + d
                        if x >= 0 and x < nx:
                            out[w, t, x] += line[i] / total[i]


def _taken_apart(volume: Array, search: Array, patch: Array) -> Array:
    """The volume, mirrored at its borders, as `_blocks` wants it."""
    nz, ny, nx = volume.shape
    around = search + patch
    planes, rows = (_mirrored(n, r, r) for n, r in zip((nz, ny), around, strict=False))
    step = int(patch[2]) + 1
    before = _before(int(search[2]), step)
    cells = before + -(-nx // step) + 1 + int(search[2]) // step
    x = _mirrored(nx, before * step, (cells - before) * step - nx)
    apart = np.empty((step, planes.size, rows.size, cells), np.float32)
    for z, source in enumerate(planes):
        plane = volume[source][rows]
        for r in range(step):
            apart[r, z] = plane[:, x[r::step]]
    return apart


def _mirrored(n: int, before: int, after: int) -> Array:
    """Places of samples ``-before .. n + after - 1``, mirrored at the outer voxel edges."""
    k = np.arange(-before, n + after) % (2 * n)
    return np.where(k < n, k, 2 * n - 1 - k)


def nonlocal_blocks(
    volume: Array, search: Array, patch: Array, slope: float, bias: float, out: Array
) -> None:
    """Block-wise non-local means of a finite volume ``(nz, ny, nx)`` float32 into ``out``.

    ``search`` and ``patch`` are radii ``(z, y, x)``; ``slope`` and ``bias`` as in
    `neighbours.nonlocal_means`. ``out`` may be ``volume``.
    """
    apart = _taken_apart(volume, search, patch)
    out[:] = 0
    for z in range(2):
        for y in range(2):
            _blocks(apart, search, patch, np.array([z, y]), _F(slope), _F(bias), out)
    for axis, p in enumerate(patch):
        n, k = out.shape[axis], np.arange(out.shape[axis])
        # Centres every p + 1 voxels reach p to each side: a voxel between two has both.
        both = (k % (p + 1) > 0) & (k // (p + 1) * (p + 1) + p + 1 < n)
        shape = [1, 1, 1]
        shape[axis] = n
        out *= np.where(both, _F(0.5), _F(1)).reshape(shape)
