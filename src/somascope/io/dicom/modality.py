"""What each kind of image says beyond its pixels and place (PS3.3 C.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somascope.core.image import Image
from somascope.io.dicom import carry, iods, nuclear, pet, radiograph, regions, suv
from somascope.io.dicom.compose import image_type
from somascope.io.dicom.iods import Kind
from somascope.io.dicom.plane import Planes
from somascope.io.dicom.units import PET_UNITS

_CONDITIONAL = {
    iods.CT.iod: ("Laterality", "PatientPosition"),
    iods.MR.iod: ("Laterality", "PatientPosition", "RepetitionTime"),
    iods.PT.iod: ("Laterality",),
    iods.NM.iod: ("Laterality",),
    iods.DX.iod: (),
}
"""Type 2C attributes whose condition holds or cannot be judged: written empty where unknown."""


def facts(image: Image, *, kind: Kind, planes: Planes) -> dict[str, Any]:
    """Attributes of the modality's own modules, shared by all instances of the series."""
    makers = {
        iods.CT.iod: _ct,
        iods.MR.iod: _mr,
        iods.PT.iod: _pt,
        iods.NM.iod: _nm,
        iods.US.iod: _us,
        iods.US_FILM.iod: _us,
        iods.DX.iod: radiograph.facts,
        iods.CR.iod: _cr,
        **{k.iod: _film for k in (iods.SC_FILM_BYTES, iods.SC_FILM_WORDS, iods.SC_FILM_COLOUR)},
    }
    result = makers.get(kind.iod, _sc)(image, planes)
    for keyword in _CONDITIONAL.get(kind.iod, ("Laterality", "PatientOrientation")):
        result.setdefault(keyword, image.attributes.get(keyword))
    return result


def _pick(image: Image, default: Mapping[str, Any]) -> dict[str, Any]:
    """``default`` with the values that the image knows better."""
    return {k: image.attributes.get(k) or v for k, v in default.items()}


def _third(image: Image, default: str) -> str:
    kept = image.attributes.get("ImageType")
    values = kept.split("\\") if isinstance(kept, str) else list(kept or ())
    return str(values[2]) if len(values) > 2 and values[2] else default


def _type(image: Image, *rest: str, primary: bool = False) -> list[str]:
    return image_type(image.provenance, image.attributes, rest=rest, primary=primary)


def _ct(image: Image, planes: Planes) -> dict[str, Any]:
    del planes
    scout = _third(image, "AXIAL") == "LOCALIZER"
    return {"ImageType": _type(image, "LOCALIZER" if scout else "AXIAL")}


def _mr(image: Image, planes: Planes) -> dict[str, Any]:
    del planes
    # Inversion Time is for inversion recovery alone (PS3.3 C.8.3.1).
    sequence = "IR" if any(a.name == "ti" for a in image.axes) else "RM"
    chosen = _pick(image, {"ScanningSequence": sequence, "SequenceVariant": "NONE"})
    return {"ImageType": _type(image, _third(image, "OTHER")), **chosen}


def _pt(image: Image, planes: Planes) -> dict[str, Any]:
    del planes
    times = [n for a, n in zip(image.axes, image.shape, strict=False) if a.name == "t"]
    date, time = carry.when(image.attributes, "Series")
    own = image.unit.partition("{SUV")[0]
    unit = PET_UNITS.get(own) or image.attributes.get("Units") or "NONE"
    result = {
        "ImageType": _type(image, "IMAGE", primary=True),
        "SeriesDate": date,
        "SeriesTime": time,
        "Units": unit if own in PET_UNITS or image.unit == "1" else "NONE",
        "SeriesType": ["DYNAMIC" if times else "STATIC", "IMAGE"],
        "NumberOfSlices": image.grid.shape[0],
        "FrameReferenceTime": pet.frame_reference_time(image.attributes),
        **pet.orientation(str(image.attributes.get("PatientPosition") or "")),
        **_pick(image, {"CountsSource": "EMISSION", "DecayCorrection": "NONE"}),
    }
    if times:
        result["NumberOfTimeSlices"] = times[0]
    relative = suv.type_of(image.unit)
    if relative is not None:
        result["SUVType"] = relative
    if result["DecayCorrection"] != "NONE":
        result["DecayFactor"] = image.attributes.get("DecayFactor") or 1
    return result


