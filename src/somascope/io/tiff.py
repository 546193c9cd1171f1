"""TIFF stacks: the voxel size of microscopy headers, pages as slices or times.

Source: OME-TIFF 2016-06 schema (``PhysicalSizeX`` and its unit), ImageJ's ``ImageDescription``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree as ET

import numpy as np

from somascope.core.errors import CorruptFile, ParameterError, UnsupportedFormat
from somascope.core.grid import Array, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.atomic import replacing
from somascope.io.raster import opaque, plain_grid
from somascope.io.stream import check_size

_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "nm": 1e-6, "inch": 25.4}
_MM |= dict.fromkeys(("um", "µm", "μm", "micron", "microns", "\\u00b5m"), 1e-3)
_OME = {"Z": "PhysicalSizeZ", "Y": "PhysicalSizeY", "X": "PhysicalSizeX"}


def read(path: Path, *, spacing: Sequence[float] | None = None) -> list[Image]:
    """Each series of a TIFF file; ``spacing`` ``(dz, dy, dx)`` in mm replaces the file's own."""
    import tifffile

    name, stored = path.name, path.stat().st_size
    _check_offsets(path)
    try:
        with tifffile.TiffFile(path) as file:
            images: list[Image] = []
            for series in file.series:
                pages = [p for p in series.pages if p is not None]
                for part in pages:
                    for start, length in zip(part.dataoffsets, part.databytecounts, strict=True):
                        if start + length > stored:
                            raise CorruptFile(f"{name} ends before its pixels; copy it again")
                packed = any(getattr(p, "compression", 1) != 1 for p in pages[:1])
                check_size(
                    series.shape, series.dtype.itemsize, available=stored,
                    compression="deflate" if packed else "none", name=name,
                )  # fmt: skip
                images.append(_image(file, series, name, spacing))
            return images
    except (CorruptFile, UnsupportedFormat, ParameterError):
        raise
    except Exception as error:
        raise CorruptFile(f"{name} cannot be decoded ({error}); copy it again") from error


_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WIDTHS |= {16: 8, 17: 8, 18: 8}
"""Bytes of one value per TIFF field type (TIFF 6.0 section 2; BigTIFF)."""


