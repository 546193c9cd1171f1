"""Where shapes live: millimetres of the patient in 3-D, of the slice in 2-D; and voxels of a grid.

A 3-D shape has points ``(n, 3)`` in L, P, S mm. A 2-D shape has points ``(n, 2)`` in mm along the
columns and rows ``(y, x)`` of its slice, from the centre of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somascope.core import Grid
from somascope.core.grid import Array, Float


def dimensions(grid: Grid) -> int:
    """2 for a single slice, else 3."""
    return 2 if grid.shape[0] == 1 else 3


@dataclass(frozen=True, eq=False)
class Frame:
    """``index = matrix @ place + offset``: ``(3, d)`` and ``(3,)``; ``back`` ``(d, 3)``."""

    matrix: Float
    offset: Float
    back: Float

    @classmethod
    def of(cls, grid: Grid) -> Frame:
        """That of a grid's voxels."""
        if dimensions(grid) == 3:
            into = np.asarray(np.linalg.inv(grid.affine), np.float64)
            return cls(into[:3, :3].copy(), into[:3, 3].copy(), grid.affine[:3, :3].copy())
        _, dy, dx = grid.spacing
        back = np.array([[0.0, dy, 0.0], [0.0, 0.0, dx]])
        return cls(np.array([[0.0, 0.0], [1 / dy, 0.0], [0.0, 1 / dx]]), np.zeros(3), back)

    @property
    def d(self) -> int:
        """Dimensions of its places."""
        return self.matrix.shape[1]

    def moved(self, start: Array, *, step: int = 1) -> Frame:
        """That of the part of the array that begins at ``start``, every ``step``-th voxel."""
        offset = (self.offset - np.asarray(start, np.float64)) / step
        return replace(self, offset=offset, matrix=self.matrix / step, back=self.back * step)

    def index(self, places: Float) -> Float:
        """Fractional indices ``(n, 3)`` of places ``(n, d)``."""
        return np.ascontiguousarray(places @ self.matrix.T + self.offset)

    def place(self, index: Float) -> Float:
        """Places ``(n, d)`` in mm of indices ``(n, 3)``."""
        return (np.asarray(index, np.float64) - self.offset) @ self.back.T

    def steps(self, directions: Float) -> Float:
        """Voxels ``(n, 3)`` that directions ``(n, d)`` in mm go."""
        return np.ascontiguousarray(directions @ self.matrix.T)
