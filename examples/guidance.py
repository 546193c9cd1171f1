"""A planned path carried to where the patient lies: docs/tutorials/guidance.md.

::

    python examples/guidance.py docs/images [VOXEL]

VOXEL is the edge of the head's voxels in mm, 3 in the tutorial.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from somascope.acquire.rigid import centre_of, matrix
from somascope.acquire.xray.projection import Projection
from somascope.acquire.xray.views import radiograph_views
from somascope.analyze.guidance.guide import guide, guide_views
from somascope.analyze.register import apply, points
from somascope.core import Acquisition, Grid, Image, Label, Mask, Measurement, Segment, Warp
from somascope.core.grid import Array, Float
from somascope.phantoms import brain_grid, brain_mr, thorax_ct, thorax_grid
from somascope.process.filters import smooth

TUMOUR, ENTRY, VESSEL = (38.0, -26.0, 22.0), (30.0, -62.0, 62.0), (26.0, -36.0, 30.0)
"""In the planning image of the head, LPS mm."""
SCREW, TIP, CANAL = (24.0, 108.0, 27.0), (5.0, 66.0, 27.0), (0.0, 85.0, 27.0)
MARKS = ((70, -20, 20), (-70, -10, 10), (5, -95, 0), (0, 90, 25), (20, 10, 88))
WIDE = 380
"""Pixels across one picture."""


def ball(grid: Grid, centre: tuple[float, ...], radius: float, name: str) -> Mask:
    """A mask of one segment: a ball of ``radius`` mm."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    inside = ((grid.to_world(index) - centre) ** 2).sum(axis=-1) <= radius**2
    return Mask(data=inside.astype(np.uint8), grid=grid, segments=(Segment(1, name),))


def shifted_brain(voxel: float) -> tuple[Image, Image, Warp]:
    """T1 before the operation, and in the theatre: turned, shifted, and sunk by up to 8 mm."""
    grid = brain_grid(
        (round(180 / voxel), round(214 / voxel), round(170 / voxel)), (voxel,) * 3
    )  # fmt: skip
    pose = matrix(np.array([6.0, -9.0, 8.0, 4.0, -3.0, 7.0]), centre_of(grid))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    world = grid.to_world(index)
    # The brain sinks away from the opening, above the tumour; it is back at 60 mm.
    sunk = np.exp(-((world - (34.0, -40.0, 44.0)) ** 2).sum(axis=-1) / (2 * 26.0**2))
    field = np.stack([sunk * c for c in (-2.0, 3.0, -8.0)]).astype(np.float32)
    sigma = 3.0 / voxel
    field = np.stack([smooth(f, (sigma,) * 3) for f in field])
    # Theatre to plan: what lies at x there was at pose^-1 x, less what it has sunk.
    back = Warp(matrix=np.linalg.inv(pose), grid=grid, displacement=-field)
    planning = brain_mr("T1", grid, noise=0.02, seed=1)
    own = Grid(grid.shape, grid.affine, f"{grid.frame_of_reference}.2")
    theatre = apply(brain_mr("T1", grid, noise=0.03, bias=0.0, seed=2), back, own)
    return planning, theatre, back


def there(back: Warp, planned: Float) -> Float:
    """Where points of the plan truly lie in the theatre: the inverse, by fixed-point steps."""
    x = planned.copy()
    for _ in range(60):
        x = x + (planned - points(back, x)) @ np.asarray(back.matrix[:3, :3])
    return x


def grey(image: Image, z: int, low: float, high: float) -> Array:
    """One slice as RGB, `WIDE` pixels across."""
    plane = np.asarray(image.data).reshape(image.grid.shape)[z].astype(np.float32)
    tile = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    height = round(WIDE * tile.shape[0] / tile.shape[1])
    big = np.array(Picture.fromarray(tile).resize((WIDE, height), Picture.Resampling.BICUBIC))
    return np.repeat(big[..., None], 3, axis=2)


