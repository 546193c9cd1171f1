"""Axes of a nuclear medicine image as the vectors of one NM instance (PS3.3 C.8.4.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from somascope.core.image import Axis, Image

_SLICE, _TIME = "slice", "time slice"
_VECTORS = {
    "energy": (0x00540010, "EnergyWindowVector", "NumberOfEnergyWindows"),
    "detector": (0x00540020, "DetectorVector", "NumberOfDetectors"),
    "phase": (0x00540030, "PhaseVector", "NumberOfPhases"),
    "rotation": (0x00540050, "RotationVector", "NumberOfRotations"),
    "rr": (0x00540060, "RRIntervalVector", "NumberOfRRIntervals"),
    "timeslot": (0x00540070, "TimeSlotVector", "NumberOfTimeSlots"),
    _SLICE: (0x00540080, "SliceVector", "NumberOfSlices"),
    "view": (0x00540090, "AngularViewVector", ""),
    _TIME: (0x00540100, "TimeSliceVector", ""),
}
"""Axis -> its vector, and the attribute that counts its entries; in the order of the axes."""
_PLANAR = {
    "STATIC": ("energy", "detector"),
    "DYNAMIC": ("energy", "detector", "phase", _TIME),
    "GATED": ("energy", "detector", "rr", "timeslot"),
    "TOMO": ("energy", "detector", "rotation", "view"),
    "GATED TOMO": ("energy", "detector", "rotation", "rr", "timeslot", "view"),
}
_DEEP = {"RECON TOMO": (_SLICE,), "RECON GATED TOMO": ("rr", "timeslot", _SLICE)}
"""Image Type, value 3 -> the vectors that Frame Increment Pointer names."""
_ITEMS = {
    "DYNAMIC": ("PhaseInformationSequence",),
    "GATED": ("GatedInformationSequence",),
    "TOMO": ("RotationInformationSequence",),
    "GATED TOMO": ("RotationInformationSequence", "GatedInformationSequence"),
    "RECON TOMO": ("RotationInformationSequence",),
    "RECON GATED TOMO": ("RotationInformationSequence", "GatedInformationSequence"),
}
"""Type 2C sequences of each: nothing is known of them but that they belong there."""


@dataclass(frozen=True, eq=False)
class Form:
    """An NM image's kind, and the axes that become vectors within an instance."""

    kind: str
    axes: tuple[Axis, ...]
    sizes: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the axes."""
        return tuple(a.name for a in self.axes)

    @property
    def frames(self) -> int:
        """How many frames a slice has."""
        return int(np.prod(self.sizes, dtype=int))

    def facts(self, slices: int) -> dict[str, Any]:
        """The vectors, their counts, and what else this kind of image asks for."""
        table = {**_PLANAR, **_DEEP}[self.kind]
        deep = _SLICE in table
        sizes = (*self.sizes, *((slices,) if deep else ()))
        names = (*self.names, *((_SLICE,) if deep else ()))
        counted = [_numbers(a, n) for a, n in zip(self.axes, self.sizes, strict=True)]
        counted += [list(range(1, slices + 1))] if deep else []
        rows = list(product(*counted))
        result: dict[str, Any] = {
            "FrameIncrementPointer": [_VECTORS[name][0] for name in table],
            "NumberOfFrames": len(rows),
            "NumberOfEnergyWindows": 1,
            "NumberOfDetectors": 1,
            **{key: [] for key in _ITEMS.get(self.kind, ())},
        }
        for name in table:
            _, vector, count = _VECTORS[name]
            at = names.index(name) if name in names else None
            result[vector] = [1 if at is None else row[at] for row in rows]
            if count:
                result[count] = 1 if at is None else max(sizes[at], *counted[at])
        if "RotationInformationSequence" in result:
            result["NumberOfRotations"] = result.get("NumberOfRotations", 1)
        return result


def form(image: Image) -> Form:
    """How an image becomes NM instances; axes with no vector in its kind are left to others."""
    flat = image.grid.shape[0] == 1
    known = [name for name in _VECTORS if name not in (_SLICE, _TIME)]
    present = {a.name: i for i, a in enumerate(image.axes) if a.name in known}
    tables = _PLANAR if flat else _DEEP
    for kind, table in tables.items():
        if set(present) <= set(table):
            order = [present[name] for name in known if name in present]
            axes = tuple(image.axes[i] for i in order)
            return Form(kind, axes, tuple(image.shape[i] for i in order))
    return Form("STATIC" if flat else "RECON TOMO", (), ())


def ordered(image: Image, inner: Form) -> Image:
    """The same image with the axes of ``inner`` last among the leading ones, in its order."""
    names = [a.name for a in image.axes]
    order = [i for i, name in enumerate(names) if name not in inner.names]
    order += [names.index(name) for name in inner.names]
    if order == sorted(order):
        return image
    rest = range(len(names), image.data.ndim)
    return replace(
        image,
        data=image.data.transpose(*order, *rest),
        axes=tuple(image.axes[i] for i in order),
    )


def _numbers(axis: Axis, size: int) -> Sequence[int]:
    """The values where they are counts, else 1, 2, 3..."""
    values = axis.values
    whole = all(float(v).is_integer() and 1 <= v <= 65535 for v in values)
    if len(values) == size and whole and len(set(values)) == size:
        return [int(v) for v in values]
    return list(range(1, size + 1))
