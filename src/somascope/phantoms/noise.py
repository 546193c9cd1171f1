"""Noise and blur with a seed: what a scanner adds to the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array, Float

FWHM = 2.3548200450309493
"""Full width at half maximum of a Gaussian, in standard deviations."""


def blurred(data: Array, *, fwhm: Sequence[float]) -> Array:
    """``data`` (nz, ny, nx) through a Gaussian of ``fwhm`` voxels per axis, float32."""
    from scipy.ndimage import gaussian_filter1d

    out = np.asarray(data, np.float32)
    for axis, width in enumerate(fwhm):
        if width > 0:
            out = gaussian_filter1d(out, width / FWHM, axis=axis, truncate=2.5, mode="nearest")
    return out


def gaussian(data: Array, sigma: float, *, seed: int) -> Array:
    """``data`` plus white Gaussian noise of standard deviation ``sigma``, float32."""
    if sigma <= 0:
        return np.asarray(data, np.float32)
    rng = np.random.default_rng(seed)
    return data + np.float32(sigma) * rng.standard_normal(data.shape, np.float32)


def rician(data: Array, sigma: float, *, seed: int) -> Array:
    """Magnitude of ``data`` plus complex Gaussian noise (Gudbjartsson and Patz 1995), float32."""
    rng = np.random.default_rng(seed)
    real = data + np.float32(sigma) * rng.standard_normal(data.shape, np.float32)
    return np.hypot(real, np.float32(sigma) * rng.standard_normal(data.shape, np.float32))


def poisson(mean: Array, *, seed: int, scale: float = 1.0) -> Float:
    """Counts of mean ``mean * scale``, divided by ``scale`` again."""
    rng = np.random.default_rng(seed)
    return rng.poisson(np.maximum(np.asarray(mean, np.float64), 0) * scale) / scale
