"""Forward projection of an image into 720 views: ours (Fourier slice) and ASTRA's three models.

The truth is the closed-form sinogram, averaged over bins; the image is the phantom averaged over
its pixels, so that the error is the projector's and not that of jagged edges.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.ct_case import head, sinogram
from benchmarks.turns import compared
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core import Grid
from somascope.phantoms import draw

Array = np.ndarray


def astra_forward(image: Array, angles: Array, bins: int, model: str) -> Callable[[], Array]:
    """ASTRA's forward projection on the CPU."""
    import astra

    projections = astra.create_proj_geom("parallel", 1.0, bins, -angles)
    volume = astra.create_vol_geom(*image.shape)
    projector = astra.create_projector(model, projections, volume)
    source = astra.data2d.create("-vol", volume, image)
    result = astra.data2d.create("-sino", projections)
    config = astra.astra_dict("FP")
    config |= {"ProjectorId": projector, "VolumeDataId": source, "ProjectionDataId": result}
    algorithm = astra.algorithm.create(config)

    def run() -> Array:
        astra.algorithm.run(algorithm)
        return astra.data2d.get(result)

    return run


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """ASTRA's strip, linear (Joseph) and line (Siddon) models."""
    n, views, rounds = (128, 180, 3) if small else (512, 720, 3)
    _, grid, shapes = head(n)
    bins = round(1.4375 * n)
    fine = 8
    origin = tuple(-(n * fine - 1) / 2 / fine for _ in range(2))
    drawn = draw(shapes, Grid.from_spacing((1, n * fine, n * fine), (1, 1 / fine, 1 / fine),
                                           origin=(*origin, 0.0)), summed=True)  # fmt: skip
    image = drawn.reshape(n, fine, n, fine).mean(axis=(1, 3)).astype(np.float32)
    angles, truth = sinogram(shapes, views, bins)
    scan = ParallelScan(grid=grid, angles=angles, bins=bins, spacing=1.0)
    try:
        import astra  # noqa: F401
    except ImportError:
        print("ct.forward: astra-toolbox is not installed", file=sys.stderr)
        return
    for model in ("strip", "linear", "line"):
        yield compared(
            "ct.forward", f"{n} x {n}, {views} views, {bins} bins; peer's model: {model}",
            ours=lambda: scan.forward(image[None]), peer=astra_forward(image, angles, bins, model),
            package="astra-toolbox", rounds=rounds,
            quality=lambda a: float(np.linalg.norm(a - truth) / np.linalg.norm(truth)),
            metric="relative error of the sinogram",
        )  # fmt: skip
