"""Conditions that a table of types cannot say: pixels, geometry, frames, segments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from somascope.io.dicom import iods
from somascope.io.dicom.iods import KINDS, table
from somascope.io.dicom.sr_rules import report

_PIXELS = {"PixelData": None, "FloatPixelData": 32, "DoubleFloatPixelData": 64}
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}

_FRAME = ("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence")
_SLIDE = "PlanePositionSlideSequence"
_NEEDED = {
    iods.ENHANCED_CT.iod: ("CTImageFrameTypeSequence", "FrameAnatomySequence"),
    iods.ENHANCED_MR.iod: ("MRImageFrameTypeSequence", "FrameAnatomySequence"),
    iods.ENHANCED_PT.iod: ("PETFrameTypeSequence", "FrameAnatomySequence"),
    iods.PARAMETRIC_MAP.iod: ("ParametricMapFrameTypeSequence", "RealWorldValueMappingSequence"),
}


def rules(dataset: Dataset) -> Iterator[str]:
    """What breaks a condition, one line each."""
    kind = KINDS.get(str(dataset.get("SOPClassUID", "")))
    iod = kind.iod if kind else ""
    if any(w in dataset for w in _PIXELS):
        yield from _pixels(dataset)
    elif kind is not None and kind.layout != "raw":
        yield "PixelData is missing (PS3.3 C.7.6.3)"
    yield from _display(dataset, "")
    yield from _geometry(dataset, "")
    if "PerFrameFunctionalGroupsSequence" in dataset:
        yield from _frames(dataset, iod)
    elif (
        any("functional-groups" in m and u == "M" for m, u in table()["iods"].get(iod, {}).items())
        and dataset.get("DimensionOrganizationType") != "TILED_FULL"
    ):
        yield "PerFrameFunctionalGroupsSequence is missing (PS3.3 C.7.6.16)"
    if "FrameIncrementPointer" in dataset:
        pointers = dataset["FrameIncrementPointer"].value
        for tag in _list(pointers):
            if tag not in dataset:
                yield f"FrameIncrementPointer points to {tag}, which is not there (PS3.3 C.7.6.6)"
    if iod == iods.PT.iod and float(dataset.get("RescaleIntercept") or 0) != 0:
        yield "RescaleIntercept is not 0 in a PET image (PS3.3 C.8.9.4)"
    if iod == iods.DX.iod:
        yield from _radiograph(dataset)
    if iod == iods.SEGMENTATION.iod:
        yield from _segments(dataset)
    if iod == iods.REPORT.iod:
        yield from report(dataset)


def _pixels(dataset: Dataset) -> Iterator[str]:
    word = next(w for w in _PIXELS if w in dataset)
    get = dataset.get
    numbers = {w: get(w) for w in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")}
    missing = [w for w, v in numbers.items() if not v]
    if missing:
        yield from (f"{w} is missing or 0 (PS3.3 C.7.6.3)" for w in missing)
        return
    rows, columns, samples, bits = (int(v) for v in numbers.values())
    if _PIXELS[word] not in (None, bits):
        yield f"BitsAllocated is {bits} for {word} (PS3.3 C.7.6.24)"
    if word == "PixelData":
        stored, high = int(get("BitsStored") or 0), int(get("HighBit") or 0)
        if not 0 < stored <= bits or high != stored - 1:
            yield f"BitsStored {stored} and HighBit {high} do not fit BitsAllocated {bits}"
        if get("PixelRepresentation") not in (0, 1):
            yield f"PixelRepresentation is {get('PixelRepresentation')}, not 0 or 1"
    colour = get("PhotometricInterpretation")
    grey = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if (samples == 1) != (colour in grey):
        yield f"PhotometricInterpretation is {colour} with {samples} samples (PS3.3 C.7.6.3.1.2)"
    if colour == "PALETTE COLOR":
        for name in ("Red", "Green", "Blue"):
            said = f"{name}PaletteColorLookupTable"
            if f"{said}Descriptor" not in dataset or not (
                f"{said}Data" in dataset or f"Segmented{said}Data" in dataset
            ):
                yield f"{said} is missing or half missing for PALETTE COLOR (PS3.3 C.7.6.3.1.5)"
    if samples > 1 and get("PlanarConfiguration") not in (0, 1):
        yield "PlanarConfiguration is missing with several samples per pixel (PS3.3 C.7.6.3)"
    meta: Any = getattr(dataset, "file_meta", None)
    if meta is not None and str(meta.get("TransferSyntaxUID")) in _NATIVE:
        frames = int(get("NumberOfFrames") or 1)
        wanted = (rows * columns * samples * frames * bits + 7) // 8
        wanted += wanted % 2
        if len(dataset[word].value) != wanted and colour != "YBR_FULL_422":
            yield f"{word} has {len(dataset[word].value)} bytes, its attributes say {wanted}"


def _display(dataset: Dataset, path: str) -> Iterator[str]:
    slope = dataset.get("RescaleSlope")
    if slope is not None and float(slope) == 0:
        yield f"{path}RescaleSlope is 0 (PS3.3 C.11.1)"
    if ("RescaleSlope" in dataset) != ("RescaleIntercept" in dataset):
        yield f"{path}RescaleSlope and RescaleIntercept come only together (PS3.3 C.11.1)"
    if ("WindowCenter" in dataset) != ("WindowWidth" in dataset):
        yield f"{path}WindowCenter and WindowWidth come only together (PS3.3 C.11.2)"
    widths = dataset.get("WindowWidth")
    least = 1.0 if str(dataset.get("VOILUTFunction") or "LINEAR") == "LINEAR" else 1e-300
    for width in _list(widths):
        if float(width) < least:
            yield f"{path}WindowWidth is {width} (PS3.3 C.11.2.1.2)"


def _geometry(dataset: Dataset, path: str) -> Iterator[str]:
    cosines = [float(v) for v in _list(dataset.get("ImageOrientationPatient"))]
    if cosines:
        if len(cosines) != 6:
            return  # the wrong number of values is said elsewhere
        row, column = np.array(cosines[:3]), np.array(cosines[3:])
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if max(abs(n - 1) for n in lengths) > 1e-3:
            yield f"{path}ImageOrientationPatient has vectors of length {lengths} (PS3.3 C.7.6.2)"
        elif abs(row @ column) > 1e-3:
            yield f"{path}ImageOrientationPatient is not orthogonal (PS3.3 C.7.6.2)"
    for word in ("PixelSpacing", "ImagerPixelSpacing", "SliceThickness"):
        low = [float(v) for v in _list(dataset.get(word)) if float(v) <= 0]
        if low and not (word == "SliceThickness" and low == [0]):
            yield f"{path}{word} is {low[0]}; it must be above 0 (PS3.3 10.7.1.3)"


def _radiograph(dataset: Dataset) -> Iterator[str]:
    processing = dataset.get("SOPClassUID") == iods.DX_RAW.sop_class
    said = str(dataset.get("PresentationIntentType") or "")
    if said != ("FOR PROCESSING" if processing else "FOR PRESENTATION"):
        yield f"PresentationIntentType is {said} in this storage class (PS3.3 A.26)"
    if processing and ("WindowCenter" in dataset or "VOILUTSequence" in dataset):
        yield "WindowCenter is for presentation alone (PS3.3 C.8.11.3)"
    if float(dataset.get("RescaleSlope") or 1) != 1 or float(dataset.get("RescaleIntercept") or 0):
        yield "RescaleSlope and RescaleIntercept are not 1 and 0 (PS3.3 C.8.11.3)"
    if "PixelSpacingCalibrationType" in dataset and not dataset.get(
        "PixelSpacingCalibrationDescription"
    ):
        yield "PixelSpacingCalibrationDescription is missing (Type 1C, PS3.3 10.7.1)"
    if not 6 <= int(dataset.get("BitsStored") or 0) <= 16:
        yield f"BitsStored is {dataset.get('BitsStored')}, not 6 to 16 (PS3.3 C.8.11.3)"


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]


def _frames(dataset: Dataset, iod: str) -> Iterator[str]:
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    frames = dataset["PerFrameFunctionalGroupsSequence"].value
    number = int(dataset.get("NumberOfFrames") or 0)
    if number != len(frames):
        yield f"NumberOfFrames is {number}, there are {len(frames)} items of functional groups"
    common = shared[0] if shared else Dataset()
    yield from _display_groups(common, "SharedFunctionalGroupsSequence[0].")
    dimensions = len(dataset.get("DimensionIndexSequence") or [])
    slide = any(_SLIDE in f for f in (common, *frames))
    placed = "FrameOfReferenceUID" in dataset and not slide
    needed = (*(_FRAME if placed else ()), *_NEEDED.get(iod, ()))
    for i, frame in enumerate(frames):
        path = f"PerFrameFunctionalGroupsSequence[{i}]."
        for word in needed:
            if word not in frame and word not in common:
                yield f"{path}{word} is missing and not shared (PS3.3 C.7.6.16)"
        for tag in frame.keys() & common.keys():
            yield f"{path}{frame[tag].keyword} is both shared and per frame (PS3.3 C.7.6.16.1.1)"
        yield from _display_groups(frame, path)
        content = frame.get("FrameContentSequence") or []
        if dimensions and content:
            values = _list(content[0].get("DimensionIndexValues"))
            if len(values) != dimensions:
                yield f"{path}DimensionIndexValues has {len(values)} values of {dimensions}"
        for word, inner in (
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ):
            if word in frame and not (frame[word].value and inner in frame[word].value[0]):
                yield f"{path}{word} has no {inner} (PS3.3 C.7.6.16.2)"


def _display_groups(groups: Dataset, path: str) -> Iterator[str]:
    for word in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
        for item in groups.get(word) or []:
            yield from _display(item, f"{path}{word}[0].")
    for word in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        for item in groups.get(word) or []:
            yield from _geometry(item, f"{path}{word}[0].")


def _segments(dataset: Dataset) -> Iterator[str]:
    numbers = [int(s.get("SegmentNumber") or 0) for s in dataset.get("SegmentSequence") or []]
    labelmap = dataset.get("SOPClassUID") == iods.LABELMAP.sop_class
    kind = str(dataset.get("SegmentationType") or "")
    if labelmap != (kind == "LABELMAP"):
        yield f"SegmentationType is {kind} in this storage class (PS3.3 C.8.20.2)"
    if len(set(numbers)) != len(numbers):
        yield f"SegmentNumber repeats: {numbers} (PS3.3 C.8.20.4)"
    if not labelmap and numbers != list(range(1, len(numbers) + 1)):
        yield f"SegmentNumber is {numbers}, not counted from 1 (PS3.3 C.8.20.4)"
    bits = {"BINARY": (1,), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}
    if int(dataset.get("BitsAllocated") or 0) not in bits.get(kind, ()):
        yield f"BitsAllocated is {dataset.get('BitsAllocated')} for {kind} (PS3.3 C.8.20.2)"
    if kind == "FRACTIONAL":
        for word in ("MaximumFractionalValue", "SegmentationFractionalType"):
            if not dataset.get(word):
                yield f"{word} is missing for FRACTIONAL (Type 1C, PS3.3 C.8.20.2)"
    for i, segment in enumerate(dataset.get("SegmentSequence") or []):
        manual = segment.get("SegmentAlgorithmType") == "MANUAL"
        if not manual and not segment.get("SegmentAlgorithmName"):
            yield f"SegmentSequence[{i}].SegmentAlgorithmName is missing (Type 1C)"
    if labelmap:
        return
    for i, frame in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or []):
        found = frame.get("SegmentIdentificationSequence") or []
        number = found[0].get("ReferencedSegmentNumber") if found else None
        if number is not None and int(number) not in numbers:
            yield f"frame {i + 1} shows segment {number}, which is not described"
