"""From undersampled k-space to DICOM: the pictures of docs/tutorials/mri.md.

::

    python examples/mri_parallel_imaging.py docs/images [FOLDER]

FOLDER may hold ``cartesian_ksp.npy`` of the SigPy MRI tutorial (BSD-3): one slice of a brain, eight
coils, an eighth of k-space. Without it only the simulated pictures are made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.combine import rss
from somascope.acquire.mri.compressed import l1wavelet, tv
from somascope.acquire.mri.espirit import espirit
from somascope.acquire.mri.gridding import gridding
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.offresonance import OffResonanceScan, offresonance
from somascope.acquire.mri.sense import sense
from somascope.acquire.mri.simulate import simulate
from somascope.acquire.mri.trajectory import spiral
from somascope.core import Acquisition, Grid, Image, Provenance, Source
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import brain_mr

GRID = Grid.from_spacing((1, 192, 160), (4.0, 1.2, 1.2), origin=(-95.4, -114.6, 6.0))


def panel(slices: Sequence[Array], *, top: float | None = None, height: int = 224) -> Array:
    """Slices side by side, grey from 0 to ``top`` (default the 99.7th percentile of each)."""
    tiles: list[Array] = []
    for one in slices:
        plane = np.abs(one).reshape(one.shape[-2:])
        limit = top or float(np.quantile(plane, 0.997)) or 1.0
        grey = (np.clip(plane / limit, 0, 1) * 255).astype(np.uint8)
        width = round(height * plane.shape[1] / plane.shape[0])
        tiles.append(np.asarray(Picture.fromarray(grey).resize((width, height))))
    return np.concatenate(tiles, axis=1)


def save(path: Path, rows: Sequence[Array]) -> None:
    """Rows of equal width under one another."""
    Picture.fromarray(np.concatenate(rows)).save(path, optimize=True)


def lines(out: Path) -> Image:
    """A third of the phase encodings, chosen at random: four reconstructions and their errors."""
    brain = brain_mr("T1", GRID, noise=0)
    truth = rss(simulate(brain, snr=None))
    raw = simulate(brain, acceleration=4, calibration=24, pattern="random", snr=60.0, seed=3)
    found = [
        rss(raw),
        sense(raw, maps="espirit"),
        l1wavelet(raw, maps="espirit"),
        tv(raw, maps="espirit"),
    ]
    top = float(np.quantile(truth.data, 0.997))
    inside = brain.data > 0.02 * brain.data.max()
    wrong: list[Array] = []
    for image in found:
        # Sensitivities have no absolute scale: compare at the same brightness.
        gain = float((truth.data * image.data)[inside].sum() / (image.data[inside] ** 2).sum())
        wrong.append(np.where(inside, 4 * np.abs(gain * image.data - truth.data), 0))
    save(
        out / "mri-sense.png",
        [panel([f.data for f in found], top=top), panel(wrong, top=top)],
    )
    maps = espirit(raw)
    save(out / "mri-espirit.png", [panel(list(maps.data), top=1.0, height=140)])
    return found[3]


def spokes(out: Path) -> None:
    """A fifth of the spokes that a full scan needs."""
    brain = brain_mr("T1", GRID, noise=0)
    raw = simulate(brain, trajectory="radial", acceleration=5, snr=60.0, seed=3)
    found = [gridding(raw), sense(raw, iterations=40), tv(raw)]
    save(out / "mri-radial.png", [panel([f.data for f in found])])


def field(out: Path) -> None:
    """A spiral of 24 ms in a field that is off by up to 150 Hz, without and with its map."""
    brain = brain_mr("T1", GRID, noise=0)
    _, ny, nx = GRID.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    off = (150 * np.exp(-4 * (x**2 + (y + 0.5) ** 2)) - 40 * y)[None]
    paths, density = spiral(192, 16)
    paths = paths * np.array([1.0, 160 / 192])
    coils = simulate(brain, coils=6, snr=None).calibration["sensitivities"]
    times = np.linspace(0, 0.024, paths.shape[-2])
    model = OffResonanceScan(GRID, trajectory=paths, field=off, times=times, sensitivities=coils)
    scan = NonCartesianScan(GRID, trajectory=paths, sensitivities=coils, density=density)
    raw = Acquisition(
        model.forward(brain.data.astype(np.complex64)), scan, "MR", calibration={"times": times}
    )
    map_ = Image(off.astype(np.float32), GRID, "MR", "Hz")
    found = [
        gridding(raw, combine="maps").data,
        np.abs(off) / 150,
        offresonance(raw, map_, iterations=12).data,
    ]
    save(
        out / "mri-offresonance.png",
        [np.concatenate([panel(found[:1]), panel(found[1:2], top=1.0), panel(found[2:])], axis=1)],
    )


def real(data: Path, out: Path) -> None:
    """A brain of which an eighth of k-space was measured."""
    kspace = np.load(data / "sigpy_kspace" / "cartesian_ksp.npy")[:, None]
    grid = Grid.from_spacing((1, *kspace.shape[-2:]), (5.0, 1.0, 1.0))
    sampled = np.abs(kspace).max(axis=0) > 0
    raw = Acquisition(
        kspace, CartesianScan(grid, coils=len(kspace), mask=sampled), "MR",
        provenance=Provenance((Source("raw", "cartesian_ksp.npy"),)),
    )  # fmt: skip
    found = [rss(raw), sense(raw), l1wavelet(raw), tv(raw)]
    save(out / "mri-brain.png", [panel([f.data for f in found])])


def main(out: Path, data: Path | None = None) -> None:
    """Make all pictures, and a DICOM series of the last image."""
    out.mkdir(parents=True, exist_ok=True)
    image = lines(out)
    spokes(out)
    field(out)
    if data is not None:
        real(data, out)
    write(image, out / "series")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
