"""Labels of several atlases on one grid become one: majority, weighted votes, joint fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.analyze.atlas import patches
from somascope.analyze.atlas.choices import Fusion
from somascope.analyze.atlas.staple import staple
from somascope.analyze.atlas.votes import vote
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.core.progress import QUIET, Progress
from somascope.process.morphology import extreme

_NONE = np.zeros((0, 1, 1, 1), np.float32)


@dataclass(frozen=True, eq=False)
class Fused:
    """``labels`` ``(nz, ny, nx)``; ``share`` of the votes that won, float32.

    ``planes``: share of each of ``numbers`` ``(n, nz, ny, nx)`` float32, where it was asked for.
    """

    labels: Array
    share: Array
    numbers: tuple[int, ...]
    planes: Array | None = None


def majority(labels: Sequence[Array], *, planes: bool = False) -> Fused:
    """The label most atlases give; of equally many the smaller number, the background first."""
    stack = _stacked(labels)
    numbers = _numbers(stack)
    best = np.zeros(stack.shape[1:], np.uint16)
    winner = np.zeros(stack.shape[1:], stack.dtype)
    every = np.zeros((len(numbers) if planes else 0, *winner.shape), np.float32)
    for k, number in enumerate(numbers):
        count = (stack == number).sum(axis=0, dtype=np.uint16)
        won = count > best
        best[won], winner[won] = count[won], number
        if planes:
            every[k] = count / np.float32(len(stack))
    share = best / np.float32(len(stack))
    return Fused(winner, share, numbers, every if planes else None)


def disputed(stack: Array, search: tuple[int, int, int]) -> Array:
    """Where an atlas could vote otherwise than the rest, matches within ``search`` voxels."""
    low = np.minimum.reduce([extreme(s, search, largest=False) for s in stack])
    high = np.maximum.reduce([extreme(s, search, largest=True) for s in stack])
    return low != high


def fused(
    target: Array, values: Sequence[Array], labels: Sequence[Array],
    spacing: tuple[float, float, float], *, method: Fusion = "joint", patch: float = 2.0,
    search: float = 3.0, alpha: float = 0.1, beta: float = 2.0, planes: bool = False,
    progress: Progress = QUIET,
) -> Fused:  # fmt: skip
    """One segmentation of an image from atlases registered to it.

    Parameters
    ----------
    target
        The image ``(nz, ny, nx)``.
    values, labels
        Of each atlas, on the same voxels.
    spacing
        ``(dz, dy, dx)`` in mm.
    patch, search
        Half edges in mm of the patches that are compared, and of the box in which each atlas's best
        match is looked for. Patches are compared with their own mean and variance taken out.
    alpha, beta
        Of the joint errors (see `votes`); ``weighted`` uses their diagonal.
    planes
        Whether to give every label's share too.

    Raises
    ------
    GeometryError
        Arrays of different shapes.
    ParameterError
        No atlas, or a patch without a neighbour.
    """
    stack = _stacked(labels)
    if any(np.shape(v) != np.shape(target) for v in [*values, *stack]):
        raise GeometryError(
            f"fused: the image has {np.shape(target)} voxels and the atlases "
            f"{[np.shape(v) for v in values]}; bring them to the image's grid first"
        )
    if method == "majority" or len(stack) == 1:
        return majority(labels, planes=planes)
    if method == "staple":
        found = staple(stack)
        return Fused(
            found.labels, found.share, found.performance.numbers,
            found.planes() if planes else None,
        )  # fmt: skip
    if len(values) != len(stack):
        raise ParameterError(f"fused: {len(stack)} label maps but {len(values)} images")
    near = patches.voxels(patch, spacing, np.shape(target))
    far = patches.voxels(search, spacing, np.shape(target))
    if not any(near):
        raise ParameterError(
            f"fused: a patch of {patch:g} mm has no neighbour at voxels of {spacing} mm; make it "
            "wider"
        )
    numbers = _numbers(stack)
    number = np.zeros(int(stack.max()) + 1, np.uint16)
    number[list(numbers)] = np.arange(len(numbers))
    index = number[stack]
    doubt = disputed(index, far)
    out = index[0].copy()
    share = np.ones(out.shape, np.float32)
    every = _NONE
    if planes:
        every = np.stack([(index[0] == k) for k in range(len(numbers))]).astype(np.float32)
        every[:, doubt] = 0.0
    if doubt.any():
        _decide(
            target, values, index, doubt, spacing, near, far, alpha, beta,
            (out, share, every), joint=method == "joint", progress=progress,
        )  # fmt: skip
    table = np.asarray(numbers, stack.dtype)
    return Fused(table[out], share, numbers, every if planes else None)


def _decide(
    target: Array, values: Sequence[Array], index: Array, doubt: Array,
    spacing: tuple[float, float, float], near: tuple[int, int, int], far: tuple[int, int, int],
    alpha: float, beta: float, out: tuple[Array, Array, Array], *, joint: bool,
    progress: Progress,
) -> None:  # fmt: skip
    """Search and vote in the box that holds all of what is disputed."""
    box = tuple(
        slice(int(used[0]), int(used[-1]) + 1)
        for used in (
            np.flatnonzero(doubt.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)
        )
    )
    mz, my, mx = (a + b for a, b in zip(near, far, strict=True))
    margin = (mz, my, mx)
    # Prepared whole, so that a patch at the box's edge sees what lies beyond, and cut then.
    ready = [_cut(patches.prepared(v, near, margin), box, margin) for v in [target, *values]]
    progress(0.1, "patches prepared")
    offsets = patches.shifts(far, spacing)
    _, which = patches.search(ready[0], ready[1:], patch=near, margin=margin, offsets=offsets)
    progress(0.7, "best matches found")
    pads = [(0, 0), *((m, m) for m in margin)]
    labels = np.pad(index, pads, mode="edge")[(slice(None), *_wide(box, margin))]
    # Whole arrays of the box, not views: the kernel is compiled for one layout.
    parts = [np.ascontiguousarray(a[(..., *box)] if len(a) else a) for a in out]
    vote(
        np.argwhere(doubt[box]),
        ready[0],
        ready[1:],
        np.ascontiguousarray(labels),
        patch=near,
        margin=margin,
        offsets=offsets,
        which=which,
        alpha=alpha,
        beta=beta,
        joint=joint,
        winner=parts[0],
        share=parts[1],
        planes=parts[2],
    )
    for whole, part in zip(out, parts, strict=True):
        if len(whole):
            whole[(..., *box)] = part
    progress(1.0, "voted")


def _wide(box: tuple[slice, ...], margin: tuple[int, int, int]) -> tuple[slice, ...]:
    """The box with its margin, in an array padded by it."""
    return tuple(slice(b.start, b.stop + 2 * m) for b, m in zip(box, margin, strict=True))


def _cut(
    whole: patches.Prepared, box: tuple[slice, ...], margin: tuple[int, int, int]
) -> patches.Prepared:
    part = _wide(box, margin)
    return patches.Prepared(
        *(np.ascontiguousarray(a[part]) for a in (whole.values, whole.mean, whole.scale))
    )


def _stacked(labels: Sequence[Array]) -> Array:
    if not len(labels):
        raise ParameterError("no atlas is left to vote; give at least one")
    shapes = {np.shape(one) for one in labels}
    if len(shapes) > 1:
        raise GeometryError(f"label maps of different shapes {shapes}; bring them to one grid")
    return np.stack([np.asarray(one) for one in labels])


def _numbers(stack: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unique(stack))
