"""Lesions, uptake, a vessel and a table of features: the pictures of docs/tutorials/measurement.md.

::

    python examples/measure_lesions.py docs/images [IMAGE MASK]

Our phantoms are measured. With an image and a mask of yours (NIfTI, DICOM, NRRD) their segments are
measured as well, and ``measured.csv`` holds them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from somascope.analyze.measure.lesions import measure_lesions
from somascope.analyze.measure.outline import in_plane_axes
from somascope.analyze.measure.regions import regions
from somascope.analyze.measure.thickness import thickness
from somascope.analyze.measure.tube import Tube, follow, narrowing
from somascope.analyze.measure.uptake import suv
from somascope.analyze.radiomics.operation import radiomics
from somascope.core import Grid, Image, Mask, Measurement, Segment
from somascope.core.grid import Array, Float
from somascope.io import read_all, write
from somascope.phantoms import thorax_ct, thorax_grid, thorax_mask, thorax_pet
from somascope.process.chart import Curve, chart
from somascope.process.palettes import palette
from somascope.process.resample import resample_like

NODULE, LIVER, LESION = 8, 5, 9
"""Segments of the thorax."""


def thorax(voxel: float) -> tuple[Image, Mask, Image]:
    """CT, its mask and PET (in SUV, on the CT's grid) of the phantom, ``voxel`` mm in plane."""
    shape = (round(200 / 2.5), round(330 / voxel), round(384 / voxel))
    grid = thorax_grid(shape, (2.5, voxel, voxel))
    ct, mask = thorax_ct(grid), thorax_mask(grid)
    chosen = tuple(s for s in mask.segments if s.number in (NODULE, LIVER, LESION))
    mask = replace(mask, segments=chosen)
    pet = thorax_pet()
    scale = 70.0 * 1000 / 3.5e8  # 70 kg, 350 MBq
    suvs = Image(pet.data * np.float32(scale), pet.grid, "PT", "g/ml")
    return ct, mask, resample_like(suvs, ct)


def vessel(voxel: float) -> Mask:
    """A bent vessel of 8 mm with a stenosis of half its diameter, on oblique voxels."""
    n = round(64 / voxel)
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    grid = Grid.from_spacing((n, n, n), (voxel, voxel, voxel), direction=turn)
    affine = grid.affine.copy()
    affine[:3, 3] -= grid.to_world((np.array(grid.shape) - 1) / 2)
    grid = Grid(grid.shape, affine)
    place = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    angle = np.arctan2(place[..., 1], place[..., 0])
    away = np.hypot(np.hypot(place[..., 0], place[..., 1]) - 22, place[..., 2])
    radius = 4 - 2 * np.exp(-(((angle - 0.3) / 0.2) ** 2))
    inside = (away < radius) & (np.abs(angle) < 1.9)
    return Mask(data=inside.astype(np.uint8), grid=grid, segments=(Segment(1, "Vessel"),))


def panel(image: Image, mask: Mask, number: int, *, low: float, high: float) -> Array:
    """The slice of a lesion's long axis, enlarged: its outline, and both axes in it."""
    (region,) = regions(mask, segment=number)
    axes = in_plane_axes(region.inside, region.grid)
    z = region.start[0] + axes.slice
    middle = image.grid.to_index(axes.long_ends.mean(axis=0))[1:]
    half = round(0.9 * axes.long / image.grid.spacing[1])
    top = [int(np.clip(round(m) - half, 0, n - 2 * half)) for m, n in
           zip(middle, image.grid.shape[1:], strict=True)]  # fmt: skip
    window = (z, slice(top[0], top[0] + 2 * half), slice(top[1], top[1] + 2 * half))
    grey = np.clip((image.data[window].astype(float) - low) / (high - low), 0, 1) * 255
    enlarged = Picture.fromarray(grey.astype(np.uint8)).resize(
        (320, 320), Picture.Resampling.BICUBIC
    )
    picture = enlarged.convert("RGB")
    pen, scale = ImageDraw.Draw(picture), 320 / (2 * half)
    inside = (mask.data[window] == number).astype(int)
    for axis in (0, 1):  # the sides of pixels that only one neighbour has
        for y, x in np.argwhere(np.diff(inside, axis=axis) != 0):
            a = (x + 1, y) if axis else (x, y + 1)
            b = (x + 1, y + 1)
            pen.line([v * scale for v in (*a, *b)], fill=(255, 190, 60), width=2)
    for ends, ink in ((axes.long_ends, (90, 220, 255)), (axes.short_ends, (255, 120, 120))):
        index = image.grid.to_index(ends)[:, 1:] - top + 0.5
        pen.line([float(v) * scale for y, x in index for v in (x, y)], fill=ink, width=3)
    font = ImageFont.load_default(16)
    pen.text((8, 6), f"{axes.long:.1f} x {axes.short:.1f} mm", fill=(255, 255, 255), font=font)
    return np.asarray(picture)


def straightened(tube: Tube) -> Array:
    """The diameters along the vessel beside the straight course of its healthy part."""
    tight = narrowing(tube)
    inner = tube.inner
    return chart(
        [
            Curve(tube.position[inner], tube.diameter[inner], "diameter"),
            Curve(np.array([tight.position]), np.array([tight.reference]), "reference",
                  line=False, dots=True, ink=1),
        ],
        across="length (mm)", up=f"diameter (mm), stenosis {tight.by_diameter:.0f} %",
    )  # fmt: skip


def table(findings: list[Measurement], path: Path, *, columns: list[str], rows: list[str]) -> None:
    """A picture of some features, one column per segment."""
    values = {(m.tracking.name, m.concept.meaning): m for m in findings if m.tracking}
    font = ImageFont.load_default(14)
    picture = Picture.new("RGB", (640, 26 * (len(rows) + 1) + 12), "white")
    pen = ImageDraw.Draw(picture)
    for k, name in enumerate(columns):
        pen.text((330 + 160 * k, 10), name, fill=(11, 110, 153), font=font)
    for r, row in enumerate(rows, start=1):
        y = 10 + 26 * r
        pen.line((8, y - 4, 632, y - 4), fill=(226, 230, 234))
        pen.text((12, y), row, fill="black", font=font)
        for k, name in enumerate(columns):
            one = values[name, row]
            unit = {"[hnsf'U]": "HU", "1": ""}.get(one.unit, one.unit)
            pen.text((330 + 160 * k, y), f"{one.value:.4g} {unit}", fill="black", font=font)
    picture.save(path, optimize=True)


def wall(folder: Path, voxel: float) -> list[Measurement]:
    """The wall of a heart's chamber, thin at one side: its thickness in colour."""
    n = round(96 / voxel)
    grid = Grid.from_spacing((round(40 / voxel), n, n), (voxel, voxel, voxel))
    z, y, x = np.indices(grid.shape) * voxel
    outer = np.hypot(y - 48, x - 48) < 36
    inner = np.hypot(y - 48, x - 51) < 25
    mask = Mask(data=(outer & ~inner).astype(np.uint8), grid=grid, segments=(Segment(1, "Wall"),))
    made = thickness(mask)
    image = cast("Image", made[0])
    plane = image.data[len(z) // 2]
    colours = palette("viridis").table()
    shown = colours[np.clip((plane - 6) / 10 * 255, 0, 255).astype(int)] * (plane > 0)[..., None]
    enlarged = Picture.fromarray(shown.astype(np.uint8)).resize(
        (320, 320), Picture.Resampling.NEAREST
    )
    enlarged.save(folder / "measure-thickness.png", optimize=True)
    return cast("list[Measurement]", made[1:])


def main(
    folder: Path, given: tuple[Path, Path] | None = None, *, voxel: float = 1.0
) -> dict[str, list[Measurement] | Float]:
    """Write pictures, table and report into ``folder``; what was measured, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    ct, mask, pet = thorax(voxel)
    lesions = replace(mask, segments=tuple(s for s in mask.segments if s.number != LIVER))
    found: dict[str, list[Measurement] | Float] = {"lesions": measure_lesions(lesions, ct)}
    panels = [
        panel(ct, mask, NODULE, low=-1000, high=400), panel(ct, mask, LESION, low=-60, high=160)
    ]  # fmt: skip
    Picture.fromarray(np.concatenate(panels, axis=1)).save(
        folder / "measure-axes.png", optimize=True
    )
    found["uptake"] = suv(pet, mask, liver=LIVER)
    found["wall"] = wall(folder, voxel)
    tube_mask = vessel(0.8 * voxel)
    tube = follow(tube_mask.data > 0, tube_mask.grid)
    found["diameters"] = tube.diameter[tube.inner]
    Picture.fromarray(straightened(tube)).save(folder / "measure-vessel.png", optimize=True)
    features = radiomics(ct, lesions)
    found["features"] = features
    table(
        features, folder / "measure-features.png", columns=["Lung nodule", "Liver lesion"],
        rows=["shape MeshVolume", "shape Sphericity", "shape Maximum3DDiameter",
              "firstorder Mean", "firstorder Entropy", "glcm Correlation", "glcm JointEntropy",
              "glrlm RunEntropy", "glszm ZonePercentage", "ngtdm Coarseness"],
    )  # fmt: skip
    write(features, folder / "measure-features.csv")
    if given is not None:
        (image,), (drawn,) = read_all(given[0]).images, _masks(given[1])
        found["given"] = measure_lesions(drawn, image, separate=True)
        write(found["given"], folder / "measured.csv")
    return found


def _masks(path: Path) -> list[Mask]:
    """The masks in a file; an image of whole numbers counts as one."""
    report = read_all(path)
    if report.masks:
        return report.masks
    return [
        Mask(
            data=i.data.reshape(i.grid.shape).astype(np.uint8), grid=i.grid,
            segments=tuple(Segment(int(n), f"Label {n}") for n in np.unique(i.data) if n > 0),
        )
        for i in report.images
    ]  # fmt: skip


if __name__ == "__main__":
    files = [Path(p) for p in sys.argv[2:4]]
    main(Path(sys.argv[1]), (files[0], files[1]) if len(files) == 2 else None)
