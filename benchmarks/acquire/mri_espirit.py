"""Coil sensitivities from 24 x 24 calibration lines: Somascope and SigPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.mri_case import Array, coil_maps, masks, sampled
from benchmarks.turns import compared
from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.espirit import sensitivities


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Error: share of the true maps' energy that the estimate misses inside the head."""
    import sigpy.mri as mr

    n, rounds = (64, 2) if small else (256, 5)
    y, scan, x = sampled(n, masks(n)["lines"], noise=0.001)
    maps = coil_maps(n)
    plain = CartesianScan(scan.grid, coils=8, mask=scan.mask)
    flat = np.ascontiguousarray(y[:, 0])
    body = np.abs(x[0]) > 0.1

    def missed(found: Array) -> float:
        found = np.asarray(found).reshape(maps.shape)
        same = np.abs((maps.conj() * found).sum(axis=0))[0]
        return float(np.mean(1 - same[body] ** 2))

    yield compared(
        "mri.espirit", f"8 coils, {n}^2, kernel 6, calibration 24", package="sigpy", rounds=rounds,
        ours=lambda: sensitivities(y, plain),
        peer=lambda: mr.app.EspiritCalib(flat, show_pbar=False).run(),
        quality=missed, metric="missed energy of the maps",
    )  # fmt: skip
