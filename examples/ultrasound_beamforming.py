"""From the echoes of single elements to B-mode and DICOM: pictures of docs/tutorials/ultrasound.md.

::

    python examples/ultrasound_beamforming.py docs/images [SIZE]

SIZE is the number of pixels per side, 256 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.ultrasound.adaptive import adaptive
from somascope.acquire.ultrasound.bmode import bmode
from somascope.acquire.ultrasound.envelope import compress, compressed
from somascope.acquire.ultrasound.iq import demodulate
from somascope.acquire.ultrasound.simulate import simulate
from somascope.acquire.ultrasound.stolt import stolt
from somascope.core import Acquisition, Grid, Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms.echogenicity import tissue_us


def panel(values: Array) -> Array:
    """Grey levels, 256 pixels wide."""
    return np.asarray(Picture.fromarray(values).resize((256, 256)))


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another, a black line between."""
    lines = [np.concatenate([np.pad(p, ((0, 4), (0, 4))) for p in row], axis=1) for row in rows]
    Picture.fromarray(np.concatenate(lines)).save(path, optimize=True)


def traces(scan: Acquisition, transmit: int) -> Array:
    """What all elements heard after one transmit, 50 dB, time downwards."""
    heard = np.abs(demodulate(scan).samples[transmit]).T
    return panel(compressed(heard, dynamic_range=50.0))


def larger(image: Image, factor: float) -> Image:
    """The same picture over a field ``factor`` times as large, for probes that look deeper."""
    _, dy, dx = image.grid.spacing
    nx = image.grid.shape[2]
    grid = Grid.from_spacing(
        image.grid.shape, (5.0, dy * factor, dx * factor),
        origin=(-(nx - 1) / 2 * dx * factor, 2.0, 0.0),
        frame_of_reference=image.grid.frame_of_reference,
    )  # fmt: skip
    return replace(image, grid=grid)


def main(folder: Path, *, size: int = 256) -> dict[str, Image]:
    """Write the pictures and a DICOM series into ``folder``; what was made, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    body = tissue_us(size=size)
    found: dict[str, Image] = {}

    many = simulate(body, transmits=21, span=30.0, seed=1)
    one = simulate(body, transmits=1, seed=1)
    found["one"], found["many"] = bmode(one), bmode(many)
    save(
        folder / "us-waves.png",
        [[traces(one, 0), panel(found["one"].data[0]), panel(found["many"].data[0])]],
    )

    few = simulate(body, transmits=5, span=20.0, seed=1)
    found["das"] = bmode(few, window="boxcar")
    for method in ("dmas", "generalised coherence", "capon"):
        found[method] = compress(adaptive(few, method=method), gain=6.0)
    found["stolt"] = compress(stolt(few))
    names = ("das", "stolt", "dmas", "generalised coherence", "capon")
    save(folder / "us-beamformers.png", [[panel(found[n].data[0]) for n in names]])

    deep = larger(body, 3.0)
    found["phased"] = bmode(
        simulate(deep, probe="phased 2.7 MHz", transmit="diverging", transmits=15, span=75.0,
                 density=1.0, seed=1)
    )  # fmt: skip
    found["convex"] = bmode(
        simulate(deep, probe="convex 3.5 MHz", transmit="diverging", transmits=15, span=50.0,
                 density=1.0, seed=1)
    )  # fmt: skip
    found["elements"] = bmode(simulate(body, transmit="synthetic", transmits=32, seed=1))
    save(
        folder / "us-probes.png",
        [[panel(found[n].data[0]) for n in ("phased", "convex", "elements")]],
    )

    write(found["many"], folder / "us-series")
    return found


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "ultrasound-pictures"),
        size=int(sys.argv[2]) if len(sys.argv) > 2 else 256,
    )
