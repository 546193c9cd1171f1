"""``register.synthetic``: one head of 128^3 voxels and itself through a known map.

An affine map (4, -3, 6 degrees; 1.04, 0.97, 1.03; 5, -4, 6 mm), a smooth random field of up to
7 mm a component and noise: 12 mm apart to begin with. The head is the MNI average where the
development data is there, else the phantom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.register.beside import beside
from benchmarks.register.case import (
    ANGLES,
    SCALES,
    SHIFT,
    Known,
    Mapping,
    folding,
    known,
    phantom,
    shared,
    turned,
    volume,
)  # fmt: skip
from benchmarks.register.peers import greedy, installed

WIDTH = {False: 10.0, True: 20.0}
"""mm over which the field is smooth: the small case has voxels of 4.7 mm."""


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Mean and 95 % of the error in the head, and folding; small: the phantom at 48^3."""
    n = 48 if small else 128
    real = None if small else shared("antspy_data", "mni.nii.gz")
    head = phantom(n) if real is None else volume(real, n)
    pair = known(head, matrix=turned(head.grid, ANGLES, SHIFT, SCALES), width=WIDTH[small])
    yield from measured("register.synthetic", "one contrast", pair, small=small, other=False)


def measured(
    name: str, what: str, pair: Known, *, small: bool, other: bool
) -> Iterator[dict[str, Any]]:
    """The lines of a pair whose truth is known."""
    peers = installed()
    if small:
        peers = {k: v for k, v in peers.items() if k == "picsl-greedy"}
    step = 2 if small else 3
    before = pair.missed(lambda x: x, step=step).mean()
    shape = "x".join(map(str, pair.fixed.grid.shape[::-1]))

    def error(maps: list[Mapping]) -> float:
        return float(pair.missed(maps[0], step=step).mean())

    also = (
        ("error, 95 %, mm", lambda maps: np.percentile(pair.missed(maps[0], step=step), 95)),
        ("folding, %", lambda maps: folding(maps[0], pair.fixed.grid, step=step)),
    )
    sets = [(f"{shape}, {what}, {before:.1f} mm apart", peers)]
    if "picsl-greedy" in peers and not small and not other:
        sets.append((f"{sets[0][0]}; greedy by NCC", {"picsl-greedy": greedy("NCC")}))
    for case, chosen in sets:
        yield from beside(
            name, case, [(pair.fixed, pair.moving)], chosen, quality=error, other=other,
            metric="mean error in the head, mm", also=also, rounds=1 if small else 2,
        )  # fmt: skip
