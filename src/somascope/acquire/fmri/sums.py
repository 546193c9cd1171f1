"""The one pass over a run that the linear model needs: voxel sums, in blocks that stay in cache.

With ``Q`` an orthonormal basis of the design ``(scans, p)``, which holds the constant, and ``y`` a
voxel's values less that of its middle scan, the pass gives ``Q'y``, ``y'y`` and, for the
autoregressive model, ``Q'(Ly + L'y) = (LQ + L'Q)'y``, ``y'Ly`` and the last ``y`` (``L`` shifts by
one scan). All that OLS and any AR(1) whitening need follows without reading the run again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks, one_thread, sealed

BLOCK = 256
"""Voxels per block: that of a run of 200 scans is 200 kB and stays in the second cache."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Voxel sums; ``p`` columns, ``v`` voxels.

    ``level`` ``(v,)``: the middle scan, which all other sums are less; ``projected`` ``Q'y``
    ``(p, v)``; ``square`` ``y'y`` ``(v,)``; ``neighbours`` ``Q'(Ly + L'y)`` ``(p, v)``; ``lagged``
    ``y'Ly`` ``(v,)``; ``last`` ``(v,)``; the last three are empty where they were not asked for.
    """

    level: Array
    projected: Array
    square: Array
    neighbours: Array
    lagged: Array
    last: Array


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _pass(
    start: int, stop: int, y: Array, basis: Array, mask: Array, both: bool,  # noqa: FBT001
    level: Array, found: Array, square: Array, lagged: Array, last: Array,
) -> None:  # fmt: skip
    n, voxels = y.shape
    rows = np.zeros((n, BLOCK), np.float32)
    out = np.empty((basis.shape[0], BLOCK), np.float32)
    for block in range(start, stop):
        first = block * BLOCK
        width = min(BLOCK, voxels - first)
        used = False
        for i in range(width):
            used = used or mask[first + i]
        if not used:
            continue
        own = y[n // 2, first : first + width]
        total, beside = np.zeros(width, np.float32), np.zeros(width, np.float32)
        for t in range(n):
            source, target = y[t, first : first + width], rows[t, :width]
            for i in range(width):
                value = source[i] - own[i]
                target[i] = value
                total[i] += value * value
            if both and t > 0:
                before = rows[t - 1, :width]
                for i in range(width):
                    beside[i] += target[i] * before[i]
        np.dot(basis, rows, out)
        level[first : first + width] = own
        square[first : first + width] = total
        found[:, first : first + width] = out[:, :width]
        if both:
            lagged[first : first + width] = beside
            last[first : first + width] = rows[n - 1, :width]


def sums(y: Array, q: Float, *, mask: Array, neighbours: bool) -> Sums:
    """`Sums` of ``y`` ``(scans, v)`` float32 for the basis ``q`` ``(scans, p)``.

    Blocks without a voxel of ``mask`` ``(v,)`` are skipped and stay 0.
    """
    voxels, p = y.shape[1], q.shape[1]
    basis = q
    if neighbours:
        beside = np.zeros_like(q)
        beside[1:] += q[:-1]
        beside[:-1] += q[1:]
        basis = np.concatenate([q, beside], axis=1)
    level, square = np.zeros(voxels, np.float32), np.zeros(voxels, np.float32)
    more = voxels if neighbours else 0
    lagged, last = np.zeros(more, np.float32), np.zeros(more, np.float32)
    found = np.zeros((basis.shape[1], voxels), np.float32)
    with one_thread():
        in_chunks(
            _pass, -(-voxels // BLOCK), sealed(np.ascontiguousarray(y, np.float32)),
            np.ascontiguousarray(basis.T, np.float32), sealed(np.ascontiguousarray(mask)),
            neighbours, level, found, square, lagged, last,
        )  # fmt: skip
    return Sums(level, found[:p], square, found[p:], lagged, last)
