"""Radial k-space on a GPU: our transform (Triton, cuFFT) against cuFFT alone, the least there is.

Where there is no CUDA device nothing is measured, and one line says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.gpu_turns import cuda, on_cuda
from benchmarks.acquire.mri_case import Array, coil_maps, error, head
from somascope.acquire.mri.noncartesian import NonCartesianScan


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Forward and adjoint of eight coils, against one cuFFT of the fine grid."""
    if not cuda("mri.gpu"):
        return
    import torch

    n, spokes, readout = (64, 100, 128) if small else (256, 402, 512)
    x, grid = head(n)
    maps = coil_maps(n)
    turns = np.pi * np.arange(spokes) / spokes
    r = np.linspace(-n / 2, n / 2, readout, endpoint=False)
    path = np.stack([np.outer(np.sin(turns), r), np.outer(np.cos(turns), r)], -1)
    scan = NonCartesianScan(grid, trajectory=path, sensitivities=maps, tolerance=1e-3)
    exact = NonCartesianScan(grid, trajectory=path, sensitivities=maps, tolerance=1e-6)
    x = np.asarray(x, np.complex64).reshape(scan.domain)
    y = exact.forward(x.astype(np.complex128)).astype(np.complex64)
    back = exact.adjoint(y.astype(np.complex128))
    given, samples = (torch.from_numpy(a).cuda() for a in (x, y))
    fine = torch.zeros((len(maps), 2 * n, 2 * n), dtype=torch.complex64, device="cuda")
    cases: list[tuple[str, Any, Array]] = [
        ("forward", lambda: scan.forward(given), y),  # pyright: ignore
        ("adjoint", lambda: scan.adjoint(samples), back),  # pyright: ignore
    ]
    for name, ours, truth in cases:
        yield on_cuda(
            "mri.gpu", f"{name}, {n} x {n}, {spokes} spokes of {readout}, {len(maps)} coils",
            ours=ours, peer=lambda: torch.fft.fft2(fine), package="torch",
            quality=lambda found, truth=truth: error(found, truth) if found.shape == truth.shape
            else float("nan"), metric="relative error (peer: only its FFT)", rounds=20,
        )  # fmt: skip
