"""What a Comprehensive 3D SR must keep to beyond its tables (PS3.3 A.35.13, C.17.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

_VALUES = {
    "TEXT": "TextValue",
    "NUM": "MeasuredValueSequence",
    "CODE": "ConceptCodeSequence",
    "DATETIME": "DateTime",
    "DATE": "Date",
    "TIME": "Time",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "COMPOSITE": "ReferencedSOPSequence",
    "IMAGE": "ReferencedSOPSequence",
    "WAVEFORM": "ReferencedSOPSequence",
    "SCOORD": "GraphicData",
    "SCOORD3D": "GraphicData",
    "TCOORD": "TemporalRangeType",
    "CONTAINER": "ContinuityOfContent",
    "TABLE": "TabulatedValuesSequence",
}
"""Value types of A.35.13.3.1.1 and what each of them says."""

_UNNAMED = ("CONTAINER", "IMAGE", "COMPOSITE", "WAVEFORM", "SCOORD", "SCOORD3D", "TCOORD")
_ANSWERS = ("TEXT", "CODE", "NUM", "TABLE")
_FACTS = ("TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE")
_EVIDENCE = (*_FACTS, "IMAGE", "WAVEFORM", "SCOORD", "SCOORD3D", "TCOORD", "CONTAINER", "TABLE")
_MAY = {
    "CONTAINS": (("CONTAINER",), _EVIDENCE),
    "HAS OBS CONTEXT": (("CONTAINER", *_ANSWERS), _FACTS),
    "HAS ACQ CONTEXT": (("CONTAINER", "IMAGE", "WAVEFORM", "COMPOSITE", "NUM"), _EVIDENCE),
    "HAS CONCEPT MOD": (tuple(_VALUES), ("TEXT", "CODE")),
    "HAS PROPERTIES": (_ANSWERS, _EVIDENCE),
    "INFERRED FROM": (_ANSWERS, _EVIDENCE),
    "SELECTED FROM": (("SCOORD", "TCOORD"), ("IMAGE", "WAVEFORM", "SCOORD", "SCOORD3D")),
}
"""Relationship -> value types of its source and of its target (table A.35.13-2)."""

_LEAST = {"POINT": 1, "MULTIPOINT": 1, "POLYLINE": 2, "POLYGON": 4, "ELLIPSE": 4, "ELLIPSOID": 6}


def report(dataset: Dataset) -> Iterator[str]:
    """What breaks a rule, one line each."""
    if dataset.get("ValueType") != "CONTAINER":
        yield f"ValueType of the root is {dataset.get('ValueType')}, not CONTAINER (PS3.3 C.17.3)"
        return
    if dataset.get("VerificationFlag") == "VERIFIED" and not dataset.get(
        "VerifyingObserverSequence"
    ):
        yield "VerifyingObserverSequence is missing in a verified document (PS3.3 C.17.2)"
    evidence = set(_evidence(dataset))
    yield from _below(dataset, "", evidence)


def _evidence(dataset: Dataset) -> Iterator[str]:
    words = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
    for study in (s for w in words for s in dataset.get(w) or []):
        for series in study.get("ReferencedSeriesSequence") or []:
            for item in series.get("ReferencedSOPSequence") or []:
                yield str(item.get("ReferencedSOPInstanceUID"))


def _below(parent: Dataset, path: str, evidence: set[str]) -> Iterator[str]:
    source = str(parent.get("ValueType"))
    for number, item in enumerate(parent.get("ContentSequence") or []):
        here = f"{path}ContentSequence[{number}]."
        relation, kind = str(item.get("RelationshipType")), str(item.get("ValueType"))
        if "ReferencedContentItemIdentifier" in item:
            yield f"{here}: relationships by reference are not in Comprehensive 3D SR (A.35.13)"
            continue
        if relation not in _MAY:
            yield f"{here}RelationshipType is {relation} (PS3.3 C.17.3.2.4)"
        elif kind in _VALUES:
            sources, targets = _MAY[relation]
            if source not in sources or kind not in targets:
                yield f"{here}: {source} {relation} {kind} is not allowed (PS3.3 table A.35.13-2)"
        yield from _item(item, kind, here, evidence)
        yield from _below(item, here, evidence)


def _item(item: Dataset, kind: str, here: str, evidence: set[str]) -> Iterator[str]:
    word = _VALUES.get(kind)
    if word is None:
        yield f"{here}ValueType is {kind} (PS3.3 A.35.13.3.1.1)"
        return
    if word not in item or (kind != "NUM" and item[word].is_empty):
        yield f"{here}{word} is missing in a {kind} item (PS3.3 C.17.3)"
        return
    if kind not in _UNNAMED and not item.get("ConceptNameCodeSequence"):
        yield f"{here}ConceptNameCodeSequence is missing in a {kind} item (Type 1C, C.17.3.2)"
    if kind == "NUM":
        yield from _number(item, here)
    elif kind == "SCOORD3D":
        yield from _place(item, here)
    elif word == "ReferencedSOPSequence":
        for pointed in item[word].value:
            name = str(pointed.get("ReferencedSOPInstanceUID") or "")
            if not name or not pointed.get("ReferencedSOPClassUID"):
                yield f"{here}{word} names no instance and class (PS3.3 C.18.3)"
            elif name not in evidence:
                yield f"{here}: {name} is not in the evidence of the document (PS3.3 C.17.2.3)"


def _number(item: Dataset, here: str) -> Iterator[str]:
    measured: Any = item["MeasuredValueSequence"].value
    if not measured:
        if not item.get("NumericValueQualifierCodeSequence"):
            yield f"{here}: no value and no NumericValueQualifierCodeSequence (PS3.3 C.18.1)"
        return
    if len(measured) > 1:
        yield f"{here}MeasuredValueSequence has {len(measured)} items (PS3.3 C.18.1)"
    for word in ("NumericValue", "MeasurementUnitsCodeSequence"):
        if word not in measured[0] or measured[0][word].is_empty:
            yield f"{here}MeasuredValueSequence[0].{word} is missing (Type 1, PS3.3 C.18.1)"


def _place(item: Dataset, here: str) -> Iterator[str]:
    kind = str(item.get("GraphicType"))
    values = np.atleast_1d(np.array(item.GraphicData, np.float64))
    if not item.get("ReferencedFrameOfReferenceUID"):
        yield f"{here}ReferencedFrameOfReferenceUID is missing (Type 1, PS3.3 C.18.9)"
    if kind not in _LEAST:
        yield f"{here}GraphicType is {kind} (PS3.3 C.18.9.1.2)"
    elif values.size % 3 or values.size // 3 < _LEAST[kind]:
        yield f"{here}GraphicData has {values.size} values for a {kind} (PS3.3 C.18.9.1.1)"
    elif kind == "POLYGON":
        points = values.reshape(-1, 3)
        if not np.array_equal(points[0], points[-1]):
            yield f"{here}: the polygon is not closed (PS3.3 C.18.9.1.2)"
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[2] > 1e-3 * max(spread[0], 1e-3) and spread[2] > 1e-3:
            yield f"{here}: the points of the polygon lie in no plane (PS3.3 C.18.9.1.2)"
