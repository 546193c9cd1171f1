"""Where the linear search begins: turns about centres of gravity and middles.

A slice in a volume begins at several places along its normal.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from somascope.analyze.register.levels import centre
from somascope.core.grid import Array, Float, Grid

ROUGH = 18
"""Voxels along the longest axis at which every start is followed."""


def gravity(volume: Array, grid: Grid) -> Float:
    """Centre of the brightness above the background, LPS mm."""
    middle = np.nanmedian(volume)
    weight = np.nan_to_num(np.maximum(np.asarray(volume, np.float64) - middle, 0))
    total = weight.sum()
    if total <= 0:
        return centre(grid)
    index = [
        (weight.sum(axis=tuple(b for b in range(3) if b != a)) * np.arange(n)).sum() / total
        for a, n in enumerate(volume.shape)
    ]
    return grid.to_world(index)


def rotations(grid: Grid, reach: float) -> list[Float]:
    """Starting turns ``(3, 3)`` within ``reach`` degrees; in the plane for one slice."""
    from scipy.spatial.transform import Rotation

    if reach <= 0:
        return [np.eye(3)]
    flat = [a for a in range(3) if grid.shape[a] == 1]
    if flat:
        axis = grid.direction[:, flat[0]]
        count = max(int(np.ceil(2 * reach / 30)), 1)
        angles = [0.0, *[-reach + 2 * reach * k / count for k in range(count + 1)]]
        return [Rotation.from_rotvec(axis * a, degrees=True).as_matrix() for a in angles]
    steps = (-reach, 0.0, reach)
    every = [
        Rotation.from_euler("xyz", e, degrees=True).as_matrix() for e in product(steps, repeat=3)
    ]
    return sorted(every, key=lambda r: -float(np.trace(r)))


def starts(fixed: tuple[Array, Grid], moving: tuple[Array, Grid], reach: float) -> list[Float]:
    """Starts: every turn about the centres of gravity, about the middles, and where it lies.

    For a slice in a volume every turn where it lies, at several places along its normal.
    """
    out: list[Float] = []
    flat = [k for k, n in enumerate(fixed[1].shape) if n == 1]
    if flat and 1 not in moving[1].shape:
        normal, middle = fixed[1].direction[:, flat[0]], centre(fixed[1])
        for turn, far in product(rotations(moving[1], reach), np.arange(-40.0, 41.0, 10.0)):
            m = np.eye(4)
            m[:3, :3] = turn
            m[:3, 3] = middle - turn @ middle + far * normal
            out.append(m)
        return out
    a, b = gravity(*fixed), gravity(*moving)
    middle = centre(fixed[1])
    near = float(np.max(np.asarray(fixed[1].shape) * fixed[1].spacing)) / ROUGH
    for turn in rotations(fixed[1], reach):
        places: list[Float] = []
        for from_, to in ((a, b), (middle, centre(moving[1])), (a, a)):
            m = np.eye(4)
            m[:3, :3] = turn
            m[:3, 3] = to - turn @ from_
            place = turn @ middle + m[:3, 3]
            # Two that begin within a voxel of the search end as one.
            if all(float(np.linalg.norm(place - p)) > near for p in places):
                out.append(m)
            places.append(place)
    return out
