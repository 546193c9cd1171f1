"""From counts to numbers that mean something: the pictures of docs/tutorials/pet-quantification.md.

::

    python examples/pet_quantification.py docs/images [SIZE]

SIZE is the number of pixels per side, 56 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.likelihood import osem as ordered_subsets
from somascope.acquire.pet import decay, kinetics
from somascope.acquire.pet.attenuation import attenuation
from somascope.acquire.pet.compartments import Rates, feng_input, frame_means, two_tissue
from somascope.acquire.pet.dynamic import simulate_dynamic, stacked
from somascope.acquire.pet.osem import osem
from somascope.acquire.pet.randoms import randoms
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.scatter import scatter
from somascope.acquire.pet.simulate import measure, simulate, survival
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.suv import suv
from somascope.acquire.pet.system import prepare
from somascope.core import Acquisition, Axis, Grid, Image, Mask, Segment
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.nema import DIAMETERS, nema_shapes
from somascope.phantoms.quality import Quality, image_quality
from somascope.process.chart import Curve, chart

AGENT = {
    "Radiopharmaceutical": "Fludeoxyglucose",
    "RadionuclideTotalDose": 3.5e8,
    "RadionuclideHalfLife": 6586.2,
    "RadiopharmaceuticalStartDateTime": "20260102110000.00",
    "RadionuclideCodeSequence": [
        {"CodeValue": "77004003", "CodingSchemeDesignator": "SCT", "CodeMeaning": "^18^Fluorine"}
    ],
}
PATIENT = {
    "PatientName": "Phantom^Quantity",
    "PatientID": "PHANTOM-QUANTITY",
    "PatientSex": "M",
    "PatientWeight": 75.0,
    "PatientSize": 1.78,
    "StudyDate": "20260102",
    "StudyTime": "115500",
    "SeriesDate": "20260102",
    "SeriesTime": "120000",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "120000",
    "DecayCorrection": "START",
    "RadiopharmaceuticalInformationSequence": [AGENT],
}
CELLS = ((0.10, 0.13, 0.06), (0.06, 0.11, 0.02), (0.08, 0.12, 0.005))
"""K1, k2, k3 of grey matter, white matter and a lesion that takes up little."""


def grey(values: Array, high: float, *, side: int = 256) -> Array:
    """White for nothing, black for ``high``, ``side`` pixels wide."""
    tile = (255 - np.clip(values / high, 0, 1) * 255).astype(np.uint8)
    return np.asarray(Picture.fromarray(tile).resize((side, side), Picture.Resampling.BICUBIC))


def save(path: Path, rows: Sequence[Sequence[Array]]) -> None:
    """Panels side by side, rows under one another."""
    lines = [np.concatenate([np.pad(p, 2) for p in row], axis=1) for row in rows]
    Picture.fromarray(np.concatenate(lines)).save(path, optimize=True)


def plot(path: Path, curves: Sequence[Curve], across: str, up: str) -> None:
    """Curves in one frame, from zero upwards."""
    Picture.fromarray(chart(curves, across=across, up=up)).save(path, optimize=True)


def body(size: int) -> tuple[Image, Image]:
    """Hot spheres in a warm body with a cold insert like lung (Bq/ml), and its CT."""
    pixel = 336.0 / size
    half = (336.0 - pixel) / 2
    slices = 24
    grid = Grid.from_spacing(
        (slices, size, size), (7.0, pixel, pixel), origin=(-half, -half, -80.5)
    )
    activity = draw(nema_shapes(background=5000.0), grid).astype(np.float32)
    tissue = draw(
        [Ellipsoid(1.0, (0, 0, 0), (150, 115, 420)), Ellipsoid(0.27, (0, 0, 0), (25, 25, 900))],
        grid,
    )
    ct = Image((tissue * 1000 - 1000).astype(np.float32), grid, "CT", "[hnsf'U]",
               attributes={"KVP": 120.0})  # fmt: skip
    return Image(activity, grid, "PT", "Bq/ml", attributes=PATIENT), ct


def corrections(folder: Path, size: int, *, scanner: str) -> dict[str, Image]:
    """Scan the body and correct it step by step; SUV and the profile of scatter."""
    activity, ct = body(size)
    raw = simulate(activity, ct, scanner=scanner, duration=240.0, randoms=0.3, scatter="photons",
                   uneven=0.1, known=False, seed=1)  # fmt: skip
    bare = {k: v for k, v in raw.calibration.items() if k != "attenuation"}
    steps: list[Acquisition] = [replace(raw, calibration=bare)]
    steps.append(attenuation(steps[0], ct))
    steps.append(randoms(steps[1]))
    steps.append(scatter(steps[2], ct))
    names = ("nothing", "attenuation", "randoms", "scatter")
    found = {
        name: suv(osem(step, iterations=3, subsets=8, post_filter=6.0), uncorrected=True)
        for name, step in zip(names, steps, strict=True)
    }
    found["truth"] = suv(activity)
    middle = activity.grid.shape[0] // 2
    high = 1.2 * float(found["truth"].data.max())
    save(
        folder / "pet-suv.png",
        [[grey(found[n].data[middle], high) for n in (*names, "truth")]],
    )
    write(found["scatter"], folder / "pet-suv-series")

    last = steps[-1]
    counts = last.samples.sum(axis=(0, 1), dtype=np.float64)
    chance = np.broadcast_to(last.calibration["randoms"], last.samples.shape).sum(axis=(0, 1))
    spread = last.calibration["scatter"].sum(axis=(0, 1))
    radius = np.arange(len(counts), dtype=np.float64)
    plot(
        folder / "pet-scatter.png",
        [
            Curve(radius, counts, "counts", line=False, dots=True, ink=4),
            Curve(radius, chance, "randoms"),
            Curve(radius, chance + spread, "randoms and scatter", ink=1),
        ],
        "radial bin", "counts",
    )  # fmt: skip
    return found


def head(size: int, when: decay.Frames) -> tuple[Image, dict[str, Array], Array]:
    """A dynamic head in Bq/ml, where its tissues and blood are, and the plasma at even times."""
    pixel = 192.0 / size
    half = (192.0 - pixel) / 2
    grid = Grid.from_spacing((5, size, size), (8.0, pixel, pixel), origin=(-half, -half, -16.0))
    shapes = [
        Ellipsoid(1, (0, 0, 0), (62, 76, 90)), Ellipsoid(2, (0, 0, 0), (46, 58, 90)),
        Ellipsoid(1, (20, 8, 0), (11, 18, 90)), Ellipsoid(1, (-20, 8, 0), (11, 18, 90)),
        Ellipsoid(3, (44, -30, 0), (11, 11, 90)), Ellipsoid(4, (0, -70, 0), (9, 9, 90)),
    ]  # fmt: skip
    labels = draw(shapes, grid)
    minutes = np.arange(0, float(when.end[-1]) / 60 + 0.1, 0.05)
    plasma = feng_input(minutes, scale=600.0)
    curves = [two_tissue(minutes, plasma, Rates(*c)) for c in CELLS] + [plasma]
    means = [frame_means(minutes, c, when) for c in curves]
    data = np.zeros((len(when.start), *grid.shape), np.float32)
    for number, mean in enumerate(means, start=1):
        data += mean[:, None, None, None] * (labels == number)
    image = Image(
        data, grid, "PT", "Bq/ml", axes=(Axis("t", when.reference(6586.2), "s"),),
        attributes={**PATIENT, "ActualFrameDuration": [1e3 * d for d in when.duration.tolist()]},
    )  # fmt: skip
    places = {name: labels == k for k, name in enumerate(("grey", "white", "lesion", "blood"), 1)}
    return image, places, np.stack([minutes * 60, plasma])


def uptake(folder: Path, size: int, *, scanner: str) -> dict[str, Image]:
    """Scan the dynamic head frame by frame; influx by Patlak's plot."""
    duration = np.array([20.0] * 6 + [60.0] * 4 + [240.0] * 6 + [600.0] * 3)
    when = decay.Frames(np.concatenate([[0.0], np.cumsum(duration)[:-1]]), duration)
    truth, places, curve = head(size, when)
    scans = simulate_dynamic(truth, scanner=scanner, span=3, seed=1)
    series = stacked([osem(s, iterations=4, subsets=8, post_filter=4.0) for s in scans])
    blood = places["blood"].astype(np.uint8)
    mask = Mask(data=blood, grid=series.grid, segments=(Segment(1, "blood"),))
    ki, v0, quality = kinetics.patlak(
        series, mask, start=20.0, input_times=tuple(curve[0]), input_values=tuple(curve[1])
    )
    static = series.data[-3:].mean(axis=0)
    middle = series.grid.shape[0] // 2
    named = zip(("grey", "white", "lesion"), CELLS, strict=True)
    influx = sum(Rates(*c).ki * places[name] for name, c in named)
    save(
        folder / "pet-patlak.png",
        [[
            grey(static[middle], float(np.quantile(static, 0.99))),
            grey(np.where(quality.data > 0, ki.data, 0)[middle], 0.04),
            grey(np.asarray(influx)[middle], 0.04),
        ]],
    )  # fmt: skip
    minutes = when.middle / 60
    lines = [
        Curve(minutes, series.data[:, places[name]].mean(axis=1), said, dots=True, ink=ink)
        for name, said, ink in (
            ("grey", "grey matter", 4), ("white", "white matter", 0), ("lesion", "lesion", 1)
        )
    ]  # fmt: skip
    plot(folder / "pet-curves.png", lines, "minutes after the injection", "Bq/ml")
    write(series, folder / "pet-dynamic")
    write(ki, folder / "pet-influx")
    return {"dynamic": series, "ki": ki, "v0": v0, "r2": quality, "head": truth}


