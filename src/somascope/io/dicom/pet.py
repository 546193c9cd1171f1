"""Frames of a PET series: their times and durations, read from its instances and written to them.

In an `Image`, the axis ``t`` holds Frame Reference Times in s: from the series' reference time to
the moment within each frame at which the activity equals its mean over the frame (PS3.3 C.8.9.4.1.4
and QIBA). ``ActualFrameDuration`` (ms) and ``DecayFactor`` are lists, one entry per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from somascope.core.grid import Array, Float
from somascope.core.image import Image
from somascope.io.dicom import axes, suv
from somascope.io.dicom.facts import value_of
from somascope.io.dicom.slices import Slice

_OF_FRAME = ("AcquisitionDate", "AcquisitionTime", "ActualFrameDuration", "DecayFactor")
_COUNTED = ("ActualFrameDuration", "DecayFactor")
_OF_STATIC = (*_OF_FRAME, "FrameReferenceTime")


def timing(order: Sequence[Slice], table: Array, names: Sequence[str]) -> dict[str, Any]:
    """Attributes that say when a PET volume was measured.

    ``table`` ``(*leading, nz)`` numbers the slices of ``order``; ``names`` are its leading axes. Of
    one volume: date, time, duration and reference time of the slice that was acquired first, which
    in a scan of several beds is not the first slice. Along ``t``: the lists.
    """
    if "t" not in names:
        first = min((order[int(i)] for i in table.ravel()), key=_acquired)
        return _known(first, _OF_STATIC)
    rows = np.moveaxis(table, list(names).index("t"), 0).reshape(table.shape[names.index("t")], -1)
    heads = [order[int(row[0])] for row in rows]
    found = _known(min(heads, key=_acquired), _OF_FRAME)
    for word in _COUNTED:
        values = [value_of(s.instance.elements, word) for s in heads]
        if all(isinstance(v, (int, float)) for v in values):
            found[word] = values
        else:
            found.pop(word, None)
    return found


def _acquired(s: Slice) -> str:
    e = s.instance.elements
    return f"{e.text('AcquisitionDate')}{e.text('AcquisitionTime')}"


def _known(s: Slice, words: Sequence[str]) -> dict[str, Any]:
    values = {word: value_of(s.instance.elements, word) for word in words}
    return {word: v for word, v in values.items() if v is not None}


def starts(times: Sequence[float], durations: Sequence[float], *, half_life: float | None) -> Float:
    """Starts of frames in s of their reference times and durations in s.

    Without a half life the reference is the middle of the frame.
    """
    inside = [d / 2 if half_life is None else suv.average_time(half_life, d) for d in durations]
    return np.asarray(times, np.float64) - np.asarray(inside)


def half_life(image: Image) -> float | None:
    """Radionuclide Half Life in s, None where unknown."""
    items = image.attributes.get("RadiopharmaceuticalInformationSequence") or []
    found = suv.number(items[0], "RadionuclideHalfLife") if items else None
    return found if found and found > 0 else None


def frame_facts(image: Image) -> list[dict[str, Any]]:
    """What each entry of the axis ``t`` of a PET image says of itself; empty without such lists."""
    axis = next((a for a in image.axes if a.name == "t"), None)
    if image.modality != "PT" or axis is None:
        return []
    count = image.shape[image.axes.index(axis)]
    result: list[dict[str, Any]] = [{} for _ in range(count)]
    for word in _COUNTED:
        listed = image.attributes.get(word)
        if isinstance(listed, (list, tuple)) and len(listed) == count:
            for entry, value in zip(result, listed, strict=True):
                entry[word] = round(value) if word == "ActualFrameDuration" else value
    durations = [float(entry.get("ActualFrameDuration") or 0) for entry in result]
    first = suv.when(image.attributes, "Acquisition")
    times = axes.seconds(axis)
    if first is not None and times and all(durations):
        begun = starts(times, [d / 1000 for d in durations], half_life=half_life(image))
        for entry, start in zip(result, begun, strict=True):
            moment = first + timedelta(seconds=round(float(start - begun[0]), 3))
            entry["AcquisitionDate"] = moment.strftime("%Y%m%d")
            entry["AcquisitionTime"] = moment.strftime("%H%M%S.%f")
    return result
