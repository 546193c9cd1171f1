"""From k-space to pictures and DICOM: the pictures of docs/tutorials/mri-raw.md.

::

    python examples/mri_raw.py docs/images [FOLDER]

FOLDER may hold real raw data: twixtools' ``gre.dat`` and ``epi.dat``, and ``phfit.mat`` of the
image reconstruction toolbox. Without it only the simulated pictures are made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.mri.combine import adaptive, rss
from somascope.acquire.mri.epi import epi
from somascope.acquire.mri.fits.diffusion import dti
from somascope.acquire.mri.fits.field import b0
from somascope.acquire.mri.fits.relaxation import t1, t2
from somascope.acquire.mri.grappa import gfactor, grappa
from somascope.acquire.mri.partial import homodyne, pocs
from somascope.acquire.mri.simulate import simulate
from somascope.core import Axis, Grid, Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.io.raw import twix
from somascope.phantoms import brain_mr
from somascope.phantoms.brain import brain_labels

GRID = Grid.from_spacing((1, 192, 160), (4.0, 1.2, 1.2), origin=(-95.4, -114.6, 6.0))
TISSUES = {1: (300, 60), 2: (400, 30), 3: (4000, 1800), 4: (1300, 95), 5: (850, 75)}
"""T1 and T2 in ms by label; others as the last."""


def panel(arrays: Sequence[Array], *, top: float | None = None, height: int = 256) -> Array:
    """Slices side by side, grey from 0 to ``top`` (default the 99.7th percentile of each)."""
    columns = []
    for array in arrays:
        if array.dtype == np.uint8:
            tile = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
        else:
            limit = top or float(np.quantile(np.abs(array), 0.997)) or 1.0
            grey = (np.clip(np.abs(array) / limit, 0, 1) * 255).astype(np.uint8)
            tile = np.repeat(grey[..., None], 3, axis=2)
        width = round(height * tile.shape[1] / tile.shape[0])
        columns.append(np.asarray(Picture.fromarray(tile).resize((width, height))))
    return np.concatenate(columns, axis=1)


def save(path: Path, rows: Sequence[Array]) -> None:
    """Rows under one another, black at the right of shorter ones."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Picture.fromarray(np.concatenate(padded)).save(path, optimize=True)


def parallel(brain: Image, out: Path) -> None:
    """Skipped lines: folded, filled by GRAPPA, and the price in noise."""
    rows = []
    for acceleration in (2, 3, 4):
        scanned = simulate(brain, acceleration=acceleration, calibration=32, snr=60.0, seed=1)
        filled = adaptive(grappa(scanned))
        noise = gfactor(scanned).data[0]
        top = float(np.quantile(filled.data, 0.997))
        rows.append(
            np.concatenate(
                [
                    panel([rss(scanned).data[0], filled.data[0]], top=top, height=192),
                    panel([np.where(brain.data[0] > 0, noise, 0)], top=5.0, height=192),
                ],
                axis=1,
            )
        )
    save(out / "mri-grappa.png", rows)


def partial(brain: Image, out: Path) -> None:
    """Five eighths of k-space: zeros, homodyne, POCS; below, what is wrong times five."""
    y, x = np.mgrid[-1:1:192j, -1:1:160j]
    turned = replace(brain, data=brain.data * np.exp(1j * (1.5 * x + y**2)))
    truth = rss(simulate(turned, snr=None)).data[0]
    scanned = simulate(turned, snr=200.0, partial=0.625, calibration=0)
    found = [rss(scanned).data[0], homodyne(scanned).data[0], rss(pocs(scanned)).data[0]]
    top = float(np.quantile(truth, 0.997))
    wrong = [5 * np.abs(f - truth) for f in found]
    save(
        out / "mri-partial.png",
        [panel(found, top=top, height=224), panel(wrong, top=top, height=224)],
    )


