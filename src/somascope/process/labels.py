"""Masks on other grids: labels stay labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Grid, Image, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.resample import resample_to, with_spacing


def resample_mask_to(
    mask: Mask, grid: Grid, *, smooth: bool = False, progress: Progress = QUIET
) -> Mask:
    """A mask on another grid; no label appears that was not there, and none is a mean of others.

    Nearest neighbour, or with ``smooth`` the label that has the largest share (linear) of each
    voxel: rounder outlines, but what is thinner than a voxel may go. Planes (overlapping segments)
    count where they have half; fractions are interpolated. Outside the mask there is nothing.
    """
    if mask.fractional:
        planes = [_moved(p, mask, grid, "linear") for p in mask.data]
        return replace(mask, data=np.stack(planes).astype(np.float32), grid=grid)
    if mask.data.ndim == 4:
        order = "linear" if smooth else "nearest"
        parts = [_moved(p.astype(np.float32), mask, grid, order) >= 0.5 for p in mask.data]
        return replace(mask, data=np.stack(parts), grid=grid)
    if not smooth:
        found = _moved(mask.data, mask, grid, "nearest").astype(mask.data.dtype)
        return replace(mask, data=found, grid=grid)
    numbers = [int(n) for n in np.unique(mask.data)]
    best = np.full(grid.shape, -1.0, np.float32)
    out = np.zeros(grid.shape, mask.data.dtype)
    for number in progress.over(numbers, "labels"):
        share = _moved((mask.data == number).astype(np.float32), mask, grid, "linear")
        # Ties go to the smaller number, the background first; nothing beats being outside.
        won = share > best + 1e-6
        best, out = np.where(won, share, best), np.where(won, number, out)
    return replace(mask, data=out.astype(mask.data.dtype), grid=grid)


def _moved(volume: Array, mask: Mask, grid: Grid, order: Literal["nearest", "linear"]) -> Array:
    return resample_to(Image(volume, mask.grid), grid, order=order, fill=0.0).data


@operation("process.resample_mask")
def resample_mask(
    mask: Mask,
    *,
    spacing: Annotated[
        tuple[float, ...],
        Param("Voxel edge: one number, or dz, dy, dx", unit="mm", minimum=0.01, maximum=1000.0),
    ] = (1.0,),
    smooth: Annotated[
        bool, Param("Largest share (linear) in place of the nearest voxel: rounder outlines")
    ] = False,
    progress: Progress = QUIET,
) -> Mask:
    """Change the voxel size of a segmentation; segments keep their numbers, names and place.

    As `process.resample` for images, and safe for labels: none is made up, none is mixed. Axes with
    a single voxel keep their spacing.
    """
    if len(spacing) not in (1, 3):
        raise ParameterError(
            f"process.resample_mask: spacing is {list(spacing)}; give one number, or dz, dy, dx"
        )
    wanted = spacing * 3 if len(spacing) == 1 else spacing
    old = mask.grid.spacing
    sz, sy, sx = (o if n == 1 else w for n, o, w in zip(mask.grid.shape, old, wanted, strict=True))
    progress(0.0, "labels")
    out = resample_mask_to(mask, with_spacing(mask.grid, (sz, sy, sx)), smooth=smooth)
    progress(1.0, "resampled")
    return out
