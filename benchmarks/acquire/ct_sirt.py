"""50 iterations of SIRT, parallel beam, not negative: ours (Toeplitz) and ASTRA's on the CPU.

The peer takes minutes, so its 50 iterations are run once, in chunks that alternate with whole runs
of ours; its time is ten times the median (minimum) chunk of five. Both start from zero with the
same noisy sinogram, whose noiseless part is the closed form.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.acquire.ct_case import head, noisy, rms_hu, sinogram
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.sirt import sirt
from somascope.core import Acquisition

Array = np.ndarray
ITERATIONS, CHUNK = 50, 5


def astra_sirt(lines: Array, angles: Array, n: int) -> tuple[Callable[[int], None], Array]:
    """A function that does so many more iterations, and the image it works on."""
    import astra

    projections = astra.create_proj_geom("parallel", 1.0, lines.shape[1], -angles)
    volume = astra.create_vol_geom(n, n)
    projector = astra.create_projector("linear", projections, volume)
    image = np.zeros((n, n), np.float32)
    config = astra.astra_dict("SIRT")
    config |= {
        "ProjectorId": projector,
        "ProjectionDataId": astra.data2d.create("-sino", projections, lines),
        "ReconstructionDataId": astra.data2d.link("-vol", volume, image),
        "option": {"MinConstraint": 0},
    }
    algorithm = astra.algorithm.create(config)
    return lambda count: astra.algorithm.run(algorithm, count), image


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line, with the error against the phantom of both."""
    n, views = (96, 120) if small else (512, 720)
    truth, grid, shapes = head(n)
    angles, clean = sinogram(shapes, views, round(1.4375 * n))
    lines = noisy(clean)
    scan = ParallelScan(grid=grid, angles=angles, bins=lines.shape[1], spacing=1.0)
    given = Acquisition(lines, scan, "CT")
    try:
        more, image = astra_sirt(lines, angles, n)
    except ImportError:
        print("ct.sirt: astra-toolbox is not installed", file=sys.stderr)
        return

    def ours() -> Array:
        fresh = Acquisition(lines, ParallelScan(**scan.describe()), "CT")  # no plan is kept
        return sirt(fresh, iterations=ITERATIONS, unit="1/mm").data[0]

    made = ours()
    sirt(given, iterations=1)
    spent: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ITERATIONS // CHUNK):
        start = time.perf_counter()
        more(CHUNK)
        spent["peer"].append((time.perf_counter() - start) * 1000 * ITERATIONS / CHUNK)
        start = time.perf_counter()
        ours()
        spent["ours"].append((time.perf_counter() - start) * 1000)
    times = {k: {"min": min(v), "median": statistics.median(v)} for k, v in spent.items()}
    yield {
        "name": "ct.sirt",
        "case": f"{n} x {n}, {views} views, {lines.shape[1]} bins, {ITERATIONS} iterations, noise",
        "ours_ms": times["ours"],
        "peer": "astra-toolbox (linear)",
        "peer_version": version("astra-toolbox"),
        "peer_ms": times["peer"],
        "ratio": times["peer"]["median"] / times["ours"]["median"],
        "quality_metric": "rms error in HU, whole head",
        "quality_ours": round(rms_hu(made, truth, flat=False), 1),
        "quality_peer": round(rms_hu(image, truth, flat=False), 1),
    }
