"""Two scans of one head registered, and what that is worth.

Makes the pictures of docs/tutorials/registration.md::

    python examples/register_two_scans.py docs/images [VOXEL]

VOXEL is the size of the voxels in mm, 2.5 in the tutorial.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.analyze.register import Registered, apply, invert, points, register
from somascope.analyze.register.evidence import jacobian
from somascope.core import Grid, Image, Mask, Warp
from somascope.core.grid import Array
from somascope.io import write
from somascope.io.transforms import read_warp, write_warp
from somascope.phantoms import brain_grid, brain_mask, brain_mr, thorax_ct, thorax_grid
from somascope.process.filters import smooth
from somascope.process.resample import resample_to

FRAME = "1.2.826.0.1.3680043.8.498.20260101"


def bend(grid: Grid, most: float, width: float, seed: int) -> Array:
    """A smooth random displacement of at most ``most`` mm, ``(3, nz, ny, nx)``."""
    rng = np.random.default_rng(seed)
    dz, dy, dx = (width / d for d in grid.spacing)
    field = [
        smooth(rng.standard_normal(grid.shape).astype(np.float32), (dz, dy, dx)) for _ in range(3)
    ]
    out = np.stack(field)
    return out * np.float32(most / np.abs(out).max())


def scans(voxel: float) -> tuple[Image, Image, Mask, Warp]:
    """Two scans in frames of their own, labels of the second, and the true way back."""
    shape = (round(170 / voxel), round(210 / voxel), round(168 / voxel))
    grid = brain_grid(shape, (voxel,) * 3)
    angle = np.deg2rad(12)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (9, -12, 7)
    back = Warp(matrix=matrix, grid=grid, displacement=bend(grid, 7.0, 25.0, seed=1))
    own = Grid(grid.shape, grid.affine, FRAME)
    first = brain_mr("T1", grid, noise=0.02, seed=1)
    second = apply(brain_mr("T1", grid, noise=0.02, seed=2), back, own)
    return first, second, apply(brain_mask(grid), back, own), back


def grey(values: Array, top: float) -> Array:
    """``(ny, nx)`` as bytes."""
    return (np.clip(values / top, 0, 1) * 255).astype(np.uint8)


def checker(one: Array, two: Array, size: int) -> Array:
    """Squares of ``one`` and ``two`` in turn."""
    y, x = np.indices(one.shape)
    return np.where((y // size + x // size) % 2 == 0, one, two)


def outlined(picture: Array, labels: Array) -> Array:
    """Grey with the borders of labels in colour, ``(ny, nx, 3)``."""
    out = np.repeat(picture[..., None], 3, axis=-1)
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        edge |= np.roll(labels, 1, axis) != labels
    out[edge] = (87, 184, 208)
    return out


def enlarged(values: Array, factor: int) -> Array:
    """Every pixel ``factor`` times."""
    return values.repeat(factor, axis=0).repeat(factor, axis=1)


def save(path: Path, *tiles: Array) -> None:
    """Pictures beside one another as PNG."""
    colour = [t if t.ndim == 3 else np.repeat(t[..., None], 3, axis=-1) for t in tiles]
    Picture.fromarray(np.concatenate(colour, axis=1)).save(path, optimize=True)


def change(warp: Registered, like: Image, inside: Array, k: int) -> Array:
    """Growth red, shrinking blue, of slice ``k`` of ``like``: the Jacobian from 0.7 to 1.3."""
    assert warp.grid is not None
    local = resample_to(Image(jacobian(warp), warp.grid, "MR"), like.grid)
    value = np.clip((np.asarray(local.data)[k] - 1) / 0.3, -1, 1) * inside
    red, blue = np.clip(value, 0, 1), np.clip(-value, 0, 1)
    return (np.stack([1 - blue, 1 - red - blue, 1 - red], axis=-1) * 255).astype(np.uint8)


def main(folder: Path, *, voxel: float = 2.5) -> dict[str, Registered | Image | Mask | Warp]:
    """Write the pictures, both scans, the registration and what it carries; all by name."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed, moving, labels, back = scans(voxel)
    warp = register(fixed, moving)
    warped = warp.apply(moving, like=fixed)
    carried = warp.apply(labels, like=fixed, label=True)

    x = fixed.grid.to_world(np.argwhere(brain_mask(fixed.grid).data > 0)[::50])
    missed = np.linalg.norm(points(back, points(warp, x)) - x, axis=1)
    (folder / "register-verdict.txt").write_text(
        f"{warp.verdict.text}\nmissed: {missed.mean():.2f} mm on the mean, "
        f"{np.percentile(missed, 95):.2f} mm at 95 %\n", encoding="utf-8",
    )  # fmt: skip

    k = fixed.grid.shape[0] // 2
    top = float(np.quantile(fixed.data, 0.995))
    there, before, after = (grey(np.asarray(i.data)[k], top) for i in (fixed, moving, warped))
    size, factor = max(round(21 / voxel), 2), max(round(420 / len(there)), 1)
    apart, together = (enlarged(checker(there, i, size), factor) for i in (before, after))
    save(folder / "register-checkerboard.png", apart, together)
    lines = enlarged(outlined(there, np.asarray(carried.data)[k]), factor)
    save(folder / "register-label.png", lines, enlarged(change(warp, fixed, there > 40, k), factor))

    for name, image in (("first", fixed), ("second", moving)):
        write(image, folder / name)
    write_warp(warp, folder / "registration.dcm")
    write_warp(warp, folder / "registration.nii.gz")
    again = read_warp(folder / "registration.dcm")
    write(warped, folder / "warped")
    write(carried, folder / "label.nii.gz")

    chest = thorax_ct(thorax_grid((48, 40, 56), (8.0, 8.0, 8.0)))
    wrong = register(fixed, replace(chest, modality="MR", attributes={}), "affine")
    (folder / "register-wrong.txt").write_text(wrong.verdict.text, encoding="utf-8")
    return {
        "fixed": fixed, "moving": moving, "warp": warp, "warped": warped, "carried": carried,
        "again": again, "wrong": wrong, "way back": invert(warp), "truth": back,
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), voxel=float(sys.argv[2]) if len(sys.argv) > 2 else 2.5)
