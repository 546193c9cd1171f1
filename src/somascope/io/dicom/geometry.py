"""Slice positions become grids: even runs, missing slices, gantry tilt (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Image
from somascope.core.provenance import Step

EVEN = 0.05
"""Part of the slice distance by which a slice may lie off its place in an even stack."""
SAME_MM = 0.005
"""Slices nearer than this are at the same place."""


@dataclass(frozen=True, eq=False)
class Run:
    """Evenly spaced places: indices into the sorted positions, and the step between them."""

    members: tuple[int, ...]
    step: Float | None
    """LPS mm, ``None`` for a single slice."""


def normal_of(orientation: Sequence[float]) -> Float:
    """Unit normal of a slice: its row direction times its column direction."""
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def places(positions: Float, normal: Float) -> tuple[Array, Float]:
    """Group slices by place along the normal.

    Parameters
    ----------
    positions
        ``(n, 3)`` LPS mm.

    Returns
    -------
    index, unique
        For each slice the number of its place, ``(n,)``; the place's position, ``(m, 3)``, in the
        order of the normal.
    """
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    breaks = np.diff(along[order]) > SAME_MM
    number = np.concatenate(([0], np.cumsum(breaks)))
    index = np.empty(len(positions), np.intp)
    index[order] = number
    firsts = order[np.concatenate(([True], breaks))]
    return index, positions[firsts]


def even(positions: Float) -> bool:
    """Whether sorted positions ``(m, 3)`` lie evenly on a line."""
    if len(positions) < 3:
        return True
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    ideal = positions[0] + np.arange(len(positions))[:, None] * step
    off = np.linalg.norm(positions - ideal, axis=1).max()
    return bool(off <= max(EVEN * float(np.linalg.norm(step)), 0.01))


def runs(positions: Float) -> list[Run]:
    """Cut sorted positions ``(m, 3)`` into even stacks; the longest take their slices first."""
    m = len(positions)
    if m == 1:
        return [Run((0,), None)]
    if even(positions):
        return [Run(tuple(range(m)), (positions[-1] - positions[0]) / (m - 1))]
    steps = np.diff(positions, axis=0)
    segments: list[tuple[int, int]] = []  # first and last slice
    start = 0
    for i in range(1, m):
        if i == m - 1 or not even(positions[start : i + 2]) or not _alike(steps[start], steps[i]):
            segments.append((start, i))
            start = i
    taken = np.zeros(m, bool)
    result: list[Run] = []
    for first, last in sorted(segments, key=lambda s: (s[0] - s[1], s[0])):
        members = [i for i in range(first, last + 1) if not taken[i]]
        if len(members) < 2 or members[-1] - members[0] != len(members) - 1:
            continue
        taken[members] = True
        step = (positions[members[-1]] - positions[members[0]]) / (len(members) - 1)
        result.append(Run(tuple(members), step))
    result += [Run((i,), None) for i in range(m) if not taken[i]]
    return sorted(result, key=lambda r: r.members[0])


def _alike(a: Float, b: Float) -> bool:
    return bool(np.linalg.norm(a - b) <= max(EVEN * float(np.linalg.norm(a)), 0.01))


def gap_report(positions: Float) -> str:
    """Say how the distances of sorted positions differ, and where slices seem to be missing."""
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual = float(np.median(gaps))
    if (
        float(gaps.min()) > 0
        and float(np.sum(np.abs(gaps - gaps.min()) < EVEN * gaps.min())) >= len(gaps) / 2
    ):
        usual = float(gaps.min())
    holes = [(i, round(g / usual)) for i, g in enumerate(gaps) if g > 1.5 * usual]
    whole = all(abs(gaps[i] - n * usual) <= EVEN * usual * n for i, n in holes)
    rest = [g for i, g in enumerate(gaps) if i not in dict(holes)]
    if holes and whole and all(abs(g - usual) <= EVEN * usual for g in rest):
        missing = sum(n - 1 for _, n in holes)
        where = ", ".join(f"after slice {i + 1}" for i, _ in holes[:4])
        return f"{missing} slice(s) seem to be missing ({where}; the distance is {usual:.4g} mm)"
    return f"slice distances differ: {gaps.min():.4g} to {gaps.max():.4g} mm"


def grid_of(
    orientation: Sequence[float] | None,
    spacing: tuple[float, float],
    *,
    origin: Sequence[float] | None,
    step: Float | None,
    thickness: float,
    shape: tuple[int, int, int],
    frame_of_reference: str = "",
) -> Grid:
    """The grid of a stack, column by column from the slices' own words.

    ``step`` goes from slice to slice as measured, so a gantry tilt stays in the affine as shear.
    Without orientation the stack is laid axially at the origin.
    """
    if orientation is None:
        return Grid.from_spacing(
            shape, (thickness or 1.0, *spacing), origin=origin or (0.0, 0.0, 0.0),
            frame_of_reference=frame_of_reference,
        )  # fmt: skip
    affine = np.eye(4)
    affine[:3, 0] = step if step is not None else normal_of(orientation) * (thickness or 1.0)
    affine[:3, 1] = np.array(orientation[3:]) * spacing[0]
    affine[:3, 2] = np.array(orientation[:3]) * spacing[1]
    affine[:3, 3] = origin if origin is not None else (0.0, 0.0, 0.0)
    return Grid(shape, affine, frame_of_reference)


def tilt_degrees(grid: Grid) -> float:
    """Angle between the stacking direction and the slices' normal."""
    z, y, x = grid.direction.T
    normal = np.cross(x, y)
    return float(np.degrees(np.arccos(np.clip(abs(z @ normal) / np.linalg.norm(normal), 0, 1))))


