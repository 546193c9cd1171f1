"""Content items of structured reports (PS3.3 C.17.3): their making, and their codes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from somascope.core.finding import Code
from somascope.io.dicom.encode import coded, dataset, element, number
from somascope.io.dicom.provenance import CREATOR, GROUP
from somascope.io.dicom.units import unit_code

RECORD = 0x04
"""Private element, beside provenance (01, 02) and raw data (03): a finding's exact numbers."""


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


REPORT = _dcm("126000", "Imaging Measurement Report")
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
OBSERVER = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MAKER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
PROCEDURE = _dcm("121058", "Procedure reported")
IMAGING = Code("363679005", "SCT", "Imaging procedure")
COMMENT = _dcm("121106", "Comment")
LIBRARY = _dcm("111028", "Image Library")
LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MEASUREMENTS = _dcm("126010", "Imaging Measurements")
GROUP_OF = _dcm("125007", "Measurement Group")
TRACKING = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
TIME_POINT = Code("C2348792", "UMLS", "Time Point")
FINDING = _dcm("121071", "Finding")
REGION = _dcm("111030", "Image Region")
SURFACE = _dcm("121231", "Volume Surface")
SEEN_ON = Code("260753009", "SCT", "Source")
SURFACE_ON = _dcm("121233", "Source image for segmentation")
SURFACE_SERIES = _dcm("121232", "Source series for segmentation")
SERIES_UID = _dcm("112002", "Series Instance UID")
INSTANCE_UID = Code("SOP_INSTANCE", "99SOMASCOPE", "SOP Instance UID")
CERTAINTY = _dcm("111012", "Certainty of Finding")
UNCERTAINTY = Code("371884006", "SCT", "+/-, range of measurement uncertainty")
PROBABILITY = _dcm("122157", "Probability")
CLASS = Code("CLASS", "99SOMASCOPE", "Class")
QUALIFIERS = {
    "nan": _dcm("114000", "Not a number"),
    "-inf": _dcm("114001", "Negative Infinity"),
    "inf": _dcm("114002", "Positive Infinity"),
}
"""CID 42 for values that no decimal string holds."""


def item(
    kind: str,
    concept: Code | None,
    values: Mapping[str, Any] | None = None,
    *,
    children: Sequence[Dataset] = (),
    relation: str = "CONTAINS",
) -> Dataset:
    """A content item of value type ``kind`` below another one."""
    made = dataset({"RelationshipType": relation, "ValueType": kind})
    if concept is not None:
        made.add(element("ConceptNameCodeSequence", [coded(concept)]))
    for keyword, value in (values or {}).items():
        made.add(element(keyword, value))
    if children:
        made.add(element("ContentSequence", list(children)))
    return made


def container(concept: Code, children: Sequence[Dataset], *, template: str = "") -> Dataset:
    """A container whose parts are separate, made after ``template`` of PS3.16."""
    values: dict[str, Any] = {"ContinuityOfContent": "SEPARATE"}
    if template:
        values["ContentTemplateSequence"] = [
            {"MappingResource": "DCMR", "TemplateIdentifier": template}
        ]
    return item("CONTAINER", concept, values, children=children)


def code(
    concept: Code, value: Code, *, children: Sequence[Dataset] = (), relation: str = "CONTAINS"
) -> Dataset:
    """A coded answer."""
    return item(
        "CODE", concept, {"ConceptCodeSequence": [coded(value)]},
        children=children, relation=relation,
    )  # fmt: skip


def text(concept: Code, value: str, *, relation: str = "HAS OBS CONTEXT") -> Dataset:
    """Free text."""
    return item("TEXT", concept, {"TextValue": value}, relation=relation)


def reference(concept: Code, uid: str, *, relation: str = "HAS OBS CONTEXT") -> Dataset:
    """A UID by itself."""
    return item("UIDREF", concept, {"UID": uid}, relation=relation)


def num(
    concept: Code,
    value: float,
    unit: str,
    *,
    children: Sequence[Dataset] = (),
    relation: str = "CONTAINS",
) -> Dataset:
    """A number with its UCUM unit, exact: as a double where 16 characters are too few.

    A value that is not finite is said by its qualifier; its unit is kept in the record.
    """
    if not math.isfinite(value):
        made = item(
            "NUM", concept, {"MeasuredValueSequence": []}, children=children, relation=relation
        )
        qualifier = QUALIFIERS[str(float(value))]
        made.add(element("NumericValueQualifierCodeSequence", [coded(qualifier)]))
        keep(made, {"unit": unit})
        return made
    shown = number(value)
    measured: dict[str, Any] = {
        "NumericValue": shown,
        "MeasurementUnitsCodeSequence": [coded(unit_code(unit))],
    }
    if float(shown) != value:
        measured["FloatingPointValue"] = float(value)
    return item(
        "NUM", concept, {"MeasuredValueSequence": [measured]}, children=children, relation=relation
    )


def instance(concept: Code | None, sop_class: str, sop_uid: str) -> Dataset:
    """A reference to an instance: IMAGE, or COMPOSITE where the class is no image."""
    pointed = {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": sop_uid}
    kind = "IMAGE" if is_image(sop_class) else "COMPOSITE"
    return item(kind, concept, {"ReferencedSOPSequence": [pointed]})


def is_image(sop_class: str) -> bool:
    """Whether a storage class holds pixels: not reports, raw data, registrations, waveforms."""
    rest = sop_class.removeprefix("1.2.840.10008.5.1.4.1.1.")
    first, _, second = rest.partition(".")
    if first == "66":
        return second in ("4", "7")
    return first not in ("88", "9", "11", "67", "104", "481") or rest.startswith("481.1")


def polygon(concept: Code, points: Sequence[Sequence[float]], frame: str) -> Dataset:
    """A closed planar polygon in the patient; ``points`` are LPS mm without the closing one."""
    ring = [*points, points[0]]
    made = item("SCOORD3D", concept, {"GraphicType": "POLYGON"})
    made.add(element("GraphicData", [float(v) for p in ring for v in p]))
    made.add(element("ReferencedFrameOfReferenceUID", frame))
    return made


def keep(target: Dataset, record: Mapping[str, Any]) -> None:
    """Put ``record`` as JSON into the private element of a content item."""
    base = GROUP << 16
    target.add(DataElement(base | 0x0010, "LO", CREATOR))
    text = json.dumps(record, sort_keys=True)
    target.add(DataElement(base | 0x1000 | RECORD, "UT", text, config.IGNORE))


def kept(source: Dataset) -> dict[str, Any]:
    """The record that `keep` put there; empty where there is none or it is damaged."""
    for slot in range(0x10, 0x100):
        creator = source.get((GROUP, slot))
        if creator is None:
            return {}
        if str(creator.value).strip() == CREATOR:
            found = source.get((GROUP, slot << 8 | RECORD))
            value = found.value if found is not None else "{}"
            try:
                parsed = json.loads(value)
            except (ValueError, TypeError):
                return {}
            return parsed if isinstance(parsed, dict) else {}
    return {}
