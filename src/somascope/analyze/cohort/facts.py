"""What an examination says of itself, as the columns that a cohort is compared by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from somascope.analyze.cohort.table import Column

COLUMNS = (
    Column("patient", "text", "", "PatientID, or the patient's pseudonym"),
    Column("study", "text", "", "Study Instance UID"),
    Column("series", "text", "", "Series Instance UID of the image"),
    Column("date", "text", "", "StudyDate, YYYYMMDD"),
    Column("sex", "text", "", "PatientSex"),
    Column("age", "number", "a", "At the examination: PatientAge, else from the date of birth"),
    Column("site", "text", "", "InstitutionName"),
    Column("scanner", "text", "", "Manufacturer and model"),
    Column("modality", "text", "", "Modality"),
    Column("body_part", "text", "", "BodyPartExamined"),
    Column("protocol", "text", "", "ProtocolName, else SeriesDescription"),
)
"""Of every row of a cohort's table."""

KEYWORDS = (
    "PatientID", "PatientSex", "PatientAge", "PatientBirthDate", "StudyInstanceUID",
    "SeriesInstanceUID", "StudyDate", "InstitutionName", "Manufacturer", "ManufacturerModelName",
    "Modality", "BodyPartExamined", "ProtocolName", "SeriesDescription",
)  # fmt: skip
"""DICOM attributes that `facts` reads."""

_YEARS = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}


def years(text: object) -> float | None:
    """Years of a DICOM age string (``045Y``, ``018M``; PS3.5 6.2) or a number; None for neither."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)\s*", str(text or ""), re.IGNORECASE)
    return None if found is None else float(found[1]) / _YEARS[found[2].upper() or "Y"]


def day(text: object) -> date | None:
    """A DICOM date, ``YYYYMMDD`` or with dots or dashes; None where it is none."""
    digits = re.sub(r"[-./]", "", str(text or "").strip())
    if not re.fullmatch(r"\d{8}", digits):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def age(attributes: Mapping[str, Any]) -> float | None:
    """Years at the examination: as it says, else from the date of birth; None where unknown."""
    said = years(attributes.get("PatientAge"))
    if said is not None:
        return said
    born, seen = day(attributes.get("PatientBirthDate")), day(attributes.get("StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return round((seen - born).days / 365.25, 2)


def facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each of `COLUMNS` (None where unknown) from attributes by keyword."""

    def text(name: str) -> str | None:
        value = attributes.get(name)
        if isinstance(value, (list, tuple)):
            value = "\\".join(str(v) for v in value if v is not None)
        return str(value).strip() or None if value is not None else None

    scanner = " ".join(t for t in (text("Manufacturer"), text("ManufacturerModelName")) if t)
    return {
        "patient": text("PatientID"), "study": text("StudyInstanceUID"),
        "series": text("SeriesInstanceUID"), "date": text("StudyDate"), "sex": text("PatientSex"),
        "age": age(attributes), "site": text("InstitutionName"), "scanner": scanner or None,
        "modality": text("Modality"), "body_part": text("BodyPartExamined"),
        "protocol": text("ProtocolName") or text("SeriesDescription"),
    }  # fmt: skip
