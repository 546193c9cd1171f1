"""One object of an image: its own look, what is around it, and where it lies.

A network of single objects reads three things at once, stacked as channels of one array: the crop
around the object, the whole image, and the object marked in the whole image, from which the network
also tells where in the image it lies and how large it is (`somascope.learn.networks.single`). Boxes
are corners in voxel edges of the image, as `somascope.models.detect` has them: y0, x0, y1, x1 in
pictures, z0, y0, x0, z1, y1, x1 in volumes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core import Grid, Image, Mask
from somascope.core.errors import CorruptFile, ParameterError
from somascope.core.grid import Array, Float
from somascope.models.prepare import (
    UNLEVELLED,
    Preparation,
    channels_of,
    levels_of,
    oriented,
    placed,
    scaled,
)
from somascope.process.components import bounds, label
from somascope.process.resample import resample_to


@dataclass(frozen=True)
class Single:
    """How much around an object is seen.

    Parameters
    ----------
    factor
        Times that the crop is as long as the object, along the axis where it fills it most.
    least_mm
        Shortest edge of the crop: smaller objects are all seen at one scale, so that their size
        shows (pictures: in pixels).
    """

    factor: float
    least_mm: float

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Single:
        """From the JSON object of a card or plan."""
        made = cls(float(record["factor"]), float(record["least_mm"]))
        if not (1 <= made.factor <= 100 and 0 <= made.least_mm < 1e5):
            raise CorruptFile(f"crops of {dict(record)!r} cannot be: factor 1 to 100, edge in mm")
        return made


class Shown:
    """An image whose objects are looked at one by one; what they share is made once.

    Parameters
    ----------
    how
        ``how.size`` is the shape both of the crop and of the whole image.
    """

    def __init__(self, image: Image, how: Preparation, single: Single, *, channels: int) -> None:
        image = channels_of(image, channels)
        self.grid = image.grid
        self._single, self._how = single, how
        there = placed(image, how)
        self._levels = None if how.scaling in UNLEVELLED else levels_of(there.data, how)
        self._whole = replace(there, data=scaled(there.data, how, levels=self._levels))
        self._turned = oriented(image) if how.orient and image.grid.shape[0] > 1 else image

    def crop(self, box: Sequence[float] | Float) -> Image:
        """What is in and around the box: float32 ``(channels, *how.size)`` on a grid of its own."""
        from somascope.models.detect import carried

        row = checked_box(box, self.grid)
        image = self._turned
        nz, ny, nx = self._how.size
        shape = (nz, ny, nx)
        first = image.grid.shape[0] == 1  # a picture: its one slice stays as it is
        ends = carried(row[None], self.grid, image.grid)[0]
        d = len(ends) // 2
        low, high = np.zeros(3), np.ones(3)
        low[3 - d :], high[3 - d :] = ends[:d], ends[d:]
        old = np.asarray(image.grid.spacing)
        sides = ((high - low) * old)[first:]
        inside = np.asarray(shape[first:], float)
        edge = max(
            float((self._single.factor * sides / inside).max()),
            self._single.least_mm / float(inside.max()),
        )
        spacing = np.full(3, edge)
        if first:
            spacing[0] = old[0]
        affine = image.grid.affine.copy()
        affine[:3, :3] *= spacing / old
        middle = image.grid.to_world((low + high) / 2 - 0.5)
        affine[:3, 3] = middle - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
        wanted = Grid(shape, affine, image.grid.frame_of_reference)
        # Only the part that is looked at, and a margin for what lies between voxels.
        half = (np.asarray(shape) / 2) * spacing / old + 2
        centre = (low + high) / 2
        start = [int(max(math.floor(c - h), 0)) for c, h in zip(centre, half, strict=True)]
        stop = [int(min(math.ceil(c + h), n))
                for c, h, n in zip(centre, half, image.grid.shape, strict=True)]  # fmt: skip
        part = image.data[(..., *(slice(a, b) for a, b in zip(start, stop, strict=True)))]
        grid = image.grid.moved(start=start, shape=part.shape[-3:], step=(1, 1, 1))
        fill = min(float(image.data.min()), 0.0)
        near = resample_to(replace(image, data=part, grid=grid), wanted, fill=fill, average=True)
        return replace(near, data=scaled(near.data, self._how, levels=self._levels))

    def mark(self, box: Sequence[float] | Float) -> Array:
        """How much of each voxel of the whole image lies in the box: float32 ``how.size``."""
        from somascope.models.detect import carried

        grid = self._whole.grid
        ends = carried(checked_box(box, self.grid)[None], self.grid, grid)[0]
        d = len(ends) // 2
        found = np.ones((1, 1, 1), np.float32)
        for axis in range(3 - d, 3):
            a, b = ends[axis - (3 - d)], ends[axis - (3 - d) + d]
            cells = np.arange(grid.shape[axis])
            part = np.clip(np.minimum(cells + 1, b) - np.maximum(cells, a), 0, 1)
            found = found * part.astype(np.float32).reshape([-1 if i == axis else 1
                                                              for i in range(3)])  # fmt: skip
        return np.broadcast_to(found, grid.shape).copy()

    def array(self, box: Sequence[float] | Float) -> Array:
        """Crop, whole and mark: float32 ``(2 channels + 1, *how.size)``."""
        return np.concatenate(
            [self.crop(box).data, self._whole.data, self.mark(box)[None]], dtype=np.float32
        )


def checked_box(box: Sequence[float] | Float, grid: Grid) -> Float:
    """The box as numbers.

    Raises
    ------
    ParameterError
        Not four (six) finite numbers, no size, or nothing of it within the image.
    """
    row = np.asarray(box, np.float64)
    d = 2 if grid.shape[0] == 1 else 3
    if row.shape != (2 * d,) or not np.isfinite(row).all():
        raise ParameterError(
            f"the box {row.ravel()[:9].tolist()} is none of {d} dimensions; give {2 * d} numbers, "
            "lower corner first, in voxels"
        )
    low, high = row[:d], row[d:]
    shape = np.asarray(grid.shape[3 - d :])
    if not (low < high).all() or (high <= 0).any() or (low >= shape).any():
        raise ParameterError(
            f"the box from {low.tolist()} to {high.tolist()} has no voxel of the image of "
            f"{shape.tolist()}; corners are in voxels of this very image"
        )
    return row


def around(objects: Mask) -> Float:
    """Corners ``(n, 2 d)`` of the box around every connected body (26 neighbours) of each segment.

    Segment by segment, the largest first. A fractional mask counts from one half.
    """
    rows: list[tuple[float, ...]] = []
    for segment in objects.segments:
        plane = objects.plane(segment.number)
        numbered, counts = label(plane >= 0.5 if objects.fractional else plane)
        rows += bounds(numbered, len(counts))
    found = np.asarray(rows, np.float64).reshape(-1, 6)
    return found if objects.grid.shape[0] > 1 else found[:, [1, 2, 4, 5]]


def of_coco(box: Sequence[float]) -> Float:
    """Corners of a box that COCO writes [x, y, w, h], in volumes [x, y, z, w, h, d]."""
    values = np.asarray(box, np.float64)
    d = len(values) // 2
    if values.shape not in ((4,), (6,)) or not np.isfinite(values).all():
        raise CorruptFile(f"bbox is {list(box)[:9]}; give [x, y, w, h] or [x, y, z, w, h, d]")
    low = values[:d][::-1]
    return np.concatenate([low, low + values[d:][::-1]])


def found_in(path: Path, *, least: float = 0.0) -> dict[str, Float]:
    """The boxes that a detector wrote (`predict`'s JSON), by image; those below ``least`` left out.

    Raises
    ------
    CorruptFile
        Something else.
    """
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[Float]] = {}
        for row in rows:
            mine = found.setdefault(str(row["image"]), [])
            if float(row.get("score", 1.0)) >= least:
                mine.append(of_coco(row["bbox"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(
            f"{path.name} is no list of boxes as predict writes it ({error!r})"
        ) from error
    return {name: np.array(each) for name, each in found.items()}
