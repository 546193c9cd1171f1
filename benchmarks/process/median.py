"""Median of 3^3 and 5^3 voxels on 512 x 512 x 100, int16 and float32; peers SciPy, SimpleITK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.process import planes
from benchmarks.process.bounds import compared
from benchmarks.process.filters import Array, case
from somascope.process.median import median


def run(*, small: bool = False) -> Iterator[dict[str, Any]]:
    """One line per size, type and peer; quality is the number of inner voxels that differ."""
    import SimpleITK

    shape = (6, 64, 64) if small else (100, 512, 512)
    noise = np.random.default_rng(0).normal(0, 300, shape)
    inner = (slice(2, -2),) * 3  # SimpleITK repeats the outer voxel, SciPy mirrors
    for dtype in (np.int16, np.float32):
        volume = noise.astype(dtype)
        given = SimpleITK.GetImageFromArray(volume)
        for edge in (3, 5):
            truth = ndimage.median_filter(volume, edge, mode="reflect")
            peers: dict[str, Callable[[], Array]] = {
                "scipy": lambda v=volume, e=edge: ndimage.median_filter(v, e, mode="reflect"),
                "SimpleITK": lambda g=given, e=edge: SimpleITK.GetArrayFromImage(
                    SimpleITK.Median(g, [e // 2] * 3)
                ),
            }
            for package, peer in peers.items():
                yield compared(
                    "process.median", case(volume, f"{edge}^3"), given=volume.nbytes,
                    ours=lambda v=volume, e=edge: median(v, (e, e, e)), peer=peer, package=package,
                    quality=lambda found, truth=truth: float(
                        np.count_nonzero(found[inner] != truth[inner])
                    ),
                    metric="inner voxels that differ", rounds=1,
                )  # fmt: skip
    yield from planes.median(small=small)
