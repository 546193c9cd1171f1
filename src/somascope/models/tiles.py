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


def shares(size: int, tile: int, *, overlap: float) -> list[tuple[int, Array]]:
    """First index and weights ``(tile,)`` of each tile along one axis.

    The weights are a Gaussian of an eighth of the edge, over the sum of those of all tiles: what
    the tiles say of a voxel needs no division once all have spoken, and no map of sums.
    """
    x = (np.arange(tile) - (tile - 1) / 2) / (tile / 8)
    bell = np.exp(-0.5 * x**2)
    first = starts(size, tile, overlap=overlap)
    total = np.zeros(max(size, tile))
    for s in first:
        total[s : s + tile] += bell
    return [(s, (bell / total[s : s + tile]).astype(np.float32)) for s in first]


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
        ``(c, z, y, x)``; every spatial axis at least as long as the tile.
    run
        ``(c, *tile)`` to ``(classes, *tile)`` float32, which is overwritten.
    tile
        ``(z, y, x)``.

    Yields
    ------
    tuple
        First slice and values ``(classes, n, y, x)``, in order and without gaps; they are gone
        once the next ones are asked for.
    """
    shape = image.shape[1:]
    tz, ty, tx = tile
    down, rows, columns = (shares(n, t, overlap=overlap) for n, t in zip(shape, tile, strict=True))
    plane = list(product(rows, columns))
    total = np.zeros((classes, tz, *shape[1:]), np.float32)
    for i, (z, wz) in enumerate(down):
        for j, ((y, wy), (x, wx)) in enumerate(plane):
            progress((i * len(plane) + j) / (len(down) * len(plane)), "tiles")
            said = run(np.ascontiguousarray(image[:, z : z + tz, y : y + ty, x : x + tx]))
            weight = wy[:, None] * wx
            place = total[:, :, y : y + ty, x : x + tx]
            for k in range(tz):  # slice by slice: they stay in the cache
                part = said[:, k]
                part *= wz[k] * weight
                place[:, k] += part
            del said, part
        done = (down[i + 1][0] if i + 1 < len(down) else z + tz) - z
        yield z, total[:, :done]
        _moved(total, done)
    progress(1.0, "tiles")


def _moved(values: Array, count: int) -> None:
    """What lies behind ``count`` slices to the front, and zeros behind it; no second array."""
    for k in range(values.shape[1]):
        values[:, k] = values[:, k + count] if k + count < values.shape[1] else 0.0
