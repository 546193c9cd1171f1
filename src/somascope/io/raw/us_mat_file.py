"""Variables of a MATLAB file, versions 5 to 7.3, without running or trusting anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.io.raw.uff_scan import WIDEST, table

_V5, _V73 = b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"
_FEW = 2**20
"""Numbers in a structure's field; more is data, not a parameter."""
_NUMBERS = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
            "uint64")  # fmt: skip
_BYTES = {"double": 8, "single": 4, "int64": 8, "uint64": 8, "int32": 4, "uint32": 4, "int16": 2,
          "uint16": 2}  # fmt: skip


def is_mat(head: bytes) -> bool:
    """Whether a file begins like a MATLAB file of version 5 to 7.3."""
    return head.startswith((_V5, _V73))


def structures(path: Path) -> dict[str, dict[str, Any]]:
    """Structures that have ``fs`` and ``pitch``, as dictionaries of numeric fields."""
    found: dict[str, dict[str, Any]] = {}
    if _is_hdf(path):
        import h5py

        with h5py.File(path, "r") as opened:
            file: Any = opened
            for name in file:
                if name.startswith("#") or file.get(name, getclass=True) is not h5py.Group:
                    continue
                group = file[name]
                found[name] = {
                    key: _turned(table(group, key, path)) for key in group if _small(group.get(key))
                }
    else:
        names = [n for n, _, kind in _listed(path) if kind == "struct"]
        for name in names:
            value = _loaded(path, name)
            if getattr(value, "dtype", None) is not None and value.dtype.names and value.size == 1:
                record = value.reshape(-1)[0]
                found[name] = {
                    str(key): np.asarray(record[key])
                    for key in value.dtype.names
                    if np.asarray(record[key]).dtype.kind in "buifc"
                    and 0 < np.asarray(record[key]).size <= _FEW
                }
    return {n: f for n, f in found.items() if {"fs", "pitch"} <= set(f)}


def arrays(path: Path) -> list[str]:
    """Names of numeric variables with at least two axes longer than one: the signals."""
    if _is_hdf(path):
        import h5py

        with h5py.File(path, "r") as opened:
            file: Any = opened
            return [
                n for n in file
                if isinstance(file.get(n), h5py.Dataset) and sum(k > 1 for k in file[n].shape) > 1
            ]  # fmt: skip
    return [n for n, shape, kind in _listed(path)
            if kind in _NUMBERS and sum(k > 1 for k in shape) > 1]  # fmt: skip


def load(path: Path, name: str) -> Array:
    """The array of that name, MATLAB's order of axes, axes of length 1 at the end dropped."""
    if _is_hdf(path):
        import h5py

        with h5py.File(path, "r") as file:
            value = _turned(table(file, name, path))
    else:
        value = np.asarray(_loaded(path, name))
    while value.ndim > 2 and value.shape[-1] == 1:
        value = value[..., 0]
    return value


def _is_hdf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_V73)) == _V73


def _small(item: Any) -> bool:
    import h5py

    if not isinstance(item, h5py.Dataset):
        return False
    return item.dtype.kind in "uif" and 0 < int(item.size or 0) <= _FEW


def _turned(value: Array) -> Array:
    """HDF5 keeps MATLAB's axes in reverse, and complex numbers as pairs."""
    if value.dtype.names is not None and set(value.dtype.names) == {"real", "imag"}:
        value = value["real"] + 1j * value["imag"]
    if value.dtype.kind == "V":
        raise CorruptFile(f"a variable holds {value.dtype}; numbers are needed")
    return value.transpose()


def _listed(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    from scipy.io import whosmat

    found: list[Any] = whosmat(str(path))
    most = WIDEST * path.stat().st_size
    for name, shape, kind in found:
        if int(np.prod([int(k) for k in shape], dtype=object)) * _BYTES.get(kind, 1) > most:
            raise CorruptFile(f"{path.name}: {name} claims {shape}, more than the file can hold")
    return found


def _loaded(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    return loadmat(str(path), variable_names=[name], squeeze_me=False)[name]
