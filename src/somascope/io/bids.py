"""BIDS side-cars: the facts about an acquisition as JSON beside a NIfTI file, in BIDS units.

Source: BIDS specification 1.10, modality specific files (MR, PET) and appendix "Units". Nothing
that names the patient is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from somascope.core.image import Image
from somascope.io.atomic import replacing

_LARGEST = 1 << 20

_FIELDS: tuple[tuple[str, str, float], ...] = (
    ("Modality", "Modality", 1),
    ("Manufacturer", "Manufacturer", 1),
    ("ManufacturersModelName", "ManufacturerModelName", 1),
    ("DeviceSerialNumber", "DeviceSerialNumber", 1),
    ("StationName", "StationName", 1),
    ("SoftwareVersions", "SoftwareVersions", 1),
    ("InstitutionName", "InstitutionName", 1),
    ("InstitutionalDepartmentName", "InstitutionalDepartmentName", 1),
    ("BodyPartExamined", "BodyPartExamined", 1),
    ("PatientPosition", "PatientPosition", 1),
    ("StudyInstanceUID", "StudyInstanceUID", 1),
    ("SeriesInstanceUID", "SeriesInstanceUID", 1),
    ("FrameOfReferenceUID", "FrameOfReferenceUID", 1),
    ("SeriesNumber", "SeriesNumber", 1),
    ("AcquisitionNumber", "AcquisitionNumber", 1),
    ("SeriesDescription", "SeriesDescription", 1),
    ("ProtocolName", "ProtocolName", 1),
    ("ImageType", "ImageType", 1),
    ("ImageOrientationPatientDICOM", "ImageOrientationPatient", 1),
    ("SliceThickness", "SliceThickness", 1),
    ("SpacingBetweenSlices", "SpacingBetweenSlices", 1),
    ("MagneticFieldStrength", "MagneticFieldStrength", 1),
    ("ImagingFrequency", "ImagingFrequency", 1),
    ("MRAcquisitionType", "MRAcquisitionType", 1),
    ("ScanningSequence", "ScanningSequence", 1),
    ("SequenceVariant", "SequenceVariant", 1),
    ("ScanOptions", "ScanOptions", 1),
    ("SequenceName", "SequenceName", 1),
    ("EchoTime", "EchoTime", 1e-3),
    ("RepetitionTime", "RepetitionTime", 1e-3),
    ("InversionTime", "InversionTime", 1e-3),
    ("FlipAngle", "FlipAngle", 1),
    ("EchoTrainLength", "EchoTrainLength", 1),
    ("EchoNumber", "EchoNumbers", 1),
    ("NumberOfAverages", "NumberOfAverages", 1),
    ("PixelBandwidth", "PixelBandwidth", 1),
    ("PercentPhaseFOV", "PercentPhaseFieldOfView", 1),
    ("PercentSampling", "PercentSampling", 1),
    ("SAR", "SAR", 1),
    ("SliceTiming", "SliceTiming", 1),
    ("KVP", "KVP", 1),
    ("XRayExposure", "Exposure", 1),
    ("ExposureTime", "ExposureTime", 1e-3),
    ("XRayTubeCurrent", "XRayTubeCurrent", 1),
    ("ConvolutionKernel", "ConvolutionKernel", 1),
    ("ReconstructionDiameter", "ReconstructionDiameter", 1),
    ("GantryDetectorTilt", "GantryDetectorTilt", 1),
    ("FrameDuration", "ActualFrameDuration", 1e-3),
    ("AttenuationCorrection", "AttenuationCorrectionMethod", 1),
    ("ReconMethodName", "ReconstructionMethod", 1),
    ("DecayCorrection", "DecayCorrection", 1),
)
"""BIDS key, DICOM keyword, and the factor from the DICOM unit to the BIDS unit (ms to s: 1e-3)."""

_UNITS = {"Bq/ml": "Bq/mL"}
"""UCUM to the spelling of the BIDS appendix, where they differ."""


def sidecar(image: Image) -> dict[str, Any]:
    """The side-car of an image: what its attributes tell, under BIDS keys in BIDS units."""
    from somascope import __version__

    facts: Mapping[str, Any] = {**image.attributes, "Modality": image.modality}
    record: dict[str, Any] = {}
    for key, keyword, factor in _FIELDS:
        # A time of zero stands for "none" in the headers that have it.
        value = _scaled(facts.get(keyword), factor)
        if value not in (None, "", []) and not (value == 0 and factor == 1e-3):
            record[key] = value
    if image.unit != "1":
        record["Units"] = _UNITS.get(image.unit, image.unit)
    for axis in image.axes:
        if axis.name == "t" and axis.values and image.modality == "PT":
            record["FrameTimesStart"] = list(axis.values)
        elif axis.name == "t" and axis.values and not even(axis.values):
            record["VolumeTiming"] = list(axis.values)
        if axis.name == "echo" and axis.values and "EchoTime" not in record:
            record["EchoTime"] = [v * 1e-3 for v in axis.values]
    if isinstance(record.get("SoftwareVersions"), list):  # BIDS wants one string
        record["SoftwareVersions"] = "\\".join(map(str, record["SoftwareVersions"]))
    phase = facts.get("InPlanePhaseEncodingDirection")
    if phase in ("ROW", "COL"):
        record["PhaseEncodingAxis"] = "i" if phase == "ROW" else "j"
    record["ConversionSoftware"] = "Somascope"
    record["ConversionSoftwareVersion"] = __version__
    return record


def even(times: Sequence[float]) -> bool:
    """Whether a start and a step, which is all that NIfTI has room for, tell these times."""
    if len(times) < 2:
        return True
    step = times[1] - times[0]
    return all(abs(t - times[0] - i * step) <= 1e-4 * abs(step) for i, t in enumerate(times))


def times_beside(image_path: Path, count: int) -> tuple[float, ...]:
    """Start of each volume in seconds where the side-car lists them, else empty."""
    record = _record(image_path)
    for key in ("VolumeTiming", "FrameTimesStart"):
        values = record.get(key)
        if not isinstance(values, list) or len(values) != count:
            continue
        if all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
            return tuple(float(v) for v in values)
    return ()


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, (list, tuple)):
        return [_scaled(v, factor) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if factor != 1 and isinstance(value, (int, float)) and not isinstance(value, bool):
        # 12 digits: 2.3 ms is written 0.0023 and not 0.0022999999999999998.
        return float(f"{value * factor:.12g}")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def write_sidecar(image: Image, path: Path) -> None:
    """Write the side-car of ``image`` to ``path``."""
    text = json.dumps(sidecar(image), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")


def read_sidecar(image_path: Path) -> dict[str, Any]:
    """Attributes under DICOM keywords and in DICOM units from the ``.json`` beside a file.

    ``Modality`` and ``Units`` (UCUM) are among them where known; empty where there is no side-car
    or it is not JSON.
    """
    return facts_of(_record(image_path))


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a side-car says, under DICOM keywords and in DICOM units."""
    facts: dict[str, Any] = {}
    for key, keyword, factor in _FIELDS:
        if key in record:
            value = _scaled(record[key], 1 / factor)
            if value is not None:
                facts[keyword] = value
    if "Units" in record and isinstance(record["Units"], str):
        back = {bids: ucum for ucum, bids in _UNITS.items()}
        facts["Units"] = back.get(record["Units"], record["Units"])
    return facts


