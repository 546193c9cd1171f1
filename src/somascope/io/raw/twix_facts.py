"""Patient, scanner and sequence of a twix protocol under their DICOM keywords."""

from __future__ import annotations

import re
from typing import Any

from somascope.io.raw.twix_protocol import Protocol

_TEXTS = {
    "PatientName": "tPatientName",
    "PatientID": "PatientID",
    "InstitutionName": "InstitutionName",
    "ManufacturerModelName": "ManufacturersModelName",
    "DeviceSerialNumber": "DeviceSerialNumber",
    "SoftwareVersions": "SoftwareVersions",
    "PatientPosition": "tPatientPosition",
    "SequenceName": "tSequenceString",
    "BodyPartExamined": "tBodyPartExamined",
}


def facts(protocol: Protocol) -> dict[str, Any]:
    """What a DICOM series of this measurement should say; times in ms, angles in degrees."""
    found: dict[str, Any] = {"Manufacturer": "SIEMENS"}
    for keyword, name in _TEXTS.items():
        text = protocol.text(name)
        if text:
            found[keyword] = text[:64]
    birth = protocol.text("PatientBirthDay")
    if re.fullmatch(r"\d{8}", birth):
        found["PatientBirthDate"] = birth
    sex = protocol.parameter("lPatientSex")
    if sex and sex[0] in (1, 2):
        found["PatientSex"] = "F" if sex[0] == 1 else "M"
    title = protocol.get("tProtocolName") or protocol.text("tProtocolName")
    if title:
        found["ProtocolName"] = found["SeriesDescription"] = str(title).replace("+AF8-", "_")[:64]
    numbers = {
        "RepetitionTime": protocol.number("alTR[0]", 0.0) / 1000,
        "EchoTime": protocol.number("alTE[0]", 0.0) / 1000,
        "InversionTime": protocol.number("alTI[0]", 0.0) / 1000,
        "FlipAngle": protocol.number("adFlipAngleDegree[0]", 0.0),
        "SliceThickness": protocol.number("sSliceArray.asSlice[0].dThickness", 0.0),
        "ImagingFrequency": protocol.number("sTXSPEC.asNucleusInfo[0].lFrequency", 0.0) / 1e6,
        "MagneticFieldStrength": protocol.number("sProtConsistencyInfo.flNominalB0", 0.0),
        "EchoTrainLength": int(protocol.number("sFastImaging.lEPIFactor", 0)),
    }
    found |= {keyword: value for keyword, value in numbers.items() if value > 0}
    if int(protocol.number("sKSpace.ucDimension", 2)) == 4:
        found["MRAcquisitionType"] = "3D"
        found.pop("SliceThickness", None)
    else:
        found["MRAcquisitionType"] = "2D"
    base = protocol.number("sKSpace.lBaseResolution", 0)
    dwell = protocol.number("sRXSPEC.alDwellTime[0]", 0)
    if base > 0 and dwell > 0:
        found["PixelBandwidth"] = 1e9 / (dwell * base * 2)
    nucleus = str(protocol.get("sTXSPEC.asNucleusInfo[0].tNucleus", ""))
    if nucleus:
        found["ImagedNucleus"] = nucleus
    return found
