"""Read NRRD: ``.nrrd``, and ``.nhdr`` with its data beside it.

Source: "Definition of NRRD File Format" (G. Kindlmann, Teem), NRRD0001 to NRRD0005. Anatomical
spaces are turned to LPS; a space that is not anatomical, or none, is taken as LPS as ITK does.
"""

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
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
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

_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
"""Signs that turn the space into LPS."""

_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_TO_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "nm": 1e-6}
_TO_S = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6}

_SPATIAL_KINDS = ("domain", "space")
_COLOUR = ("rgb-color", "3-color")
_AXIS_OF_KIND = {
    "time": "t",
    "list": "list",
    "vector": "component",
    "covariant-vector": "component",
}
UCUM_KEY = "somascope unit"
MODALITY_KEY = "modality"
AXIS_KEY = "somascope axis"


class NrrdReader:
    """``.nrrd`` and ``.nhdr`` (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the bytes start with the magic of NRRD0001 to NRRD0005."""
        return re.match(rb"NRRD000[1-5]\r?\n", head) is not None

    def read(self, path: Path) -> list[Image]:
        """The one image in the file."""
        return [read(path)]


READER = NrrdReader()


def read(path: str | Path) -> Image:
    """Read one NRRD file.

    The axes with a direction are x, y, z in that order; others become leading axes: colour the axis
    ``channel``, time the axis ``t`` in seconds, a diffusion list the axis ``b`` in s/mm2.

    Raises
    ------
    CorruptFile
        Truncated, inconsistent, or naming a data file outside the header's folder.
    UnsupportedFormat
        Block types, and fewer than two or more than three spatial axes.
    """
    path = Path(path)
    with path.open("rb") as file:
        fields, keys = _parse(file, path.name)
        raw = _voxels(file, fields, path)
    return _image(raw, fields, keys, path.name)


def _parse(file: BinaryIO, name: str) -> tuple[dict[str, str], dict[str, str]]:
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


def _voxels(file: BinaryIO, fields: dict[str, str], path: Path) -> Array:
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
        with _unpacked(file, compression) as stream:
            try:
                for left in range(max(skip, 0), 0, -(1 << 20)):
                    stream.read(min(left, 1 << 20))
            except (OSError, EOFError) as error:
                raise CorruptFile(f"{name} cannot be decompressed ({error})") from error
            raw = read_array(stream, dtype, shape, name=name)
            check_end(stream, name=name)
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


def _vectors(text: str, name: str) -> list[Float | None]:
    """``(1,0,0) none (0,1,0)`` as vectors; ``none`` as None."""
    found: list[Float | None] = []
    for word in re.findall(r"\([^)]*\)|none|nan|\S+", text):
        if word in ("none", "nan"):
            found.append(None)
            continue
        try:
            vector = np.array([float(v) for v in word.strip("()").split(",")])
        except ValueError as error:
            raise CorruptFile(f"{name} has the vector {word[:60]!r}") from error
        found.append(None if np.isnan(vector).all() else vector)
    return found


def _per_axis(fields: dict[str, str], field: str, dimension: int) -> list[float]:
    """One number per axis, nan where unknown."""
    words = fields.get(field, "").split()
    try:
        values = [float(w) for w in words]
    except ValueError:
        values = []
    return values if len(values) == dimension else [math.nan] * dimension


def _words(fields: dict[str, str], field: str, dimension: int) -> list[str]:
    text = fields.get(field, "")
    words = re.findall(r'"([^"]*)"', text) if '"' in text else text.lower().split()
    return words if len(words) == dimension else ["???"] * dimension


def _image(raw: Array, fields: dict[str, str], keys: dict[str, str], name: str) -> Image:
    n = raw.ndim
    kinds = _words(fields, "kinds", n)
    directions = _vectors(fields["space directions"], name) if "space directions" in fields else []
    if directions and len(directions) != n:
        raise CorruptFile(f"{name} has {len(directions)} space directions for {n} axes")
    if directions:
        spatial = [i for i, v in enumerate(directions) if v is not None]
    else:
        spatial = [i for i, k in enumerate(kinds) if k in _SPATIAL_KINDS or k == "???"]
        # Without kinds only the sizes can tell: three (or two) axes are space, the rest follows.
        spatial = spatial[:3]
    if not 1 <= len(spatial) <= 3:
        raise UnsupportedFormat(f"{name} has {len(spatial)} spatial axes; 1 to 3 can be placed")
    others = [i for i in range(n) if i not in spatial]
    # NRRD lists the fastest axis first; C order is the reverse.
    order = [n - 1 - i for i in reversed(others)] + [n - 1 - i for i in reversed(spatial)]
    data = raw.transpose(order)
    while len(spatial) < 3:
        data = np.expand_dims(data, data.ndim - len(spatial))
        spatial.append(-1)
    affine = _affine(fields, directions, spatial, n, name)
    axes = [
        _axis(i, raw.shape[n - 1 - i], kinds, fields=fields, keys=keys) for i in reversed(others)
    ]
    for k, i in enumerate(reversed(others)):
        if kinds[i] == "complex" and raw.shape[n - 1 - i] == 2 and data.dtype.kind == "f":
            real, imaginary = np.moveaxis(data, k, 0)
            data = real + 1j * imaginary
            axes.pop(k)
            break
    single = tuple(
        k for k, axis in enumerate(axes) if data.shape[k] == 1 and axis.name != "channel"
    )
    data = np.ascontiguousarray(data.squeeze(single))
    axes = [a for k, a in enumerate(axes) if k not in single]
    return Image(
        data=_colour_last(data, axes),
        grid=Grid(data.shape[-3:], affine),  # pyright: ignore[reportArgumentType]
        modality=keys.get(MODALITY_KEY, "OT")
        if len(keys.get(MODALITY_KEY, "")) == 2
        else _diffusion(keys),
        unit=keys.get(UCUM_KEY, "1"),
        axes=tuple(
            [a for a in axes if a.name != "channel"] + [a for a in axes if a.name == "channel"]
        ),
        provenance=Provenance((Source("file", name),)),
    )


