"""From a functional run to activation on the anatomy: the pictures of docs/tutorials/fmri.md.

::

    python examples/fmri_activation.py docs/images [VOXEL]

VOXEL is the size of the run's voxels in mm, 4 in the tutorial.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from somascope.acquire.fmri import coregister, qc, realign
from somascope.acquire.fmri.activation import activation
from somascope.acquire.fmri.simulate import blocks, head_motion, simulate
from somascope.acquire.fmri.threshold import clusters, threshold
from somascope.core import Image, Warp
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import brain_grid, brain_mr

SCANS, REPETITION = 80, 2.0


def hot(values: Array, low: float, high: float) -> Array:
    """Red over yellow to white, ``(..., 3)`` uint8."""
    t = np.clip((values - low) / (high - low), 0, 1)
    parts = (np.minimum(1, 0.4 + 2 * t), np.clip(2 * t - 0.4, 0, 1), np.clip(3 * t - 2, 0, 1))
    return (np.stack(parts, axis=-1) * 255).astype(np.uint8)


def overlay(anatomy: Array, map_: Array, low: float, high: float) -> Array:
    """A map over a grey slice, ``(ny, nx, 3)`` uint8."""
    top = np.quantile(anatomy[anatomy > 0], 0.9)
    grey = (np.clip(anatomy / top, 0, 1) * 230).astype(np.uint8)
    out = np.repeat(grey[..., None], 3, axis=-1)
    shown = map_ > low
    out[shown] = hot(map_[shown], low, high)
    return out


def curves(rows: list[tuple[str, list[Array]]], width: int = 720, height: int = 150) -> Array:
    """Courses under one another, the first of each row bright, the second dotted."""
    picture = Picture.new("RGB", (width, height * len(rows)), (12, 14, 16))
    pen = ImageDraw.Draw(picture)
    for k, (title, series) in enumerate(rows):
        every = np.concatenate(series)
        low, high = float(every.min()), float(every.max())
        top = k * height + 24
        for number, (colour, one) in enumerate(
            zip([(78, 155, 209), (224, 129, 58)], series, strict=False)
        ):
            x = 10 + (width - 20) * np.arange(len(one)) / (len(one) - 1)
            y = top + (height - 36) * (1 - (one - low) / max(high - low, 1e-9))
            points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
            if number:
                for a, b in points[::2]:
                    pen.ellipse((a - 1.5, b - 1.5, a + 1.5, b + 1.5), fill=colour)
            else:
                pen.line(points, fill=colour, width=2)
        pen.text((10, k * height + 6), title, fill=(216, 221, 226))
    return np.asarray(picture)


def save(path: Path, values: Array) -> None:
    """As PNG."""
    Picture.fromarray(values).save(path, optimize=True)


def enlarged(values: Array, width: int, height: int | None = None) -> Array:
    """To ``width`` pixels, smooth; the height in proportion where not given."""
    height = height or round(values.shape[0] * width / values.shape[1])
    return np.asarray(Picture.fromarray(values).resize((width, height)))


def main(folder: Path, *, voxel: float = 4.0) -> dict[str, Image]:
    """Write the pictures, a report and the DICOM maps; what was made, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = voxel * 0.7
    shape = (round(168 / fine), round(208 / fine), round(166 / fine))
    anatomy = brain_mr("T1", brain_grid(shape, (fine, fine, fine)), noise=0.01)
    head = brain_mr("T2", brain_grid(shape, (fine, fine, fine)), noise=0)
    run = simulate(
        head, scans=SCANS, repetition_time=REPETITION, voxel=(voxel, voxel, voxel),
        translation=1.0, rotation=1.0, noise=1.0, slices="interleaved", seed=2,
    )  # fmt: skip
    motion = realign.estimate(run)
    truth = head_motion(SCANS, translation=1.0, rotation=1.0, seed=2)
    names = ("left", "back", "up")
    save(
        folder / "fmri-motion.png",
        curves([(f"towards {n}, mm: found (line), true (dots)",
                 [motion.parameters[:, i], truth[:, i]]) for i, n in enumerate(names)]),
    )  # fmt: skip
    (folder / "fmri-report.html").write_text(qc.page(run, motion), encoding="utf-8")
    mask = qc.quality(run, motion).mask
    grey = qc.carpet(np.asarray(run.data), mask, rows=160)
    calm = realign.reslice(run, motion)
    after = qc.carpet(np.asarray(calm.data), mask, rows=160)
    both = np.concatenate(
        [enlarged(grey, 720, 180), np.zeros((6, 720), np.uint8), enlarged(after, 720, 180)]
    )
    save(folder / "fmri-carpet.png", both)

    task = blocks(2, length=20, rest=20, total=SCANS * REPETITION)
    effect, t, z = activation(run, events=task.tsv(), contrast="taska", timing="interleaved")
    kept = threshold(z, method="fdr", alpha=0.01)
    _, found = clusters(kept.data, kept.data > 0, kept.grid)
    on_head = coregister.apply(kept, Warp(matrix=np.eye(4)), anatomy)
    anatomy_volume = np.asarray(anatomy.data, np.float32)
    peak = anatomy.grid.to_index(np.array(found[0].position))
    slices = np.clip(np.rint(peak[0] + np.array([-10, 0, 10]) / fine), 0, shape[0] - 1).astype(int)
    tiles = [overlay(anatomy_volume[k], on_head.data[k], 3.0, 10.0) for k in slices]
    save(folder / "fmri-activation.png", enlarged(np.concatenate(tiles, axis=1), 810))
    write(z, folder / "fmri-z")
    write(anatomy, folder / "fmri-anatomy")
    return {"run": run, "effect": effect, "t": t, "z": z, "kept": kept, "anatomy": anatomy}


if __name__ == "__main__":
    main(Path(sys.argv[1]), voxel=float(sys.argv[2]) if len(sys.argv) > 2 else 4.0)
