"""Kernels of a weighted graph: pairs along strong links, the graph of the groups, Gauss-Seidel.

A graph is ``start`` int64 ``(n + 1,)``, ``link`` int32 and ``weight`` float32: the neighbours of a
node and the weights to them, each pair twice. All in one order whatever the cores.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

LARGE = np.float32(0.5)
"""Of a node's strongest link to a group, from which a free neighbour is taken instead."""

MOST = 3
"""Nodes of a group."""

OWN = np.float32(0.4)
"""Of all that a node is linked by, from which on it follows one link whatever the group."""


@numba.njit(cache=True)
def counted(number: Array, weights: Array, start: Array) -> None:
    """``start`` <- where each node's links begin; ``number`` ``(nz, ny, nx)`` is -1 of no node."""
    nz, ny, nx = number.shape
    start[:] = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                a = number[z, y, x]
                if a < 0:
                    continue
                for axis in range(3):
                    p, q, r = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if p < nz and q < ny and r < nx and weights[axis, z, y, x] > 0:
                        b = number[p, q, r]
                        if b >= 0:
                            start[a + 1] += 1
                            start[b + 1] += 1
    for a in range(start.size - 1):
        start[a + 1] += start[a]


@numba.njit(cache=True)
def linked(number: Array, weights: Array, fill: Array, link: Array, weight: Array) -> None:
    """``link`` and ``weight`` <- those of the grid's nodes; ``fill``: a copy of ``start[:-1]``."""
    nz, ny, nx = number.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                a = number[z, y, x]
                if a < 0:
                    continue
                for axis in range(3):
                    p, q, r = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if p < nz and q < ny and r < nx and weights[axis, z, y, x] > 0:
                        b = number[p, q, r]
                        if b >= 0:
                            w = weights[axis, z, y, x]
                            link[fill[a]], weight[fill[a]] = b, w
                            link[fill[b]], weight[fill[b]] = a, w
                            fill[a] += 1
                            fill[b] += 1


@numba.njit(cache=True)
def strongest(start: Array, weight: Array, out: Array) -> None:
    """``out`` <- the largest weight of each node; 0 of one without links."""
    for a in range(start.size - 1):
        out[a] = 0
        for k in range(start[a], start[a + 1]):
            out[a] = max(out[a], weight[k])


@numba.njit(cache=True)
def paired(start: Array, link: Array, weight: Array, order: Array, group: Array) -> int:
    """``group`` <- pairs of nodes along strong links; how many groups there are.

    Nodes choose in ``order``, those with the strongest links first: the free neighbour of the
    largest weight, if that is near the node's largest at all; else they follow their strongest
    link into its group, which takes any number of nodes that have hardly another link, and few
    others.
    """
    size = np.zeros(group.size, np.int8)
    group[:] = -1
    groups = 0
    for a in order:
        if group[a] >= 0:
            continue
        free, most, best, top = -1, np.float32(0), -1, np.float32(0)
        total = np.float32(0)
        for k in range(start[a], start[a + 1]):
            b, w = link[k], weight[k]
            total += w
            if group[b] < 0:
                if w > most:
                    free, most = b, w
            elif w > top:
                best, top = b, w
        if free >= 0 and most >= LARGE * top:
            group[a] = group[free] = groups
            size[groups] = 2
            groups += 1
        elif best >= 0 and (size[group[best]] < MOST or top > OWN * total):
            group[a] = group[best]
            size[group[best]] = min(size[group[best]] + 1, 100)
        else:
            group[a] = groups
            size[groups] = 1
            groups += 1
    return groups


@numba.njit(cache=True)
def gathered(
    start: Array, link: Array, weight: Array, group: Array, groups: int
) -> tuple[Array, Array, Array]:
    """The graph of the groups: weights between two of them summed."""
    n = start.size - 1
    first = np.zeros(groups + 1, np.int64)
    for a in range(n):
        first[group[a] + 1] += 1
    for g in range(groups):
        first[g + 1] += first[g]
    member = np.empty(n, np.int32)
    fill = first[:-1].copy()
    for a in range(n):
        member[fill[group[a]]] = a
        fill[group[a]] += 1
    begin = np.zeros(groups + 1, np.int64)
    seen = np.full(groups, -1, np.int64)
    for g in range(groups):
        seen[g] = g
        count = 0
        for m in range(first[g], first[g + 1]):
            a = member[m]
            for k in range(start[a], start[a + 1]):
                h = group[link[k]]
                if seen[h] != g:
                    seen[h] = g
                    count += 1
        begin[g + 1] = begin[g] + count
    to = np.empty(begin[groups], np.int32)
    much = np.zeros(begin[groups], np.float32)
    seen[:] = -1
    for g in range(groups):
        at = begin[g]
        for m in range(first[g], first[g + 1]):
            a = member[m]
            for k in range(start[a], start[a + 1]):
                h = group[link[k]]
                if h == g:
                    continue
                if seen[h] < begin[g]:
                    seen[h] = at
                    to[at] = h
                    at += 1
                much[seen[h]] += weight[k]
    return begin, to, much


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def relaxed(
    start: Array, link: Array, weight: Array, inverse: Array, b: Array, x: Array, *, back: bool
) -> None:
    """One sweep of Gauss and Seidel on ``x``, from the first node to the last or ``back``."""
    n = start.size - 1
    for i in range(n):
        a = n - 1 - i if back else i
        total = b[a]
        for k in range(start[a], start[a + 1]):
            total += weight[k] * x[link[k]]
        x[a] = total * inverse[a]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def product(
    start: Array, link: Array, weight: Array, diagonal: Array, x: Array, out: Array
) -> None:
    """``out <- A x``."""
    for a in range(start.size - 1):
        total = diagonal[a] * x[a]
        for k in range(start[a], start[a + 1]):
            total -= weight[k] * x[link[k]]
        out[a] = total


@numba.njit(cache=True)
def summed(group: Array, fine: Array, out: Array) -> None:
    """``out`` <- sums of ``fine`` over the groups."""
    out[:] = 0
    for a in range(group.size):
        out[group[a]] += fine[a]
