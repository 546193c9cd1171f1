"""What a new series keeps of the patient, the study and the acquisition it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from somascope.core.provenance import Provenance
from somascope.io.dicom import uid
from somascope.io.dicom.encode import allows, element
from somascope.io.dicom.iods import known, mandatory, table

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

_BINARY = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW", "AT", "US or OW"))
_WORDS = frozenset(("CS", "LO", "SH", "PN", "UI", "DA", "TM", "DT", "AS", "ST", "LT", "UT", "AE"))
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


def without_equipment(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Facts less those of the scanner: segmentations and registrations are made by us."""
    equipment = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
    return {k: v for k, v in attributes.items() if k not in equipment}


def tidy(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are DICOM's and whose values fit; what a writer may rely on.

    Gradient directions of several volumes (a list of lists) stay as they are.
    """
    result: dict[str, Any] = {}
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword) if keyword else None
        if tag is None or dictionary_VR(tag) in _BINARY:
            continue
        if dictionary_VR(tag) == "SQ":
            given = [value] if isinstance(value, Mapping) else value
            items = given if isinstance(given, (list, tuple)) else ()
            inner = [tidy(i) for i in items if isinstance(i, Mapping)]
            if inner and all(inner):
                result[keyword] = inner
        elif keyword == "DiffusionGradientOrientation" and _nested(value):
            result[keyword] = value
        else:
            item = element(keyword, value)
            if item.is_empty or not allows(dictionary_VM(item.tag), item.VM):
                continue
            if item.VR == "UI" and not _trusted(keyword, str(item.value)):
                continue
            if isinstance(value, (list, tuple)) and dictionary_VM(item.tag) == "1":
                value = value[0]  # noqa: PLW2901
            result[keyword] = _text(value) if item.VR in _WORDS else value
    return result


def _text(value: Any) -> Any:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else str(value)


def _trusted(keyword: str, value: str) -> bool:
    return uid.is_usable(value) if keyword in _FOREIGN_UIDS else uid.is_valid(value)


def _nested(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, (list, tuple)) for v in value)


def carried(attributes: Mapping[str, Any], iod: str) -> Dataset:
    """The (tidy) attributes an IOD has a place for, without those the writer says anew."""
    allowed = known(iod) | CONTEXT
    result = Dataset()
    for keyword, value in attributes.items():
        if keyword in allowed and keyword not in _OWN and not keyword.startswith(_OWN_PREFIXES):
            item = element(keyword, value)
            if item.is_empty:
                continue
            if item.VR == "SQ" and not _mended(item.value, _branch(iod, keyword)):
                continue
            result.add(item)
    return result


_CODED = {"type1": "CodeValue CodingSchemeDesignator CodeMeaning"}
_FOREIGN_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")


def _branch(iod: str, keyword: str) -> Mapping[str, Any]:
    if keyword.endswith("CodeSequence"):
        return _CODED
    modules = table()["modules"]
    found = (modules[m].get("within", {}).get(keyword) for m in table()["iods"][iod])
    return next((b for b in found if b), {})


def _mended(items: Sequence[Dataset], branch: Mapping[str, Any]) -> bool:
    """Add missing Type 2 attributes, empty; False where a Type 1 attribute or a code is missing.

    Sequences come as far as the reader keeps them, which may be less than the standard asks.
    """
    for item in items:
        for word in branch.get("type2", "").split():
            if word not in item:
                item.add(element(word, None))
        if any(w not in item or item[w].is_empty for w in branch.get("type1", "").split()):
            return False
        for inner in list(item):
            if inner.VR != "SQ":
                continue
            below = branch.get("within", {}).get(inner.keyword, {})
            if inner.keyword.endswith("CodeSequence"):
                below = _CODED
            if not _mended(inner.value, below):
                return False
    return True


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
