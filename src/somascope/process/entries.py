"""Apply a volume function to every entry of an image's leading axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from somascope.core import QUIET, Image, Mask, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def is_colour(image: Image) -> bool:
    """Whether one of the leading axes is ``channel`` (R, G, B)."""
    return any(a.name == "channel" for a in image.axes)


def working(data: Array) -> Array:
    """The values in the floating type they are computed in: float64 stays, all else is float32."""
    return np.ascontiguousarray(data, dtype=np.float64 if data.dtype == np.float64 else np.float32)


def like(values: Array, dtype: np.dtype) -> Array:
    """Floating ``values`` as ``dtype``; integers are rounded and clipped to what they can hold."""
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        # The largest float at or below the limit: float32(2**31 - 1) would be one too many.
        high = np.nextafter(values.dtype.type(info.max) + 1, values.dtype.type(0))
        return np.clip(np.rint(values), info.min, min(float(high), info.max)).astype(dtype)
    return values.astype(dtype, copy=False)


def each_volume(
    image: Image,
    function: Callable[[Array], Array],
    *,
    progress: Progress = QUIET,
    message: str = "",
    as_stored: bool = False,
) -> Array:
    """``function`` on each ``(nz, ny, nx)`` volume; the results stacked in the leading axes.

    The volumes are given in floating point (`working`), or, where the function makes that itself
    and copies nothing, in the type they have. Complex data is handled as its real and its imaginary
    part.
    """
    leading = image.data.shape[:-3]
    volumes = image.data.reshape(-1, *image.grid.shape)
    results: list[Array] = []
    for volume in progress.over(volumes, message):
        if volume.dtype.kind == "c":
            results.append(
                function(working(np.real(volume))) + 1j * function(working(np.imag(volume)))
            )
        else:
            results.append(function(volume if as_stored else working(volume)))
    if len(results) == 1:
        return results[0].reshape(*leading, *results[0].shape)
    return np.stack(results).reshape(*leading, *results[0].shape)


def real_values(image: Image, operation: str) -> None:
    """Refuse complex data, which has no order."""
    if image.data.dtype.kind == "c":
        raise ParameterError(
            f"{operation} needs real values and this image is {image.data.dtype}; take its "
            "magnitude or phase first"
        )


def inside(mask: Mask, segment: int | None = None) -> Array:
    """The voxels of one segment, or of all of them: bool ``(nz, ny, nx)``."""
    numbers = [s.number for s in mask.segments]
    if segment is not None and segment not in numbers:
        raise ParameterError(f"the mask has no segment {segment}; it has {numbers}")
    if segment is not None:
        return np.asarray(mask.plane(segment) > 0)
    return np.asarray(mask.data > 0 if mask.data.ndim == 3 else (mask.data > 0).any(axis=0))
