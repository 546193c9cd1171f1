"""Coil maps from coil images: Walsh's local eigenvector and Inati's alternation.

Images are ``(coils, nz, ny, nx)``; maps of the same shape have unit sum of squares over the coils
and a phase relative to the coil with the most signal, so that a combination keeps its noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from somascope.core.errors import ParameterError
from somascope.core.grid import Array


@njit(parallel=True, fastmath=True, cache=True)
def _dominant(covariance: Array, reference: int, iterations: int, out: Array) -> None:
    """Largest eigenvector of each Hermitian matrix (pixels, c, c) by power iteration."""
    pixels, c, _ = covariance.shape
    for p in prange(pixels):
        v = np.empty(c, np.complex64)
        w = np.empty(c, np.complex64)
        # The column of the strongest coil holds the eigenvector already where there is one signal.
        best = 0
        for i in range(c):
            if covariance[p, i, i].real > covariance[p, best, best].real:
                best = i
        for i in range(c):
            v[i] = covariance[p, i, best]
        for _ in range(iterations):
            size = np.float32(0)
            for i in range(c):
                s = np.complex64(0)
                for j in range(c):
                    s += covariance[p, i, j] * v[j]
                w[i] = s
                size += s.real * s.real + s.imag * s.imag
            scale = np.float32(1) / np.sqrt(size) if size > np.float32(1e-37) else np.float32(0)
            for i in range(c):
                v[i] = w[i] * scale
        turn = np.conj(v[reference])
        size = abs(turn)
        turn = turn / size if size > 0 else np.complex64(1)
        for i in range(c):
            out[i, p] = v[i] * turn


def walsh(images: Array, *, size: int = 7, iterations: int = 12) -> Array:
    """Maps as the strongest eigenvector of the local coil covariance (Walsh et al. 2000).

    Parameters
    ----------
    images
        Complex ``(coils, nz, ny, nx)``.
    size
        Width of the square (a cube where there are several slices encoded together) over which the
        covariance is averaged, in pixels.
    iterations
        Power iterations per pixel.

    Returns
    -------
    array
        Complex64 ``(coils, nz, ny, nx)``, unit sum of squares (zero where there is no signal).
    """
    images = _demand(images)
    coils = images.shape[0]
    pixels = images[0].size
    peak = float(np.abs(images).max()) or 1.0
    scaled = (images / np.float32(peak)).astype(np.complex64)
    covariance = np.empty((pixels, coils, coils), np.complex64)
    for i in range(coils):
        for j in range(i, coils):
            pair = _smooth(scaled[i] * scaled[j].conj(), size).reshape(-1)
            covariance[:, i, j] = pair
            covariance[:, j, i] = pair.conj()
    out = np.empty((coils, pixels), np.complex64)
    _dominant(covariance, _strongest(scaled), iterations, out)
    return out.reshape(images.shape)


def inati(images: Array, *, size: int = 7, iterations: int = 8, tolerance: float = 1e-3) -> Array:
    """Maps by alternating between a smooth map and the image it gives (Inati et al. 2014).

    Unlike `walsh` it keeps no matrix per pixel: memory is that of the images. Parameters and result
    as there; ``tolerance`` is the relative change of the combined image at which it stops.
    """
    images = _demand(images)
    images = (images / np.float32(float(np.abs(images).max()) or 1.0)).astype(np.complex64)
    tiny = np.float32(1e-20)
    weights = images.reshape(len(images), -1).sum(axis=1)
    weights /= max(float(np.linalg.norm(weights)), 1e-30)
    combined = np.tensordot(weights.conj(), images, axes=1)
    maps = np.empty_like(images)
    for _ in range(iterations):
        before = combined
        for map_, image in zip(maps, images, strict=True):
            map_[:] = _smooth(image * combined.conj(), size)
        maps /= np.sqrt((np.abs(maps) ** 2).sum(axis=0)) + tiny
        combined = (maps.conj() * images).sum(axis=0)
        # The phase between map and image is free: fix it by the coils' mean, which is smooth.
        mean = (maps * combined).reshape(len(maps), -1).sum(axis=1)
        mean /= max(float(np.linalg.norm(mean)), 1e-30)
        turn = np.tensordot(mean.conj(), maps, axes=1)
        turn /= np.abs(turn) + tiny
        combined = combined * turn
        maps *= turn.conj()
        change = np.linalg.norm(combined - before) / max(float(np.linalg.norm(combined)), 1e-30)
        if change < tolerance:
            break
    return maps


def _demand(images: Array) -> Array:
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype.kind != "c":
        raise ParameterError(
            f"coil images have shape {images.shape} and dtype {images.dtype}; give complex "
            "(coils, nz, ny, nx)"
        )
    return images


def _strongest(images: Array) -> int:
    return int(np.argmax((np.abs(images) ** 2).reshape(len(images), -1).sum(axis=1)))


def _smooth(image: Array, size: int) -> Array:
    """Mean over ``size`` pixels in the plane."""
    from scipy import ndimage

    smooth: Any = ndimage.uniform_filter
    shape = (1, size, size)
    out = np.empty(image.shape, np.complex64)
    out.real = smooth(np.ascontiguousarray(np.real(image)), shape, mode="nearest")
    out.imag = smooth(np.ascontiguousarray(np.imag(image)), shape, mode="nearest")
    return out
