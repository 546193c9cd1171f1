"""A path to a target, drawn and held against structures that must not be met.

Distances are to a structure's surface: the centres of the voxel faces between inside and outside,
which lie on it to half a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from somascope.analyze.measure.regions import tight
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid

STEP = 0.5
"""mm between the points at which a path is looked at."""


@dataclass(frozen=True, eq=False)
class Path:
    """From ``entry`` to ``target`` (LPS mm) over ``way`` ``(n, 3)``; a tube of ``radius`` mm.

    A planned path is straight; carried through a dense map it may be bent.
    """

    way: Float
    radius: float = 0.0

    @classmethod
    def straight(cls, entry: ArrayLike, target: ArrayLike, *, radius: float = 0.0) -> Path:
        """The straight path, in steps of at most `STEP`.

        Raises
        ------
        ParameterError
            Entry and target are one point, or the radius is below zero.
        """
        a, b = (np.asarray(p, np.float64) for p in (entry, target))
        length = float(np.linalg.norm(b - a))
        if not length > 1e-6:
            raise ParameterError(f"entry and target are one point, {a.tolist()}; give two")
        if radius < 0:
            raise ParameterError(f"the path's radius is {radius:g} mm; give 0 or more")
        t = np.linspace(0, 1, max(int(np.ceil(length / STEP)), 1) + 1)[:, None]
        return cls(a + t * (b - a), radius)

    @property
    def entry(self) -> Float:
        """Where it begins."""
        return self.way[0]

    @property
    def target(self) -> Float:
        """Where it ends."""
        return self.way[-1]

    @property
    def length(self) -> float:
        """Along the way, mm."""
        return float(np.linalg.norm(np.diff(self.way, axis=0), axis=1).sum())

    def drawn(self, grid: Grid) -> Array:
        """The voxels whose centres lie in the tube, bool; at least those nearest to the way."""
        inside = np.zeros(grid.shape, bool)
        for a, b in zip(self.way[:-1], self.way[1:], strict=True):
            box = _around(np.stack([a, b]), grid, self.radius)
            if box is None:
                continue
            x = grid.to_world(np.stack(np.meshgrid(*box, indexing="ij"), axis=-1))
            step = b - a
            t = np.clip((x - a) @ step / max(float(step @ step), 1e-12), 0, 1)
            near = ((x - a - t[..., None] * step) ** 2).sum(axis=-1) <= self.radius**2
            inside[np.ix_(*box)] |= near
        for index in np.rint(grid.to_index(self.way)).astype(int):
            if ((index >= 0) & (index < grid.shape)).all():
                inside[tuple(index)] = True
        return inside


@dataclass(frozen=True, eq=False)
class Clearance:
    """``distance`` mm between the tube and a surface (below zero: inside), and where that is.

    ``at`` on the way and ``nearest`` on the surface, LPS mm.
    """

    distance: float
    at: Float
    nearest: Float

    @property
    def towards(self) -> Float:
        """Unit vector from the way to the surface."""
        away = self.nearest - self.at
        return away / max(float(np.linalg.norm(away)), 1e-9)


def surface(inside: Array, grid: Grid) -> Float:
    """Centres of the faces between voxels inside and outside, ``(n, 3)`` LPS mm."""
    box = tight(inside)
    if box is None:
        return np.empty((0, 3))
    start = np.array([s.start for s in box]) - 1
    padded = np.pad(inside[box], 1)
    found: list[Float] = []
    for axis in range(3):
        index = np.argwhere(np.diff(padded, axis=axis)) + start
        found.append(grid.to_world(index + 0.5 * np.eye(3)[axis]))
    return np.concatenate(found)


def clearance(path: Path, inside: Array, grid: Grid) -> Clearance | None:
    """The least distance between a path and a structure (bool voxels); None without a voxel."""
    from scipy.spatial import KDTree

    faces = surface(inside, grid)
    if not len(faces):
        return None
    distance, which = (np.asarray(v) for v in KDTree(faces).query(path.way))
    index = np.rint(grid.to_index(path.way)).astype(int)
    there = ((index >= 0) & (index < grid.shape)).all(axis=1)
    within = np.zeros(len(index), bool)
    within[there] = inside[tuple(index[there].T)]
    signed = np.where(within, -distance, distance)
    k = int(signed.argmin())
    return Clearance(float(signed[k]) - path.radius, path.way[k], faces[which[k]])


def ellipsoid(centre: Float, covariance: Float, grid: Grid, *, share: float = 0.95) -> Array:
    """The voxels of the ellipsoid that holds ``share`` of a normal distribution, bool."""
    from scipy.stats import chi2

    limit = float(chi2.ppf(share, 3))
    # Directions without spread have one of a hundredth of a millimetre.
    spread = covariance + 1e-4 * np.eye(3)
    inside = np.zeros(grid.shape, bool)
    reach = float(np.sqrt(limit * np.linalg.eigvalsh(spread)[-1]))
    box = _around(centre[None], grid, reach)
    if box is not None:
        x = grid.to_world(np.stack(np.meshgrid(*box, indexing="ij"), axis=-1)) - centre
        far = np.einsum("...i,ij,...j->...", x, np.linalg.inv(spread), x)
        inside[np.ix_(*box)] = far <= limit
    middle = np.rint(grid.to_index(centre)).astype(int)
    if ((middle >= 0) & (middle < grid.shape)).all():
        inside[tuple(middle)] = True
    return inside


def _around(points: Float, grid: Grid, reach: float) -> Sequence[Array] | None:
    """Indices along z, y, x that hold all voxels within ``reach`` mm of the points."""
    # A step of one voxel along an axis is at least this far from its neighbours' plane.
    across = np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
    index = grid.to_index(points)
    low = np.maximum(np.floor(index.min(axis=0) - reach * across), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + reach * across), np.array(grid.shape) - 1)
    if (high < low).any():
        return None
    return [np.arange(a, int(b) + 1) for a, b in zip(low, high, strict=True)]
