"""Composite objects of every kind, made here: what is in them matters less than that it stays."""

from __future__ import annotations

import io
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from somascope.io.dicom.header_tables import needs_pixels

STORAGE = "1.2.840.10008.5.1.4.1.1."
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
STUDY = "1.2.826.0.1.3680043.10.1743.8"
RAW = STORAGE + "66"
PRIVATE = 0x00231010
"""Where `raw_data` keeps its samples."""


def classes() -> list[str]:
    """Composite storage classes of patients' studies, images left out."""
    return [
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith(STORAGE) and "Storage" in name
        and not needs_pixels(uid)
    ]  # fmt: skip


def part10(dataset: Dataset, *, syntax: str = EXPLICIT) -> bytes:
    """A Part 10 file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def bare(sop_class: str, number: int, modality: str = "OT", **more: Any) -> Dataset:
    """Patient, study, series and SOP common attributes, and what else is given."""
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    d.SOPClassUID, d.SOPInstanceUID = sop_class, f"{STUDY}.{number}.1"
    d.StudyInstanceUID, d.SeriesInstanceUID = STUDY, f"{STUDY}.{number}"
    d.PatientID, d.PatientName = "OBJ1", "Object^Kinds"
    d.PatientBirthDate, d.PatientSex = "19700101", "O"
    d.StudyDate, d.StudyTime, d.AccessionNumber, d.StudyID = "20260203", "101112", "A1", "1"
    d.ReferringPhysicianName, d.Manufacturer = "", "Somascope"
    d.Modality, d.SeriesNumber, d.InstanceNumber = modality, number, 1
    for keyword, value in more.items():
        setattr(d, keyword, value)
    return d


def _item(**values: Any) -> Dataset:
    d = Dataset()
    for keyword, value in values.items():
        setattr(d, keyword, value)
    return d


def _code(value: str, meaning: str) -> Sequence:
    return Sequence([_item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)])


def raw_data(samples: bytes, *, number: int = 66, syntax: str = EXPLICIT) -> bytes:
    """Raw Data (PS3.3 A.37) whose samples are a private OB element behind a private creator."""
    d = bare(RAW, number, "MR", InstanceCreationDate="20260203", CreatorVersionUID=f"{STUDY}.99")
    d.AcquisitionContextSequence = Sequence([])
    d.add_new(0x00230010, "LO", "SOMASCOPE TEST")
    d.add_new(PRIVATE, "OB", samples)
    return part10(d, syntax=syntax)


PDF = b"%PDF-1.4\n" + b"% Somascope\n" * 400 + b"%%EOF\n"


def kinds() -> dict[str, bytes]:
    """One object of each kind that has no pixels, by a short name; all are of one study."""
    image = _item(ReferencedSOPClassUID=STORAGE + "2", ReferencedSOPInstanceUID=f"{STUDY}.2.1")
    series = _item(ReferencedSeriesSequence=Sequence([]), StudyInstanceUID=STUDY)
    series.ReferencedSeriesSequence = Sequence(
        [_item(SeriesInstanceUID=f"{STUDY}.2", ReferencedSOPSequence=Sequence([image]))]
    )
    text = _item(
        RelationshipType="CONTAINS", ValueType="TEXT", TextValue="größer als 5 mm",
        ConceptNameCodeSequence=_code("121071", "Finding"),
    )  # fmt: skip
    matrix = _item(
        FrameOfReferenceTransformationMatrixType="RIGID",
        FrameOfReferenceTransformationMatrix=[1, 0, 0, 1.5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    )
    wave = _item(
        WaveformOriginality="ORIGINAL", NumberOfWaveformChannels=1, NumberOfWaveformSamples=1500,
        SamplingFrequency=250, WaveformBitsAllocated=16, WaveformSampleInterpretation="SS",
        WaveformData=bytes(range(250)) * 12,
    )  # fmt: skip
    contour = _item(
        ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=400,
        ContourData=[round(v * 0.25, 2) for v in range(1200)],
    )  # fmt: skip
    made = {
        "presentation state": bare(
            STORAGE + "11.1", 11, "PR", PresentationLUTShape="IDENTITY", ContentLabel="WINDOW",
            ReferencedSeriesSequence=series.ReferencedSeriesSequence,
        ),
        "report": bare(
            STORAGE + "88.22", 88, "SR", ValueType="CONTAINER", ContinuityOfContent="SEPARATE",
            CompletionFlag="COMPLETE", VerificationFlag="UNVERIFIED",
            ConceptNameCodeSequence=_code("126000", "Imaging Measurement Report"),
            ContentSequence=Sequence([text]),
        ),
        "key objects": bare(
            STORAGE + "88.59", 59, "KO", ValueType="CONTAINER",
            ConceptNameCodeSequence=_code("113000", "Of Interest"),
            CurrentRequestedProcedureEvidenceSequence=Sequence([series]),
        ),
        "registration": bare(
            STORAGE + "66.1", 61, "REG", FrameOfReferenceUID=f"{STUDY}.9",
            RegistrationSequence=Sequence(
                [_item(MatrixRegistrationSequence=Sequence([_item(MatrixSequence=[matrix])]))]
            ),
        ),
        "plan": bare(
            STORAGE + "481.5", 5, "RTPLAN", RTPlanLabel="P1", RTPlanGeometry="PATIENT",
            FractionGroupSequence=Sequence([_item(FractionGroupNumber=1)]),
        ),
        "structures": bare(
            STORAGE + "481.3", 3, "RTSTRUCT", StructureSetLabel="S1",
            ROIContourSequence=Sequence([_item(ContourSequence=Sequence([contour]))]),
        ),
        "document": bare(
            STORAGE + "104.1", 104, "DOC", MIMETypeOfEncapsulatedDocument="application/pdf",
            EncapsulatedDocument=PDF, DocumentTitle="A report",
        ),
        "waveform": bare(STORAGE + "9.1.1", 9, "ECG", WaveformSequence=Sequence([wave])),
        "spectroscopy": bare(
            STORAGE + "4.2", 42, "MR", Rows=1, Columns=1, NumberOfFrames=1, DataPointRows=1,
            DataPointColumns=512, SpectroscopyData=bytes(range(256)) * 16,
        ),
    }  # fmt: skip
    found = {name: part10(d) for name, d in made.items()}
    found["plan"] = part10(made["plan"], syntax=IMPLICIT)
    found["raw data"] = raw_data(bytes(range(256)) * 64)
    found["implicit raw data"] = raw_data(bytes(range(256)) * 64, number=67, syntax=IMPLICIT)
    return found
