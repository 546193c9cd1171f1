"""What a SPECT scan says of itself in DICOM's words (PS3.3 C.8.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from somascope.acquire.spect.camera import Camera, Pinhole, Window
from somascope.acquire.spect.nuclides import Emitter
from somascope.core.errors import ParameterError
from somascope.core.grid import Float
from somascope.io.dicom import suv

_KEPT = (
    "AccessionNumber", "ReferringPhysicianName", "BodyPartExamined", "FrameOfReferenceUID",
    "InstitutionName", "PositionReferenceIndicator", "IssuerOfPatientID", "ProtocolName",
    "SeriesDescription", "SeriesNumber", "AcquisitionDate", "AcquisitionTime", "Manufacturer",
    "SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "DeviceSerialNumber",
    "RadiopharmaceuticalInformationSequence", "ManufacturerModelName",
)  # fmt: skip


def examination(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Patient, study, tracer and time; nothing of the way another image was made."""
    return {k: v for k, v in attributes.items() if k.startswith(("Patient", "Study")) or k in _KEPT}


def tracer(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first item of Radiopharmaceutical Information Sequence, or nothing."""
    items = attributes.get("RadiopharmaceuticalInformationSequence") or ()
    first = items[0] if isinstance(items, (list, tuple)) and items else {}
    return first if isinstance(first, Mapping) else {}


def emitter(found: Emitter, given: Mapping[str, Any]) -> dict[str, Any]:
    """Radiopharmaceutical Information Sequence: what is known of the tracer, and the nuclide."""
    item = {
        **tracer(given),
        "RadionuclideHalfLife": found.half_life,
        "RadionuclideCodeSequence": [
            {"CodeValue": found.code[0], "CodingSchemeDesignator": "SCT",
             "CodeMeaning": found.code[1]}
        ],
    }  # fmt: skip
    return {"RadiopharmaceuticalInformationSequence": [item]}


def camera_facts(camera: Camera) -> dict[str, Any]:
    """Collimator and energy windows, as attributes."""
    return {
        "CollimatorType": "PINH" if isinstance(camera.collimator, Pinhole) else "PARA",
        "CollimatorGridName": camera.collimator.name[:16],
        "EnergyWindowInformationSequence": [energy(w) for w in camera.windows],
    }


def energy(window: Window) -> dict[str, Any]:
    """An item of Energy Window Information Sequence (PS3.3 C.8.4.7)."""
    limits = {
        "EnergyWindowLowerLimit": round(window.low, 3),
        "EnergyWindowUpperLimit": round(window.high, 3),
    }
    return {"EnergyWindowName": window.name[:16], "EnergyWindowRangeSequence": [limits]}


def rotation(
    angles: Float, radius: Float, seconds: Float, *, table_height: float = 0.0
) -> dict[str, Any]:
    """An item of Rotation Information Sequence (PS3.3 C.8.4.11) for views one step apart.

    Raises
    ------
    ParameterError
        Angles that are not even: DICOM has one step for a rotation.
    """
    degrees = np.rad2deg(np.asarray(angles, np.float64))
    steps = np.diff(degrees)
    step = float(steps.mean()) if steps.size else 0.0
    if steps.size and np.abs(steps - step).max() > 0.05 * max(abs(step), 1e-3):
        raise ParameterError(
            f"the views are not one step apart (steps of {steps.min():.3g} to {steps.max():.3g} "
            "degrees); DICOM's rotation has one angular step. Keep the scan as raw data (.h5)"
        )
    return {
        "TableHeight": table_height,
        "RotationDirection": "CC" if step >= 0 else "CW",
        "RadialPosition": [round(float(r), 3) for r in np.asarray(radius)],
        "StartAngle": round(float(degrees[0]) % 360.0, 6),
        "AngularStep": round(abs(step), 6),
        "ScanArc": round(abs(step) * len(degrees), 4),
        "ActualFrameDuration": round(float(np.mean(seconds)) * 1000),
        "NumberOfFramesInRotation": len(degrees),
    }


def decay_factor(attributes: Mapping[str, Any], reference: str) -> float:
    """What takes activity at the scan's start to the ``reference``: scan start, or injection.

    Raises
    ------
    ParameterError
        The time of injection, of the scan or the half-life is not known.
    """
    if reference == "scan start":
        return 1.0
    half_life = suv.number(tracer(attributes), "RadionuclideHalfLife")
    scan = suv.when(attributes, "Acquisition") or suv.when(attributes, "Series")
    given = tracer(attributes)
    known = any(given.get(f"RadiopharmaceuticalStart{w}") for w in ("Time", "DateTime"))
    injected = suv.injected(attributes, scan) if scan is not None and known else None
    if not half_life or scan is None or injected is None:
        missing = [
            word
            for word, value in (
                ("RadionuclideHalfLife", half_life or None),
                ("AcquisitionDate and AcquisitionTime", scan),
                ("RadiopharmaceuticalStartTime", injected),
            )
            if value is None
        ]
        raise ParameterError(
            f"activity at the time of injection needs {', '.join(missing)}, which this "
            "acquisition does not have; choose the scan's start"
        )
    if injected > scan:
        raise ParameterError(
            f"the injection ({injected}) is later than the scan ({scan}); check the times"
        )
    return float(2.0 ** ((scan - injected) / timedelta(seconds=half_life)))
