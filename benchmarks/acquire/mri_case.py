"""The head that all MRI benchmarks scan: eight coils, closed-form k-space, a known image."""

from __future__ import annotations

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.core import Grid
from somascope.phantoms import ellipse_fourier, shepp_logan, shepp_logan_shapes

Array = np.ndarray


def head(n: int) -> tuple[Array, Grid]:
    """The band-limited head, complex64 ``(1, n, n)``, from its closed-form transform."""
    grid = shepp_logan((n, n)).grid
    k = (np.arange(n) - n // 2) / (n * grid.spacing[1])
    f = np.stack(np.meshgrid(k, k), -1)  # (L, P) = (x, y)
    middle = grid.to_world((0, n // 2, n // 2))[:2]
    y = ellipse_fourier(shepp_logan_shapes(flat=True), f) * np.exp(2j * np.pi * (f @ middle))
    y /= grid.spacing[1] ** 2 * n
    return CartesianScan(grid).adjoint(y[None, None]).astype(np.complex64), grid


def coil_maps(n: int, coils: int = 8) -> Array:
    """Smooth maps with unit sum of squares, complex64 ``(coils, 1, n, n)``."""
    at = (np.arange(n) - n // 2) / n
    y, x = np.meshgrid(at, at, indexing="ij")
    out = np.empty((coils, 1, n, n), np.complex64)
    for c in range(coils):
        a = 2 * np.pi * c / coils
        dy, dx = y - 0.7 * np.sin(a), x - 0.7 * np.cos(a)
        out[c] = np.exp(-(dy**2 + dx**2) / 0.5 + 1j * (a + 2 * dx * np.cos(a) - dy))
    return out / np.sqrt((np.abs(out) ** 2).sum(axis=0))


def masks(n: int) -> dict[str, Array]:
    """Sampling by lines (R = 3 with a centre), and a variable-density scatter (10 %)."""
    at = np.arange(n) - n // 2
    lines = ((at % 3 == 0) | (np.abs(at) < 12))[:, None] & np.ones((n, n), bool)
    radius = np.hypot(*np.meshgrid(at / n, at / n))
    chance = np.random.default_rng(0).random((n, n))
    scatter = (chance < 0.05 + 0.6 * np.exp(-((radius / 0.15) ** 2))) | (radius < 12 / n)
    return {"lines": lines, "scattered": scatter}


def sampled(n: int, mask: Array, *, noise: float = 0.005) -> tuple[Array, CartesianScan, Array]:
    """Samples ``(8, 1, n, n)``, their scan with maps, and the true image."""
    x, grid = head(n)
    scan = CartesianScan(grid, sensitivities=coil_maps(n), mask=mask)
    rng = np.random.default_rng(1)
    y = scan.forward(x)
    y += noise * (rng.normal(size=y.shape) + 1j * rng.normal(size=y.shape)).astype(np.complex64)
    return scan.sampled(y), scan, x


def error(a: Array, truth: Array) -> float:
    """Relative error of the norm."""
    a = np.asarray(a).reshape(np.shape(truth))
    return float(np.linalg.norm(a - truth) / np.linalg.norm(truth))
