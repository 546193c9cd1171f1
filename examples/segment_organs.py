"""Scribbles, seeds, fronts and candidates: the pictures of docs/tutorials/segmentation.md.

::

    python examples/segment_organs.py docs/images

Everything is done on our phantoms.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.spatial import KDTree

from somascope.analyze.detect.nodules import lung_nodules
from somascope.analyze.detect.symmetry import asymmetry
from somascope.analyze.detect.vessels import vessels
from somascope.analyze.segment.graph_cut import graph_cut
from somascope.analyze.segment.grow import grow
from somascope.analyze.segment.level_sets import chan_vese, geodesic
from somascope.analyze.segment.live_wire import live_wire
from somascope.analyze.segment.mixture import mixture_
from somascope.analyze.segment.random_walker import random_walker
from somascope.core import Box, Grid, Image, Label, Mask, Measurement, Segment
from somascope.core.grid import Array
from somascope.phantoms import brain_grid, brain_mr, thorax_ct, thorax_grid, thorax_mask
from somascope.phantoms.brain import brain_labels
from somascope.process.distance import distance
from somascope.process.filters import gaussian

LIVER = 5
EDGE = 300
"""Pixels of a panel."""


def panel(
    values: Array, layers: list[tuple[Array, tuple[int, int, int]]], text: str, *, low: float,
    high: float, fill: bool = False,
) -> Array:  # fmt: skip
    """A slice ``(ny, nx)`` with outlines (or, with ``fill``, colours) of bool slices."""
    grey = np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255
    shape = (EDGE, round(EDGE * values.shape[0] / values.shape[1]))
    base = Picture.fromarray(grey.astype(np.uint8)).resize(shape, Picture.Resampling.BICUBIC)
    picture = np.repeat(np.asarray(base)[..., None], 3, axis=2)
    for inside, ink in layers:
        large = np.asarray(
            Picture.fromarray(inside.astype(np.uint8) * 255).resize(
                shape, Picture.Resampling.BICUBIC
            )
        ) > 127  # fmt: skip
        if fill:
            mixed = 0.45 * picture[large] + 0.55 * np.array(ink)
            picture[large] = mixed.astype(np.uint8)
            continue
        edge = np.zeros(large.shape, bool)
        for axis in (0, 1):
            for step in (-1, 1):
                edge |= large & ~np.roll(large, step, axis=axis)
        picture[edge] = ink
    made = Picture.fromarray(picture)
    pen = ImageDraw.Draw(made)
    font = ImageFont.load_default(15)
    pen.rectangle((0, 0, 10 + pen.textlength(text, font), 24), fill=(0, 0, 0))
    pen.text((5, 3), text, fill=(255, 255, 255), font=font)
    return np.asarray(made)


def saved(folder: Path, name: str, panels: list[Array]) -> None:
    """Panels side by side."""
    tall = max(p.shape[0] for p in panels)
    panels = [np.pad(p, ((0, tall - p.shape[0]), (0, 0), (0, 0))) for p in panels]
    Picture.fromarray(np.concatenate(panels, axis=1)).save(folder / name, optimize=True)


def marks(grid: Grid, *parts: Array) -> Mask:
    """Scribbles: segment 1 inside, 2 outside."""
    data = np.zeros(grid.shape, np.uint8)
    for number, part in enumerate(parts, start=1):
        data[part] = number
    names = ("Inside", "Outside")
    segments = tuple(Segment(k + 1, names[k]) for k in range(len(parts)))
    return Mask(data=data, grid=grid, segments=segments)


def dice(a: Array, b: Array) -> float:
    """Overlap of two bool volumes."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def liver(folder: Path, voxel: float) -> dict[str, float]:
    """One organ by two methods, from strokes in every fifth slice."""
    shape = (30, round(310 / voxel), round(380 / voxel))
    grid = thorax_grid(shape, (5.0, voxel, voxel))
    affine = grid.affine.copy()
    affine[2, 3] -= 90
    grid = Grid(grid.shape, affine, grid.frame_of_reference)
    ct, truth = thorax_ct(grid), thorax_mask(grid).data == LIVER
    z = int(np.rint(grid.to_index((-60, 0, -110))[0]))
    drawn_in = ((np.arange(grid.shape[0]) - z) % 5 == 0)[:, None, None]
    # Strokes as a hand draws them: well within, and some way around.
    flat = (1e3, voxel, voxel)
    inner = drawn_in & (distance(truth, flat) > 22)
    away = distance(~truth, flat)
    outer = drawn_in & (away > 8) & (away < 16)
    drawn = marks(grid, inner, outer)
    low, high = -120.0, 200.0
    body = gaussian(ct.with_data(np.clip(ct.data, -60, 160)), sigma=2.0)
    found = {
        "Random walker": random_walker(body, drawn, background=2).data > 0,
        "Graph cut": graph_cut(body, drawn, box=around(grid, outer), smoothness=6.0).data > 0,
    }
    panels = [
        panel(ct.data[z], [(inner[z], (90, 220, 120)), (outer[z], (255, 110, 90))], "Scribbles",
              low=low, high=high, fill=True)
    ]  # fmt: skip
    for name, inside in found.items():
        text = f"{name}, Dice {dice(inside, truth):.2f}"
        layers = [(truth[z], (90, 220, 120)), (inside[z], (255, 190, 60))]
        panels.append(panel(ct.data[z], layers, text, low=low, high=high))
    saved(folder, "segment-scribbles.png", panels)
    return {name: dice(inside, truth) for name, inside in found.items()}


