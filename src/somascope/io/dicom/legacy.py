"""Multi-frame objects of before the functional groups: NM, RT dose, and cine of US, XA, RF, SC."""

from __future__ import annotations

from itertools import accumulate

from somascope.io.dicom.attributes import KEYWORDS
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.pixels import Instance
from somascope.io.dicom.slices import Slice, classic, directions, distance, vector

_NM_AXES = {
    "EnergyWindowVector": "energy", "DetectorVector": "detector", "PhaseVector": "phase",
    "RotationVector": "rotation", "RRIntervalVector": "rr", "TimeSlotVector": "timeslot",
    "AngularViewVector": "view", "TimeSliceVector": "t",
}  # fmt: skip


def legacy(instance: Instance) -> list[Slice]:
    """One slice per frame: placed along the normal where the object says so, else along ``t``."""
    e, frames = instance.elements, instance.form.frames
    base = classic(instance)
    offsets = e.numbers("GridFrameOffsetVector")
    if len(offsets) == frames and base.position is not None and base.orientation is not None:
        first = 0.0 if offsets[0] == 0 else base.position[2]
        return [_moved(base, n + 1, offsets[n] - first) for n in range(frames)]
    pointers = _pointers(e)
    if e.text("Modality") == "NM" or any(p in _NM_AXES or p == "SliceVector" for p in pointers):
        return _nuclear(instance, base, pointers)
    if frames == 1:
        return [base]
    stamps = _stamps(e, frames)
    result: list[Slice] = []
    for n in range(frames):
        item = _moved(base, n + 1, 0.0)
        item.flat = "t" if stamps else "frame"
        if stamps:
            item.times = {"offset": stamps[n]}
        else:
            item.times = {"number": float(n)}
        result.append(item)
    return result


def _moved(base: Slice, frame: int, along: float) -> Slice:
    """The slice ``along`` mm along the normal."""
    position = base.position
    if position is not None and base.orientation is not None and along:
        a, b = base.orientation[:3], base.orientation[3:]
        n = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
        position = (
            position[0] + n[0] * along,
            position[1] + n[1] * along,
            position[2] + n[2] * along,
        )
    return Slice(
        base.instance, frame, position, base.orientation, base.spacing, base.thickness,
        base.rescale, base.kind, dict(base.labels), dict(base.times), None, (), "frame",
    )  # fmt: skip


def _pointers(e: Elements) -> list[str]:
    words = [int(v) for v in e.numbers("FrameIncrementPointer")]
    return [KEYWORDS.get(a << 16 | b, "") for a, b in zip(words[::2], words[1::2], strict=False)]


def _stamps(e: Elements, frames: int) -> list[float]:
    """Seconds of each frame from Frame Time Vector or Frame Time (ms), or Cine Rate (1/s)."""
    steps = e.numbers("FrameTimeVector")
    if len(steps) == frames and min(steps[1:], default=0) >= 0:
        return [t / 1000 for t in accumulate((0.0, *steps[1:]))]
    step = e.number("FrameTime")
    if not step:
        rate = e.number("CineRate") or e.number(0x00082144, vr="IS")
        step = 1000 / rate if rate else None
    return [n * step / 1000 for n in range(frames)] if step and step > 0 else []


def _nuclear(instance: Instance, base: Slice, pointers: list[str]) -> list[Slice]:
    """NM (PS3.3 C.8.4): slices along the normal of the detector's orientation, vectors as axes."""
    e, frames = instance.elements, instance.form.frames
    detector = e.first("DetectorInformationSequence")
    if detector is not None:
        base.position = vector(detector, "ImagePositionPatient", 3) or base.position  # type: ignore[assignment]
        base.orientation = (
            directions(vector(detector, "ImageOrientationPatient", 6), e.name) or base.orientation
        )
    kind = e.strings("ImageType")
    tomographic = "SliceVector" in pointers or "RECON TOMO" in kind or "RECON GATED TOMO" in kind
    step = distance(e) or 1.0
    slices = e.numbers("SliceVector")
    vectors = {
        name: values
        for keyword, name in _NM_AXES.items()
        if (values := e.numbers(keyword)) and len(values) == frames and len(set(values)) > 1
    }
    duration = e.number("ActualFrameDuration")
    result: list[Slice] = []
    for n in range(frames):
        k = (slices[n] - 1 if len(slices) == frames else n) if tomographic else 0
        placed = tomographic and base.position is not None and base.orientation is not None
        item = _moved(base, n + 1, k * step if placed else 0.0)
        item.thickness = abs(step)
        item.labels = {}
        for name, values in vectors.items():
            if name == "t" and duration:
                item.times["offset"] = (values[n] - 1) * duration / 1000
            elif name == "t":
                item.times["temporal"] = values[n]
            else:
                item.labels[name] = values[n]
        if tomographic and not placed:
            item.flat = "z"
        if not tomographic and not vectors:
            item.times["number"] = float(n)
        result.append(item)
    return result
