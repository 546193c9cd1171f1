import copy
from io import BytesIO
from itertools import permutations, product

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from somascope.core import Code, Grid, Image, Mask, Provenance, Segment, Source, Step
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat, WriteError
from somascope.io.dicom import cielab, provenance, seg, validate, write

SHAPE = (6, 7, 9)
GRID = Grid.from_spacing(SHAPE, (3.0, 1.0, 2.0), origin=(-5.0, 6.0, 7.25))
RECORD = Provenance((Source("phantom", "head"),)).then(
    Step("segment.threshold", {"lower": 100.0}, ("1.2.3",), "0.1")
)
LIVER = Segment(1, "Liver", Code("10200004", "SCT", "Liver"), "threshold", (221, 130, 101))
LESION = Segment(2, "Lesion", Code("52988006", "SCT", "Lesion"), "net", (10, 200, 30), 0.75)


def labels(shape=SHAPE, seed=3):
    data = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    data[0] = data[2] = data[-1] = 0  # empty slices at both ends and inside
    return data


def mask(data=None, grid=GRID, segments=(LIVER, LESION), **more):
    data = labels() if data is None else data
    return Mask(data=data, grid=grid, segments=segments, provenance=RECORD, **more)


def image():
    data = np.random.default_rng(1).integers(-1000, 2000, SHAPE).astype(np.int16)
    source = Provenance((Source("phantom", "head"),))
    return Image(data, GRID, "CT", "[hnsf'U]", provenance=source)


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
def test_round_trip(kind):
    (file,) = seg.instances(mask(), kind=kind)
    assert validate.check(file) == []
    back = seg.read(file)
    assert back.grid.allclose(GRID, tolerance_mm=1e-9)
    assert back.fractional == (kind == "fractional")
    for wanted, segment in zip(mask().segments, back.segments, strict=True):
        assert np.array_equal(back.plane(segment.number) > 0, labels() == wanted.number)
        assert (segment.label, segment.concept) == (wanted.label, wanted.concept)
        assert segment.algorithm == wanted.algorithm
        assert segment.confidence == wanted.confidence
        assert np.abs(np.subtract(segment.colour, wanted.colour)).max() <= 1
    assert provenance.read(file) == RECORD


def test_equal_input_equal_bytes():
    assert seg.instances(mask()) == seg.instances(mask())


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
def test_highdicom_reads_the_same_voxels(kind):
    (file,) = seg.instances(mask(), kind=kind)
    other = hd.seg.segread(BytesIO(file))
    if kind == "labelmap":
        volume = other.get_volume(combine_segments=True)
        planes = [volume.array == 1, volume.array == 2]
    else:
        volume = other.get_volume(rescale_fractional=True)
        planes = [volume.array[..., i] > 0 for i in range(2)]
    found = np.argwhere(planes[0] | planes[1] * 1 > 0)
    assert len(found) == np.count_nonzero(labels())
    for number, plane in enumerate(planes, 1):
        places = np.argwhere(plane) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        index = np.rint(GRID.to_index(places)).astype(int)
        assert np.abs(GRID.to_index(places) - index).max() < 1e-6
        assert np.array_equal(np.unique(index, axis=0), np.argwhere(labels() == number))


def test_fractions_are_within_half_a_step():
    data = np.random.default_rng(5).random((2, *SHAPE)).astype(np.float32)
    (file,) = seg.instances(mask(data))
    back = seg.read(file)
    assert back.data.dtype == np.float32
    assert np.abs(back.data - data).max() <= 0.5 / 255 + 1e-6


def test_overlapping_planes_stay_planes():
    data = np.random.default_rng(5).random((2, *SHAPE)) < 0.4
    (file,) = seg.instances(mask(data))
    assert dcmread(BytesIO(file)).SegmentsOverlap == "YES"
    assert np.array_equal(seg.read(file).data, data)
    with pytest.raises(WriteError, match="binary"):
        seg.instances(mask(data), kind="labelmap")


