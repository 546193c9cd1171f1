"""Minimum cut of a grid of voxels by Boykov and Kolmogorov's two search trees.

IEEE TPAMI 26 (2004) 1124-1137. Capacities are whole numbers, so that the cut is exact. Voxels lie
in a flat array of a volume with a border one wide, whose voxels nothing leads to. ``steps[k]`` is
the offset of neighbour ``k``, and ``steps[k ^ 1]`` the way back.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

_TERMINAL, _ORPHAN, _NONE = -2, -3, -1
_SOURCE, _SINK = 1, 2
_FAR = 1 << 30

STATE = 6
"""What `grown` keeps from call to call: heads and tails of two queues, the clock, the end."""


@numba.njit(cache=True)
def linked(
    values: Array, unknown: Array, steps: Array, sharp: float, across: Array, most: float,
    capacity: Array,
) -> None:  # fmt: skip
    """``capacity[v, k] <- most * across[k] * exp(-sharp (difference)^2)`` of unknown pairs."""
    for v in range(values.size):
        if not unknown[v]:
            continue
        for k in range(steps.size):
            w = v + steps[k]
            if unknown[w]:
                d = np.float64(values[w]) - np.float64(values[v])
                capacity[v, k] = np.int32(np.rint(most * across[k] * np.exp(-sharp * d * d)))


@numba.njit(cache=True)
def started(terminal: Array, tree: Array, parent: Array, distance: Array, queue: Array) -> int:
    """Roots of both trees, all of them active; how many."""
    n = 0
    for v in range(terminal.size):
        parent[v] = _NONE
        if terminal[v] != 0:
            tree[v] = _SOURCE if terminal[v] > 0 else _SINK
            parent[v] = _TERMINAL
            distance[v] = 1
            queue[n] = v
            n += 1
    return n


@numba.njit(cache=True)
def _pushed(v: int, queue: Array, queued: Array, tail: int) -> int:
    if queued[v]:
        return tail
    queued[v] = 1
    queue[tail] = v
    return tail + 1 if tail + 1 < queue.size else 0


@numba.njit(cache=True)
def _narrowest(
    i: int, k: int, steps: Array, capacity: Array, terminal: Array, parent: Array
) -> int:
    """What the way from the source over ``i`` and its neighbour ``k`` to the sink can carry."""
    least = capacity[i, k]
    v = i
    while parent[v] != _TERMINAL:
        a = parent[v]
        p = v + steps[a]
        least = min(least, capacity[p, a ^ 1])
        v = p
    least = min(least, terminal[v])
    v = i + steps[k]
    while parent[v] != _TERMINAL:
        a = parent[v]
        least = min(least, capacity[v, a])
        v = v + steps[a]
    return min(least, -terminal[v])


@numba.njit(cache=True)
def _sent(
    i: int, k: int, flow: int, steps: Array, capacity: Array, terminal: Array, parent: Array,
    orphans: Array, tail: int,
) -> int:  # fmt: skip
    """Send ``flow`` along that way; what it cuts off becomes an orphan."""
    n = orphans.size
    capacity[i, k] -= flow
    capacity[i + steps[k], k ^ 1] += flow
    v = i
    while parent[v] != _TERMINAL:
        a = parent[v]
        p = v + steps[a]
        capacity[v, a] += flow
        capacity[p, a ^ 1] -= flow
        if capacity[p, a ^ 1] == 0:
            parent[v] = _ORPHAN
            orphans[tail] = v
            tail = (tail + 1) % n
        v = p
    terminal[v] -= flow
    if terminal[v] == 0:
        parent[v] = _ORPHAN
        orphans[tail] = v
        tail = (tail + 1) % n
    v = i + steps[k]
    while parent[v] != _TERMINAL:
        a = parent[v]
        p = v + steps[a]
        capacity[v, a] -= flow
        capacity[p, a ^ 1] += flow
        if capacity[v, a] == 0:
            parent[v] = _ORPHAN
            orphans[tail] = v
            tail = (tail + 1) % n
        v = p
    terminal[v] += flow
    if terminal[v] == 0:
        parent[v] = _ORPHAN
        orphans[tail] = v
        tail = (tail + 1) % n
    return tail


@numba.njit(cache=True)
def _origin(
    j: int, steps: Array, parent: Array, stamp: Array, distance: Array, clock: int
) -> int:  # fmt: skip
    """Steps from ``j`` to a root of its tree, `_FAR` where an orphan is above it; marks the way."""
    d, u = 0, j
    while True:
        if stamp[u] == clock:
            d += distance[u]
            break
        a = parent[u]
        d += 1
        if a == _TERMINAL:
            stamp[u] = clock
            distance[u] = 1
            break
        if a < 0:
            return _FAR
        u = u + steps[a]
    found = d
    u = j
    while stamp[u] != clock:
        stamp[u] = clock
        distance[u] = d
        d -= 1
        u = u + steps[parent[u]]
    return found


@numba.njit(cache=True)
def _adopted(
    v: int, steps: Array, capacity: Array, tree: Array, parent: Array, stamp: Array,
    distance: Array, clock: int, queue: Array, queued: Array, tail: int, orphans: Array, last: int,
) -> tuple[int, int]:  # fmt: skip
    """A new parent for ``v``, or none: then it is free and its children are orphans."""
    mine = tree[v]
    best, nearest = -1, _FAR
    for k in range(steps.size):
        j = v + steps[k]
        if tree[j] != mine or parent[j] == _NONE:
            continue
        if (capacity[j, k ^ 1] if mine == _SOURCE else capacity[v, k]) == 0:
            continue
        d = _origin(j, steps, parent, stamp, distance, clock)
        if d < nearest:
            best, nearest = k, d
    if best >= 0:
        parent[v] = best
        stamp[v] = clock
        distance[v] = nearest + 1
        return tail, last
    for k in range(steps.size):
        j = v + steps[k]
        if tree[j] != mine or parent[j] == _NONE:
            continue
        if (capacity[j, k ^ 1] if mine == _SOURCE else capacity[v, k]) > 0:
            tail = _pushed(j, queue, queued, tail)
        if parent[j] >= 0 and parent[j] == (k ^ 1):
            parent[j] = _ORPHAN
            orphans[last] = j
            last = (last + 1) % orphans.size
    parent[v] = _NONE
    tree[v] = 0
    return tail, last


@numba.njit(cache=True)
def grown(
    steps: Array, capacity: Array, terminal: Array, tree: Array, parent: Array, stamp: Array,
    distance: Array, queue: Array, queued: Array, orphans: Array, state: Array, most: int,
) -> int:  # fmt: skip
    """Grow both trees and send flow where they meet, ``most`` times at most; the flow sent.

    ``state`` holds where it stands; ``state[5]`` is 1 at the end. ``terminal`` and ``capacity``
    become what is left; ``tree`` 1 is the source's side.
    """
    head, tail, first, last, clock = state[0], state[1], state[2], state[3], state[4]
    total = 0
    met = 0
    n = queue.size
    current = -1
    while met < most:
        if current < 0:
            if head == tail:
                state[5] = 1
                break
            current = queue[head]
            head = head + 1 if head + 1 < n else 0
            queued[current] = 0
        i = current
        if parent[i] == _NONE:
            current = -1
            continue
        mine = tree[i]
        v, way = -1, -1
        for k in range(steps.size):
            j = i + steps[k]
            if (capacity[i, k] if mine == _SOURCE else capacity[j, k ^ 1]) == 0:
                continue
            if parent[j] == _NONE:
                tree[j] = mine
                parent[j] = k ^ 1
                stamp[j] = stamp[i]
                distance[j] = distance[i] + 1
                tail = _pushed(j, queue, queued, tail)
            elif tree[j] != mine:
                v, way = (i, k) if mine == _SOURCE else (j, k ^ 1)
                break
            elif stamp[j] <= stamp[i] and distance[j] > distance[i]:
                parent[j] = k ^ 1
                stamp[j] = stamp[i]
                distance[j] = distance[i] + 1
        clock += 1
        if way < 0:
            current = -1
            continue
        met += 1
        flow = _narrowest(v, way, steps, capacity, terminal, parent)
        last = _sent(v, way, flow, steps, capacity, terminal, parent, orphans, last)
        total += flow
        while first != last:
            orphan = orphans[first]
            first = first + 1 if first + 1 < orphans.size else 0
            tail, last = _adopted(
                orphan,
                steps,
                capacity,
                tree,
                parent,
                stamp,
                distance,
                clock,
                queue,
                queued,
                tail,
                orphans,
                last,
            )
    if current >= 0:
        # Its neighbours are not all looked at yet.
        tail = _pushed(current, queue, queued, tail)
    state[0], state[1], state[2], state[3], state[4] = head, tail, first, last, clock
    return total