def outlined(tile: Array, mask: Mask, z: int, *, skip: tuple[str, ...] = ()) -> Array:
    """The borders of the segments over a picture of their slice."""
    out = tile.copy()
    for segment in mask.segments:
        plane = np.asarray(mask.plane(segment.number))[z].astype(np.uint8) * 255
        if segment.label in skip or not plane.any():
            continue
        inside = np.array(Picture.fromarray(plane).resize(out.shape[1::-1])) > 127
        edge = inside & ~(
            np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1)
            & np.roll(inside, -1, 1)
        )  # fmt: skip
        out[edge | np.roll(edge, 1, 1)] = segment.colour
    return out


def row(path: Path, tiles: list[Array], names: list[str]) -> None:
    """Pictures side by side, each with its name."""
    font = ImageFont.load_default(15)
    height = max(len(t) for t in tiles)
    shown: list[Array] = []
    for tile, name in zip(tiles, names, strict=True):
        one = Picture.fromarray(np.pad(tile, ((0, height - len(tile)), (0, 4), (0, 0))))
        ImageDraw.Draw(one).text((6, 4), name, fill="white", font=font)
        shown.append(np.array(one))
    Picture.fromarray(np.concatenate(shown, axis=1)).save(path, optimize=True)


def told(results: list[Mask | Warp | Label | Measurement]) -> dict[str, str]:
    """The report as words, by concept (and structure)."""
    out: dict[str, str] = {}
    for one in results:
        if isinstance(one, Measurement):
            name = one.concept.meaning + (f", {one.tracking.name}" if one.tracking else "")
            spread = "" if one.uncertainty is None else f" ± {one.uncertainty:.2g}"
            out[name] = f"{one.value:.3g}{spread} {one.unit}"
        elif isinstance(one, Label):
            out[one.concept.meaning] = one.text
    return out


def neuro(folder: Path, voxel: float) -> dict[str, str]:
    """A tumour and the path to it, in a brain that has sunk."""
    planning, theatre, back = shifted_brain(voxel)
    target = ball(planning.grid, TUMOUR, 11.0, "Tumour")
    vessel = ball(planning.grid, VESSEL, 4.0, "Vessel")
    rng = np.random.default_rng(6)
    plan = np.array(MARKS, float)
    stiff = Warp(matrix=back.matrix)
    here = there(stiff, plan) + 0.6 / np.sqrt(3) * rng.standard_normal(plan.shape)
    more = {
        "entry": ENTRY, "aim": TUMOUR, "radius": 1.5, "fle": 0.6,
        "fiducials_here": tuple(here.ravel().tolist()),
        "fiducials_plan": tuple(plan.ravel().tolist()),
    }  # fmt: skip
    given = (theatre, planning, target, vessel)
    by_marks = guide(*given, by="fiducials", accept=True, **more)
    results = guide(*given, by="bends", accept=True, **more)
    truth = there(back, np.array([TUMOUR]))[0]
    out = told(results)
    for name, found in (("fiducials alone", by_marks), ("with the images", results)):
        mask = found[0]
        assert isinstance(mask, Mask)
        middle = mask.grid.to_world(np.argwhere(mask.plane(1)).mean(axis=0))
        out[f"target misses, {name}"] = f"{np.linalg.norm(middle - truth):.1f} mm"
    tiles: list[Array] = []
    names = ["plan", "theatre, by fiducials alone", "theatre, by images that bend"]
    drawn = replace(
        target, data=np.stack([target.data > 0, vessel.data > 0]),
        segments=(Segment(1, "Tumour", colour=(96, 214, 128)),
                  Segment(2, "Vessel", colour=(255, 84, 84))),
    )  # fmt: skip
    z = int(np.rint(planning.grid.to_index(TUMOUR))[0])
    tiles.append(outlined(grey(planning, z, 0, 3000), drawn, z))
    for found in (by_marks, results):
        mask = found[0]
        assert isinstance(mask, Mask)
        z = int(np.rint(theatre.grid.to_index(truth))[0])
        tiles.append(outlined(grey(theatre, z, 0, 3000), mask, z))
    row(folder / "guidance-brain.png", tiles, names)
    return out


