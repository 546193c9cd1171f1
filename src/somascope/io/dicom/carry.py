"""What a new series keeps of the patient, the study and the acquisition it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from somascope.core.provenance import Provenance
from somascope.io.dicom import uid
from somascope.io.dicom.encode import element
from somascope.io.dicom.iods import known, mandatory

CONTEXT = frozenset(
    known("secondary-capture-image")
    & {
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
        *("PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "EthnicGroup"),
        *("PatientComments", "PatientIdentityRemoved", "DeidentificationMethod"),
        *("PatientSpeciesDescription", "PatientBreedDescription", "ResponsiblePerson"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
        *("AccessionNumber", "ReferringPhysicianName", "BodyPartExamined", "PatientPosition"),
        *("Laterality", "InstitutionName", "InstitutionAddress", "StationName"),
        *("InstitutionalDepartmentName", "ProtocolName", "Manufacturer", "DeviceSerialNumber"),
        *("ManufacturerModelName", "SoftwareVersions", "PositionReferenceIndicator"),
    }
)
"""Kept whatever the new series is."""

_OWN_PREFIXES = ("Overlay", "Smallest", "Largest", "PixelPadding", "LUT", "Frame")
_OWN_WORDS = """
    SpecificCharacterSet ImageType InstanceCreationDate InstanceCreationTime InstanceCreatorUID
    SOPClassUID SOPInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription InstanceNumber
    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SliceLocation
    SpacingBetweenSlices FrameOfReferenceUID TemporalPositionIdentifier TemporalResolution
    NumberOfTemporalPositions Rows Columns SamplesPerPixel PhotometricInterpretation
    PlanarConfiguration BitsAllocated BitsStored HighBit PixelRepresentation WindowCenter
    WindowWidth WindowCenterWidthExplanation VOILUTFunction VOILUTSequence ModalityLUTSequence
    ModalityLUTType RescaleSlope RescaleIntercept RescaleType RealWorldValueMappingSequence
    IconImageSequence SourceImageSequence DerivationDescription DerivationCodeSequence
    ContributingEquipmentSequence ReferencedImageSequence ImagesInAcquisition Modality
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelData FloatPixelData
    DimensionOrganizationSequence DimensionIndexSequence ImageIndex SliceVector PixelAspectRatio
    EnergyWindowVector DetectorVector RotationVector PhaseVector TimeSlotVector TimeSliceVector
    RRIntervalVector AngularViewVector PixelSpacingCalibrationType LossyImageCompression
    PixelSpacingCalibrationDescription PresentationLUTShape ICCProfile ColorSpace
    StudiesContainingOtherReferencedInstancesSequence
    DimensionOrganizationType ReferencedSeriesSequence MACParametersSequence
    DigitalSignaturesSequence EncryptedAttributesSequence
    OriginalAttributesSequence ConversionSourceAttributesSequence PixelDataProviderURL
    ReferencedPerformedProcedureStepSequence RequestAttributesSequence ReferencedStudySequence
    SOPInstanceStatus InstanceNumber ExtendedOffsetTable ExtendedOffsetTableLengths Units
    DoubleFloatPixelData LossyImageCompressionRatio LossyImageCompressionMethod SeriesType
    PixelPresentation VolumetricProperties VolumeBasedCalculationTechnique ConcatenationUID
    InConcatenationNumber InConcatenationTotalNumber SOPInstanceUIDOfConcatenationSource
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData PaletteColorLookupTableUID
    SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
    SegmentedBluePaletteColorLookupTableData ImagerPixelSpacing NominalScannedPixelSpacing
    SequenceOfUltrasoundRegions DetectorInformationSequence FrameTime FrameTimeVector
    NumberOfFrames NumberOfSlices NumberOfTimeSlices NumberOfTimeSlots NumberOfPhases
    NumberOfRRIntervals NumberOfRotations NumberOfDetectors NumberOfEnergyWindows
    CineRate RecommendedDisplayFrameRate ContentDate ContentTime
"""
_OWN = frozenset(_OWN_WORDS.split())
"""Said anew by the writer: facts about the old pixels, never about the new ones."""


def carried(attributes: Mapping[str, Any], iod: str) -> Dataset:
    """The attributes an IOD has a place for, without those the writer says anew."""
    allowed = known(iod) | CONTEXT
    result = Dataset()
    for keyword, value in attributes.items():
        if keyword in allowed and keyword not in _OWN and not keyword.startswith(_OWN_PREFIXES):
            item = element(keyword, value)
            if not item.is_empty:
                result.add(item)
    return result


def context(attributes: Mapping[str, Any], provenance: Provenance) -> dict[str, Any]:
    """Patient and study, made up (the same each time) where the image has none.

    A phantom or a file without a patient becomes the patient ``Somascope^<name>``, with UIDs
    derived from that name, so that everything made from it lies in one study.
    """
    name = provenance.sources[0].name if provenance.sources else "Unnamed"
    label = name.rsplit("/", 1)[-1].split(".")[0].replace("^", " ")[:40] or "Unnamed"
    patient = attributes.get("PatientID") or attributes.get("PatientName")
    result: dict[str, Any] = {}
    if not patient:
        result["PatientName"] = f"Somascope^{label}"
        result["PatientID"] = f"SOMASCOPE-{label}"
    elif not attributes.get("PatientID"):
        result["PatientID"] = f"SOMASCOPE-{patient}"
    if not uid.is_usable(str(attributes.get("StudyInstanceUID") or "")):
        result["StudyInstanceUID"] = uid.derive("study", str(patient or ""), name)
        if not attributes.get("StudyDescription"):
            result["StudyDescription"] = label
    return result


def when(attributes: Mapping[str, Any], *names: str) -> tuple[str, str]:
    """The first known date and its time; 1970-01-01 where none is, since some types forbid none."""
    for name in (*names, "Content", "Acquisition", "Series", "Study"):
        date = element(f"{name}Date", attributes.get(f"{name}Date")).value
        if date:
            time = element(f"{name}Time", attributes.get(f"{name}Time")).value
            return str(date), str(time or "000000")
    return "19700101", "000000"


def complete(target: Dataset, iod: str) -> None:
    """Add the Type 2 attributes of the mandatory modules that are missing, empty."""
    for keyword, kind in mandatory(iod).items():
        if kind == 2 and keyword not in target:
            target.add(element(keyword, None))


def facts(dataset: Dataset) -> dict[str, Any]:
    """Patient, study and equipment of a dataset under their keywords, in JSON types."""
    result: dict[str, Any] = {}
    for keyword in sorted(CONTEXT):
        item = dataset.get(keyword)
        if item is None or item == "":
            continue
        if hasattr(item, "append"):
            result[keyword] = [str(v) for v in item]
        else:
            result[keyword] = float(item) if isinstance(item, float) else str(item)
    return result
