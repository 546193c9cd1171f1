"""What two contrasts have in common: how alike a place is to its neighbours.

The modality independent neighbourhood descriptor (MIND, Heinrich et al., Med. Image Anal. 16 (2012)
1423-1435): one channel for each of the nearest voxels, between 0 and 1, whatever the contrast. Its
``exp(-t)`` is taken as ``(1 + t / 8)^-8``, which falls alike and costs a tenth.
"""

from __future__ import annotations

import numpy as np

from somascope.analyze.register import patch_kernels as kernels
from somascope.core.grid import Array, Grid
from somascope.process.filters import smooth
from somascope.process.separable import along

SIGMA = 0.8
"""Width of the patches that are compared, voxels."""
LANES = kernels.LANES


def mind(volume: Array) -> Array:
    """Descriptors ``(nz, ny, nx, 8)`` of a volume, float32: those of z, y and x, before and after.

    Then a 0, then 1 where the voxel and its neighbours have a value (not NaN), else 0; what has
    none is 0 altogether, and so are the descriptors along the missing axis of a slice.
    """
    given = np.ascontiguousarray(volume, np.float32)
    width = [SIGMA if n > 1 else 0.0 for n in given.shape]
    apart: list[Array] = []
    for axis, n in enumerate(given.shape):
        squares = np.zeros(given.shape, np.float32)
        if n > 1:
            kernels.differences(given, axis, squares)
            squares = smooth(squares, (width[0], width[1], width[2]))
        apart.append(squares)
    # The patches' own variation tells what counts as alike; bounded, where there is none.
    wide = [float(d.mean()) for d, n in zip(apart, given.shape, strict=True) if n > 1]
    middle = float(np.mean(wide or [0.0]))
    out = np.empty((*given.shape, LANES), np.float32)
    kernels.described(
        given, apart, np.float32(0.02 * middle + 1e-12), np.float32(50 * middle + 1e-12), out
    )
    return out


def pooled(descriptors: Array, grid: Grid, coarse: Grid) -> Array:
    """Descriptors of ``grid`` on a coarser one of the same middle and directions.

    Means over its voxels of what is known there: those of coarse values tell another distance.
    """
    if grid == coarse:
        return descriptors
    out = descriptors
    for axis in range(3):
        n, m = grid.shape[axis], coarse.shape[axis]
        if n == m and np.isclose(grid.spacing[axis], coarse.spacing[axis]):
            continue
        index, weight = boxes(n, m, coarse.spacing[axis] / grid.spacing[axis])
        shape = out.shape
        flat = out.reshape((shape[0], shape[1], -1) if axis < 2 else (-1, shape[2], LANES))
        made = along(flat, min(axis, 1), index=index, weight=weight)
        out = made.reshape((*shape[:axis], m, *shape[axis + 1 :]))
    known = out[..., -1:]
    return np.where(known > 0.5, out / np.maximum(known, np.float32(0.5)), np.float32(0))


def boxes(n: int, m: int, ratio: float) -> tuple[Array, Array]:
    """Taps ``(m, k)`` that average ``ratio`` of ``n`` samples about each of ``m`` places."""
    place = (np.arange(m) - (m - 1) / 2) * ratio + (n - 1) / 2
    first = np.floor(place - ratio / 2 + 0.5).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(ratio)) + 1)
    low = np.maximum(index - 0.5, (place - ratio / 2)[:, None])
    high = np.minimum(index + 0.5, (place + ratio / 2)[:, None])
    weight = np.clip(high - low, 0, None) * ((index >= 0) & (index < n))
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return np.clip(index, 0, n - 1), weight.astype(np.float32)
