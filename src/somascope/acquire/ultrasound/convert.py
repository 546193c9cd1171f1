"""Scan conversion: values along a probe's lines of sight to the pixels of a picture.

A line starts on the probe's face and runs along a unit direction. Lines of a flat probe are
parallel; those of a sector or a convex face meet in an apex behind (or on) the face. Between lines
and samples values are interpolated linearly; pixels that no line passes are 0.
"""

from __future__ import annotations

import numpy as np

from somascope.acquire.ultrasound.channels import points_of
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid

_PARALLEL = 1e-4
"""Radians between the outermost lines below which they count as parallel."""


def line_points(starts: Float, directions: Float, depths: Float) -> Float:
    """Points ``(lines, depths, 3)`` mm at ``depths`` mm along lines."""
    return starts[:, None] + depths[None, :, None] * directions[:, None]


def scan_convert(
    values: Array, *, starts: Float, directions: Float, depths: Float, grid: Grid
) -> Array:
    """Values ``(..., lines, depths)`` of lines in a plane on the pixels of ``grid``.

    Parameters
    ----------
    values
        Envelopes (interpolating complex values would cancel them).
    starts, directions
        ``(lines, 3)`` mm and unit vectors; neighbours lie next to each other, in the x-y plane.
    depths
        mm along the lines, evenly spaced.

    Returns
    -------
    array
        ``(..., nz, ny, nx)``, float32.
    """
    at, way = _checked(values, starts, directions), np.asarray(directions, np.float64)
    r = points_of(grid)
    line, along = (_parallel if _fan(way) < _PARALLEL else _sector)(at, way, r)
    return _interpolated(values, line, along, depths, grid.shape)


def sector_volume(
    values: Array, *, azimuths: Float, elevations: Float, depths: Float, grid: Grid
) -> Array:
    """Values ``(..., elevations, azimuths, depths)`` of a matrix probe on a volume ``grid``.

    Lines leave the origin towards ``(tan az, 1, tan el)``; angles in radians, evenly spaced.
    """
    from scipy.ndimage import map_coordinates

    want = (len(elevations), len(azimuths), len(depths))
    if values.shape[-3:] != want:
        raise GeometryError(f"values of shape {values.shape}; the lines need (..., {want})")
    r = points_of(grid)
    deep = np.maximum(r[:, 1], 1e-9)
    place = np.stack([
        _index(elevations, np.arctan2(r[:, 2], deep)), _index(azimuths, np.arctan2(r[:, 0], deep)),
        _index(depths, np.linalg.norm(r, axis=1)),
    ])  # fmt: skip
    place[0, r[:, 1] < 0] = -2
    flat = values.reshape(-1, *want)
    out = [map_coordinates(v.astype(np.float32), place, order=1, cval=0.0) for v in flat]
    return np.reshape(out, (*values.shape[:-3], *grid.shape)).astype(np.float32)


def _checked(values: Array, starts: Float, directions: Float) -> Float:
    starts = np.asarray(starts, np.float64)
    if starts.shape != np.shape(directions) or len(starts) != values.shape[-2]:
        raise GeometryError(
            f"{values.shape[-2]} lines of values, {len(starts)} starts and {len(directions)} "
            "directions; give one of each per line"
        )
    if len(starts) < 2:
        raise GeometryError("one line makes no picture; give at least two")
    if values.dtype.kind == "c":
        raise GeometryError("complex values cannot be scan converted; take their modulus first")
    return starts


def _fan(directions: Float) -> float:
    return float(np.arccos(np.clip(directions[0] @ directions[-1], -1, 1)))


def _parallel(starts: Float, directions: Float, r: Float) -> tuple[Float, Float]:
    """Fractional line and depth of points, lines parallel."""
    way = directions[0]
    across = starts[-1] - starts[0]
    across = across - (across @ way) * way
    across /= np.linalg.norm(across)
    line = _index(starts @ across, r @ across)
    near = np.clip(line, 0, len(starts) - 1)
    face = np.interp(near, np.arange(len(starts)), starts @ way)
    return line, r @ way - face


def _sector(starts: Float, directions: Float, r: Float) -> tuple[Float, Float]:
    """The same where lines meet in an apex: the point nearest to all of them."""
    outer = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    apex = np.linalg.lstsq(outer.sum(axis=0), np.einsum("nij,nj->i", outer, starts), rcond=None)[0]
    apex[2] = starts[:, 2].mean()
    angle = np.arctan2(directions[:, 0], directions[:, 1])
    gap = r - apex
    line = _index(angle, np.arctan2(gap[:, 0], gap[:, 1]))
    near = np.clip(line, 0, len(starts) - 1)
    face = np.interp(near, np.arange(len(starts)), np.einsum("nk,nk->n", starts - apex, directions))
    return line, np.linalg.norm(gap, axis=1) - face


def _index(axis: Float, at: Float) -> Float:
    """Fractional index of ``at`` on a monotonic axis; outside it, beyond the ends."""
    rising = axis[-1] > axis[0]
    order = axis if rising else axis[::-1]
    if (np.diff(order) <= 0).any():
        raise GeometryError("lines or depths are not in order; sort them")
    index = np.interp(at, order, np.arange(len(axis)), left=-2.0, right=len(axis) + 1.0)
    return index if rising else len(axis) - 1 - index


def _interpolated(
    values: Array, line: Float, along: Float, depths: Float, shape: tuple[int, int, int]
) -> Array:
    from scipy.ndimage import map_coordinates

    place = np.stack([line, _index(np.asarray(depths, np.float64), along)])
    flat = values.reshape(-1, *values.shape[-2:])
    out = [map_coordinates(v.astype(np.float32), place, order=1, cval=0.0) for v in flat]
    return np.reshape(out, (*values.shape[:-2], *shape)).astype(np.float32)
