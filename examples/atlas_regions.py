"""Atlases, tissues and a cohort: the pictures of docs/tutorials/atlas.md.

::

    python examples/atlas_regions.py docs/images [IMAGE]

Labelled phantoms segment another one, become an atlas, and a cohort says how usual a volume is.
With an image of yours (T1, skull taken off) its tissues are parted as well.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from somascope.analyze.atlas import (
    Atlas,
    Case,
    Cohort,
    Standing,
    build,
    case,
    fused,
    propagate,
    save,
    save_cohort,
)
from somascope.analyze.atlas.brain import tissues
from somascope.analyze.atlas.report import region_report
from somascope.analyze.register import apply
from somascope.core import Grid, Image, Mask, Segment, Warp
from somascope.core.grid import Array
from somascope.io import read, write
from somascope.phantoms import brain_grid
from somascope.phantoms.partial import brain_fractions, brain_mixture
from somascope.process.chart import Curve, chart

PARTS = (Segment(1, "Ventricles", colour=(85, 188, 255)),
         Segment(2, "Deep grey matter", colour=(255, 170, 60)))  # fmt: skip


def structures(shares: Array, grid: Grid) -> Array:
    """Fluid and grey matter in the middle of the brain, as labels 1 and 2."""
    l, p, s = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    middle = (l / 40) ** 2 + ((p - 2) / 52) ** 2 + ((s - 2) / 36) ** 2 < 1
    labels = np.zeros(grid.shape, np.uint8)
    labels[middle & (shares[0] > 0.5)] = 1
    labels[middle & (shares[1] > 0.5)] = 2
    return labels


def people(count: int, voxel: float) -> list[Case]:
    """Brains bent differently; the last two of them are damaged: turned, as a bad scan is."""
    grid = brain_grid([round(e / voxel) for e in (168, 208, 166)], (voxel,) * 3)
    shares = brain_fractions(grid)
    labels = structures(shares, grid)
    found: list[Case] = []
    for k in range(count):
        rng = np.random.default_rng(k)
        field = np.stack(
            [gaussian_filter(rng.normal(size=grid.shape), 24 / voxel) for _ in range(3)]
        )
        field *= 9.0 / np.abs(field).max()
        warp = Warp(matrix=np.eye(4), grid=grid, displacement=field.astype(np.float32))
        image = brain_mixture(shares, grid, noise=0.03, bias=0.1, seed=k)
        moved = apply(image, warp, grid)
        drawn = apply(Mask(data=labels, grid=grid, segments=PARTS), warp, grid)
        found.append(case(replace(moved, attributes={}), drawn, name=f"person {k + 1}"))
    return found


def grey(plane: Array) -> Array:
    """A slice as ``(y, x, 3)`` uint8."""
    high = float(np.percentile(plane, 99.7)) or 1.0
    values = np.clip(plane / high, 0, 1) * 255
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def panel(picture: Array, labels: Array, title: str, *, side: int = 250) -> Array:
    """A slice enlarged, the borders of its labels in their colours, and a title."""
    factor = max(side // picture.shape[0], 1)
    big = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    wide = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    for segment in PARTS:
        inside = wide == segment.number
        edge = inside & ~(
            np.roll(inside, 1, 0)
            & np.roll(inside, -1, 0)
            & np.roll(inside, 1, 1)
            & np.roll(inside, -1, 1)
        )
        big[edge] = segment.colour
    framed = Picture.fromarray(np.pad(big, ((24, 4), (4, 4), (0, 0)), constant_values=255))
    pen = ImageDraw.Draw(framed)
    pen.text((6, 4), title, fill=(20, 30, 40), font=ImageFont.load_default(14))
    return np.asarray(framed)


def overlap(found: Array, truth: Array) -> float:
    """Mean Dice of both structures."""
    return float(np.mean([
        2 * ((found == s.number) & (truth == s.number)).sum()
        / ((found == s.number).sum() + (truth == s.number).sum()) for s in PARTS
    ]))  # fmt: skip


def votes(folder: Path, cases: list[Case]) -> dict[str, float]:
    """One person segmented by the others, of whom two are damaged; Dice by way of fusing."""
    target, others = cases[0], cases[1:]
    carried = [propagate(target.image, c, "deformable") for c in others]
    values, labels = [c.values for c in carried], [c.labels for c in carried]
    for k in (-1, -2):  # a registration that slipped, and was not noticed
        values[k], labels[k] = (np.roll(v[k], (2, 3), axis=(1, 2)) for v in (values, labels))
    spacing = target.image.grid.spacing
    volume = np.asarray(target.image.data)
    truth = np.asarray(target.labels.data)
    ways = {"one atlas": labels[-1]} | {
        m: fused(volume, values, labels, spacing, method=m, patch=2 * spacing[0],
                 search=2 * spacing[0]).labels
        for m in ("majority", "joint")
    }  # fmt: skip
    z = int(truth.astype(bool).sum(axis=(1, 2)).argmax())
    marks = {name: overlap(found, truth) for name, found in ways.items()}
    picture = grey(volume[z])
    row = [panel(picture, truth[z], "truth")]
    row += [panel(picture, f[z], f"{n}: Dice {marks[n]:.2f}") for n, f in ways.items()]
    Picture.fromarray(np.concatenate(row, axis=1)).save(folder / "atlas-votes.png", optimize=True)
    return marks


def mean(folder: Path, cases: list[Case]) -> Atlas:
    """An atlas of all, and its picture: one brain, the mean, and how often what lies where."""
    atlas = build(cases, preset="deformable", rounds=1)
    save(atlas, folder / "atlas", overwrite=True)
    share = atlas.priors.data
    z = int(share.sum(axis=(0, 2, 3)).size // 2)
    none = np.zeros(share.shape[2:], np.uint8)
    colours = np.tensordot(
        share[:, z], np.array([s.colour for s in PARTS], np.float64), axes=(0, 0)
    )
    base = grey(atlas.template.data[z]) * (1 - 0.7 * share[:, z].sum(axis=0))[..., None]
    row = [
        panel(grey(cases[1].image.data[z]), none, "one of them"),
        panel(grey(atlas.template.data[z]), none, f"mean of {len(cases)}"),
        panel(np.clip(base + 0.7 * colours, 0, 255).astype(np.uint8), none, "how often what"),
    ]
    Picture.fromarray(np.concatenate(row, axis=1)).save(folder / "atlas-mean.png", optimize=True)
    return atlas


def parted(folder: Path, image: Image, name: str) -> Mask:
    """Tissues as shares, in colour beside the image."""
    found = tissues(image, output="fractions")
    z = int(found.data.sum(axis=(0, 2, 3)).size // 2)
    colours = np.array([s.colour for s in found.segments], np.float64)
    shares = np.tensordot(found.data[:, z], colours, axes=(0, 0))
    none = np.zeros(shares.shape[:2], np.uint8)
    volume = image.data.reshape(image.grid.shape)
    row = [panel(grey(volume[z]), none, "image"),
           panel(np.clip(shares, 0, 255).astype(np.uint8), none, "fluid, grey, white")]  # fmt: skip
    row += [panel(grey(found.data[k, z]), none, s.label.lower())
            for k, s in enumerate(found.segments) if k]  # fmt: skip
    Picture.fromarray(np.concatenate(row, axis=1)).save(folder / name, optimize=True)
    return found


def standing(folder: Path, volume: float) -> Standing:
    """A cohort of 120 made-up people, and one person in it; the chart of both."""
    rng = np.random.default_rng(5)
    age, sex = rng.uniform(20, 85, 120), rng.integers(0, 2, 120).astype(float)
    usual = volume * (0.75 + 0.005 * age) * (1 + 0.05 * sex)
    cohort = Cohort(
        {"Ventricles": usual * (1 + 0.08 * rng.normal(size=120))}, {"age": age, "sex": sex}
    )
    save_cohort(cohort, folder / "cohort", overwrite=True)
    about = {"age": 42.0, "sex": 0.0}
    at = cohort.standing("Ventricles", 1.25 * volume, about=about)
    years = np.linspace(22, 83, 40)
    course = [cohort.standing("Ventricles", volume, about={**about, "age": a}) for a in years]
    middle = np.array([c.expected for c in course])
    around = np.array([c.spread for c in course])
    women = sex == 0
    picture = chart(
        [
            Curve(age[women], cohort.columns["Ventricles"][women], "women", line=False, dots=True,
                  ink=4),
            Curve(years, middle, "expected", ink=0),
            Curve(years, middle + 2 * around, "2 deviations", ink=2),
            Curve(years, middle - 2 * around, "", ink=2),
            Curve(np.array([42.0]), np.array([1.25 * volume]), f"this one: z {at.z:.1f}",
                  line=False, dots=True, ink=1),
        ],
        across="age (years)", up="ventricles (ml)", floor=None,
    )  # fmt: skip
    Picture.fromarray(picture).save(folder / "atlas-cohort.png", optimize=True)
    return at


def main(
    folder: Path, given: Path | None = None, *, count: int = 6, voxel: float = 3.0
) -> dict[str, float]:
    """Write pictures, an atlas and a cohort into ``folder``; Dice of the votes by their way."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = people(count, voxel)
    marks = votes(folder, cases)
    mean(folder, cases)
    grid = cases[0].image.grid
    shares = brain_fractions(grid)
    parted(folder, brain_mixture(shares, grid, noise=0.04, bias=0.3, seed=11), "atlas-tissues.png")
    report = region_report(cases[0].labels)
    write(report, folder / "atlas-report.csv")
    standing(folder, report[0].value)
    if given is not None:
        image = read(given)
        assert isinstance(image, Image)
        write(parted(folder, image, "given.png"), folder / "given.nii.gz")
    return marks


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
