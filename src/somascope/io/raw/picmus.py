"""PICMUS: the HDF5 files of the plane-wave imaging challenge in medical ultrasound.

Source: Liebgott et al. 2016, IEEE IUS. ``/US/US_DATASET0000`` holds ``data/real`` and
``data/imag`` ``(angles, elements, samples)``, ``angles`` in radians, ``probe_geometry`` ``(3,
elements)`` in m, ``sampling_frequency``, ``modulation_frequency`` (0 for RF), ``initial_time``,
``sound_speed``. Time zero is when a wave passes the middle of the probe. The files do not name the
probe; all sets of the challenge were taken with one of 5.208 MHz, 67 % and 0.27 mm wide elements
(Table I there). Another one is told in a side file: ``centre_frequency``, ``bandwidth``, ``width``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.raw.uff_scan import (
    MAGIC,
    Record,
    acquisition,
    number,
    plane_waves,
    side_facts,
    table,
)

_SET = "US/US_DATASET0000"
_PROBE = {"centre_frequency": 5.208e6, "bandwidth": 0.67, "width": 0.27, "height": 5.0}


class PicmusReader:
    """PICMUS files (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with ``/US/US_DATASET0000/data``."""
        if not head.startswith(MAGIC):
            return False
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return f"{_SET}/data" in file and f"{_SET}/angles" in file
        except (OSError, RuntimeError, KeyError, ValueError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """The one acquisition in the file."""
        return [read(path)]


READER = PicmusReader()


def read(path: str | Path) -> Acquisition:
    """The plane-wave acquisition in a PICMUS file.

    Raises
    ------
    CorruptFile
        Damaged, incomplete, or with numbers that do not fit together.
    UnsupportedFormat
        HDF5 of another kind.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            if f"{_SET}/data" not in file:
                raise UnsupportedFormat(f"{path.name} is HDF5 without {_SET}/data")
            return _dataset(file[_SET], path)
    except ReadError:
        raise
    except Exception as error:  # a hostile file may break any of these steps
        raise CorruptFile(f"{path.name} is damaged or truncated: {error}") from error


def _dataset(group: Any, path: Path) -> Acquisition:
    scalars = {
        key: table(group, key, path)
        for key in ("sampling_frequency", "modulation_frequency", "initial_time", "sound_speed")
        if key in group
    }
    fd = number(scalars, "modulation_frequency", path, default=0.0)
    c = number(scalars, "sound_speed", path)
    data = table(group["data"], "real", path)
    if fd > 0:
        data = data + 1j * table(group["data"], "imag", path)
    angles = table(group, "angles", path).astype(np.float64).reshape(-1)
    geometry = table(group, "probe_geometry", path).astype(np.float64)
    if geometry.ndim != 2 or 3 not in geometry.shape:
        raise CorruptFile(f"{path.name}: probe_geometry has shape {geometry.shape}")
    geometry = geometry if geometry.shape[0] == 3 else geometry.T
    positions = geometry[[0, 2, 1]].T * 1e3
    if data.ndim == 2:
        data = data[None]
    if data.ndim == 3:
        data = data[None]
    if data.ndim != 4:
        raise CorruptFile(f"{path.name}: the data has {data.ndim} axes; PICMUS has two to four")
    vectors, t0 = plane_waves(angles, positions, c, from_origin=True)
    side = {**_PROBE, **side_facts(path)}
    given = {k: number(side, k, path) for k in _PROBE}
    if fd > 0:
        given["centre_frequency"] = fd
    normals = np.tile([0.0, 1.0, 0.0], (len(positions), 1))
    return acquisition(
        Record(
            samples=data, positions=positions, normals=normals,
            pitch=float(np.median(np.diff(positions[:, 0]))),
            width=given["width"], height=given["height"],
            centre_frequency=given["centre_frequency"], bandwidth=given["bandwidth"],
            sampling_frequency=number(scalars, "sampling_frequency", path),
            demodulation_frequency=fd, speed_of_sound=c,
            start=number(scalars, "initial_time", path, default=0.0), transmit="plane",
            vectors=vectors, t0=t0, apodisation=np.ones((len(angles), len(positions))),
            frame_interval=side.get("frame_interval"),
        ),
        path,
    )  # fmt: skip
