"""SPECT projections in DICOM: NM instances of Image Type TOMO (PS3.3 C.8.4) as acquisitions.

The angle of a view is Start Angle plus or minus (Rotation Direction) the steps before it: 0 behind
the patient, growing towards the patient's left (C.8.4.11). Frames show what the camera saw, the
head up; where Image Position and Orientation of the detector fit the angles and the radius, they
say where the axis of rotation is and whether a frame is turned or mirrored. They are not believed
otherwise: many cameras write constants there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, SomascopeError, UnsupportedFormat
from somascope.core.grid import Array, Float, Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator
from somascope.io.dicom import carry

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.20"
_KIND = re.compile(rb"\\(GATED )?TOMO[ \\]")

_NAMES = {
    "LEUHR": ("LEUHR", "UHR"), "LEHR": ("LEHR", "LEHRS", "LEFB"), "LEGP": ("LEGP", "LEAP", "LEHS"),
    "MEGP": ("MEGP", "MELP", "MEAP", "ME"), "HEGP": ("HEGP", "HEAP", "HE"),
}  # fmt: skip
"""Generic collimator -> what cameras call such ones."""

_SEQUENCES = (
    "EnergyWindowInformationSequence", "RadiopharmaceuticalInformationSequence",
    "RotationInformationSequence",
)  # fmt: skip


def is_tomo(path: Path) -> bool:
    """Whether a DICOM file holds NM projections: its Image Type says so within the first bytes."""
    with path.open("rb") as file:
        head = file.read(65536)
    return SOP_CLASS.encode() in head and _KIND.search(head) is not None


@dataclass(frozen=True)
class Frame:
    """Which window, detector, rotation, view and (gated) slot a frame is, counted from 1."""

    window: int
    detector: int
    rotation: int
    view: int
    slot: tuple[int, int]


def read(source: Path | bytes, *, radius: float | None = None) -> list[Acquisition]:
    """The scans in an instance: one, or one per time slot of a gated one.

    ``radius`` in mm stands in for a missing Radial Position. The camera is the generic one of the
    collimator's name; with another name the collimator's response is not modelled. Counts are raw:
    no sensitivity is known, so that reconstructions are in counts per second and ml until
    ``acquire.spect.calibrate``.

    Raises
    ------
    UnsupportedFormat
        No TOMO image, a pinhole or fan-beam collimator, oblong pixels across the axis.
    CorruptFile
        Damaged, or without the angles or radii that projections need.
    """
    from io import BytesIO

    import pydicom

    name = source.name if isinstance(source, Path) else "the instance"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values of other elements
            found = pydicom.dcmread(source if isinstance(source, Path) else BytesIO(source))
            kinds = [str(v) for v in found.get("ImageType") or ()]
            if str(found.get("SOPClassUID")) != SOP_CLASS or not {"TOMO", "GATED TOMO"} & set(
                kinds
            ):
                raise UnsupportedFormat(f"{name} is {'/'.join(kinds)}, no NM projections (TOMO)")
            return _scans(found, name, radius)
    except ReadError:
        raise
    except (SomascopeError, ValueError, TypeError, KeyError, AttributeError, IndexError,
            ArithmeticError, NotImplementedError, RuntimeError, EOFError) as error:  # fmt: skip
        raise CorruptFile(f"{name}: its projections cannot be read: {error}") from error


def _scans(found: Any, name: str, radius: float | None) -> list[Acquisition]:
    pixels = np.asarray(found.pixel_array, np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    slope = float(found.get("RescaleSlope") or 1)
    pixels = pixels * np.float32(slope) + np.float32(found.get("RescaleIntercept") or 0)
    frames = _frames(found, len(pixels), name)
    slots = sorted({f.slot for f in frames})
    result = []
    for number, slot in enumerate(slots):
        own = [i for i, f in enumerate(frames) if f.slot == slot]
        one = _scan(found, name, [frames[i] for i in own], pixels[own], radius)
        if len(slots) > 1:
            text = f"{one.attributes.get('SeriesDescription', '')} slot {number + 1}".strip()
            one = replace(one, attributes={**one.attributes, "SeriesDescription": text[:64]})
        result.append(one)
    return result


def _frames(found: Any, count: int, name: str) -> list[Frame]:
    """What each frame is: from the vectors, or in the order of PS3.3 C.8.4.8."""

    def vector(keyword: str) -> list[int] | None:
        value = found.get(keyword)
        if value is None:
            return None
        values = [int(value)] if isinstance(value, int) else [int(v) for v in value]
        if len(values) != count:
            raise CorruptFile(f"{name}: {keyword} has {len(values)} values for {count} frames")
        return values

    ones = [1] * count
    windows = vector("EnergyWindowVector") or ones
    detectors = vector("DetectorVector") or ones
    rotations = vector("RotationVector") or ones
    slots = zip(
        vector("RRIntervalVector") or ones, vector("TimeSlotVector") or ones, strict=True
    )  # fmt: skip
    views = vector("AngularViewVector")
    if views is None:
        seen: dict[tuple[Any, ...], int] = {}
        views = []
        for key in zip(windows, detectors, rotations, strict=True):
            seen[key] = seen.get(key, 0) + 1
            views.append(seen[key])
    return [
        Frame(*parts[:4], parts[4])
        for parts in zip(windows, detectors, rotations, views, slots, strict=True)
    ]


def _number(item: Any, keyword: str) -> float | None:
    value = item.get(keyword) if item is not None else None
    if value is None or value == "":
        return None
    number = float(
        value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value
    )
    return number if np.isfinite(number) else None


def _item(found: Any, keyword: str, number: int) -> Any:
    items = found.get(keyword) or []
    if not items:
        return None
    return items[min(number, len(items)) - 1]


def _angle(found: Any, frame: Frame, name: str) -> float:
    turn = _item(found, "RotationInformationSequence", frame.rotation)
    detector = _item(found, "DetectorInformationSequence", frame.detector)
    start = _number(detector, "StartAngle")
    if start is None:
        start = _number(turn, "StartAngle")
    step = _number(turn, "AngularStep")
    if step is None and _number(turn, "ScanArc") and _number(turn, "NumberOfFramesInRotation"):
        step = float(_number(turn, "ScanArc") or 0) / float(
            _number(turn, "NumberOfFramesInRotation") or 1
        )
    if start is None or step is None:
        missing = "Start Angle" if start is None else "Angular Step"
        raise CorruptFile(f"{name} has no {missing} (0054,0052); its projections have no geometry")
    sign = -1.0 if str(turn.get("RotationDirection") or "CC").upper() == "CW" else 1.0
    return start + sign * abs(step) * (frame.view - 1)


def _radius(found: Any, frame: Frame, given: float | None, name: str) -> float:
    for keyword, number in (
        ("DetectorInformationSequence", frame.detector),
        ("RotationInformationSequence", frame.rotation),
    ):
        value = (_item(found, keyword, number) or {}).get("RadialPosition")
        if value is None or value == "":
            continue
        values = [float(v) for v in np.atleast_1d(np.asarray(value, float))]
        chosen = values[frame.view - 1] if 0 < frame.view <= len(values) else values[0]
        if np.isfinite(chosen) and chosen > 0:
            return chosen
    if given is None:
        raise CorruptFile(
            f"{name} has no Radial Position (0018,1142), so how far the camera was is not known; "
            "give it: somascope.io.raw.nm.read(path, radius=mm)"
        )
    return given


def _scan(
    found: Any, name: str, frames: list[Frame], pixels: Array, radius: float | None
) -> Acquisition:
    windows = sorted({f.window for f in frames})
    views = [f for f in frames if f.window == windows[0]]
    keys = [(f.detector, f.rotation, f.view) for f in views]
    table = {(f.window, f.detector, f.rotation, f.view): i for i, f in enumerate(frames)}
    if len(set(keys)) != len(keys) or len(table) != len(frames):
        raise CorruptFile(f"{name}: several frames are the same view of the same energy window")
    if len(frames) != len(windows) * len(keys) or any(
        (w, *k) not in table for w in windows for k in keys
    ):
        raise CorruptFile(
            f"{name}: {len(frames)} frames are not {len(keys)} views of {len(windows)} windows"
        )
    samples = np.stack([pixels[[table[w, *k] for k in keys]] for w in windows])
    angles = np.deg2rad([_angle(found, f, name) for f in views])
    radii = np.array([_radius(found, f, radius, name) for f in views])
    detector = _item(found, "DetectorInformationSequence", 1)
    kind = str((detector or {}).get("CollimatorType") or "PARA")
    if kind not in ("PARA", "NONE"):
        raise UnsupportedFormat(
            f"{name}: the collimator is {kind}; parallel holes (PARA) are read as a scan"
        )
    dv, du = (float(v) for v in found.PixelSpacing)
    rows, columns = samples.shape[2:]
    place = _placed(detector, angles[0], radii[0], (dv, du), (rows, columns))
    if place.mirrored:
        samples = samples[..., ::-1]
    if place.turned:
        samples = samples[:, :, ::-1]
    half = (columns - 1) / 2 * du
    grid = Grid.from_spacing(
        (rows, columns, columns), (dv, du, du),
        origin=(place.axis[0] - half, place.axis[1] - half, place.top - (rows - 1) * dv),
        frame_of_reference=str(found.get("FrameOfReferenceUID", "")),
    )  # fmt: skip
    turn = _item(found, "RotationInformationSequence", 1)
    seconds = (
        _number(turn, "ActualFrameDuration") or _number(found, "ActualFrameDuration") or 1000.0
    )
    collimator = _collimator(detector)
    tracer = _item(found, "RadiopharmaceuticalInformationSequence", 1)
    half_life = _number(tracer, "RadionuclideHalfLife")
    operator = build_operator(
        "spect.parallel",
        {
            "grid": grid, "angles": angles, "radius": radii, "columns": columns,
            "camera": {
                "collimator": collimator or "LEHR",
                "windows": _windows(found, windows, samples),
            },
            "seconds": max(seconds, 1.0) / 1000,
            "half_life": half_life if half_life and half_life > 0 else None,
            "begins": [(f.view - 1) * seconds / 1000 for f in views],
            "isocentre": (place.axis[0], place.axis[1], place.top - (rows - 1) / 2 * dv),
            "resolution": collimator is not None,
        },
    )  # fmt: skip
    whole = samples[0] if len(windows) == 1 else samples
    series = str(found.get("SeriesInstanceUID", "")) or name
    return Acquisition(
        np.ascontiguousarray(whole), operator, "NM", "{counts}",
        provenance=Provenance((Source("dicom", series, (str(found.get("SOPInstanceUID", "")),)),)),
        attributes=_facts(found, detector),
    )  # fmt: skip


@dataclass(frozen=True)
class _Place:
    axis: tuple[float, float]
    top: float
    mirrored: bool = False
    turned: bool = False


def _placed(
    detector: Any, angle: float, radius: float, pixel: tuple[float, float], shape: tuple[int, int]
) -> _Place:
    """The axis of rotation (L, P) and the S of the first row, of the first frame's own place."""
    (dv, du), (rows, columns) = pixel, shape
    unknown = _Place((0.0, 0.0), (rows - 1) / 2 * dv)
    position = _vector(detector, "ImagePositionPatient", 3)
    axes = _vector(detector, "ImageOrientationPatient", 6)
    if position is None or axes is None:
        return unknown
    row, column = axes[:3], axes[3:]
    if abs(abs(column[2]) - 1) > 1e-2 or abs(np.linalg.norm(row) - 1) > 1e-2:
        return unknown
    turned = bool(column[2] > 0)
    top = float(position[2]) + (rows - 1) * dv * turned
    away = np.array([np.sin(angle), np.cos(angle)])
    across = np.array([-away[1], away[0]])
    if abs(row[:2] @ away) > 0.02 or abs(position[:2] @ away - radius) > 0.25 * radius:
        return _Place((0.0, 0.0), top)
    mirrored = bool(row[:2] @ across < 0)
    centre = position[:2] + (columns - 1) / 2 * du * row[:2] - radius * away
    return _Place((float(centre[0]), float(centre[1])), top, mirrored, turned)


