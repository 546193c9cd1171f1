"""Look-up tables of DICOM: modality (PS3.3 C.11.1), VOI (C.11.2) and presentation (C.11.6).

A table has a ``first`` value that its first entry stands for; smaller values get the first entry,
values beyond the end the last one. Values between whole numbers take the nearer entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.entries import is_colour, real_values
from somascope.process.mapping import voi
from somascope.process.windows import Function, PresetName, chosen

MOST = 65536
"""Entries of a table in DICOM (LUT Descriptor, C.11.1.1)."""


def look_up(values: Array, table: Sequence[float] | Array, *, first: float = 0.0) -> Array:
    """``table[round(value) - first]``, clipped at both ends; float32, NaN stays NaN.

    Raises
    ------
    ParameterError
        The table has no entry, or more than 65536, or one that is not finite.
    """
    entries = np.asarray(table, np.float32)
    if not 1 <= entries.size <= MOST:
        raise ParameterError(f"a look-up table of {entries.size} entries; give 1 to {MOST}")
    if not np.isfinite(entries).all():
        raise ParameterError("the look-up table has entries that are not finite")
    if values.dtype.kind != "f":
        place = np.clip(values.astype(np.int64) - round(first), 0, entries.size - 1)
        return entries[place]
    place = np.clip(np.rint(values) - first, 0, entries.size - 1)
    missing = np.isnan(place)
    found = entries[np.where(missing, 0, place).astype(np.int64)]
    if missing.any():
        found[missing] = np.nan
    return found


def presentation(
    shown: Array,
    *,
    shape: Literal["identity", "inverse"] = "identity",
    table: Sequence[float] | Array = (),
) -> Array:
    """P-values 0..1 of VOI output 0..1 (PS3.3 C.11.6): a shape, or a table over the whole range.

    The entries of a table are spread evenly over 0..1 and are P-values as shares of the largest
    that its bits hold; between them it takes the nearer one.
    """  # fmt: skip
    if len(table):
        entries = np.asarray(table, np.float32)
        if not (np.isfinite(entries).all() and entries.min() >= 0 and entries.max() <= 1):
            raise ParameterError("a presentation table has entries outside 0..1; give shares")
        shown = entries[np.rint(shown * (entries.size - 1)).astype(np.int64)]
    return 1 - shown if shape == "inverse" else shown


@operation("process.modality_lut")
def modality_lut(
    image: Image,
    *,
    slope: Annotated[float, Param("Of the line from stored values; not with a table")] = 1.0,
    intercept: Annotated[float, Param("Of the line from stored values; not with a table")] = 0.0,
    table: Annotated[
        tuple[float, ...], Param("Output for each value from the first on, in place of the line")
    ] = (),
    first: Annotated[float, Param("Value that the table's first entry stands for")] = 0.0,
    unit: Annotated[str, Param("UCUM code of the result")] = "1",
) -> Image:
    """Turn stored values into meaningful ones: a line, or a table (Modality LUT, PS3.3 C.11.1).

    Images that are read have their modality LUT applied already; this is for those whose header was
    wrong or lost. float32, missing values stay missing.
    """
    _single(image, "process.modality_lut")
    if len(table):
        if slope != 1 or intercept != 0:
            raise ParameterError(
                f"process.modality_lut: slope {slope:g} and intercept {intercept:g} with a table; "
                "C.11.1 has one or the other"
            )
        data = look_up(image.data, table, first=first)
    elif slope == 0:
        raise ParameterError("process.modality_lut: slope is 0, which would leave no image")
    else:
        data = (image.data * np.float64(slope) + intercept).astype(np.float32)
    return replace(image, data=data, unit=unit, attributes=_without_window(image))


@operation("process.voi_lut")
def voi_lut(
    image: Image,
    *,
    table: Annotated[tuple[float, ...], Param("Output for each value from the first on")],
    first: Annotated[float, Param("Value that the table's first entry stands for")] = 0.0,
    bits: Annotated[int, Param("Of the table's entries", minimum=1, maximum=16)] = 8,
    output: Annotated[
        Literal["unit", "byte"], Param("0 to 1 in floating point, or 0 to 255 in bytes")
    ] = "unit",
) -> Image:
    """Map values to display brightness by a table (VOI LUT Sequence, PS3.3 C.11.2.1.1).

    float32 in [0, 1] or uint8, unit ``1``; missing values are black.
    """
    _single(image, "process.voi_lut")
    highest = 2**bits - 1
    entries = np.asarray(table, np.float32)
    if entries.size and not (entries.min() >= 0 and entries.max() <= highest):
        raise ParameterError(
            f"process.voi_lut: the table goes from {entries.min():g} to {entries.max():g} and "
            f"{bits} bits hold 0 to {highest}; say bits"
        )
    shown = np.nan_to_num(look_up(image.data, entries, first=first), nan=0.0) / np.float32(highest)
    return _displayed(image, shown, 8 if output == "byte" else 0)


@operation("process.p_values")
def p_values(
    image: Image,
    *,
    preset: Annotated[PresetName, Param("Window where centre and width are not given")] = "auto",
    centre: Annotated[float | None, Param("Value in the middle, in the image's unit")] = None,
    width: Annotated[
        float | None, Param("Range of values shown, in the image's unit", minimum=0.0)
    ] = None,
    function: Annotated[
        Function, Param("Curve from value to brightness (PS3.3 C.11.2.1.2)")
    ] = "linear",
    shape: Annotated[
        Literal["identity", "inverse"], Param("Presentation LUT Shape: inverse shows high dark")
    ] = "identity",
    table: Annotated[
        tuple[float, ...], Param("Presentation table over the whole range, shares 0 to 1")
    ] = (),
    bits: Annotated[int, Param("Of the P-values", minimum=8, maximum=16)] = 8,
) -> Image:
    """P-values for a calibrated display: window, then presentation LUT (PS3.3 C.11.2, C.11.6).

    What `process.gsdf` shows in cd/m2. Whole numbers ``0 .. 2^bits - 1``, uint8 or uint16, unit
    ``1``; missing values become the value of black.
    """
    _single(image, "process.p_values")
    if (centre is None) != (width is None):
        raise ParameterError(
            f"process.p_values: centre is {centre} and width is {width}; give both, or neither"
        )
    if centre is None or width is None:
        centre, width = chosen(image, preset, function=function)
    shown = voi(np.asarray(image.data), centre, width, function=function)
    return _displayed(image, presentation(shown, shape=shape, table=table), bits)


def _single(image: Image, name: str) -> None:
    real_values(image, name)
    if is_colour(image):
        raise ParameterError(f"{name} maps single values and this image is in colour")


def _without_window(image: Image) -> dict[str, object]:
    return {
        k: v
        for k, v in image.attributes.items()
        if not k.startswith("Window") and k != "VOILUTFunction"
    }


def _displayed(image: Image, shown: Array, bits: int) -> Image:
    attributes = _without_window(image)
    if not bits:
        attributes |= {"WindowCenter": 0.5, "WindowWidth": 1.0, "VOILUTFunction": "LINEAR_EXACT"}
        return replace(image, data=shown, unit="1", attributes=attributes)
    highest = 2**bits - 1
    kind = np.uint8 if bits == 8 else np.uint16
    attributes |= {"WindowCenter": (highest + 1) / 2, "WindowWidth": highest + 1.0}
    attributes |= {"VOILUTFunction": "LINEAR"}
    attributes.pop("PhotometricInterpretation", None)
    data = np.rint(shown.astype(np.float64) * highest).astype(kind)
    return replace(image, data=data, unit="1", attributes=attributes)
