"""The segments of a mask, each in its own box, and findings that say which one they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias, cast

import numpy as np

from somascope.core import Code, Grid, Image, Mask, Measurement, Param, Segment, Tracking
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.io.dicom import uid
from somascope.process.components import label as components
from somascope.process.measured import measured

Chosen: TypeAlias = Annotated[
    int, Param("Segment of the mask; 0: each of them by itself", minimum=0, maximum=65535)
]

Separate: TypeAlias = Annotated[
    bool, Param("Each body of a segment by itself, the largest first (touching at a corner is one)")
]


@dataclass(frozen=True, eq=False)
class Region:
    """One segment: its voxels ``(nz, ny, nx)`` bool in the smallest box, and where that is."""

    segment: Segment
    inside: Array
    grid: Grid
    start: tuple[int, int, int]

    @property
    def volume(self) -> float:
        """Of its voxels, in mm3."""
        return float(np.count_nonzero(self.inside)) * self.grid.voxel_volume

    def box(self, values: Array) -> Array:
        """The part of an array on the mask's grid that lies in the box."""
        return values[tuple(slice(a, a + n) for a, n in zip(self.start, self.grid.shape))]  # noqa: B905


def regions(mask: Mask, *, segment: int = 0, separate: bool = False) -> list[Region]:
    """Every segment of ``mask`` that has voxels, or the one of that number.

    A probability counts from one half on. With ``separate`` every connected body is a region, its
    number behind the segment's label.

    Raises
    ------
    ParameterError
        There is no such segment, or none with a voxel.
    """
    numbers = [s.number for s in mask.segments]
    if segment and segment not in numbers:
        raise ParameterError(f"the mask has no segment {segment}; it has {numbers}")
    wanted = [s for s in mask.segments if segment in (0, s.number)]
    boxes: dict[int, tuple[slice, ...]] = {}
    if mask.data.ndim == 3:
        from scipy.ndimage import find_objects

        small = mask.data if mask.data.dtype.itemsize <= 2 else mask.data.astype(np.int64)
        listed = find_objects(small, max_label=max(numbers, default=0))
        boxes = {n + 1: b for n, b in enumerate(listed) if b is not None}
    found: list[Region] = []
    for one in wanted:
        if mask.data.ndim == 3:
            box = boxes.get(one.number)
            inside = None if box is None else mask.data[box] == one.number
        else:
            whole = mask.plane(one.number)
            whole = whole >= 0.5 if mask.fractional else whole
            box = tight(whole)
            inside = None if box is None else np.array(whole[box])
        if box is None or inside is None:
            continue
        start = cast("tuple[int, int, int]", tuple(b.start for b in box))
        grid = mask.grid.moved(start=start, shape=inside.shape, step=(1, 1, 1))
        found.append(Region(one, inside, grid, start))
    if not found:
        what = f"segment {segment}" if segment else "the mask"
        raise ParameterError(f"{what} is empty: there is nothing to measure")
    return [part for region in found for part in _bodies(region)] if separate else found


def _bodies(region: Region) -> Iterator[Region]:
    """Its connected bodies, the largest first; one body stays what it is."""
    labels, counts = components(region.inside)
    if counts.size == 1:
        yield region
        return
    from scipy.ndimage import find_objects

    for number, box in enumerate(find_objects(labels), start=1):
        inside = labels[box] == number
        within = tuple(b.start for b in box)
        start = tuple(a + b for a, b in zip(region.start, within, strict=True))
        label = f"{region.segment.label or region.segment.number} {number}"
        segment = replace(region.segment, label=label, tracking=None)
        grid = region.grid.moved(start=within, shape=inside.shape, step=(1, 1, 1))
        yield Region(segment, inside, grid, cast("tuple[int, int, int]", start))


def tight(inside: Array) -> tuple[slice, ...] | None:
    """The smallest box that holds all of a bool volume; None for an empty one."""
    box: list[slice] = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if not used.size:
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)


def on_one_grid(image: Image, mask: Mask) -> None:
    """Refuse a mask that does not lie on the image's voxels."""
    if not mask.grid.allclose(image.grid):
        raise GeometryError(
            f"the mask lies on a grid of {mask.grid.shape} voxels and the image on one of "
            f"{image.grid.shape}, or at another place; resample the mask to the image's grid"
        )


def finding(
    noun: Image | Mask,
    segment: Segment | None,
    name: str,
    value: float,
    unit: str,
    *,
    code: Code | None = None,
    uncertainty: float | None = None,
) -> Measurement:
    """A number told of one segment; which one, its tracking identifier says."""
    made = measured(cast("Image", noun), name, value, unit, code=code, uncertainty=uncertainty)
    if isinstance(noun, Mask) and noun.on:
        made = replace(made, on=noun.on)
    return made if segment is None else replace(made, tracking=tracking(noun, segment))


def tracking(noun: Image | Mask, segment: Segment) -> Tracking:
    """That of the segment, or one made of where it was seen and its number."""
    if segment.tracking is not None:
        return segment.tracking
    seen = [s.name for s in noun.provenance.sources] or ["unnamed"]
    made = uid.derive("segment", *seen, str(segment.number), segment.label)
    return Tracking(made, segment.label or f"Segment {segment.number}")


def findings(
    noun: Image | Mask, segment: Segment, rows: Iterable[tuple[Code, float, str]]
) -> list[Measurement]:
    """`finding` for many concepts, values and units of one segment, its facts made once."""
    made = finding(noun, segment, "", 0.0, "1")
    return [
        Measurement(
            concept=code, value=float(value), unit=unit, on=made.on, tracking=made.tracking,
            provenance=made.provenance, attributes=made.attributes,
        )
        for code, value, unit in rows
    ]  # fmt: skip
