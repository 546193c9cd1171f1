"""A shape model from masks, its modes, a search and a cleaned mask: pictures of a tutorial.

::

    python examples/shape_models.py docs/images

Everything is made of our own bodies: vertebra-like outlines in 2-D, bent superquadrics in 3-D. The
pictures are those of docs/tutorials/shape.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from somascope.analyze.shape import stored
from somascope.analyze.shape.check import checked, points_of
from somascope.analyze.shape.clean import cleaned
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import filled
from somascope.analyze.shape.model import ShapeModel
from somascope.analyze.shape.picture import browser
from somascope.analyze.shape.search import search
from somascope.analyze.shape.train import build
from somascope.core import Grid, Image, Mask, Segment
from somascope.core.grid import Array, Float
from somascope.learn.metrics.regions import dice, hd95
from somascope.process.chart import Curve, chart

TRUTH, FOUND = (90, 220, 120), (255, 120, 60)


def outline(rng: np.random.Generator, *, n: int = 112) -> Mask:
    """A bean in a slice: width, height, the depth of its notch and its lean vary."""
    y, x = np.indices((n, n)).astype(float) - (n / 2 + 3 * rng.standard_normal(2))[:, None, None]
    lean = 0.12 * rng.standard_normal()
    x, y = np.cos(lean) * x + np.sin(lean) * y, np.cos(lean) * y - np.sin(lean) * x
    a, b = 32 + 3 * rng.standard_normal(), 20 + 2 * rng.standard_normal()
    notch = 9 + 3 * rng.standard_normal()
    inside = (x / a) ** 2 + ((y + notch * np.exp(-((x / 12) ** 2)) * (y > 0)) / b) ** 2 < 1
    grid = Grid.from_spacing((1, n, n), (1.0, 1.0, 1.0))
    return Mask(data=inside[None].astype(np.uint8), grid=grid, segments=(Segment(1, "Bean"),))


def body(rng: np.random.Generator, *, n: int = 36) -> Mask:
    """A bent superquadric."""
    edge = 60 / n
    grid = Grid.from_spacing((n, n, n), (edge,) * 3, origin=(-edge * (n - 1) / 2,) * 3)
    place = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - rng.standard_normal(3)
    axes = np.array([9.0, 11.0, 21.0]) + [1, 1, 2] * rng.standard_normal(3)
    place[..., 1] -= (5 + 2 * rng.standard_normal()) * (place[..., 2] / axes[2]) ** 2
    inside = (np.abs(place / axes) ** 2.3).sum(axis=-1) < 1
    return Mask(data=inside.astype(np.uint8), grid=grid, segments=(Segment(1, "Body"),))


def seen(mask: Mask, rng: np.random.Generator) -> Image:
    """The mask as a scanner would see it, among other things of the same brightness."""
    world = gaussian_filter(rng.standard_normal(mask.grid.shape), (0, 5, 5))
    values = (
        gaussian_filter((mask.data > 0).astype(float), (0, 1.2, 1.2)) + 0.3 * world / world.std()
    )
    values += 0.12 * rng.standard_normal(values.shape)
    return Image(values.astype(np.float32), mask.grid, "MR", "1")


def damaged(mask: Mask, rng: np.random.Generator) -> Mask:
    """A bite, a tongue, an island and holes: what a network leaves where it fails."""
    inside = mask.data > 0
    index = np.moveaxis(np.indices(inside.shape), 0, -1).astype(float)
    middle = np.argwhere(inside).mean(axis=0)
    border = np.argwhere(inside & (gaussian_filter(inside.astype(float), (0, 2, 2)) < 0.7))
    spots = border[rng.choice(len(border), 3, replace=False)].astype(float)
    spots[2] += 0.8 * (spots[2] - middle)
    out = inside.copy()
    for spot, radius, on in zip(spots, (11, 9, 5), (False, True, True), strict=True):
        ball = ((index - spot) ** 2).sum(axis=-1) < radius**2
        out = out | ball if on else out & ~ball
    out &= rng.random(out.shape) > 0.02
    return Mask(data=out.astype(np.uint8), grid=mask.grid, segments=mask.segments)


def drawn(grey: Array, *regions: tuple[Array, tuple[int, int, int]], scale: int = 3) -> Array:
    """A slice enlarged, with the outlines of regions in colour."""
    low, high = np.percentile(grey, (1, 99))
    shown = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    big = np.repeat(np.repeat(shown, scale, axis=0), scale, axis=1).astype(np.uint8)
    picture = Picture.fromarray(big).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for inside, ink in regions:
        for axis in (0, 1):
            for y, x in np.argwhere(np.diff(inside.astype(int), axis=axis) != 0):
                begin = (x + 1, y) if axis else (x, y + 1)
                pen.line([v * scale for v in (*begin, x + 1, y + 1)], fill=ink, width=2)
    return np.asarray(picture)


def labelled(picture: Array, text: str) -> Array:
    """Words in the upper left corner."""
    made = Picture.fromarray(picture)
    ImageDraw.Draw(made).text((8, 6), text, fill="white", font=ImageFont.load_default(15))
    return np.asarray(made)


def quality(model: ShapeModel) -> Array:
    """Generalisation and specificity over the number of modes."""
    card = model.card
    modes = np.arange(1, len(card.generalisation) + 1)
    return chart(
        [
            Curve(modes, np.array(card.generalisation), "left-out shapes missed", dots=True),
            Curve(modes, np.array(card.specificity), "random shapes to nearest", dots=True, ink=1),
        ],
        across="modes", up="mm",
    )  # fmt: skip


def main(
    folder: Path, *, shapes: int = 30, bodies: int = 14, points: int = 400
) -> dict[str, float]:
    """Write the pictures and the model into ``folder``; what was measured, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(4)
    masks = [outline(rng) for _ in range(shapes)]
    images = [seen(m, rng) for m in masks]
    model = build(masks, images, name="bean", points=64)
    save(np.concatenate(list(browser(model, 3))), folder / "shape-modes.png")
    save(quality(model), folder / "shape-quality.png")
    held = outline(rng)
    truth = held.data > 0
    image = seen(held, rng)
    found = search(model, image)
    inside = voxels(model, found.points, held)
    told = {"search dice": dice(inside, truth)}
    panels = [labelled(
        drawn(image.data[0], (truth[0], TRUTH), (inside[0], FOUND)),
        f"search: Dice {told['search dice']:.3f}",
    )]  # fmt: skip
    broken = damaged(held, rng)
    _, mended = cleaned(model, broken, (1,))
    told["hd95 before"] = hd95(broken.data > 0, truth, (1.0, 1.0, 1.0))
    told["hd95 after"] = hd95(mended > 0, truth, (1.0, 1.0, 1.0))
    grey = broken.data[0].astype(float)
    panels.append(labelled(
        drawn(grey, (mended[0] > 0, FOUND)),
        f"cleaned: HD95 {told['hd95 before']:.1f} to {told['hd95 after']:.1f} mm",
    ))  # fmt: skip
    save(np.concatenate(panels, axis=1), folder / "shape-search.png")
    solids = build([body(rng) for _ in range(bodies)], name="body", points=points)
    save(np.concatenate(list(browser(solids, 2))), folder / "shape-bodies.png")
    odd = checked(model, points_of(model, held, (1,)))
    told["distance"], told["limit"] = odd.distance, odd.limit
    stored.write(model, folder / "bean.zip", overwrite=True)
    return told


def voxels(model: ShapeModel, points: Float, like: Mask) -> Array:
    """The inside of a shape on a mask's grid."""
    return filled(model.mesh(points), Frame.of(like.grid), like.grid.shape) > 0


def save(picture: Array, path: Path) -> None:
    """As PNG."""
    Picture.fromarray(picture).save(path, optimize=True)


if __name__ == "__main__":
    for name, value in main(Path(sys.argv[1])).items():
        sys.stdout.write(f"{name}: {value:.3f}\n")
