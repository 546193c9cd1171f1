"""Where source and detector are, view by view: the base of every CT geometry.

World is LPS millimetres. A circular scan turns about the axis through the isocentre along S. At
angle ``theta`` the detector's columns run along ``(cos theta, sin theta, 0)`` (L, P, S), its rows
along S, and the central ray along ``(-sin theta, cos theta, 0)``: at 0 degrees the tube is in
front of the patient and the columns run to the patient's left. The Radon coordinate is then
``s = L cos theta + P sin theta``, as in `somascope.phantoms.ellipse_radon`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid


@dataclass(frozen=True, eq=False)
class Views:
    """One source and one detector per view.

    Parameters
    ----------
    source
        Shape ``(views, 3)``: the focal spot in mm, or, for ``parallel`` beams, the direction of
        the rays (any length).
    centre
        Shape ``(views, 3)``: the detector's centre in mm.
    u, v
        Shape ``(views, 3)``: the step from column to column, and from row to row, in mm.
    rows, columns
        Number of detector elements.
    parallel
        Whether all rays of a view have one direction.
    curved
        Columns lie at equal angles about the source (``|u|`` along the arc) instead of on a plane;
        the rows stay straight.
    shift
        Detector offset in columns: column ``c`` is ``c - (columns - 1) / 2 + shift`` steps of
        ``u`` from ``centre``.
    """

    source: Float
    centre: Float
    u: Float
    v: Float
    rows: int
    columns: int
    parallel: bool = False
    curved: bool = False
    shift: float = 0.0

    def __post_init__(self) -> None:
        n = len(np.atleast_2d(np.asarray(self.source)))
        for name in ("source", "centre", "u", "v"):
            vectors = np.array(getattr(self, name), np.float64)
            if vectors.shape != (n, 3) or n == 0 or not np.isfinite(vectors).all():
                raise GeometryError(
                    f"Views.{name} has shape {vectors.shape} or values that are not finite; give "
                    f"one vector (L, P, S) in mm for each view, shape ({n}, 3)"
                )
            vectors.setflags(write=False)
            object.__setattr__(self, name, vectors)
        if self.rows < 1 or self.columns < 1:
            raise GeometryError(
                f"the detector has {self.rows} rows and {self.columns} columns; give at least one"
            )
        if self.curved and self.parallel:
            raise GeometryError("a curved detector needs a point source; parallel beams have none")

    def __len__(self) -> int:
        return len(self.source)

    def take(self, which: slice | Array) -> Views:
        """Some of the views."""
        return replace(
            self, source=self.source[which], centre=self.centre[which], u=self.u[which],
            v=self.v[which],
        )  # fmt: skip

    def elements(self) -> Float:
        """Centres of the detector elements in mm, shape ``(views, rows, columns, 3)``."""
        column = np.arange(self.columns) - (self.columns - 1) / 2 + self.shift
        row = np.arange(self.rows) - (self.rows - 1) / 2
        along = self.v[:, None, None] * row[:, None, None]
        if not self.curved:
            return self.centre[:, None, None] + along + self.u[:, None, None] * column[:, None]
        towards = self.centre - self.source
        radius = np.linalg.norm(towards, axis=-1)
        step = np.linalg.norm(self.u, axis=-1)
        gamma = (step / radius)[:, None] * column
        tangent = self.u / step[:, None] * radius[:, None]
        arc = (
            self.source[:, None]
            + np.cos(gamma)[..., None] * towards[:, None]
            + np.sin(gamma)[..., None] * tangent[:, None]
        )
        return arc[:, None] + along

    def rays(self, *, reach: float = 0.0) -> tuple[Float, Float]:
        """Starts and ends in mm, each ``(views, rows, columns, 3)``.

        Divergent rays go from the source to the element. Parallel ones go from ``reach`` mm before
        the element to as far behind it.
        """
        ends = self.elements()
        if not self.parallel:
            return np.broadcast_to(self.source[:, None, None], ends.shape), ends
        direction = self.source / np.linalg.norm(self.source, axis=-1, keepdims=True)
        half = reach * direction[:, None, None]
        return ends - half, ends + half


def frame(angles: ArrayLike) -> tuple[Float, Float]:
    """Unit vectors of the columns and of the central ray at angles in radians, ``(views, 3)``."""
    theta = np.asarray(angles, np.float64)
    zero = np.zeros_like(theta)
    columns = np.stack([np.cos(theta), np.sin(theta), zero], axis=-1)
    ray = np.stack([-np.sin(theta), np.cos(theta), zero], axis=-1)
    return columns, ray


def circular(
    angles: ArrayLike,
    *,
    rows: int,
    columns: int,
    spacing: tuple[float, float],
    source: float = 0.0,
    detector: float = 0.0,
    curved: bool = False,
    shift: float = 0.0,
    isocentre: ArrayLike = (0.0, 0.0, 0.0),
    heights: ArrayLike = 0.0,
) -> Views:
    """A source and a detector turning about S through the isocentre.

    Parameters
    ----------
    angles
        Radians, shape ``(views,)``.
    rows, columns
        Of the detector.
    spacing
        Distance of rows and of columns on the detector in mm.
    source
        Source to isocentre in mm; 0 for parallel beams.
    detector
        Source to detector in mm.
    curved, shift
        As in `Views`.
    isocentre
        LPS mm.
    heights
        S of source and detector over the isocentre in mm, a number or one per view (helix).
    """
    across, ray = frame(angles)
    n = len(across)
    z = np.broadcast_to(np.asarray(heights, np.float64), (n,))
    middle = np.asarray(isocentre, np.float64) + z[:, None] * (0.0, 0.0, 1.0)
    v = np.tile([0.0, 0.0, float(spacing[0])], (n, 1))
    u = across * spacing[1]
    if source == 0:
        return Views(ray, middle, u, v, rows, columns, parallel=True, shift=shift)
    if not 0 < source < detector:
        raise GeometryError(
            f"source to isocentre is {source} mm and source to detector {detector} mm; the "
            "detector must lie behind the isocentre"
        )
    spot = middle - source * ray
    return Views(
        spot, spot + detector * ray, u, v, rows, columns, curved=curved, shift=shift
    )  # fmt: skip


def checked_angles(angles: ArrayLike) -> Float:
    """Angles in radians as float64 ``(views,)``, read-only; refuses none and NaN."""
    theta = np.array(angles, np.float64)
    if theta.ndim != 1 or theta.size == 0 or not np.isfinite(theta).all():
        raise GeometryError(
            f"angles have shape {theta.shape} or values that are not finite; give one angle in "
            "radians for each view"
        )
    theta.setflags(write=False)
    return theta


def plane(grid: Grid, isocentre: ArrayLike, *, kind: str) -> tuple[Float, Float, Float]:
    """First pixel relative to the isocentre, and the steps along y and x, each ``(L, P)`` mm.

    Raises
    ------
    GeometryError
        The slices of ``grid`` are not perpendicular to the axis of rotation, or not one above
        the other.
    """
    step = grid.affine[:3, :3]
    tilt = max(abs(step[2, 1]) * grid.shape[1], abs(step[2, 2]) * grid.shape[2])
    if tilt > 1e-3 * min(grid.spacing[1:]):
        raise GeometryError(
            f"the grid's slices ({grid.orientation}) are not perpendicular to the axis of "
            f"rotation (S); {kind} takes axial slices: resample the image, or use ct.views"
        )
    drift = np.abs(step[:2, 0]).max() * (grid.shape[0] - 1)
    if drift > 1e-3 * min(grid.spacing[1:]):
        raise GeometryError(
            f"the grid's slices drift by {drift:.3g} mm across the stack (gantry tilt); {kind} "
            "takes slices one above the other: use process.correct_tilt, or ct.views"
        )
    first = np.asarray(grid.origin) - np.asarray(isocentre, np.float64)
    return first[:2], step[:2, 1].copy(), step[:2, 2].copy()


def reach(grid: Grid, isocentre: ArrayLike) -> float:
    """Distance in mm from the isocentre's axis to the farthest pixel edge of the grid."""
    nz, ny, nx = grid.shape
    corners = np.array([(z, y, x) for z in (0, nz - 1) for y in (-0.5, ny - 0.5)
                        for x in (-0.5, nx - 0.5)])  # fmt: skip
    offset = grid.to_world(corners) - np.asarray(isocentre, np.float64)
    return float(np.linalg.norm(offset[:, :2], axis=1).max())


def angular_weights(angles: ArrayLike, *, period: float = np.pi) -> Float:
    """Share of the half turn that each view stands for, in radians.

    Half the gaps to its neighbours on the circle of ``period``. A gap of more than three times the
    wide ones (the 95th percentile) and of 5 degrees is not covered (limited angle) and counts as a
    usual one. A half or full turn with equal steps gives ``period / views``.
    """
    theta = np.mod(np.asarray(angles, np.float64), period)
    if theta.size == 1:
        return np.array([period])
    # Views half a turn apart measure the same lines: together they fill one place.
    theta = np.where(theta > period * (1 - 1e-9), 0.0, theta)
    rounded = np.round(theta / (period * 1e-9)).astype(np.int64)
    places, back, count = np.unique(rounded, return_inverse=True, return_counts=True)
    if places.size == 1:
        return np.full(theta.shape, period / theta.size)
    position = places * (period * 1e-9)
    gaps = np.diff(np.append(position, position[0] + period))
    usual = float(np.quantile(gaps, 0.95, method="lower"))
    missing = gaps > max(3 * usual, period / 36)
    gaps = np.where(missing, np.median(gaps), gaps)
    cells = 0.5 * (gaps + np.roll(gaps, 1))
    return cells[back] / count[back]
