"""Gantry tilt: sheared stacks made upright."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.io.dicom import geometry
from somascope.process.entries import real_values


@operation("process.correct_tilt")
def correct_tilt(
    image: Image,
    *,
    fill: Annotated[
        float | None,
        Param("Value outside the scan, in the image's unit; none: the image's smallest value"),
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Make the stack of a tilted gantry upright: slices are moved within their planes.

    Shape ``(*leading, nz, ny, nx)`` to ``(*leading, nz, ny', nx')``: the grid grows so that no
    voxel is lost. Linear interpolation; the dtype stays, and so does the place of the anatomy. An
    image without tilt keeps its values and grid.
    """
    real_values(image, "process.correct_tilt")
    if fill is not None and image.data.dtype.kind in "iu":
        limits = np.iinfo(image.data.dtype)
        if not (limits.min <= fill <= limits.max and float(fill).is_integer()):
            raise ParameterError(
                f"process.correct_tilt: fill is {fill:g} and the image holds {image.data.dtype}; "
                f"give a whole number from {limits.min} to {limits.max}"
            )
    result = geometry.correct_tilt(image, fill=fill)
    progress(1.0, "upright")
    return replace(result, provenance=image.provenance)  # this operation is the step