def _diffusion(keys: dict[str, str]) -> str:
    return "MR" if keys.get(MODALITY_KEY) == "DWMRI" else "OT"


def _colour_last(data: Array, axes: list[Axis]) -> Array:
    names = [a.name for a in axes]
    if "channel" not in names:
        return data
    return np.ascontiguousarray(np.moveaxis(data, names.index("channel"), len(axes) - 1))


def _axis(
    i: int, count: int, kinds: list[str], *, fields: dict[str, str], keys: dict[str, str]
) -> Axis:
    n = len(kinds)
    kind = kinds[i]
    if kind in _COLOUR and count == 3:
        return Axis("channel")
    b_values = _b_values(keys, count)
    if b_values:
        return Axis("b", b_values, "s/mm2")
    label = _words(fields, "labels", n)[i]
    step = _per_axis(fields, "spacings", n)[i]
    start = _per_axis(fields, "axis mins", n)[i]
    start = 0.0 if math.isnan(start) else start
    unit = _words(fields, "units", n)[i]
    if kind == "time" or label in ("t", "time"):
        scale = _TO_S.get(unit, 1.0)
        if step > 0:
            return Axis("t", tuple((start + step * k) * scale for k in range(count)), "s")
        return Axis("t", *_listed(keys, "t", count))
    name = (
        label if re.fullmatch(r"[a-z][a-z0-9_]*", label) else _AXIS_OF_KIND.get(kind, f"dim{i + 1}")
    )
    return Axis(name, *_listed(keys, name, count))


def _listed(keys: dict[str, str], name: str, count: int) -> tuple[tuple[float, ...], str]:
    """Coordinates that `write` put in a key, because they are not evenly spaced."""
    words = keys.get(f"{AXIS_KEY} {name}", "").split()
    with contextlib.suppress(ValueError):
        values = tuple(float(w) for w in words[1:])
        if len(values) == count:
            return values, words[0]
    return (), "s" if name == "t" else "1"


def _b_values(keys: dict[str, str], count: int) -> tuple[float, ...]:
    """One b value per gradient, ``b |g|^2 / max |g|^2`` (NA-MIC DWI convention)."""
    try:
        largest = float(keys["DWMRI_b-value"])
        gradients = [
            np.array([float(v) for v in keys[f"DWMRI_gradient_{i:04d}"].split()])
            for i in range(count)
        ]
    except (KeyError, ValueError):
        return ()
    squares = np.array([g @ g for g in gradients])
    top = squares.max()
    return tuple(float(v) for v in squares / (top or 1.0) * largest)


def _affine(
    fields: dict[str, str], directions: list[Float | None], spatial: list[int], n: int, name: str
) -> Float:
    """LPS of (z, y, x)."""
    space = fields.get("space", "").lower().removesuffix("-time")
    space = space[:3] if space in ("rast", "last", "lpst") else space
    if space and space not in _SPACES and space not in _OTHER_SPACES:
        raise UnsupportedFormat(f"{name} has the space {fields['space']!r}, which is not read here")
    sign = np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    scale = _TO_MM.get(units[0], 1.0) if units else 1.0
    columns = np.zeros((3, 3))
    origin = np.zeros(3)
    if directions:
        for k, i in enumerate(spatial):
            vector = directions[i] if i >= 0 else None
            if vector is not None:
                columns[: len(vector[:3]), k] = vector[:3]
        found = _vectors(fields.get("space origin", ""), name)
        if found and found[0] is not None:
            origin[: len(found[0][:3])] = found[0][:3]
    else:
        steps, mins = _per_axis(fields, "spacings", n), _per_axis(fields, "axis mins", n)
        for k, i in enumerate(spatial):
            step = steps[i] if i >= 0 and not math.isnan(steps[i]) else 1.0
            columns[k, k] = step
            origin[k] = mins[i] if i >= 0 and not math.isnan(mins[i]) else 0.0
    for k in range(3):
        if not columns[:, k].any():
            columns[:, k] = _missing(columns, k)
    affine = np.eye(4)
    affine[:3, :3] = (columns * scale * sign[:, None])[:, ::-1]
    affine[:3, 3] = origin * scale * sign
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise CorruptFile(f"{name} has the space directions {columns.tolist()}: not invertible")
    return affine


def _missing(columns: Float, k: int) -> Float:
    """A unit vector at right angles to the other two columns."""
    a, b = columns[:, (k + 1) % 3], columns[:, (k + 2) % 3]
    normal = np.cross(a, b)
    if not normal.any():
        return np.eye(3)[k]
    return normal / np.linalg.norm(normal)
