"""All features of one region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.analyze.radiomics import intensity, levels, shape, texture
from somascope.analyze.radiomics.matrices import Dimensions, matrices
from somascope.analyze.radiomics.names import FAMILIES
from somascope.analyze.radiomics.texture import Directions
from somascope.core import Grid
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_TEXTURES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")


def features(
    values: Array,
    inside: Array,
    grid: Grid,
    *,
    families: Sequence[str] = FAMILIES,
    bin_width: float | None = 25.0,
    bin_count: int | None = None,
    lower: float | None = None,
    upper: float | None = None,
    dimensions: Dimensions = "3D",
    directions: Directions = "averaged",
    dependence: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Features by family and name of the voxels of ``inside``, from ``values`` ``(nz, ny, nx)``.

    Parameters
    ----------
    values, inside, grid
        The box of the region, bool and tight; where it is.
    families
        Of `names.FAMILIES`. A region of a single slice has ``shape2D`` in place of ``shape``.
    bin_width, bin_count
        Grey levels of a width, or so many of them if ``bin_count`` is given.
    lower, upper
        Values outside are no part of intensity and texture, but of the shape (IBSI:
        re-segmentation). Bins of a width start at ``lower``.
    dimensions, directions
        Of texture: see `matrices.matrices` and `texture.of`.
    dependence
        Difference of levels up to which neighbours depend on each other.

    Raises
    ------
    ParameterError
        No finite value in the region or its range.
    """
    all_values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        used = inside & np.isfinite(all_values)
        if lower is not None:
            used &= all_values >= lower
        if upper is not None:
            used &= all_values <= upper
    chosen = all_values[used]
    if not chosen.size:
        span = "" if lower is None and upper is None else f" from {lower} to {upper}"
        raise ParameterError(f"no voxel of the region has a finite value{span}; widen the range")
    if bin_count is not None:
        grey = levels.of_count(chosen, bin_count)
    else:
        grey = levels.of_width(chosen, bin_width or 25.0, lowest=lower)
    made: dict[str, dict[str, float]] = {}
    if "shape" in families:
        if inside.shape[0] == 1:
            made["shape2D"] = shape.flat(inside, grid)
        else:
            made["shape"] = shape.solid(inside, grid, all_values, used)
    if "firstorder" in families:
        made["firstorder"] = intensity.first_order(chosen, grey, voxel_volume=grid.voxel_volume)
    if "histogram" in families:
        made["histogram"] = intensity.histogram(grey)
    wanted = [f for f in families if f in _TEXTURES]
    if wanted:
        counted = matrices(used, grey, dimensions=dimensions, near=dependence)
        made |= texture.of(counted, wanted, directions=directions)
    return made
