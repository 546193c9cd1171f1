"""CG-SENSE, 30 iterations from the same maps: Somascope and SigPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.mri_case import coil_maps, error, masks, sampled
from benchmarks.turns import compared
from somascope.acquire.mri.sense import solve


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Undersampled by lines, and scattered in both directions."""
    import sigpy.mri as mr

    n, rounds = (64, 2) if small else (256, 5)
    maps = np.ascontiguousarray(coil_maps(n)[:, 0])
    for kind, mask in masks(n).items():
        y, scan, x = sampled(n, mask)
        flat = np.ascontiguousarray(y[:, 0])
        yield compared(
            "mri.sense", f"8 coils, {n}^2, {kind} ({mask.mean():.0%} sampled), 30 iterations",
            package="sigpy", rounds=rounds,
            ours=lambda y=y, scan=scan: solve(y, scan, iterations=30),
            peer=lambda f=flat: mr.app.SenseRecon(f, maps, max_iter=30, show_pbar=False).run(),
            quality=lambda a, x=x: error(a, x), metric="relative error of the image",
        )  # fmt: skip
