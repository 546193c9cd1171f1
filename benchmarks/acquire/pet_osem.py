"""A whole OSEM reconstruction: our operation, and the same updates around the plain C projector.

0.81 M lines through 128 x 128 x 13 voxels, 8 subsets, 4 iterations, with attenuation and randoms.
The peer's loop is written as one would in NumPy around a C library. Quality: relative error of the
mean in the large region of the body (5000 Bq/ml).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.pet_case import BODY, WATER, Plain, scene
from benchmarks.acquire.pet_project import timed
from somascope.acquire.pet.model import background, factors
from somascope.acquire.pet.osem import osem
from somascope.acquire.pet.simulate import measure
from somascope.acquire.pet.system import subset_views
from somascope.core import Acquisition
from somascope.phantoms import Ellipsoid, draw, line_integrals

Array = np.ndarray
QUIET_REGION = [Ellipsoid(1.0, (0, -45, 0), (40, 18, 200))]


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line."""
    scan = scene(small=small)
    iterations, subsets, rounds = (1, 2, 2) if small else (4, 8, 5)
    survival = np.exp(-line_integrals(WATER, *scan.endpoints())).astype(np.float32)
    calibration = {"sensitivity": np.array(scan.scanner.sensitivity), "attenuation": survival}
    facts = {"ActualFrameDuration": 600e3}
    body = draw(BODY, scan.grid)
    samples, calibration = measure(
        scan, body, calibration=calibration, attributes=facts, randoms=0.3, seed=1
    )
    raw = Acquisition(samples, scan, "PT", unit="{counts}", calibration=calibration,
                      attributes=facts)  # fmt: skip

    parts = []
    for views in subset_views(scan, subsets):
        plain = Plain(scan.with_changes(views=views))

        def cut(array: Any, views: Array = views) -> Array:
            return np.ascontiguousarray(np.broadcast_to(array, scan.range)[:, views])

        parts.append((plain, cut(samples), cut(factors(raw)), cut(background(raw))))

    def theirs() -> Array:
        weights = [p.adjoint(f) for p, _, f, _ in parts]
        x = np.full(scan.domain, 1000.0, np.float32)
        for _ in range(iterations):
            for (plain, y, f, b), w in zip(parts, weights, strict=True):
                ratio = y / (f * plain.forward(x) + b)
                x *= plain.adjoint(f * ratio) / np.maximum(w, 1e-6 * w.max())
        return x

    region = draw(QUIET_REGION, scan.grid) > 0

    def off(image: Array) -> float:
        return float(f"{abs(image[region].mean() / 5000 - 1):.4g}")

    def ours() -> Array:
        return osem(raw, iterations=iterations, subsets=subsets).data

    good = off(ours()), off(theirs())
    mine, others = timed(ours, theirs, rounds)
    yield {
        "name": "pet.osem",
        "case": f"{samples.size / 1e6:.2f} M lines, {iterations} iterations x {subsets} subsets",
        "ours_ms": mine,
        "peer": "C/OpenMP Joseph",
        "peer_version": "gcc -O3 -march=native, NumPy updates",
        "peer_ms": others,
        "ratio": others["median"] / mine["median"],
        "quality_metric": "relative error of the mean in a large region",
        "quality_ours": good[0],
        "quality_peer": good[1],
    }
