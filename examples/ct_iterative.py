"""Iterative CT and corrections of its samples: the pictures of docs/tutorials/ct-iterative.md.

::

    python examples/ct_iterative.py docs/images [FOLDER]

FOLDER may hold real data: ``RealDataDend.mat`` of ToMoBAR (a synchrotron sinogram), and
``phan,trans.mat`` with ``phan,blank.mat`` of the image reconstruction toolbox (a PET transmission
scan). Without it only the simulated pictures are made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.ct.centre import centre
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.hardening import beam_hardening
from somascope.acquire.ct.metal import metal
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.rings import remove_rings
from somascope.acquire.ct.sart import asd_pocs, os_sart
from somascope.acquire.ct.scatter import scatter, scattered
from somascope.acquire.ct.simulate import simulate
from somascope.acquire.ct.sirt import cgls, sirt
from somascope.acquire.ct.statistical import pwls, tv
from somascope.acquire.ct.truncation import extend
from somascope.core import Acquisition, Grid, Image
from somascope.core.grid import Array
from somascope.phantoms import Ellipsoid, draw, shepp_logan, thorax_ct


def grey(image: Image, low: float, high: float) -> Array:
    """The first slice, grey from ``low`` to ``high``, 224 pixels wide."""
    values = np.clip((image.data[0] - low) / (high - low), 0, 1)
    tile = Picture.fromarray((values * 255).astype(np.uint8))
    height = round(224 * values.shape[0] / values.shape[1])
    return np.asarray(tile.resize((224, height), Picture.Resampling.LANCZOS))


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another, a black line between."""
    lines = [np.concatenate([np.pad(p, ((0, 3), (0, 3))) for p in row], axis=1) for row in rows]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, width - line.shape[1]))) for line in lines]
    Picture.fromarray(np.concatenate(padded)).save(path, optimize=True)


def rms(image: Image, truth: Image) -> float:
    """Root mean square difference of two images of one grid."""
    return float(np.sqrt(np.mean((image.data - truth.data) ** 2)))


def head(size: int) -> Image:
    """The head of Shepp and Logan in HU: its brain is 0 to 30 of a thousand."""
    image = shepp_logan((size, size))
    return Image(image.data * 1000 - 1000, image.grid, "CT", "[hnsf'U]", (), image.provenance)


def disc(size: int, *more: Ellipsoid) -> Image:
    """A disc of water of 140 mm with things in it, on a field of 192 mm."""
    pixel = 192 / size
    edge = -(192 - pixel) / 2
    grid = Grid.from_spacing((1, size, size), (1, pixel, pixel), origin=(edge, edge, 0))
    shapes = [Ellipsoid(0, (0, 0, 0), (70, 70, 50)), *more]
    return Image(draw(shapes, grid, background=-1000), grid, "CT", "[hnsf'U]")


def few_views(folder: Path, *, size: int) -> dict[str, float]:
    """30 views of a head: filtered back projection against what needs no more."""
    truth = head(size)
    scan = simulate(truth, views=30)
    made = {
        "fbp": fbp(scan),
        "cgls": cgls(scan, iterations=15),
        "sirt": sirt(scan, iterations=100),
        "os_sart": os_sart(scan, iterations=6, subsets=6),
        "asd_pocs": asd_pocs(scan, iterations=15, subsets=6),
        "tv": tv(scan, strength=0.3, iterations=200),
    }
    panels = [grey(i, -900, -500) for i in made.values()]
    save(folder / "ct-few-views.png", [panels[:3], panels[3:]])
    return {name: rms(image, truth) for name, image in made.items()}


