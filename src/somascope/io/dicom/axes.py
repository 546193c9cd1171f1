"""Leading axes of an image as attributes of single instances and of functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from somascope.core.errors import WriteError
from somascope.core.image import Axis, Image

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0, "1": 1.0}
KNOWN = ("t", "echo", "b", "channel")


def leading(image: Image) -> tuple[Axis, ...]:
    """The leading axes without ``channel``.

    Raises
    ------
    WriteError
        An axis that DICOM has no place for, or a colour axis that is not R, G, B.
    """
    for axis, size in zip(image.axes, image.shape, strict=False):
        if axis.name not in KNOWN:
            raise WriteError(
                f"axis {axis.name!r} has no place in a DICOM series (t, echo, b and channel have); "
                f"write its entries one by one: image.at({axis.name}=0)"
            )
        if axis.name == "channel" and (size != 3 or image.data.dtype.kind not in "ub"):
            raise WriteError(
                f"axis 'channel' has {size} entries of {image.data.dtype}; colour in DICOM is "
                "three channels R, G, B of uint8 or uint16"
            )
    return tuple(a for a in image.axes if a.name != "channel")


def seconds(axis: Axis) -> tuple[float, ...]:
    """Values of a time axis in seconds."""
    if axis.values and axis.unit not in _SECONDS:
        raise WriteError(
            f"axis {axis.name!r} has unit {axis.unit!r}; give a UCUM unit of time, such as s or ms"
        )
    return tuple(v * _SECONDS[axis.unit] for v in axis.values)


def milliseconds(axis: Axis) -> tuple[float, ...]:
    """Values of an axis of echo times in ms (unit ``1`` is taken as ms)."""
    if axis.unit in ("ms", "1"):
        return axis.values
    return tuple(v * 1e3 for v in seconds(axis))


def labels(
    axes: Sequence[Axis], sizes: Sequence[int], index: Sequence[int], *, modality: str
) -> dict[str, Any]:
    """What sets the entry ``index`` of the leading axes apart, as keywords of a single instance."""
    result: dict[str, Any] = {}
    for axis, size, i in zip(axes, sizes, index, strict=True):
        if axis.name == "t":
            result["TemporalPositionIdentifier"] = i + 1
            result["NumberOfTemporalPositions"] = size
            times = seconds(axis)
            if times:
                result["TemporalPositionTimeOffset"] = times[i]
                if modality == "PT":
                    result["FrameReferenceTime"] = times[i] * 1e3
                elif modality != "US":
                    result["TriggerTime"] = times[i] * 1e3
            if len(times) > 1:
                steps = [b - a for a, b in pairwise(times)]
                if max(steps) - min(steps) < 1e-6 * max(map(abs, steps)):
                    result["TemporalResolution"] = abs(steps[0]) * 1e3
        elif axis.name == "echo":
            result["EchoNumbers"] = i + 1
            if axis.values:
                result["EchoTime"] = milliseconds(axis)[i]
        elif axis.name == "b" and axis.values:
            result["DiffusionBValue"] = axis.values[i]
    return result
