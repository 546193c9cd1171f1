"""`analyze.measure_lesions`: size and density of every segment."""

from __future__ import annotations

import math

import numpy as np

from somascope.analyze.measure import codes
from somascope.analyze.measure.outline import hull, in_plane_axes
from somascope.analyze.measure.regions import (
    Chosen,
    Region,
    Separate,
    finding,
    on_one_grid,
    regions,
)
from somascope.analyze.measure.surface import area, volume_uncertainty
from somascope.core import QUIET, Code, Grid, Image, Mask, Measurement, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Float
from somascope.process.choices import one_volume

_NAME = "analyze.measure_lesions"


def diameter_uncertainty(grid: Grid, ends: Float) -> float:
    """Standard uncertainty in mm of a distance between two points ``(2, 3)`` of an outline.

    Each end lies within the width that a voxel has in this direction, anywhere with equal chance:
    that width over the root of twelve, and the root of two for both ends.
    """
    along = np.linalg.inv(grid.affine[:3, :3]) @ (ends[1] - ends[0])
    length = float(np.linalg.norm(ends[1] - ends[0]))
    voxels = float(np.abs(along).max())
    return length / voxels * math.sqrt(2 / 12) if voxels else 0.0


@operation(_NAME)
def measure_lesions(
    mask: Mask,
    *images: Image,
    segment: Chosen = 0,
    separate: Separate = False,
    progress: Progress = QUIET,
) -> list[Measurement]:
    """Measure size and, with an image, density of every segment.

    Volume (voxels counted) and surface (Crofton's formula, free of a voxel mesh's 8 % excess); long
    and short axis in a slice as RECIST 1.1 has them, their mean, and the longest diameter in three
    dimensions; mean, standard deviation, minimum, median and maximum in the image's unit. The
    tracking identifier is the segment's. Uncertainties are those that the voxels' size makes; what
    an outline leaves open is more.

    Raises
    ------
    GeometryError
        The image lies on another grid, or has several volumes.
    ParameterError
        The mask or the segment is empty, or more than one image is given.
    """
    if len(images) > 1:
        raise ParameterError(f"{_NAME} takes one image and was given {len(images)}")
    for image in images:
        on_one_grid(image, mask)
    found: list[Measurement] = []
    for region in progress.over(regions(mask, segment=segment, separate=separate), "lesions"):
        found += _size(mask, region)
        for image in images:
            found += _density(mask, region, image)
    return found


def _size(mask: Mask, region: Region) -> list[Measurement]:
    inside, grid = region.inside, region.grid
    axes = in_plane_axes(inside, grid)
    around = hull(inside, grid)
    long_u = diameter_uncertainty(grid, axes.long_ends)
    short_u = diameter_uncertainty(grid, axes.short_ends)
    wide_u = diameter_uncertainty(grid, np.stack(around.ends))
    rows: list[tuple[str, float, str, Code | None, float | None]] = [
        ("Volume", region.volume / 1000, "ml", codes.VOLUME,
         volume_uncertainty(inside, grid) / 1000),
        ("Surface area", area(inside, grid) / 100, "cm2", None, None),
        ("Long axis", axes.long, "mm", codes.LONG_AXIS, long_u),
        ("Short axis", axes.short, "mm", codes.SHORT_AXIS, short_u),
        ("Mean diameter", (axes.long + axes.short) / 2, "mm", codes.MEAN_DIAMETER,
         math.hypot(long_u, short_u) / 2),
        ("Largest diameter", around.diameter, "mm", codes.DIAMETER_3D, wide_u),
    ]  # fmt: skip
    return [
        finding(mask, region.segment, name, value, unit, code=code, uncertainty=spread)
        for name, value, unit, code, spread in rows
    ]


def _density(mask: Mask, region: Region, image: Image) -> list[Measurement]:
    values = region.box(one_volume(image, _NAME))[region.inside].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ParameterError(
            f"{_NAME}: the image has no finite value in {region.segment.label!r}; choose another"
        )
    rows = [
        (codes.MEAN, values.mean()), (codes.SD, values.std()), (codes.MINIMUM, values.min()),
        (codes.MEDIAN, np.median(values)), (codes.MAXIMUM, values.max()),
    ]  # fmt: skip
    return [
        finding(mask, region.segment, code.meaning, float(value), image.unit, code=code)
        for code, value in rows
    ]
