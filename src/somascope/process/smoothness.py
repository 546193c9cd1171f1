"""Noise removed by asking for little total variation: flat regions, sharp edges."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.process.choices import Dimensions, Triple, deep
from somascope.process.denoise import noise
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.missing import filled, restored


def rof(
    volume: Array,
    spacing: Triple,
    *,
    weight: float,
    iterations: int = 50,
    tolerance: float = 1e-4,
    flat: bool = False,
) -> Array:
    """``argmin 1/2 |u - v|^2 + weight TV(u)`` (Rudin, Osher and Fatemi, Physica D 60, 1992).

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. Missing voxels are stood in for and stay missing.
    spacing
        mm. Differences are divided by the voxel's edge, relative to the smallest that counts.
    weight
        In the volume's unit.
    iterations, tolerance
        Of the dual iteration, which ends when little changes.
    flat
        Each slice by itself.
    """
    from somascope.process.variation import denoise

    values, known = filled(volume)
    counts = np.array([0.0 if flat or volume.shape[0] == 1 else 1.0, 1.0, 1.0])
    scale = counts * min(s for s, c in zip(spacing, counts, strict=True) if c) / np.asarray(spacing)
    if weight <= 0 or volume.size == 0:
        return np.array(volume, np.float32)
    # Steps are chosen by the size of the values: variation is blind to level, single precision not.
    level = np.float32(values.mean(dtype=np.float64))
    found, _ = denoise(
        (values - level)[..., None], weight, scale=scale, iterations=iterations,
        tolerance=tolerance, low=-np.inf,
    )  # fmt: skip
    return restored(found[..., 0] + level, volume, known)


@operation("process.tv")
def tv(
    image: Image,
    *,
    strength: Annotated[
        float, Param("Smoothing, in standard deviations of the noise", minimum=0.0, maximum=20.0,
                     step=0.1)
    ] = 1.0,
    weight: Annotated[
        float | None,
        Param("Price of variation, in the image's unit; none: by strength", minimum=0.0),
    ] = None,
    iterations: Annotated[
        int, Param("At most so many", minimum=1, maximum=1000, advanced=True)
    ] = 50,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Remove noise with the least total variation: flat regions, sharp edges.

    Shape ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type). The mean
    stays; missing values stay missing.
    """
    real_values(image, "process.tv")
    spacing, flat = image.grid.spacing, not deep(image, dimensions)

    def run(volume: Array) -> Array:
        price = strength * noise(volume) if weight is None else weight
        return rof(volume, spacing, weight=price, iterations=iterations, flat=flat)

    data = each_volume(image, run, progress=progress, message="least variation")
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
