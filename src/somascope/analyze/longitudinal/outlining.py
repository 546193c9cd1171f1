"""Lesions that nobody has drawn, outlined by half their contrast near where they must lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.analyze.longitudinal.lesions import Lesion, box_of, shared
from somascope.analyze.longitudinal.newness import away
from somascope.analyze.measure.regions import Region, tight
from somascope.core.grid import Array, Grid
from somascope.core.image import Image
from somascope.process.components import fill_holes
from somascope.process.components import label as components

FAINT = 3.0
"""Standard deviations of its own values by which a lesion has to differ from what is round it."""
SHELL = (2.0, 6.0)
"""mm from a lesion to the surroundings it is compared with."""


@dataclass(frozen=True, eq=False)
class Outlined:
    """The lesion's voxels on the current grid; ``note``: what to know about them.

    ``region`` is None where nothing of the lesion is left, it is too faint to be outlined, or its
    outline is that of another lesion: ``one_with`` is the index of that.
    """

    region: Region | None
    note: str = ""
    faint: bool = False
    one_with: int | None = None


def outlined(
    current: Image, prior: Image, lesions: Sequence[Lesion], carried: Sequence[Region | None]
) -> list[Outlined]:
    """Each lesion in the current image, both images in one unit and single volumes.

    Half way between the lesion's and its surroundings' values in the prior image lies the limit;
    what is beyond it, connected, and overlaps most with the carried lesion, is the lesion. Where
    that runs out of reach (into a vessel, the wall) it is cut off at half the reach, and said so.
    Of two outlines that share more than half of the smaller one the larger is kept, for both.
    """
    every = np.zeros(prior.grid.shape, bool)
    for lesion in lesions:
        every[box_of(lesion.region)] |= lesion.region.inside
    return _each_once(
        [
            Outlined(None, "lies outside the current image")
            if place is None
            else _one(current, prior, lesion, place, every)
            for lesion, place in zip(lesions, carried, strict=True)
        ],
        lesions,
    )


def _each_once(made: list[Outlined], lesions: Sequence[Lesion]) -> list[Outlined]:
    """No body twice: lesions that have become one would each have the whole of it."""
    sizes = [0 if m.region is None else int(np.count_nonzero(m.region.inside)) for m in made]
    kept: list[int] = []
    for i in sorted(range(len(made)), key=lambda i: -sizes[i]):
        region = made[i].region
        if region is None:
            continue
        for k in kept:
            other = made[k].region
            if other is not None and 2 * shared(region, other) > sizes[i]:
                note = f"its outline is that of {lesions[k].name}"
                made[i] = Outlined(None, note, one_with=k)
                break
        else:
            kept.append(i)
    return made


def _one(current: Image, prior: Image, lesion: Lesion, place: Region, every: Array) -> Outlined:
    was, around, spread = _contrast(prior, lesion, every)
    if abs(was - around) < FAINT * spread:
        return Outlined(None, "is too faint to be outlined by its contrast", faint=True)
    reach = max(8.0, 0.6 * lesion.size.long)
    box, inside = _padded(place, current.grid, reach)
    values = current.data.reshape(current.grid.shape)[box].astype(np.float64)
    limit = 0.5 * (was + around)
    beyond = values > limit if was > around else values < limit
    near = away(inside, current.grid)
    labels, counts = components(beyond & (near <= reach))
    if not len(counts):
        return Outlined(None, "is not seen any more")
    common = np.bincount(labels[inside], minlength=len(counts) + 1)[1:]
    best = int(np.argmax(common)) + 1
    if common.max(initial=0) < max(1.0, 0.02 * np.count_nonzero(inside)):
        touching = np.bincount(labels[near <= 4.0], minlength=len(counts) + 1)[1:]
        best = int(np.argmax(touching)) + 1
        if touching.max(initial=0) < 3:
            return Outlined(None, "is not seen any more")
    body, note = labels == best, ""
    if (body & (near > 0.9 * reach)).any():
        body &= near <= 0.5 * reach
        note = "runs into its surroundings and was cut off: look at its outline"
    body = fill_holes(body)
    used = tight(body)
    if used is None:
        return Outlined(None, "is not seen any more")
    start = [int(b.start + u.start) for b, u in zip(box, used, strict=True)]
    grid = current.grid.moved(start=start, shape=body[used].shape, step=(1, 1, 1))
    z, y, x = start
    return Outlined(Region(lesion.segment, body[used], grid, (z, y, x)), note)


def _contrast(image: Image, lesion: Lesion, every: Array) -> tuple[float, float, float]:
    """Median inside, median around, and the spread inside."""
    box, inside = _padded(lesion.region, image.grid, SHELL[1] + 1)
    values = image.data.reshape(image.grid.shape)[box].astype(np.float64)
    gap = away(inside, image.grid)
    shell = (gap >= SHELL[0]) & (gap <= SHELL[1]) & ~every[box]
    core = inside & (away(~inside, image.grid) > 1.2 * max(image.grid.spacing[1:]))
    core = core if np.count_nonzero(core) >= 4 else inside
    mine = values[core]
    middle = float(np.median(mine))
    spread = 1.4826 * float(np.median(np.abs(mine - middle)))
    beside = float(np.median(values[shell])) if shell.any() else middle
    return middle, beside, spread


def _padded(region: Region, grid: Grid, by: float) -> tuple[tuple[slice, ...], Array]:
    more = [int(np.ceil(by / d)) + 1 for d in grid.spacing]
    low = [max(0, s - m) for s, m in zip(region.start, more, strict=True)]
    high = [
        min(n, s + k + m)
        for n, s, k, m in zip(grid.shape, region.start, region.inside.shape, more, strict=True)
    ]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside = np.zeros([b - a for a, b in zip(low, high, strict=True)], bool)
    here = tuple(
        slice(s - a, s - a + k)
        for s, a, k in zip(region.start, low, region.inside.shape, strict=True)
    )
    inside[here] = region.inside
    return box, inside