def _check_offsets(path: Path) -> None:
    """Walk the directories: what they point to must lie in the file.

    A reader that is lenient here would lose a voxel size in the cut-off part without a word.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        try:
            at = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
            for _ in range(100_000):
                if at == 0:
                    return
                at = _next_directory(file, at, order, big=big, size=size)
        except (struct.error, ValueError) as error:
            raise CorruptFile(
                f"{path.name} is cut off or damaged in its directory; copy it again"
            ) from error
    raise CorruptFile(f"{path.name} has directories without end")


def _next_directory(file: BinaryIO, at: int, order: str, *, big: bool, size: int) -> int:
    count_code, entry_code, link = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    entry = struct.Struct(order + entry_code)
    file.seek(at)
    width = struct.calcsize(order + count_code)
    count = struct.unpack(order + count_code, file.read(width))[0]
    if at + width + count * entry.size + link > size:
        raise ValueError("directory past the end")
    for _, kind, number, inline in entry.iter_unpack(file.read(count * entry.size)):
        length = _WIDTHS.get(kind, 1) * number
        if length > link:
            start = struct.unpack(order + ("Q" if big else "I"), inline)[0]
            if start + length > size:
                raise ValueError("value past the end")
    return struct.unpack(order + ("Q" if big else "I"), file.read(link))[0]


def _image(file: Any, series: Any, name: str, spacing: Sequence[float] | None) -> Image:
    letters, data = str(series.axes), np.asarray(series.asarray())
    page = series.pages[0]
    if page.photometric == 3 and page.colormap is not None:  # palette
        data = np.moveaxis(page.colormap[:, data], 0, -1)
        letters += "S"
    if page.photometric == 0:  # MINISWHITE
        data = (np.iinfo(data.dtype).max - data) if data.dtype.kind == "u" else -data
    if "S" in letters:
        at = letters.index("S")
        data = (
            opaque(np.moveaxis(data, at, -1))
            if data.shape[at] in (2, 4)
            else np.moveaxis(data, at, -1)
        )
        letters = letters.replace("S", "")
        if data.ndim > len(letters):
            letters += "S"
    if "Z" not in letters:  # pages of no stated meaning are slices
        free = [c for c in letters if c in "IQ"]
        letters = letters.replace(free[-1], "Z", 1) if free else letters
    names: list[Axis] = []
    source: list[int] = []
    for at, letter in enumerate(letters):
        if letter in "ZYXS":
            continue
        source.append(at)
        names.append(
            Axis({"T": "t", "C": "band", "R": "dim1"}.get(letter, f"dim_{letter.lower()}"))
        )
    if "S" in letters:
        source.append(letters.index("S"))
        names.append(Axis("channel"))
    source += [letters.index(letter) for letter in "ZYX" if letter in letters]
    data = data.transpose(source)
    if "Z" not in letters:
        data = np.expand_dims(data, -3)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8) * np.uint8(255)
    single = tuple(k for k, a in enumerate(names) if data.shape[k] == 1)
    data = np.ascontiguousarray(data.squeeze(single))
    names = [a for k, a in enumerate(names) if k not in single]
    found = spacing if spacing is not None else _spacing(file, page)
    times = _frame_interval(file)
    names = [
        Axis("t", tuple(times * i for i in range(data.shape[k])), "s")
        if a.name == "t" and times
        else a
        for k, a in enumerate(names)
    ]
    return Image(
        data=data,
        grid=plain_grid(data.shape[-3:], found),
        axes=tuple(names),
        provenance=Provenance((Source("file", name),)),
    )


def _frame_interval(file: Any) -> float:
    about = file.imagej_metadata or {}
    found = re.search(r'TimeIncrement="([0-9.eE+-]+)"', file.ome_metadata or "")
    try:
        return max(float(found[1] if found else about.get("finterval", 0) or 0), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _spacing(file: Any, page: Any) -> tuple[float, float, float] | None:
    """Voxel size in mm from an OME or ImageJ header; None where only a dpi is known."""
    if file.ome_metadata:
        try:
            root = ET.fromstring(file.ome_metadata)  # noqa: S314
        except ET.ParseError:
            return None
        pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
        if pixels is None:
            return None
        dz, dy, dx = (_ome_size(pixels, axis) for axis in "ZYX")
        return dz, dy, dx
    about = file.imagej_metadata or {}
    unit = _MM.get(str(about.get("unit", "")).strip())
    if unit is None:
        return None
    try:
        rows, columns = (page.tags[tag].value for tag in ("YResolution", "XResolution"))
        steps = (rows[1] / rows[0] * unit, columns[1] / columns[0] * unit)
        dz = float(about.get("spacing", 0) or 0) * unit or 1.0
        return (abs(dz), steps[0], steps[1])
    except (KeyError, ZeroDivisionError, TypeError, ValueError):
        return None


def _ome_size(pixels: ET.Element, axis: str) -> float:
    size = pixels.get(_OME[axis])
    unit = _MM.get(pixels.get(_OME[axis] + "Unit", "µm"))
    return float(size) * unit if size and unit else 1.0


def write(data: Array, axes: tuple[Axis, ...], *, grid: Grid, path: Path) -> None:
    """Write a stack with its spacing as OME metadata, zlib-compressed."""
    import tifffile

    names = [a.name for a in axes]
    letters = {"t": "T", "channel": "S", "band": "C"}
    free = iter("CTRHPQVE")
    taken = {letters[n] for n in names if n in letters}
    codes: list[str] = []
    for name in names:
        code = letters.get(name) or next(c for c in free if c not in taken)
        taken.add(code)
        codes.append(code)
    if "S" in codes:
        data = np.moveaxis(data, codes.index("S"), -1)
        codes.remove("S")
    order = "".join(codes) + "ZYX" + ("S" if "channel" in names else "")
    colour = "channel" in names and data.shape[-1] == 3
    dz, dy, dx = grid.spacing
    metadata = {"axes": order}
    for axis, size in zip("ZYX", (dz, dy, dx), strict=True):
        metadata |= {_OME[axis]: size, _OME[axis] + "Unit": "mm"}  # pyright: ignore[reportAssignmentType]
    times = next((a.values for a in axes if a.name == "t" and len(a.values) > 1), None)
    if times:
        metadata |= {"TimeIncrement": times[1] - times[0], "TimeIncrementUnit": "s"}  # pyright: ignore[reportAssignmentType]
    ome = set(codes) <= {"T", "C"} and data.dtype.kind != "c" and data.dtype.itemsize <= 8
    ome = ome and data.dtype.name not in ("int64", "uint64", "float16")
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            np.ascontiguousarray(data),
            ome=ome,
            photometric="rgb" if colour else "minisblack",
            metadata=metadata if ome else {"axes": order},
            compression="zlib",
        )
