"""Two contrasts compared by neighbourhood descriptors, at one level of a dense registration.

The descriptors are those of the finest level's neighbourhoods, and coarser levels hold their means:
what a voxel is alike to changes with the distance to its neighbours, where edges lie does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from somascope.analyze.register import field_kernels, patch_kernels
from somascope.analyze.register.features import mind, pooled
from somascope.core.grid import Array, Float, Grid

if TYPE_CHECKING:
    from somascope.analyze.register.dense import Level


@dataclass(frozen=True, eq=False)
class Patches:
    """Descriptors ``(nz, ny, nx, 8)`` of both images on the fixed grid of one level."""

    fixed: Array
    moving: Array
    grid: Grid
    weight: Array

    def equations(
        self, there: Array, back: Array, close: Array, cell: Array
    ) -> tuple[Array, Array]:
        """Blocks ``(6, lz, ly, lx)`` and right sides ``(3, lz, ly, lx)`` of a Gauss-Newton step.

        ``there`` and ``back``: displacements in mm on the lattice of ``close`` voxels, at which the
        moving and the fixed image are looked up; ``cell``: that of the step.
        """
        per_mm = (1.0 / np.asarray(self.grid.spacing)).astype(np.float32)
        f, m = np.empty_like(self.fixed), np.empty_like(self.moving)
        patch_kernels.warped(self.moving, there, close, per_mm, m)
        patch_kernels.warped(self.fixed, back, close, per_mm, f)
        shape = tuple(-(-n // int(c)) for n, c in zip(self.grid.shape, cell, strict=True))
        blocks, right = np.empty((6, *shape), np.float32), np.empty((3, *shape), np.float32)
        cost, seen = patch_kernels.equations(f, m, self.weight, cell, per_mm, blocks, right)
        # One weight for all, 1 / mean square of what is left: the least that is believed of them.
        channels = 2 * sum(n > 1 for n in self.grid.shape)
        square = max(cost / max(channels * seen, 1e-6), 1e-6)
        share = np.float32(1 / (channels * square))
        return blocks * share, right * share


def described(levels: list[Level], matrix: Float) -> list[Patches]:
    """Both images at each of the levels, whose grids have one middle."""
    level = levels[-1]
    grid = level.fixed_grid
    one, two = mind(level.fixed), mind(onto(level, matrix))
    out: list[Patches] = []
    for level in levels[::-1]:
        one, two = (pooled(v, grid, level.fixed_grid) for v in (one, two))
        grid = level.fixed_grid
        out.append(Patches(one, two, grid, level.weight))
    return out[::-1]


def onto(level: Level, matrix: Float) -> Array:
    """A level's moving volume on its fixed grid, by the 4x4 ``matrix``; NaN where it has no value.

    Descriptors are made there, so that "the next voxel to the left" is the same in both.
    """
    grid = level.fixed_grid
    into = (np.linalg.inv(level.moving_grid.affine) @ matrix @ grid.affine)[:3]
    out = np.empty(grid.shape, np.float32)
    field_kernels.warp(
        level.moving, np.zeros((1, 1, 1, 3), np.float32), np.asarray(grid.shape, np.int64),
        np.ones(3, np.float32), np.ascontiguousarray(into, np.float32), out,
    )  # fmt: skip
    return out
