"""What readers of ultrasound channel data share: an acquisition on a picture's grid, checked input.

Coordinates become Somascope's: x lateral, y depth, z elevation, in mm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator

MAGIC = b"\x89HDF\r\n\x1a\n"
WIDEST = 1100
"""No deflate stream grows further than this; a data set that claims more is a bomb."""
_PIXELS = 1024


@dataclass(frozen=True, eq=False)
class Record:
    """Channel data as read: samples ``(frames, transmits, elements, time)``, mm, s, Hz."""

    samples: Array
    positions: Float
    normals: Float
    pitch: float
    width: float
    height: float
    centre_frequency: float
    bandwidth: float
    sampling_frequency: float
    demodulation_frequency: float
    speed_of_sound: float
    start: float
    transmit: str
    vectors: Float
    t0: Float
    apodisation: Float
    delays: Float | None = None
    frame_interval: float | None = None
    kind: str = "linear"
    radius: float = 0.0
    comment: str = ""


def acquisition(record: Record, path: Path) -> Acquisition:
    """The acquisition of a record; its grid is half a wavelength fine and ends with the record.

    Raises
    ------
    CorruptFile
        Numbers that do not fit each other, or several frames without the time between them.
    """
    samples = record.samples
    frames, transmits, elements, count = samples.shape
    name = path.name
    if elements != len(record.positions):
        raise CorruptFile(
            f"{name}: the data has {elements} channels but the probe {len(record.positions)} "
            "elements"
        )
    if transmits != len(record.t0):
        raise CorruptFile(f"{name}: the data has {transmits} transmits but {len(record.t0)} waves")
    times = None
    if frames > 1:
        if not record.frame_interval:
            raise CorruptFile(
                f"{name} holds {frames} frames and not how far they are apart; say it in a side "
                f'file {path.stem}.json: {{"frame_interval": seconds}}'
            )
        times = [k * record.frame_interval for k in range(frames)]
    iq = record.demodulation_frequency > 0
    if (samples.dtype.kind == "c") != iq:
        raise CorruptFile(
            f"{name}: samples of {samples.dtype} with a modulation frequency of "
            f"{record.demodulation_frequency:g} Hz; RF is real with 0 Hz, IQ complex with more"
        )
    flat = samples if times is not None else samples[0]
    made = flat.astype(np.complex64 if iq else np.float32)
    description = {
        "grid": _field(record, count),
        "probe": {
            "kind": record.kind, "pitch": record.pitch, "width": record.width,
            "height": record.height, "centre_frequency": record.centre_frequency,
            "bandwidth": record.bandwidth, "radius": record.radius, "name": "",
        },
        "positions": record.positions, "normals": record.normals, "transmit": record.transmit,
        "vectors": record.vectors, "t0": record.t0, "apodisation": record.apodisation,
        "delays": record.delays, "samples": count,
        "sampling_frequency": record.sampling_frequency,
        "demodulation_frequency": record.demodulation_frequency,
        "speed_of_sound": record.speed_of_sound, "start": record.start, "times": times,
    }  # fmt: skip
    try:
        operator = build_operator("us.channels", description)
    except (GeometryError, ParameterError, TypeError, ValueError) as error:
        raise CorruptFile(f"{name}: {error}") from error
    facts = {"SeriesDescription": path.stem[:64]}
    if record.comment:
        facts["ImageComments"] = record.comment
    return Acquisition(
        np.ascontiguousarray(made), operator, "US",
        provenance=Provenance((Source("raw", name),)), attributes=facts,
    )  # fmt: skip


def _field(record: Record, count: int) -> Grid:
    """Pixels of half a wavelength over the aperture (flat) or 90 degrees, to the record's end."""
    c = record.speed_of_sound * 1e3
    x = record.positions[:, 0]
    if not record.sampling_frequency > 0:
        raise CorruptFile(f"the sampling frequency is {record.sampling_frequency:g} Hz")
    deepest = (record.start + count / record.sampling_frequency) * c / 2
    if not (np.isfinite(deepest) and 1 < deepest < 2000 and record.centre_frequency > 0):
        raise CorruptFile(
            f"the record ends at a depth of {deepest:g} mm with a centre frequency of "
            f"{record.centre_frequency:g} Hz; check the sampling frequency and the start time"
        )
    width = float(np.ptp(x)) + record.pitch
    if record.kind == "convex":
        width *= (record.radius + deepest) / record.radius
    elif record.kind != "linear":
        width = max(width, 2 * deepest * np.sin(np.pi / 4))
    step = c / record.centre_frequency / 2
    step = max(step, width / _PIXELS, deepest / (2 * _PIXELS))
    nx, ny = max(int(width / step), 2), max(int((deepest - step) / step), 2)
    middle = float(x.max() + x.min()) / 2
    return Grid.from_spacing(
        (1, ny, nx), (record.height, step, step), origin=(middle - (nx - 1) / 2 * step, step, 0.0)
    )


