"""Colours apart from the values: presentation states and maps that carry their palette."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, cast

import numpy as np

from somascope.core import Axis, Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.io.dicom import lut
from somascope.io.dicom.presentation import Presentation
from somascope.process.choices import First, Last
from somascope.process.colour import Name, range_of, single
from somascope.process.mapping import voi
from somascope.process.palettes import palette
from somascope.process.windows import Function


def shown(image: Image, state: Presentation) -> Image:
    """The image as a presentation state shows it: R, G, B in bytes, missing values black.

    The window maps values to 0..1, which stand for the palette from its first to its last colour
    (PS3.3 N.2.2.2).
    """
    single(image, "a presentation state")
    function = cast("Function", state.function.lower())
    index = voi(np.asarray(image.data), state.centre, state.width, function=function)
    table = state.palette
    found = table[np.rint(index * (len(table) - 1)).astype(np.int64)]
    found[np.isnan(image.data)] = 0
    data: Array = np.ascontiguousarray(np.moveaxis(found, -1, -4))
    return replace(image, data=data, unit="1", axes=(*image.axes, Axis("channel")))


@operation("process.presentation_state")
def presentation_state(
    image: Image,
    *,
    colours: Annotated[Name, Param("Palette")] = "hot_iron",
    lower: First = None,
    upper: Last = None,
    label: Annotated[str, Param("Name among presentations, up to 16 capitals")] = "PSEUDO COLOUR",
    description: Annotated[str, Param("What it shows")] = "",
) -> Image:
    """Write down how a stored series is shown in colours, without touching its pixels.

    The result stands for a DICOM Pseudo-Color Softcopy Presentation State (PS3.3 A.33.3): its
    values are the image's, its modality ``PR``; written to DICOM or an archive it becomes one
    instance with palette and window that refers to the images it was read from. Viewers apply it
    to them; `io.dicom.presentation.read` reads it back.
    """
    single(image, "process.presentation_state")
    low, high = range_of(image, lower, upper)
    if not high > low:
        raise ParameterError(
            f"process.presentation_state: colours from {low:g} to {high:g}; lower must be below "
            "upper"
        )
    chosen = palette(colours)
    attributes = dict(image.attributes)
    attributes |= lut.stated(chosen.table(), lower=low, upper=high, identifier=chosen.uid)
    attributes.pop("PixelPresentation")
    attributes.pop("StoredValueColorRangeSequence")
    attributes["SoftcopyVOILUTSequence"] = [
        {
            "WindowCenter": (low + high) / 2,
            "WindowWidth": high - low,
            "VOILUTFunction": "LINEAR_EXACT",
        }
    ]
    attributes["ContentLabel"] = label
    unit = "" if image.unit == "1" else f" {image.unit}"
    attributes["ContentDescription"] = description or f"{chosen.label} {low:g}..{high:g}{unit}"
    return replace(image, data=np.array(image.data), modality="PR", attributes=attributes)


@operation("process.colour_map")
def colour_map(
    image: Image,
    *,
    colours: Annotated[Name, Param("Palette")] = "ember",
    lower: First = None,
    upper: Last = None,
) -> Image:
    """Give a map of numbers its colours and keep its numbers.

    Values, unit and grid as they came (floating point); written to DICOM it becomes a Parametric
    Map with Pixel Presentation COLOR_RANGE: exact values with their unit, the palette, and the
    range it stands for (PS3.3 C.8.32.2, C.7.6.16.2.25).
    """
    single(image, "process.colour_map")
    low, high = range_of(image, lower, upper)
    if not high > low:
        raise ParameterError(
            f"process.colour_map: colours from {low:g} to {high:g}; lower must be below upper"
        )
    chosen = palette(colours)
    attributes = dict(image.attributes)
    attributes |= lut.stated(chosen.table(), lower=low, upper=high, identifier=chosen.uid)
    attributes["ImageType"] = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    kind = np.float64 if image.data.dtype == np.float64 else np.float32
    return replace(image, data=np.array(image.data, kind), attributes=attributes)
