"""Landmarks in the dense part: nodes near a mark are pulled to where it was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from somascope.core.grid import Array, Float, Grid
from somascope.core.tensors import is_tensor

LOYAL = 10.0
"""How much a mark weighs in its node, beside what the images say there (95 % of the nodes)."""
REACH = 2
"""Nodes to each side that a mark pulls; a Gaussian of one node."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Points ``(n, 3)`` of the fixed frame, and where the dense part is to take them, LPS mm."""

    at: Float
    to: Float

    def pulled(
        self, blocks: Array, right: Array, grid: Grid, cell: Array, field: tuple[Array, Array],
        floor: float,
    ) -> tuple[Array, Array]:  # fmt: skip
        """`pull`, and what it has made of ``blocks`` and ``right``; they may be tensors."""
        if not is_tensor(blocks):
            self.pull(blocks, right, grid, cell, field, floor)
            return blocks, right
        from somascope.analyze.register.gpu import placed

        some: Any = (blocks, right, field[0])
        one, two, planes = (t.cpu().numpy().copy() for t in some)
        self.pull(one, two, grid, cell, (np.moveaxis(planes, 0, -1), field[1]), floor)
        made: Any = tuple(placed(v, str(some[0].device)) for v in (one, two))
        return made

    def pull(
        self, blocks: Array, right: Array, grid: Grid, cell: Array, field: tuple[Array, Array],
        floor: float,
    ) -> None:  # fmt: skip
        """Add to the normal equations on the lattice of ``cell`` voxels of ``grid``.

        ``field``: displacement ``(lz, ly, lx, 3)`` in mm along the grid's axes, and its lattice's
        cell; ``floor``: the least that a node weighs (the prior's diagonal).
        """
        from scipy.ndimage import map_coordinates

        u, close = field
        index = grid.to_index(self.at)
        there = ((index - (close - 1) / 2) / close).T
        moved = [map_coordinates(u[..., i], there, order=1, mode="nearest") for i in range(3)]
        left = (self.to - self.at) @ grid.direction - np.stack(moved, axis=-1)
        weigh = LOYAL * max(float(np.percentile(blocks[:3], 95)), floor)
        shape = np.asarray(right.shape[1:])
        for place, wanted in zip((index - (cell - 1) / 2) / cell, left, strict=True):
            low = np.clip(np.floor(place).astype(int) - REACH + 1, 0, shape - 1)
            high = np.clip(np.floor(place).astype(int) + REACH, 0, shape - 1) + 1
            axes = [np.exp(-0.5 * (np.arange(a, b) - p) ** 2)
                    for a, b, p in zip(low, high, place, strict=True)]  # fmt: skip
            near = np.einsum("i,j,k->ijk", *axes).astype(np.float32) * np.float32(weigh)
            here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            for i in range(3):
                blocks[(i, *here)] += near
                right[(i, *here)] += near * np.float32(wanted[i])