def test_labelmap_keeps_numbers_and_wide_ones_too():
    data = labels().astype(np.uint16)
    data[data == 2] = 700
    segments = (LIVER, Segment(700, "far"))
    (file,) = seg.instances(mask(data, segments=segments), kind="labelmap")
    back = seg.read(file)
    assert [s.number for s in back.segments] == [1, 700]
    assert np.array_equal(back.data, data)
    (file,) = seg.instances(mask(data, segments=segments))
    assert [s.number for s in seg.read(file).segments] == [1, 2]


def test_an_empty_mask_keeps_its_grid():
    (file,) = seg.instances(mask(np.zeros(SHAPE, np.uint8)))
    assert dcmread(BytesIO(file)).NumberOfFrames == 2
    back = seg.read(file)
    assert back.grid.allclose(GRID)
    assert not back.data.any()


def test_frames_reference_the_slice_they_lie_in():
    files = write.instances(image())
    (file,) = seg.instances(mask(), files)
    made = dcmread(BytesIO(file))
    sources = {str(dcmread(BytesIO(f)).SOPInstanceUID): dcmread(BytesIO(f)) for f in files}
    first = next(iter(sources.values()))
    assert made.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert made.StudyInstanceUID == first.StudyInstanceUID
    assert made.PatientID == first.PatientID
    for frame in made.PerFrameFunctionalGroupsSequence:
        (reference,) = frame.DerivationImageSequence[0].SourceImageSequence
        source = sources[reference.ReferencedSOPInstanceUID]
        assert source.ImagePositionPatient == frame.PlanePositionSequence[0].ImagePositionPatient
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert len(series.ReferencedInstanceSequence) == len(files)
    assert set(seg.read(file).on) == set(sources)


def test_references_without_datasets_come_from_the_mask():
    uids = tuple(f"1.2.9.{i}" for i in range(SHAPE[0]))
    record = Provenance((Source("dicom", "1.2.9", uids),)).then(RECORD.steps[0])
    drawn = Mask(
        data=labels(),
        grid=GRID,
        segments=(LIVER, LESION),
        on=("1.2.9",),
        provenance=record,
        attributes={"Modality": "CT", "StudyInstanceUID": "1.2.7", "PatientID": "4"},
    )
    (file,) = seg.instances(drawn)
    made = dcmread(BytesIO(file))
    assert made.StudyInstanceUID == "1.2.7"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.9"
    for frame in made.PerFrameFunctionalGroupsSequence:
        z = frame.FrameContentSequence[0].DimensionIndexValues[1] - 1
        (reference,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == uids[z]


DIRECTIONS = [
    np.eye(3)[:, p] * signs for p in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=range(48))
def test_all_48_orientations(direction):
    grid = Grid.from_spacing(
        (4, 3, 5), (3.3, 0.7, 1.9), origin=(-50.1, 60.2, 7), direction=direction
    )
    drawn = mask(labels((4, 3, 5)), grid)
    (file,) = seg.instances(drawn)
    back = seg.read(file)
    assert back.grid.allclose(grid, tolerance_mm=1e-6)
    assert np.array_equal(back.data, drawn.data)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.tuples(*[st.floats(0.1, 20.0)] * 3),
    st.tuples(*[st.floats(-2000.0, 2000.0)] * 3),
    st.sampled_from(DIRECTIONS),
    st.sampled_from(["binary", "fractional", "labelmap"]),
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
)
def test_oblique_and_tilted_grids(turn, spacing, origin, axes, kind, tilt):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ axes * spacing
    affine[:3, 0] += tilt[0] * affine[:3, 1] + tilt[1] * affine[:3, 2]
    affine[:3, 3] = origin
    grid = Grid((4, 3, 5), affine)
    drawn = mask(labels((4, 3, 5)), grid)
    back = seg.read(seg.instances(drawn, kind=kind)[0])
    assert back.grid.allclose(grid, tolerance_mm=1e-4)
    for segment in back.segments:
        assert np.array_equal(back.plane(segment.number) > 0, drawn.data == segment.number)


