"""``register.hippocampus``: pairs of people's hippocampi; how well their labels then overlap.

MR crops of the Medical Segmentation Decathlon; nothing without the development data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from benchmarks.register.beside import beside
from benchmarks.register.case import Array, Mapping, folding, shared
from benchmarks.register.peers import Peer, installed
from somascope.core import Grid, Image

PAIRS = 20
FEW = 6
"""Pairs for peers that take more than ten seconds for each."""


def grids(shape: tuple[int, ...]) -> Array:
    """Indices of all voxels ``(n, 3)``."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)


def carried(labels: Array, grid: Grid, mapping: Mapping, fixed: Grid) -> Array:
    """Labels of the moving image at the voxels of the fixed one, nearest."""
    at = grid.to_index(mapping(fixed.to_world(grids(fixed.shape)))).T
    return map_coordinates(labels, at, order=0, mode="constant").reshape(fixed.shape)


def dice(a: Array, b: Array, values: tuple[int, ...]) -> float:
    """Mean of 2 |A and B| / (|A| + |B|) over the labels."""
    scores = [2 * ((a == v) & (b == v)).sum() / ((a == v).sum() + (b == v).sum()) for v in values]
    return float(np.mean(scores))


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Mean Dice of the anterior and posterior part over twenty pairs."""
    folder = None if small else shared("msd_hippocampus")
    if folder is None:
        return
    names = sorted(p.name for p in (folder / "images").glob("*.nii.gz"))
    rng = np.random.default_rng(0)
    chosen = [rng.choice(len(names), 2, replace=False) for _ in range(PAIRS)]
    cases = [[_case(folder, names[k]) for k in pair] for pair in chosen]
    # Brightness differs from one person to the next: greedy by NCC, not by squares.
    peers = installed(metric="NCC")
    quick = {k: v for k, v in peers.items() if k == "picsl-greedy"}
    yield from _lines(cases, quick)
    yield from _lines(cases[:FEW], {k: v for k, v in peers.items() if k not in quick})


def _case(folder: Any, name: str) -> tuple[Image, Array]:
    from somascope.io import read, read_all

    image = read(folder / "images" / name)
    report = read_all(folder / "labels" / name)
    found = [*report.masks, *report.images][0]
    assert isinstance(image, Image)
    return image, np.asarray(found.data).reshape(image.grid.shape).astype(np.uint8)


def _lines(cases: list[Any], peers: dict[str, Peer]) -> Iterator[dict[str, Any]]:
    pairs = [(f[0], m[0]) for f, m in cases]

    def overlap(maps: list[Mapping]) -> float:
        return float(np.mean([
            dice(f[1], carried(m[1], m[0].grid, mapping, f[0].grid), (1, 2))
            for (f, m), mapping in zip(cases, maps, strict=True)
        ]))  # fmt: skip

    def folds(maps: list[Mapping]) -> float:
        return float(np.mean([
            folding(mapping, f.grid, step=1) for (f, _), mapping in zip(pairs, maps, strict=True)
        ]))  # fmt: skip

    before = overlap([lambda x: x] * len(pairs))
    yield from beside(
        "register.hippocampus", f"{len(pairs)} pairs, Dice {before:.2f} before", pairs, peers,
        quality=overlap, metric="mean Dice of two labels", also=(("folding, %", folds),), rounds=1,
    )  # fmt: skip
