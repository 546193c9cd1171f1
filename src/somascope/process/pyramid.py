"""Laplacian pyramids (Burt and Adelson, IEEE Trans Commun 31:532, 1983) of single planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array

_KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0], np.float32) / 16.0


def _smooth(plane: Array, gain: float = 1.0) -> Array:
    from scipy.ndimage import correlate1d

    kernel = _KERNEL * np.float32(gain)
    for axis in (0, 1):
        plane = correlate1d(plane, kernel, axis=axis, mode="reflect")
    return plane


def shrink(plane: Array) -> Array:
    """Every second pixel of the smoothed plane."""
    return _smooth(plane)[::2, ::2]


def grow(plane: Array, shape: Sequence[int]) -> Array:
    """Back to ``shape`` by the same kernel; a constant stays one, borders included."""
    wide = np.zeros((shape[0], shape[1]), np.float32)
    wide[::2, ::2] = plane
    weight = np.zeros_like(wide)
    weight[::2, ::2] = 1.0
    return _smooth(wide, 2.0) / _smooth(weight, 2.0)


def decompose(plane: Array, levels: int) -> list[Array]:
    """Bands from fine to coarse, and what is left, last; their `rebuild` is the plane again.

    Parameters
    ----------
    plane
        ``(ny, nx)``, float32.
    levels
        Bands wanted; fewer where the plane has shrunk to 4 pixels.
    """
    bands: list[Array] = []
    rest = np.asarray(plane, np.float32)
    for _ in range(levels):
        if min(rest.shape) < 4:
            break
        small = shrink(rest)
        bands.append(rest - grow(small, rest.shape))
        rest = small
    return [*bands, rest]


def rebuild(bands: Sequence[Array]) -> Array:
    """The plane whose bands these are."""
    out = bands[-1]
    for band in reversed(bands[:-1]):
        out = grow(out, band.shape) + band
    return out
