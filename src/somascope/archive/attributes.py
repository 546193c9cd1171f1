"""Which attribute is which column, at which level, and how it matches (PS3.4 C.6, PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column

from somascope.archive.records import Level
from somascope.archive.schema import instance, patient, series, study

How = Literal["text", "uid", "name", "date", "time", "number", "modalities", "none"]
LEVELS: tuple[Level, ...] = ("PATIENT", "STUDY", "SERIES", "INSTANCE")


@dataclass(frozen=True)
class Attribute:
    """One attribute that the index knows."""

    keyword: str
    tag: str
    vr: str
    level: Level
    column: Column[Any]
    how: How
    default: bool
    """Returned without being asked for."""
    folded: Column[Any] | None = None
    value: Callable[[Any], list[Any]] | None = None


def _names(value: str) -> list[Any]:
    keys = ("Alphabetic", "Ideographic", "Phonetic")
    groups = dict(zip(keys, value.split("="), strict=False))
    return [{k: v for k, v in groups.items() if v}] if value else []


def _a(
    level: Level, tag: str, vr: str, keyword: str, column: Column[Any], how: How, *,
    default: bool = True, folded: Column[Any] | None = None,
) -> Attribute:  # fmt: skip
    return Attribute(
        keyword, tag, vr, level, column, how, default, folded, _names if vr == "PN" else None
    )


p, t, s, i = patient.c, study.c, series.c, instance.c
ATTRIBUTES: tuple[Attribute, ...] = (
    _a("PATIENT", "00100010", "PN", "PatientName", p.name, "name", folded=p.name_folded),
    _a("PATIENT", "00100020", "LO", "PatientID", p.patient_id, "text"),
    _a("PATIENT", "00100021", "LO", "IssuerOfPatientID", p.issuer, "text", default=False),
    _a("PATIENT", "00100030", "DA", "PatientBirthDate", p.birth_date, "date"),
    _a("PATIENT", "00100040", "CS", "PatientSex", p.sex, "text"),
    _a("STUDY", "00080020", "DA", "StudyDate", t.date, "date"),
    _a("STUDY", "00080030", "TM", "StudyTime", t.time, "time"),
    _a("STUDY", "00080050", "SH", "AccessionNumber", t.accession, "text"),
    _a("STUDY", "00080061", "CS", "ModalitiesInStudy", t.modalities, "modalities"),
    _a("STUDY", "00080090", "PN", "ReferringPhysicianName", t.referring, "name",
       folded=t.referring_folded),
    _a("STUDY", "00080201", "SH", "TimezoneOffsetFromUTC", t.timezone, "none"),
    _a("STUDY", "00081030", "LO", "StudyDescription", t.description, "text"),
    _a("STUDY", "0020000D", "UI", "StudyInstanceUID", t.uid, "uid"),
    _a("STUDY", "00200010", "SH", "StudyID", t.study_id, "text"),
    _a("STUDY", "00201206", "IS", "NumberOfStudyRelatedSeries", t.series_count, "number"),
    _a("STUDY", "00201208", "IS", "NumberOfStudyRelatedInstances", t.instance_count, "number"),
    _a("SERIES", "00080021", "DA", "SeriesDate", s.date, "date", default=False),
    _a("SERIES", "00080031", "TM", "SeriesTime", s.time, "time", default=False),
    _a("SERIES", "00080060", "CS", "Modality", s.modality, "text"),
    _a("SERIES", "00080070", "LO", "Manufacturer", s.manufacturer, "text", default=False),
    _a("SERIES", "00080080", "LO", "InstitutionName", s.institution, "text", default=False),
    _a("SERIES", "00081010", "SH", "StationName", s.station, "text", default=False),
    _a("SERIES", "0008103E", "LO", "SeriesDescription", s.description, "text"),
    _a("SERIES", "00081090", "LO", "ManufacturerModelName", s.model, "text", default=False),
    _a("SERIES", "00180015", "CS", "BodyPartExamined", s.body_part, "text"),
    _a("SERIES", "00181030", "LO", "ProtocolName", s.protocol, "text", default=False),
    _a("SERIES", "0020000E", "UI", "SeriesInstanceUID", s.uid, "uid"),
    _a("SERIES", "00200011", "IS", "SeriesNumber", s.number, "number"),
    _a("SERIES", "00200052", "UI", "FrameOfReferenceUID", s.frame_of_reference, "uid",
       default=False),
    _a("SERIES", "00200060", "CS", "Laterality", s.laterality, "text", default=False),
    _a("SERIES", "00201209", "IS", "NumberOfSeriesRelatedInstances", s.instance_count, "number"),
    _a("SERIES", "00400244", "DA", "PerformedProcedureStepStartDate", s.performed_date, "date"),
    _a("SERIES", "00400245", "TM", "PerformedProcedureStepStartTime", s.performed_time, "time"),
    _a("INSTANCE", "00080016", "UI", "SOPClassUID", i.sop_class, "uid"),
    _a("INSTANCE", "00080018", "UI", "SOPInstanceUID", i.uid, "uid"),
    _a("INSTANCE", "00083002", "UI", "AvailableTransferSyntaxUID", i.transfer_syntax, "uid"),
    _a("INSTANCE", "00200013", "IS", "InstanceNumber", i.number, "number"),
    _a("INSTANCE", "00280008", "IS", "NumberOfFrames", i.frame_count, "number"),
    _a("INSTANCE", "00280010", "US", "Rows", i.rows, "number"),
    _a("INSTANCE", "00280011", "US", "Columns", i.columns, "number"),
    _a("INSTANCE", "00280100", "US", "BitsAllocated", i.bits, "number"),
)  # fmt: skip

_BY_NAME = {a.keyword: a for a in ATTRIBUTES} | {a.tag: a for a in ATTRIBUTES}


def find(name: str) -> Attribute | None:
    """The attribute of a keyword or of eight hexadecimal digits."""
    return _BY_NAME.get(name) or _BY_NAME.get(name.upper())


def searchable(level: Level) -> frozenset[str]:
    """Keywords that `Query.match` may hold at that level: the level's own and those above it."""
    upto = LEVELS.index(level)
    return frozenset(
        a.keyword for a in ATTRIBUTES if LEVELS.index(a.level) <= upto and a.how != "none"
    )


def element(attribute: Attribute, value: Any) -> dict[str, Any]:
    """One attribute in the DICOM JSON model (PS3.18 F.2)."""
    vr = attribute.vr
    if value is None or value == "":
        return {"vr": vr}
    if attribute.value is not None:
        return {"vr": vr, "Value": attribute.value(value)}
    if isinstance(value, str) and "\\" in value:
        return {"vr": vr, "Value": [v or None for v in value.split("\\")]}
    return {"vr": vr, "Value": [value]}
