"""Who a phantom is: fixed names, dates and identifiers, the same on every run."""

from __future__ import annotations

import hashlib
from typing import Any

from somascope.core.provenance import Provenance, Source

DATE = "20260102"


def uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that equal ``parts`` give again."""
    number = int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:16], "big")
    return f"2.25.{number & ~(0xF << 76) | (8 << 76)}"


def source(name: str) -> Provenance:
    """The provenance of a phantom."""
    return Provenance((Source("phantom", name),))


def facts(
    study: str, patient: str, description: str, *, number: int = 1, time: str = "100000"
) -> dict[str, Any]:
    """Attributes of one series of a phantom's study.

    Parameters
    ----------
    study
        Key of the study; series with the same key lie in one study.
    patient
        Patient's name, DICOM form.
    description
        Of the series.
    number
        Series number.
    time
        Study time; the series begins as many minutes later as its number.
    """
    minute = f"{int(time[:4]) + number:04d}00"
    return {
        "PatientName": patient,
        "PatientID": f"PHANTOM-{study}".upper().replace("_", "-")[:64],
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyInstanceUID": uid("study", study),
        "StudyID": study[:16],
        "StudyDate": DATE,
        "StudyTime": time,
        "StudyDescription": f"Phantom {study.replace('_', ' ')}",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesInstanceUID": uid("series", study, str(number), description),
        "SeriesNumber": number,
        "SeriesDate": DATE,
        "SeriesTime": minute,
        "AcquisitionDate": DATE,
        "AcquisitionTime": minute,
        "ContentDate": DATE,
        "ContentTime": minute,
        "SeriesDescription": description,
        "Manufacturer": "Somascope",
        "ManufacturerModelName": "Phantom",
        "ImageType": ["DERIVED", "PRIMARY", "OTHER"],
    }