def _vector(item: Any, keyword: str, count: int) -> Float | None:
    value = None if item is None else item.get(keyword)
    if value is None or isinstance(value, str) or len(value) != count:
        return None
    found = np.asarray([float(v) for v in value])
    return found if np.isfinite(found).all() else None


def _collimator(detector: Any) -> str | None:
    text = str((detector or {}).get("CollimatorGridName") or "").upper()
    words = re.split(r"[^A-Z]+", text)
    for generic, known in _NAMES.items():
        if any(w in known for w in words):
            return generic
    return None


def _windows(found: Any, numbers: list[int], samples: Array) -> list[dict[str, Any]]:
    """The energy windows; the photopeak is the fullest for its width, with what overlaps it not."""
    result: list[dict[str, Any]] = []
    for n in numbers:
        item = _item(found, "EnergyWindowInformationSequence", n)
        ranges = (item or {}).get("EnergyWindowRangeSequence") or []
        ends = [
            (_number(r, "EnergyWindowLowerLimit"), _number(r, "EnergyWindowUpperLimit"))
            for r in ranges
        ]
        lows, highs = [a for a, _ in ends if a], [b for _, b in ends if b]
        low, high = (min(lows), max(highs)) if lows and highs else (126.45, 154.55)
        if not 0 < low < high:
            low, high = 126.45, 154.55
        title = str((item or {}).get("EnergyWindowName") or f"window {n}")
        result.append({"name": title, "low": low, "high": high, "share": 0.0})
    density = [
        float(s.sum()) / (w["high"] - w["low"]) for s, w in zip(samples, result, strict=True)
    ]
    result[int(np.argmax(density))]["share"] = 1.0
    return result


def _facts(found: Any, detector: Any) -> dict[str, Any]:
    facts = dict(carry.facts(found))
    for word in _SEQUENCES:
        if found.get(word):
            facts[word] = [_plain(item) for item in found[word].value]
    for word in (
        "AcquisitionDate", "AcquisitionTime", "SeriesDescription", "SeriesNumber",
        "SeriesInstanceUID",
    ):  # fmt: skip
        if found.get(word) not in (None, ""):
            facts[word] = str(found[word].value)
    for word in ("CollimatorType", "CollimatorGridName"):
        if (detector or {}).get(word):
            facts[word] = str(detector[word].value)
    return facts


def _plain(item: Any) -> dict[str, Any]:
    """A sequence item in JSON types."""
    result: dict[str, Any] = {}
    for element in item:
        value = element.value
        if not element.keyword or isinstance(value, bytes):
            continue
        if element.VR == "SQ":
            result[element.keyword] = [_plain(i) for i in value]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            result[element.keyword] = [_number_or_text(v) for v in value]
        else:
            result[element.keyword] = _number_or_text(value)
    return result


def _number_or_text(value: Any) -> Any:
    if isinstance(value, Mapping) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if not float(value).is_integer() else int(value)
    return str(value)