def correct_tilt(image: Image, *, fill: float | None = None) -> Image:
    """Resample a stack with gantry tilt to an orthogonal grid, slice by slice.

    Each slice stays in its plane and is moved within it (linear interpolation) until the stack
    is upright; the grid grows so that no voxel is lost. The step is recorded in the provenance.

    Parameters
    ----------
    image
        Any image; one without tilt comes back as it is.
    fill
        Value of voxels outside the scan; default the image's minimum.

    Returns
    -------
    Image
        Same world position of the anatomy, same type; its grid is orthogonal.
    """
    grid = image.grid
    if grid.is_orthogonal():
        return image
    z, y, x = grid.affine[:3, :3].T
    if abs(grid.direction[:, 1] @ grid.direction[:, 2]) > 1e-4:
        raise GeometryError(
            "the grid's rows and columns are not at right angles; resample it instead"
        )
    _, dy, dx = grid.spacing
    nz, ny, nx = grid.shape
    normal = np.cross(x, y)
    normal /= np.linalg.norm(normal)
    upright = float(z @ normal) * normal
    drift = z - upright
    sy, sx = float(drift @ y) / dy**2, float(drift @ x) / dx**2  # pixels per slice
    lows = [min(0.0, s * (nz - 1)) for s in (sy, sx)]
    highs = [max(0.0, s * (nz - 1)) for s in (sy, sx)]
    low_y, low_x = (int(np.floor(v + 1e-9)) for v in lows)
    shape = (
        nz,
        ny + int(np.ceil(highs[0] - 1e-9)) - low_y,
        nx + int(np.ceil(highs[1] - 1e-9)) - low_x,
    )
    outside = float(image.data.min()) if fill is None else fill
    result = np.full((*image.data.shape[:-3], *shape), outside, image.data.dtype)
    for k in range(nz):
        moved = _shifted(image.data[..., k, :, :], k * sy - low_y, shape[1], -2, outside)
        moved = _shifted(moved, k * sx - low_x, shape[2], -1, outside)
        if image.data.dtype.kind in "iu":
            moved = np.rint(moved)
        result[..., k, :, :] = moved.astype(image.data.dtype)
    affine = grid.affine.copy()
    affine[:3, 0] = upright
    affine[:3, 3] = grid.to_world((0, low_y, low_x))
    step = Step("dicom.correct_tilt", {"fill": outside, "degrees": tilt_degrees(grid)})
    return replace(
        image, data=result, grid=Grid(shape, affine, grid.frame_of_reference),
        provenance=image.provenance.then(step),
    )  # fmt: skip


def _shifted(data: Array, by: float, size: int, axis: int, fill: float) -> Array:
    """Move along an axis by a part of a pixel, into ``size`` entries; beyond is ``fill``."""
    whole = int(np.floor(by + 1e-9))
    part = max(by - whole, 0.0)
    data = np.moveaxis(data, axis, -1)
    n = data.shape[-1]
    result = np.full((*data.shape[:-1], size), fill, np.float64)
    if part < 1e-6:
        result[..., whole : whole + n] = data
    else:
        inner = data[..., :-1] * part + data[..., 1:] * (1 - part)
        result[..., whole + 1 : whole + n] = inner
        result[..., whole] = data[..., 0] * (1 - part) + fill * part
        if whole + n < size:
            result[..., whole + n] = data[..., -1] * part + fill * (1 - part)
    return np.moveaxis(result, -1, axis)


def evened(image: Image, positions: Float) -> Image:
    """Resample unevenly stacked slices to even ones by linear interpolation between neighbours.

    Parameters
    ----------
    image
        Slices in the order of ``positions`` on any grid.
    positions
        ``(nz, 3)`` true places of the first voxels, LPS mm.
    """
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    length, usual = float(gaps.sum()), float(np.median(gaps))
    usual = float(gaps.min()) if gaps.min() > 0.25 * usual else usual
    count = max(2, round(length / usual) + 1)
    at = np.concatenate(([0.0], np.cumsum(gaps)))
    wanted = np.linspace(0.0, length, count)
    below = np.clip(np.searchsorted(at, wanted, side="right") - 1, 0, len(at) - 2)
    part = ((wanted - at[below]) / gaps[below])[:, None, None]
    data = image.data
    result = data[..., below, :, :] * (1 - part) + data[..., below + 1, :, :] * part
    if data.dtype.kind in "iu":
        result = np.rint(result)
    affine = image.grid.affine.copy()
    affine[:3, 0] = (positions[-1] - positions[0]) / (count - 1)
    affine[:3, 3] = positions[0]
    grid = Grid((count, *image.grid.shape[1:]), affine, image.grid.frame_of_reference)
    step = Step(
        "dicom.even_spacing", {"slices": len(positions), "spacing_mm": length / (count - 1)}
    )
    return replace(
        image, data=result.astype(data.dtype), grid=grid, provenance=image.provenance.then(step)
    )