COLD = (28.0, 37.0)
BLUR = 6.0


def recovery(
    folder: Path, *, crystals: int = 320, pixel: float = 4.0, rings: int = 12, iterations: int = 8
) -> dict[str, list[Quality]]:
    """Contrast of the spheres and variability of the background, iteration by iteration."""
    scanner = Scanner(
        name="Short body", rings=rings, crystals=crystals, radius=300.0, ring_spacing=5.0,
        depth=8.0, radial_bins=crystals // 2 + 1,
    )  # fmt: skip
    n = 2 * int(160 / pixel)
    half = (n - 1) / 2 * pixel
    grid = Grid.from_spacing(
        (rings, n, n), (5.0, pixel, pixel), origin=(-half, -half, -(rings - 1) * 2.5)
    )
    activity = draw(nema_shapes(background=5000.0, cold=COLD), grid).astype(np.float32)
    water = draw([Ellipsoid(0.096, (0, 0, 0), (150, 115, 420))], grid)
    scan = SinogramScan(grid=grid, scanner=scanner, span=3)
    facts = {"ActualFrameDuration": 120000.0}
    known = {
        "sensitivity": np.array(scanner.sensitivity),
        "attenuation": survival(scan, Image(water, grid, "CT", "/cm")),
    }
    counts, known = measure(
        scan.with_changes(psf=BLUR), activity, calibration=known, attributes=facts, randoms=0.2,
        seed=3,
    )  # fmt: skip
    raw = Acquisition(counts, scan, "PT", unit="{counts}", calibration=known, attributes=facts)
    found: dict[str, list[Quality]] = {}
    for name, psf in (("plain", 0.0), ("resolution", BLUR)):
        system = prepare(raw, operation_name="quality", subsets=10, psf=psf)
        line: list[Quality] = []

        def look(_: int, x: Array, line: list[Quality] = line) -> bool:
            image = Image(x.copy(), grid, "PT", "Bq/ml")
            line.append(
                image_quality(image, cold=COLD, background=5000.0, slices=(-10.0, 0.0, 10.0))
            )
            return False

        ordered_subsets(
            system.operators, system.counts, iterations=iterations, background=system.backgrounds,
            callback=look,
        )  # fmt: skip
        found[name] = line
    inks = {"plain": ("without resolution", 0), "resolution": ("with resolution", 1)}
    hot = np.array([d not in COLD for d in DIAMETERS])
    curves = []
    for name, line in found.items():
        said, ink = inks[name]
        for part, key in ((hot, said), (~hot, "")):
            x, y = line[-1].diameters[part], line[-1].contrast[part]
            curves.append(Curve(x, y, key, dots=True, ink=ink))
    plot(folder / "pet-recovery.png", curves, "sphere diameter (mm)", "contrast recovery (%)")
    curves = []
    for name, line in found.items():
        said, ink = inks[name]
        x, y = (
            np.array([getattr(q, what)[3] for q in line]) for what in ("variability", "contrast")
        )
        curves.append(Curve(x, y, said, dots=True, ink=ink))
    plot(folder / "pet-noise.png", curves, "background variability (%)", "contrast recovery (%)")
    return found


def main(
    folder: Path, *, size: int = 56, scanner: str = "body", head_scanner: str = "brain",
    head_size: int = 64, crystals: int = 320, iterations: int = 8,
) -> dict[str, Image]:  # fmt: skip
    """Write the pictures and series into ``folder``; the images by name."""
    folder.mkdir(parents=True, exist_ok=True)
    recovery(folder, crystals=crystals, pixel=4.0 * 320 / crystals, iterations=iterations)
    return {
        **corrections(folder, size, scanner=scanner),
        **uptake(folder, head_size, scanner=head_scanner),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), size=int(sys.argv[2]) if len(sys.argv) > 2 else 56)
