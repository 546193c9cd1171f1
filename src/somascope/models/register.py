"""Registration: a network's displacement in voxels becomes a `Warp` in LPS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from somascope.core import QUIET, Finding, Grid, Image, Progress, Warp
from somascope.core.errors import Refused
from somascope.models.card import NetworkCard
from somascope.models.engine import Engine
from somascope.models.prepare import padded, prepared
from somascope.models.seen import history, instances


def findings(
    card: NetworkCard, engine: Engine, images: Sequence[Image], *, progress: Progress = QUIET
) -> list[Finding]:
    """One `Warp` that takes points of the fixed image to the moving one.

    The images' centres are laid on each other first; the network says what remains, in voxels of
    the patch ``(z, y, x)``.
    """
    fixed, moving = (
        prepared(i, card.preparation, channels=card.channels) for i in images
    )  # each on its own lattice
    patch = card.patch if card.dimensions == 3 else (1, *card.patch)
    shape = (patch[0], patch[1], patch[2])
    for image in (fixed, moving):
        if any(n > m for n, m in zip(image.grid.shape, shape, strict=True)):
            raise Refused(
                f"{card.name} registers up to {'x'.join(map(str, shape))} voxels; this image has "
                f"{'x'.join(map(str, image.grid.shape))} after resampling. Crop it"
            )
    a, b = padded(fixed, shape, edge=True), padded(moving, shape, edge=True)
    progress(0.2, "prepared")
    flat = card.dimensions == 2
    given = {
        name: np.ascontiguousarray(i.data[None, :, 0] if flat else i.data[None])
        for name, i in (("fixed", a), ("moving", b))
    }
    flow = engine(given)[0][0].astype(np.float64)
    if flat:
        flow = np.concatenate([np.zeros((1, *flow.shape[1:])), flow])[:, None]
    if flow.shape != (3, *shape):
        raise Refused(f"{card.name} answers {flow.shape} for a patch of {shape}")
    # moving = M_b (i + flow(i)), fixed = M_a i: an affine part and a displacement in mm.
    turn = b.grid.affine[:3, :3]
    matrix = b.grid.affine @ np.linalg.inv(a.grid.affine)
    displacement = np.einsum("ij,jzyx->izyx", turn, flow).astype(np.float32)
    return [
        Warp(
            matrix=matrix, grid=a.grid, displacement=displacement,
            fixed_frame=images[0].grid.frame_of_reference,
            moving_frame=images[1].grid.frame_of_reference,
            on=(*instances(images[0]), *instances(images[1])),
            provenance=history(card, images[0]), attributes=dict(images[0].attributes),
        )
    ]  # fmt: skip


def moved(warp: Warp, image: Image, grid: Grid, *, nearest: bool = False) -> Image:
    """The moving image as it lies on the fixed one's ``grid`` (LPS mm), linear or nearest.

    Beyond the warp's own lattice its outer displacement goes on; beyond the image there is 0.
    """
    from scipy.ndimage import map_coordinates

    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    points = grid.to_world(index)
    target = points @ warp.matrix[:3, :3].T + warp.matrix[:3, 3]
    if warp.displacement is not None and warp.grid is not None:
        where = np.moveaxis(warp.grid.to_index(points), -1, 0)
        for axis in range(3):
            target[..., axis] += map_coordinates(
                np.asarray(warp.displacement[axis], np.float64), where, order=1, mode="nearest"
            )
    source = np.moveaxis(image.grid.to_index(target), -1, 0)
    values = np.asarray(image.data.reshape(image.grid.shape))
    order = 0 if nearest else 1
    kind = values.dtype if nearest else np.dtype(np.float32)
    data = map_coordinates(values.astype(kind), source, order=order, mode="grid-constant")
    return replace(image, data=data, grid=grid, axes=())


def folded(warp: Warp) -> float:
    """Part of the warp's lattice where space is turned inside out (Jacobian not positive)."""
    if warp.displacement is None or warp.grid is None:
        return 0.0
    axes = [a for a, n in enumerate(warp.grid.shape) if n > 1]
    steps = np.linalg.inv(warp.grid.affine[:3, :3])  # per mm: index steps
    gradient = np.zeros((3, 3, *warp.grid.shape))
    for a in axes:
        gradient[:, a] = np.gradient(np.asarray(warp.displacement, np.float64), axis=1 + a)
    slope = np.einsum("ia...,aj->...ij", gradient, steps)
    jacobian = np.linalg.det(warp.matrix[:3, :3] + slope)
    return float((jacobian * np.linalg.det(warp.matrix[:3, :3]) <= 0).mean())