def low_dose(folder: Path, *, size: int) -> dict[str, float]:
    """A thorax with few photons: rays through the shoulders are nearly starved."""
    pixel = 384 / size
    edge = -(384 - pixel) / 2
    truth = thorax_ct(
        Grid.from_spacing((1, size, size), (2.5, pixel, pixel), origin=(edge, edge, 0)),
        noise_hu=0.0,
    )
    scan = simulate(truth, views=size, photons=3e3, electronic=3.0, seed=4)
    made = {
        "fbp": fbp(scan, kernel="hann"),
        "mltr": pwls(scan, model="mltr", iterations=80),
        "pwls": pwls(scan, strength=0.6, iterations=40),
    }
    save(folder / "ct-low-dose.png", [[grey(i, -260, 340) for i in made.values()]])
    return {name: rms(image, truth) for name, image in made.items()}


def before_and_after(size: int) -> dict[str, tuple[Image, Image, Image]]:
    """Truth, spoilt, mended; by artefact."""
    views = 2 * size
    rng = np.random.default_rng(0)
    found: dict[str, tuple[Image, Image, Image]] = {}

    soft = disc(size, Ellipsoid(60, (20, 10, 0), (15, 10, 50)),
                Ellipsoid(-80, (-25, -15, 0), (8, 20, 50)))  # fmt: skip
    clean = simulate(soft, views=views)
    bins = clean.samples.shape[1]
    gain = np.where(rng.random(bins) < 0.12, rng.normal(0, 0.06, bins), 0)
    striped = clean.with_samples((clean.samples + gain).astype(np.float32))
    mended = remove_rings(striped, method="mean")
    found["rings"] = (soft, fbp(striped, kernel="hann"), fbp(mended, kernel="hann"))

    bones = disc(size, *(Ellipsoid(1000, (x, 0, 0), (12, 12, 50)) for x in (-40, 40)))
    hard = simulate(bones, views=views, kvp=100)
    # The water value of a thin layer is the best one number can do.
    mended = beam_hardening(hard, model="water and bone")
    found["hardening"] = (bones, fbp(hard, kernel="hann"), fbp(mended, kernel="hann"))

    inside = (Ellipsoid(800, (0, 45, 0), (14, 10, 50)), Ellipsoid(60, (0, 0, 0), (18, 18, 50)))
    screws = [Ellipsoid(20000, (x, -15, 0), (5, 5, 50)) for x in (-35, 35)]
    scan = simulate(disc(size, *inside, *screws), views=views, kvp=120, photons=2e5, seed=3)
    scan = beam_hardening(scan)
    found["metal"] = (
        disc(size, *inside), fbp(scan, kernel="hann"), fbp(metal(scan), kernel="hann"),
    )  # fmt: skip

    cloud = scattered(np.exp(-clean.samples), amplitude=0.2, sigma=(40 / clean.operator.spacing,))
    hazy = clean.with_samples(-np.log(np.exp(-clean.samples) + cloud))
    mended = scatter(hazy, amplitude=0.2, width=40.0)
    found["scatter"] = (soft, fbp(hazy, kernel="hann"), fbp(mended, kernel="hann"))

    short = simulate(soft, views=views, bins=round(88 * size / 192))
    seen = fbp(short, kernel="hann")
    found["truncation"] = (soft, seen, fbp(extend(short), kernel="hann"))

    tilted = simulate(soft, views=views, offset=3.0)
    lost = Acquisition(tilted.samples, tilted.operator.with_changes(offset=0.0), "CT", "1",
                       tilted.calibration)  # fmt: skip
    found["centre"] = (soft, fbp(lost, kernel="hann"), fbp(centre(lost), kernel="hann"))
    return found


def corrections(folder: Path, *, size: int) -> dict[str, tuple[float, float]]:
    """One row per artefact: the truth, the image with it, the corrected image."""
    found = before_and_after(size)
    rows = [[grey(image, -200, 200) for image in trio] for trio in found.values()]
    side = [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)]
    save(folder / "ct-corrections.png", side)
    n = size
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    middle = np.hypot(y, x) < 0.12 * n
    gaps: dict[str, tuple[float, float]] = {}
    for name, (truth, spoilt, mended) in found.items():
        pair = [(i.data - truth.data)[0][middle] for i in (spoilt, mended)]
        gaps[name] = (float(np.sqrt(np.mean(pair[0] ** 2))), float(np.sqrt(np.mean(pair[1] ** 2))))
    return gaps


