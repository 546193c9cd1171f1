"""Fan-beam FBP of 720 views of a whole turn; there is no CPU peer, so our parallel FBP is one.

ASTRA reconstructs fans by FBP with CUDA only. The ratio is parallel over fan time: one third or
more is the aim. Both see the same head; the parallel scan has as many views over a half turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.ct_case import head, noisy, rms_hu, sinogram
from benchmarks.turns import compared
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.fbp import fan_fbp, parallel_fbp
from somascope.acquire.ct.parallel import ParallelScan
from somascope.phantoms import line_integrals


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Flat and curved detectors, without and with noise."""
    n, views, rounds = (128, 180, 3) if small else (512, 720, 7)
    truth, grid, shapes = head(n)
    bins = round(1.4375 * n)
    angles, parallel = sinogram(shapes, views, bins)
    straight = ParallelScan(grid=grid, angles=angles, bins=bins, spacing=1.0)
    engine = straight.engine()
    for curved in (False, True):
        scan = FanScan(
            grid=grid, angles=2 * angles, bins=bins, spacing=2.0, source=2.0 * n,
            detector=4.0 * n, curved=curved,
        )  # fmt: skip
        fan = line_integrals(shapes, *scan.views().rays(), summed=True)[:, 0].astype(np.float32)
        for with_noise in (False, True):
            lines = [noisy(a) if with_noise else a for a in (fan, parallel)]
            kernel = "hann" if with_noise else "ram-lak"
            line = compared(
                "ct.fan_fbp",
                f"{n} x {n}, {views} views, {bins} bins, {'curved' if curved else 'flat'} "
                f"detector; {'1e5 photons, Hann window' if with_noise else 'no noise, ramp'}",
                ours=lambda lines=lines, kernel=kernel, scan=scan: fan_fbp(
                    lines[0][None], scan, grid, kernel=kernel  # pyright: ignore
                )[0],
                peer=lambda lines=lines, kernel=kernel: parallel_fbp(
                    lines[1][None], engine, angles, kernel=kernel  # pyright: ignore
                )[0],
                package="somascope", rounds=rounds,
                quality=lambda a, flat=with_noise: rms_hu(a, truth, flat=flat),
                metric="RMS error in flat parts, HU" if with_noise else "RMS error, HU",
            )  # fmt: skip
            yield {**line, "peer": "our parallel FBP"}
