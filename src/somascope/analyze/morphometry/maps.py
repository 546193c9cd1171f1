"""A person's tissue on a template's grid, its amount kept: modulation by the Jacobian.

Good et al., NeuroImage 14 (2001) 21-36: where the map to the template shrinks a region, its values
rise by as much, so that sums over the template are volumes of the person.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.fmri.runs import map_of
from somascope.acquire.fmri.smooth import gaussian
from somascope.analyze.register.transform import apply, places
from somascope.core import QUIET, Grid, Image, Mask, Param, Progress, Warp, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Modulation: TypeAlias = Literal["amount", "shape", "none"]
NAME = "analyze.tissue_map"


def stretched(warp: Warp, like: Grid, tissue: Grid) -> Array:
    """How many times larger a voxel of ``like`` is in the person, ``(nz, ny, nx)`` float32.

    The determinant of the map from template to person, by differences of where the voxels go. A
    single slice has the ratio of areas.
    """
    at = places(warp, like, tissue).astype(np.float64)
    axes = [a for a, n in enumerate(like.shape) if n > 1]
    if len(axes) < 2:
        raise ParameterError(f"{NAME}: a template of {like.shape} voxels has no area")
    used = axes if len(axes) == 3 else [a for a, n in enumerate(tissue.shape) if n > 1]
    if len(used) != len(axes):
        raise ParameterError(f"{NAME}: {like.shape} and {tissue.shape}: a slice and a volume")
    slopes = np.empty((*like.shape, len(axes), len(axes)))
    for j, axis in enumerate(axes):
        for i, component in enumerate(used):
            slopes[..., i, j] = np.gradient(at[..., component], axis=axis)
    size = np.prod([tissue.spacing[a] for a in used]) / np.prod([like.spacing[a] for a in axes])
    return np.abs(np.linalg.det(slopes) * size).astype(np.float32)


def modulated(
    tissue: Image, warp: Warp, like: Image, *, modulation: Modulation = "amount", fwhm: float = 8.0
) -> Image:
    """``tissue`` (share of each voxel, 0 to 1, in the person) on the grid of ``like``.

    See the operation `tissue_map`.
    """
    moved = apply(tissue, warp, like.grid, order="linear", fill=0.0)
    data = np.asarray(moved.data, np.float32)
    if modulation != "none":
        more = stretched(warp, like.grid, tissue.grid)
        if modulation == "shape":
            more = more / np.float32(abs(np.linalg.det(warp.matrix[:3, :3])))
        data = data * more
    if fwhm > 0:
        data = gaussian(np.ascontiguousarray(data[None]), fwhm, like.grid.spacing)[0]
    return map_of(moved, data, unit="1", text="tissue map")


@operation(NAME)
def tissue_map(
    tissue: Image | Mask,
    warp: Warp,
    like: Image,
    *,
    segment: Annotated[
        int, Param("Of a mask: which one; 0: the first", minimum=0, maximum=65535)
    ] = 0,
    modulation: Annotated[
        Modulation,
        Param("Keep amounts; amounts for the size of the whole (the linear part); or nothing"),
    ] = "amount",
    fwhm: Annotated[
        float, Param("Smoothing, full width at half maximum", unit="mm", minimum=0.0, maximum=50.0)
    ] = 8.0,
    progress: Progress = QUIET,
) -> Image:
    """Bring a person's tissue to a template, with its amount kept, and smooth it.

    ``tissue`` is an image of shares from 0 to 1, or a mask; ``warp`` leads from the template to the
    person (register the person to the template as moving image); ``like`` is the template. Sums
    over the result times the voxel's volume are the person's volumes.
    """
    progress(0.0, "resampling")
    given = _share(tissue, segment) if isinstance(tissue, Mask) else tissue
    if given.axes or given.data.dtype.kind == "c":
        raise ParameterError(
            f"{NAME}: give one map of shares; this has the axes {given.axis_names}"
        )
    low, high = float(np.nanmin(given.data)), float(np.nanmax(given.data))
    if low < -0.01 or high > 1.01:
        raise ParameterError(
            f"{NAME}: shares of tissue lie from 0 to 1 and these from {low:g} to {high:g}; give a "
            "probability map or a mask, no image of signal"
        )
    made = modulated(given, warp, like, modulation=modulation, fwhm=fwhm)
    progress(1.0, "done")
    return made


def _share(mask: Mask, segment: int) -> Image:
    numbers = [s.number for s in mask.segments]
    if segment and segment not in numbers:
        raise ParameterError(f"{NAME}: the mask has no segment {segment}; it has {numbers}")
    plane = mask.plane(segment or numbers[0]).astype(np.float32)
    return Image(
        plane, mask.grid, "MR", provenance=mask.provenance, attributes=dict(mask.attributes)
    )