def radiographs(ct: Image, pose: Float) -> Acquisition:
    """A pair of radiographs of the body, which ``pose`` takes from the room to its CT."""
    scan = radiograph_views(ct.grid, ["AP", "LL"], shape=(160, 160), pitch=2.4)
    turn = pose[:3, :3].T
    moved = Projection(
        grid=ct.grid, sources=scan.sources @ turn + pose[:3, 3],
        origins=scan.origins @ turn + pose[:3, 3], rows=scan.rows @ turn,
        columns=scan.columns @ turn, shape=scan.shape,
    )  # fmt: skip
    lines = moved.forward(np.maximum(1 + ct.data / 1000, 0).astype(np.float32))
    noise = np.random.default_rng(1).standard_normal(lines.shape)
    return Acquisition(
        samples=(lines + 0.01 * lines.max() * noise).astype(np.float32), operator=scan,
        modality="DX",
    )  # fmt: skip


def shown_on(scan: Projection, view: int, places: Float) -> Float:
    """Pixels ``(row, column)`` at which points of the room are seen."""
    source, origin = scan.sources[view], scan.origins[view]
    out: list[list[float]] = []
    for place in places:
        system = np.stack([place - source, -scan.rows[view], -scan.columns[view]], axis=1)
        _, row_, column = np.linalg.solve(system, origin - source)
        out.append([row_, column])
    return np.array(out)


def spine(folder: Path, spacing: float) -> dict[str, str]:
    """A pedicle screw, its CT found from a pair of radiographs."""
    ct = thorax_ct(
        thorax_grid((round(260 / spacing), round(250 / spacing), round(370 / spacing)),
                    (spacing,) * 3)
    )  # fmt: skip
    pose = matrix(np.array([8.0, -6.0, 10.0, 4.0, -5.0, 6.0]), centre_of(ct.grid))
    views = radiographs(ct, pose)
    body = ball(ct.grid, TIP, 14.0, "Vertebra")
    canal = ball(ct.grid, CANAL, 7.0, "Spinal canal")
    results = guide_views(views, ct, body, canal, entry=SCREW, aim=TIP, radius=2.5, margin=1.0)
    warp = next(r for r in results if isinstance(r, Warp))
    planned = np.array([SCREW, TIP])
    ways = [np.linalg.inv(m) for m in (np.eye(4), warp.matrix, pose)]
    before, found, truth = (planned @ m[:3, :3].T + m[:3, 3] for m in ways)
    scan = views.operator
    assert isinstance(scan, Projection)
    tiles: list[Array] = []
    for view in range(2):
        lines = views.samples[view]
        top = float(np.percentile(lines, 99.5))
        tile = (np.clip(lines / top, 0, 1) * 255).astype(np.uint8)
        factor = WIDE / tile.shape[1]
        big = Picture.fromarray(np.repeat(tile[..., None], 3, axis=2)).resize((WIDE, WIDE))
        pen = ImageDraw.Draw(big)
        for ends, colour in ((before, (140, 140, 140)), (found, (255, 214, 64))):
            pixels = (shown_on(scan, view, ends) + 0.5) * factor
            pen.line([(float(c), float(r)) for r, c in pixels], fill=colour, width=3)
        tiles.append(np.array(big))
    row(folder / "guidance-spine.png", tiles, ["from the front", "from the side"])
    out = told(results)
    out["tip misses"] = f"{np.linalg.norm(found[1] - truth[1]):.1f} mm"
    return out


def main(
    folder: Path, *, voxel: float = 3.0, spacing: float = 5.0
) -> tuple[dict[str, str], dict[str, str]]:
    """Write the pictures into ``folder``; both reports in words."""
    folder.mkdir(parents=True, exist_ok=True)
    both = neuro(folder, voxel), spine(folder, spacing)
    for report in both:
        print("\n".join(f"{name}: {value}" for name, value in report.items()), end="\n\n")
    return both


if __name__ == "__main__":
    main(Path(sys.argv[1]), voxel=float(sys.argv[2]) if len(sys.argv) > 2 else 3.0)
