"""Two examinations of one patient and what became of the lesions: docs/tutorials/follow-up.md.

::

    python examples/follow_up.py docs/images [SPACING]

SPACING is the edge of the voxels across in mm, 1.9 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from somascope.analyze.longitudinal.follow_up import follow_up
from somascope.analyze.longitudinal.trend import SHOWN, picture, table, trends
from somascope.analyze.rules import decide, load
from somascope.core import Image, Label, Mask, Measurement
from somascope.core.grid import Array
from somascope.phantoms import thorax_follow_up, thorax_grid

GROWTH = (0.0, 0.45, -1.0, 0.15, -0.35)


def grey(image: Image, z: int, *, low: float = -1000.0, high: float = 250.0) -> Array:
    """One slice as RGB, 420 pixels wide."""
    plane = image.data.reshape(image.grid.shape)[z]
    tile = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled(np.repeat(tile[..., None], 3, axis=2), image)


def scaled(tile: Array, image: Image) -> Array:
    """A picture of a slice at 420 pixels across, true to its spacing."""
    _, dy, dx = image.grid.spacing
    height = round(420 * tile.shape[0] * dy / (tile.shape[1] * dx))
    return np.array(Picture.fromarray(tile).resize((420, height), Picture.Resampling.BICUBIC))


def outlined(tile: Array, mask: Mask, z: int) -> Array:
    """The outlines and names of the segments over a picture of their slice."""
    shown = Picture.fromarray(tile)
    pen = ImageDraw.Draw(shown)
    font = ImageFont.load_default(12)
    height, width = tile.shape[:2]
    for segment in mask.segments:
        plane = mask.plane(segment.number)[z].astype(np.uint8) * 255
        if not plane.any():
            continue
        inside = np.array(Picture.fromarray(plane).resize((width, height))) > 127
        edge = inside & ~(
            np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1)
            & np.roll(inside, -1, 1)
        )  # fmt: skip
        drawn = np.array(shown)
        drawn[edge] = segment.colour
        shown = Picture.fromarray(drawn)
        pen = ImageDraw.Draw(shown)
        y, x = np.argwhere(inside).max(axis=0)
        left = min(float(x) + 3, width - 5 - font.getlength(segment.label))
        pen.text((left, float(y) + 2), segment.label, fill=segment.colour, font=font)
    return np.array(shown)


def glowing(z: Image, number: int) -> Array:
    """The new-lesion map: red brighter, blue darker, from 6 to 60 standard deviations."""
    plane = z.data[number]
    tile = np.zeros((*plane.shape, 3), np.uint8)
    tile[..., 0] = np.clip((plane - 6) / 54, 0, 1) * 255
    tile[..., 2] = np.clip((-plane - 6) / 54, 0, 1) * 255
    return scaled(tile, z)


def row(path: Path, tiles: Sequence[Array], names: Sequence[str]) -> None:
    """Pictures side by side, each with its name."""
    font = ImageFont.load_default(14)
    shown = []
    for tile, name in zip(tiles, names, strict=True):
        one = Picture.fromarray(tile)
        ImageDraw.Draw(one).text((6, 4), name, fill="white", font=font)
        shown.append(np.pad(np.array(one), ((0, 0), (0, 4), (0, 0))))
    Picture.fromarray(np.concatenate(shown, axis=1)).save(path, optimize=True)


def main(folder: Path, *, spacing: float = 1.9, radius: float = 11.0) -> list[dict[str, str]]:
    """Write the pictures into ``folder``; the rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    across = [round(n / spacing) for n in (210, 285)]
    grid = thorax_grid((round(200 / (1.3 * spacing)), *across), (1.3 * spacing, spacing, spacing))
    made = thorax_follow_up(grid, growth=GROWTH, new=2, radius=radius)
    results = follow_up(made.current, made.prior, made.prior_lesions)
    mask = next(r for r in results if isinstance(r, Mask))
    z = next(r for r in results if isinstance(r, Image))
    findings = [r for r in results if isinstance(r, (Label, Measurement))]

    # The slice of now that shows the lesion that has grown most, and its place a year ago.
    centre = np.array(made.after[1].centre if made.after[1] else (0.0, 0.0, 0.0))
    now = int(np.rint(made.current.grid.to_index(centre))[0])
    then = int(np.rint(made.prior.grid.to_index(np.array(made.before[1].centre)))[0])
    row(
        folder / "follow-up-lesions.png",
        [outlined(grey(made.prior, then), made.prior_lesions, then),
         outlined(grey(made.current, now), mask, now)],
        ["prior", "current"],
    )  # fmt: skip
    place = np.array(made.born[1].centre)
    fresh = int(np.rint(made.current.grid.to_index(place))[0])
    there = int(np.rint(z.grid.to_index(place))[0])
    row(
        folder / "follow-up-new.png",
        [outlined(grey(made.current, fresh), mask, fresh), glowing(z, there)],
        ["current", "new-lesion map"],
    )
    concept, words, unit = SHOWN["volume"]
    curves = [t for t in trends(findings, concept) if len(t.times) > 1]
    Picture.fromarray(picture(curves, f"{words} ({unit})")).save(
        folder / "follow-up-trend.png", optimize=True
    )
    for finding in findings:
        if isinstance(finding, Label):
            print(f"{finding.concept.meaning}: {finding.text}")
    for answer in decide(load("fleischner-2017"), findings):
        print(answer.tracking.name if answer.tracking else "", answer.text)
    return table(findings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), spacing=float(sys.argv[2]) if len(sys.argv) > 2 else 1.9)
