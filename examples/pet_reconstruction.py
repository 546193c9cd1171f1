"""From coincidences to activity in Bq/ml and DICOM: the pictures of docs/tutorials/pet.md.

::

    python examples/pet_reconstruction.py docs/images [SIZE]

SIZE is the number of pixels per side, 96 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.pet.bsrem import bsrem
from somascope.acquire.pet.events import list_events
from somascope.acquire.pet.fbp import fbp2d
from somascope.acquire.pet.listmode_osem import listmode_osem
from somascope.acquire.pet.osem import osem
from somascope.acquire.pet.simulate import simulate
from somascope.core import Acquisition, Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import thorax_ct, thorax_grid, thorax_pet

SIDE = 400.0
"""Width of the image in mm."""
HOTTEST = 16000.0
"""Black, in Bq/ml."""


def inverse(values: Array, high: float) -> Array:
    """White for nothing and black for ``high``: 256 pixels wide, the middle of the height."""
    tile = (255 - np.clip(values / high, 0, 1) * 255).astype(np.uint8)
    whole = np.asarray(Picture.fromarray(tile).resize((256, 256)))
    return whole[36:220]


def panel(image: Image) -> Array:
    """The slice through the nodule."""
    return inverse(image.data[image.grid.shape[0] // 2], HOTTEST)


def sinogram(acquisition: Acquisition) -> Array:
    """Direct planes of a scan, one above the other in the middle."""
    plane = np.asarray(acquisition.samples, np.float32)[acquisition.samples.shape[0] // 24]
    return inverse(plane, float(np.quantile(plane, 0.998)))


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another, a black line between."""
    lines = [np.concatenate([np.pad(p, ((0, 4), (0, 4))) for p in row], axis=1) for row in rows]
    Picture.fromarray(np.concatenate(lines)).save(path, optimize=True)


def main(folder: Path, *, size: int = 96, seconds: float = 1.5) -> dict[str, Image]:
    """Write the pictures and a DICOM series into ``folder``; what was reconstructed, by name.

    ``seconds`` is the length of the short scan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixel = SIDE / size
    body = thorax_pet(thorax_grid((17, size, size), (7.0, pixel, pixel)), fwhm_mm=4.0, scale=50.0)
    ct = thorax_ct(thorax_grid((48, 2 * size, 2 * size), (2.5, pixel / 2, pixel / 2)), noise_hu=0.0)
    found: dict[str, Image] = {"truth": body}

    scan = simulate(body, ct, scanner="body", duration=180.0, randoms=0.3, seed=1)
    found["fbp"] = fbp2d(scan, window="hann")
    found["osem"] = osem(scan, iterations=4, subsets=8, post_filter=6.0)
    found["bsrem"] = bsrem(scan, iterations=10, subsets=8, beta=0.004)
    save(folder / "pet-sinogram.png", [[panel(body), sinogram(scan), panel(found["osem"])]])
    save(
        folder / "pet-methods.png",
        [[panel(found[name]) for name in ("fbp", "osem", "bsrem")]],
    )

    bare = {k: v for k, v in scan.calibration.items() if k not in ("attenuation", "randoms")}
    found["raw"] = osem(
        Acquisition(scan.samples, scan.operator, "PT", unit=scan.unit, calibration=bare,
                    provenance=scan.provenance, attributes=scan.attributes),
        iterations=4, subsets=8, post_filter=6.0,
    )  # fmt: skip
    few = simulate(body, ct, scanner="body", duration=seconds, randoms=0.3, seed=2)
    found["short"] = osem(few, iterations=2, subsets=8)
    found["events"] = listmode_osem(list_events(few), iterations=2, subsets=8, post_filter=8.0)
    save(
        folder / "pet-corrections.png",
        [[inverse(found["raw"].data[8], float(found["raw"].data[8].max())),
          panel(found["short"]), panel(found["events"])]],
    )  # fmt: skip
    write(found["osem"], folder / "pet-series")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), size=int(sys.argv[2]) if len(sys.argv) > 2 else 96)
