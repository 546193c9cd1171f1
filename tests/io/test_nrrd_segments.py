"""Segmentations in NRRD come back as masks; labels of NIfTI, which names none, as an image."""

import numpy as np
import pytest

import somascope.io as sio
from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import CorruptFile, ReadError
from somascope.core.finding import TISSUE, Code

GRID = Grid.from_spacing((3, 4, 5), (2.0, 0.5, 0.7), origin=(1.0, -2.0, 3.5))
LIVER = Code("10200004", "SCT", "Liver")
SEGMENTS = (
    Segment(2, "Liver", LIVER, colour=(221, 130, 101)),
    Segment(7, "Lésion", TISSUE, colour=(255, 0, 51)),
)


def only(path):
    report = sio.read_all(path)
    assert (report.images, report.problems) == ([], [])
    (mask,) = report.masks
    return mask


def same(a, b):
    assert np.array_equal(a.data, b.data)
    assert a.data.dtype == b.data.dtype
    assert a.grid == b.grid
    assert a.segments == b.segments


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.nrrd", "a.nhdr"])
def test_a_labelmap_comes_back(tmp_path, name):
    data = np.random.default_rng(0).choice([0, 2, 7], GRID.shape).astype(np.uint8)
    mask = Mask(data=data, grid=GRID, segments=SEGMENTS)
    sio.write(mask, tmp_path / name)
    same(only(tmp_path / name), mask)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_planes_come_back(tmp_path, dtype):
    data = np.random.default_rng(0).random((2, *GRID.shape)).astype(np.float32)
    data = data > 0.4 if dtype is bool else data  # the planes overlap
    mask = Mask(data=data, grid=GRID, segments=SEGMENTS)
    sio.write(mask, tmp_path / "a.seg.nrrd")
    same(only(tmp_path / "a.seg.nrrd"), mask)


def slicer(path, data, **keys):
    """The header that 3D Slicer 5 writes: layers are the fastest axis, names in any order."""
    layers = data.shape[-1]
    text = f"""NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: unsigned char
dimension: 4
space: left-posterior-superior
sizes: {layers} 5 4 3
space directions: none (0.7,0,0) (0,0.5,0) (0,0,2)
kinds: list domain domain domain
encoding: raw
space origin: (1,-2,3.5)
Segment0_Color:=0.5 0.68 0.5
Segment0_Extent:=0 4 0 3 0 2
Segment0_ID:=Segment_3
Segment0_LabelValue:=1
Segment0_Layer:=0
Segment0_Name:=tissue
Segment0_Tags:=Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - \
DICOM master list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes - DICOM \
master list~^^~^^|
Segment1_ID:=Segment_1
Segment1_LabelValue:=2
Segment1_Layer:=0
Segment1_Name:=bone
Segment2_ID:=Segment_2
Segment2_LabelValue:=1
Segment2_Layer:=1
Segment2_Name:=over both
Segmentation_MasterRepresentation:=Binary labelmap
"""
    for key, value in keys.items():
        text = text.replace(f"{key}:=1", f"{key}:={value}", 1)
    path.write_bytes(text.encode() + b"\n" + data.tobytes())
    return path


def test_layers_of_another_program_are_read(tmp_path):
    data = np.random.default_rng(0).integers(0, 3, (*GRID.shape, 2), np.uint8)
    mask = only(slicer(tmp_path / "s.seg.nrrd", data))
    assert mask.grid.allclose(GRID, tolerance_mm=1e-9)
    assert [(s.number, s.label) for s in mask.segments] == [
        (3, "tissue"), (1, "bone"), (2, "over both"),
    ]  # fmt: skip
    assert mask.segments[0].concept == LIVER
    assert mask.segments[0].colour == (128, 173, 128)
    assert mask.segments[1].concept == TISSUE
    assert np.array_equal(mask.plane(3), data[..., 0] == 1)
    assert np.array_equal(mask.plane(1), data[..., 0] == 2)
    assert np.array_equal(mask.plane(2), data[..., 1] == 1)


@pytest.mark.parametrize("key", ["Segment0_Layer", "Segment2_Layer", "Segment0_LabelValue"])
def test_wrong_keys_are_said(tmp_path, key):
    data = np.zeros((*GRID.shape, 2), np.uint8)
    path = slicer(tmp_path / "s.seg.nrrd", data, **{key: "x" if "Value" in key else "9"})
    if key == "Segment0_Layer":
        path.write_bytes(path.read_bytes().replace(b"Segment0_Layer:=0", b"Segment0_Layer:=9"))
    report = sio.read_all(path)
    assert report.masks == report.images == []
    assert isinstance(report.errors[0], CorruptFile)
    with pytest.raises(ReadError):
        sio.read(path)


def test_a_nifti_of_labels_stays_an_image(tmp_path):
    data = np.random.default_rng(0).choice([0, 2, 7], GRID.shape).astype(np.uint8)
    sio.write(Mask(data=data, grid=GRID, segments=SEGMENTS), tmp_path / "a.nii.gz")
    report = sio.read_all(tmp_path / "a.nii.gz")
    assert report.masks == []
    assert isinstance(report.images[0], Image)
    assert np.array_equal(report.images[0].data, data)
