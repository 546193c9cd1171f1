"""Pseudo-colour: values to colours, two images in one picture, ranges marked."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from somascope.core import QUIET, Axis, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.blend import Mode, blend
from somascope.process.choices import First, Last, Steps
from somascope.process.entries import is_colour, real_values
from somascope.process.palettes import palette
from somascope.process.windows import automatic

Name: TypeAlias = Literal[
    "grey", "ember", "lagoon", "tide", "grey_inverted", "hot_iron", "pet", "hot_metal_blue",
    "pet_20_step", "spring", "summer", "fall", "winter", "bone", "nih", "cardiac", "rainbow",
    "viridis", "magma", "cool_warm", "red", "green", "blue", "cyan", "magenta", "yellow", "flow",
]  # fmt: skip

STEPS = 4096
"""Of a table of colours: finer than a byte, so that 8 bit colours have no bands of their own."""


def coloured(values: Array, name: str, lower: float, upper: float, *, slices: int = 0) -> Array:
    """Colours of values, ``(3, ...)`` uint8 of values ``(...)``.

    ``lower`` and below get the first colour, ``upper`` and above the last, NaN black. ``slices``
    above 1 gives each of so many even ranges one colour (density slicing).
    """
    if not upper > lower:
        raise ParameterError(f"colours from {lower:g} to {upper:g}; lower must be below upper")
    table = _table(name, slices)
    if is_tensor(values):
        from somascope.process.tables import gpu

        tensor: Any = values
        shown: Any = gpu.coloured(tensor, table, lower, upper)
        return shown
    kind = np.float64 if values.dtype == np.float64 else np.float32
    place = (values.astype(kind) - kind(lower)) * kind((STEPS - 1) / (upper - lower))
    missing = np.isnan(place)
    index = np.clip(np.nan_to_num(place), 0, STEPS - 1).astype(np.int32)
    found = np.moveaxis(table[index], -1, 0)
    if missing.any():
        found = np.where(missing, np.uint8(0), found)
    return np.ascontiguousarray(found)


def _table(name: str, slices: int) -> Array:
    """Colours of the values from the first to the last, ``(STEPS, 3)`` uint8."""
    if slices > 1:
        return np.repeat(palette(name).table(slices), -(-STEPS // slices), axis=0)[:STEPS]
    return palette(name).table(STEPS)


def _distinct(name: str, slices: int) -> Array:
    """The same, each colour once in the order of the values, and black for what is missing."""
    table = _table(name, slices)
    _, first = np.unique(table, axis=0, return_index=True)
    found = table[np.sort(first)]
    return found if (found == 0).all(axis=1).any() else np.concatenate([found, found[:1] * 0])


def range_of(image: Image, lower: float | None, upper: float | None) -> tuple[float, float]:
    """Values of the first and the last colour: as given, or the ends of the automatic window."""
    centre, width = automatic(image, function="linear_exact")
    low = centre - width / 2 if lower is None else lower
    high = centre + width / 2 if upper is None else upper
    return low, high


def single(image: Image, name: str) -> None:
    """Refuse complex data and images that are in colour already."""
    real_values(image, name)
    if is_colour(image):
        raise ParameterError(f"{name} colours single values and this image is in colour already")


@operation("process.pseudo_colour")
def pseudo_colour(
    image: Image,
    *,
    colours: Annotated[
        Name,
        Param(
            "Palette; rainbow, nih, cardiac and pet show edges where there are none and are not "
            "told apart by the colour blind"
        ),
    ] = "ember",
    lower: First = None,
    upper: Last = None,
    slices: Steps = 0,
    stored: Annotated[
        Literal["rgb", "palette"],
        Param("In DICOM: three bytes for each pixel, or its number in a palette (Palette Color)"),
    ] = "rgb",
    progress: Progress = QUIET,
) -> Image:
    """Show values in colours.

    Shape ``(*leading, 3, nz, ny, nx)`` uint8 with the axis ``channel`` (R, G, B); missing values
    are black. The legend, palette and range with the unit, stands in the series' description.
    ``palette`` changes no colour: written to DICOM, the image holds numbers that grow with the
    values, and the table of their colours.
    """
    single(image, "process.pseudo_colour")
    low, high = range_of(image, lower, upper)
    data = coloured(image.data, colours, low, high, slices=slices)
    progress(0.8, "coloured")
    unit = "" if image.unit == "1" else f" {image.unit}"
    legend = f"{palette(colours).label} {low:.5g}..{high:.5g}{unit}"
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    described = str(image.attributes.get("SeriesDescription", "")).strip()
    attributes["SeriesDescription"] = f"{described} {legend}".strip()[:64]
    if stored == "palette":
        from somascope.io.dicom import lut

        attributes |= lut.colours_of(_distinct(colours, slices))
    return replace(
        image,
        data=np.moveaxis(data, 0, -4),
        unit="1",
        axes=(*image.axes, Axis("channel")),
        attributes=attributes,
    )


@operation("process.fuse")
def fuse(
    image: Image,
    overlay: Image,
    *,
    colours: Annotated[Name, Param("Palette of the overlay")] = "hot_iron",
    opacity: Annotated[
        float, Param("Of the overlay where it is strongest", minimum=0.0, maximum=1.0, step=0.05)
    ] = 0.6,
    mode: Annotated[
        Mode, Param("Lay over, add, screen, take the brighter one, or squares of both in turn")
    ] = "over",
    threshold: Annotated[
        float | None,
        Param("Overlay below this is not shown, in its unit; none: fades in from its first colour"),
    ] = None,
    lower: Annotated[
        float | None, Param("Overlay value of the first colour; none: automatic")
    ] = None,
    upper: Annotated[
        float | None, Param("Overlay value of the last colour; none: automatic")
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Lay one image in colour over another one in grey.

    The overlay is brought to the image's grid (linear); both must share their frame of reference.
    One volume each; shape ``(3, nz, ny, nx)`` uint8, axis ``channel``.
    """
    from somascope.process.resample import resample_to

    for which in (image, overlay):
        single(which, "process.fuse")
        if any(n > 1 for n in which.data.shape[:-3]):
            raise GeometryError(
                f"process.fuse takes one volume each and was given shape {which.shape}; choose one "
                "with image.at(...)"
            )
    base = image.data.reshape(image.grid.shape)
    over = overlay
    if not overlay.grid.allclose(image.grid):
        over = resample_to(
            overlay.with_data(overlay.data.astype(np.float32)), image.grid, fill=np.nan
        )
    values = over.data.reshape(image.grid.shape)
    progress(0.4, "overlay in place")
    grey = coloured(base, "grey", *range_of(image, None, None))
    low, high = range_of(overlay, lower, upper)
    tint = coloured(values, colours, low, high)
    with np.errstate(invalid="ignore"):
        if threshold is None:
            weight = np.clip((values - low) / (high - low), 0, 1) * opacity
        else:
            weight = np.where(values >= threshold, opacity, 0.0)
    weight = np.nan_to_num(weight).astype(np.float32)
    data = blend(grey, tint, weight, mode=mode)
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    return replace(image, data=data, unit="1", axes=(Axis("channel"),), attributes=attributes)
