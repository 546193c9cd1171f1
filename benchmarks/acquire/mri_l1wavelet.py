"""L1-wavelet compressed sensing, 100 FISTA steps from the same maps: Somascope and SigPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.mri_case import coil_maps, error, masks, sampled
from benchmarks.turns import compared
from somascope.acquire.mri.compressed import regularised
from somascope.acquire.mri.descent import SparseWavelets


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Undersampled by lines, and scattered in both directions."""
    import sigpy.mri as mr

    n, rounds, steps = (64, 2, 30) if small else (256, 3, 100)
    maps = np.ascontiguousarray(coil_maps(n)[:, 0])

    def peer(samples: np.ndarray, weight: float) -> np.ndarray:
        return mr.app.L1WaveletRecon(samples, maps, weight, max_iter=steps, show_pbar=False).run()

    for kind, mask in masks(n).items():
        y, scan, x = sampled(n, mask)
        flat = np.ascontiguousarray(y[:, 0])
        weight = 0.002 * float(np.abs(scan.adjoint(y)).max())
        yield compared(
            "mri.l1wavelet", f"8 coils, {n}^2, {kind} ({mask.mean():.0%} sampled), {steps} steps",
            package="sigpy", rounds=rounds,
            ours=lambda y=y, scan=scan, w=weight: regularised(
                y, scan, prior=lambda _: SparseWavelets(w), iterations=steps
            ),
            peer=lambda f=flat, w=weight: peer(f, w),
            quality=lambda a, x=x: error(a, x), metric="relative error of the image",
        )  # fmt: skip
