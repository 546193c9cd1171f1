"""DICOM-CT-PD: the projections of clinical CT scanners, one DICOM instance per view.

Source: Chen et al., *Development and validation of an open data format for CT projection data*,
Med. Phys. 42 (2015), 6964, and its dictionary (groups 7029 to 7041). The focal spot of a view lies
at ``(rho, phi, z)``; ``phi = 0`` is above the table (in front of a patient on the back), and grows
as the tube moves to the viewer's left in front of the gantry. Flying focal spots are refused
where they move by more than a tenth of a column, since no operator here models them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, SomascopeError, UnsupportedFormat
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator

_ROWS, _COLUMNS = 0x70291010, 0x70291011
_ACROSS, _ALONG, _SHAPE = 0x70291002, 0x70291006, 0x7029100B
_PHI, _Z, _RHO, _DISTANCE, _CENTRAL = (
    0x70311001, 0x70311002, 0x70311003, 0x70311031, 0x70311033,
)  # fmt: skip
_SHIFTS = (0x7033100B, 0x7033100C, 0x7033100D)
_WATER = 0x70411001
_MARK = b"\x29\x70\x10\x10"
"""The tag (7029,1010) as it stands in a little endian file."""

FACTS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientPosition",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "StudyID", "AccessionNumber",
    "SeriesDescription", "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "KVP",
    "FrameOfReferenceUID",
)  # fmt: skip


def is_projection(path: Path) -> bool:
    """Whether a DICOM file holds a projection: the private detector groups stand in its head."""
    with path.open("rb") as file:
        head = file.read(65536)
    return head[128:132] == b"DICM" and _MARK in head


def _floats(dataset: Any, tag: int, name: str) -> Array:
    """Private values are FL; readers without the dictionary see UN, which is the same bytes."""
    if tag not in dataset:
        raise CorruptFile(
            f"{name} has no {tag >> 16:04x},{tag & 0xFFFF:04x}, which DICOM-CT-PD requires"
        )
    value = dataset[tag].value
    if isinstance(value, bytes):
        if len(value) == 0 or len(value) % 4:
            raise CorruptFile(f"{name}: element {tag:08x} has {len(value)} bytes")
        return np.frombuffer(value, "<f4").astype(np.float64)
    values = [value] if isinstance(value, (int, float, str)) else list(value)
    return np.asarray([float(v) for v in values], np.float64)


def _whole(dataset: Any, tag: int, name: str) -> int:
    value = dataset[tag].value if tag in dataset else None
    if isinstance(value, bytes) and len(value) in (2, 4):
        value = int.from_bytes(value, "little")
    if not isinstance(value, int) or not 0 < value < 65536:
        raise CorruptFile(f"{name}: element {tag:08x} is {value!r}; a detector has a size")
    return value


def _text(dataset: Any, tag: int) -> str:
    value = dataset[tag].value if tag in dataset else ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).strip("\0 ")


def read(paths: Sequence[str | Path], *, size: int = 512) -> Acquisition:
    """The acquisition of DICOM-CT-PD instances, on a grid of ``size`` pixels over the whole field.

    Line integrals ``(views, rows, columns)`` in the order of acquisition; ``mu_water`` from the
    scanner's own value. ``ct.helical`` where the table moves, else ``ct.cone``.

    Raises
    ------
    CorruptFile
        Instances that lack geometry, are damaged, or come from unlike detectors.
    UnsupportedFormat
        A flying focal spot, or a table that does not move evenly.
    """
    files = [Path(p) for p in paths]
    if not files:
        raise CorruptFile("no projection was given")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # private elements without a dictionary, odd lengths
        return _read(files, size=size)


def _read(files: list[Path], *, size: int) -> Acquisition:
    first, views = None, []
    for file in files:
        try:
            dataset, pixels = _one(file)
            place = [float(_floats(dataset, tag, file.name)[0]) for tag in (_PHI, _Z, _RHO)]
            frame = _frame(dataset, file.name)
        except ReadError:
            raise
        except Exception as error:
            raise CorruptFile(f"{file.name} cannot be read: {error}") from error
        key = int(getattr(dataset, "InstanceNumber", None) or 0)
        views.append((key, file.name, place, pixels, frame))
        first = dataset if first is None else first
    views.sort(key=lambda v: (v[0], v[1]))
    unlike = {v[4] for v in views}
    if len(unlike) > 1:
        raise CorruptFile(f"projections of unlike detectors or distances: {sorted(unlike)[:3]}")
    assert first is not None
    try:
        return _acquisition(first, views, size=size)
    except ReadError:
        raise
    except (SomascopeError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise CorruptFile(f"the geometry in {files[0].name} makes no scan: {error}") from error


def _one(file: Path) -> tuple[Any, Array]:
    import pydicom

    dataset = pydicom.dcmread(file)
    rows, columns = (_whole(dataset, t, file.name) for t in (_ROWS, _COLUMNS))
    pixels = np.asarray(dataset.pixel_array, np.float32)
    # Scanners' files hold one detector column per line; the format's paper one row per line.
    if pixels.shape == (columns, rows) and rows != columns:
        pixels = pixels.T
    if pixels.shape != (rows, columns):
        raise CorruptFile(
            f"{file.name} has pixels {pixels.shape} for a detector of {rows} rows and {columns} "
            "columns"
        )
    slope = float(getattr(dataset, "RescaleSlope", 1) or 1)
    values = pixels * np.float32(slope) + np.float32(getattr(dataset, "RescaleIntercept", 0) or 0)
    for tag in _SHIFTS:
        if tag in dataset and abs(float(_floats(dataset, tag, file.name)[0])) > 1e-4:
            spacing = float(_floats(dataset, _ACROSS, file.name)[0])
            radius = float(_floats(dataset, _RHO, file.name)[0])
            shift = float(_floats(dataset, tag, file.name)[0])
            moved = abs(shift) * radius if tag == _SHIFTS[0] else abs(shift)
            if moved > 0.1 * spacing:
                raise UnsupportedFormat(
                    f"{file.name}: the focal spot flies by {moved:.2g} mm; such scans are not "
                    "modelled here"
                )
    return dataset, values


def _frame(dataset: Any, name: str) -> tuple[Any, ...]:
    central = _floats(dataset, _CENTRAL, name)
    return (
        _whole(dataset, _ROWS, name),
        _whole(dataset, _COLUMNS, name),
        round(float(_floats(dataset, _ACROSS, name)[0]), 5),
        round(float(_floats(dataset, _ALONG, name)[0]), 5),
        round(float(_floats(dataset, _RHO, name)[0]), 3),
        round(float(_floats(dataset, _DISTANCE, name)[0]), 3),
        round(float(central[0]), 4),
        _text(dataset, _SHAPE).upper() or "CYLINDRICAL",
    )


def _acquisition(first: Any, views: list[Any], *, size: int) -> Acquisition:
    rows, columns, across, along, radius, distance, central, shape = views[0][4]
    if shape not in ("CYLINDRICAL", "FLAT"):
        raise UnsupportedFormat(f"a {shape.lower()} detector is not modelled; curved or flat ones")
    place = np.array([v[2] for v in views])
    # Seen from the feet, our angle grows clockwise where phi grows anticlockwise.
    angles = -np.unwrap(place[:, 0])
    samples = np.stack([v[3] for v in views])
    turn = angles / (2 * np.pi)
    curved = shape == "CYLINDRICAL"
    half = (
        np.sin(columns / 2 * across / distance)
        if curved
        else np.sin(np.arctan(columns / 2 * across / distance))
    )
    field = 2 * radius * float(half)
    travel = float(np.ptp(place[:, 1]))
    thick = along * radius / distance
    description: dict[str, Any] = {
        "angles": angles, "rows": rows, "columns": columns, "spacing": (along, across),
        "source": radius, "detector": distance, "curved": curved,
        # Column c lies (c - central) steps from the central ray; elements are counted from 1.
        "offset": ((columns - 1) / 2 - (central - 1)) * across,
    }  # fmt: skip
    slices = max(1, round((travel + rows * thick * 0.5) / thick))
    middle = float(place[:, 1].min() + place[:, 1].max()) / 2
    pixel = field / size
    origin = (-(size - 1) / 2 * pixel, -(size - 1) / 2 * pixel, middle - (slices - 1) / 2 * thick)
    grid = Grid.from_spacing(
        (slices, size, size), (thick, pixel, pixel), origin=origin,
        frame_of_reference=str(getattr(first, "FrameOfReferenceUID", "")),
    )  # fmt: skip
    if travel > 0.1 * thick and len(views) > 1:
        pitch, start = np.polyfit(turn, place[:, 1], 1)
        if np.abs(start + pitch * turn - place[:, 1]).max() > thick:
            raise UnsupportedFormat("the table does not move evenly with the tube's rotation")
        kind = "ct.helical"
        description |= {"pitch": float(pitch), "start": float(start)}
    else:
        kind = "ct.cone"
        description["isocentre"] = (0.0, 0.0, middle)
    operator = build_operator(kind, {"grid": grid, **description})
    calibration: dict[str, Array] = {}
    water = _text(first, _WATER)
    try:
        value = float(water.split("\\")[0])
    except ValueError:
        value = 0.0
    if value > 0:
        # Written in 1/cm or 1/mm by different writers: water has 0.015 to 0.04 per mm.
        calibration["mu_water"] = np.array(value if value < 0.06 else value / 10)
    facts: dict[str, Any] = {k: str(first[k].value) for k in FACTS if k in first and first[k].value}
    if "KVP" in facts:
        facts["KVP"] = float(facts["KVP"])
    return Acquisition(
        samples, operator, "CT", "1", calibration,
        Provenance((Source("dicom", str(getattr(first, "SeriesInstanceUID", "")) or views[0][1]),)),
        facts,
    )  # fmt: skip
