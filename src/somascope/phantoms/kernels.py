"""Compiled loops over ellipsoids: painting a grid row by row, and exact line integrals."""

from __future__ import annotations

import math

import numba
import numpy as np

from somascope.core.grid import Array, Float


@numba.njit(parallel=True, cache=True, error_model="numpy")
def paint(
    out: Array,
    affine: Float,
    units: Float,
    centres: Float,
    values: Float,
    summed: bool,  # noqa: FBT001
) -> None:
    """Paint shapes into ``out`` (nz, ny, nx): per row each shape covers one interval of x.

    ``|u + x v|^2 <= 1`` with ``u`` the row's start and ``v`` the step along x in the unit ball.
    """
    nz, ny, nx = out.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(len(values)):
                uu, uv, vv = -1.0, 0.0, 0.0
                for r in range(3):
                    u, v = 0.0, 0.0
                    for c in range(3):
                        start = affine[c, 0] * z + affine[c, 1] * y + affine[c, 3] - centres[i, c]
                        u += units[i, r, c] * start
                        v += units[i, r, c] * affine[c, 2]
                    uu += u * u
                    uv += u * v
                    vv += v * v
                root = uv * uv - vv * uu
                if root < 0.0:
                    continue
                root = math.sqrt(root)
                first = max(math.ceil((-uv - root) / vv), 0)
                last = min(math.floor((-uv + root) / vv), nx - 1)
                if summed:
                    for x in range(first, last + 1):
                        out[z, y, x] += values[i]
                else:
                    for x in range(first, last + 1):
                        out[z, y, x] = values[i]


@numba.njit(parallel=True, cache=True, error_model="numpy")
def integrate(
    starts: Float,
    ends: Float,
    units: Float,
    centres: Float,
    values: Float,
    summed: bool,  # noqa: FBT001
    background: float,
) -> Float:
    """Integrals along segments; painting sorts where the line enters and leaves each shape."""
    n, m = len(starts), len(values)
    out = np.zeros(n)
    for k in numba.prange(n):
        enter, leave, which = np.empty(m), np.empty(m), np.empty(m, np.int64)
        length = 0.0
        for c in range(3):
            length += (ends[k, c] - starts[k, c]) ** 2
        length = math.sqrt(length)
        hits = 0
        total = 0.0
        for i in range(m):
            uu, uv, vv = -1.0, 0.0, 0.0
            for r in range(3):
                u, v = 0.0, 0.0
                for c in range(3):
                    u += units[i, r, c] * (starts[k, c] - centres[i, c])
                    v += units[i, r, c] * (ends[k, c] - starts[k, c])
                uu += u * u
                uv += u * v
                vv += v * v
            root = uv * uv - vv * uu
            if root <= 0.0:
                continue
            root = math.sqrt(root)
            a, b = max((-uv - root) / vv, 0.0), min((-uv + root) / vv, 1.0)
            if b <= a:
                continue
            enter[hits], leave[hits], which[hits] = a, b, i
            total += values[i] * (b - a)
            hits += 1
        if summed:
            out[k] = total * length
            continue
        cuts = np.empty(2 * hits + 2)
        cuts[0], cuts[1] = 0.0, 1.0
        for h in range(hits):
            cuts[2 + 2 * h], cuts[3 + 2 * h] = enter[h], leave[h]
        cuts.sort()
        total = 0.0
        for j in range(len(cuts) - 1):
            middle = 0.5 * (cuts[j] + cuts[j + 1])
            value = background
            for h in range(hits - 1, -1, -1):
                if enter[h] <= middle <= leave[h]:
                    value = values[which[h]]
                    break
            total += value * (cuts[j + 1] - cuts[j])
        out[k] = total * length
    return out
