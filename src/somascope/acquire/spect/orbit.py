"""Where the camera is: angles, radii and times per view, and the plane it turns in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid


def per_view(values: ArrayLike, views: int | None, name: str, *, positive: bool = False) -> Float:
    """``values`` as ``(views,)`` float64; one number stands for all views."""
    found = np.atleast_1d(np.asarray(values, np.float64))
    if found.ndim != 1 or found.size == 0 or not np.isfinite(found).all():
        raise GeometryError(f"{name}: give finite numbers, one per view, not {values!r}")
    if positive and float(found.min()) <= 0:
        raise GeometryError(f"{name} is {found.min():g} for some view; give positive numbers")
    if views is None or len(found) == views:
        return found
    if len(found) != 1:
        raise GeometryError(
            f"{name} has {len(found)} values for {views} views; give one, or one per view"
        )
    return np.repeat(found, views)


def toward(angles: Float) -> Float:
    """Unit vectors ``(views, 2)`` in (L, P) from the axis to the camera."""
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


@dataclass(frozen=True, eq=False)
class Plane:
    """The slices of a grid in (L, P): where index (0, 0) is, the steps along y and x."""

    first: Float
    down: Float
    across: Float
    shape: tuple[int, int]
    upward: bool
    """Whether slice numbers grow towards the head."""

    def index(self, points: Float) -> Float:
        """Indices ``(y, x)`` of points ``(..., 2)``."""
        return self.turn(points - self.first)

    def turn(self, vectors: Float) -> Float:
        """Vectors ``(..., 2)`` in mm as index steps ``(y, x)``."""
        return vectors @ np.linalg.inv(np.stack([self.down, self.across], axis=1)).T

    def corners(self) -> Float:
        """Centres of the four outermost pixels, ``(4, 2)``."""
        ny, nx = self.shape
        return np.array(
            [self.first + y * self.down + x * self.across for y in (0, ny - 1) for x in (0, nx - 1)]
        )


def plane(grid: Grid, kind: str) -> Plane:
    """The plane of rotation of ``grid``; slices must lie across S and have square pixels."""
    steps = grid.affine[:3, :3]
    dz, dy, dx = grid.spacing
    if (
        abs(abs(steps[2, 0]) - dz) > 1e-3 * dz
        or np.abs(steps[2, 1:]).max() > 1e-3 * dx
        or not grid.is_orthogonal(tolerance=1e-3)
    ):
        raise GeometryError(
            f"{kind} turns about the S axis and needs slices across it; the grid is {grid!r}. "
            "Resample it to axial slices (process.resample)"
        )
    if abs(dy - dx) > 1e-3 * dx:
        raise GeometryError(
            f"{kind} needs square pixels; the grid has {dy:g} x {dx:g} mm. Resample it"
        )
    return Plane(
        grid.affine[:2, 3], steps[:2, 1], steps[:2, 2], grid.shape[1:], bool(steps[2, 0] > 0)
    )


def circular(
    views: int, *, arc: float = 360.0, start: float = 0.0, clockwise: bool = False
) -> Float:
    """Angles in radians of ``views`` evenly over ``arc`` degrees from ``start`` degrees."""
    sign = -1.0 if clockwise else 1.0
    return np.deg2rad(start + sign * arc / views * np.arange(views))


def body_contour(mask: Array, grid: Grid, angles: Float, *, margin: float = 20.0) -> Float:
    """Radii in mm that keep the collimator ``margin`` mm off a body, one per view.

    ``mask`` ``(nz, ny, nx)`` is true inside the body; the axis of rotation is the centre of the
    grid's slices.
    """
    where = plane(grid, "a body contour")
    y, x = np.nonzero(np.asarray(mask, bool).any(axis=0))
    if len(y) == 0:
        raise GeometryError("the mask of the body is empty; there is nothing to go around")
    points = where.first + y[:, None] * where.down + x[:, None] * where.across
    reach = ((points - centre(grid)[:2]) @ toward(angles).T).max(axis=0)
    return np.maximum(reach, 1.0) + margin


def centre(grid: Grid) -> Float:
    """The middle of the grid, LPS mm."""
    return grid.to_world([(n - 1) / 2 for n in grid.shape])


def effective_seconds(
    seconds: Float, half_life: float | None, *, begins: Float | None = None
) -> Float:
    """Seconds per view that count the activity at the start of the scan.

    ``(exp(-k t0) - exp(-k (t0 + dt))) / k``: the counts of a view of a decaying source are those
    of a steady one in this time.

    Parameters
    ----------
    seconds
        ``(views,)`` as measured.
    half_life
        Of the nuclide in seconds; None for no decay.
    begins
        Start of each view after the start of the scan; one after the other if not given.
    """
    seconds = np.asarray(seconds, np.float64)
    if half_life is None:
        return seconds
    if not half_life > 0:
        raise ParameterError(f"the half-life is {half_life} s; give a positive number")
    k = np.log(2) / half_life
    t0 = np.cumsum(seconds) - seconds if begins is None else np.asarray(begins, np.float64)
    return np.exp(-k * t0) * -np.expm1(-k * seconds) / k
