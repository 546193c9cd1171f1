"""Oblique planes and slabs through a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import is_colour, real_values
from somascope.process.resample import MAXIMUM_VOXELS, resample_to

_SLABS = {"mean": np.nanmean, "maximum": np.nanmax, "minimum": np.nanmin}


def plane_axes(normal: Sequence[float], up: Sequence[float] | None = None) -> Float:
    """Unit LPS vectors of z (the normal), y (rows, downwards) and x, as columns of ``(3, 3)``.

    ``up`` points to the upper edge of the picture; left out, towards the head, or to the front
    where one looks along the body. ``x``, ``y``, ``z`` are right-handed, as in DICOM.

    Raises `ParameterError` for a normal of length 0 or along ``up``.
    """
    z = np.asarray(normal, np.float64)
    size = float(np.linalg.norm(z))
    if not size > 0 or not np.isfinite(size):
        raise ParameterError(f"the normal is {list(normal)}; give a direction")
    z = z / size
    top = np.asarray((0.0, 0.0, 1.0) if up is None else up, np.float64)
    if up is None and abs(z[2]) > 0.95:
        top = np.array([0.0, -1.0, 0.0])
    down = -(top - (top @ z) * z)
    length = float(np.linalg.norm(down))
    if length < 1e-6:
        raise ParameterError(f"up {top.tolist()} lies along the normal; give another direction")
    y = down / length
    return np.stack([z, y, np.cross(y, z)], axis=1)


@operation("process.reslice")
def reslice(
    image: Image,
    *,
    normal: Annotated[
        tuple[float, float, float], Param("Of the plane, LPS: (0, 0, 1) is axial")
    ] = (0.0, 0.0, 1.0),
    point: Annotated[
        tuple[float, float, float] | None,
        Param("Middle of the picture (L, P, S); none: the middle of the image", unit="mm"),
    ] = None,
    up: Annotated[
        tuple[float, float, float] | None,
        Param("Direction of the upper edge, LPS; none: towards the head, else to the front"),
    ] = None,
    size: Annotated[
        tuple[float, float] | None, Param("Height and width; none: all of the image", unit="mm")
    ] = None,
    spacing: Annotated[
        float | None,
        Param("Edge of a pixel; none: the image's smallest", unit="mm", minimum=0.01, maximum=100),
    ] = None,
    slices: Annotated[int, Param("Parallel planes", minimum=1, maximum=4096)] = 1,
    distance: Annotated[
        float | None,
        Param("Between planes; none: the thickness, or a pixel", unit="mm", minimum=0.01),
    ] = None,
    thickness: Annotated[
        float, Param("Of a slab; 0: a plane", unit="mm", minimum=0.0, maximum=1000.0)
    ] = 0.0,
    slab: Annotated[
        Literal["mean", "maximum", "minimum"], Param("What a slab shows of its points")
    ] = "mean",
    order: Annotated[
        Literal["nearest", "linear", "cubic"], Param("Interpolation between voxels")
    ] = "linear",
    outside: Annotated[
        float | None, Param("Value outside the image; none: its smallest value")
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Cut planes or slabs through a volume at any angle.

    Shape ``(*leading, slices, ny, nx)`` on an oblique grid of the same frame of reference; float32
    (float64 stays, and with ``nearest`` the dtype). A slab is the mean (or maximum, MIP; minimum,
    MinIP) of points at most a pixel apart, of those inside the image.
    """
    real_values(image, "process.reslice")
    pixel = float(min(image.grid.spacing)) if spacing is None else spacing
    axes = plane_axes(normal, up)
    middle = (
        image.grid.to_world((np.asarray(image.grid.shape) - 1) / 2)
        if point is None
        else np.asarray(point, np.float64)
    )
    step = distance if distance is not None else (thickness or pixel)
    height, width = size if size is not None else _extent(image.grid, axes)
    ny, nx = (max(round(v / pixel), 1) for v in (height, width))
    if slices * ny * nx > MAXIMUM_VOXELS:
        raise ParameterError(
            f"process.reslice: {slices} x {ny} x {nx} pixels; use a larger spacing or less of them"
        )
    grid = _grid(axes, middle, (slices, ny, nx), (step, pixel, pixel), image.grid)
    fill = outside
    if fill is None:
        finite = image.data[np.isfinite(image.data)] if image.data.dtype.kind == "f" else image.data
        fill = float(finite.min()) if finite.size else 0.0
    if thickness <= 0:
        out = resample_to(image, grid, order=order, fill=fill)
        progress(1.0, "cut")
        return replace(out, provenance=image.provenance)
    count = max(int(np.ceil(thickness / pixel)), 1)
    shifts = ((np.arange(count) + 0.5) / count - 0.5) * thickness
    planes: list[Array] = []
    floating = image if image.data.dtype.kind == "f" else image.with_data(_float(image.data))
    for z in progress.over(range(slices), "cutting slabs"):
        centre = middle + axes[:, 0] * step * (z - (slices - 1) / 2)
        layers = _grid(axes, centre, (count, ny, nx), (thickness / count, pixel, pixel), image.grid)
        values = resample_to(floating, layers, order=order, fill=np.nan).data
        empty = np.isnan(values).all(axis=-3)
        safe = np.where(np.isnan(values).all(axis=-3, keepdims=True), 0.0, values)
        planes.append(np.where(empty, fill, _SLABS[slab](safe, axis=-3)))
    assert len(shifts) == count
    data = np.stack(planes, axis=-3)
    if is_colour(image):
        data = np.rint(data).astype(image.data.dtype)
    return replace(image, data=data.astype(data.dtype if is_colour(image) else np.float32),
                   grid=grid)  # fmt: skip


def _float(data: Array) -> Array:
    return data.astype(np.float32)


def _extent(grid: Grid, axes: Float) -> tuple[float, float]:
    """Height and width that hold the whole image, edges included."""
    ends = [(-0.5, n - 0.5) for n in grid.shape]
    corners = grid.to_world(np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3))
    spread = np.ptp(corners @ axes, axis=0)
    return float(spread[1]), float(spread[2])


def _grid(
    axes: Float, middle: Float, shape: tuple[int, int, int], steps: tuple[float, float, float],
    like: Grid,
) -> Grid:  # fmt: skip
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(steps)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine, like.frame_of_reference)
