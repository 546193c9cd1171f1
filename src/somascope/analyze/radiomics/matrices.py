"""Texture matrices, counted by kernels on grey levels in a padded box.

A box is an int32 array with a border of zeros, zero outside the region and else the number of the
voxel's level, counted over the levels that occur. Voxels and steps are flat indices of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numba
import numpy as np

from somascope.analyze.measure.surface import DIRECTIONS
from somascope.analyze.radiomics.levels import Levels
from somascope.core.grid import Array

Dimensions: TypeAlias = Literal["3D", "2.5D", "2D"]


@numba.njit(cache=True)
def _pairs_and_runs(box: Array, voxels: Array, steps: Array, pairs: Array, runs: Array) -> None:
    """Neighbours one step on, ``pairs[a, i, j]``; runs of one level, ``runs[a, i, length - 1]``."""
    for k in range(voxels.size):
        v = voxels[k]
        level = box[v]
        for a in range(steps.size):
            s = steps[a]
            other = box[v + s]
            if other:
                pairs[a, level - 1, other - 1] += 1
            if box[v - s] != level:
                w = v + s
                while box[w] == level:
                    w += s
                runs[a, level - 1, (w - v) // s - 1] += 1


@numba.njit(cache=True)
def _neighbourhoods(
    box: Array, grey: Array, voxels: Array, steps: Array, near: float,
    dependence: Array, counts: Array, differences: Array,
) -> None:  # fmt: skip
    """Per level: how many voxels have how many neighbours within ``near``; and tone differences.

    ``dependence[i, k]``; ``counts[i]`` voxels with a neighbour at all, ``differences[i]`` the sum
    of their differences from the mean of their neighbours.
    """
    for k in range(voxels.size):
        v = voxels[k]
        level = box[v] - 1
        mine = grey[level]
        alike, seen, total = 0, 0, 0.0
        for a in range(steps.size):
            for w in (v + steps[a], v - steps[a]):
                other = box[w]
                if other:
                    tone = grey[other - 1]
                    seen += 1
                    total += tone
                    if abs(tone - mine) <= near:
                        alike += 1
        dependence[level, alike] += 1
        if seen:
            counts[level] += 1
            differences[level] += abs(mine - total / seen)


@numba.njit(cache=True)
def _zones(box: Array, voxels: Array, steps: Array, level: Array, size: Array) -> int:
    """Connected voxels of one level: their levels and sizes, as many as are returned.

    ``box`` is emptied on the way.
    """
    waiting = np.empty(voxels.size, np.int64)
    found = 0
    for k in range(voxels.size):
        v = voxels[k]
        mine = box[v]
        if not mine:
            continue
        box[v] = 0
        waiting[0] = v
        top, number = 1, 0
        while top:
            top -= 1
            w = waiting[top]
            number += 1
            for a in range(steps.size):
                for u in (w + steps[a], w - steps[a]):
                    if box[u] == mine:
                        box[u] = 0
                        waiting[top] = u
                        top += 1
        level[found], size[found] = mine, number
        found += 1
    return found


@dataclass(frozen=True, eq=False)
class Matrices:
    """All texture matrices of a region or of one of its slices.

    Parameters
    ----------
    grey
        ``(m,)``, the levels that occur; ``levels`` is the highest there may be (IBSI's N_g).
    voxels
        How many.
    pairs
        ``(directions, m, m)`` symmetric co-occurrences of neighbours.
    runs
        ``(directions, m, longest)``.
    zones
        Levels' numbers (from 0), sizes and counts of zones, ``(3, n)``.
    dependence
        ``(m, neighbours + 1)``.
    tones
        ``(2, m)``: voxels with a neighbour, and their sum of differences.
    """

    grey: Array
    levels: int
    voxels: int
    pairs: Array
    runs: Array
    zones: Array
    dependence: Array
    tones: Array


def matrices(
    inside: Array, levels: Levels, *, dimensions: Dimensions = "3D", near: float = 0.0
) -> Iterator[Matrices]:
    """Matrices of the voxels of ``inside`` ``(nz, ny, nx)``, whose levels follow in its order.

    In 3D each voxel has 26 neighbours in 13 directions. Otherwise it has 8 in 4 directions of its
    slice, counted together (2.5D, one result) or for each slice by itself (2D, one for each slice
    that has voxels). ``near`` is the difference of levels up to which a neighbour is dependent.
    Each result is counted when asked for: those of all slices can be too large to hold.
    """
    nz, ny, nx = (n + 2 for n in inside.shape)
    box = np.zeros((nz, ny, nx), np.int32)
    box[1:-1, 1:-1, 1:-1][inside] = levels.index
    voxels = np.flatnonzero(box)
    used = DIRECTIONS if dimensions == "3D" else DIRECTIONS[DIRECTIONS[:, 0] == 0]
    steps = np.ascontiguousarray(used @ np.array([ny * nx, nx, 1]))
    # Longest run: along an axis or a diagonal, no longer than the longest side.
    longest = int(max(inside.shape[0 if dimensions == "3D" else 1 :]))
    flat = box.reshape(-1)
    if dimensions != "2D":
        yield _counted(flat, levels, voxels, steps, longest, near)
        return
    for v in np.split(voxels, np.searchsorted(voxels, np.arange(1, nz) * ny * nx)):
        if v.size:
            yield _counted(flat, levels, v, steps, longest, near)


def _counted(
    box: Array, levels: Levels, voxels: Array, steps: Array, longest: int, near: float
) -> Matrices:
    m, directions = levels.grey.size, steps.size
    grey = levels.grey.astype(np.float64)
    pairs = np.zeros((directions, m, m), np.int64)
    runs = np.zeros((directions, m, longest), np.int64)
    _pairs_and_runs(box, voxels, steps, pairs, runs)
    dependence = np.zeros((m, 2 * directions + 1), np.int64)
    counts, differences = np.zeros(m, np.int64), np.zeros(m)
    _neighbourhoods(box, grey, voxels, steps, near, dependence, counts, differences)
    level, size = np.empty(voxels.size, np.int64), np.empty(voxels.size, np.int64)
    found = _zones(box, voxels, steps, level, size)
    kinds, number = np.unique(
        np.stack([level[:found] - 1, size[:found]]), axis=1, return_counts=True
    )
    return Matrices(
        grey, levels.count, voxels.size, pairs + pairs.transpose(0, 2, 1), runs,
        np.concatenate([kinds, number[None]]), dependence, np.stack([counts, differences]),
    )  # fmt: skip
