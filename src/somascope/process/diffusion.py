"""Diffusion that stops at edges: Perona and Malik's."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.process.choices import Dimensions, Triple, deep
from somascope.process.entries import each_volume, is_colour, like, real_values

_KINDS = {"exponential": 0, "quotient": 1}


def diffused(
    volume: Array,
    spacing: Triple,
    *,
    iterations: int,
    time: float,
    conductance: float = 1.0,
    edge: float | None = None,
    kind: Literal["exponential", "quotient"] = "exponential",
    flat: bool = False,
    progress: Progress = QUIET,
) -> Array:
    """Perona and Malik's diffusion (IEEE TPAMI 12, 1990), as ITK discretises it.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. Nothing flows into or out of missing voxels.
    spacing
        mm; slopes are per mm.
    iterations, time
        Explicit steps and the time of each in mm2; stable up to half over the sum of the inverse
        squares of the spacings.
    conductance, edge
        The slope that counts as an edge: ``edge`` per mm, or ``conductance`` times the root mean
        square slope, measured before each step.
    kind
        ``exp(-(slope / edge)^2 / 2)``, or ``1 / (1 + (slope / edge)^2)``.
    flat
        Each slice by itself.
    """
    from somascope.process.diffusion_kernels import exponent, mean_square_slope, stepped

    along_z = int(not flat and volume.shape[0] > 1)
    now = np.array(volume, np.float32, order="C")
    other = np.empty_like(now)
    weights = (1 / np.asarray(spacing)).astype(np.float32)
    for _ in progress.over(range(iterations), "diffusing"):
        slope = edge
        if slope is None:
            sums = mean_square_slope(now, weights, along_z).sum(axis=0)
            slope = conductance * float(np.sqrt(sums[0] / max(sums[1], 1.0)))
        if not slope > 0:
            break
        scale = exponent(slope) if kind == "exponential" else 1 / slope**2
        stepped(now, weights, np.float32(scale), np.float32(time), _KINDS[kind], along_z, other)  # pyright: ignore[reportArgumentType]
        now, other = other, now
    return now


def stable(spacing: Triple, *, flat: bool) -> float:
    """The longest stable time step in mm2."""
    inverse = [1 / s**2 for s in spacing[1 if flat else 0 :]]
    return 0.5 / sum(inverse)


@operation("process.diffusion")
def diffusion(
    image: Image,
    *,
    iterations: Annotated[int, Param("Steps of diffusion", minimum=1, maximum=500)] = 10,
    conductance: Annotated[
        float,
        Param("What counts as an edge, in root mean square slopes", minimum=0.05, maximum=20.0,
              step=0.05),
    ] = 1.0,
    edge: Annotated[
        float | None,
        Param("Slope that counts as an edge, in the image's unit per mm; none: by conductance",
              minimum=0.0),
    ] = None,
    kind: Annotated[
        Literal["exponential", "quotient"],
        Param("How diffusion falls with the slope: favours strong edges, or wide regions"),
    ] = "exponential",
    step: Annotated[
        float, Param("Time of each step, as a share of the longest that is stable", minimum=0.01,
                     maximum=1.0, advanced=True)
    ] = 0.4,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Smooth within regions by diffusion that edges hold back (Perona and Malik).

    Shape ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type). The mean
    stays; missing values stay missing and nothing flows from them.
    """
    real_values(image, "process.diffusion")
    spacing, flat = image.grid.spacing, not deep(image, dimensions)
    time = step * stable(spacing, flat=flat)
    volumes = int(np.prod(image.data.shape[:-3]))

    def run(volume: Array) -> Array:
        return diffused(
            volume, spacing, iterations=iterations, time=time, conductance=conductance,
            edge=edge or None, kind=kind, flat=flat, progress=progress if volumes == 1 else QUIET,
        )  # fmt: skip

    data = each_volume(
        image, run, progress=QUIET if volumes == 1 else progress, message="diffusing"
    )
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
