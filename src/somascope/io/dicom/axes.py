"""Leading axes of an image as attributes of single instances and of functional groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from somascope.core.errors import WriteError
from somascope.core.image import Axis, Image

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0, "1": 1.0}


@dataclass(frozen=True)
class Place:
    """Where an axis lives: keyword of a single instance; group, keyword and company in frames."""

    single: str
    group: str
    multi: str
    company: tuple[tuple[str, str], ...] = ()


PLACES = {
    "echo": Place("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    "b": Place("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    "ti": Place(
        "InversionTime", "MRModifierSequence", "InversionTimes", (("InversionRecovery", "YES"),)
    ),
    "flip": Place("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "kvp": Place("KVP", "CTXRayDetailsSequence", "KVP"),
}
"""Axes whose values DICOM says in an attribute of their own."""
TIMES = ("t", "frame", "phase", "timeslot", "rr")
"""Axes that become temporal positions; all but ``t`` come back as ``t``, counted."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading axes without ``channel``, their sizes, and gradient directions along ``b``."""

    axes: tuple[Axis, ...]
    sizes: tuple[int, ...]
    gradients: tuple[tuple[float, ...], ...] = ()

    @property
    def dimensions(self) -> list[str]:
        """The dimension index of each axis in a multi-frame object."""
        return [
            PLACES[a.name].multi if a.name in PLACES else "TemporalPositionIndex" for a in self.axes
        ]


def leading(image: Image, *, apart: Collection[str] = ()) -> Leading:
    """The leading axes of an image but those named in ``apart``.

    Raises
    ------
    WriteError
        An axis that DICOM has no place for, or a colour axis that is not R, G, B.
    """
    kept: list[Axis] = []
    sizes: list[int] = []
    for axis, size in zip(image.axes, image.shape, strict=False):
        if axis.name in apart:
            continue
        if axis.name == "channel":
            if size != 3 or image.data.dtype.kind != "u" or image.data.dtype.itemsize > 2:
                raise WriteError(
                    f"axis 'channel' has {size} entries of {image.data.dtype}; colour in DICOM is "
                    "three channels R, G, B of uint8 or uint16"
                )
            continue
        second = axis.name in TIMES and any(a.name in TIMES for a in kept)
        if second or (axis.name not in TIMES and axis.name not in PLACES):
            raise WriteError(
                f"axis {axis.name!r} has no place in a DICOM series (one of {', '.join(TIMES)}, "
                f"and {', '.join(PLACES)}, have); write its entries one by one: "
                f"image.at({axis.name}=0)"
            )
        kept.append(axis)
        sizes.append(size)
    given = image.attributes.get("DiffusionGradientOrientation")
    count = next((n for a, n in zip(kept, sizes, strict=True) if a.name == "b"), 0)
    gradients: tuple[tuple[float, ...], ...] = ()
    if count and isinstance(given, (list, tuple)) and len(given) == count:
        rows = [g for g in given if isinstance(g, (list, tuple)) and len(g) == 3]
        gradients = tuple(tuple(float(v) for v in g) for g in rows) if len(rows) == count else ()
    return Leading(tuple(kept), tuple(sizes), gradients)


def seconds(axis: Axis) -> tuple[float, ...]:
    """Values of a time axis in seconds; none for axes that only count."""
    if axis.name != "t":
        return ()
    if axis.values and axis.unit not in _SECONDS:
        raise WriteError(
            f"axis {axis.name!r} has unit {axis.unit!r}; give a UCUM unit of time, such as s or ms"
        )
    return tuple(v * _SECONDS[axis.unit] for v in axis.values)


def values(axis: Axis) -> tuple[float, ...]:
    """Values of an axis of `PLACES` in DICOM's unit: ms for times, else as they are."""
    if axis.name in ("echo", "ti") and axis.unit in _SECONDS and axis.unit != "1":
        return tuple(v * _SECONDS[axis.unit] * 1e3 for v in axis.values)
    return axis.values


def labels(lead: Leading, index: Sequence[int], *, gated: bool = False) -> dict[str, Any]:
    """What sets the entry ``index`` of the leading axes apart, as keywords of a single instance.

    ``gated`` adds Trigger Time, which only images with heart gating may have.
    """
    result: dict[str, Any] = {}
    for axis, size, i in zip(lead.axes, lead.sizes, index, strict=True):
        if axis.name in PLACES:
            if axis.values:
                result[PLACES[axis.name].single] = values(axis)[i]
            if axis.name == "echo":
                result["EchoNumbers"] = i + 1
            if axis.name == "b" and lead.gradients:
                result["DiffusionGradientOrientation"] = lead.gradients[i]
            continue
        result["TemporalPositionIdentifier"] = i + 1
        result["NumberOfTemporalPositions"] = size
        times = seconds(axis)
        if times:
            result["TemporalPositionTimeOffset"] = times[i]
            result["FrameReferenceTime"] = times[i] * 1e3
            if gated:
                result["TriggerTime"] = times[i] * 1e3
        if len(times) > 1:
            steps = [b - a for a, b in pairwise(times)]
            if max(steps) - min(steps) < 1e-6 * max(map(abs, steps)):
                result["TemporalResolution"] = abs(steps[0]) * 1e3
    return result


def groups(lead: Leading, index: Sequence[int]) -> dict[str, Any]:
    """The same as functional groups of a frame."""
    result: dict[str, Any] = {}
    for axis, i in zip(lead.axes, index, strict=True):
        if axis.name in PLACES and axis.values:
            place = PLACES[axis.name]
            item: dict[str, Any] = {place.multi: values(axis)[i], **dict(place.company)}
            if axis.name == "b":
                direction = lead.gradients[i] if lead.gradients else ()
                if any(direction):
                    item["DiffusionDirectionality"] = "DIRECTIONAL"
                    item["DiffusionGradientDirectionSequence"] = [
                        {"DiffusionGradientOrientation": direction}
                    ]
                else:
                    item["DiffusionDirectionality"] = "NONE" if lead.gradients else "ISOTROPIC"
            result[place.group] = [item]
        elif axis.name == "t" and axis.values:
            offset = seconds(axis)[i]
            result["TemporalPositionSequence"] = [{"TemporalPositionTimeOffset": offset}]
    return result


def moment(lead: Leading, index: Sequence[int]) -> int:
    """Temporal Position Index, from 1."""
    pairs = zip(lead.axes, index, strict=True)
    return next((i + 1 for a, i in pairs if a.name in TIMES), 1)
