"""Acquisitions in HDF5: samples, the description of their operator, calibration, facts, history.

::

    /                    somascope_acquisition = 1, modality, unit, attributes, provenance (JSON)
    /samples             shape operator.range
    /operator            kind, values (JSON; a Grid is {"grid": [shape, affine, frame]})
    /operator/<name>     the arrays among its values
    /calibration/<name>  what was measured alongside

No clock and no chunks: equal acquisitions give equal bytes, and readers may map the samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from somascope.core.acquisition import Acquisition, Scan
from somascope.core.errors import CorruptFile, NotFound, ReadError, UnsupportedFormat, WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array, Grid
from somascope.core.image import Image
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator
from somascope.io.atomic import replacing

MAGIC = b"\x89HDF\r\n\x1a\n"
VERSION = 1
_FACT = "somascope_acquisition"
_MOST_TEXT = 64 * 1024 * 1024
_WIDEST = 1100
"""No deflate stream grows further than this; a data set that claims more is a bomb."""


class AcquisitionReader:
    """``.h5`` files written here (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with our mark; HDF5 of others is left to their readers."""
        if not head.startswith(MAGIC):
            return False
        try:
            with h5py.File(path, "r") as file:
                return _FACT in file.attrs
        except (OSError, RuntimeError):
            return False

    def read(self, path: Path) -> list[Image | Mask | Acquisition]:
        """The one acquisition in the file."""
        return [read(path)]


READER = AcquisitionReader()


def write(acquisition: Acquisition, path: str | Path) -> None:
    """Write ``acquisition`` to ``path`` (``.h5``), as a whole or not at all.

    Raises
    ------
    WriteError
        Its operator cannot be written down (it is no `Scan`).
    """
    content = dump(acquisition)
    with replacing(Path(path)) as file:
        file.write(content)


def dump(acquisition: Acquisition) -> memoryview:
    """The bytes of the HDF5 file, not copied."""
    operator = acquisition.operator
    if not isinstance(operator, Scan):
        raise WriteError(
            f"the operator of this acquisition is a {type(operator).__name__}, which does not "
            "describe itself; give it kind, grid and describe() (somascope.core.Scan)"
        )
    buffer = BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs[_FACT] = VERSION
        file.attrs["modality"] = acquisition.modality
        file.attrs["unit"] = acquisition.unit
        file.attrs["attributes"] = json.dumps(dict(acquisition.attributes), sort_keys=True)
        file.attrs["provenance"] = acquisition.provenance.to_json()
        _array(file, "samples", acquisition.samples)
        group = file.create_group("operator")
        group.attrs["kind"] = operator.kind
        values: dict[str, Any] = {}
        for name, value in sorted(operator.describe().items()):
            if isinstance(value, np.ndarray):
                _array(group, name, value)
            else:
                values[name] = _plain(value)
        group.attrs["values"] = json.dumps(values, sort_keys=True)
        aside = file.create_group("calibration")
        for name, array in sorted(acquisition.calibration.items()):
            _array(aside, name, array)
    return buffer.getbuffer()


def read(source: str | Path | bytes | memoryview) -> Acquisition:
    """The acquisition in a file, or in the bytes of one.

    Raises
    ------
    UnsupportedFormat
        HDF5 that is not ours, or of a later version.
    CorruptFile
        Damaged, lying about its size, or pointing outside itself.
    NotFound
        The kind of its operator is not installed.
    """
    path = None if isinstance(source, (bytes, memoryview)) else Path(source)
    name = path.name if path is not None else "the acquisition"
    opened: Path | IO[bytes] = path if path is not None else BytesIO(source)  # type: ignore[arg-type]
    try:
        with h5py.File(opened, "r") as file:
            result = _parse(file, name)
    except (ReadError, NotFound):
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{name} is damaged: {type(error).__name__}: {error}") from error
    return result


def _parse(file: Any, name: str) -> Acquisition:
    version = file.attrs.get(_FACT)
    if version is None:
        raise UnsupportedFormat(f"{name} is HDF5, but no acquisition written by Somascope")
    if int(version) > VERSION:
        raise UnsupportedFormat(
            f"{name} is an acquisition of version {int(version)}; this program reads up to "
            f"{VERSION}: update it"
        )
    group = _group(file, "operator", name)
    values = {k: _built(v) for k, v in _json(group, "values", name).items()}
    values |= {k: _loaded(group, k, name) for k in group}
    operator = build_operator(str(group.attrs["kind"]), values)
    aside = _group(file, "calibration", name)
    provenance = Provenance.from_json(_text(file, "provenance", name))
    return Acquisition(
        _loaded(file, "samples", name),
        operator,
        str(file.attrs["modality"]),
        unit=str(file.attrs["unit"]),
        calibration={k: _loaded(aside, k, name) for k in aside},
        provenance=provenance if provenance.sources else Provenance((Source("raw", name),)),
        attributes=_json(file, "attributes", name),
    )


def _array(group: Any, name: str, array: Array) -> None:
    if array.dtype.kind not in "buifc":
        raise WriteError(f"{name} has dtype {array.dtype}; an acquisition keeps numbers")
    # Complex and boolean numbers are compounds and enums in HDF5; h5py keeps the field's custom.
    group.create_dataset(name, data=np.asarray(array, order="C"), track_times=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Grid):
        place = [list(value.shape), value.affine.tolist(), value.frame_of_reference]
        return {"grid": place}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _built(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["grid"]:
        (nz, ny, nx), affine, frame = value["grid"]
        return Grid((int(nz), int(ny), int(nx)), np.asarray(affine, float), str(frame))
    return value


def _group(parent: Any, name: str, file: str) -> Any:
    group = _inside(parent, name, file)
    if not isinstance(group, h5py.Group):
        raise CorruptFile(f"{file}: {name!r} is not a group")
    return group


def _inside(parent: Any, name: str, file: str) -> Any:
    link = parent.get(name, getlink=True)
    if link is None:
        raise CorruptFile(f"{file}: {name!r} is missing")
    if not isinstance(link, h5py.HardLink):
        raise CorruptFile(f"{file}: {name!r} points to another place; copy the data into the file")
    return parent[name]


def _loaded(parent: Any, name: str, file: str) -> Array:
    data = _inside(parent, name, file)
    if not isinstance(data, h5py.Dataset):
        raise CorruptFile(f"{file}: {name!r} is not an array")
    if data.is_virtual or data.external:
        raise CorruptFile(f"{file}: {name!r} keeps its data in another file; copy it into this one")
    if data.dtype.kind not in "buifc":
        raise CorruptFile(f"{file}: {name!r} has dtype {data.dtype}; numbers are needed")
    stored = data.id.get_storage_size()
    if data.nbytes > _WIDEST * max(stored, 1):
        raise CorruptFile(
            f"{file}: {name!r} claims {data.nbytes} bytes of values and holds {stored}; "
            "the file is damaged or hostile"
        )
    return np.asarray(data[()])


def _text(parent: Any, name: str, file: str) -> str:
    text = parent.attrs[name]
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        raise CorruptFile(f"{file}: the attribute {name!r} is no text")
    return text


def _json(parent: Any, name: str, file: str) -> dict[str, Any]:
    try:
        value = json.loads(_text(parent, name, file))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{file}: the attribute {name!r} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptFile(f"{file}: the attribute {name!r} is no JSON object")
    return value
