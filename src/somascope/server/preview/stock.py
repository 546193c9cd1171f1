"""`Stock`: a series in memory, and the part of it that a slice of a result needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from somascope.core import Image
from somascope.core.errors import NotFound, ParameterError
from somascope.process.chain import ChainStep

MOST_BYTES = 3 << 29
"""Of the values of a series, 1.5 GiB."""
REACH = 3.0
"""How far a filter sees, in widths that its parameters give in mm."""
MOST_MARGIN = 10
"""Slices on either side; a filter that sees further is seen rightly with the volume."""


@dataclass(frozen=True)
class Plane:
    """One slice of the stock."""

    number: int
    """Of the image in the series."""
    leading: tuple[int, ...]
    z: int
    image: Image
    """The volume it is in; no leading axes but ``channel``."""

    @property
    def volume(self) -> str:
        """A name of the volume."""
        return ":".join(map(str, (self.number, *self.leading)))


class Stock:
    """The volumes of a series by instance and frame.

    Raises `ParameterError` where the files hold no image, or too much.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        from somascope.io.dicom.series import Places, volumes

        places: list[Places] = []
        images, problems = volumes(list(paths), places=places)
        if not images:
            reason = problems[0].reason if problems else "it holds no image"
            raise ParameterError(f"the series cannot be processed: {reason}")
        size = sum(i.data.nbytes for i in images)
        if size > MOST_BYTES:
            raise ParameterError(
                f"the series has {size >> 20} MiB and a preview takes at most {MOST_BYTES >> 20}; "
                "run the operation as a job"
            )
        self.images = images
        self._where = {
            (uid, frame): (number, index)
            for number, known in enumerate(places)
            for index, (uid, frame) in enumerate(known)
        }

    def plane(self, sop: str, frame: int, shape: tuple[int, int]) -> Plane:
        """The slice that is this frame (from 1), which has ``shape`` rows and columns.

        Raises `NotFound` where no volume holds it as it is.
        """
        found = self._where.get((sop, frame))
        if found is None or self.images[found[0]].grid.shape[1:] != shape:
            raise NotFound(
                "this image is part of no volume: it is resampled or cut when it is read"
            )
        number, index = found
        image = self.images[number]
        entry, z = divmod(index, image.grid.shape[0])
        # Planes are counted over the leading axes but colour, whose values belong to one plane.
        sizes = [n for n, a in zip(image.shape, image.axes, strict=False) if a.name != "channel"]
        names = [a.name for a in image.axes if a.name != "channel"]
        leading = tuple(int(i) for i in np.unravel_index(entry, sizes)) if sizes else ()
        return Plane(number, leading, z, image.at(**dict(zip(names, leading, strict=True))))

    def volume(self, name: str) -> Image:
        """The volume of that name (`Plane.volume`)."""
        number, *leading = (int(p) for p in name.split(":"))
        if not 0 <= number < len(self.images):
            raise NotFound(f"the series has no volume {name[:40]!r}")
        image = self.images[number]
        names = [a.name for a in image.axes if a.name != "channel"]
        if len(names) != len(leading):
            raise NotFound(f"the series has no volume {name[:40]!r}")
        return image.at(**dict(zip(names, leading, strict=True)))


def slab(plane: Plane, steps: Sequence[ChainStep], window: Window) -> Image:
    """What the chain has to see so that the window of this slice comes out right.

    Slices and pixels around it as far as the parameters reach; those that say nothing of their
    reach (a range of all values, say) are right with the volume only.
    """
    image = plane.image
    nz, ny, nx = image.grid.shape
    dz, dy, dx = image.grid.spacing
    deep = min(reach(steps, dz, flat=False), MOST_MARGIN)
    # In the plane no more than what is cut off: a window over all of it has no margin.
    my, mx = reach(steps, dy * window.step, flat=True), reach(steps, dx * window.step, flat=True)
    y0, y1 = max(window.top - my * window.step, 0), min(window.bottom + my * window.step, ny)
    x0, x1 = max(window.left - mx * window.step, 0), min(window.right + mx * window.step, nx)
    # Decimated pixels lie where those of the window lie.
    y0 += (window.top - y0) % window.step
    x0 += (window.left - x0) % window.step
    return image.crop(
        start=(max(plane.z - deep, 0), y0, x0), stop=(min(plane.z + deep + 1, nz), y1, x1),
        step=(1, window.step, window.step),
    )  # fmt: skip


