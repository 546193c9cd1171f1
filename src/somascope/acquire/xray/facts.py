"""DICOM attributes of a radiograph, and what it keeps of the examination it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somascope.acquire.xray.projection import Projection
from somascope.core.errors import ParameterError
from somascope.core.image import Image

_KEPT = (
    "AccessionNumber", "ReferringPhysicianName", "BodyPartExamined", "FrameOfReferenceUID",
    "InstitutionName", "PositionReferenceIndicator", "Manufacturer", "SeriesDescription",
    "IssuerOfPatientID", "Laterality", "ProtocolName", "DeviceSerialNumber",
)  # fmt: skip


def examination(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Patient, study and frame of reference; nothing of the way the other image was made."""
    return {
        k: v
        for k, v in attributes.items()
        if (k.startswith(("Patient", "Study")) and k != "PatientOrientation") or k in _KEPT
    }


def geometry(projection: Projection, view: int, *, position: str = "") -> dict[str, Any]:
    """Distances, magnification and pixel pitch of one view (PS3.3 C.8.11.4, C.8.11.5)."""
    to_detector, to_centre = projection.distances(view)
    pitch = projection.detector(view).spacing[1:]
    facts: dict[str, Any] = {
        "DistanceSourceToDetector": round(to_detector, 4),
        "DistanceSourceToPatient": round(to_centre, 4),
        "EstimatedRadiographicMagnificationFactor": round(to_detector / to_centre, 6),
        "ImagerPixelSpacing": [float(p) for p in pitch],
    }
    if position:
        facts["ViewPosition"] = position
    return facts


def one_plane(image: Image, operation: str) -> None:
    """Refuse what is not a single radiograph of real, finite values."""
    import numpy as np

    if image.data.ndim != 3 or image.grid.shape[0] != 1:
        raise ParameterError(
            f"{operation} works on one radiograph and this image is {image.data.shape} "
            f"({' '.join(image.axis_names)}); take one plane of it"
        )
    if image.data.dtype.kind == "c":
        raise ParameterError(f"{operation} needs real values, not {image.data.dtype}")
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        bad = int((~np.isfinite(image.data)).sum())
        raise ParameterError(
            f"{operation}: {bad} pixels are NaN or infinite; correct the raw data "
            "(acquire.xray.correct) or fill them first"
        )


def real_plane(image: Image, operation: str) -> None:
    """Refuse complex and missing values, and colour; any shape."""
    import numpy as np

    if image.data.dtype.kind == "c" or "channel" in image.axis_names:
        raise ParameterError(
            f"{operation} needs grey values and this image is {image.data.dtype} with axes "
            f"{' '.join(image.axis_names)}"
        )
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        bad = int((~np.isfinite(image.data)).sum())
        raise ParameterError(f"{operation}: {bad} pixels are NaN or infinite; fill them first")
