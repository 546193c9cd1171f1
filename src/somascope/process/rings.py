"""Rings about a centre, as a detector's uneven elements leave them in CT slices, taken away."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.choices import single_values
from somascope.process.entries import each_volume
from somascope.process.missing import filled, restored

ROUNDS = 3
"""Interpolation to polar coordinates lowers narrow rings: what is left is found again."""


def _polar(
    shape: tuple[int, int], centre: tuple[float, float], spacing: tuple[float, float]
) -> tuple[Array, Array, float, int]:
    """Rows and columns of the points ``(angles, radii)``, the radial step in mm, and the angles."""
    step = 0.5 * min(spacing)
    corners = [
        np.hypot((y - centre[0]) * spacing[0], (x - centre[1]) * spacing[1])
        for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)
    ]  # fmt: skip
    radii = np.arange(int(np.ceil(max(corners) / step)) + 1) * step
    angles = int(min(max(np.ceil(2 * np.pi * max(corners) / step / 2), 90), 1440))
    phi = 2 * np.pi * np.arange(angles) / angles
    rows = centre[0] + np.outer(np.sin(phi), radii) / spacing[0]
    columns = centre[1] + np.outer(np.cos(phi), radii) / spacing[1]
    return rows, columns, step, angles


def unringed(
    plane: Array,
    centre: tuple[float, float],
    spacing: tuple[float, float],
    *,
    width: float,
    limit: float,
    sectors: int = 1,
) -> Array:
    """One slice ``(ny, nx)`` without rings about ``centre`` (row, column), float32.

    In polar coordinates a ring is a line (Sijbers and Postnov, Phys Med Biol 49:N247, 2004): what
    differs by less than ``limit`` from the median over ``width`` mm along the radius is averaged
    over the angles of each of ``sectors``, robustly, and only that is subtracted: the image itself
    is never resampled.
    """
    from scipy.ndimage import map_coordinates, median_filter

    rows, columns, step, angles = _polar((plane.shape[0], plane.shape[1]), centre, spacing)
    polar: Array = np.asarray(
        map_coordinates(plane, (rows, columns), order=1, mode="constant", cval=np.nan)
    )
    seen = np.isfinite(polar)
    size = 2 * max(round(width / step / 2), 1) + 1
    smooth = median_filter(np.where(seen, polar, 0).astype(np.float32), (1, size), mode="nearest")
    detail = np.where(seen & (np.abs(polar - smooth) < limit), polar - smooth, np.nan)
    part = angles // sectors
    rings = np.zeros((sectors, rows.shape[1]), np.float32)
    for k in range(sectors):
        own = detail[k * part : (k + 1) * part if k < sectors - 1 else angles]
        some = np.isfinite(own).sum(axis=0) >= max(own.shape[0] // 4, 3)
        rings[k, some] = np.nanmedian(own[:, some], axis=0)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float32)
    away_y, away_x = (y - centre[0]) * spacing[0], (x - centre[1]) * spacing[1]
    radius = np.hypot(away_y, away_x) / step
    turn = np.mod(np.arctan2(away_y, away_x) / (2 * np.pi) * sectors - 0.5, sectors)
    if sectors == 1:
        turn = np.zeros_like(radius)
    ring = map_coordinates(
        np.concatenate([rings, rings[:1]]), (turn, radius), order=1, mode="nearest"
    )
    return plane - ring.astype(np.float32)


@operation("process.remove_rings")
def remove_rings(
    image: Image,
    *,
    centre: Annotated[
        tuple[float, ...],
        Param("Of the rings: row and column, counted from 0; none given: the middle"),
    ] = (),
    width: Annotated[
        float,
        Param("Three times the widest ring, or so", unit="mm", minimum=0.1, maximum=100.0),
    ] = 6.0,
    limit: Annotated[
        float | None,
        Param("Strongest ring, in the image's unit: larger differences are structure; none: six "
              "times the usual difference", minimum=0.0),
    ] = None,
    sectors: Annotated[
        int, Param("Parts of the turn with rings of their own, for partial ones", minimum=1,
                   maximum=64)
    ] = 1,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Remove rings about a centre from slices (of CT, when the sinogram is not at hand).

    Each slice by itself. Shape ``(*leading, nz, ny, nx)``, float32, the image's unit; missing
    values stay missing. With the raw data, ``acquire.ct.remove_rings`` does it better.
    """
    single_values(image, "process.remove_rings")
    _, ny, nx = image.grid.shape
    _, dy, dx = image.grid.spacing
    if len(centre) not in (0, 2):
        raise ParameterError(
            f"process.remove_rings: centre is {list(centre)}; give a row and a column, or nothing"
        )
    middle = (centre[0], centre[1]) if centre else ((ny - 1) / 2, (nx - 1) / 2)
    if not (0 <= middle[0] <= ny - 1 and 0 <= middle[1] <= nx - 1):
        raise GeometryError(
            f"process.remove_rings: the centre {middle} is outside the {ny} x {nx} pixels"
        )

    def run(volume: Array) -> Array:
        from scipy.ndimage import median_filter

        values, known = filled(volume)
        size = 2 * max(round(width / min(dy, dx) / 2), 1) + 1
        out = np.empty_like(values)
        for z, plane in enumerate(values):
            most = limit
            if most is None:
                rough = np.abs(plane - median_filter(plane, (size, 1), mode="nearest"))
                usual = float(np.median(rough[rough > 0])) if (rough > 0).any() else 0.0
                most = 6 * usual / 0.6745
            out[z] = plane
            for _ in range(ROUNDS):
                out[z] = unringed(
                    out[z], middle, (dy, dx), width=width, limit=most, sectors=sectors
                )
        return restored(out, volume, known)

    return image.with_data(each_volume(image, run, progress=progress, message="removing rings"))