@dataclass(frozen=True)
class Window:
    """The visible part of a slice in pixels, ends not included, every ``step``-th of them."""

    top: int
    left: int
    bottom: int
    right: int
    step: int = 1

    @classmethod
    def read(cls, given: Any, shape: tuple[int, int]) -> Window:
        """``[top, left, bottom, right, step]`` within ``shape``; all of it where None."""
        if given is None:
            return cls(0, 0, *shape)
        numbers = [int(v) for v in cast("list[Any]", given)]
        if len(numbers) != 5 or not 1 <= numbers[4] <= 64:
            raise ParameterError("a window is [top, left, bottom, right, step]")
        top, left = max(numbers[0], 0), max(numbers[1], 0)
        bottom, right = min(numbers[2], shape[0]), min(numbers[3], shape[1])
        if not (top < bottom and left < right):
            raise ParameterError("a window must hold some of the image")
        return cls(top, left, bottom, right, numbers[4])


def reach(steps: Sequence[ChainStep], spacing: float, *, flat: bool) -> int:
    """Voxels of ``spacing`` mm that a chain sees around one, by its parameters.

    Lengths count `REACH` times, whole numbers (radii, iterations) once, sizes half; ``flat`` asks
    for the reach within a slice, which steps that work slice by slice have too.
    """
    total = 0
    for step in steps:
        if not flat and step.params.get("dimensions") == "slice":
            continue
        most = 0.0
        for p in step.operation.parameters:
            value = step.params.get(p.name)
            numbers = [v for v in _numbers(value) if v > 0]
            if not numbers:
                continue
            if p.param.unit == "mm":
                most = max(most, REACH * max(numbers) / spacing)
            elif p.type == "integer" and (p.param.maximum or math.inf) <= 64:
                most += max(numbers) // 2 if "size" in p.name else max(numbers)
        total += math.ceil(most - 1e-6)
    return total


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool):
        return []
    if isinstance(value, (int, float)):
        return [float(value)]
    if isinstance(value, (list, tuple)):
        return [float(v) for v in cast("Sequence[Any]", value) if isinstance(v, (int, float))]
    return []


def cut(result: Image, plane: Plane, window: Window | None = None) -> tuple[Image, list[float]]:
    """The slice of ``result`` at a slice of the stock, and its place there.

    Returns
    -------
    image
        ``nz = 1``.
    place
        Corners as pixel coordinates ``(x, y)`` of the stock's slice: of its first pixel's outer
        corner, and of the ends of its first row and first column. Pixel centres are whole.
    """
    source = plane.image.grid
    ny, nx = source.shape[1:]
    middle = source.to_world((plane.z, (ny - 1) / 2, (nx - 1) / 2))
    nz = result.grid.shape[0]
    z = int(np.clip(np.rint(result.grid.to_index(middle)[0]), 0, nz - 1))
    ry, rx = result.grid.shape[1:]
    top, left, bottom, right, step = 0, 0, ry, rx, 1
    if window is not None:
        # The window's corners on the result's grid; its pixels where the grids are one.
        a = result.grid.to_index(source.to_world((plane.z, window.top, window.left)))[1:]
        b = result.grid.to_index(source.to_world((plane.z, window.bottom - 1, window.right - 1)))[
            1:
        ]
        low, high = np.minimum(a, b), np.maximum(a, b)
        scale = max(float(np.max(high - low + 1)), 1.0) / max(
            window.bottom - window.top, window.right - window.left
        )
        step = max(int(window.step * scale + 1e-6), 1)
        top, left = (int(v) for v in np.clip(np.rint(low), 0, (ry - 1, rx - 1)))
        bottom, right = (int(v) + 1 for v in np.clip(np.rint(high), (top, left), (ry - 1, rx - 1)))
    one = result.crop(start=(z, top, left), stop=(z + 1, bottom, right), step=(1, step, step))
    rows, columns = one.grid.shape[1:]
    corners = [(0, -0.5, -0.5), (0, -0.5, columns - 0.5), (0, rows - 0.5, -0.5)]
    place: list[float] = []
    for corner in corners:
        index = source.to_index(one.grid.to_world(corner))
        place += [float(index[2]), float(index[1])]
    return replace(one, provenance=result.provenance), place
