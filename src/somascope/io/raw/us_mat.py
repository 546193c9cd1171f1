"""MATLAB files with RF or IQ ``(samples, elements, ...)`` and a structure of parameters (MUST).

Source: Garcia 2021 (MUST, the MATLAB UltraSound Toolbox): ``param`` has ``fs``, ``fc`` (Hz),
``pitch``, ``width`` or ``kerf``, ``radius`` (m), ``c`` (m/s, 1540), ``t0`` (s, 0), ``bandwidth``
(percent, 75), ``TXdelay`` (s, per transmit and element), ``PRF`` (Hz); also ``TXangle`` (radians,
of plane waves whose first element fires at 0). Versions 5 to 7 are read by SciPy, 7.3 is HDF5.

What the file does not say is asked for in a side file ``<name>.json`` with the same names
(``{"fc": 5e6}``), and ``signal`` and ``param`` where it is unclear which variables are meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.grid import Array, Float
from somascope.io.raw import us_mat_file
from somascope.io.raw.uff_scan import Record, acquisition, number, plane_waves, row, side_facts


class MatReader:
    """MATLAB files that hold channel data (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is a MATLAB file with a structure that has ``fs`` and ``pitch``."""
        if not us_mat_file.is_mat(head):
            return False
        try:
            return bool(us_mat_file.structures(path))
        except (ReadError, OSError, ValueError, KeyError, TypeError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """The one acquisition in the file."""
        return [read(path)]


READER = MatReader()


def read(path: str | Path) -> Acquisition:
    """The channel data in a MATLAB file.

    Raises
    ------
    CorruptFile
        Damaged, or lacking what no default is documented for; the message says what to put into
        the side file.
    UnsupportedFormat
        No parameters of ultrasound in it.
    """
    path = Path(path)
    side = side_facts(path)
    try:
        found = us_mat_file.structures(path)
        name = _chosen(found, side.get("param"), path, what="param")
        param = {**found[name], **side}
        signals = us_mat_file.arrays(path)
        data = us_mat_file.load(path, _chosen(signals, side.get("signal"), path, what="signal"))
        return _record(data, param, path)
    except ReadError:
        raise
    except Exception as error:  # a hostile file may break any of these steps
        raise CorruptFile(f"{path.name} is damaged: {type(error).__name__}: {error}") from error


def _chosen(names: Any, wanted: Any, path: Path, *, what: str) -> str:
    if wanted is not None:
        if wanted not in names:
            raise CorruptFile(f"{path.name} has no {what} {wanted!r}; it has {', '.join(names)}")
        return str(wanted)
    if not names:
        raise UnsupportedFormat(f"{path.name} holds no {what} of ultrasound")
    if len(names) > 1:
        raise CorruptFile(
            f"{path.name} holds several candidates for the {what} ({', '.join(names)}); say which "
            f'in a side file {path.stem}.json: {{"{what}": "name"}}'
        )
    return str(next(iter(names)))


def _record(data: Array, param: dict[str, Any], path: Path) -> Acquisition:
    if data.dtype.kind not in "buifc" or not 2 <= data.ndim <= 4:
        raise CorruptFile(
            f"{path.name}: the signal has shape {data.shape} and dtype {data.dtype}; it should be "
            "(samples, elements, transmits or frames)"
        )
    elements = data.shape[1]
    declared = param.get("Nelements")
    if declared is not None and number(param, "Nelements", path) != elements:
        raise CorruptFile(
            f"{path.name}: the signal has {elements} channels but Nelements is "
            f"{number(param, 'Nelements', path):g}"
        )
    c = number(param, "c", path, default=1540.0)
    fs, fc = number(param, "fs", path, side=True), number(param, "fc", path, side=True)
    pitch = number(param, "pitch", path, side=True) * 1e3
    radius = number(param, "radius", path, default=np.inf) if "radius" in param else np.inf
    width = param.get("width")
    if width is None and param.get("kerf") is not None:
        width = pitch / 1e3 - number(param, "kerf", path)
    arc = radius * 1e3 if np.isfinite(radius) else 0.0
    positions, normals = row(elements, pitch, radius=arc)
    kind, vectors, t0, delays, transmits = _waves(param, positions, c, path)
    samples = _arranged(data, transmits, path)
    iq = data.dtype.kind == "c"
    interval = param.get("frame_interval")
    if interval is None and param.get("PRF") is not None:
        interval = transmits / number(param, "PRF", path)
    comment = "" if width is not None else "Element width unknown: taken as the pitch."
    return acquisition(
        Record(
            samples=samples, positions=positions, normals=normals, pitch=pitch,
            width=pitch if width is None else number({"width": width}, "width", path) * 1e3,
            height=number(param, "height", path, default=0.005) * 1e3, centre_frequency=fc,
            bandwidth=number(param, "bandwidth", path, default=75.0) / 100,
            sampling_frequency=fs, demodulation_frequency=fc if iq else 0.0, speed_of_sound=c,
            start=number(param, "t0", path, default=0.0), transmit=kind, vectors=vectors, t0=t0,
            apodisation=np.isfinite(delays).astype(float)
            if delays is not None
            else np.ones((transmits, elements)),
            delays=None if delays is None else np.nan_to_num(delays),
            frame_interval=None if interval is None else float(interval),
            kind="convex" if arc > 0 else "linear", radius=arc, comment=comment,
        ),
        path,
    )  # fmt: skip


def _waves(
    param: dict[str, Any], positions: Float, c: float, path: Path
) -> tuple[str, Float, Float, Float | None, int]:
    """Kind, vectors, t0, delays and number of the waves sent."""
    if param.get("TXangle") is not None and param.get("TXdelay") is None:
        angles = np.asarray(param["TXangle"], np.float64).reshape(-1)
        vectors, t0 = plane_waves(angles, positions, c, from_origin=False)
        return "plane", vectors, t0, None, angles.size
    if param.get("TXdelay") is None:
        raise CorruptFile(
            f"{path.name} says neither TXdelay nor TXangle, so the waves sent are unknown; say it "
            f'in a side file {path.stem}.json: {{"TXangle": [radians, ...]}}'
        )
    delays = np.atleast_2d(np.asarray(param["TXdelay"], np.float64))
    count = len(positions)
    if delays.shape[1] != count and delays.shape[0] == count:
        delays = delays.T
    if delays.shape[1] != count:
        raise CorruptFile(
            f"{path.name}: TXdelay has shape {delays.shape} for {count} elements; give "
            "(transmits, elements) in s"
        )
    n = len(delays)
    if not np.isfinite(delays).any(axis=1).all():
        raise CorruptFile(f"{path.name}: TXdelay has a transmit in which no element fires")
    flat = np.isfinite(delays).all() and np.ptp(positions[:, 1]) == 0
    slope = np.diff(delays, axis=1)
    if flat and (count == 1 or np.allclose(slope, slope[:, :1], rtol=0, atol=1e-11)):
        # A straight line of delays is a plane wave, whose arrival has a closed form.
        sine = slope[:, 0] * c * 1e3 / (positions[1, 0] - positions[0, 0]) if count > 1 else 0
        sine = np.broadcast_to(np.asarray(sine, np.float64), n)
        if np.abs(sine).max() < 1:
            vectors = np.stack([sine, np.sqrt(1 - sine**2), np.zeros(n)], axis=1)
            t0 = delays[:, 0] - vectors @ positions[0] / (c * 1e3)
            return "plane", vectors, t0, None, n
    return "delays", np.zeros((n, 3)), np.zeros(n), delays, n


def _arranged(data: Array, transmits: int, path: Path) -> Array:
    """``(samples, elements, ...)`` as ``(frames, transmits, elements, samples)``."""
    extra = data.shape[2:]
    if len(extra) == 2 and extra[0] == transmits:
        full = data
    elif len(extra) == 0 and transmits == 1:
        full = data[:, :, None, None]
    elif len(extra) == 1 and extra[0] == transmits:
        full = data[:, :, :, None]
    elif len(extra) == 1 and transmits == 1:
        full = data[:, :, None, :]
    else:
        raise CorruptFile(
            f"{path.name}: a signal of shape {data.shape} for {transmits} transmits; give "
            "(samples, elements, transmits, frames)"
        )
    return np.ascontiguousarray(full.transpose(3, 2, 1, 0))
