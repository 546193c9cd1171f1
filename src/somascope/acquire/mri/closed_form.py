"""k-space of ellipsoids in closed form: a scan that shares nothing with the reconstruction.

Coil sensitivities are sums of a few waves ``a exp(2 pi i q.r)``; multiplying with a wave shifts the
Fourier transform, so that k-space stays exact with coils too (Guerquin-Kern et al. 2012, IEEE Trans
Med Imaging 31:626, with waves in place of polynomials).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.sensitivity import loop_sensitivities
from somascope.core import Acquisition
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.phantoms import Ellipsoid, ellipse_fourier, fourier

_TERMS = 5
"""Waves per in-plane axis of a sensitivity; three along z."""

_PERIOD = 2.0
"""Longest period over the field of view: with it the fields of the coils need not be periodic."""


def measure(
    shapes: Sequence[Ellipsoid],
    scan: CartesianScan | NonCartesianScan,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> Acquisition:
    """What ``scan`` measures of summed ellipsoids, by their Fourier transforms.

    The image is the shapes' value per voxel, band limited. ``scan`` has no sensitivities; with more
    than one coil those of a ring of loops, as waves, are in ``calibration["sensitivities"]``.

    Parameters
    ----------
    shapes
        Summed. For a scan of one plane: cut at S = 0, where the plane has to lie.
    noise
        Standard deviation of real and imaginary part.

    Raises
    ------
    GeometryError
        Several slices excited one by one, a plane other than S = 0, or leading axes.
    """
    grid = scan.grid
    if scan.axes or (scan.dimensions == 2 and grid.shape[0] > 1):
        raise GeometryError("the closed form is for one plane or volume without leading axes")
    flat = scan.dimensions == 2
    if flat and (abs(grid.affine[2, 3]) > 1e-6 or np.abs(grid.affine[2, 1:3]).max() > 1e-6):
        raise GeometryError(f"the closed form of a plane is for S = 0, not for {grid}")
    cycles = _per_voxel(scan)
    step = grid.affine[:3, :3]
    middle = grid.to_world([n // 2 for n in grid.shape])
    k = cycles @ np.linalg.inv(step)
    waves, weights = _waves(grid, scan.coils, flat=flat)
    q = waves @ np.linalg.inv(step)
    area = np.abs(np.linalg.det(step)) / (grid.spacing[0] if flat else 1.0)
    out = np.zeros((scan.coils, *k.shape[:-1]), np.complex128)
    for wave, weight in zip(q, weights.T, strict=True):
        there = k - wave
        value = ellipse_fourier(shapes, there[..., :2]) if flat else fourier(shapes, there)
        value = value * np.exp(2j * np.pi * (there @ middle))
        out += weight.reshape(-1, *[1] * (k.ndim - 1)) * value
    voxels = np.prod(scan.matrix if isinstance(scan, CartesianScan) else scan.plane)
    out /= area * np.sqrt(voxels)
    if noise > 0:
        rng = np.random.default_rng(seed)
        out += noise * (rng.normal(size=out.shape) + 1j * rng.normal(size=out.shape))
    samples = out.reshape(scan.range).astype(np.complex64)
    if isinstance(scan, CartesianScan):
        samples = scan.sampled(samples)
    calibration = {"sensitivities": _maps(grid, waves, weights)} if scan.coils > 1 else {}
    return Acquisition(samples, scan, "MR", calibration=calibration)


def _per_voxel(scan: CartesianScan | NonCartesianScan) -> Float:
    """Frequency of each sample along z, y, x in cycles per voxel, shape ``(..., 3)``."""
    if isinstance(scan, CartesianScan):
        axes = [(np.arange(n) - n // 2) / n for n in scan.matrix]
        if scan.dimensions == 2:
            axes[0] = np.zeros(1)
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    path = scan.trajectory / np.array(scan.plane)
    out = np.zeros((*path.shape[:-1], 3))
    out[..., 3 - path.shape[-1] :] = path
    return out


def _waves(grid: Grid, coils: int, *, flat: bool) -> tuple[Float, Array]:
    """Wave vectors in cycles per voxel ``(terms, 3)`` and their weights ``(coils, terms)``."""
    if coils == 1:
        return np.zeros((1, 3)), np.ones((1, 1), np.complex128)
    counts = (1 if flat else 3, _TERMS, _TERMS)
    axes = [
        (np.arange(c) - c // 2) / (_PERIOD * n) for c, n in zip(counts, grid.shape, strict=True)
    ]
    vectors = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    coarse = tuple(min(n, 24) for n in grid.shape)
    small = Grid.from_spacing(coarse, [s * n / c for s, n, c in zip(
        grid.spacing, grid.shape, coarse, strict=True)])  # fmt: skip
    wanted = loop_sensitivities(small, coils).reshape(coils, -1)
    # Centres of the coarse voxels, in voxels of the grid from its middle.
    places = [
        (np.arange(c) + 0.5) * n / c - 0.5 - n // 2 for c, n in zip(coarse, grid.shape, strict=True)
    ]
    where = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3)
    basis = np.exp(2j * np.pi * (where @ vectors.T))
    solved, *_ = np.linalg.lstsq(basis, wanted.T.astype(np.complex128), rcond=1e-3)
    return vectors, solved.T


def _maps(grid: Grid, waves: Float, weights: Array) -> Array:
    """The sensitivities on the grid, complex64 ``(coils, nz, ny, nx)``."""
    z, y, x = (
        np.exp(2j * np.pi * np.outer(waves[:, i], np.arange(n) - n // 2))
        for i, n in enumerate(grid.shape)
    )
    return np.einsum("ct,tz,ty,tx->czyx", weights, z, y, x, optimize=True).astype(np.complex64)
