"""One segment as an item of Segment Sequence, and the way back (PS3.3 C.8.20.4)."""

from __future__ import annotations

import json
import re
from typing import Any

from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.finding import TISSUE, Code, Segment, Tracking
from somascope.core.provenance import Provenance
from somascope.io.dicom import cielab
from somascope.io.dicom.encode import coded, dataset

_TISSUE = Code("85756007", "SCT", "Tissue")
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_LESIONS = frozenset(
    ("4147007", "52988006", "86049000", "108369006", "27925004", "49755003", "416939005")
)
"""Mass, lesion, primary neoplasm, neoplasm, nodule and their like."""

_FAMILIES = (
    (("model", "net", "learn", "neural"), Code("123110", "DCM", "Artificial Intelligence")),
    (("threshold", "histogram", "otsu"), Code("123105", "DCM", "Histogram Analysis")),
    (("region", "grow", "connected"), Code("123101", "DCM", "Neighborhood Analysis")),
    (("level", "snake", "deform", "atlas"), Code("123111", "DCM", "Deformable Models")),
    (("cluster", "kmeans"), Code("123107", "DCM", "Cluster Analysis")),
    (("edge", "canny"), Code("123103", "DCM", "Edge Detection")),
    (("open", "close", "dilate", "erode"), Code("123104", "DCM", "Morphological Operations")),
)
_OTHER = Code("123101", "DCM", "Neighborhood Analysis")
_CONFIDENCE = re.compile(r"confidence ([0-9.]+)")


def item(segment: Segment, *, number: int, record: Provenance, tracking: str) -> Dataset:
    """The item that describes ``segment`` as ``number``.

    ``tracking`` is the UID of a segment that brings none of its own.
    """
    known = segment.tracking or Tracking(tracking)
    name = segment.algorithm or (record.steps[-1].operation if record.steps else "")
    manual = not name or name.lower().startswith("manual")
    lesion = segment.concept.value in _LESIONS
    category = _ABNORMAL if lesion else _TISSUE if segment.concept == TISSUE else _ANATOMY
    values: dict[str, Any] = {
        "SegmentNumber": number,
        "SegmentLabel": segment.label or f"Segment {number}",
        "SegmentedPropertyCategoryCodeSequence": [coded(category)],
        "SegmentedPropertyTypeCodeSequence": [coded(segment.concept)],
        "SegmentAlgorithmType": "MANUAL" if manual else "AUTOMATIC",
        "RecommendedDisplayCIELabValue": cielab.from_rgb(segment.colour),
        "TrackingID": known.name or segment.label or f"Segment {number}",
        "TrackingUID": known.uid,
    }
    if segment.confidence != 1:
        values["SegmentDescription"] = f"confidence {segment.confidence:.6g}"
    if not manual:
        values["SegmentAlgorithmName"] = name
        values["SegmentationAlgorithmIdentificationSequence"] = [_algorithm(name, record)]
    return dataset(values)


def _algorithm(name: str, record: Provenance) -> Dataset:
    lower = name.lower()
    family = next((c for words, c in _FAMILIES if any(w in lower for w in words)), _OTHER)
    step = record.steps[-1] if record.steps else None
    values: dict[str, Any] = {
        "AlgorithmFamilyCodeSequence": [coded(family)],
        "AlgorithmName": name,
        "AlgorithmVersion": (step.version if step else "") or __version__,
        "AlgorithmSource": "Somascope",
    }
    if step is not None and step.params:
        values["AlgorithmParameters"] = [
            f"{k}={json.dumps(v)}"[:10240] for k, v in step.params.items()
        ]
    return dataset(values)


def parse(described: Dataset) -> Segment:
    """The segment that an item of Segment Sequence describes."""
    number = int(described.get("SegmentNumber") or 0)
    concept = TISSUE
    types = described.get("SegmentedPropertyTypeCodeSequence") or []
    if types:
        code = types[0]
        value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue")
        concept = Code(
            str(value or ""),
            str(code.get("CodingSchemeDesignator") or ""),
            str(code.get("CodeMeaning") or ""),
        )
    algorithm = str(described.get("SegmentAlgorithmName") or "")
    if not algorithm and described.get("SegmentAlgorithmType") == "MANUAL":
        algorithm = "manual"
    extra: dict[str, Any] = {}
    colour = described.get("RecommendedDisplayCIELabValue")
    if colour is not None and len(colour) == 3:
        extra["colour"] = cielab.to_rgb([int(v) for v in colour])
    if described.get("TrackingUID"):
        name = str(described.get("TrackingID") or "")
        extra["tracking"] = Tracking(str(described.TrackingUID), name)
    said = _CONFIDENCE.fullmatch(str(described.get("SegmentDescription") or ""))
    if said:
        extra["confidence"] = float(said[1])
    return Segment(
        number=number,
        label=str(described.get("SegmentLabel") or f"Segment {number}"),
        concept=concept,
        algorithm=algorithm,
        **extra,
    )