def _record(image_path: Path) -> dict[str, Any]:
    name = image_path.name.removesuffix(".gz")
    beside = image_path.with_name(name.rpartition(".")[0] + ".json")
    try:
        if not beside.is_file() or beside.stat().st_size > _LARGEST:
            return {}
        record = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def b_table(image: Image) -> tuple[str, str | None] | None:
    """The text of ``.bval`` and, where directions are known, ``.bvec``; None without an axis b.

    ``bvec`` is three rows in image axes (x, y, z), the first negated where the voxel axes
    (x, y, z) are right-handed, as FSL defines it. Directions are read from the attribute
    ``DiffusionGradientOrientation``, one LPS vector per entry of the axis ``b``.
    """
    import numpy as np

    values = next((a.values for a in image.axes if a.name == "b" and a.values), None)
    if values is None:
        return None
    bval = " ".join(f"{v:g}" for v in values) + "\n"
    directions = image.attributes.get("DiffusionGradientOrientation")
    if not isinstance(directions, (list, tuple)) or len(directions) != len(values):
        return bval, None
    vectors = np.array([d or (0.0, 0.0, 0.0) for d in directions], np.float64).reshape(-1, 3)
    axes = image.grid.direction[:, [2, 1, 0]]
    local = vectors @ np.linalg.inv(axes).T
    if np.linalg.det(axes) > 0:  # LPS to RAS turns two axes, so the sign is that of RAS
        local[:, 0] *= -1
    bvec = "\n".join(" ".join(f"{v:.6g}" for v in row) for row in local.T + 0.0) + "\n"
    return bval, bvec