def test_refusals():
    data = np.full((1, *SHAPE), 0.5, np.float32)
    with pytest.raises(WriteError, match="fractional"):
        seg.instances(mask(data, segments=(LIVER,)), kind="binary")
    with pytest.raises(WriteError, match="0 to 1"):
        seg.instances(mask(data * 3, segments=(LIVER,)))
    with pytest.raises(WriteError, match="no segment"):
        seg.instances(mask(segments=()))
    with pytest.raises(WriteError, match="no segment describes"):
        seg.instances(mask(segments=(LIVER,)), kind="labelmap")


def test_reading_what_is_no_segmentation():
    with pytest.raises(UnsupportedFormat):
        seg.read(write.instances(image())[0])
    with pytest.raises(ReadError):
        seg.read(b"nothing")
    (file,) = seg.instances(mask())
    broken = dcmread(BytesIO(file))
    broken.PixelData = broken.PixelData[:4]
    with pytest.raises(CorruptFile):
        seg.read(broken)
    strange = dcmread(BytesIO(file))
    del strange.SegmentSequence[1]
    with pytest.raises(CorruptFile, match="not described"):
        seg.read(copy.deepcopy(strange))


def test_foreign_big_endian_and_gapped(pydicom_files):
    little = seg.read(pydicom_files / "liver_1frame.dcm")
    big = seg.read(pydicom_files / "liver_expb_1frame.dcm")
    assert little.segments[0].label == "Liver"
    assert np.array_equal(little.data, big.data)
    assert little.data.any()


def nrrd_labels(path):
    sitk = pytest.importorskip("SimpleITK")
    volume = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(volume), volume


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("liver.dcm", "liver_seg.nrrd"),
        ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd"),
        ("sparse-labelmap-ppv5.dcm", "sparse_labelmap_ppv5_seg.nrrd"),
    ],
)
def test_dcmqi_files_against_their_nrrd(data, name, reference):
    folder = data / "dcmqi_data" / "segmentations"
    back = seg.read(folder / name)
    wanted, volume = nrrd_labels(folder / reference)
    inside = np.argwhere(back.data > 0)
    wanted = np.where(wanted == 5, 0, wanted)  # the padding value, in slices that are not there
    assert len(inside) == np.count_nonzero(wanted)
    for index in inside[:: max(1, len(inside) // 200)]:
        point = [float(v) for v in back.grid.to_world(index)]
        x, y, z = volume.TransformPhysicalPointToIndex(point)
        assert wanted[z, y, x] > 0


@pytest.mark.data
def test_highdicom_files(data):
    folder = data / "highdicom_test"
    for name in ("binary", "binary_overlap", "binary_fractional", "true_fractional"):
        path = folder / f"seg_image_ct_{name}.dcm"
        back = seg.read(path)
        other = dcmread(path)
        mass = other.pixel_array.astype(float).sum() / float(other.get("MaximumFractionalValue", 1))
        total = sum(float(back.plane(s.number).sum(dtype=float)) for s in back.segments)
        assert total == pytest.approx(mass, rel=1e-6)
    with pytest.raises(UnsupportedFormat, match="slide"):
        seg.read(folder / "seg_image_sm_dots.dcm")


def test_colours_are_d50_lab():
    published = {  # sRGB primaries, CIE L*a*b* adapted to D50 (Bradford)
        (255, 0, 0): (54.29, 80.81, 69.89),
        (0, 255, 0): (87.82, -79.29, 80.99),
        (0, 0, 255): (29.57, 68.30, -112.03),
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
    }
    for rgb, lab in published.items():
        made = np.array(cielab.from_rgb(rgb)) / 65535 * (100, 255, 255) - (0, 128, 128)
        assert np.abs(made - lab).max() < 0.02
    for rgb in np.random.default_rng(0).integers(0, 256, (50, 3)).tolist():
        assert np.abs(np.subtract(cielab.to_rgb(cielab.from_rgb(rgb)), rgb)).max() <= 1
