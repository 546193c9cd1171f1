"""Smoothing filters."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.entries import each_volume, is_colour, like


def smooth(volume: Array, sigma: tuple[float, float, float]) -> Array:
    """Gaussian of ``sigma`` voxels along (z, y, x); what is not finite is left out and stays.

    ``volume`` is ``(nz, ny, nx)``; float64 stays, all else gives float32. The kernel is the sampled
    Gaussian up to 4 sigma, normalised; borders are mirrored at the outer voxel edge, so that the
    sum over the volume is kept.
    """
    if is_tensor(volume):
        from somascope.process import gpu

        return gpu.smooth(volume, sigma)  # pyright: ignore[reportArgumentType]
    from somascope.process.separable import convolve, convolved, gaussians

    kernels = gaussians(volume.shape, sigma)
    out, gaps = convolved(volume, kernels)
    if not gaps:
        return out
    # Normalised convolution (Knutsson and Westin, CVPR 1993): weights 1 where measured, else 0.
    missing = ~np.isfinite(volume)
    out = convolve(np.where(missing, out.dtype.type(0), volume), kernels)
    weights = convolve((~missing).astype(out.dtype), kernels)
    with np.errstate(invalid="ignore", divide="ignore"):
        out /= weights
    out[missing] = volume[missing]
    return out


@operation("process.gaussian")
def gaussian(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Standard deviation", unit="mm", minimum=0.0, maximum=100.0, step=0.1)
    ] = 1.0,
    dimensions: Annotated[
        Literal["volume", "slice"], Param("Smooth in three dimensions, or each slice by itself")
    ] = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Smooth with a Gaussian whose width is given in millimetres.

    The same distance in every direction of the grid, whatever the voxel's shape. Missing values
    (NaN, infinite) are left out of the averages and stay. Shape ``(*leading, nz, ny, nx)`` in and
    out; float32 out (float64 and complex stay; colour keeps its integer type).
    """
    dz, dy, dx = image.grid.spacing
    voxels = (sigma / dz if dimensions == "volume" else 0.0, sigma / dy, sigma / dx)
    data = each_volume(
        image, lambda volume: smooth(volume, voxels), progress=progress, message="smoothing",
        as_stored=True,
    )  # fmt: skip
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
