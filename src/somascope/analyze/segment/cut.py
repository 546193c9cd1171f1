"""The minimum cut of a volume: exact, in whole numbers, told as it goes on."""

from __future__ import annotations

from itertools import product

import numpy as np

from somascope.analyze.segment.cut_kernels import STATE, grown, linked, started
from somascope.core import QUIET, Progress
from somascope.core.grid import Array

UNIT = 1000
"""Whole numbers that an energy of 1 is."""

_RANK = {6: 1, 18: 2, 26: 3}
_TURNS = 200_000
"""Ways to the sink between two reports."""


def neighbours(
    shape: tuple[int, ...], spacing: tuple[float, float, float], connectivity: int
) -> tuple[Array, Array]:
    """Offsets in a flat array of ``shape`` padded by one, and 1 over their lengths.

    In pairs there and back; lengths are in units of the shortest edge of a voxel along axes that
    have more than one.
    """
    _, ny, nx = (n + 2 for n in shape)
    near = min((s for s, n in zip(spacing, shape, strict=True) if n > 1), default=min(spacing))
    found: list[tuple[int, float]] = []
    for z, y, x in product((-1, 0, 1), repeat=3):
        if (z, y, x) > (0, 0, 0) and abs(z) + abs(y) + abs(x) <= _RANK[connectivity]:
            length = np.linalg.norm(np.multiply((z, y, x), spacing))
            step = (z * ny + y) * nx + x
            found += [(step, float(near / length)), (-step, float(near / length))]
    return np.array([s for s, _ in found], np.int64), np.array([w for _, w in found])


def minimum_cut(
    terminal: Array,
    values: Array,
    unknown: Array,
    spacing: tuple[float, float, float],
    *,
    sharp: float,
    strength: float,
    connectivity: int = 26,
    progress: Progress = QUIET,
) -> tuple[int, Array]:
    """The smallest cut between what is pulled inside and what is pulled outside.

    Parameters
    ----------
    terminal
        ``(nz, ny, nx)`` int32: how much dearer outside is than inside, in `UNIT` parts.
    values, unknown
        float32 and bool: voxels where ``unknown`` is False take no part.
    sharp, strength
        A border between neighbours costs ``strength exp(-sharp (difference)^2)`` over their
        distance in units of the shortest edge.
    connectivity
        6, 18 or 26 neighbours.

    Returns
    -------
    tuple
        The flow sent (the cut's cost less what every labelling has to pay), and the voxels
        inside: of all smallest cuts the one with the fewest.
    """
    shape = tuple(n + 2 for n in values.shape)
    steps, across = neighbours(values.shape, spacing, connectivity)
    free = np.pad(unknown.astype(np.uint8), 1).reshape(-1)
    flat = np.pad(values, 1).reshape(-1)
    size = flat.size
    capacity = np.zeros((size, steps.size), np.int32)
    linked(flat, free, steps, sharp, across, strength * UNIT, capacity)
    pull = np.pad(np.where(unknown, terminal, 0).astype(np.int32), 1).reshape(-1)
    tree, queued = np.zeros(size, np.int8), np.zeros(size, np.int8)
    parent = np.empty(size, np.int8)
    stamp, distance = np.zeros(size, np.int32), np.zeros(size, np.int32)
    # One place more than voxels, so that a full queue is no empty one.
    queue, orphans = np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)
    state = np.zeros(STATE, np.int64)
    state[1] = started(pull, tree, parent, distance, queue)
    queued[queue[: state[1]]] = 1
    flow, calls = 0, 0
    while not state[5]:
        flow += grown(
            steps, capacity, pull, tree, parent, stamp, distance, queue, queued, orphans, state,
            _TURNS,
        )  # fmt: skip
        calls += 1
        progress(1 - 0.9**calls, "cutting")
    inside = (tree == 1).reshape(shape)[1:-1, 1:-1, 1:-1]
    return flow, inside & unknown
