from io import BytesIO

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from somascope.core import Grid, Image, Mask, Provenance, Segment, Source, Step
from somascope.core.errors import WriteError
from somascope.io.dicom import seg, validate, write

GRID = Grid.from_spacing((2, 4, 6), (3.0, 1.0, 2.0))
RECORD = Provenance((Source("phantom", "head"),)).then(Step("segment.threshold"))


def image(modality):
    data = np.random.default_rng(2).random((2, 4, 6)).astype(np.float32)
    return Image(data, GRID, modality, provenance=RECORD)


@pytest.fixture(scope="module")
def good():
    labels = np.ones((2, 4, 6), np.uint8)
    mask = Mask(data=labels, grid=GRID, segments=(Segment(1, "a"),), provenance=RECORD)
    return {
        "ct": write.instances(image("CT"))[0],
        "pt": write.instances(image("PT"))[0],
        "mr+": write.instances(image("MR"), multiframe=True)[0],
        "seg": seg.instances(mask)[0],
    }


def spoilt(file, change):
    dataset = dcmread(BytesIO(file))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def raw(keyword, vr, value):
    """Set a value that pydicom would warn of."""
    return lambda d: d.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))


def remove(*words):
    def change(dataset):
        for word in words[:-1]:
            dataset = dataset[word][0]
        del dataset[words[-1]]

    return change


def put(*words):
    *path, name, value = words

    def change(dataset):
        for word in path:
            dataset = dataset[word][0]
        setattr(dataset, name, value)

    return change


def both_shared_and_own(dataset):
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    dataset.SharedFunctionalGroupsSequence[0].PlanePositionSequence = frame.PlanePositionSequence


PER, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"

