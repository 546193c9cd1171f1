"""A region and its values on cubic voxels."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from somascope.analyze.measure.regions import Region
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.resample import resample_to

Interpolation: TypeAlias = Literal["linear", "cubic"]

_HALF = 0.5 - 1e-6
"""Of a voxel that the region must cover; a hair below, as sums of shares are rounded."""


def resampled(
    image: Image, region: Region, spacing: float, *, flat: bool, order: Interpolation
) -> tuple[Array, Array, Grid]:
    """Values and voxels ``(nz, ny, nx)`` of a region on voxels of ``spacing`` mm, and their grid.

    IBSI's grid: as many voxels as cover the image, rounded up, about the image's centre; a voxel
    is of the region where the region, interpolated linearly, covers half of it. ``flat`` leaves
    the slices where they are.

    Raises
    ------
    ParameterError
        No voxel of that size is left.
    """
    old = np.asarray(image.grid.spacing)
    new = np.array([old[0] if flat else spacing, spacing, spacing])
    shape = np.ceil(np.asarray(image.grid.shape) * old / new - 1e-9)
    affine = image.grid.affine.copy()
    affine[:3, :3] *= new / old
    centre = image.grid.to_world((np.asarray(image.grid.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    nz, ny, nx = (int(n) for n in shape)
    whole = Grid((nz, ny, nx), affine, image.grid.frame_of_reference)
    ends = np.array([[-1.0, -1.0, -1.0], np.asarray(region.inside.shape, np.float64)])
    box = whole.to_index(region.grid.to_world(ends))
    first = [max(math.floor(v), 0) for v in box[0]]
    last = [min(math.ceil(v) + 1, n) for v, n in zip(box[1], whole.shape, strict=True)]
    part = whole.moved(
        start=first, shape=[b - a for a, b in zip(first, last, strict=True)], step=(1, 1, 1)
    )
    padded = np.pad(region.inside, 1).astype(np.float32)
    around = region.grid.moved(start=(-1, -1, -1), shape=padded.shape, step=(1, 1, 1))
    covered = resample_to(Image(padded, around), part, order="linear").data >= _HALF
    if not covered.any():
        raise ParameterError(
            f"{region.segment.label or region.segment.number} covers half of no voxel of "
            f"{spacing:g} mm; choose a smaller spacing"
        )
    values = resample_to(image, part, order=order).data
    return values.reshape(part.shape), covered, part
