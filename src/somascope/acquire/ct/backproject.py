"""Back projection of filtered cone-beam views, along z.

For one pillar of voxels (fixed x and y) and one view the detector column is one number and the row
is linear in z (Feldkamp, Davis, Kress 1984). So two neighbouring columns are blended once into a
line of rows, and the loop over z reads that line: two gathers and a few sums per voxel and view,
whatever the size. Pillars are done in tiles whose volume and whose part of the detector stay in the
cache; no two threads share a tile. Indices are unsigned 32-bit numbers into flat arrays, which
compilers turn into gathers where the processor has good ones.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

TILE = 8


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def back_project(
    data: Array,
    table: Array,
    place: Array,
    lift: Array,
    detector: Array,
    curved: bool,  # noqa: FBT001
    out: Array,
) -> None:
    """Add the views to ``out`` (ny, nx, nz), float32.

    Parameters
    ----------
    data
        Filtered and weighted views, ``(views, columns, rows)``.
    table
        Per view: cos, sin of its angle, its weight in the sum, S of its source in mm.
    place
        First pixel from the isocentre and the steps along y and x in mm: ``(6,)`` of L, P.
    lift
        S of slice 0 and the step from slice to slice in mm.
    detector
        Source to isocentre, source to detector, column of gamma = 0, columns per mm (per radian
        where curved), row of z = 0, rows per mm.
    curved
        Columns at equal angles.
    """
    views, columns, rows = data.shape
    ny, nx, nz = out.shape
    f32, u32 = np.float32, np.uint32
    flat, volume = data.reshape(-1), out.reshape(-1)
    radius, far, middle, per_column, level, per_row = detector
    z0, dz = lift
    across = (nx + TILE - 1) // TILE
    for tile in numba.prange(((ny + TILE - 1) // TILE) * across):
        line = np.empty(rows + 2, np.float32)
        y_first, x_first = (tile // across) * TILE, (tile % across) * TILE
        for v in range(views):
            c, s, weight, height = table[v]
            for y in range(y_first, min(ny, y_first + TILE)):
                for x in range(x_first, min(nx, x_first + TILE)):
                    l = place[0] + y * place[2] + x * place[4]
                    p = place[1] + y * place[3] + x * place[5]
                    t = l * c + p * s
                    deep = radius - l * s + p * c
                    if curved:
                        distance = np.sqrt(deep * deep + t * t)
                        column = middle + per_column * np.arctan2(t, deep)
                        gain = weight * radius / (distance * distance)
                    else:
                        distance = deep
                        column = middle + per_column * far * t / deep
                        gain = weight * radius * radius / (deep * deep)
                    if not 0 <= column <= columns - 1:
                        continue
                    i = min(np.int64(column), columns - 2)
                    high = f32(gain * (column - i))
                    low = f32(gain) - high
                    scale = per_row * far / distance
                    start = f32(level + (z0 - height) * scale)
                    step = f32(dz * scale)
                    end = start + step * f32(nz - 1)
                    # Only the rows that this pillar reads are blended.
                    first = max(min(np.int64(min(start, end)), rows - 1), 0)
                    last = min(max(np.int64(max(start, end)) + 2, 1), rows)
                    a = u32((v * columns + i) * rows)
                    b = a + u32(rows)
                    for r in range(first, last):
                        line[u32(r)] = low * flat[a + u32(r)] + high * flat[b + u32(r)]
                    line[last] = line[last - 1]
                    to = u32((y * nx + x) * nz)
                    if min(start, end) >= first and max(start, end) <= rows - 1:
                        for z in range(nz):
                            row = start + step * f32(z)
                            k = u32(row)
                            value = line[k]
                            volume[to + u32(z)] += value + (row - f32(k)) * (
                                line[k + u32(1)] - value
                            )
                    else:  # beyond the detector its outermost row counts
                        bottom, top = f32(first), f32(min(last, rows - 1))
                        for z in range(nz):
                            row = min(max(start + step * f32(z), bottom), top)
                            k = u32(row)
                            value = line[k]
                            volume[to + u32(z)] += value + (row - f32(k)) * (
                                line[k + u32(1)] - value
                            )


@numba.njit(parallel=True, cache=True, error_model="numpy", boundscheck=False)
def turned(data: Array, out: Array) -> None:
    """``out[v, c, r] = data[v, r, c]`` for the columns that ``out`` has, in cache-sized squares."""
    views, columns, rows = out.shape
    for v in numba.prange(views):
        for r0 in range(0, rows, 16):
            for c0 in range(0, columns, 16):
                for c in range(c0, min(columns, c0 + 16)):
                    for r in range(r0, min(rows, r0 + 16)):
                        out[v, c, r] = data[v, r, c]