DEFECTS = [
    ("ct", remove("SOPInstanceUID"), "SOPInstanceUID is missing (Type 1)"),
    ("ct", put("StudyInstanceUID", ""), "StudyInstanceUID is empty (Type 1)"),
    ("ct", remove("PatientName"), "PatientName is missing (Type 2)"),
    ("ct", remove("KVP"), "KVP is missing (Type 2)"),
    ("ct", remove("RescaleSlope"), "RescaleSlope is missing (Type 1)"),
    ("ct", put("RescaleSlope", 0), "RescaleSlope is 0"),
    ("ct", put("WindowWidth", -1), "WindowWidth is -1"),
    ("ct", remove("WindowWidth"), "come only together"),
    ("ct", put("Rows", 5), "its attributes say"),
    ("ct", put("BitsStored", 17), "do not fit BitsAllocated"),
    ("ct", put("SamplesPerPixel", 3), "PhotometricInterpretation"),
    ("ct", put("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "not orthogonal"),
    ("ct", put("ImageOrientationPatient", [2, 0, 0, 0, 1, 0]), "of length"),
    ("ct", put("PixelSpacing", [0, 1]), "must be above 0"),
    ("ct", raw("ImagePositionPatient", "DS", ["1", "2"]), "has 2 values"),
    ("ct", raw("StudyInstanceUID", "UI", "1.02.3"), "not a UID"),
    ("ct", raw("StudyDate", "DA", "20241301"), "is no DA"),
    ("ct", raw("PatientID", "LO", "x" * 65), "longer than 64"),
    ("ct", raw("Modality", "CS", "ct"), "is no CS"),
    ("ct", raw("PatientAge", "AS", "7 years"), "is no AS"),
    ("ct", raw("SliceThickness", "DS", "1.000000000000000001"), "longer than DS"),
    ("ct", raw("PatientName", "PN", "x" * 65), "PatientName is longer"),
    ("ct", raw("Rows", "UL", 4), "has VR UL"),
    ("ct", lambda d: d.add_new(0x00091001, "LO", "x"), "has no private creator"),
    ("ct", lambda d: d.add_new(0x00080002, "LO", "x"), "not in the dictionary"),
    (
        "ct",
        remove("ContributingEquipmentSequence", "Manufacturer"),
        "ContributingEquipmentSequence[0].Manufacturer is missing (Type 1)",
    ),
    (
        "ct",
        remove("ContributingEquipmentSequence", "PurposeOfReferenceCodeSequence", "CodeMeaning"),
        "CodeMeaning is missing",
    ),
    ("ct", remove("PixelData"), "PixelData is missing"),
    ("pt", put("RescaleIntercept", 5), "RescaleIntercept is not 0"),
    ("pt", remove("Units"), "Units is missing (Type 1)"),
    ("mr+", put("NumberOfFrames", 3), "NumberOfFrames is 3"),
    ("mr+", remove(PER), "PerFrameFunctionalGroupsSequence"),
    ("mr+", remove(PER, "PlanePositionSequence"), "PlanePositionSequence is missing"),
    ("mr+", remove(SHARED, "PixelMeasuresSequence"), "PixelMeasuresSequence is missing"),
    ("mr+", both_shared_and_own, "both shared and per frame"),
    (
        "mr+",
        remove(PER, "PlanePositionSequence", "ImagePositionPatient"),
        "has no ImagePositionPatient",
    ),
    (
        "mr+",
        put(PER, "FrameContentSequence", "DimensionIndexValues", [1]),
        "DimensionIndexValues has 1 values of 2",
    ),
    (
        "mr+",
        put(SHARED, "FrameVOILUTSequence", "WindowWidth", 0),
        "FrameVOILUTSequence[0].WindowWidth is 0",
    ),
    ("seg", put("SegmentSequence", "SegmentNumber", 2), "not counted from 1"),
    ("seg", put("BitsAllocated", 8), "for BINARY"),
    ("seg", put("SegmentationType", "LABELMAP"), "in this storage class"),
    ("seg", remove("SegmentSequence", "SegmentAlgorithmName"), "SegmentAlgorithmName is missing"),
    (
        "seg",
        put(PER, "SegmentIdentificationSequence", "ReferencedSegmentNumber", 9),
        "segment 9, which is not described",
    ),
    (
        "seg",
        remove("SegmentSequence", "SegmentedPropertyTypeCodeSequence"),
        "SegmentSequence[0].SegmentedPropertyTypeCodeSequence is missing (Type 1)",
    ),
]


@pytest.mark.parametrize(("name", "change", "said"), DEFECTS, ids=[d[2] for d in DEFECTS])
def test_planted_defects_are_found(good, name, change, said):
    assert validate.check(good[name]) == []
    problems = validate.check(spoilt(good[name], change))
    assert any(said in p for p in problems), problems


def test_other_planted_defects(good):
    file = good["ct"]
    assert "no DICM prefix" in validate.check(file[:100])[0]
    assert validate.check(file[:-10]) != []
    assert validate.check(b"") != []
    assert any("MediaStorageSOPInstanceUID" in p for p in validate.check(renamed(file)))


def renamed(file):
    dataset = dcmread(BytesIO(file))
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def test_order_is_judged(good):
    file = good["ct"]
    dataset = dcmread(BytesIO(file))
    modality = b"\x08\x00\x60\x00CS\x02\x00CT"
    manufacturer = b"\x08\x00\x70\x00LO"
    assert file.count(modality) == 1
    start = file.index(modality)
    end = start + len(modality)
    assert file[end : end + 6] == manufacturer
    length = 8 + int.from_bytes(file[end + 6 : end + 8], "little")
    swapped = file[:start] + file[end : end + length] + modality + file[end + length :]
    assert len(swapped) == len(file)
    assert dataset.Modality == "CT"
    assert any("out of order" in p for p in validate.check(swapped))


def test_good_foreign_files_pass(pydicom_files):
    for name in ("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm",
                 "SC_rgb_rle.dcm", "examples_palette.dcm", "image_dfl.dcm"):  # fmt: skip
        assert validate.check((pydicom_files / name).read_bytes()) == [], name


def test_bad_foreign_files_are_named(pydicom_files):
    wanted = {
        "MR_truncated.dcm": "its attributes say 8192",
        "liver_1frame.dcm": "NumberOfFrames is missing",
        "no_meta.dcm": "no DICM prefix",
        "ExplVR_BigEnd.dcm": "StudyDate is '1997.04.24'",
    }
    for name, said in wanted.items():
        problems = validate.check((pydicom_files / name).read_bytes())
        assert any(said in p for p in problems), (name, problems)


def test_demand(good):
    validate.demand(good["ct"], "it")
    with pytest.raises(WriteError, match=r"it breaks DICOM's rules: KVP is missing"):
        validate.demand(spoilt(good["ct"], remove("KVP")), "it")
    foreign = spoilt(good["ct"], raw("StudyInstanceUID", "UI", "1.02.3"))
    validate.demand(foreign, "it")
    assert isinstance(dcmread(BytesIO(good["ct"])), Dataset)
