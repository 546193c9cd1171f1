"""MetaImage in and out: ``.mha``, and ``.mhd`` with its data beside it.

Source: ITK's MetaIO documentation. World is LPS mm; row ``i`` of ``TransformMatrix`` is the
direction of axis ``i`` (x first), ``Offset`` the centre of the first voxel.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.atomic import replacing
from somascope.io.stream import check_size, inside, read_array

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MET_LONG has four bytes in MetaIO's table of sizes, whatever a C long has."""

_WRITTEN = {v: k for k, v in _TYPES.items() if k not in ("MET_LONG", "MET_ULONG")}
_ALIASES = {
    "position": "offset",
    "origin": "offset",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
    "directioncosines": "transformmatrix",
    "elementbyteordermsb": "binarydatabyteordermsb",
    "elementarraynumberofchannels": "elementnumberofchannels",
}
_LONGEST_HEADER = 1 << 20


class MetaImageReader:
    """``.mha`` and ``.mhd`` (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the first lines are ``key = value`` with the number of dimensions among them."""
        return (
            re.match(rb"\s*(ObjectType|Comment|NDims|ObjectSubType)\s*=", head) is not None
            and re.search(rb"^\s*NDims\s*=", head, re.MULTILINE) is not None
        )

    def read(self, path: Path) -> list[Image]:
        """The one image in the file."""
        return [read(path)]


READER = MetaImageReader()


def read(path: str | Path) -> Image:
    """Read one MetaImage.

    Three uint8 or uint16 components are colour (axis ``channel``), others an axis ``component``. A
    fourth dimension is the axis ``t``; the format has no unit for it, and seconds are assumed.

    Raises
    ------
    CorruptFile
        Truncated, inconsistent, or naming a data file outside the header's folder.
    UnsupportedFormat
        Element types other than numbers, more than four dimensions.
    """
    path = Path(path)
    with path.open("rb") as file:
        fields = _parse(file, path.name)
        sizes, dtype, channels = _layout(fields, path.name)
        raw = _voxels(file, fields, (*reversed(sizes), channels), dtype, path)
    return _image(raw, fields, path.name)


