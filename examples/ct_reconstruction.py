"""From X-ray projections to Hounsfield units and DICOM: the pictures of docs/tutorials/ct.md.

::

    python examples/ct_reconstruction.py docs/images [SIZE]

SIZE is the number of pixels per side, 256 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.fdk import fdk
from somascope.acquire.ct.simulate import simulate
from somascope.core import Grid, Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import thorax_ct

SIDE = 384.0
"""Width of the image in mm."""


def grey(values: Array, low: float, high: float, *, crop: float = 0.72) -> Array:
    """Grey from ``low`` to ``high``, 256 pixels wide, the middle ``crop`` of the height."""
    tile = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    whole = np.asarray(Picture.fromarray(tile).resize((256, 256)))
    rows = round(128 * (1 - crop))
    return whole[rows : 256 - rows]


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another, a black line between."""
    lines = [np.concatenate([np.pad(p, ((0, 4), (0, 4))) for p in row], axis=1) for row in rows]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, width - line.shape[1]))) for line in lines]
    Picture.fromarray(np.concatenate(padded)).save(path, optimize=True)


def body(size: int, *, slices: int = 1) -> Image:
    """The thorax phantom without noise, at the height of the heart."""
    pixel = SIDE / size
    grid = Grid.from_spacing(
        (slices, size, size), (pixel if slices > 1 else 2.5, pixel, pixel),
        origin=(-(SIDE - pixel) / 2, -(SIDE - pixel) / 2, -slices * pixel / 2),
    )  # fmt: skip
    return thorax_ct(grid, noise_hu=0.0)


def lung(image: Image, k: int = 0) -> Array:
    """One slice in a wide window."""
    return grey(image.data[k], -1000, 400)


def soft(image: Image, k: int = 0) -> Array:
    """One slice in a soft-tissue window."""
    return grey(image.data[k], -160, 240)


def main(folder: Path, *, size: int = 256) -> dict[str, Image]:
    """Write the pictures and a DICOM series into ``folder``; what was reconstructed, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    views = size * 3
    truth = body(size)
    found: dict[str, Image] = {"truth": truth}

    shot = simulate(truth, views=views, photons=2e5, seed=1)
    found["fbp"] = fbp(shot, kernel="hann")
    sinogram = np.asarray(shot.samples)
    save(
        folder / "ct-sinogram.png",
        [[lung(truth), grey(sinogram, 0, float(sinogram.max())), lung(found["fbp"])]],
    )

    rows = []
    for photons in (2e5, 1e4):
        low = simulate(truth, views=views, photons=photons, electronic=5.0, seed=1)
        rows.append([soft(fbp(low, kernel=k)) for k in ("ram-lak", "hamming", "hann")])
        found[f"dose {photons:g}"] = fbp(low, kernel="ram-lak")
    save(folder / "ct-dose.png", rows)

    plain = fbp(simulate(truth, geometry="fan", views=views), kernel="hann")
    short = fbp(simulate(truth, geometry="fan", views=views * 2 // 3, arc=250), kernel="hann")
    half = fbp(simulate(truth, geometry="fan", views=views, offset=100), kernel="hann")
    hard = fbp(simulate(truth, geometry="fan", views=views, kvp=100), kernel="hann")
    found |= {"fan": plain, "short": short, "half-fan": half, "hard": hard}
    save(folder / "ct-fan.png", [[soft(i) for i in (plain, short, half, hard)]])

    coarse = max(size // 2, 32)
    block = body(coarse, slices=24)
    cone = fdk(simulate(block, geometry="cone", views=coarse * 2), kernel="hann")
    helix = fbp(simulate(block, geometry="helical", views=coarse * 2, rows=32), kernel="hann")
    found |= {"block": block, "cone": cone, "helical": helix}
    middle, top = 12, 21
    save(
        folder / "ct-cone.png",
        [[lung(i, k) for i in (block, cone, helix)] for k in (middle, top)],
    )
    write(found["fbp"], folder / "ct-series")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), size=int(sys.argv[2]) if len(sys.argv) > 2 else 256)
