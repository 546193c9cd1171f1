"""`Grid`: where the voxels of an array are, in LPS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from somascope.core.errors import GeometryError

Array = NDArray[Any]
Float = NDArray[np.float64]

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Per LPS axis: the letter towards which the coordinate falls, and rises."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectangular lattice of voxel centres in the patient.

    Parameters
    ----------
    shape
        Number of voxels ``(nz, ny, nx)``; a 2-D image has ``nz = 1``.
    affine
        4x4, maps **array-order** indices ``(z, y, x, 1)`` to ``(L, P, S, 1)`` in millimetres:
        ``world = affine @ (z, y, x, 1)``. Column 0 is the step from slice to slice, column 1
        from row to row (down), column 2 from column to column (right), column 3 the centre of
        voxel ``(0, 0, 0)``. Any handedness is allowed; nothing is silently flipped.
    frame_of_reference
        DICOM Frame of Reference UID (PS3.3 C.7.4.1), or ``""`` where none is known.
    """

    shape: tuple[int, int, int]
    affine: Float
    frame_of_reference: str = field(default="")

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(
                f"Grid.shape is {self.shape!r}; give three positive numbers (nz, ny, nx), "
                "with nz = 1 for a 2-D image"
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(
                f"Grid.affine has shape {affine.shape} or values that are not finite; give a 4x4 "
                "matrix from (z, y, x, 1) to LPS millimetres"
            )
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError(f"Grid.affine ends in {affine[3]}; the last row must be 0 0 0 1")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError(
                f"Grid.affine {affine[:3, :3].tolist()} is singular: two axes are parallel or a "
                "spacing is zero; every axis needs a direction of its own"
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float],
        *,
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: ArrayLike | None = None,
        frame_of_reference: str = "",
    ) -> Grid:
        """Build a grid from spacings ``(dz, dy, dx)`` in mm and an LPS origin ``(L, P, S)`` in mm.

        ``direction`` is 3x3 with the unit LPS vectors of the z, y and x axes as columns; the
        default is an axial stack: z towards the head, y to the back, x to the left.
        """
        if direction is None:
            direction = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing, np.float64)
        affine[:3, 3] = origin
        return cls((shape[0], shape[1], shape[2]), affine, frame_of_reference)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres ``(dz, dy, dx)`` in mm."""
        dz, dy, dx = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(dz), float(dy), float(dx)

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0) as ``(L, P, S)`` in mm."""
        l, p, s = self.affine[:3, 3]
        return float(l), float(p), float(s)

    @property
    def direction(self) -> Float:
        """3x3, the unit LPS vectors of the z, y, x axes as columns."""
        return self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Anatomical letters towards which z, y and x rise, e.g. ``"SPL"`` for an axial stack."""
        return "".join(
            _LETTERS[int(np.argmax(np.abs(column)))][int(column[np.argmax(np.abs(column))] > 0)]
            for column in self.direction.T
        )

    def is_orthogonal(self, *, tolerance: float = 1e-4) -> bool:
        """Whether the three axes are at right angles (no gantry tilt, no shear)."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(3)).max() < tolerance)

    def to_world(self, index: ArrayLike) -> Float:
        """LPS mm of indices ``(..., 3)`` in ``(z, y, x)`` order; fractions allowed."""
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, world: ArrayLike) -> Float:
        """Fractional ``(z, y, x)`` indices of LPS points ``(..., 3)`` in mm."""
        points = np.asarray(world, dtype=np.float64) - self.affine[:3, 3]
        return points @ np.linalg.inv(self.affine[:3, :3]).T

    def allclose(self, other: Grid, *, tolerance_mm: float = 1e-3) -> bool:
        """Same shape, and every voxel within ``tolerance_mm`` of its twin."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() < tolerance_mm)

    def moved(self, *, start: Sequence[int], shape: Sequence[int], step: Sequence[int]) -> Grid:
        """The grid of ``array[start::step]`` cut to ``shape``; steps may be negative."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start)
        affine[:3, :3] = affine[:3, :3] * np.asarray(step, dtype=np.float64)
        return Grid((shape[0], shape[1], shape[2]), affine, self.frame_of_reference)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.affine, other.affine)
            and self.frame_of_reference == other.frame_of_reference
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes(), self.frame_of_reference))

    def __repr__(self) -> str:
        dz, dy, dx = self.spacing
        nz, ny, nx = self.shape
        return f"Grid({nz}x{ny}x{nx}, {dz:.4g}x{dy:.4g}x{dx:.4g} mm, {self.orientation})"
