"""An arrival, and the rows of the index that it becomes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from somascope.archive import names
from somascope.archive.records import Stored
from somascope.archive.times import date, moment
from somascope.io.dicom.header import Header


@dataclass(eq=False)
class Arrival:
    """An instance that is durable on disk and waits for its row."""

    header: Header
    name: bytes
    sha256: bytes
    size: int
    dataset_offset: int
    transfer_syntax: str
    origin: str = ""
    received: float = field(default_factory=time.time)
    answer: Stored | None = None
    error: BaseException | None = None

    def answers(self, outcome: Any, reason: str = "") -> Stored:
        """The record of this arrival with that outcome."""
        h = self.header
        return Stored(outcome, h.study, h.series, h.sop_uid, h.sop_class, reason, h.warnings)


def text(h: Header, keyword: str) -> str:
    """The attribute as the index keeps it: no NUL (PostgreSQL has none), not too long."""
    return h.text(keyword).replace("\0", "")[:1024]


def integer(h: Header, keyword: str) -> int | None:
    """The attribute as a whole number of 53 bits, or ``None``."""
    missing = 1 << 62
    value = h.integer(keyword, missing)
    return value if abs(value) < 1 << 53 else None


def patient_row(h: Header) -> dict[str, Any]:
    """Columns of `schema.patient`."""
    name, patient_id = text(h, "PatientName"), text(h, "PatientID")
    issuer, birth = text(h, "IssuerOfPatientID"), date(text(h, "PatientBirthDate"))
    return {
        "identity": names.identity(patient_id, issuer, name, birth, h.study),
        "patient_id": patient_id, "issuer": issuer, "name": name, "name_folded": names.fold(name),
        "birth_date": birth, "sex": text(h, "PatientSex"),
    }  # fmt: skip


def study_row(h: Header) -> dict[str, Any]:
    """Columns of `schema.study` that come from an instance."""
    referring = text(h, "ReferringPhysicianName")
    return {
        "date": date(text(h, "StudyDate")), "time": moment(text(h, "StudyTime")),
        "accession": text(h, "AccessionNumber"), "study_id": text(h, "StudyID"),
        "description": text(h, "StudyDescription"), "referring": referring,
        "referring_folded": names.fold(referring), "timezone": text(h, "TimezoneOffsetFromUTC"),
        "modalities": "", "series_count": 0, "instance_count": 0,
    }  # fmt: skip


def series_row(h: Header) -> dict[str, Any]:
    """Columns of `schema.series` that come from an instance."""
    return {
        "modality": text(h, "Modality"), "number": integer(h, "SeriesNumber"),
        "description": text(h, "SeriesDescription"), "body_part": text(h, "BodyPartExamined"),
        "laterality": text(h, "Laterality"), "protocol": text(h, "ProtocolName"),
        "manufacturer": text(h, "Manufacturer"), "model": text(h, "ManufacturerModelName"),
        "station": text(h, "StationName"), "institution": text(h, "InstitutionName"),
        "date": date(text(h, "SeriesDate")), "time": moment(text(h, "SeriesTime")),
        "performed_date": date(text(h, "PerformedProcedureStepStartDate")),
        "performed_time": moment(text(h, "PerformedProcedureStepStartTime")),
        "frame_of_reference": text(h, "FrameOfReferenceUID"), "instance_count": 0,
    }  # fmt: skip


def instance_row(a: Arrival) -> dict[str, Any]:
    """Columns of `schema.instance` that come from an instance."""
    h = a.header
    return {
        "sop_class": h.sop_class, "transfer_syntax": a.transfer_syntax,
        "number": integer(h, "InstanceNumber"), "rows": integer(h, "Rows"),
        "columns": integer(h, "Columns"), "bits": integer(h, "BitsAllocated"),
        "frame_count": integer(h, "NumberOfFrames"), "size": a.size,
        "dataset_offset": a.dataset_offset, "name": a.name, "sha256": a.sha256,
        "frames": h.frames.pack() if h.frames else None, "received": a.received,
        "origin": a.origin, "damaged": 0,
    }  # fmt: skip
