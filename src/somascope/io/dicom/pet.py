"""Frames of a PET series: their times and durations, read from its instances and written to them.

In an `Image`, the axis ``t`` holds Frame Reference Times in s: from the series' reference time to
the moment within each frame at which the activity equals its mean over the frame (PS3.3 C.8.9.4.1.4
and QIBA). ``ActualFrameDuration`` (ms) and ``DecayFactor`` are lists, one entry per frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from somascope.core.grid import Array, Float
from somascope.core.image import Image
from somascope.io.dicom import axes, suv
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.facts import value_of
from somascope.io.dicom.slices import Slice

_OF_FRAME = ("AcquisitionDate", "AcquisitionTime", "ActualFrameDuration", "DecayFactor")
_COUNTED = ("ActualFrameDuration", "DecayFactor")
_OF_STATIC = (*_OF_FRAME, "FrameReferenceTime")


_LYING = {
    "S": ("40199007", "supine"),
    "P": ("1240000", "prone"),
    "DL": ("102536004", "left lateral decubitus"),
    "DR": ("102535000", "right lateral decubitus"),
}
_GANTRY = {"HF": ("102540008", "headfirst"), "FF": ("102541007", "feet-first")}
_RECUMBENT = ("102538003", "recumbent")
_ORIENTATION, _MODIFIER, _RELATION = 0x00540410, 0x00540412, 0x00540414


def orientation(position: str) -> dict[str, Any]:
    """Patient Position (``HFS``, ``FFDL``...) as the codes that PET has in its place.

    PS3.3 C.8.4.6, CID 19 to 21 of PS3.16; empty where it is not known.
    """
    lying, gantry = _LYING.get(position[2:]), _GANTRY.get(position[:2])
    if lying is None or gantry is None:
        return {}
    how = {**_code(_RECUMBENT), "PatientOrientationModifierCodeSequence": [_code(lying)]}
    return {
        "PatientOrientationCodeSequence": [how],
        "PatientGantryRelationshipCodeSequence": [_code(gantry)],
    }


def _code(entry: tuple[str, str]) -> dict[str, Any]:
    value, meaning = entry
    return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}


def position_of(e: Elements) -> str:
    """Patient Position behind these codes; empty where they are not there or say something else."""
    how, gantry = e.first(_ORIENTATION), e.first(_RELATION)
    lying = how.first(_MODIFIER) if how is not None else None
    if lying is None or gantry is None:
        return ""
    codes = [i.text("CodeValue") for i in (gantry, lying)]
    tables = ({v: k for k, (v, _) in table.items()} for table in (_GANTRY, _LYING))
    parts = [table.get(code, "") for table, code in zip(tables, codes, strict=True)]
    return "".join(parts) if all(parts) else ""


def frame_reference_time(attributes: Mapping[str, Any]) -> float:
    """Frame Reference Time in ms of a single frame: as stated, or its average time.

    From Series Date and Time, where those are no later than the acquisition.
    """
    stated = suv.number(attributes, "FrameReferenceTime")
    if stated is not None:
        return stated
    duration = (suv.number(attributes, "ActualFrameDuration") or 0.0) / 1000
    items = attributes.get("RadiopharmaceuticalInformationSequence") or [{}]
    half = suv.number(items[0], "RadionuclideHalfLife")
    inside = suv.average_time(half, duration) if half and half > 0 and duration > 0 else 0.0
    begun, series = suv.when(attributes, "Acquisition"), suv.when(attributes, "Series")
    wait = (begun - series).total_seconds() if begun is not None and series is not None else 0.0
    return 1000 * (inside or duration / 2) + 1000 * max(wait, 0.0)


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
