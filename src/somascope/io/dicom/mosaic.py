"""Siemens mosaics: a volume as tiles of one picture, described in a private header."""

from __future__ import annotations

import math
import struct

from somascope.core.errors import CorruptFile
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.pixels import Instance
from somascope.io.dicom.slices import Slice, classic, distance

_CREATOR = "SIEMENS CSA HEADER"
MOST_TAGS = 1024


def csa(data: bytes, *, name: str = "the CSA header") -> dict[str, tuple[str, ...]]:
    """Read a Siemens CSA header (``SV10`` and its predecessor) into names and text values.

    The layout is public knowledge from the descriptions of nibabel's and dcm2niix's authors: a
    count of tags, for each a 64 byte name, VM, VR, and items of 16 bytes head and padded text.
    """
    at, items_second = (8, True) if data[:4] == b"SV10" else (0, False)
    found: dict[str, tuple[str, ...]] = {}
    try:
        (count,) = struct.unpack_from("<I", data, at)
        if count > MOST_TAGS:
            raise CorruptFile(f"{name}: a CSA header of {count} tags; it is damaged")
        at += 8
        base = 0
        for index in range(count):
            label = data[at : at + 64].split(b"\0", 1)[0].decode("latin-1")
            _, n = (
                struct.unpack_from("<I", data, at + 64)[0],
                struct.unpack_from("<i", data, at + 76)[0],
            )
            at += 84
            values: list[str] = []
            for _ in range(max(n, 0)):
                x = struct.unpack_from("<4i", data, at)
                if items_second:
                    length = x[1]
                else:
                    base = x[0] if index == 0 and base == 0 else base
                    length = x[0] - base
                    if length < 0 or at + 16 + length > len(data):
                        length = x[1] if 0 <= x[1] <= len(data) - at - 16 else 0
                at += 16
                if length < 0 or at + length > len(data):
                    raise CorruptFile(
                        f"{name}: the CSA tag {label} claims {length} bytes; it is damaged"
                    )
                text = data[at : at + length].split(b"\0", 1)[0].decode("latin-1").strip()
                if text:
                    values.append(text)
                at += (length + 3) // 4 * 4
            found[label] = tuple(values)
    except struct.error as error:
        raise CorruptFile(f"{name}: the CSA header ends too soon; it is damaged") from error
    return found


def image_header(elements: Elements) -> dict[str, tuple[str, ...]]:
    """The CSA image header of a data set, empty where it has none."""
    for block in range(0x10, 0x20):
        if elements.text(0x00290000 | block) == _CREATOR:
            data = elements.raw(0x00290000 | block << 8 | 0x10)
            if data:
                return csa(data, name=elements.name)
    return {}


def _numbers(header: dict[str, tuple[str, ...]], key: str, name: str) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in header.get(key, ()))
    except ValueError as error:
        raise CorruptFile(f"{name}: CSA {key} is {header[key]}; it should be numbers") from error
    if not all(math.isfinite(v) for v in values):
        raise CorruptFile(f"{name}: CSA {key} is {values}; it should be finite")
    return values


def is_mosaic(elements: Elements) -> bool:
    """Image Type says MOSAIC (Siemens)."""
    return "MOSAIC" in elements.strings("ImageType")


def tiles(instance: Instance) -> list[Slice]:
    """The slices of a mosaic, each with its own position.

    Image Position (Patient) of a mosaic is that of the whole picture laid around the first
    slice's centre; the first slice's own begins half the difference further on.
    """
    whole, e = classic(instance), instance.elements
    header = image_header(e)
    count = e.integer(0x0019100A, vr="US") if e.text(0x00190010).startswith("SIEMENS") else 0
    if header.get("NumberOfImagesInMosaic"):
        count = int(_numbers(header, "NumberOfImagesInMosaic", e.name)[0])
    rows, columns = whole.shape
    if not 1 <= count <= 4096:
        raise CorruptFile(
            f"{e.name}: a mosaic without a count of its images; its CSA header is missing"
        )
    side = math.ceil(math.sqrt(count))
    ny, nx = rows // side, columns // side
    if ny < 1 or nx < 1 or whole.orientation is None or whole.position is None:
        raise CorruptFile(
            f"{e.name}: a mosaic of {count} images in {rows} x {columns}; it is damaged"
        )
    row, column = whole.orientation[:3], whole.orientation[3:]
    cross = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    normal = _numbers(header, "SliceNormalVector", e.name)[:3] or cross
    dy, dx = whole.spacing
    across, down = (columns - nx) / 2 * dx, (rows - ny) / 2 * dy
    start = [p + r * across + c * down for p, r, c in zip(whole.position, row, column, strict=True)]
    step = distance(e) or 1.0
    if header.get("B_value") and "b" not in whole.labels:
        whole.labels["b"] = _numbers(header, "B_value", e.name)[0]
    result: list[Slice] = []
    for k in range(count):
        position = tuple(s + n * step * k for s, n in zip(start, normal, strict=True))
        result.append(
            Slice(
                instance, 1, position, whole.orientation, whole.spacing, step, whole.rescale,  # type: ignore[arg-type]
                whole.kind, whole.labels, whole.times, (k // side * ny, k % side * nx, ny, nx),
            )
        )  # fmt: skip
    return result
