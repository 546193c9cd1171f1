"""Segmentations in NRRD: the keys ``Segment0_Name``... that 3D Slicer writes in ``.seg.nrrd``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.finding import TISSUE, Code, Mask, Segment
from somascope.core.grid import Array
from somascope.core.image import Image

_MOST = 65535
_TERM = "TerminologyEntry:"
_CONTEXT = "Segmentation category and type - DICOM master list"
_ANATOMICAL = "SCT^123037004^Anatomical Structure"


def described(keys: Mapping[str, str]) -> bool:
    """Whether the keys of a header describe segments."""
    return "Segment0_ID" in keys or "Segment0_LabelValue" in keys


def tags(concept: Code) -> str:
    """The value of ``Segment0_Tags`` that names a coded concept."""
    code = "^".join(re.sub(r"[\^~|\n]", " ", v) for v in (concept.scheme, concept.value))
    meaning = re.sub(r"[\^~|\n]", " ", concept.meaning)
    return f"{_TERM}{_CONTEXT}~{_ANATOMICAL}~{code}^{meaning}~^^~~^^~^^|"


def segmentation(image: Image, keys: Mapping[str, str]) -> Mask:
    """The mask that ``image`` holds: a labelmap, or layers ``(n, nz, ny, nx)`` of labelmaps.

    One layer stays a labelmap with its label values as segment numbers; of several, each segment
    becomes a plane. Floating layers are probabilities.

    Raises
    ------
    CorruptFile
        Keys that are no numbers, or name a layer that is not there, or twice the same label.
    UnsupportedFormat
        Several leading axes, or values that are no labels.
    """
    name = image.provenance.sources[0].name if image.provenance.sources else "the file"
    if len(image.axes) > 1:
        raise UnsupportedFormat(
            f"{name} describes segments along {[a.name for a in image.axes]}; only one axis of "
            "layers is read"
        )
    found = [m.group(1) for k in keys if (m := re.fullmatch(r"Segment(\d{1,5})_ID", k))]
    found += [m.group(1) for k in keys if (m := re.fullmatch(r"Segment(\d{1,5})_LabelValue", k))]
    rows = sorted(set(map(int, found)))
    layers = image.data if image.axes else image.data[None]
    places = [
        (_number(keys, i, "Layer", 0, name), _number(keys, i, "LabelValue", 1, name)) for i in rows
    ]
    if any(not 0 <= layer < len(layers) for layer, _ in places):
        raise CorruptFile(f"{name} has {len(layers)} layer(s), its segments name {places}")
    if layers.dtype.kind not in "fiu":
        raise UnsupportedFormat(f"{name} holds segments of {layers.dtype}; labels are integers")
    single = not image.axes and layers.dtype.kind != "f"
    if single and len(set(places)) < len(places):
        raise CorruptFile(f"{name} gives one label to several segments: {places}")
    numbers = [value for _, value in places] if single else _numbers(keys, rows)
    segments = [_segment(keys, i, n) for i, n in zip(rows, numbers, strict=True)]
    if single:
        data = _labels(layers[0], numbers, name)
    elif layers.dtype.kind == "f":
        data = np.stack([layers[layer] for layer, _ in places]).astype(np.float32)
    else:
        data = np.stack([layers[layer] == value for layer, value in places])
    return Mask(
        data=data,
        grid=image.grid,
        segments=tuple(segments),
        provenance=image.provenance,
        attributes=dict(image.attributes),
    )


def _labels(data: Array, numbers: Sequence[int], name: str) -> Array:
    low, high = min(int(data.min()), *numbers), max(int(data.max()), *numbers)
    if low < 0 or high > _MOST:
        raise UnsupportedFormat(f"{name} has labels from {low} to {high}; 0 to {_MOST} are read")
    return data.astype(np.uint8 if high < 256 else np.uint16)


def _number(keys: Mapping[str, str], i: int, word: str, default: int, name: str) -> int:
    text = keys.get(f"Segment{i}_{word}", "").strip() or str(default)
    if not re.fullmatch(r"\d{1,9}", text):
        raise CorruptFile(f"{name} has Segment{i}_{word}:={text[:40]!r}; it is a whole number")
    return int(text)


def _numbers(keys: Mapping[str, str], rows: Sequence[int]) -> list[int]:
    """The numbers at the end of the IDs where they tell the segments apart, else 1, 2, 3..."""
    ends = [re.fullmatch(r"Segment_(\d{1,5})", keys.get(f"Segment{i}_ID", "")) for i in rows]
    numbers = [int(m.group(1)) for m in ends if m]
    good = len(set(numbers)) == len(rows) and min(numbers, default=0) > 0
    return numbers if good else list(range(1, len(rows) + 1))


def _segment(keys: Mapping[str, str], i: int, number: int) -> Segment:
    label = keys.get(f"Segment{i}_Name", "").strip() or keys.get(f"Segment{i}_ID", f"{number}")
    words = keys.get(f"Segment{i}_Color", "").split()
    try:
        r, g, b = (min(max(round(float(w) * 255), 0), 255) for w in words)
    except (ValueError, OverflowError):
        return Segment(number, label, _concept(keys.get(f"Segment{i}_Tags", "")))
    return Segment(number, label, _concept(keys.get(f"Segment{i}_Tags", "")), colour=(r, g, b))


def _concept(text: str) -> Code:
    """The type in a terminology entry: context~category~type~modifier~..."""
    for tag in text.split("|"):
        fields = tag.partition(_TERM)[2].split("~")
        parts = fields[2].split("^") if len(fields) > 2 else []
        if len(parts) == 3 and all(parts):
            return Code(parts[1], parts[0], parts[2])
    return TISSUE
