"""What a Digital X-Ray image says beyond its pixels and place (PS3.3 C.8.11)."""

from __future__ import annotations

from typing import Any

from somascope.core.finding import Code
from somascope.core.image import Image
from somascope.io.dicom import iods
from somascope.io.dicom.compose import image_type
from somascope.io.dicom.encode import coded
from somascope.io.dicom.plane import Planes
from somascope.io.dicom.quantise import Stored

_REGIONS = {
    "CHEST": ("816094009", "Chest"),
    "ABDOMEN": ("818981001", "Abdomen"),
    "HEAD": ("69536005", "Head"),
    "SKULL": ("89546000", "Skull"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"),
    "SPINE": ("421060004", "Spine"),
    "CSPINE": ("122494005", "Cervical spine"),
    "TSPINE": ("122495006", "Thoracic spine"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "SHOULDER": ("16982005", "Shoulder"),
    "ELBOW": ("16953009", "Elbow joint"),
    "WRIST": ("74670003", "Wrist joint"),
    "HAND": ("85562004", "Hand"),
    "HIP": ("29836001", "Hip"),
    "KNEE": ("72696002", "Knee"),
    "ANKLE": ("70258002", "Ankle joint"),
    "FOOT": ("56459004", "Foot"),
    "BREAST": ("76752008", "Breast"),
    "HEART": ("80891009", "Heart"),
    "EXTREMITY": ("66019005", "Extremity"),
}
"""Body Part Examined (PS3.16 annex L) in SNOMED CT (CID 4031)."""


def facts(image: Image, planes: Planes) -> dict[str, Any]:
    """What every radiograph says: for whom it is, its pitch, its polarity, what it shows."""
    chosen = {
        "ImageLaterality": "U",
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "BurnedInAnnotation": "NO",
        "PatientOrientation": ["L", "F"],
    }
    return {
        "ImageType": image_type(image.provenance, image.attributes, rest=[""], primary=False),
        "PresentationIntentType": (
            "FOR PROCESSING" if iods.for_processing(image) else "FOR PRESENTATION"
        ),
        "PresentationLUTShape": "INVERSE" if iods.inverse(image) else "IDENTITY",
        **_pitch(image, planes),
        "LossyImageCompression": image.attributes.get("LossyImageCompression") or "00",
        **{k: image.attributes.get(k) or v for k, v in chosen.items()},
        **_region(image),
        **_positioner(image),
    }


def _pitch(image: Image, planes: Planes) -> dict[str, Any]:
    """Imager Pixel Spacing, and how Pixel Spacing came from it (PS3.3 10.7.1.3, C.8.11.4).

    The detector's pitch is kept where the pixels are still its own: at its plane, or brought to
    the patient's by the known magnification. Otherwise the image was resampled, and its spacing is
    the pitch there is.
    """
    known = image.attributes.get("ImagerPixelSpacing")
    spacing = planes.spacing
    if not isinstance(known, (list, tuple)) or len(known) != 2:
        return {"ImagerPixelSpacing": spacing}
    ratios = [float(s) / float(k) for s, k in zip(spacing, known, strict=True)]
    if all(abs(r - 1) < 1e-3 for r in ratios):
        return {"ImagerPixelSpacing": known}
    magnified = float(image.attributes.get("EstimatedRadiographicMagnificationFactor") or 1)
    if magnified != 1 and all(abs(r * magnified - 1) < 1e-3 for r in ratios):
        return {
            "ImagerPixelSpacing": known,
            "PixelSpacingCalibrationType": "GEOMETRY",
            "PixelSpacingCalibrationDescription": (
                f"Divided by the magnification {magnified:g} of the patient's middle"
            ),
        }
    if not image.provenance.steps:
        kind = image.attributes.get("PixelSpacingCalibrationType") or "GEOMETRY"
        return {
            "ImagerPixelSpacing": known,
            "PixelSpacingCalibrationType": kind,
            "PixelSpacingCalibrationDescription": "As in the source",
        }
    return {"ImagerPixelSpacing": spacing}


def detector_bits(image: Image, stored: Stored) -> int:
    """Bits Stored of a radiograph: the detector's or the P-values', where the values keep to them.

    Values that were rounded to 16 bits use all of these.
    """
    try:
        said = int(image.attributes.get("BitsStored") or stored.bits)
    except (TypeError, ValueError):
        said = stored.bits
    fits = stored.exact and stored.slope == 1 and stored.intercept == 0
    if not (fits and 6 <= said <= stored.bits and int(stored.values.max()) < 2**said):
        return stored.bits
    return said


def _region(image: Image) -> dict[str, Any]:
    """Anatomic Region Sequence, which may not be empty where the body part is known."""
    if image.attributes.get("AnatomicRegionSequence"):
        return {}
    found = _REGIONS.get(str(image.attributes.get("BodyPartExamined") or "").upper())
    return {"AnatomicRegionSequence": [coded(Code(found[0], "SCT", found[1]))]} if found else {}


def _positioner(image: Image) -> dict[str, Any]:
    """Positioner Type, which DX Positioning asks for (Type 2) as soon as anything of it is said."""
    words = ("DistanceSourceToDetector", "DistanceSourceToPatient", "ViewPosition")
    said = (*words, "EstimatedRadiographicMagnificationFactor")
    if not any(image.attributes.get(w) for w in said):
        return {}
    return {"PositionerType": image.attributes.get("PositionerType")}
