"""What an image carries of its DICOM headers: attributes under their keywords, in JSON types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from somascope.core.errors import CorruptFile
from somascope.io.dicom import regions
from somascope.io.dicom.attributes import ATTRIBUTES, KEYWORDS
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.slices import Slice

_LEFT_OUT = frozenset(
    (
        "SpecificCharacterSet", "SOPInstanceUID", "InstanceNumber", "ImagePositionPatient",
        "SliceLocation", "InStackPositionNumber", "DimensionIndexValues", "SamplesPerPixel",
        "PhotometricInterpretation", "Rows", "Columns", "PlanarConfiguration", "NumberOfFrames",
        "BitsAllocated", "BitsStored", "HighBit", "PixelSpacing", "PixelRepresentation",
        "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue",
        "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "FrameIncrementPointer",
        "TransferSyntaxUID", "LUTDescriptor", "LUTExplanation", "LUTData", "StackID",
        "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "GridFrameOffsetVector",
        "DoseGridScaling", "FrameTimeVector", "PixelData", "CodeValue", "ReferencedFileID",
        "FloatPixelData", "DoubleFloatPixelData", "CodingSchemeDesignator", "CodeMeaning",
        "FrameReferenceTime", "InstanceCreationDate", "InstanceCreationTime", "ImageIndex",
        "SliceVector",
    )
)  # fmt: skip
"""Said by the array, the grid, the axes or the provenance, or true of one slice only."""
_SEQUENCES = ("RadiopharmaceuticalInformationSequence", "AnatomicRegionSequence")
_ITEM_SEQUENCES = ("RadionuclideCodeSequence",)
_AXIS_FACTS = {
    "echo": ("EchoTime", "EffectiveEchoTime", "EchoNumbers"),
    "b": ("DiffusionBValue",),
    "t": (
        "TemporalPositionIdentifier",
        "TriggerTime",
        "TemporalPositionIndex",
        "AcquisitionNumber",
    ),
    "ti": ("InversionTime",),
    "flip": ("FlipAngle",),
    "kvp": ("KVP",),
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
"""Whether small values are shown white or black; other interpretations became R, G, B."""
_WHOLE = frozenset(("IS", "US", "UL", "SS", "SL"))
_NUMERIC = frozenset(("DS", "FD", "FL")) | _WHOLE
_ALWAYS_LIST = frozenset(("ImageType",))
_PHILIPS_SUV = (("70531000", 0x70531000), ("70531009", 0x70531009))


def value_of(e: Elements, keyword: str) -> Any:
    """One attribute as a JSON value: text, number, or a list of them; ``None`` where unreadable."""
    vr = ATTRIBUTES[keyword][1]
    if vr in _NUMERIC:
        try:
            numbers = e.numbers(keyword)
        except CorruptFile:
            return e.text(keyword) or None
        values = [int(v) if vr in _WHOLE and float(v).is_integer() else float(v) for v in numbers]
        values = [v for v in values if math.isfinite(v)]
        if not values:
            return None
        return values if len(values) > 1 else values[0]
    if vr in ("PN", "LT", "ST", "UT"):
        return e.text(keyword) or None
    parts = e.strings(keyword)
    if keyword in _ALWAYS_LIST or len(parts) != 1:
        return list(parts) or None
    return parts[0]


def _item(e: Elements) -> dict[str, Any]:
    found = {
        KEYWORDS[t]: value_of(e, KEYWORDS[t])
        for t in e
        if t in KEYWORDS and ATTRIBUTES[KEYWORDS[t]][1] not in ("SQ", "OW", "OB")
    }
    for keyword in _ITEM_SEQUENCES:
        if e.items(keyword):
            found[keyword] = [_item(i) for i in e.items(keyword)]
    return {k: v for k, v in found.items() if v is not None}


def _simple(e: Elements) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in e:
        keyword = KEYWORDS.get(tag)
        if keyword is None or keyword in _LEFT_OUT or tag < 0x00080000:
            continue
        vr = ATTRIBUTES[keyword][1]
        if (
            vr in ("SQ", "OB", "OW", "OF", "OD", "OV", "AT")
            or "Palette" in keyword
            or keyword.endswith("Vector")
        ):
            continue
        value = value_of(e, keyword)
        if value is not None:
            found[keyword] = value
    return found


def attributes(first: Slice, axes: Sequence[str]) -> dict[str, Any]:
    """Facts about patient, study, series and acquisition from the first slice of a volume."""
    e = first.instance.elements
    found = _simple(e)
    for group in reversed(first.groups):  # shared first, then the frame's own
        for tag in list(group):
            keyword = KEYWORDS.get(tag)
            if keyword is None or ATTRIBUTES[keyword][1] != "SQ":
                continue
            item = group.first(keyword)
            if item is not None and keyword not in (
                "FrameContentSequence",
                "RealWorldValueMappingSequence",
            ):
                found.update(_simple(item))
    if "EffectiveEchoTime" in found:
        found["EchoTime"] = found.pop("EffectiveEchoTime")
    if "FrameType" in found:
        found["ImageType"] = found.pop("FrameType")
    for keyword in _SEQUENCES:
        if e.items(keyword):
            found[keyword] = [_item(i) for i in e.items(keyword)]
    if "SequenceOfUltrasoundRegions" in e and (spectra := regions.spectra(e)):
        found["SequenceOfUltrasoundRegions"] = spectra
    if e.text(0x70530010).startswith("Philips PET"):
        for name, tag in _PHILIPS_SUV:
            number = e.number(tag, vr="DS")
            if number is not None:
                found[name] = number
    if e.text(0x00090010).startswith("GEMS_PETD_01") and e.text(0x0009100D):
        found["0009100D"] = e.text(0x0009100D)
    if e.text("Modality") == "DX" and e.integer("BitsStored"):
        found["BitsStored"] = e.integer("BitsStored")  # the detector's, or the P-values'
    meaning = e.text("PhotometricInterpretation")
    if meaning in _GREY and "channel" not in axes:
        found["PhotometricInterpretation"] = meaning
    for axis in axes:
        for keyword in _AXIS_FACTS.get(axis, ()):
            found.pop(keyword, None)
    return found