def around(grid: Grid, inside: Array) -> tuple[float, ...]:
    """Two corners of the box about a bool volume."""
    index = np.argwhere(inside)
    return tuple(float(v) for v in grid.to_world([index.min(axis=0), index.max(axis=0)]).ravel())


def leak(folder: Path, voxel: float) -> str:
    """Two chambers with a dimmer passage between them."""
    n = round(90 / voxel)
    grid = Grid.from_spacing((round(40 / voxel), n, round(130 / voxel)), (voxel, voxel, voxel))
    affine = grid.affine.copy()
    affine[:3, 3] -= grid.to_world((np.array(grid.shape) - 1) / 2)
    grid = Grid(grid.shape, affine)
    place = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    one = np.linalg.norm(place - (-34, 0, 0), axis=-1) < 18
    two = np.linalg.norm(place - (30, 4, 0), axis=-1) < 22
    way = (np.hypot(place[..., 1], place[..., 2]) < 5) & (np.abs(place[..., 0]) < 25)
    data = np.where(way, 80.0, 0.0)
    data[one | two] = 100.0
    data += np.random.default_rng(0).normal(0, 6, data.shape)
    image = Image(data.astype(np.float32), grid)
    z = grid.shape[0] // 2
    panels: list[Array] = []
    said = ""
    for mode, name in (("ignore", "Leak ignored"), ("stop", "Leak stopped")):
        found = grow(image, points=(-34.0, 0.0, 0.0), tolerance=4.0, leak=mode, fill_holes=True)  # pyright: ignore[reportArgumentType]
        mask = cast("Mask", found[0])
        layers = [(mask.data[z] > 0, (255, 190, 60))]
        for one_ in found:
            if isinstance(one_, Box):
                spot = np.zeros(image.data.shape[1:], bool)
                _, y, x = (round(v) for v in one_.lower)
                reach = max(round(2 / voxel), 1)
                spot[y - reach : y + reach + 1, x - reach : x + reach + 1] = True
                layers.append((spot, (255, 70, 70)))
            elif isinstance(one_, Label):
                said = one_.text
        panels.append(panel(image.data[z], layers, name, low=-30, high=130))
    saved(folder, "segment-leak.png", panels)
    return said


def fronts(folder: Path) -> None:
    """A disk in uneven light, by one mean and by local ones; and a ring with a gap."""
    n = 120
    grid = Grid.from_spacing((1, n, n), (1.0, 1.0, 1.0))
    y, x = (np.indices((n, n)) - (n - 1) / 2).astype(float)
    random = np.random.default_rng(1)
    turn = np.arctan2(y, x)
    truth = np.hypot(x, y) < 30 + 5 * np.cos(3 * turn)
    uneven = np.where(truth, 60.0, 0.0) + 2.5 * x + random.normal(0, 8, (n, n))
    image = Image(uneven[None].astype(np.float32), grid)
    start = marks(grid, (np.hypot(x, y) < 20)[None])
    panels = [
        panel(uneven, [(start.data[0] > 0, (90, 220, 255)), (m.data[0] > 0, (255, 190, 60))], name,
              low=-160, high=220)
        for name, m in (
            ("Chan-Vese, one mean each", chan_vese(image, start)),
            ("with local means, 6 mm", chan_vese(image, start, scale=6.0)),
        )
    ]  # fmt: skip
    ring = (np.abs(np.hypot(x, y) - 32) < 2) & ~(np.abs(turn) < 0.16)
    gap = np.where(ring, 100.0, 0.0) + random.normal(0, 6, (n, n))
    edge = Image(gap[None].astype(np.float32), grid)
    outer = marks(grid, (np.hypot(x, y) < 50)[None])
    rested = geodesic(edge, outer, balloon=-0.5, rounding=3.0)
    layers = [(outer.data[0] > 0, (90, 220, 255)), (rested.data[0] > 0, (255, 190, 60))]
    panels.append(panel(gap, layers, "Geodesic, shrinking over a gap", low=-30, high=130))
    saved(folder, "segment-fronts.png", panels)


