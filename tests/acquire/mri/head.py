"""A Shepp-Logan head in the closed form, seen by coils whose maps are known."""

from __future__ import annotations

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.core import Acquisition, Grid
from somascope.phantoms import ellipse_fourier, shepp_logan, shepp_logan_shapes


def coil_maps(coils: int, grid: Grid) -> np.ndarray:
    """Smooth maps on a ring around the head, unit sum of squares, ``(coils, nz, ny, nx)``."""
    nz, ny, nx = grid.shape
    y, x = np.meshgrid((np.arange(ny) - ny // 2) / ny, (np.arange(nx) - nx // 2) / nx,
                       indexing="ij")  # fmt: skip
    out = np.empty((coils, nz, ny, nx), np.complex128)
    for c in range(coils):
        a = 2 * np.pi * c / coils
        dy, dx = y - 0.7 * np.sin(a), x - 0.7 * np.cos(a)
        out[c] = np.exp(-(dy**2 + dx**2) / 0.5 + 1j * (a + 2 * dx * np.cos(a) - dy))
    return out / np.sqrt((np.abs(out) ** 2).sum(axis=0))


def frequencies(grid: Grid, k: np.ndarray) -> np.ndarray:
    """LPS frequencies ``(..., 2)`` in cycles/mm of k ``(..., 2)`` (ky, kx) in cycles/FOV."""
    _, dy, dx = grid.spacing
    _, ny, nx = grid.shape
    return np.stack([k[..., 1] / (nx * dx), k[..., 0] / (ny * dy)], -1)


def true_kspace(grid: Grid, k: np.ndarray) -> np.ndarray:
    """What a perfect receiver measures of the head at k (cycles/FOV): the scans' scaling.

    The centre of the field is the voxel n // 2, half a voxel off the phantom's own centre.
    """
    _, dy, dx = grid.spacing
    _, ny, nx = grid.shape
    f = frequencies(grid, k)
    middle = grid.to_world((0, ny // 2, nx // 2))[:2]
    exact = ellipse_fourier(shepp_logan_shapes(flat=True), f) * np.exp(2j * np.pi * (f @ middle))
    return exact / (dy * dx) / np.sqrt(ny * nx)


def lattice(*shape: int) -> np.ndarray:
    axes = [np.arange(n) - n // 2 for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(float)


def head(n: int = 64) -> tuple[np.ndarray, Grid]:
    """The band-limited head on n x n pixels from its closed-form k-space, and its grid."""
    grid = shepp_logan((n, n)).grid
    k = true_kspace(grid, lattice(n, n))[None, None]
    return CartesianScan(grid).adjoint(k), grid


def scanned(
    n: int = 64, coils: int = 8, mask: np.ndarray | None = None, *, noise: float = 0.0,
    known: bool = True, seed: int = 0,
) -> tuple[Acquisition, np.ndarray, np.ndarray]:  # fmt: skip
    """Acquisition of the head, its true image, and the true maps."""
    x, grid = head(n)
    maps = coil_maps(coils, grid)
    scan = CartesianScan(grid, sensitivities=maps, mask=mask)
    y = scan.forward(x)
    rng = np.random.default_rng(seed)
    y += noise * (rng.normal(size=y.shape) + 1j * rng.normal(size=y.shape)) / np.sqrt(2)
    y = scan.sampled(y).astype(np.complex64)
    operator = CartesianScan(
        grid, coils=coils, mask=mask,
        sensitivities=maps.astype(np.complex64) if known else None,
    )  # fmt: skip
    attributes = {"PatientName": "Head^Test", "StudyInstanceUID": "2.25.1"}
    return Acquisition(y, operator, "MR", attributes=attributes), x, maps


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
