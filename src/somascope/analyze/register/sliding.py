"""Organs that slide along each other: each part has a smooth map of its own, glued at the border.

A map that is smooth everywhere drags the chest wall along with the lung. Here the parts are named
by a mask of the fixed image, each is registered by its own voxels, and a point follows the part it
lies in (compare Wu et al., Med. Phys. 35 (2008) 775-781).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.analyze.register.engine import judged, register
from somascope.analyze.register.evidence import home
from somascope.analyze.register.presets import Name
from somascope.analyze.register.transform import points
from somascope.analyze.register.verdict import Registered
from somascope.core import QUIET, Grid, Image, Mask, Param, Progress, Segment, Warp, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

FEWEST = 512
"""Voxels that a part needs."""


@operation("analyze.register_sliding")
def register_sliding_(
    fixed: Image,
    moving: Image,
    parts: Mask,
    *,
    preset: Annotated[Name | None, Param("Of each part; by content when not given")] = None,
    progress: Progress = QUIET,
) -> Warp:
    """Register the second image to the first where parts slide along each other.

    ``parts`` on the grid of the first image: each segment has a smooth map of its own, and so has
    what is in none (lungs and the rest, vertebrae and the rest).
    """
    return register_sliding(fixed, moving, parts, preset, progress=progress)


def register_sliding(
    fixed: Image,
    moving: Image,
    parts: Mask,
    preset: str | None = None,
    *,
    progress: Progress = QUIET,
) -> Registered:
    """The map from points of ``fixed`` to points of ``moving``, smooth within each part.

    Raises
    ------
    GeometryError
        The mask lies on another grid, or has no segment of enough voxels.
    """
    if not parts.grid.allclose(fixed.grid, tolerance_mm=0.01):
        raise GeometryError(
            f"register: the parts lie on {parts.grid!r} and the fixed image on {fixed.grid!r}; "
            "bring them there first (process.resample_to, or warp.apply with label=True)"
        )
    owner = _owners(parts)
    numbers = [k for k in range(int(owner.max()) + 1) if (owner == k).sum() >= FEWEST]
    if len(numbers) < 2:
        raise GeometryError(
            f"register: the mask parts the image into {len(numbers)} pieces of at least {FEWEST} "
            "voxels; two are needed that slide along each other"
        )
    first = register(fixed, moving, preset, progress=_share(progress, 0.0, 0.3))
    begin = Warp(matrix=first.matrix)
    made: dict[int, Registered] = {}
    for n, k in enumerate(numbers):
        alone = Mask(
            data=(owner == k).astype(np.uint8), grid=fixed.grid, segments=(Segment(1, "part"),)
        )
        share = _share(progress, 0.3 + 0.6 * n / len(numbers), 0.3 + 0.6 * (n + 1) / len(numbers))
        made[k] = register(
            fixed, moving, first.preset, mask=alone, start=begin, accept=True, progress=share
        )
    whole = replace(
        first, grid=fixed.grid, displacement=_glued(owner, made, first, fixed.grid),
        backward=_glued_back(owner, made, first, fixed.grid),
    )  # fmt: skip
    whole = judged(fixed, moving, whole)
    note = f"{len(made)} parts that slide along each other, each with a smooth map of its own"
    bad = sum(not one.verdict.trusted for one in made.values())
    notes = (*whole.verdict.notes, note) + ((f"{bad} of them not to be trusted",) if bad else ())
    progress(1.0, whole.verdict.words)
    return replace(whole, verdict=replace(whole.verdict, notes=notes))


def _owners(parts: Mask) -> Array:
    """The part of each voxel: 0 for none, else the segment's place from 1."""
    out = np.zeros(parts.grid.shape, np.uint16)
    for k, segment in enumerate(parts.segments, 1):
        plane = np.asarray(parts.plane(segment.number))
        out[plane > 0.5 if parts.fractional else plane > 0] = k
    return out


def _follow(made: dict[int, Registered], k: int) -> Registered:
    """The map of a part; of the first one for a part that is too small to have its own."""
    return made.get(k, next(iter(made.values())))


def _glued(owner: Array, made: dict[int, Registered], first: Registered, grid: Grid) -> Array:
    """Displacement ``(3, nz, ny, nx)`` after the common matrix: each voxel's part's."""
    out = np.empty((3, *grid.shape), np.float32)
    for k in np.unique(owner):
        index = np.argwhere(owner == k)
        x = grid.to_world(index)
        moved = points(_follow(made, int(k)), x) - _linear(first.matrix, x)
        out[(slice(None), *index.T)] = moved.T
    return out


def _glued_back(owner: Array, made: dict[int, Registered], first: Registered, grid: Grid) -> Array:
    """Displacement of the way back, before the inverse matrix, on the same grid.

    A place belongs to the part whose own way back leads into that part; where several claim it, or
    none does (a gap), the part that it lies in itself.
    """
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    x = grid.to_world(index).reshape(-1, 3)
    y = _linear(first.matrix, x)
    flat = owner.reshape(-1)
    best = home(_follow(made, 0), y)
    taken = np.zeros(len(x), bool)
    for k, one in made.items():
        back = home(one, y)
        there = np.rint(grid.to_index(back)).astype(int)
        np.clip(there, 0, np.array(grid.shape) - 1, out=there)
        claims = owner[tuple(there.T)] == k
        use = claims & (~taken | (flat == k))
        best[use] = back[use]
        taken |= claims
    return np.ascontiguousarray((best - x).T.reshape(3, *grid.shape), np.float32)


def _linear(matrix: Float, x: Float) -> Float:
    return x @ matrix[:3, :3].T + matrix[:3, 3]


def _share(progress: Progress, low: float, high: float) -> Progress:
    return Progress(lambda p, t: progress(low + (high - low) * p, t))