def _parse(file: BinaryIO, name: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    while True:
        line = file.readline(1 << 16)
        if not line or file.tell() > _LONGEST_HEADER:
            raise CorruptFile(f"{name} has no ElementDataFile, with which a MetaImage header ends")
        key, sign, value = line.decode("utf-8", "replace").partition("=")
        if not sign:
            if line.strip():
                raise CorruptFile(f"{name} has the header line {line[:60]!r}, which is no field")
            continue
        key = key.strip().lower()
        fields[_ALIASES.get(key, key)] = value.strip()
        if key == "elementdatafile":
            if value.split() and value.split()[0].upper() == "LIST":
                fields["list"] = file.read(_LONGEST_HEADER).decode("utf-8", "replace")
            return fields


def _numbers(fields: dict[str, str], key: str, count: int, default: float, name: str) -> Float:
    text = fields.get(key)
    if text is None:
        return np.full(count, default)
    try:
        values = np.array([float(v) for v in text.split()])
    except ValueError as error:
        raise CorruptFile(f"{name} has {key} = {text[:60]!r}; it must be numbers") from error
    if len(values) != count or not np.isfinite(values).all():
        raise CorruptFile(f"{name} has {key} = {text[:60]!r}; it must be {count} finite numbers")
    return values


def _true(fields: dict[str, str], key: str, *, default: bool) -> bool:
    return fields.get(key, str(default)).strip().lower() in ("true", "1", "yes")


def _layout(fields: dict[str, str], name: str) -> tuple[list[int], np.dtype, int]:
    n = int(_numbers(fields, "ndims", 1, 0, name)[0])
    if not 1 <= n <= 4:
        raise UnsupportedFormat(f"{name} has {n} dimensions; 1 to 4 are read")
    if "dimsize" not in fields:
        raise CorruptFile(f"{name} has no DimSize")
    sizes = [int(v) for v in _numbers(fields, "dimsize", n, 0, name)]
    code = fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if code not in _TYPES:
        raise UnsupportedFormat(f"{name} has the element type {code!r}, which is not read here")
    big = _true(fields, "binarydatabyteordermsb", default=False)
    channels = int(_numbers(fields, "elementnumberofchannels", 1, 1, name)[0])
    if not 1 <= channels <= 4096:
        raise CorruptFile(f"{name} has {channels} channels")
    return sizes, np.dtype((">" if big else "<") + _TYPES[code]), channels


def _voxels(
    file: BinaryIO, fields: dict[str, str], shape: tuple[int, ...], dtype: np.dtype, path: Path
) -> Array:
    named = fields["elementdatafile"]
    if named.upper() == "LOCAL":
        return _part(file, path, fields, shape, dtype)
    if "list" in fields:
        names = [line.strip() for line in fields["list"].splitlines() if line.strip()]
    else:
        names = _pattern(named, path.name) or [named]
    files = [inside(path.parent, n, name=path.name) for n in names]
    if len(files) == 1:
        parts = [shape]
    elif len(files) == shape[0]:
        parts = [shape[1:]] * len(files)
    else:
        raise CorruptFile(f"{path.name} names {len(files)} files for {shape[0]} slices")
    arrays: list[Array] = []
    for part, size in zip(files, parts, strict=True):
        with part.open("rb") as stream:
            arrays.append(_part(stream, part, fields, size, dtype))
    return arrays[0] if len(arrays) == 1 else np.stack(arrays).reshape(shape)


def _pattern(named: str, name: str) -> list[str]:
    """``slice%03d.raw 1 40 1`` as file names; empty where it is none."""
    words = named.split()
    if len(words) != 4 or not re.fullmatch(r"[^%]*%0?\d*d[^%]*", words[0]):
        return []
    try:
        first, last, step = (int(w) for w in words[1:])
    except ValueError:
        return []
    if step < 1 or (last - first) // step > 100_000:
        raise CorruptFile(f"{name} numbers its files from {first} to {last} by {step}")
    return [words[0] % i for i in range(first, last + 1, step)]


def _part(
    file: BinaryIO, path: Path, fields: dict[str, str], shape: tuple[int, ...], dtype: np.dtype
) -> Array:
    name, size = path.name, path.stat().st_size
    skip = int(_numbers(fields, "headersize", 1, 0, name)[0])
    start = file.tell()
    packed = _true(fields, "compresseddata", default=False)
    if not _true(fields, "binarydata", default=True):
        check_size(shape, 1, available=size - start, compression="none", name=name)
        numbers = file.read().split()
        if len(numbers) < math.prod(shape):
            raise CorruptFile(f"{name} ends after {len(numbers)} of {math.prod(shape)} numbers")
        kind = dtype.newbyteorder("=")
        try:
            values = [(float if kind.kind == "f" else int)(v) for v in numbers[: math.prod(shape)]]
            return np.array(values, kind).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise CorruptFile(f"{name} holds a number that does not fit: {error}") from error
    wanted = check_size(
        shape, dtype.itemsize, available=size - start - max(skip, 0),
        compression="deflate" if packed else "none", name=name,
    )  # fmt: skip
    if skip == -1 and not packed:
        file.seek(size - wanted)
    elif skip > 0:
        file.seek(start + skip)
    raw = read_array(_Inflated(file) if packed else file, dtype, shape, name=name)  # pyright: ignore[reportArgumentType]
    return raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))


