"""Joseph's projector for eight lines at a time that are each other's mirror images.

The volume is held in eight turned copies, ``(y, x, z, lane)``, padded by `PAD` voxels in x and z; a
line then advances along y with ``x = start + slope y`` in all lanes alike. All planes of a sinogram
share the transaxial path: at each step one column along z is interpolated and every plane reads
from it.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.pet.vectors import LANES, add, blend, read, spread
from somascope.core.grid import Array

PAD = 1
BLOCK = 8


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _rows(path: Array, n: int) -> tuple[int, int]:
    """First and last row in which a path is within the grid and between its ends."""
    start, slope, first, last = path[0], path[1], path[2], path[3]
    low, high = max(np.ceil(first), 0.0), min(np.floor(last), n - 1.0)
    if slope > 1e-6:
        low = max(low, np.ceil((-1.0 - start) / slope))
        high = min(high, np.floor((n - start) / slope))
    elif start <= -1.0 or start >= n:
        return 0, -1
    return int(low), int(high)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _planes(path: Array, ends: Array, dz: float, rise: Array) -> None:
    """Per plane: z (padded index) at y = 0, its slope, mm per row, for one path."""
    run = path[3] - path[2]
    for p in range(len(ends)):
        slope = (ends[p, 1] - ends[p, 0]) / run
        rise[p, 0] = ends[p, 0] - slope * path[2] + PAD
        rise[p, 1] = slope
        away = (ends[p, 1] - ends[p, 0]) * dz
        rise[p, 2] = np.sqrt(path[4] * path[4] + away * away) / run


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def gather(
    start: int, stop: int, volume: Array, n: int, nz: int, paths: Array, places: Array,
    swapped: Array, ends: Array, mirror: Array, dz: float, centres: Array, reach: float,
    kernel: Array, out: Array,
) -> None:  # fmt: skip
    """``out[tof, plane, place]`` of the paths ``start..stop``; ``volume`` is flat."""
    planes, bins = len(ends), len(centres)
    deep = (nz + 2 * PAD) * LANES
    wide = deep * (n + 2 * PAD)
    column = np.empty(deep, np.float32)
    total = np.empty(bins * planes * LANES, np.float32)
    value = np.empty(LANES, np.float32)
    rise = np.empty((planes, 3), np.float32)
    one, low_z, top_z = np.float32(1), np.float32(0), np.float32(nz + PAD)
    scale = np.float32((len(kernel) - 2) / reach) if reach > 0 else one
    top = np.float32(len(kernel) - 2)
    pitch = centres[1] - centres[0] if bins > 1 else one
    for g in range(start, stop):
        path = paths[g]
        _planes(path, ends, dz, rise)
        first, last = _rows(path, n)
        total[:] = 0
        middle = np.float32(0.5) * (path[2] + path[3])
        for y in range(first, last + 1):
            x = min(max(path[0] + path[1] * np.float32(y), -one), np.float32(n)) + one
            ix = min(int(x), n)
            fx = x - np.float32(ix)
            at = y * wide + ix * deep
            for j in range(0, deep, LANES):
                blend(column, j, volume, at + j, at + deep + j, one - fx, fx)
            for p in range(planes):
                z = min(max(rise[p, 0] + rise[p, 1] * np.float32(y), low_z), top_z)
                iz = min(int(z), nz)
                fz = z - np.float32(iz)
                if reach > 0:
                    value[:] = 0
                    read(value, 0, column, iz * LANES, one - fz, fz)
                    t = (np.float32(y) - middle) * rise[p, 2]
                    b0 = max(int(np.ceil((t - reach - centres[0]) / pitch)), 0)
                    b1 = min(int(np.floor((t + reach - centres[0]) / pitch)), bins - 1)
                    for b in range(b0, b1 + 1):
                        u = min(abs(t - centres[b]) * scale, top)
                        k = int(u)
                        w = kernel[k] + (u - np.float32(k)) * (kernel[k + 1] - kernel[k])
                        add(total, (b * planes + p) * LANES, value, 0, w)
                else:
                    read(total, p * LANES, column, iz * LANES, one - fz, fz)
        for lane in range(LANES):
            place = places[g, lane]
            if place < 0:
                continue
            for b in range(bins):
                for p in range(planes):
                    q, c = (mirror[p], bins - 1 - b) if swapped[g, lane] else (p, b)
                    out[c, q, place] = total[(b * planes + p) * LANES + lane] * rise[p, 2]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def pack(
    start: int, stop: int, data: Array, paths: Array, places: Array, swapped: Array, ends: Array,
    mirror: Array, dz: float, packed: Array,
) -> None:  # fmt: skip
    """``packed[path, tof, plane, lane]`` of ``data[tof, plane, place]``, times mm per row."""
    bins, planes = data.shape[0], data.shape[1]
    rise = np.empty((planes, 3), np.float32)
    for g in range(start, stop):
        _planes(paths[g], ends, dz, rise)
        for lane in range(LANES):
            place = places[g, lane]
            for b in range(bins):
                for p in range(planes):
                    if place < 0:
                        packed[g, b, p, lane] = 0
                    else:
                        q, c = (mirror[p], bins - 1 - b) if swapped[g, lane] else (p, b)
                        packed[g, b, p, lane] = data[c, q, place] * rise[p, 2]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def scatter(
    start: int, stop: int, packed: Array, n: int, nz: int, paths: Array, ends: Array, dz: float,
    centres: Array, reach: float, kernel: Array, volume: Array,
) -> None:  # fmt: skip
    """Add the paths to the rows of the blocks ``start..stop`` of ``volume`` (flat)."""
    count, bins, planes = packed.shape[0], packed.shape[1], packed.shape[2]
    flat = packed.reshape(-1)
    deep = (nz + 2 * PAD) * LANES
    wide = deep * (n + 2 * PAD)
    column = np.empty(deep, np.float32)
    value = np.empty(LANES, np.float32)
    rise = np.empty((planes, 3), np.float32)
    one, low_z, top_z = np.float32(1), np.float32(0), np.float32(nz + PAD)
    scale = np.float32((len(kernel) - 2) / reach) if reach > 0 else one
    top = np.float32(len(kernel) - 2)
    pitch = centres[1] - centres[0] if bins > 1 else one
    low, high = start * BLOCK, min(stop * BLOCK, n) - 1
    for g in range(count):
        path = paths[g]
        first, last = _rows(path, n)
        first, last = max(first, low), min(last, high)
        if first > last:
            continue
        _planes(path, ends, dz, rise)
        middle = np.float32(0.5) * (path[2] + path[3])
        base = g * bins * planes * LANES
        for y in range(first, last + 1):
            column[:] = 0
            for p in range(planes):
                z = min(max(rise[p, 0] + rise[p, 1] * np.float32(y), low_z), top_z)
                iz = min(int(z), nz)
                fz = z - np.float32(iz)
                if reach > 0:
                    value[:] = 0
                    t = (np.float32(y) - middle) * rise[p, 2]
                    b0 = max(int(np.ceil((t - reach - centres[0]) / pitch)), 0)
                    b1 = min(int(np.floor((t + reach - centres[0]) / pitch)), bins - 1)
                    for b in range(b0, b1 + 1):
                        u = min(abs(t - centres[b]) * scale, top)
                        k = int(u)
                        w = kernel[k] + (u - np.float32(k)) * (kernel[k + 1] - kernel[k])
                        add(value, 0, flat, base + (b * planes + p) * LANES, w)
                    spread(column, iz * LANES, value, 0, one - fz, fz)
                else:
                    spread(column, iz * LANES, flat, base + p * LANES, one - fz, fz)
            x = min(max(path[0] + path[1] * np.float32(y), -one), np.float32(n)) + one
            ix = min(int(x), n)
            fx = x - np.float32(ix)
            at = y * wide + ix * deep
            for j in range(0, deep, LANES):
                add(volume, at + j, column, j, one - fx)
                add(volume, at + deep + j, column, j, fx)
