"""Palette Color Lookup Tables to write and to read (PS3.3 C.7.9, C.8.32.2, C.7.6.16.2.25).

On its way to a file a palette is kept in an image's attributes under DICOM's keywords, in JSON
types; `stated` puts it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from somascope.core.errors import CorruptFile, WriteError
from somascope.core.grid import Array
from somascope.io.dicom import uid
from somascope.io.dicom.encode import typed

_NAMES = ("Red", "Green", "Blue")


def stated(table: Array, *, lower: float, upper: float, identifier: str = "") -> dict[str, Any]:
    """Attributes that say: these colours ``(n, 3)`` uint8, from value ``lower`` to ``upper``.

    ``identifier`` is the UID of a well-known palette (PS3.6 B.1); others get one of their content.
    """
    found = colours_of(table)
    found["PaletteColorLookupTableUID"] = identifier or uid.derive(
        "palette", np.ascontiguousarray(table, np.uint8).tobytes()
    )
    found["PixelPresentation"] = "COLOR_RANGE"
    found["StoredValueColorRangeSequence"] = [
        {"MinimumStoredValueMapped": float(lower), "MaximumStoredValueMapped": float(upper)}
    ]
    return found


def colours_of(table: Array) -> dict[str, Any]:
    """Attributes that hold the colours ``(n, 3)`` uint8 alone: those of a PALETTE COLOR image."""
    return {
        f"{name}PaletteColorLookupTableData": [int(v) for v in table[:, i]]
        for i, name in enumerate(_NAMES)
    }


def table_of(attributes: Mapping[str, Any]) -> Array | None:
    """The palette that `stated` put there, ``(n, 3)`` uint8."""
    columns: list[Any] = [attributes.get(f"{n}PaletteColorLookupTableData") for n in _NAMES]
    if not all(isinstance(c, (list, tuple)) for c in columns):
        return None
    table = np.array(columns, np.int64).T
    if table.ndim != 2 or not 2 <= len(table) <= 65535 or table.min() < 0 or table.max() > 255:
        raise WriteError(f"a palette of shape {table.shape}; give 2 to 65535 colours of bytes")
    return table.astype(np.uint8)


def elements(table: Array, *, bits: int = 16) -> list[DataElement]:
    """The Palette Color Lookup Table module of colours ``(n, 3)``: descriptors and data.

    Of an odd number of bytes the last one is written twice: readers take the length of the data
    for that of the table.
    """
    made: list[DataElement] = []
    if bits == 8 and len(table) % 2:
        table = np.concatenate([table, table[-1:]])
    for i, name in enumerate(_NAMES):
        values = table[:, i].astype("<u2") * (257 if bits == 16 else 1)
        data = values.astype("<u2" if bits == 16 else "u1").tobytes()
        made.append(typed(f"{name}PaletteColorLookupTableDescriptor", "US", [len(table), 0, bits]))
        made.append(typed(f"{name}PaletteColorLookupTableData", "OW", data))
    return made


@dataclass(frozen=True)
class RangeFacts:
    """What a Parametric Map in colours says beside its values."""

    top: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shared: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tables: Sequence[DataElement] = ()


def range_facts(attributes: Mapping[str, Any]) -> RangeFacts:
    """The colours that an image's attributes hold, as a Parametric Map has them; or nothing."""
    table = table_of(attributes)
    if table is None or attributes.get("PixelPresentation") != "COLOR_RANGE":
        return RangeFacts()
    return RangeFacts(
        {
            "PixelPresentation": "COLOR_RANGE",
            "ICCProfile": srgb(),
            "ColorSpace": "SRGB",
        },
        {"StoredValueColorRangeSequence": attributes["StoredValueColorRangeSequence"]},
        elements(table),
    )


def read_table(dataset: Dataset) -> Array:
    """The palette of a data set, segmented ones unfolded: ``(n, 3)`` uint8.

    Raises `CorruptFile` where there is none, or it is damaged.
    """
    from pydicom.pixels.processing import apply_color_lut

    try:
        count, _, bits = (int(v) for v in dataset.RedPaletteColorLookupTableDescriptor)
        count = count or 65536
        first = int(dataset.RedPaletteColorLookupTableDescriptor[1])
        index = np.arange(first, first + count)
        found = apply_color_lut(index.astype(np.int64), dataset)
    except Exception as error:
        raise CorruptFile(f"the palette cannot be read: {error}") from error
    found = found[..., :3]
    if bits == 16 or found.dtype.itemsize > 1:
        found = found >> 8 if found.max() > 255 else found
    return found.astype(np.uint8)


@cache
def srgb() -> bytes:
    """The ICC profile of sRGB; without the date on which it was made, so equal every time."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes((0x07, 0xD0, 0, 1, 0, 1)) + bytes(6)  # 2000-01-01 00:00:00
    profile[84:100] = bytes(16)  # the digest of what it was
    return bytes(profile)
