"""The header lines of NRRD, and the array they describe, in one file or in many."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.gz import unpack
from somascope.io.stream import Compression, check_end, check_size, inside, read_array

_LONGEST_HEADER = 1 << 22

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), "i8"),
    **dict.fromkeys(("signed long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int"), "u8"),
    **dict.fromkeys(("uint64", "uint64_t"), "u8"),
    "int16_t": "i2",
    "float": "f4",
    "double": "f8",
}


def parse(file: BinaryIO, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Fields (lower case) and key/value pairs of the header; the file stands behind it then."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    file.readline(16)
    while True:
        line = file.readline(1 << 20)
        if not line.strip(b"\r\n"):
            break
        if file.tell() > _LONGEST_HEADER:
            raise CorruptFile(f"{name} has no blank line to end its header")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("#"):
            continue
        key, sign, value = text.partition(":=")
        if sign and ": " not in key:
            keys[key.strip()] = value
            continue
        key, sign, value = text.partition(":")
        if not sign:
            raise CorruptFile(f"{name} has the header line {text[:60]!r}, which is no field")
        key = " ".join(key.lower().split())
        fields[
            {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}.get(
                key, key
            )
        ] = value.strip()
        if key in ("data file", "datafile") and value.strip().upper().startswith("LIST"):
            rest = file.read(_LONGEST_HEADER).decode("utf-8", "replace")
            fields["data file list"] = rest
            break
    for field in ("type", "dimension", "sizes", "encoding"):
        if field not in fields:
            raise CorruptFile(f"{name} lacks the field {field!r} that every NRRD file has")
    return fields, keys


def _integers(fields: dict[str, str], field: str, name: str) -> list[int]:
    try:
        return [int(v) for v in fields[field].split()]
    except ValueError as error:
        raise CorruptFile(
            f"{name} has {field}: {fields[field][:60]!r}; it must be integers"
        ) from error


def _sizes(fields: dict[str, str], name: str) -> list[int]:
    sizes = _integers(fields, "sizes", name)
    if [len(sizes)] != _integers(fields, "dimension", name) or not 1 <= len(sizes) <= 16:
        raise CorruptFile(
            f"{name} has dimension {fields['dimension']} but sizes {fields['sizes'][:60]!r}"
        )
    return sizes


def _dtype(fields: dict[str, str], name: str) -> np.dtype:
    code = _TYPES.get(" ".join(fields["type"].lower().split()))
    if code is None:
        raise UnsupportedFormat(f"{name} has the type {fields['type']!r}, which is not read here")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "little").lower())
    if order is None:
        raise CorruptFile(f"{name} has endian {fields['endian']!r}; it is little or big")
    return np.dtype(order + code)


def voxels(file: BinaryIO, fields: dict[str, str], path: Path) -> Array:
    """The array in C order: sizes reversed."""
    name = path.name
    sizes, dtype = _sizes(fields, name), _dtype(fields, name)
    if "data file" not in fields:
        return _part(file, path, fields, dtype, tuple(reversed(sizes)))
    parts, across = _files(fields, path, len(sizes))
    each = list(sizes)
    if len(parts) > 1:
        # Files hold hyper-slices of dimension `across`; more of them fill the slower axes.
        per = math.prod(sizes) // max(len(parts), 1)
        if per * len(parts) != math.prod(sizes) or per % max(math.prod(sizes[:across]), 1):
            raise CorruptFile(f"{name} names {len(parts)} files that do not fill the sizes {sizes}")
        each = [*sizes[:across], per // math.prod(sizes[:across])]
    arrays: list[Array] = []
    for part in parts:
        with part.open("rb") as stream:
            arrays.append(_part(stream, part, fields, dtype, tuple(reversed(each))))
    return np.concatenate([a.reshape(-1) for a in arrays]).reshape(tuple(reversed(sizes)))


def _files(fields: dict[str, str], path: Path, dimension: int) -> tuple[list[Path], int]:
    words = fields["data file"].split()
    across = dimension - 1
    if words and words[0].upper() == "LIST":
        named = [line.strip() for line in fields["data file list"].splitlines() if line.strip()]
        across = int(words[1]) if len(words) > 1 and words[1].isdigit() else across
    elif len(words) >= 4 and re.fullmatch(r"[^%]*%0?\d*d[^%]*", words[0]):
        try:
            first, last, step = (int(w) for w in words[1:4])
            across = int(words[4]) if len(words) > 4 else across
        except ValueError as error:
            raise CorruptFile(f"{path.name} has data file: {fields['data file'][:60]!r}") from error
        if step == 0 or abs((last - first) // step) > 100_000:
            raise CorruptFile(
                f"{path.name} numbers its data files from {first} to {last} by {step}"
            )
        named = [words[0] % i for i in range(first, last + (1 if step > 0 else -1), step)]
    else:
        named = [fields["data file"]]
    if not named:
        raise CorruptFile(f"{path.name} names no data file")
    return [inside(path.parent, n, name=path.name) for n in named], across


def _part(
    file: BinaryIO, path: Path, fields: dict[str, str], dtype: np.dtype, shape: tuple[int, ...]
) -> Array:
    name, encoding = path.name, fields["encoding"].lower()
    for _ in range(_skip(fields, "line skip", name)):
        file.readline(1 << 20)
    skip = _skip(fields, "byte skip", name)
    start = file.tell()
    stored = path.stat().st_size - start
    method = {"raw": "none", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2"}
    if encoding in ("text", "txt", "ascii"):
        check_size(shape, 1, available=stored, compression="none", name=name)
        try:
            numbers = file.read().split()
            count = math.prod(shape)
            if len(numbers) < count:
                raise CorruptFile(f"{name} ends after {len(numbers)} of {count} numbers")
            kind = dtype.newbyteorder("=")
            as_type = float if kind.kind == "f" else int
            return np.array([as_type(v) for v in numbers[:count]], kind).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise CorruptFile(f"{name} holds a number that does not fit: {error}") from error
    if encoding not in method:
        raise UnsupportedFormat(f"{name} has the encoding {encoding!r}, which is not read here")
    compression: Compression = method[encoding]  # pyright: ignore[reportAssignmentType]
    wanted = check_size(
        shape, dtype.itemsize, available=stored - max(skip, 0), compression=compression, name=name
    )
    if compression == "none":
        file.seek(path.stat().st_size - wanted if skip == -1 else start + skip)
        raw = read_array(file, dtype, shape, name=name)
    else:
        if compression == "deflate" and skip == 0:
            whole = unpack(file.read(), dtype, shape)
            if whole is not None:
                return _native(whole)
            file.seek(start)
        with _unpacked(file, compression) as stream:
            try:
                for left in range(max(skip, 0), 0, -(1 << 20)):
                    stream.read(min(left, 1 << 20))
            except (OSError, EOFError) as error:
                raise CorruptFile(f"{name} cannot be decompressed ({error})") from error
            raw = read_array(stream, dtype, shape, name=name)
            check_end(stream, name=name)
    return _native(raw)


def _native(raw: Array) -> Array:
    return raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))


@contextlib.contextmanager
def _unpacked(file: BinaryIO, compression: Compression) -> Iterator[BinaryIO]:
    opened: Any = gzip.GzipFile(fileobj=file) if compression == "deflate" else bz2.BZ2File(file)
    with opened:
        yield opened


def _skip(fields: dict[str, str], field: str, name: str) -> int:
    value = _integers(fields, field, name)[0] if fields.get(field) else 0
    if value < -1 or (value == -1 and field == "line skip"):
        raise CorruptFile(f"{name} has {field}: {value}")
    return value
