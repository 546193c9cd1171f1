"""Images as Enhanced CT, MR and PET, or Multi-frame Secondary Capture (PS3.3 A.8, A.36 to A.56)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.finding import Code
from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom import axes, carry, compose, iods, uid
from somascope.io.dicom.axes import Leading
from somascope.io.dicom.compose import Series
from somascope.io.dicom.encode import Encoder, coded, put
from somascope.io.dicom.functional import Frame, anatomy, arrange, derivation
from somascope.io.dicom.iods import Kind
from somascope.io.dicom.plane import Planes, thickness
from somascope.io.dicom.quantise import Stored
from somascope.io.dicom.units import real_world, rescale_type
from somascope.io.dicom.window import window

_FRAME_TYPE = {
    iods.ENHANCED_CT.iod: "CTImageFrameTypeSequence",
    iods.ENHANCED_MR.iod: "MRImageFrameTypeSequence",
    iods.ENHANCED_PT.iod: "PETFrameTypeSequence",
}


def instance(
    image: Image, *, stored: Stored, pixels: Array, series: Series, kind: Kind, place: Planes
) -> bytes:
    """The one Part 10 file of a multi-frame image; ``pixels`` ``(*leading, nz, ny, nx[, 3])``."""
    lead = axes.leading(image)
    own = Dataset()
    put(own, {"SOPInstanceUID": series.sop(0), "InstanceNumber": 1})
    put(own, _module(image, kind))
    put(own, compose.referenced(image.provenance, series.source_class))
    if kind.iod in _FRAME_TYPE:
        study = str(series.shared["StudyInstanceUID"].value)
        put(own, compose.evidence(image.provenance, series.source_class, study))
    date, time = carry.when(image.attributes)
    put(own, {"ContentDate": date, "ContentTime": time, "AcquisitionContextSequence": []})
    dimensions, frames = layout(image, lead, place)
    shared = derivation(image.provenance, series.sources)
    colour = any(a.name == "channel" for a in image.axes)
    if not colour:
        shared |= _value_groups(image, stored)
    if kind.iod in _FRAME_TYPE:
        words = ("PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique")
        extra = ("ComplexImageComponent", "AcquisitionContrast") if kind is iods.ENHANCED_MR else ()
        kept = {w: own[w].value for w in (*words, *extra)}
        shared[_FRAME_TYPE[kind.iod]] = [{"FrameType": own["ImageType"].value, **kept}]
        shared |= anatomy(image.attributes)
    else:
        for value in shared.get("PixelValueTransformationSequence", ()):
            put(own, value)
    if kind is iods.ENHANCED_CT:
        event = image.attributes.get("IrradiationEventUID") or uid.derive("event", series.frame)
        shared["IrradiationEventIdentificationSequence"] = [{"IrradiationEventUID": event}]
    if kind is iods.ENHANCED_PT:
        shared["RadiopharmaceuticalUsageSequence"] = [{"RadiopharmaceuticalAgentNumber": 1}]
    encoded = arrange(
        own,
        series,
        place=place,
        thickness=thickness(image, place),
        dimensions=dimensions,
        frames=frames,
        shared=shared,
    )
    merged = Dataset()
    merged.update(series.shared)
    merged.update(own)
    carry.complete(merged, kind.iod)
    return Encoder(merged, encoded=encoded).part10(
        Dataset(), [np.ascontiguousarray(pixels).data.cast("B")]
    )


def layout(image: Image, lead: Leading, place: Planes) -> tuple[list[str], list[Frame]]:
    """Dimensions and frames of an image: leading axes first, slices last."""
    frames = [
        Frame(
            position=place.positions[z],
            index=(*(i + 1 for i in index), 1, z + 1),
            content={
                "StackID": "1",
                "InStackPositionNumber": z + 1,
                "TemporalPositionIndex": axes.moment(lead, index),
            },
            groups=axes.groups(lead, index),
        )
        for index in product(*map(range, lead.sizes))
        for z in range(image.grid.shape[0])
    ]
    return [*lead.dimensions, "StackID", "InStackPositionNumber"], frames


def _value_groups(image: Image, stored: Stored) -> dict[str, Any]:
    centre, width = window(image.data, modality=image.modality, attributes=image.attributes)
    shown: dict[str, Any] = {"WindowCenter": centre, "WindowWidth": width}
    if width < 1 or not stored.exact:
        shown["VOILUTFunction"] = "LINEAR_EXACT"
    result: dict[str, Any] = {
        "PixelValueTransformationSequence": [
            {
                "RescaleIntercept": stored.intercept,
                "RescaleSlope": stored.slope,
                "RescaleType": rescale_type(image.unit),
            }
        ],
        "FrameVOILUTSequence": [shown],
    }
    # Where a CT says nothing, or "unspecified", Hounsfield units are understood.
    if image.unit != "1" or image.modality == "CT":
        result["RealWorldValueMappingSequence"] = [
            real_world(
                image.unit,
                slope=stored.slope,
                intercept=stored.intercept,
                ends=(int(stored.values.min()), int(stored.values.max())),
                vr="SS" if stored.signed else "US",
            )
        ]
    return result


def _module(image: Image, kind: Kind) -> dict[str, Any]:
    burned = image.attributes.get("BurnedInAnnotation") or "NO"
    lossy = image.attributes.get("LossyImageCompression") or "00"
    common = {
        "BurnedInAnnotation": burned,
        "LossyImageCompression": lossy,
        "PresentationLUTShape": "IDENTITY",
    }
    if kind.iod not in _FRAME_TYPE:
        secondary = {
            **common,
            "ImageType": ["DERIVED", "SECONDARY"],
            "ConversionType": "WSD",
            "FrameIncrementPointer": 0x52009230,
            "Laterality": image.attributes.get("Laterality"),
            "PatientOrientation": image.attributes.get("PatientOrientation"),
        }
        if kind.colour:
            del secondary["PresentationLUTShape"]
        return secondary
    result = {
        **common,
        # Said to be derived even where no step was applied: the scanner's own details that an
        # original must state are not all known once its single frames were put together.
        "ImageType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ContentQualification": "RESEARCH",
        **_equipment(image.attributes),
    }
    if kind is not iods.ENHANCED_PT:
        result["PatientPosition"] = image.attributes.get("PatientPosition")
    if kind is iods.ENHANCED_CT and "LOCALIZER" in str(image.attributes.get("ImageType")):
        result["ImageType"] = ["DERIVED", "PRIMARY", "LOCALIZER", "NONE"]
    if kind is iods.ENHANCED_MR:
        result |= {
            "ComplexImageComponent": "MAGNITUDE",
            "AcquisitionContrast": "UNKNOWN",
            "ApplicableSafetyStandardAgency": "IEC",
        }
    if kind is iods.ENHANCED_PT:
        result |= _pet(image)
    return result


def _equipment(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Enhanced General Equipment (Type 1): what is not known is said to be so."""
    ours = not attributes.get("Manufacturer")
    return {
        "Manufacturer": attributes.get("Manufacturer") or "Somascope",
        "ManufacturerModelName": attributes.get("ManufacturerModelName")
        or ("Somascope" if ours else "unknown"),
        "DeviceSerialNumber": attributes.get("DeviceSerialNumber") or "unknown",
        "SoftwareVersions": attributes.get("SoftwareVersions")
        or (__version__ if ours else "unknown"),
    }


_CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}
"""Enhanced PET's flags, and the terms of Corrected Image (0028,0051) that stand for them."""


def _pet(image: Image) -> dict[str, Any]:
    done = image.attributes.get("CorrectedImage") or ()
    done = done.split("\\") if isinstance(done, str) else done
    flags = {k: "YES" if v in done else "NO" for k, v in _CORRECTIONS.items()}
    tracers = image.attributes["RadiopharmaceuticalInformationSequence"]
    return {
        **flags,
        "RadiopharmaceuticalInformationSequence": [
            {**t, "RadiopharmaceuticalAgentNumber": i + 1} for i, t in enumerate(tracers)
        ],
        "CountsSource": image.attributes.get("CountsSource") or "EMISSION",
        "TableMotion": "STATIC",
        "ViewCodeSequence": [coded(Code("24422004", "SCT", "Axial"))],
        "TimeOfFlightInformationUsed": "FALSE",
    }
