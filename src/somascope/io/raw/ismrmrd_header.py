"""The XML header of ISMRMRD: encoding, sequence, patient."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree as ET

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Float
from somascope.io.raw import ramps
from somascope.io.raw.readouts import Encoding

_LONGEST = 8 << 20
_SIEMENS = re.compile("siemens", re.IGNORECASE)


class Header:
    """Values of the header by path, such as ``encoding/encodedSpace/matrixSize/x``."""

    def __init__(self, text: str | bytes, name: str) -> None:
        data = text.encode() if isinstance(text, str) else bytes(text)
        if len(data) > _LONGEST:
            raise CorruptFile(f"{name} has an XML header of {len(data)} bytes")
        # Entities can only be declared in a DTD, and the schema has no use for one.
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise CorruptFile(f"{name} has a document type declaration in its XML header")
        try:
            root = ET.fromstring(data.rstrip(b"\0 \n"))  # noqa: S314
        except ET.ParseError as error:
            raise CorruptFile(f"{name}: its XML header is damaged: {error}") from error
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        if root.tag != "ismrmrdHeader":
            raise UnsupportedFormat(f"{name} has an XML header {root.tag!r}, not ismrmrdHeader")
        self._root, self._name = root, name

    def text(self, path: str) -> str:
        """Text of the first such element, ``""`` where there is none."""
        return (self._root.findtext(path) or "").strip()

    def numbers(self, path: str) -> list[float]:
        """Numbers of all such elements.

        Raises
        ------
        CorruptFile
            One is no finite number.
        """
        found = [(e.text or "").strip() for e in self._root.findall(path)]
        try:
            values = [float(v) for v in found]
        except ValueError as error:
            raise CorruptFile(f"{self._name}: {path} is {found[:4]}, not numbers") from error
        if not all(math.isfinite(v) for v in values):
            raise CorruptFile(f"{self._name}: {path} is {found[:4]}, not finite")
        return values

    def named(self, path: str) -> dict[str, float]:
        """Numbers of elements that have a ``name`` and a ``value``; others are left out."""
        found: dict[str, float] = {}
        for element in self._root.findall(path):
            try:
                value = float(element.findtext("value") or "")
            except ValueError:
                continue
            if math.isfinite(value):
                found[(element.findtext("name") or "").strip()] = value
        return found

    def number(self, path: str, default: float | None = None) -> float:
        """The first such number; `CorruptFile` where there is neither it nor a default."""
        values = self.numbers(path)
        if values:
            return values[0]
        if default is None:
            raise CorruptFile(f"{self._name}: its XML header lacks {path}")
        return default


def is_siemens(header: Header) -> bool:
    """Whether a Siemens scanner measured it: their samples follow ``exp(+2 pi i k.r)``."""
    return _SIEMENS.search(header.text("acquisitionSystemInformation/systemVendor")) is not None


def ramp(header: Header, samples: int) -> Float | None:
    """Positions of the samples of a conventional EPI readout; None where they are even or unknown.

    From the trajectory description that converters of Siemens data write; times in us.
    """
    path = "encoding/trajectoryDescription"
    if "EPI" not in header.text(f"{path}/identifier").upper():
        return None
    long, double = f"{path}/userParameterLong", f"{path}/userParameterDouble"
    times = header.named(long) | header.named(double)
    wanted = ("rampUpTime", "flatTopTime", "rampDownTime", "acqDelayTime", "dwellTime")
    if not all(key in times for key in wanted):
        return None
    up, flat, down, delay, dwell = (times[key] for key in wanted)
    return ramps.positions(
        samples, up=up, flat=flat, down=down, delay=delay, duration=dwell * samples
    )


def encoding(header: Header, name: str, *, columns: int, repetitions: int) -> Encoding:
    """How space was encoded; of several encodings the first, which is the image's.

    ``columns`` are the samples of a readout, ``repetitions`` their number.
    """

    def three(path: str) -> tuple[float, float, float]:
        z, y, x = (header.number(f"encoding/{path}/{axis}") for axis in "zyx")
        return z, y, x

    sizes = three("encodedSpace/matrixSize")
    field = three("encodedSpace/fieldOfView_mm")
    wanted = three("reconSpace/matrixSize")
    shown = three("reconSpace/fieldOfView_mm")
    if not all(1 <= v < 1 << 14 and v == int(v) for v in (*sizes, *wanted)) or not all(
        0 < v < 1e4 for v in (*field, *shown)
    ):
        raise CorruptFile(
            f"{name}: its encoding has a matrix {sizes} of {field} mm and an image {wanted} of "
            f"{shown} mm; sizes must be whole and lengths positive"
        )
    kz, ky, kx = (int(v) for v in sizes)
    kx = max(kx, columns)
    cover = [min(s / f, 1.0) for s, f in zip(shown, field, strict=True)]
    image = tuple(max(round(n * c), 1) for n, c in zip((kz, ky, kx), cover, strict=True))
    limits = "encoding/encodingLimits/kspace_encoding_step_"
    trial = header.number("sequenceParameters/TR", 0.0) / 1000
    echoes = header.numbers("sequenceParameters/TE")
    return Encoding(
        matrix=(kz, ky, kx),
        field_mm=(field[0], field[1], field[2]),
        image=(image[0], image[1], image[2]),
        centre=(
            int(header.number(limits + "2/center", kz // 2)),
            int(header.number(limits + "1/center", ky // 2)),
        ),
        dimensions=3 if kz > 1 else 2,
        thickness=shown[0],
        values={"echo": tuple(echoes), "t": tuple(trial * i for i in range(repetitions))},
        negated=is_siemens(header),
        frame_of_reference=header.text("measurementInformation/frameOfReferenceUID"),
    )


_TEXTS = {
    "PatientName": "subjectInformation/patientName",
    "PatientID": "subjectInformation/patientID",
    "PatientSex": "subjectInformation/patientGender",
    "StudyInstanceUID": "studyInformation/studyInstanceUID",
    "AccessionNumber": "studyInformation/accessionNumber",
    "ReferringPhysicianName": "studyInformation/referringPhysicianName",
    "StudyDescription": "studyInformation/studyDescription",
    "StudyID": "studyInformation/studyID",
    "PatientPosition": "measurementInformation/patientPosition",
    "ProtocolName": "measurementInformation/protocolName",
    "SeriesDescription": "measurementInformation/seriesDescription",
    "SequenceName": "measurementInformation/sequenceName",
    "Manufacturer": "acquisitionSystemInformation/systemVendor",
    "ManufacturerModelName": "acquisitionSystemInformation/systemModel",
    "InstitutionName": "acquisitionSystemInformation/institutionName",
    "StationName": "acquisitionSystemInformation/stationName",
    "DeviceSerialNumber": "acquisitionSystemInformation/deviceSerialNumber",
}
_NUMBERS = {
    "PatientWeight": ("subjectInformation/patientWeight_kg", 1.0),
    "RepetitionTime": ("sequenceParameters/TR", 1.0),
    "EchoTime": ("sequenceParameters/TE", 1.0),
    "InversionTime": ("sequenceParameters/TI", 1.0),
    "FlipAngle": ("sequenceParameters/flipAngle_deg", 1.0),
    "ImagingFrequency": ("experimentalConditions/H1resonanceFrequency_Hz", 1e-6),
    "MagneticFieldStrength": ("acquisitionSystemInformation/systemFieldStrength_T", 1.0),
}
_DATES = {
    "PatientBirthDate": "subjectInformation/patientBirthdate",
    "StudyDate": "studyInformation/studyDate",
    "SeriesDate": "measurementInformation/seriesDate",
}


def facts(header: Header) -> dict[str, Any]:
    """Patient, study, scanner and sequence under DICOM keywords; times in ms."""
    found: dict[str, Any] = {}
    for keyword, path in _TEXTS.items():
        if text := header.text(path):
            found[keyword] = text
    if found.get("PatientSex") not in ("M", "F", "O"):
        found.pop("PatientSex", None)
    for keyword, (path, scale) in _NUMBERS.items():
        if value := header.number(path, 0.0):
            found[keyword] = value * scale
    for keyword, path in _DATES.items():
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text := header.text(path)):
            found[keyword] = text.replace("-", "")
    for keyword, path in {
        "StudyTime": "studyInformation/studyTime",
        "SeriesTime": "measurementInformation/seriesTime",
    }.items():
        if match := re.match(r"(\d\d):(\d\d):(\d\d)", header.text(path)):
            found[keyword] = "".join(match.groups())
    return found
