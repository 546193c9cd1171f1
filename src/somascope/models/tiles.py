"""A large array through a small window: tiles that overlap, blended by a Gaussian, memory bounded.

The result lives in a band of slices no deeper than one tile; slices that no later tile can reach
are handed on and forgotten. What a class map of the whole volume would need is never allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.grid import Array


def starts(size: int, tile: int, *, overlap: float) -> list[int]:
    """First indices of tiles that cover ``size`` evenly, neighbours sharing ``overlap`` or more."""
    if size <= tile:
        return [0]
    step = max(int(tile * (1 - overlap)), 1)
    count = -(-(size - tile) // step) + 1
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def window(tile: Sequence[int]) -> Array:
    """Weights of a tile: a Gaussian of an eighth of its edge, 1 in the middle, never 0."""
    result = np.ones(tuple(tile), np.float32)
    for axis, n in enumerate(tile):
        x = (np.arange(n) - (n - 1) / 2) / max(n / 8, 1e-6)
        shape = [1] * len(tile)
        shape[axis] = n
        result *= np.exp(-0.5 * x**2).reshape(shape).astype(np.float32)
    return np.maximum(result, 1e-3)


def bands(
    image: Array,
    run: Callable[[Array], Array],
    *,
    tile: Sequence[int],
    overlap: float = 0.5,
    classes: int,
    progress: Progress = QUIET,
) -> Iterator[tuple[int, Array]]:
    """Blend what ``run`` says on tiles, one band of finished slices after the other.

    Parameters
    ----------
    image
        ``(c, z, y, x)`` float32; every spatial axis at least as long as the tile.
    run
        ``(c, *tile)`` to ``(classes, *tile)`` float32.
    tile
        ``(z, y, x)``.

    Yields
    ------
    tuple
        First slice and values ``(classes, n, y, x)``, in order and without gaps.
    """
    shape = image.shape[1:]
    tz, ty, tx = tile
    weight = window(tile)
    first = starts(shape[0], tz, overlap=overlap)
    plane = list(
        product(starts(shape[1], ty, overlap=overlap), starts(shape[2], tx, overlap=overlap))
    )
    total = np.zeros((classes, tz, *shape[1:]), np.float32)
    norm = np.zeros((tz, *shape[1:]), np.float32)
    for i, z in enumerate(first):
        for j, (y, x) in enumerate(plane):
            progress((i * len(plane) + j) / (len(first) * len(plane)), "tiles")
            said = run(np.ascontiguousarray(image[:, z : z + tz, y : y + ty, x : x + tx]))
            total[:, :, y : y + ty, x : x + tx] += said * weight
            norm[:, y : y + ty, x : x + tx] += weight
        done = (first[i + 1] if i + 1 < len(first) else z + tz) - z
        yield z, total[:, :done] / norm[:done]
        total[:, : tz - done] = total[:, done:].copy()
        norm[: tz - done] = norm[done:].copy()
        total[:, tz - done :] = 0.0
        norm[tz - done :] = 0.0
    progress(1.0, "tiles")
