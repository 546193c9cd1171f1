"""Kernels of floods that go the easiest way first, and of ways of least cost."""

from __future__ import annotations

from heapq import heappop, heappush

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(cache=True)
def eased(cost: Array, steps: Array, level: Array, gate: Array, levels: int) -> None:
    """Flood from what is marked, the cheapest voxel first.

    Parameters
    ----------
    cost
        int32, flat, with a border of -1 all around: the level a voxel needs; -1 is a wall.
    steps
        Offsets of the neighbours.
    level
        int32, flat: 0 at the marks and -1 elsewhere; becomes the highest cost on the easiest way.
    gate
        int32, flat: becomes the last voxel on that way that needed this level, the way in.
    levels
        How many there are.
    """
    first, last = np.full(levels, -1, np.int64), np.full(levels, -1, np.int64)
    following = np.full(cost.size, -1, np.int32)
    for v in range(cost.size):
        if level[v] == 0:
            gate[v] = v
            following[v] = first[0]
            first[0] = v
            if last[0] < 0:
                last[0] = v
    now = 0
    while now < levels:
        v = first[now]
        if v < 0:
            now += 1
            continue
        first[now] = following[v]
        for s in steps:
            w = v + s
            if cost[w] < 0 or level[w] >= 0:
                continue
            b = max(cost[w], now)
            level[w] = b
            gate[w] = w if b > now else gate[v]
            following[w] = -1
            if first[b] < 0:
                first[b] = w
            else:
                following[last[b]] = w
            last[b] = w


@numba.njit(cache=True)
def cheapest(
    cost: Array, steps: Array, lengths: Array, start: int, total: Array, came: Array
) -> None:
    """Least cost from ``start`` to every pixel and the neighbour it comes from (Dijkstra).

    Parameters
    ----------
    cost
        float32, flat, of a plane with a border of infinity: per mm. A way between two pixels costs
        the mean of both times its length.
    steps, lengths
        Offsets of the neighbours, and how far they are in mm.
    total, came
        float64 and int32, flat: infinite and -1 before.
    """
    done = np.zeros(cost.size, np.bool_)
    heap = [(0.0, start)]
    total[start] = 0.0
    while heap:
        far, v = heappop(heap)
        if done[v]:
            continue
        done[v] = True
        for k in range(steps.size):
            w = v + steps[k]
            if done[w] or not np.isfinite(cost[w]):
                continue
            d = far + 0.5 * (np.float64(cost[v]) + np.float64(cost[w])) * lengths[k]
            if d < total[w]:
                total[w] = d
                came[w] = v
                heappush(heap, (d, w))