def row(elements: int, pitch: float, *, radius: float = 0.0) -> tuple[Float, Float]:
    """Positions and normals of a flat row, or of an arc of ``radius`` mm; the middle at 0."""
    if not 1 <= elements <= 100_000 or not 0 < pitch < 100:
        raise CorruptFile(f"a probe of {elements} elements {pitch:g} mm apart")
    at = np.arange(elements) - (elements - 1) / 2
    positions, normals = np.zeros((elements, 3)), np.zeros((elements, 3))
    if radius > 0:
        angle = at * 2 * np.arcsin(min(pitch / (2 * radius), 1.0))
        normals[:, 0], normals[:, 1] = np.sin(angle), np.cos(angle)
        positions[:] = radius * normals
        positions[:, 1] -= radius
    else:
        positions[:, 0], normals[:, 1] = at * pitch, 1.0
    return positions, normals


def plane_waves(
    angles: Array, positions: Float, c: float, *, from_origin: bool
) -> tuple[Float, Float]:
    """Directions and ``t0`` of plane waves at ``angles`` (radians).

    Time 0 is when the wave passes the origin, or when the first element fires.
    """
    a = np.asarray(angles, np.float64).reshape(-1)
    n = np.stack([np.sin(a), np.cos(a), np.zeros_like(a)], axis=1)
    if from_origin:
        return n, np.zeros(a.size)
    return n, -(n @ positions.T / (c * 1e3)).min(axis=1)


def side_facts(path: Path) -> dict[str, Any]:
    """What a side file ``<name>.json`` says; empty where there is none.

    Raises
    ------
    CorruptFile
        It is no JSON object.
    """
    side = path.with_suffix(".json")
    if not side.is_file():
        return {}
    if side.stat().st_size > 2**22:
        raise CorruptFile(f"{side.name} is too large for a side file of {path.name}")
    try:
        facts = json.loads(side.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{side.name} beside {path.name} is no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise CorruptFile(f"{side.name} beside {path.name} is no JSON object")
    return facts


def number(
    facts: Mapping[str, Any], key: str, path: Path, *, default: float | None = None,
    side: bool = False,
) -> float:  # fmt: skip
    """A finite number of that name; an error that says how to supply it where it is missing."""
    if facts.get(key) is None:
        if default is not None:
            return default
        remedy = f'; say it in a side file {path.stem}.json: {{"{key}": number}}' if side else ""
        raise CorruptFile(f"{path.name} does not say {key}{remedy}")
    try:
        values = np.asarray(facts[key], np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise CorruptFile(f"{path.name}: {key} is no number") from error
    if values.size != 1 or not np.isfinite(values[0]):
        raise CorruptFile(f"{path.name}: {key} is {values[:4].tolist()}; it should be one number")
    return float(values[0])


def table(group: Any, key: str, path: Path) -> Array:
    """An HDF5 data set, once it is sure that the file can hold it."""
    import h5py

    link = group.get(key, getlink=True)
    if link is None:
        raise CorruptFile(f"{path.name} lacks {key}")
    if not isinstance(link, h5py.HardLink):
        raise CorruptFile(f"{path.name}: {key} points to another place; copy the data into it")
    found = group[key]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise CorruptFile(f"{path.name}: {key} is no data set of its own")
    if found.size is None or found.dtype.kind not in "buifcV":
        raise CorruptFile(f"{path.name}: {key} holds {found.dtype}; numbers are needed")
    if found.nbytes > WIDEST * max(int(found.id.get_storage_size()), 1):
        raise CorruptFile(f"{path.name}: {key} claims {found.shape}, more than the file can hold")
    return np.asarray(found[()])
