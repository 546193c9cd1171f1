"""Inner loops of scatter: sums along rays from scatter points, and over points for every pair."""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def rays(
    start: int, stop: int, points: Array, ends: Array, mu: Array, activity: Array, pitch: Array,
    step: float, absorbed: Array, emitted: Array,
) -> None:  # fmt: skip
    """Integrals of ``mu`` and ``activity`` from each point to each end, ``(ends, points)``.

    ``points`` and ``ends`` in (z, y, x) indices of the volumes, ``pitch`` mm per index, ``step``
    mm.
    """
    nz, ny, nx = mu.shape
    for d in range(start, stop):
        for s in range(len(points)):
            dz, dy, dx = (
                ends[d, 0] - points[s, 0], ends[d, 1] - points[s, 1], ends[d, 2] - points[s, 2],
            )  # fmt: skip
            length = np.sqrt((dz * pitch[0]) ** 2 + (dy * pitch[1]) ** 2 + (dx * pitch[2]) ** 2)
            share = np.float32(step / length)
            dz, dy, dx = dz * share, dy * share, dx * share
            z, y, x = (
                points[s, 0] + dz * np.float32(0.5), points[s, 1] + dy * np.float32(0.5),
                points[s, 2] + dx * np.float32(0.5),
            )  # fmt: skip
            total_mu, total_activity = np.float32(0), np.float32(0)
            for _ in range(int(length / step)):
                if z < 0 or y < 0 or x < 0 or z > nz - 1 or y > ny - 1 or x > nx - 1:
                    break
                iz, iy, ix = min(int(z), nz - 2), min(int(y), ny - 2), min(int(x), nx - 2)
                iz, iy, ix = max(iz, 0), max(iy, 0), max(ix, 0)
                fz, fy, fx = z - iz, y - iy, x - ix
                jz, jy, jx = min(iz + 1, nz - 1), min(iy + 1, ny - 1), min(ix + 1, nx - 1)
                for a in range(2):
                    wa, ka = (fz, jz) if a else (1 - fz, iz)
                    for b in range(2):
                        wb, kb = (wa * fy, jy) if b else (wa * (1 - fy), iy)
                        low, high = wb * (1 - fx), wb * fx
                        total_mu += low * mu[ka, kb, ix] + high * mu[ka, kb, jx]
                        total_activity += low * activity[ka, kb, ix] + high * activity[ka, kb, jx]
                z, y, x = z + dz, y + dy, x + dx
            absorbed[d, s] = total_mu * np.float32(step)
            emitted[d, s] = total_activity * np.float32(step)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def pairs(
    start: int, stop: int, points: Array, weights: Array, places: Array, normals: Array,
    absorbed: Array, emitted: Array, worth: Array, least: float, out: Array,
) -> None:  # fmt: skip
    """Single scatter between detectors ``i`` and all ``j > i``; ``out`` ``(ends, ends)``.

    ``points``, ``places`` in mm; ``weights`` of the points; ``worth`` is `compton.table`.
    """
    count, ends = len(points), len(places)
    last = np.float32(worth.shape[1] - 1)
    survive_i = np.empty(count, np.float32)
    unit = np.empty((3, count), np.float32)
    facing = np.empty(count, np.float32)
    for i in range(start, stop):
        for s in range(count):
            x, y, z = (
                places[i, 0] - points[s, 0], places[i, 1] - points[s, 1],
                places[i, 2] - points[s, 2],
            )  # fmt: skip
            square = x * x + y * y + z * z
            scale = 1 / np.sqrt(square)
            unit[0, s], unit[1, s], unit[2, s] = x * scale, y * scale, z * scale
            cosine = (x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]) * scale
            facing[s] = weights[s] * cosine / square
            survive_i[s] = np.exp(-absorbed[i, s])
        for j in range(i + 1, ends):
            total = np.float32(0)
            for s in range(count):
                x, y, z = (
                    places[j, 0] - points[s, 0], places[j, 1] - points[s, 1],
                    places[j, 2] - points[s, 2],
                )  # fmt: skip
                square = x * x + y * y + z * z
                scale = np.float32(1) / np.sqrt(square)
                turned = -(unit[0, s] * x + unit[1, s] * y + unit[2, s] * z) * scale
                if turned < least:
                    continue
                u = min(max(np.float32(0.5) * (1 - turned) * last, np.float32(0)), last)
                k = min(int(u), worth.shape[1] - 2)
                f = u - k
                likely = worth[0, k] + f * (worth[0, k + 1] - worth[0, k])
                ratio = worth[1, k] + f * (worth[1, k + 1] - worth[1, k])
                cosine = (x * normals[j, 0] + y * normals[j, 1] + z * normals[j, 2]) * scale
                from_i = emitted[i, s] * survive_i[s] * np.exp(-ratio * absorbed[j, s])
                from_j = emitted[j, s] * np.exp(-absorbed[j, s] - ratio * absorbed[i, s])
                total += facing[s] * cosine / square * likely * (from_i + from_j)
            out[i, j] = total
            out[j, i] = total


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def profiles(
    start: int, stop: int, points: Array, ends: Array, mu: Array, activity: Array, pitch: Array,
    step: float, width: float, absorbed: Array, emitted: Array, lengths: Array,
) -> None:  # fmt: skip
    """As `rays`, the activity by its distance from the point: ``emitted`` ``(ends, points, k)``.

    Piece ``k`` is that between ``k`` and ``k + 1`` times ``width`` mm; ``lengths`` is how many are
    not empty.
    """
    nz, ny, nx = mu.shape
    pieces = emitted.shape[2]
    for d in range(start, stop):
        for s in range(len(points)):
            dz, dy, dx = (
                ends[d, 0] - points[s, 0], ends[d, 1] - points[s, 1], ends[d, 2] - points[s, 2],
            )  # fmt: skip
            length = np.sqrt((dz * pitch[0]) ** 2 + (dy * pitch[1]) ** 2 + (dx * pitch[2]) ** 2)
            share = np.float32(step / length)
            total_mu, last = np.float32(0), 0
            for n in range(int(length / step)):
                t = (np.float32(n) + np.float32(0.5)) * share
                z, y, x = points[s, 0] + dz * t, points[s, 1] + dy * t, points[s, 2] + dx * t
                if z < 0 or y < 0 or x < 0 or z > nz - 1 or y > ny - 1 or x > nx - 1:
                    break
                iz, iy, ix = min(int(z), nz - 1), min(int(y), ny - 1), min(int(x), nx - 1)
                jz, jy, jx = min(iz + 1, nz - 1), min(iy + 1, ny - 1), min(ix + 1, nx - 1)
                fz, fy, fx = z - iz, y - iy, x - ix
                here = np.float32(0)
                for a in range(2):
                    wa, ka = (fz, jz) if a else (1 - fz, iz)
                    for b in range(2):
                        wb, kb = (wa * fy, jy) if b else (wa * (1 - fy), iy)
                        low, high = wb * (1 - fx), wb * fx
                        total_mu += low * mu[ka, kb, ix] + high * mu[ka, kb, jx]
                        here += low * activity[ka, kb, ix] + high * activity[ka, kb, jx]
                k = min(int((n + 0.5) * step / width), pieces - 1)
                if here > 0:
                    emitted[d, s, k] += here * np.float32(step)
                    last = k + 1
            absorbed[d, s] = total_mu * np.float32(step)
            lengths[d, s] = last


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def pairs_in_time(
    start: int, stop: int, points: Array, weights: Array, places: Array, normals: Array,
    absorbed: Array, emitted: Array, lengths: Array, width: float, worth: Array, least: float,
    kernel: Array, out: Array,
) -> None:  # fmt: skip
    """As `pairs`, by time of flight: ``out`` ``(bins, ends, ends)``.

    A photon pair from ``r`` mm towards ``i`` seems to come from ``(d_i - d_j) / 2 - r`` from the
    middle of the line towards ``j``, with ``d`` the ways from the scatter point. Those offsets are
    counted in pieces of ``width`` mm, which ``kernel`` ``(bins, offsets)`` turns into bins.
    """
    count, ends = len(points), len(places)
    bins, offsets = kernel.shape
    last = np.float32(worth.shape[1] - 1)
    survive_i = np.empty(count, np.float32)
    unit = np.empty((3, count), np.float32)
    facing = np.empty(count, np.float32)
    away = np.empty(count, np.float32)
    seen = np.empty(offsets, np.float32)
    for i in range(start, stop):
        for s in range(count):
            x, y, z = (
                places[i, 0] - points[s, 0], places[i, 1] - points[s, 1],
                places[i, 2] - points[s, 2],
            )  # fmt: skip
            square = x * x + y * y + z * z
            away[s] = np.sqrt(square)
            scale = 1 / away[s]
            unit[0, s], unit[1, s], unit[2, s] = x * scale, y * scale, z * scale
            cosine = (x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]) * scale
            facing[s] = weights[s] * cosine / square
            survive_i[s] = np.exp(-absorbed[i, s])
        for j in range(i + 1, ends):
            seen[:] = 0
            for s in range(count):
                if lengths[i, s] == 0 and lengths[j, s] == 0:
                    continue
                x, y, z = (
                    places[j, 0] - points[s, 0], places[j, 1] - points[s, 1],
                    places[j, 2] - points[s, 2],
                )  # fmt: skip
                square = x * x + y * y + z * z
                length = np.sqrt(square)
                scale = np.float32(1) / length
                turned = -(unit[0, s] * x + unit[1, s] * y + unit[2, s] * z) * scale
                if turned < least:
                    continue
                u = min(max(np.float32(0.5) * (1 - turned) * last, np.float32(0)), last)
                k = min(int(u), worth.shape[1] - 2)
                f = u - k
                likely = worth[0, k] + f * (worth[0, k + 1] - worth[0, k])
                ratio = worth[1, k] + f * (worth[1, k + 1] - worth[1, k])
                cosine = (x * normals[j, 0] + y * normals[j, 1] + z * normals[j, 2]) * scale
                both = facing[s] * cosine / square * likely
                from_i = both * survive_i[s] * np.exp(-ratio * absorbed[j, s])
                from_j = both * np.exp(-absorbed[j, s] - ratio * absorbed[i, s])
                # Middles of pieces are half a width from their ends.
                middle = np.float32(0.5) * (away[s] - length) / np.float32(width)
                middle += np.float32(offsets // 2)
                at = int(np.floor(middle - np.float32(0.5)))
                f = middle - np.float32(0.5) - at
                for n in range(min(lengths[i, s], at + 1)):
                    if at - n + 1 < offsets:
                        part = from_i * emitted[i, s, n]
                        seen[at - n] += part * (1 - f)
                        seen[at - n + 1] += part * f
                at += 1
                for n in range(max(0, -at), min(lengths[j, s], offsets - 1 - at)):
                    part = from_j * emitted[j, s, n]
                    seen[at + n] += part * (1 - f)
                    seen[at + n + 1] += part * f
            for b in range(bins):
                total = np.float32(0)
                for m in range(offsets):
                    total += kernel[b, m] * seen[m]
                out[b, i, j] = total
                out[bins - 1 - b, j, i] = total
