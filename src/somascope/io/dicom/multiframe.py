"""Enhanced multi-frame objects: functional groups, shared and per frame (PS3.3 C.7.6.16)."""

from __future__ import annotations

from functools import partial
from typing import cast

from somascope.core.errors import CorruptFile
from somascope.io.dicom.attributes import ATTRIBUTES
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.pixels import Instance
from somascope.io.dicom.rescale import mapped, rescale
from somascope.io.dicom.slices import (
    Slice,
    Vector,
    b_value,
    clock,
    directions,
    distance,
    image_kind,
    pixel_spacing,
    vector,
)

_TEMPORAL_SEQUENCE = 0x00209310
_TEMPORAL_OFFSET = 0x0020930D
_CARDIAC_SEQUENCE = 0x00189118
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
_XRAY_3D_TYPES = (0x00189504, 0x00189507)
_POSITIONS = frozenset(
    ("PlanePositionSequence", "InStackPositionNumber", "ImagePositionPatient", "StackID")
)


class Groups:
    """Functional group macros of one frame: its own first, then the shared ones."""

    def __init__(self, own: Elements | None, shared: Elements | None) -> None:
        self._items = [i for i in (own, shared) if i is not None]

    def macro(self, key: str | int) -> Elements | None:
        """The first item of a macro's sequence."""
        for item in self._items:
            found = item.first(key)
            if found is not None:
                return found
        return None

    def all(self) -> tuple[Elements, ...]:
        """The items themselves."""
        return tuple(self._items)


def enhanced(instance: Instance) -> list[Slice]:
    """One slice per frame.

    Raises
    ------
    CorruptFile
        Fewer functional group items than frames.
    """
    e, form = instance.elements, instance.form
    shared = e.first("SharedFunctionalGroupsSequence")
    own = e.items("PerFrameFunctionalGroupsSequence")
    if own and len(own) < form.frames:
        raise CorruptFile(
            f"{e.name}: {len(own)} functional groups for {form.frames} frames; it is damaged"
        )
    modality, pointers = e.text("Modality", "OT"), _dimensions(e)
    top = pixel_spacing(e)
    scaled = partial(mapped, modality=modality if modality == "CT" else "")
    common = (scaled(shared) if shared is not None else None) or scaled(e)
    frame_of_reference = e.text("FrameOfReferenceUID")
    result: list[Slice] = []
    for n in range(form.frames):
        groups = Groups(own[n] if own else None, shared)
        position = groups.macro("PlanePositionSequence")
        orientation = groups.macro("PlaneOrientationSequence")
        measures = groups.macro("PixelMeasuresSequence")
        spacing = (pixel_spacing(measures) if measures is not None else None) or top or (1.0, 1.0)
        place = vector(position, "ImagePositionPatient", 3) if position is not None else None
        turn = (
            vector(orientation, "ImageOrientationPatient", 6) if orientation is not None else None
        )
        thickness = distance(measures) if measures is not None else 0.0
        content = groups.macro("FrameContentSequence")
        transform = groups.macro("PixelValueTransformationSequence")
        real = (scaled(own[n]) if own else None) or common
        values = transform if transform is not None else e
        if real is None:
            real = rescale(values, modality=modality, top=e, signed=form.signed)
        stack = content.text("StackID") if content is not None else ""
        result.append(
            Slice(
                instance,
                n + 1,
                cast("Vector | None", place),
                directions(turn, e.name),
                spacing,
                thickness,
                real,
                (_kind(groups, e), frame_of_reference, stack, _averaged(groups)),
                _labels(groups),
                _times(groups, content, pointers, n),
                None,
                groups.all(),
                "frame",
            )
        )
    return result


def _kind(groups: Groups, e: Elements) -> tuple[str, ...]:
    for key in (*_FRAME_TYPES, *_XRAY_3D_TYPES):
        item = groups.macro(key)
        if item is not None and "FrameType" in item:
            component = item.text("ComplexImageComponent")
            return (*image_kind(item.strings("FrameType")), component)
    return image_kind(e.strings("ImageType"))


def _averaged(groups: Groups) -> bool:
    """A trace or ADC image, computed from the directions: no part of the diffusion series."""
    item = groups.macro("MRDiffusionSequence")
    return item is not None and item.text("DiffusionDirectionality") == "ISOTROPIC"


def _labels(groups: Groups) -> dict[str, float]:
    labels: dict[str, float] = {}
    echo = groups.macro("MREchoSequence")
    if echo is not None:
        value = echo.number("EffectiveEchoTime")
        if value is not None:
            labels["echo"] = value
    timing = groups.macro("MRTimingAndRelatedParametersSequence")
    if timing is not None and timing.number("FlipAngle") is not None:
        labels["flip"] = timing.number("FlipAngle") or 0.0
    modifier = groups.macro("MRModifierSequence")
    if modifier is not None and modifier.number("InversionTimes") is not None:
        labels["ti"] = modifier.number("InversionTimes") or 0.0
    diffusion = groups.macro("MRDiffusionSequence")
    if diffusion is not None:
        found = b_value(diffusion)
        directionality = diffusion.text("DiffusionDirectionality")
        if found is not None or directionality == "NONE":
            labels["b"] = found[0] if found is not None else 0.0
        direction = diffusion.first("DiffusionGradientDirectionSequence")
        g = direction.numbers("DiffusionGradientOrientation") if direction is not None else ()
        if "b" in labels:
            labels["gx"], labels["gy"], labels["gz"] = g[:3] if len(g) >= 3 else (0.0, 0.0, 0.0)
    details = groups.macro("CTXRayDetailsSequence")
    if details is not None and details.number("KVP") is not None:
        labels["kvp"] = details.number("KVP") or 0.0
    return labels


def _times(
    groups: Groups, content: Elements | None, pointers: list[str], n: int
) -> dict[str, float]:
    times: dict[str, float] = {}
    offset = groups.macro(_TEMPORAL_SEQUENCE)
    if offset is not None:
        value = offset.number(_TEMPORAL_OFFSET, vr="FD")
        if value is not None:
            times["offset"] = value
    cardiac = groups.macro(_CARDIAC_SEQUENCE)
    if cardiac is not None:
        value = cardiac.number("NominalCardiacTriggerDelayTime")
        if value is not None:
            times["trigger"] = value
    if content is not None:
        value = content.number("TemporalPositionIndex")
        if value is not None:
            times["temporal"] = value
        indices = content.numbers("DimensionIndexValues")
        for keyword, index in zip(pointers, indices, strict=False):
            if keyword not in _POSITIONS:
                times.setdefault(f"dimension {keyword}", index)
        for name, keyword in (
            ("acquired", "FrameAcquisitionDateTime"),
            ("content", "FrameReferenceDateTime"),
        ):
            seconds = clock(content.text(keyword))
            if seconds is not None:
                times[name] = seconds
        value = content.number("FrameAcquisitionNumber")
        if value is not None:
            times["acquisition"] = value
    times["number"] = float(n)
    return times


def _dimensions(e: Elements) -> list[str]:
    names = {tag: keyword for keyword, (tag, _) in ATTRIBUTES.items()}
    result: list[str] = []
    for item in e.items("DimensionIndexSequence"):
        pair = item.numbers("DimensionIndexPointer")
        tag = int(pair[0]) << 16 | int(pair[1]) if len(pair) == 2 else 0
        result.append(names.get(tag, f"{tag:08X}"))
    return result
