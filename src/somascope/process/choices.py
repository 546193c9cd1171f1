"""Parameters and checks that several filters share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.core import Image, Mask, Param, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.entries import is_colour, real_values

Dimensions: TypeAlias = Annotated[
    Literal["volume", "slice"], Param("In three dimensions, or each slice by itself")
]
First: TypeAlias = Annotated[
    float | None, Param("Value of the first colour, in the image's unit; none: automatic")
]
Last: TypeAlias = Annotated[
    float | None, Param("Value of the last colour, in the image's unit; none: automatic")
]
Steps: TypeAlias = Annotated[
    int, Param("Number of even ranges of one colour each; 0: no steps", minimum=0, maximum=64)
]
Triple: TypeAlias = tuple[float, float, float]

WIDEST = 100.0
"""Voxels that a Gaussian's standard deviation may have; more is a mistake in the spacing."""


def deep(image: Image, dimensions: str) -> bool:
    """Whether a filter works along z: not slice by slice, and there is more than one slice."""
    return dimensions == "volume" and image.grid.shape[0] > 1


def single_values(image: Image, operation: str) -> None:
    """Refuse complex and colour data."""
    real_values(image, operation)
    if is_colour(image):
        raise ParameterError(f"{operation} needs single values and this image is in colour")


def widths(image: Image, sigma: float, dimensions: str, *, operation: str) -> Triple:
    """A width in mm as voxels along (z, y, x); 0 along z where slices are taken singly."""
    dz, dy, dx = image.grid.spacing
    if sigma / min(dy, dx) > WIDEST:
        raise ParameterError(
            f"{operation}: a width of {sigma:g} mm is {sigma / min(dy, dx):.0f} voxels; resample "
            "the image to larger voxels first"
        )
    return (sigma / dz if deep(image, dimensions) else 0.0, sigma / dy, sigma / dx)


def one_volume(image: Image, operation: str) -> Array:
    """The values ``(nz, ny, nx)`` of an image without entries beside them."""
    single_values(image, operation)
    volumes = image.data.reshape(-1, *image.grid.shape)
    if volumes.shape[0] != 1:
        raise GeometryError(
            f"{operation}: the image has {volumes.shape[0]} volumes (axes {image.axis_names}); "
            "choose one with image.at(...)"
        )
    return volumes[0]


def mask_of(image: Image, data: Array, segments: tuple[Segment, ...]) -> Mask:
    """A labelmap found on ``image``, with its history and facts."""
    return Mask(
        data=data, grid=image.grid, segments=segments,
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=image.provenance, attributes=dict(image.attributes),
    )  # fmt: skip
