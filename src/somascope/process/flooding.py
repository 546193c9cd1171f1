"""Floods of a volume from its markers, and reconstruction by dilation: the kernels, one core each.

What is flooded next is kept in one list per level, in order of arrival. 8 and 16 bit integers have
a level of their own for each value; other values share 2^16 levels, and those of the lowest level
not yet done wait in a heap.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array

LEVELS = 1 << 16


@numba.njit(cache=True)
def _up(keys: Array, ages: Array, items: Array, n: int, key: Any, age: Any, item: Any) -> None:
    """Put an entry into a binary heap of ``n``."""
    i = n
    while i > 0:
        p = (i - 1) // 2
        if keys[p] < key or (keys[p] == key and ages[p] < age):
            break
        keys[i], ages[i], items[i] = keys[p], ages[p], items[p]
        i = p
    keys[i], ages[i], items[i] = key, age, item


@numba.njit(cache=True)
def _down(keys: Array, ages: Array, items: Array, n: int) -> None:
    """Take the first entry of a binary heap of ``n + 1`` away; ``n`` are left."""
    key, age, item = keys[n], ages[n], items[n]
    i = 0
    while True:
        c = 2 * i + 1
        if c >= n:
            break
        if c + 1 < n and (
            keys[c + 1] < keys[c] or (keys[c + 1] == keys[c] and ages[c + 1] < ages[c])
        ):
            c += 1
        if key < keys[c] or (key == keys[c] and age < ages[c]):
            break
        keys[i], ages[i], items[i] = keys[c], ages[c], items[c]
        i = c
    keys[i], ages[i], items[i] = key, age, item


@numba.njit(cache=True)
def _pushed(voxel: int, level: Array, first: Array, last: Array, following: Array) -> None:
    b = level[voxel]
    following[voxel] = -1
    if first[b] < 0:
        first[b] = voxel
    else:
        following[last[b]] = voxel
    last[b] = voxel


@numba.njit(cache=True)
def flooded(values: Array, level: Array, steps: Array, exact: int, labels: Array) -> None:
    """Spread ``labels`` in order of value, then of arrival, into what is 0 (Meyer 1991).

    Parameters
    ----------
    values
        Flat, of a volume with a border one voxel wide all around.
    level
        uint16: rises with the values; equal ones only for equal values where ``exact``.
    steps
        Offsets of the neighbours in the flat array.
    labels
        int32, flat, changed in place: 0 is to be flooded, negative is a wall.
    """
    n = values.size
    first = np.full(LEVELS, -1, np.int64)
    last = np.full(LEVELS, -1, np.int64)
    following = np.full(n, -1, np.int32)
    arrival = np.zeros(0 if exact else n, np.int32)
    room = 1024
    keys, ages = np.empty(room, values.dtype), np.empty(room, np.int32)
    items = np.empty(room, np.int64)
    heaped, count = 0, 0
    for v in range(n):
        if labels[v] > 0:
            _pushed(v, level, first, last, following)
            if not exact:
                arrival[v] = count
            count += 1
    now = 0
    reached = -1  # levels up to this one wait in the heap
    while True:
        if exact:
            while now < LEVELS and first[now] < 0:
                now += 1
            if now == LEVELS:
                break
            v = first[now]
            first[now] = following[v]
        else:
            if heaped == 0:
                while now < LEVELS and first[now] < 0:
                    now += 1
                if now == LEVELS:
                    break
                reached = now
                v = first[now]
                while v >= 0:
                    if heaped == room:
                        room *= 2
                        keys, ages = _longer(keys, room), _longer(ages, room)
                        items = _longer(items, room)
                    _up(keys, ages, items, heaped, values[v], arrival[v], v)
                    heaped += 1
                    v = following[v]
                first[now] = -1
            v = items[0]
            heaped -= 1
            if heaped > 0:
                _down(keys, ages, items, heaped)
        name = labels[v]
        for s in steps:
            w = v + s
            if labels[w] != 0:
                continue
            labels[w] = name
            b = level[w]
            if exact:
                _pushed(w, level, first, last, following)
                now = min(now, b)
                continue
            arrival[w] = count
            count += 1
            if b > reached:
                _pushed(w, level, first, last, following)
                continue
            if heaped == room:
                room *= 2
                keys, ages = _longer(keys, room), _longer(ages, room)
                items = _longer(items, room)
            _up(keys, ages, items, heaped, values[w], arrival[w], w)
            heaped += 1


@numba.njit(cache=True)
def _longer(a: Array, n: int) -> Array:
    out = np.empty(n, a.dtype)
    out[: a.size] = a
    return out


@numba.njit(cache=True)
def rebuilt(marker: Array, mask: Array, steps: Array) -> None:
    """Reconstruction by dilation of ``marker`` under ``mask``, in place (Vincent 1993).

    IEEE Trans Image Process 2. Flat, of volumes with a border one voxel wide where both are the
    smallest value. ``steps`` are the offsets of the neighbours, those behind first and those ahead
    last, in equal number.
    """
    n = marker.size
    half = steps.size // 2
    edge = max(steps.max(), -steps.min())
    for v in range(edge, n - edge):
        best = marker[v]
        for k in range(half):
            best = max(best, marker[v + steps[k]])
        marker[v] = min(best, mask[v])
    queue = np.empty(4096, np.int64)
    head, tail = 0, 0
    for v in range(n - edge - 1, edge - 1, -1):
        best = marker[v]
        for k in range(half, steps.size):
            best = max(best, marker[v + steps[k]])
        best = min(best, mask[v])
        marker[v] = best
        for k in range(half, steps.size):
            w = v + steps[k]
            if marker[w] < best and marker[w] < mask[w]:
                if tail == queue.size:
                    queue = _longer(queue, 2 * tail)
                queue[tail] = v
                tail += 1
                break
    while head < tail:
        v = queue[head]
        head += 1
        height = marker[v]
        for s in steps:
            w = v + s
            if marker[w] < height and marker[w] < mask[w]:
                marker[w] = min(height, mask[w])
                if tail == queue.size:
                    tail -= head
                    queue[:tail] = queue[head : head + tail].copy()
                    head = 0
                    if 2 * tail > queue.size:
                        queue = _longer(queue, 2 * queue.size)
                queue[tail] = w
                tail += 1
