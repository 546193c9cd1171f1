"""Where a hand has pointed: points in millimetres and scribbles, as labels on an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.analyze.threshold import COLOURS
from somascope.core import TISSUE, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.choices import mask_of, one_volume

OUTSIDE = -1
"""Label of what is marked as outside of every object."""


def volume_of(image: Image, operation: str) -> tuple[Array, Array]:
    """The values ``(nz, ny, nx)`` as float32, and where they are finite (bool).

    What is not finite holds the least finite value. Refuses colour, complex values, several
    volumes, images without a finite value and constant ones.
    """
    given = one_volume(image, operation)
    known = np.isfinite(given)
    if not known.any():
        raise ParameterError(f"{operation}: the image has no finite value; choose another")
    values = given.astype(np.float32)
    low, high = (float(f(values[known])) for f in (np.min, np.max))
    if low == high:
        raise ParameterError(
            f"{operation}: the image is constant ({low:g} {image.unit}); there is nothing to part"
        )
    if not known.all():
        values[~known] = low
    return np.ascontiguousarray(values), known


def places(image: Image, points: Sequence[float], *, name: str, operation: str) -> Float:
    """Points given as one row of L, P, S in mm, as fractional ``(n, 3)`` indices in the grid.

    Raises
    ------
    ParameterError
        Not three numbers each, or a point outside of the image.
    """
    if len(points) % 3:
        raise ParameterError(
            f"{operation}: {name} has {len(points)} numbers; give three (L, P, S) for each point"
        )
    world = np.asarray(points, np.float64).reshape(-1, 3)
    index = image.grid.to_index(world)
    outside = ((index < -0.5) | (index > np.array(image.grid.shape) - 0.5)).any(axis=1)
    if outside.any():
        l, p, s = world[int(np.argmax(outside))]
        raise ParameterError(
            f"{operation}: the point {l:g}, {p:g}, {s:g} mm of {name} lies outside of the image "
            f"({image.grid}); give points within, in LPS millimetres"
        )
    return index


def voxels(image: Image, points: Sequence[float], *, name: str, operation: str) -> Array:
    """`places`, as the voxels ``(n, 3)`` they lie in."""
    index = np.rint(places(image, points, name=name, operation=operation)).astype(np.int64)
    return np.clip(index, 0, np.array(image.grid.shape) - 1)


def on_grid(image: Image, scribbles: Sequence[Mask], operation: str) -> Mask | None:
    """The one mask there may be, on the image's voxels."""
    if len(scribbles) > 1:
        raise ParameterError(f"{operation} takes one mask and was given {len(scribbles)}")
    if not scribbles:
        return None
    (mask,) = scribbles
    if not mask.grid.allclose(image.grid):
        raise GeometryError(
            f"{operation}: the scribbles lie on a grid of {mask.grid.shape} voxels and the image "
            f"on one of {image.grid.shape}, or at another place; draw them on this image, or "
            "resample them to its grid"
        )
    return mask


@dataclass(frozen=True, eq=False)
class Marks:
    """``labels`` ``(nz, ny, nx)`` int32 (segment numbers, 0, `OUTSIDE`) and their ``segments``."""

    labels: Array
    segments: tuple[Segment, ...]

    @property
    def objects(self) -> tuple[int, ...]:
        """Numbers that are marked, ascending."""
        return tuple(int(n) for n in np.unique(self.labels) if n > 0)

    @property
    def outside(self) -> bool:
        """Whether any voxel is marked as outside."""
        return bool((self.labels == OUTSIDE).any())


def marked(
    image: Image,
    scribbles: Sequence[Mask],
    known: Array,
    *,
    operation: str,
    points: Sequence[float] = (),
    outside: Sequence[float] = (),
    background: int = 0,
    label: str = "Object",
) -> Marks:
    """Scribbles and points together.

    A point in the object takes the number of the first segment that is no background; 1 where there
    are no scribbles.

    Raises
    ------
    GeometryError
        The scribbles lie on another grid.
    ParameterError
        Nothing is marked, or a voxel without a value, or one as inside and outside.
    """
    mask = on_grid(image, scribbles, operation)
    labels = np.zeros(image.grid.shape, np.int32)
    segments: tuple[Segment, ...] = ()
    if mask is not None:
        segments = tuple(s for s in mask.segments if s.number != background)
        for s in reversed(mask.segments):
            drawn = mask.plane(s.number)
            drawn = drawn >= 0.5 if mask.fractional else drawn > 0
            labels[drawn] = OUTSIDE if s.number == background else s.number
        if not labels.any():
            raise ParameterError(f"{operation}: the scribbles are empty; mark some voxels")
    first = segments[0].number if segments else 1
    for given, name, number in ((points, "points", first), (outside, "outside", OUTSIDE)):
        at = tuple(voxels(image, given, name=name, operation=operation).T)
        taken = labels[at]
        if (taken > 0 if number == OUTSIDE else taken == OUTSIDE).any():
            raise ParameterError(
                f"{operation}: a voxel is marked as inside and as outside; move one of the marks"
            )
        labels[at] = number
    if not (labels > 0).any():
        raise ParameterError(
            f"{operation}: nothing is marked as inside; give points, or scribbles on the object"
        )
    if (labels[~known] != 0).any():
        raise ParameterError(
            f"{operation}: a mark lies on a voxel without a value (NaN); move it to where the "
            "image was measured"
        )
    if not segments:
        segments = (Segment(first, label, TISSUE, colour=COLOURS[0]),)
    return Marks(labels, segments)


def region(image: Image, inside: Array, label: str, algorithm: str) -> Mask:
    """A bool volume as a mask of one segment."""
    segment = Segment(1, label[:64], TISSUE, algorithm[:255], COLOURS[0])
    return mask_of(image, inside.astype(np.uint8), (segment,))


def parted(image: Image, labels: Array, segments: Sequence[Segment], algorithm: str) -> Mask:
    """Whole numbers ``(nz, ny, nx)``, what is not positive outside, as a mask of ``segments``."""
    top = max(s.number for s in segments)
    kind = np.uint8 if top < 256 else np.uint16
    made = tuple(replace(s, algorithm=algorithm[:255]) for s in segments)
    return mask_of(image, np.maximum(labels, 0).astype(kind), made)
