"""Median of 3^3 and 5^3 voxels on 512 x 512 x 100, int16 and float32; peer SciPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.turns import compared
from somascope.process.median import median


def run(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """One line per size and type; quality is the number of voxels that differ from SciPy's."""
    shape = (6, 64, 64) if small else (100, 512, 512)
    noise = np.random.default_rng(0).normal(0, 300, shape)
    for dtype in (np.int16, np.float32):
        volume = noise.astype(dtype)
        for edge in (3, 5):
            size = (edge, edge, edge)
            truth = ndimage.median_filter(volume, size, mode="reflect")
            yield compared(
                "process.median",
                f"{shape[1]} x {shape[2]} x {shape[0]} {np.dtype(dtype).name}, {edge}^3",
                ours=lambda v=volume, s=size: median(v, s),
                peer=lambda v=volume, s=size: ndimage.median_filter(v, s, mode="reflect"),
                package="scipy",
                quality=lambda found, truth=truth: float(np.count_nonzero(found != truth)),
                metric="voxels that differ",
                rounds=1,
            )
