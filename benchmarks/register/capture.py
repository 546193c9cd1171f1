"""``register.capture``: how many random starts within 30 degrees and 40 mm are caught.

A start is caught when the median error in the head is under half a voxel of the (coarse) grid.
One contrast, and two: T1 and FLAIR of the development data, or T1 and T2 of the phantom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.register.beside import beside
from benchmarks.register.case import Known, Mapping, known, phantom, shared, turned, volume
from benchmarks.register.contrasts import NAMES
from benchmarks.register.peers import installed

REACH = 30.0, 40.0
STARTS = 40


def starts(image: Any, source: Any, count: int, *, seed: int) -> list[Known]:
    """Pairs turned and shifted by up to `REACH`, uniformly in angle and distance."""
    rng = np.random.default_rng(seed)
    out: list[Known] = []
    for k in range(count):
        axis, way = rng.standard_normal((2, 3))
        angle, far = np.asarray(REACH) * np.sqrt(rng.random(2))
        turn = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis))
        matrix = turned(
            image.grid, turn.as_euler("xyz", degrees=True), far * way / np.linalg.norm(way)
        )
        out.append(known(image, source, matrix=matrix, bend=0.0, seed=seed + k))
    return out


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Share of the starts that are caught, at 64^3 (small: two at 32^3)."""
    n, count = (32, 2) if small else (64, STARTS)
    folder = None if small else shared("open_ms", "cross_sectional", "MNI", "patient07")
    if folder is None:
        one, two, names = phantom(n, "T1"), phantom(n, "T2"), "T1 and T2"
    else:
        one, two = (volume(folder / f"{name}_{NAMES}", n) for name in ("T1", "FLAIR"))
        names = "T1 and FLAIR"
    peers = {k: v for k, v in installed().items() if k == "picsl-greedy" or not small}
    for case, source, other in (("one contrast", one, False), (names, two, True)):
        pairs = starts(one, source, count, seed=7)

        def caught(maps: list[Mapping], pairs: list[Known] = pairs) -> float:
            near = [
                np.median(p.missed(m, step=2)) < 0.5 * p.fixed.grid.spacing[0]
                for p, m in zip(pairs, maps, strict=True)
            ]
            return 100 * float(np.mean(near))

        yield from beside(
            "register.capture", f"{n}^3, {count} starts within 30 degrees and 40 mm; {case}",
            [(p.fixed, p.moving) for p in pairs], peers, how="rigid", other=other, quality=caught,
            metric="caught, %", rounds=1,
        )  # fmt: skip
