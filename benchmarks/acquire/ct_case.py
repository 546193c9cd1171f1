"""The head that all CT benchmarks scan, in pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion

from somascope.core import Grid
from somascope.phantoms import ellipse_radon, shepp_logan, shepp_logan_shapes
from somascope.phantoms.ellipsoid import Ellipsoid

Array = np.ndarray


def head(n: int, *, flat: bool = True) -> tuple[Array, Grid, list[Ellipsoid]]:
    """The head on ``n`` pixels of 1 mm, ``(n, n)``; and its shapes (attenuation 0 to 0.02 / mm)."""
    image = shepp_logan((n, n))
    scale = 1 / image.grid.spacing[1]
    origin = (-(n - 1) / 2, -(n - 1) / 2, 0.0)
    grid = Grid.from_spacing((1, n, n), (1, 1, 1), origin=origin)
    shapes = [
        Ellipsoid(
            s.value * 0.02,
            (s.centre[0] * scale, s.centre[1] * scale, s.centre[2] * scale),
            (s.radii[0] * scale, s.radii[1] * scale, s.radii[2] * scale), s.angles,
        )
        for s in shepp_logan_shapes("modified", flat=flat)
    ]  # fmt: skip
    return image.data[0] * np.float32(0.02), grid, shapes


def sinogram(shapes: list[Ellipsoid], views: int, bins: int) -> tuple[Array, Array]:
    """Angles of a half turn, and the exact line integrals as means over bins of 1 mm, float32."""
    angles = np.arange(views) * np.pi / views
    s = np.arange(bins) - (bins - 1) / 2
    within = (np.arange(4) - 1.5) / 4
    lines = ellipse_radon(shapes, angles[:, None, None], s[:, None] + within).mean(axis=-1)
    return angles, lines.astype(np.float32)


def noisy(lines: Array, *, photons: float = 1e5, seed: int = 1) -> Array:
    """The same with the noise of ``photons`` per ray."""
    counts = np.random.default_rng(seed).poisson(photons * np.exp(-lines.astype(np.float64)))
    return -np.log(np.maximum(counts, 1) / photons).astype(np.float32)


def rms_hu(found: Array, truth: Array, *, flat: bool) -> float:
    """Root mean square error in HU (of 0.02 / mm) inside the inscribed circle.

    ``flat`` leaves out what lies within 4 pixels of an edge: what remains is noise and streaks.
    """
    n = truth.shape[-1]
    y, x = np.ogrid[:n, :n]
    inside = np.hypot(y - (n - 1) / 2, x - (n - 1) / 2) < 0.48 * n
    if flat:
        values = np.unique(truth.round(5))
        alike = [binary_erosion(np.isclose(truth, v, atol=1e-6), iterations=4) for v in values]
        inside &= np.any(alike, axis=0)
    return float(np.sqrt(np.mean((found - truth)[inside] ** 2)) / 0.02 * 1000)