class _Inflated(io.RawIOBase):
    """A zlib or gzip stream (RFC 1950, 1952) as a file; no more is unpacked than asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zlib = zlib.decompressobj(47)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        got = b""
        while not got and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(1 << 18)
            if not packed:
                raise EOFError("the compressed stream has no end")
            got = self._zlib.decompress(packed, len(buffer))
        buffer[: len(got)] = got
        return len(got)


def _image(raw: Array, fields: dict[str, str], name: str) -> Image:
    channels, n = raw.shape[-1], raw.ndim - 1
    data = raw[..., 0] if channels == 1 else np.moveaxis(raw, -1, -1 - min(n, 3))
    axes: list[Axis] = []
    steps = _numbers(
        fields, "elementspacing" if "elementspacing" in fields else "elementsize", n, 1, name
    )
    offset = _numbers(fields, "offset", n, 0, name)
    directions = _numbers(fields, "transformmatrix", n * n, math.nan, name) if (
        "transformmatrix" in fields
    ) else np.eye(n).reshape(-1)  # fmt: skip
    if n == 4:
        if raw.shape[0] > 1:
            times = tuple(float(offset[3] + steps[3] * i) for i in range(raw.shape[0]))
            axes.append(Axis("t", times, "s"))
        else:
            data = data[0]
    if channels > 1:
        axes.append(Axis("channel" if channels == 3 and raw.dtype.kind == "u" else "component"))
    while data.ndim < 3 + len(axes):
        data = np.expand_dims(data, len(axes))
    columns = np.eye(3)
    origin = np.zeros(3)
    spatial = min(n, 3)
    columns[:spatial, :spatial] = directions.reshape(n, n)[:spatial, :spatial].T
    sizes = np.ones(3)
    sizes[:spatial], origin[:spatial] = steps[:spatial], offset[:spatial]
    affine = np.eye(4)
    affine[:3, :3] = (columns * sizes)[:, ::-1]
    affine[:3, 3] = origin
    if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise CorruptFile(f"{name} has a TransformMatrix or ElementSpacing that is not invertible")
    modality = fields.get("modality", "").upper().removeprefix("MET_MOD_")
    return Image(
        data=np.ascontiguousarray(data),
        grid=Grid(data.shape[-3:], affine),  # pyright: ignore[reportArgumentType]
        modality={"CT": "CT", "MR": "MR", "NM": "NM", "US": "US", "PT": "PT"}.get(modality, "OT"),
        axes=tuple(axes),
        provenance=Provenance((Source("file", name),)),
    )


def write(image: Image | Mask, path: str | Path) -> None:
    """Write ``.mha``, or ``.mhd`` with a ``.zraw`` beside it; zlib-compressed, LPS mm.

    Raises
    ------
    WriteError
        Complex or sheared data, or leading axes other than one ``t`` and one ``channel``.
    """
    path = Path(path)
    data, axes = image.data, (image.axes if isinstance(image, Image) else ())
    if isinstance(image, Mask) and data.ndim == 4:
        axes = (Axis("component"),)
    data = data.astype(np.uint8) if data.dtype == np.bool_ else data
    data = data.astype(np.float32) if data.dtype == np.float16 else data
    code = data.dtype.str[1:]
    if code not in _WRITTEN:
        raise WriteError(f"{path.name}: MetaImage holds no {data.dtype}; write NIfTI instead")
    if not image.grid.is_orthogonal(tolerance=1e-6):
        raise WriteError(
            f"{path.name}: the axes of this image are not at right angles and MetaImage readers "
            "would straighten them; write NRRD or NIfTI, or resample first"
        )
    names = [a.name for a in axes]
    inner = [k for k, name in enumerate(names) if name != "t"]
    if len(inner) > 1 or len(axes) - len(inner) > 1:
        raise WriteError(
            f"{path.name}: MetaImage cannot hold the axes {names}; write NRRD or NIfTI"
        )
    channels = 1
    if inner:
        channels = data.shape[inner[0]]
        data = np.moveaxis(data, inner[0], -1)
    data = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False))
    packed = zlib.compress(data.reshape(-1).view(np.uint8).data, 2)
    local = path.suffix.lower() != ".mhd"
    beside = path.with_name(path.stem + ".zraw")
    time = next((a for a in axes if a.name == "t"), None)
    modality = image.modality if isinstance(image, Image) else ""
    header = _header(
        image.grid, data, channels, time=time, element=_WRITTEN[code], size=len(packed),
        modality=modality,
    )  # fmt: skip
    if not local:
        with replacing(beside) as file:
            file.write(packed)
    with replacing(path) as file:
        file.write((header + f"ElementDataFile = {'LOCAL' if local else beside.name}\n").encode())
        if local:
            file.write(packed)


def _header(
    grid: Grid,
    data: Array,
    channels: int,
    *,
    time: Axis | None,
    element: str,
    size: int,
    modality: str,
) -> str:
    def row(values: object) -> str:
        return " ".join(repr(float(v) + 0.0) for v in np.ravel(np.asarray(values)))

    n = 4 if time else 3
    directions = np.eye(n)
    directions[:3, :3] = grid.direction[:, ::-1].T
    steps, offset = list(grid.spacing[::-1]), list(grid.origin)
    if time:
        values = time.values
        steps.append(float(values[1] - values[0]) if len(values) > 1 else 1.0)
        offset.append(float(values[0]) if values else 0.0)
    shape = data.shape[:-1] if channels > 1 else data.shape
    lines = [
        "ObjectType = Image",
        f"NDims = {n}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {size}",
        f"TransformMatrix = {row(directions)}",
        f"Offset = {row(offset)}",
        f"CenterOfRotation = {row(np.zeros(n))}",
        f"ElementSpacing = {row(steps)}",
        f"DimSize = {' '.join(str(k) for k in reversed(shape))}",
    ]
    if modality in ("CT", "MR", "NM", "US"):
        lines.append(f"Modality = MET_MOD_{modality}")
    if channels > 1:
        lines.append(f"ElementNumberOfChannels = {channels}")
    lines.append(f"ElementType = {element}")
    return "\n".join(lines) + "\n"