def dendrite(path: Path) -> Acquisition:
    """The synchrotron sinogram: 360 views of 1260 bins, thousandths of a line integral."""
    from scipy.io import loadmat

    file = loadmat(path)
    lines = file["sinoRD"].T.astype(np.float32) / 1000
    # The open beam beside the specimen is not 0 in the file: take it from the outer bins.
    edge = np.concatenate([lines[:, :40], lines[:, -40:]], axis=1)
    lines -= np.median(edge, axis=1, keepdims=True)
    angles = file["anglesRad"].ravel()
    bins = lines.shape[1]
    corner = -(bins - 1) / 2
    grid = Grid.from_spacing((1, bins, bins), (1, 1, 1), origin=(corner, corner, 0))
    scan = ParallelScan(grid=grid, angles=angles, bins=bins, spacing=1.0)
    return Acquisition(lines, scan, "CT")


def synchrotron(folder: Path, path: Path, *, size: int = 448) -> dict[str, Image]:
    """Real data: as it is, with the axis found and stripes removed, and with total variation."""
    raw = dendrite(path)
    mended = remove_rings(centre(raw), method="mean", width=151)
    made = {
        "raw": fbp(raw, kernel="hann", unit="1/mm", size=size),
        "mended": fbp(mended, kernel="hann", unit="1/mm", size=size),
        "tv": tv(mended, strength=20.0, mu_water=0.002, iterations=60, unit="1/mm", size=size),
    }
    top = float(np.quantile(made["mended"].data, 0.995))
    save(folder / "ct-synchrotron.png", [[grey(i, 0, top) for i in made.values()]])
    return made


def transmission(folder: Path, data: Path) -> dict[str, Image]:
    """Real data: a thorax phantom before a PET rod source, 511 keV, a few counts per ray."""
    from scipy.io import loadmat

    counts = loadmat(data / "phan,trans.mat")["test"].T.astype(np.float32)
    blank = loadmat(data / "phan,blank.mat")["test"].T.astype(np.float32)
    views, bins = counts.shape
    edge = -127 / 2 * 4.21875
    grid = Grid.from_spacing((1, 128, 128), (1, 4.21875, 4.21875), origin=(edge, edge, 0))
    angles = np.deg2rad(-15) + np.arange(views) * np.pi / views
    scan = ParallelScan(grid=grid, angles=angles, bins=bins, spacing=3.375)
    lines = np.log(blank / np.maximum(counts, 0.5))
    given = Acquisition(lines, scan, "CT", "1",
                        {"weights": counts, "mu_water": np.array(0.0096)})  # fmt: skip
    runs: dict[str, Callable[[], Image]] = {
        "fbp": lambda: fbp(given, kernel="hann", cutoff=0.6),
        "mltr": lambda: pwls(given, model="mltr", iterations=25),
        "pwls": lambda: pwls(given, strength=8.0, iterations=60),
    }
    made = {name: run() for name, run in runs.items()}
    save(folder / "ct-transmission.png", [[grey(i, -1000, 400) for i in made.values()]])
    return made


def main(folder: Path, *, data: Path | None = None, size: int = 128) -> dict[str, object]:
    """Write the pictures into ``folder``; the errors in HU, and what real data gave."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {
        "few views": few_views(folder, size=size),
        "low dose": low_dose(folder, size=size),
        "corrections": corrections(folder, size=size),
    }
    if data is not None:
        specimen = next(data.rglob("RealDataDend.mat"), None)
        if specimen is not None:
            found["synchrotron"] = synchrotron(folder, specimen)
        sinogram = next(data.rglob("phan,trans.mat"), None)
        if sinogram is not None:
            found["transmission"] = transmission(folder, sinogram.parent)
    return found


if __name__ == "__main__":
    real = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    for title, value in main(Path(sys.argv[1]), data=real).items():
        print(title, value)