def _nm(image: Image, planes: Planes) -> dict[str, Any]:
    tomo = image.grid.shape[0] > 1
    shape = nuclear.form(image)
    detector = {
        "ImageOrientationPatient": planes.orientation,
        "ImagePositionPatient": planes.positions[0],
        "CollimatorType": image.attributes.get("CollimatorType"),
        "FocalDistance": image.attributes.get("FocalDistance"),
    }
    grid_name = image.attributes.get("CollimatorGridName")
    if grid_name:
        detector["CollimatorGridName"] = grid_name
    result: dict[str, Any] = {
        "ImageType": _type(image, shape.kind, "EMISSION", primary=True),
        **shape.facts(image.grid.shape[0]),
        "EnergyWindowInformationSequence": image.attributes.get("EnergyWindowInformationSequence")
        or [],
        "DetectorInformationSequence": [detector],
        "CountsAccumulated": image.attributes.get("CountsAccumulated"),
    }
    if tomo:
        result |= {
            "RotationInformationSequence": image.attributes.get("RotationInformationSequence")
            or [],
            "SpacingBetweenSlices": planes.distance,
            "ImageOrientationPatient": planes.orientation,
            "ImagePositionPatient": planes.positions[0],
        }
    elif shape.kind == "TOMO":
        turns = image.attributes.get("RotationInformationSequence") or []
        result["RotationInformationSequence"] = turns
        if turns and turns[0].get("StartAngle") is not None:
            detector["StartAngle"] = turns[0]["StartAngle"]
    elif shape.kind == "STATIC":
        # Type 1C, and unknown for images that no camera took: the shortest there is.
        result["ActualFrameDuration"] = image.attributes.get("ActualFrameDuration") or 1
    return result


def _us(image: Image, planes: Planes) -> dict[str, Any]:
    dy, dx = planes.spacing
    _, ny, nx = image.grid.shape
    colour = any(a.name == "channel" for a in image.axes)
    region = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionFlags": 0,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": nx - 1,
        "RegionLocationMaxY1": ny - 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": dx / 10,
        "PhysicalDeltaY": dy / 10,
        # The first pixel's place along rows and columns: a film has no Image Position.
        "ReferencePixelX0": 0,
        "ReferencePixelY0": 0,
        "ReferencePixelPhysicalValueX": float(image.grid.direction[:, 2] @ image.grid.origin) / 10,
        "ReferencePixelPhysicalValueY": float(image.grid.direction[:, 1] @ image.grid.origin) / 10,
    }
    if image.attributes.get("TransducerFrequency"):
        region["TransducerFrequency"] = int(image.attributes["TransducerFrequency"])
    return {
        "ImageType": _type(image, _third(image, "ABDOMINAL"), "0001"),
        "SequenceOfUltrasoundRegions": regions.spectrum_of(image.attributes, image.grid.shape)
        or [region],
        "UltrasoundColorDataPresent": int(colour),
        "LossyImageCompression": image.attributes.get("LossyImageCompression") or "00",
    }


def _cr(image: Image, planes: Planes) -> dict[str, Any]:
    del planes
    return {"ImageType": _type(image)}


def _sc(image: Image, planes: Planes) -> dict[str, Any]:
    del planes
    burned = image.attributes.get("BurnedInAnnotation")
    return {
        "ImageType": _type(image),
        "ConversionType": "WSD",
        **({"BurnedInAnnotation": burned} if burned else {}),
    }


def _film(image: Image, planes: Planes) -> dict[str, Any]:
    colour = any(a.name == "channel" for a in image.axes)
    return {
        **_sc(image, planes),
        "BurnedInAnnotation": image.attributes.get("BurnedInAnnotation") or "NO",
        **({} if colour else {"PresentationLUTShape": "IDENTITY"}),
    }
