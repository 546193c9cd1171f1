"""Compare-exchange networks: sort, merge and select with minimum and maximum alone.

A network is an array of exchanges ``(low, high, kind)``: wire ``low`` gets the smaller value of the
two, wire ``high`` the larger (``BOTH``), or only one of them is needed (``LOW``, ``HIGH``). It has
no branch, so that it runs on whole rows of voxels at once.

Source: K. E. Batcher, "Sorting networks and their applications", AFIPS 1968 (odd-even merging,
here for lists of any length).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numba
import numpy as np

from somascope.core.grid import Array

BOTH, LOW, HIGH = 0, 1, 2


def merging(first: Sequence[int], second: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Exchanges that merge two ascending lists of wires, and the wires in ascending order."""
    if not first or not second:
        return [], [*first, *second]
    if len(first) == len(second) == 1:
        return [(first[0], second[0])], [first[0], second[0]]
    one, even = merging(first[::2], second[::2])
    two, odd = merging(first[1::2], second[1::2])
    exchanges = one + two
    order = [even[0]]
    for k in range(max(len(even) - 1, len(odd))):
        if k < len(odd) and k + 1 < len(even):
            exchanges.append((odd[k], even[k + 1]))
            order += [odd[k], even[k + 1]]
        elif k < len(odd):
            order.append(odd[k])
        else:
            order.append(even[k + 1])
    return exchanges, order


def sorting(wires: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Exchanges that sort the wires, and the wires in ascending order."""
    if len(wires) < 2:
        return [], list(wires)
    half = len(wires) // 2
    one, first = sorting(wires[:half])
    two, second = sorting(wires[half:])
    three, order = merging(first, second)
    return one + two + three, order


def pruned(exchanges: Sequence[tuple[int, int]], wanted: Iterable[int]) -> Array:
    """The exchanges that matter for the ``wanted`` wires: ``(n, 3)`` int32."""
    alive = set(wanted)
    kept: list[tuple[int, int, int]] = []
    for low, high in reversed(exchanges):
        if low in alive or high in alive:
            kind = BOTH if low in alive and high in alive else LOW if low in alive else HIGH
            kept.append((low, high, kind))
            alive |= {low, high}
    return np.array(kept[::-1], np.int32).reshape(-1, 3)


@numba.njit(cache=True)
def _both(a: Array, b: Array) -> None:
    for x in range(a.size):
        low = min(a[x], b[x])
        b[x] = max(a[x], b[x])
        a[x] = low


@numba.njit(cache=True)
def _low(a: Array, b: Array) -> None:
    for x in range(a.size):
        a[x] = min(a[x], b[x])


@numba.njit(cache=True)
def _high(a: Array, b: Array) -> None:
    for x in range(a.size):
        b[x] = max(a[x], b[x])


@numba.njit(cache=True)
def run(wires: Array, network: Array) -> None:
    """Run a network on ``wires``, shape ``(wires, n)``: n independent problems side by side."""
    for k in range(network.shape[0]):
        a, b = wires[network[k, 0]], wires[network[k, 1]]
        if network[k, 2] == BOTH:
            _both(a, b)
        elif network[k, 2] == LOW:
            _low(a, b)
        else:
            _high(a, b)