def maps(out: Path) -> None:
    """Relaxation times of a brain from eight noisy images each, and a tensor field in colour."""
    labels = brain_labels(GRID)
    times = np.array([TISSUES.get(n, TISSUES[5]) for n in range(int(labels.max()) + 1)])
    true_t1, true_t2 = np.moveaxis(times[labels], -1, 0)
    density = brain_mr("PD", GRID, noise=0.0, bias=0.0).data
    inversions = [50.0, 150.0, 400.0, 800.0, 1500.0, 2500.0, 4000.0, 7000.0]
    recovered = np.stack([density * (1 - 2 * np.exp(-t / true_t1)) for t in inversions])
    echoes = [10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 250.0]
    decayed = np.stack([density * np.exp(-e / true_t2) for e in echoes])
    recovery = Image(recovered, GRID, "MR", axes=(Axis("inversion", tuple(inversions), "ms"),))
    decay = Image(decayed, GRID, "MR", axes=(Axis("echo", tuple(echoes), "ms"),))
    found_t1 = t1(adaptive(simulate(recovery, snr=40.0)), threshold=0.1)
    found_t2 = t2(adaptive(simulate(decay, snr=40.0)), threshold=0.1)
    save(
        out / "mri-maps.png",
        [
            np.concatenate(
                [
                    panel([found_t1.data[0]], top=2000.0),
                    panel([found_t2.data[0]], top=200.0),
                    panel([colours()]),
                ],
                axis=1,
            )
        ],
    )


def colours() -> Array:
    """Fibres around a ring, seen by their diffusion: (ny, nx, 3)."""
    n = 96
    y, x = np.mgrid[-1 : 1 : 1j * n, -1 : 1 : 1j * n]
    angle = np.arctan2(y, x)
    along = np.stack([-np.sin(angle), np.cos(angle), np.zeros_like(x)], axis=-1)
    ring = (np.abs(np.hypot(x, y) - 0.6) < 0.2).astype(float)
    i = np.arange(24) + 0.5
    r, turn = np.sqrt(1 - (i / 24) ** 2), np.pi * (1 + 5**0.5) * i
    gradients = np.stack([r * np.cos(turn), r * np.sin(turn), i / 24], axis=1)
    gradients = np.concatenate([np.zeros((1, 3)), gradients])
    b = np.array([0.0] + [1000.0] * 24)
    diffusion = 0.6e-3 + 1.1e-3 * ring * np.einsum("ni,yxi->nyx", gradients, along) ** 2
    body = np.hypot(x, y) < 0.95
    signal = body * np.exp(-b[:, None, None] * diffusion)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(2, *signal.shape))
    measured = np.hypot(signal + noise[0], noise[1])[:, None]
    grid = Grid.from_spacing((1, n, n), (2, 2, 2))
    image = Image(measured, grid, "MR", axes=(Axis("b", tuple(b), "s/mm2"),))
    found = dti(image, directions=tuple(gradients.ravel()), result="colour", threshold=0.3)
    return np.moveaxis(found.data[:, 0], 0, -1)


def real(folder: Path, out: Path) -> None:
    """A gradient echo and an echo-planar scan of a phantom, and a measured field map."""
    (gre,) = twix.read(next(folder.rglob("gre.dat")))
    (raw,) = twix.read(next(folder.rglob("epi.dat")))
    corrected = epi(raw)
    images = [adaptive(gre).data[0], rss(raw).data[0], rss(corrected).data[0]]
    ghosts = [np.minimum(i * 4, np.quantile(i, 0.997)) for i in images]
    save(out / "mri-twix.png", [panel(images, height=240), panel(ghosts, height=240)])
    from scipy.io import loadmat

    measured = loadmat(next(folder.rglob("phfit.mat")))["m1"].astype(np.complex64)[None]
    both = np.stack([np.abs(measured), measured])
    grid = Grid.from_spacing((1, 64, 64), (5, 3.4, 3.4))
    image = Image(both.astype(np.complex64), grid, "MR", axes=(Axis("echo", (0, 2.0), "ms"),))
    wrapped, field = b0(image, unwrap=False), b0(image)
    shown = [np.abs(measured[0])]
    shown += [np.where(f.data[0] != 0, f.data[0] + 120, 0) for f in (wrapped, field)]
    magnitude, fields = panel(shown[:1], height=240), panel(shown[1:], top=360.0, height=240)
    save(out / "mri-field.png", [np.concatenate([magnitude, fields], axis=1)])


def main(out: Path, folder: Path | None = None) -> None:
    """All pictures into ``out``, and a DICOM series beside them."""
    out.mkdir(parents=True, exist_ok=True)
    brain = brain_mr("T1", GRID, noise=0.0, bias=0.0)
    parallel(brain, out)
    partial(brain, out)
    maps(out)
    if folder is not None:
        real(folder, out)
    else:
        write(adaptive(grappa(simulate(brain, acceleration=2))), out / "dicom")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
