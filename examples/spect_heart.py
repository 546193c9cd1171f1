"""From gamma camera projections to Bq/ml and DICOM: the pictures of docs/tutorials/spect.md.

::

    python examples/spect_heart.py docs/images [SIZE]

SIZE is the number of pixels per side, 64 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.spect.attenuation import attenuation
from somascope.acquire.spect.fbp import fbp
from somascope.acquire.spect.osem import osem
from somascope.acquire.spect.penalised import penalised
from somascope.acquire.spect.projections import projections
from somascope.acquire.spect.scatter import scatter
from somascope.acquire.spect.simulate import simulate
from somascope.core import Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import (
    chest_spect,
    chest_spect_ct,
    rods_spect,
    rods_spect_ct,
    spect_grid,
)

WIDTH = 384.0
"""Of the chest's image in mm."""
SIDE = 192
"""Of a panel in pixels."""


def grey(values: Array, high: float, *, low: float = 0.0) -> Array:
    """Grey from ``low`` to ``high``, ``SIDE`` pixels wide."""
    tile = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows = round(SIDE * tile.shape[0] / tile.shape[1])
    return np.asarray(Picture.fromarray(tile).resize((SIDE, rows), Picture.Resampling.BICUBIC))


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another, a black line between."""
    lines = [np.concatenate([np.pad(p, ((0, 4), (0, 4))) for p in row], axis=1) for row in rows]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, width - line.shape[1]))) for line in lines]
    Picture.fromarray(np.concatenate(padded)).save(path, optimize=True)


def middle(image: Image) -> Array:
    """The rows of the slice through the heart where the body is."""
    nz, ny, _ = image.shape
    return image.data[nz // 2, round(0.14 * ny) : round(0.82 * ny)]


def main(folder: Path, *, size: int = 64) -> dict[str, Image]:
    """Write the pictures and two DICOM files into ``folder``; the images, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    pixel = WIDTH / size
    grid = spect_grid((size // 2, size, size), (pixel,) * 3)
    heart, ct = chest_spect(grid), chest_spect_ct(grid)
    found = {"truth": heart, "ct": ct}

    scan = simulate(
        heart, ct, views=60, orbit="body contour", windows="triple", scatter=0.35, seconds=40.0,
        seed=1,
    )  # fmt: skip
    seen = projections(scan)
    found["projections"] = seen
    peak = np.asarray(scan.samples)[0]
    high = float(np.percentile(peak, 99.7))
    frames = [grey(peak[v], high) for v in (0, 7, 15, 22)]
    turn = np.repeat(grey(peak[:, size // 4].T, high), 4, axis=1)[:, : 4 * SIDE + 12]
    save(folder / "spect-projections.png", [frames, [turn[::2]]])

    bare = scan.with_samples(scan.samples, operator=scan.operator.with_attenuation(None))  # pyright: ignore
    found["plain"] = fbp(bare, cutoff=0.6)
    with_ct = attenuation(bare, ct)
    found["attenuation"] = osem(with_ct, iterations=4, subsets=10, resolution=False)
    corrected = scatter(with_ct)
    found["scatter"] = osem(corrected, iterations=4, subsets=10, resolution=False)
    found["all"] = osem(corrected, iterations=6, subsets=10, smooth=6.0)
    top = float(heart.data.max())
    plain = float(np.percentile(found["plain"].data, 99.95))
    panels = [grey(middle(found["plain"]), plain)]
    panels += [grey(middle(found[k]), 0.9 * top) for k in ("attenuation", "scatter", "all")]
    save(folder / "spect-corrections.png", [[*panels, grey(middle(heart), 0.9 * top)]])

    short = scatter(
        simulate(
            heart, ct, views=60, orbit="body contour", windows="triple", scatter=0.35,
            seconds=6.0, seed=2,
        )
    )  # fmt: skip
    found["few"] = osem(short, iterations=10, subsets=10)
    found["quadratic"] = penalised(short, prior="quadratic", beta=0.002, iterations=8, subsets=10)
    found["tv"] = penalised(short, prior="TV", beta=0.004, iterations=8, subsets=10)
    save(
        folder / "spect-priors.png",
        [[grey(middle(found[k]), 0.9 * top) for k in ("few", "quadratic", "tv")]],
    )

    wide = 240.0 / (1.5 * size)
    rods_grid = spect_grid(
        (8, round(1.5 * size), round(1.5 * size)), (26.0, wide, wide), study="rods"
    )
    rods, water = rods_spect(rods_grid), rods_spect_ct(rods_grid)
    turn = simulate(rods, water, views=90, collimator="LEUHR", radius=140.0, seconds=60.0, seed=3)
    found["rods"] = rods
    found["rods fbp"] = fbp(turn, cutoff=0.8)
    found["rods blurred"] = osem(turn, iterations=6, subsets=10, resolution=False)
    found["rods sharp"] = osem(turn, iterations=12, subsets=10)
    save(
        folder / "spect-rods.png",
        [[grey(found[k].data[2], 2e5) for k in ("rods fbp", "rods blurred", "rods sharp", "rods")]],
    )
    write(found["all"], folder / "spect-series")
    write(seen, folder / "spect-projections")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), size=int(sys.argv[2]) if len(sys.argv) > 2 else 64)
