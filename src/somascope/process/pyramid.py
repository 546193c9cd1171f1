"""Laplacian pyramids (Burt and Adelson, IEEE Trans Commun 31:532, 1983) of volumes and slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from somascope.core.grid import Array
from somascope.process.separable import along, reflect

KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0

SMALLEST = 4
"""Samples from which an axis is halved."""


@cache
def _shrinking(size: int) -> tuple[Array, Array]:
    index = reflect(2 * np.arange(-(-size // 2))[:, None] + np.arange(-2, 3), size)
    return index.astype(np.int32), np.broadcast_to(KERNEL, index.shape)


@cache
def _growing(size: int) -> tuple[Array, Array]:
    """Every second sample is one of the small ones; the kernel's weights on them, made to sum 1."""
    small = -(-size // 2)
    source = reflect(np.arange(size)[:, None] + np.arange(-2, 3), size)
    dense = np.zeros((size, small))
    for k in range(5):
        rows = np.flatnonzero(source[:, k] % 2 == 0)
        np.add.at(dense, (rows, source[rows, k] // 2), KERNEL[k])
    dense /= dense.sum(axis=1, keepdims=True)
    first = np.minimum(np.maximum(np.arange(size) // 2 - 1, 0), max(small - 3, 0))
    index = np.minimum(first[:, None] + np.arange(3), small - 1)
    fresh = first[:, None] + np.arange(3) < small
    return index.astype(np.int32), np.take_along_axis(dense, index, axis=1) * fresh


def shrink(volume: Array, axes: Sequence[int]) -> Array:
    """Every second sample of the smoothed volume ``(nz, ny, nx)`` along ``axes``."""
    for axis in axes:
        index, weight = _shrinking(volume.shape[axis])
        volume = along(volume, axis, index=index, weight=weight)
    return volume


def grow(volume: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    """Back to ``shape`` along ``axes`` by the same kernel; a constant stays one, borders too."""
    for axis in reversed(axes):
        index, weight = _growing(shape[axis])
        volume = along(volume, axis, index=index, weight=weight)
    return volume


def halved(shape: Sequence[int], spacing: Sequence[float], *, deep: bool) -> tuple[int, ...]:
    """The axes that the next level halves: those of the finest steps, while they have samples.

    Empty where rows or columns are too few. Thick slices wait until the others have caught up.
    """
    if min(shape[1:]) < SMALLEST:
        return ()
    wanted = [0, 1, 2] if deep and shape[0] >= SMALLEST else [1, 2]
    finest = min(spacing[a] for a in wanted)
    return tuple(a for a in wanted if spacing[a] < 1.5 * finest)


def decompose(
    volume: Array,
    levels: int,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    deep: bool = False,
) -> tuple[list[Array], list[tuple[int, ...]]]:
    """Bands from fine to coarse, and what is left, last; their `rebuild` is the volume again.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``, float32.
    levels
        Bands wanted; fewer where the volume has shrunk to 4 samples.
    spacing
        mm: finer axes are halved first.
    deep
        Along z too; otherwise each slice has a pyramid of its own.

    Returns
    -------
    tuple
        The bands, and the axes that each level halved.
    """
    bands: list[Array] = []
    halvings: list[tuple[int, ...]] = []
    rest = np.ascontiguousarray(volume, np.float32)
    steps = list(spacing)
    for _ in range(levels):
        axes = halved(rest.shape, steps, deep=deep)
        if not axes:
            break
        small = shrink(rest, axes)
        bands.append(rest - grow(small, rest.shape, axes))
        halvings.append(axes)
        steps = [2 * s if a in axes else s for a, s in enumerate(steps)]
        rest = small
    return [*bands, rest], halvings


def rebuild(bands: Sequence[Array], halvings: Sequence[tuple[int, ...]]) -> Array:
    """The volume whose bands these are."""
    out = bands[-1]
    for band, axes in zip(reversed(bands[:-1]), reversed(halvings), strict=True):
        out = grow(out, band.shape, axes)
        out += band
    return out
