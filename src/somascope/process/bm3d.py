"""Noise removed from groups of like blocks: the measure of what a filter of slices can reach."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.process.denoise import noise
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.missing import filled, restored


def grouped(
    volume: Array,
    *,
    sigma: float,
    radius: int = 12,
    step: int = 4,
    threshold: float = 2.7,
    progress: Progress = QUIET,
) -> Array:
    """Block matching and 3-D filtering (Dabov, Foi, Katkovnik, Egiazarian, IEEE TIP 16, 2007).

    Each slice of ``volume`` ``(nz, ny, nx)`` by itself, float32: blocks of 8 x 8 like one another
    are stacked, up to 16; cosines across them and Haar wavelets through them gather what they
    share. First small coefficients are dropped, then Wiener's filter uses the first result.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, in the volume's unit.
    radius
        How far like blocks are looked for, in pixels.
    step
        Between blocks that groups are made for.
    threshold
        Of the first pass, in standard deviations.
    """
    from somascope.process.bm3d_kernels import BLOCK, collaborated, cosines

    values, known = filled(volume)
    out = np.empty_like(values)
    level = np.float32(values.mean(dtype=np.float64))
    c, margin = cosines(), BLOCK
    for z in progress.over(range(values.shape[0]), "matching blocks"):
        # Mirrored all around, so that border pixels are in as many blocks as the others.
        noisy = np.pad((values[z] - level) / np.float32(sigma), margin, mode="symmetric")
        rows, columns = (
            np.unique(np.append(np.arange(0, n - BLOCK, step), n - BLOCK)) for n in noisy.shape
        )
        first, second = np.empty_like(noisy), np.empty_like(noisy)
        area = BLOCK * BLOCK
        collaborated(noisy, noisy, c, rows, columns, radius, 4.0 * area, threshold, first)
        collaborated(noisy, first, c, rows, columns, radius, 0.64 * area, 0.0, second)
        inner = second[margin:-margin, margin:-margin]
        out[z] = inner * np.float32(sigma) + level
    return restored(out, volume, known)


@operation("process.bm3d")
def bm3d(
    image: Image,
    *,
    strength: Annotated[
        float, Param("Noise taken away, in standard deviations", minimum=0.1, maximum=5.0, step=0.1)
    ] = 1.0,
    sigma: Annotated[
        float | None,
        Param("Standard deviation of the noise, in the image's unit; none: estimated", minimum=0.0),
    ] = None,
    radius: Annotated[
        int, Param("How far like blocks are looked for, in pixels", minimum=1, maximum=40,
                   advanced=True)
    ] = 12,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Remove noise by filtering like blocks together (BM3D), slice by slice.

    Slower than the others here, and better where structure repeats. Shape
    ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type); missing values stay
    missing.
    """
    real_values(image, "process.bm3d")
    alone = int(np.prod(image.data.shape[:-3])) == 1

    def run(volume: Array) -> Array:
        level = strength * (noise(volume) if sigma is None else sigma)
        if not level > 0:
            return volume
        return grouped(volume, sigma=level, radius=radius, progress=progress if alone else QUIET)

    data = each_volume(image, run, progress=QUIET if alone else progress, message="matching blocks")
    progress(1.0, "matched")
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
