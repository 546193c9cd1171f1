"""Synchrotron tomography in HDF5: Data Exchange (``/exchange``) and NeXus ``NXtomo``.

Sources: De Carlo et al., J. Synchrotron Rad. 21 (2014), 1224 (DXchange: ``data``, ``data_white``,
``data_dark``, ``theta``); NeXus application definition NXtomo (``image_key`` 0 projection, 1 flat,
2 dark, 3 invalid; ``rotation_angle``; ``x_pixel_size``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.raw.projections import parallel

_MAGIC = b"\x89HDF\r\n\x1a\n"
_WIDEST = 1100
"""No deflate stream grows further than this; a data set that claims more is a bomb."""

_MM = {"m": 1e3, "meter": 1e3, "metre": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3,
       "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "nm": 1e-6}  # fmt: skip
_DEGREES = ("deg", "degree", "degrees", "°")


class NexusReader:
    """DXchange and NXtomo files (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with ``/exchange/data`` or with an ``image_key``."""
        if not head.startswith(_MAGIC):
            return False
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return "exchange/data" in file or _tomo(file) is not None
        except (OSError, RuntimeError, KeyError, ValueError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """The one acquisition in the file."""
        return [read(path)]


READER = NexusReader()


def read(path: str | Path) -> Acquisition:
    """The parallel-beam acquisition in a DXchange or NXtomo file, raw counts with flat and dark.

    Raises
    ------
    CorruptFile
        Damaged, without angles, or with numbers that do not fit together.
    UnsupportedFormat
        HDF5 of another kind.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            if "exchange/data" in file:
                return _exchange(file, path)
            entry = _tomo(file)
            if entry is None:
                raise UnsupportedFormat(
                    f"{path.name} is HDF5 without /exchange/data or an NXtomo entry"
                )
            return _nxtomo(entry, path)
    except ReadError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path.name} is damaged or truncated: {error}") from error


def _array(group: Any, key: str, path: Path) -> Array | None:
    """The data set, once it is sure that the file can hold it; None where it is absent."""
    import h5py

    if key not in group:
        return None
    table = group[key]
    if not isinstance(table, h5py.Dataset):
        raise CorruptFile(f"{path.name}: {key} is not a data set")
    if table.size * table.dtype.itemsize > _WIDEST * max(path.stat().st_size, 1):
        raise CorruptFile(f"{path.name}: {key} claims {table.shape}, more than the file can hold")
    return np.asarray(table[()])


def _unit(table: Any) -> str:
    unit = table.attrs.get("units", "")
    return (unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower()


def _length(group: Any, keys: tuple[str, ...]) -> float | None:
    """The first of these lengths that is there, in mm."""
    for key in keys:
        if key in group:
            unit = _unit(group[key])
            value = float(np.asarray(group[key][()]).reshape(-1)[0])
            if unit in _MM and value > 0:
                return value * _MM[unit]
    return None


def _angles(group: Any, key: str, path: Path) -> Array:
    found = _array(group, key, path)
    if found is None:
        raise CorruptFile(
            f"{path.name} has no rotation angles ({key}); add them to the file, or make the "
            "acquisition in Python"
        )
    unit = _unit(group[key])
    if unit and unit not in (*_DEGREES, "rad", "radian", "radians"):
        raise CorruptFile(f"{path.name}: {key} is in {unit!r}; give deg or rad")
    values = found.astype(np.float64).reshape(-1)
    return np.deg2rad(values) if unit in ("", *_DEGREES) else values


def _exchange(file: Any, path: Path) -> Acquisition:
    group = file["exchange"]
    data = _array(group, "data", path)
    assert data is not None
    pixel = _length(
        file,
        (
            "measurement/instrument/detector/actual_pixel_size_x",
            "measurement/instrument/detector/pixel_size_x",
            "measurement/instrument/detection_system/objective/resolution",
        ),
    )
    return parallel(
        data, _angles(group, "theta", path), name=path.name, pixel=pixel or 1.0,
        flat=_array(group, "data_white", path), dark=_array(group, "data_dark", path),
        facts=_facts(pixel),
    )  # fmt: skip


def _facts(pixel: float | None) -> dict[str, Any]:
    if pixel is not None:
        return {}
    return {"ImageComments": "Pixel size unknown: taken as 1 mm"}


def _tomo(file: Any) -> Any:
    """The group that is an NXtomo entry: it has an instrument, a sample and an image key."""
    import h5py

    for name in file:
        entry = file.get(name)
        if not isinstance(entry, h5py.Group):
            continue
        for group in (entry, *(entry.get(k) for k in ("tomo_entry",) if k in entry)):
            if isinstance(group, h5py.Group) and "instrument/detector/image_key" in group:
                return group
    return None


def _nxtomo(entry: Any, path: Path) -> Acquisition:
    detector = entry["instrument/detector"]
    data, keys = _array(detector, "data", path), _array(detector, "image_key", path)
    if data is None or keys is None:
        raise CorruptFile(f"{path.name}: its NXtomo entry has no detector data")
    angles = _angles(entry, "sample/rotation_angle", path)
    keys = keys.reshape(-1)
    if not len(keys) == len(data) == len(angles):
        raise CorruptFile(
            f"{path.name}: {len(data)} frames, {len(keys)} image keys and {len(angles)} angles; "
            "there must be one each"
        )
    if not (keys == 0).any():
        raise CorruptFile(f"{path.name}: no frame is marked as a projection (image_key 0)")
    pixel = _length(detector, ("x_pixel_size", "x_pixel_size_real"))
    return parallel(
        data[keys == 0], angles[keys == 0], name=path.name, pixel=pixel or 1.0,
        flat=data[keys == 1], dark=data[keys == 2], facts=_facts(pixel),
    )  # fmt: skip