def brain(folder: Path, voxel: float) -> dict[str, float]:
    """Tissues with and without neighbours, and what differs from the other side."""
    shape = (round(168 / 4), round(208 / voxel), round(166 / voxel))
    grid = brain_grid(shape, (4.0, voxel, voxel))
    image = brain_mr("T1", grid, noise=0.06, bias=0.0)
    truth = brain_labels(grid)
    inside = marks(grid, np.isin(truth, (3, 4, 5)))
    z = int(np.rint(grid.to_index((0, 0, 22))[0]))
    inks = ((60, 120, 255), (150, 150, 150), (255, 240, 190))
    top = float(np.percentile(image.data, 99.5))
    panels: list[Array] = []
    shares: dict[str, float] = {}
    for name, smoothness in (("Each voxel by itself", 0.0), ("With its neighbours", 1.0)):
        found = mixture_(image, inside, smoothness=smoothness).data
        shares[name] = float(np.mean([dice(found == k + 1, truth == k + 3) for k in range(3)]))
        layers = [(found[z] == k + 1, inks[k]) for k in range(3)]
        text = f"{name}, Dice {shares[name]:.2f}"
        panels.append(panel(image.data[z], layers, text, low=0, high=top, fill=True))
    flair = brain_mr("FLAIR", grid, noise=0.02, bias=0.0)
    found = asymmetry(flair, sigma=4.0, threshold=30.0)
    mask = cast("Mask", found[1])
    layers = [(mask.data[z] == 1, (255, 120, 60)), (mask.data[z] == 2, (90, 180, 255))]
    panels.append(
        panel(flair.data[z], layers, "FLAIR: brighter, darker than its mirror", low=0,
              high=float(np.percentile(flair.data, 99.7)))
    )  # fmt: skip
    saved(folder, "segment-brain.png", panels)
    return shares


def chest(folder: Path, voxel: float) -> list[Label]:
    """Nodules by candidate and rule; vessels of a lung; a wire about the heart."""
    grid = thorax_grid(
        (round(230 / 2.5), round(330 / voxel), round(384 / voxel)), (2.5, voxel, voxel)
    )
    ct = thorax_ct(grid)
    told = lung_nodules(ct, smallest=8.0)
    mask = cast("Mask", told[0])
    z = int(np.rint(grid.to_index((0, 0, 74))[0]))
    panels = [
        panel(ct.data[z], [(mask.data[z] > 0, (90, 220, 120))], "Nodule", low=-1000, high=400)
    ]
    k = int(np.rint(grid.to_index((0, 0, -14))[0]))
    height = float(grid.to_world((k, 0, 0))[2])
    turn = np.arange(8) * np.pi / 4
    a, b, tilt = 62 * np.cos(turn), 46 * np.sin(turn), np.radians(35)
    rim = (26 + a * np.cos(tilt) - b * np.sin(tilt), -34 + a * np.sin(tilt) + b * np.cos(tilt))
    points = tuple(float(v) for l, p in zip(*rim, strict=True) for v in (l, p, height))
    wire = live_wire(ct.with_data(np.clip(ct.data, -300, 200)), points=points, sigma=2.0)
    drawn = cast("Mask", wire[0])
    length = cast("Measurement", wire[1]).value
    panels.append(
        panel(ct.data[k], [(drawn.data[k] > 0, (255, 190, 60))], f"Live wire, {length:.0f} mm",
              low=-300, high=250)
    )  # fmt: skip
    panels.append(helix(voxel))
    saved(folder, "segment-chest.png", panels)
    return [f for f in told if isinstance(f, Label)]


def helix(voxel: float) -> Array:
    """A vessel that winds and tapers, with a branch: what is found of it, from the side."""
    edge = voxel / 2
    n = round(60 / edge)
    grid = Grid.from_spacing((n, n, n), (edge, edge, edge))
    turn = np.linspace(0, 3.5 * np.pi, 200)
    middle = np.stack([30 + 16 * np.cos(turn), 30 + 16 * np.sin(turn), 6 + 48 * turn / turn[-1]])
    branch = middle[:, 120][:, None] + np.outer([-0.6, 0.2, 0.75], np.linspace(0, 22, 60))
    points = np.concatenate([middle, branch], axis=1).T
    radius = np.concatenate([np.linspace(3.2, 1.8, 200), np.linspace(1.8, 1.4, 60)])
    place = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)).reshape(-1, 3)
    away, which = KDTree(points).query(place)
    inside = (away < radius[which]).reshape(grid.shape)
    data = 100.0 * inside + np.random.default_rng(2).normal(0, 12, grid.shape)
    found = vessels(Image(data.astype(np.float32), grid), smallest=2.5, largest=7.0)
    mask = cast("Mask", found[0])
    told = {m.concept.meaning: m.value for m in found if isinstance(m, Measurement)}
    text = f"Vessel, {told['Length of centre lines']:.0f} mm"
    inks = ((255, 190, 60), (90, 180, 255))
    layers = [(mask.data[k].any(axis=1)[::-1], inks[k]) for k in range(2)]
    return panel(data.max(axis=1)[::-1], layers, text, low=0, high=220, fill=True)


def main(folder: Path, *, voxel: float = 2.0) -> dict[str, object]:
    """Write the pictures into ``folder``; what was found, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    fronts(folder)
    return {
        "liver": liver(folder, voxel),
        "leak": leak(folder, max(voxel / 2, 1.0)),
        "tissues": brain(folder, voxel),
        "nodules": chest(folder, voxel),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
