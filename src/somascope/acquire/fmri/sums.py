"""The one pass over a run that the linear model needs: voxel sums, in blocks that stay in cache.

With ``Q`` an orthonormal basis of the design ``(scans, p)`` and ``y`` a voxel's values without
their mean, the pass gives ``Q'y``, ``y'y`` and, for the autoregressive model, ``Q'(Ly + L'y)``,
``y'Ly``, and the first and last values of ``y`` (``L`` shifts by one scan). All that OLS and any
AR(1) whitening need follows from these without reading the run again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.acquire.chunks import in_chunks
from somascope.core.grid import Array, Float

BLOCK = 64
"""Voxels per block: the block of a run of 300 scans is 77 kB and stays in the second cache."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Voxel sums; ``p`` columns, ``v`` voxels.

    ``mean`` ``(v,)``; ``projected`` ``Q'y`` ``(p, v)``; ``square`` ``y'y`` ``(v,)``; ``neighbours``
    ``Q'(Ly + L'y)`` ``(p, v)``; ``lagged`` ``y'Ly`` ``(v,)``; ``ends`` ``(2, v)``: first and last.
    """

    mean: Array
    projected: Array
    square: Array
    neighbours: Array
    lagged: Array
    ends: Array


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _pass(
    start: int, stop: int, y: Array, q: Array, mask: Array, both: bool,  # noqa: FBT001
    mean: Array, projected: Array, square: Array, neighbours: Array, lagged: Array, ends: Array,
) -> None:  # fmt: skip
    n, voxels = y.shape
    rows = np.empty((n + 2, BLOCK), np.float32)
    rows[0] = 0
    rows[n + 1] = 0
    total = np.empty(BLOCK, np.float32)
    for block in range(start, stop):
        first = block * BLOCK
        width = min(BLOCK, voxels - first)
        used = False
        for i in range(width):
            used = used or mask[first + i]
        if not used:
            continue
        total[:] = 0
        for t in range(n):
            source = y[t, first : first + width]
            for i in range(width):
                total[i] += source[i]
        for i in range(width):
            total[i] /= np.float32(n)
            mean[first + i] = total[i]
        for t in range(n):
            source = y[t, first : first + width]
            target = rows[t + 1]
            for i in range(width):
                target[i] = source[i] - total[i]
            target[width:] = 0
        _sums(rows, q, both, first, width, projected, square, neighbours, lagged)
        for i in range(width):
            ends[0, first + i] = rows[1, i]
            ends[1, first + i] = rows[n, i]


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _sums(
    rows: Array, q: Array, both: bool, first: int, width: int,  # noqa: FBT001
    projected: Array, square: Array, neighbours: Array, lagged: Array,
) -> None:  # fmt: skip
    n = rows.shape[0] - 2
    p = q.shape[1]
    a = np.zeros((p + 1, BLOCK), np.float32)
    b = np.zeros((p + 1, BLOCK), np.float32)
    beside = np.empty(BLOCK, np.float32)
    for t in range(1, n + 1):
        here, before, after = rows[t], rows[t - 1], rows[t + 1]
        for i in range(BLOCK):
            a[p, i] += here[i] * here[i]
        for j in range(p):
            w = q[t - 1, j]
            row = a[j]
            for i in range(BLOCK):
                row[i] += w * here[i]
        if both:
            for i in range(BLOCK):
                b[p, i] += here[i] * before[i]
                beside[i] = before[i] + after[i]
            for j in range(p):
                w = q[t - 1, j]
                row = b[j]
                for i in range(BLOCK):
                    row[i] += w * beside[i]
    for j in range(p):
        for i in range(width):
            projected[j, first + i] = a[j, i]
    for i in range(width):
        square[first + i] = a[p, i]
    if both:
        for j in range(p):
            for i in range(width):
                neighbours[j, first + i] = b[j, i]
        for i in range(width):
            lagged[first + i] = b[p, i]


def sums(y: Array, q: Float, *, mask: Array, neighbours: bool) -> Sums:
    """`Sums` of ``y`` ``(scans, v)`` float32 for the basis ``q`` ``(scans, p)``.

    Blocks without a voxel of ``mask`` ``(v,)`` are skipped and stay 0.
    """
    voxels, p = y.shape[1], q.shape[1]
    size = p if neighbours else 0
    one = np.zeros(voxels if neighbours else 0, np.float32)
    made = Sums(
        mean=np.zeros(voxels, np.float32),
        projected=np.zeros((p, voxels), np.float32),
        square=np.zeros(voxels, np.float32),
        neighbours=np.zeros((size, voxels), np.float32),
        lagged=one,
        ends=np.zeros((2, voxels), np.float32),
    )
    in_chunks(
        _pass, -(-voxels // BLOCK), np.ascontiguousarray(y, np.float32),
        np.ascontiguousarray(q, np.float32), np.ascontiguousarray(mask), neighbours,
        made.mean, made.projected, made.square, made.neighbours, made.lagged, made.ends,
    )  # fmt: skip
    return made
