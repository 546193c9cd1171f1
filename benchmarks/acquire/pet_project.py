"""Joseph projections of a whole sinogram: ours and a straightforward C/OpenMP program, both ways.

0.81 M lines through 128 x 128 x 13 voxels. The yardstick is compiled at run time with gcc -O3 for
this processor and runs on all cores; its transpose adds with atomics, so that its sums depend on
the order of threads, which ours do not. Quality: the RMS gap to the exact integrals of ellipsoids
for the projection, to the yardstick's own transpose for the back projection, relative to the
largest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.pet_case import BODY, Plain, scene
from somascope.phantoms import draw, line_integrals

Array = np.ndarray


def timed(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int) -> tuple[Any, Any]:
    """Times in ms, taken in turn."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, run in zip(spent, (ours, peer), strict=True):
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
    return tuple({"min": min(t), "median": statistics.median(t)} for t in spent)


def gap(found: Array, truth: Array) -> float:
    return float(f"{np.sqrt(np.mean((found - truth) ** 2.0)) / np.abs(truth).max():.4g}")


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Two lines: forward and back."""
    scan = scene(small=small)
    rounds = 3 if small else 15
    plain = Plain(scan)
    x = draw(BODY, scan.grid)
    truth = line_integrals(BODY, *scan.endpoints())
    y = np.ascontiguousarray(truth, np.float32)
    sides = (
        ("forward", lambda: scan.forward(x), lambda: plain.forward(x), truth,
         "RMS gap to the closed form"),
        ("back", lambda: scan.adjoint(y), lambda: plain.adjoint(y), plain.adjoint(y),
         "RMS gap to the C program's back projection"),
    )  # fmt: skip
    for name, ours, peer, wanted, metric in sides:
        good = gap(ours(), wanted), gap(peer(), wanted)
        mine, theirs = timed(ours, peer, rounds)
        yield {
            "name": "pet.project",
            "case": f"{name}, {y.size / 1e6:.2f} M lines through {'x'.join(map(str, x.shape))}",
            "ours_ms": mine,
            "peer": "C/OpenMP Joseph",
            "peer_version": "gcc -O3 -march=native",
            "peer_ms": theirs,
            "ratio": theirs["median"] / mine["median"],
            "quality_metric": metric,
            "quality_ours": good[0],
            "quality_peer": good[1],
        }
