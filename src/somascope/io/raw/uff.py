"""UFF: channel data of the UltraSound ToolBox, HDF5.

Source: Rodriguez-Molares et al. 2017 (USTB), and the fields of ``uff.channel_data``: x lateral,
y elevation, z depth in m; a wave's time zero is when it passes the origin, and ``delay`` is from
there to the start of its record. Data sets are ``(frame, wave, channel, time)`` as HDF5 has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.grid import Array, Float
from somascope.io.raw.uff_scan import MAGIC, Record, acquisition, number, side_facts, table

_CHANNELS = "uff.channel_data"
_PLANE, _SPHERICAL = 0, 1


class UffReader:
    """UFF files with channel data (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with an object of class ``uff.channel_data``."""
        if not head.startswith(MAGIC):
            return False
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return bool(_objects(file))
        except (OSError, RuntimeError, KeyError, ValueError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """Every channel data object in the file."""
        return read(path)


READER = UffReader()


def read(path: str | Path) -> list[Acquisition]:
    """The channel data in a UFF file.

    Raises
    ------
    CorruptFile
        Damaged, incomplete, or with numbers that do not fit together.
    UnsupportedFormat
        Photoacoustic waves, or HDF5 of another kind.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            groups = _objects(file)
            if not groups:
                raise UnsupportedFormat(f"{path.name} is HDF5 without UFF channel data")
            return [_channels(group, path) for group in groups]
    except ReadError:
        raise
    except Exception as error:  # a hostile file may break any of these steps
        raise CorruptFile(f"{path.name} is damaged or truncated: {error}") from error


def _objects(file: Any) -> list[Any]:
    import h5py

    found: list[Any] = []
    for key in list(file)[:1000]:
        link = file.get(key, getlink=True)
        group = file[key] if isinstance(link, h5py.HardLink) else None
        if isinstance(group, h5py.Group) and _class(group) == _CHANNELS:
            found.append(group)
    return found


def _class(group: Any) -> str:
    name = group.attrs.get("class", "")
    if isinstance(name, np.ndarray):
        name = name.reshape(-1)[0] if name.size == 1 else ""
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def _channels(group: Any, path: Path) -> Acquisition:
    facts = _scalars(group, path)
    c = number(facts, "sound_speed", path)
    fs = number(facts, "sampling_frequency", path)
    fd = number(facts, "modulation_frequency", path, default=0.0)
    data = _values(group, "data", path)
    waves = _sequence(group, path)
    geometry = _values(group["probe"], "geometry", path).astype(np.float64)
    if geometry.ndim != 2 or 7 not in geometry.shape:
        raise CorruptFile(f"{path.name}: the probe's geometry has shape {geometry.shape}")
    geometry = geometry if geometry.shape[0] == 7 else geometry.T
    origin = _point(group["probe"]["origin"], path)[0] if "origin" in group["probe"] else 0.0
    # One wave or one frame: MATLAB drops trailing axes of length 1, which come first here.
    data = data.reshape((1,) * (4 - data.ndim) + data.shape) if data.ndim <= 4 else data
    if data.ndim != 4:
        raise CorruptFile(f"{path.name}: data has {data.ndim} axes; UFF has four")
    positions = geometry[[0, 2, 1]].T * 1e3 + origin
    theta, phi = geometry[3], geometry[4]
    normals = np.stack(
        [np.sin(theta) * np.cos(phi), np.cos(theta) * np.cos(phi), np.sin(phi)], axis=1
    )
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    flat = np.ptp(normals, axis=0).max() < 1e-6
    plane = np.ptp(positions[:, 2]) < 1e-6
    side = side_facts(path)
    pulse = _scalars(group["pulse"], path) if "pulse" in group else {}
    fc = side.get("centre_frequency") or pulse.get("center_frequency") or (fd if fd > 0 else None)
    bandwidth = side.get("bandwidth") or pulse.get("fractional_bandwidth") or 0.6
    kind, vectors, t0 = _waves(waves, c, path)
    radius = _radius(positions, normals) if plane and not flat else 0.0
    height = float(np.median(geometry[6]) * 1e3)
    rate = facts.get("PRF", facts.get("prf"))
    interval = side.get("frame_interval")
    if interval is None and rate:
        interval = len(waves) / number({"PRF": rate}, "PRF", path)
    return acquisition(
        Record(
            samples=data, positions=positions, normals=normals,
            pitch=float(np.median(gaps)) if gaps.size else 1.0,
            width=float(np.median(geometry[5]) * 1e3) or float(np.median(gaps)),
            height=height if height > 0 else 5.0,
            centre_frequency=number(
                {"centre_frequency": fc}, "centre_frequency", path, side=True
            ),
            bandwidth=float(bandwidth), sampling_frequency=fs, demodulation_frequency=fd,
            speed_of_sound=c, start=number(facts, "initial_time", path, default=0.0),
            transmit=kind, vectors=vectors, t0=t0,
            apodisation=np.ones((len(waves), len(positions))), frame_interval=interval,
            kind="matrix" if not plane else "linear" if flat else "convex", radius=radius,
        ),
        path,
    )  # fmt: skip


def _scalars(group: Any, path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    for key in group:
        item = group.get(key)
        if isinstance(item, h5py.Dataset) and item.size == 1 and item.dtype.kind in "uif":
            found[key] = float(table(group, key, path).reshape(-1)[0])
    return found


def _values(group: Any, key: str, path: Path) -> Array:
    """An array; complex ones are a group of two."""
    import h5py

    if isinstance(group.get(key), h5py.Group):
        real, imaginary = table(group[key], "real", path), table(group[key], "imag", path)
        if real.shape != imaginary.shape:
            raise CorruptFile(f"{path.name}: {key} has parts of different shapes")
        return real + 1j * imaginary
    return table(group, key, path)


def _point(group: Any, path: Path) -> tuple[Float, Float, float]:
    """Place in mm (x, depth, elevation), direction, and distance in mm."""
    facts = _scalars(group, path)
    away, az, el = (facts.get(k, 0.0) for k in ("distance", "azimuth", "elevation"))
    way = np.array([np.sin(az) * np.cos(el), np.cos(az) * np.cos(el), np.sin(el)])
    place = way * (away * 1e3 if np.isfinite(away) else 0.0)
    return place, way, float(away) * 1e3


def _sequence(group: Any, path: Path) -> list[Any]:
    sequence = group.get("sequence")
    if sequence is None:
        raise CorruptFile(f"{path.name} has no sequence: the waves sent are unknown")
    if "source" in sequence:
        return [sequence]
    return [sequence[key] for key in sorted(sequence)]


def _waves(waves: list[Any], c: float, path: Path) -> tuple[str, Float, Float]:
    kinds: set[str] = set()
    vectors, t0 = np.zeros((len(waves), 3)), np.zeros(len(waves))
    for k, wave in enumerate(waves):
        front = int(table(wave, "wavefront", path).reshape(-1)[0]) if "wavefront" in wave else 1
        place, way, away = _point(wave["source"], path)
        delay = _scalars(wave, path).get("delay", 0.0)
        if front not in (_PLANE, _SPHERICAL):
            raise UnsupportedFormat(f"{path.name}: photoacoustic waves are not beamformed here")
        if front == _PLANE or not np.isfinite(away):
            kind, vectors[k], t0[k] = "plane", way, -delay
        elif place[1] > 1e-9:
            kind, vectors[k], t0[k] = "focused", place, away / (c * 1e3) - delay
        else:
            kind, vectors[k], t0[k] = "diverging", place, -away / (c * 1e3) - delay
        kinds.add(kind)
    if len(kinds) != 1:
        raise UnsupportedFormat(
            f"{path.name} mixes {' and '.join(sorted(kinds))} waves in one sequence; split it"
        )
    return kinds.pop(), vectors, t0


def _radius(positions: Float, normals: Float) -> float:
    """Radius of the arc on which the elements of a convex probe lie, mm."""
    turn = np.arctan2(normals[:, 0], normals[:, 1])
    return float(abs(np.ptp(positions[:, 0]) / np.ptp(np.sin(turn))))
