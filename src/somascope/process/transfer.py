"""Several values, several colours: transfer functions with opacity, and channels in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Axis, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.blend import Mode, blend
from somascope.process.colour import coloured, range_of, single
from somascope.process.palettes import PALETTES
from somascope.process.resample import resample_to


def transferred(
    values: Array,
    knots: Sequence[float],
    colours: Array,
    opacities: Sequence[float] = (),
) -> tuple[Array, Array]:
    """Colours ``(3, ...)`` and opacities ``(...)`` of values by straight lines between knots.

    Parameters
    ----------
    knots
        Values in rising order, in the image's unit; equal neighbours make a step.
    colours
        ``(knots, 3)``, 0..255.
    opacities
        ``(knots,)``, 0..1; left out: opaque. Beyond the knots the outer ones hold. NaN is
        transparent black.
    """
    at = np.asarray(knots, np.float64)
    table = np.asarray(colours, np.float64).reshape(-1, 3)
    clear = np.asarray(opacities if len(opacities) else np.ones(at.size), np.float64)
    if at.size < 2 or table.shape[0] != at.size or clear.size != at.size:
        raise ParameterError(
            f"a transfer function of {at.size} values, {table.shape[0]} colours and {clear.size} "
            "opacities; give as many of each, two at least"
        )
    if not (np.diff(at) >= 0).all() or at[0] == at[-1]:
        raise ParameterError(f"the values of a transfer function are {list(knots)}; let them rise")
    if table.min() < 0 or table.max() > 255 or clear.min() < 0 or clear.max() > 1:
        raise ParameterError("colours are 0 to 255 and opacities 0 to 1")
    x = values.astype(np.float64)
    missing = np.isnan(x)
    x = np.where(missing, at[0], x)
    # A step: the value itself belongs to what comes after it.
    at = at + np.arange(at.size) * 1e-12 * max(abs(at[0]), abs(at[-1]), 1.0)
    rgb = np.stack([np.interp(x, at, c) for c in table.T])
    alpha = np.where(missing, 0.0, np.interp(x, at, clear))
    return np.rint(np.where(missing, 0.0, rgb)).astype(np.uint8), alpha.astype(np.float32)


@operation("process.transfer")
def transfer(
    image: Image,
    *,
    values: Annotated[tuple[float, ...], Param("Where colours are given, rising; equal ones step")],
    colours: Annotated[
        tuple[float, ...], Param("Red, green, blue (0 to 255) at each value, one after the other")
    ],
    opacities: Annotated[
        tuple[float, ...], Param("0 to 1 at each value; none: opaque everywhere")
    ] = (),
    background: Annotated[
        Literal["grey", "black", "white"], Param("What is seen through: the image in grey, or")
    ] = "grey",
    progress: Progress = QUIET,
) -> Image:
    """Colour by a transfer function of your own, with opacity over the grey image.

    Straight lines between the values. Shape ``(*leading, 3, nz, ny, nx)`` uint8 with the axis
    ``channel``; missing values show the background (black where that is the image).
    """
    single(image, "process.transfer")
    if len(colours) != 3 * len(values):
        raise ParameterError(
            f"process.transfer: {len(values)} values and {len(colours)} numbers of colours; give "
            "red, green and blue for each value"
        )
    rgb, alpha = transferred(image.data, values, np.asarray(colours).reshape(-1, 3), opacities)
    progress(0.6, "coloured")
    if background == "grey":
        below = coloured(image.data, "grey", *range_of(image, None, None))
    else:
        below = np.full_like(rgb, 255 if background == "white" else 0)
    data = blend(below, rgb, alpha)
    progress(1.0, "laid over")
    return _picture(image, np.moveaxis(data, 0, -4))


@operation("process.merge")
def merge(
    *images: Image,
    colours: Annotated[
        str, Param("Palette of each image, separated by commas; red, green, blue... fit channels")
    ] = "red,green,blue",
    lower: Annotated[
        tuple[float, ...], Param("Value of the first colour of each; none: automatic")
    ] = (),
    upper: Annotated[
        tuple[float, ...], Param("Value of the last colour of each; none: automatic")
    ] = (),
    mode: Annotated[Mode, Param("Add, screen, take the brighter one, or lay over")] = "add",
    progress: Progress = QUIET,
) -> Image:
    """Show several images in one picture, each in its own colours.

    Up to six volumes (stains, energies, phases); the others are brought to the grid of the first
    (linear). Shape ``(3, nz, ny, nx)`` uint8, axis ``channel``; missing values add nothing.
    """
    names = [c.strip() for c in colours.split(",") if c.strip()]
    if not 1 <= len(images) <= 6:
        raise ParameterError(f"process.merge shows 1 to 6 images in one; {len(images)} given")
    unknown = [n for n in names if n not in PALETTES]
    if unknown or len(names) < len(images):
        raise ParameterError(
            f"process.merge: colours are {colours!r} for {len(images)} images; name a palette for "
            f"each of {', '.join(PALETTES)}"
        )
    for given, word in ((lower, "lower"), (upper, "upper")):
        if given and len(given) != len(images):
            raise ParameterError(
                f"process.merge: {word} has {len(given)} values for {len(images)} images"
            )
    first = images[0]
    total: Array | None = None
    for i, image in enumerate(images):
        single(image, "process.merge")
        if any(n > 1 for n in image.data.shape[:-3]):
            raise GeometryError(
                f"process.merge takes one volume each and was given shape {image.shape}; choose "
                "one with image.at(...)"
            )
        low, high = range_of(image, lower[i] if lower else None, upper[i] if upper else None)
        there = image
        if not image.grid.allclose(first.grid):
            there = resample_to(
                image.with_data(image.data.astype(np.float32)), first.grid, fill=np.nan
            )
        values = there.data.reshape(first.grid.shape)
        own = coloured(values, names[i], low, high)
        own[:, np.isnan(values)] = 0
        total = own if total is None else blend(total, own, 0.5 if mode == "over" else 1.0,
                                                mode=mode)  # fmt: skip
        progress((i + 1) / len(images), names[i])
    assert total is not None
    return replace(_picture(first, total), axes=(Axis("channel"),))


def _picture(image: Image, data: Array) -> Image:
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    return replace(
        image,
        data=np.ascontiguousarray(data),
        unit="1",
        axes=(*image.axes, Axis("channel")),
        attributes=attributes,
    )
