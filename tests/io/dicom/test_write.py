from io import BytesIO
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from somascope.core import Axis, Grid, Image, Provenance, Source, Step
from somascope.core.errors import WriteError
from somascope.io import read as read_files
from somascope.io.dicom import validate, write

SHAPE = (3, 4, 5)
GRID = Grid.from_spacing(SHAPE, (3.0, 1.0, 2.0), origin=(-5.0, 6.0, 7.25))
PHANTOM = Provenance((Source("phantom", "head"),))
STEP = Step("process.gaussian", {"sigma": 1.5}, ("1.2.3",), "0.1")
ATTRIBUTES = {
    "PatientName": "Doe^Jane",
    "PatientID": "42",
    "PatientBirthDate": "19700203",
    "StudyInstanceUID": "1.2.3.4",
    "StudyDate": "20240102",
    "AccessionNumber": "A1",
    "SeriesInstanceUID": "1.2.3.4.5",
    "SeriesNumber": 3,
    "SeriesDescription": "thorax",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "KVP": 120.0,
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "EchoTime": 5.0,
    "WindowCenter": 50.0,
    "WindowWidth": 350.0,
}


def rng():
    return np.random.default_rng(7)


def ct(shape=SHAPE, **changes):
    data = rng().integers(-1024, 3072, shape).astype(np.int16)
    defaults = {"grid": GRID, "modality": "CT", "unit": "[hnsf'U]", "provenance": PHANTOM}
    return Image(data, **{**defaults, **changes})


def read(files):
    return [dcmread(BytesIO(f)) for f in files]


def values(dataset):
    stored = dataset.pixel_array.astype(np.float64)
    return stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def world(dataset):
    """The affine of one slice from the standard's equation C.7.6.2.1-1: columns row, column."""
    row = np.array(dataset.ImageOrientationPatient[:3], float)
    column = np.array(dataset.ImageOrientationPatient[3:], float)
    dy, dx = (float(v) for v in dataset.PixelSpacing)
    return np.column_stack([column * dy, row * dx, np.array(dataset.ImagePositionPatient, float)])


SIGNED_PERMUTATIONS = [
    np.eye(3)[:, p] * signs for p in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def place_error(grid, datasets):
    worst = 0.0
    ny, nx = grid.shape[1:]
    for z, dataset in enumerate(datasets):
        for y, x in ((0, 0), (ny - 1, 0), (0, nx - 1), (ny - 1, nx - 1)):
            point = world(dataset) @ (y, x, 1)
            worst = max(worst, float(np.abs(point - grid.to_world((z, y, x))).max()))
    return worst


@pytest.mark.parametrize("direction", SIGNED_PERMUTATIONS, ids=range(48))
@pytest.mark.parametrize("multiframe", [False, True])
def test_all_48_orientations_keep_their_places(direction, multiframe):
    grid = Grid.from_spacing(
        SHAPE, (3.3, 0.7, 1.9), origin=(-50.1, 60.2, 7.25), direction=direction
    )
    image = ct(grid=grid)
    files = write.instances(image, multiframe=multiframe)
    if not multiframe:
        datasets = read(files)
        assert place_error(grid, datasets) < 1e-6
        assert np.array_equal(np.stack([values(d) for d in datasets]), image.data)
        return
    (dataset,) = read(files)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    for frame in frames:
        frame.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        frame.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        frame.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
    assert place_error(grid, frames) < 1e-6
    assert np.array_equal(dataset.pixel_array, image.data)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.tuples(*[st.floats(0.05, 20.0)] * 3),
    st.tuples(*[st.floats(-2000.0, 2000.0)] * 3),
    st.sampled_from(SIGNED_PERMUTATIONS),
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
)
def test_oblique_left_handed_and_tilted_grids_keep_their_places(turn, spacing, origin, axes, tilt):
    direction = Rotation.from_rotvec(turn).as_matrix() @ axes
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 0] += tilt[0] * affine[:3, 1] + tilt[1] * affine[:3, 2]
    affine[:3, 3] = origin
    grid = Grid(SHAPE, affine)
    datasets = read(write.instances(ct(grid=grid)))
    assert place_error(grid, datasets) < 1e-4


def test_sheared_rows_are_refused():
    affine = GRID.affine.copy()
    affine[0, 1] = 0.3
    with pytest.raises(WriteError, match="resample"):
        write.instances(ct(grid=Grid(SHAPE, affine)))


def test_simpleitk_reads_the_same_volume(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    turn = Rotation.from_rotvec((0.3, -0.2, 0.5)).as_matrix()
    grid = Grid.from_spacing(
        SHAPE, (3, 1, 2), origin=(-5, 6, 7), direction=turn @ np.eye(3)[:, ::-1]
    )
    image = ct(grid=grid)
    for i, file in enumerate(write.instances(image)):
        (tmp_path / f"{i}.dcm").write_bytes(file)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    array = sitk.GetArrayFromImage(other)
    for index in np.ndindex(*SHAPE):
        point = [float(v) for v in grid.to_world(index)]
        x, y, z = other.TransformPhysicalPointToIndex(point)
        assert array[z, y, x] == image.data[index]
        back = other.TransformIndexToPhysicalPoint((x, y, z))
        assert np.abs(np.array(back) - point).max() < 1e-4


def test_patient_study_and_acquisition_are_carried_over():
    image = ct(
        attributes=ATTRIBUTES, provenance=Provenance((Source("dicom", "1.2.3.4.5"),)).then(STEP)
    )
    (first, *_) = read(write.instances(image))
    assert first.PatientName == "Doe^Jane"
    assert first.PatientBirthDate == "19700203"
    assert first.StudyInstanceUID == "1.2.3.4"
    assert first.AccessionNumber == "A1"
    assert first.KVP == 120
    assert "EchoTime" not in first  # has no place in a CT image
    assert first.SeriesInstanceUID != "1.2.3.4.5"
    assert first.SeriesNumber == 3001
    assert first.SeriesDescription == "thorax [process.gaussian]"
    assert list(first.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert first.DerivationDescription == "process.gaussian sigma=1.5"
    assert first.DerivationCodeSequence[0].CodeValue == "113088"
    equipment = first.ContributingEquipmentSequence[0]
    assert equipment.Manufacturer == "Somascope"
    assert "sigma=1.5" in equipment.ContributionDescription
    assert (first.WindowCenter, first.WindowWidth) == (50, 350)


def test_without_steps_the_image_type_stays():
    (first, *_) = read(write.instances(ct(attributes=ATTRIBUTES)))
    assert list(first.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert "DerivationDescription" not in first


def test_a_phantom_gets_a_patient_and_equal_input_equal_bytes():
    a, b = write.instances(ct()), write.instances(ct())
    assert a == b
    (first, *_) = read(a)
    assert first.PatientName == "Somascope^head"
    other = ct(modality="MR", unit="1")
    (second, *_) = read(write.instances(other))
    assert second.StudyInstanceUID == first.StudyInstanceUID
    assert second.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "1"},
        {"provenance": PHANTOM.then(STEP)},
        {"attributes": {"PatientComments": "x"}},
        {"grid": Grid.from_spacing(SHAPE, (3.0, 1.0, 2.0))},
    ],
)
def test_other_input_other_identifiers(change):
    (a, *_), (b, *_) = read(write.instances(ct())), read(write.instances(ct(**change)))
    assert a.SeriesInstanceUID != b.SeriesInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID


def test_sources_are_referenced_one_by_one():
    uids = tuple(f"1.2.9.{i}" for i in range(3))
    image = ct(
        attributes=ATTRIBUTES, provenance=Provenance((Source("dicom", "1.2.9", uids),)).then(STEP)
    )
    for uid, dataset in zip(uids, read(write.instances(image)), strict=True):
        (item,) = dataset.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == uid
        assert item.ReferencedSOPClassUID == ATTRIBUTES["SOPClassUID"]
    many = tuple(f"1.2.9.{i}" for i in range(40))
    image = ct(
        attributes=ATTRIBUTES, provenance=Provenance((Source("dicom", "1.2.9", many),)).then(STEP)
    )
    first, second, _ = read(write.instances(image))
    assert [i.ReferencedSOPInstanceUID for i in first.SourceImageSequence] == list(many)
    assert "SourceImageSequence" not in second


def test_slice_thickness_follows_the_slices():
    scanned = {"SliceThickness": 5.0, "SpacingBetweenSlices": 3.0}
    (kept, *_) = read(write.instances(ct(attributes=scanned)))
    assert kept.SliceThickness == 5
    resampled = Grid.from_spacing(SHAPE, (1.0, 1.0, 2.0))
    (made, *_) = read(write.instances(ct(attributes=scanned, grid=resampled)))
    assert made.SliceThickness == 1


@pytest.mark.parametrize(
    ("modality", "unit", "units"),
    [("PT", "Bq/ml", "BQML"), ("PT", "g/ml", "GML"), ("PT", "1", "NONE")],
)
def test_pet_units(modality, unit, units):
    data = rng().random(SHAPE).astype(np.float32) * 1e4
    image = Image(data, GRID, modality, unit, provenance=PHANTOM.then(STEP))
    datasets = read(write.instances(image))
    assert all(d.Units == units for d in datasets)
    assert all(float(d.RescaleIntercept) == 0 for d in datasets)
    assert [int(d.ImageIndex) for d in datasets] == [1, 2, 3]
    back = np.stack([values(d) for d in datasets])
    assert np.abs(back - data).max() <= data.max() / 65535 / 2 * 1.0001


def test_real_world_values_say_the_unit():
    data = rng().random(SHAPE).astype(np.float32) * 3e-3
    image = Image(data, GRID, "MR", "mm2/s", provenance=PHANTOM.then(STEP))
    (first, *_) = read(write.instances(image))
    mapping = first.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "mm2/s"
    real = first.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert np.abs(real - data[0]).max() < np.ptp(data) / 65535 / 2 * 1.001


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("unit", ["1", "%", "[hnsf'U]"])
def test_a_map_of_a_ct_does_not_come_back_in_hounsfield_units(tmp_path, unit, multiframe):
    image = Image(rng().normal(size=SHAPE).astype(np.float32), GRID, "CT", unit, (), PHANTOM)
    for k, one in enumerate(write.instances(image, multiframe=multiframe)):
        validate.demand(one, "a map")
        (tmp_path / f"{k}.dcm").write_bytes(one)
    back = read_files(tmp_path)
    assert back.unit == unit
    assert np.abs(back.data - image.data).max() <= np.ptp(image.data) / 65535


def test_colour_is_interleaved_rgb():
    data = rng().integers(0, 256, (3, 1, 4, 5)).astype(np.uint8)
    flat = Grid.from_spacing((1, 4, 5), (1, 0.5, 0.5))
    image = Image(data, flat, "OT", axes=(Axis("channel"),), provenance=PHANTOM)
    (dataset,) = read(write.instances(image))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert dataset.PhotometricInterpretation == "RGB"
    assert np.array_equal(dataset.pixel_array, np.moveaxis(data[:, 0], 0, -1))


def test_ultrasound_film():
    data = rng().integers(0, 256, (6, 3, 1, 4, 5)).astype(np.uint8)
    flat = Grid.from_spacing((1, 4, 5), (1, 0.5, 0.25))
    times = tuple(0.05 * i for i in range(6))
    image = Image(
        data, flat, "US", axes=(Axis("t", times, "s"), Axis("channel")), provenance=PHANTOM
    )
    (dataset,) = read(write.instances(image))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    assert dataset.NumberOfFrames == 6
    assert float(dataset.FrameTime) == pytest.approx(50)
    region = dataset.SequenceOfUltrasoundRegions[0]
    assert (region.PhysicalDeltaX, region.PhysicalDeltaY) == pytest.approx((0.025, 0.05))
    assert np.array_equal(dataset.pixel_array, np.moveaxis(data[:, :, 0], 1, -1))


KINDS = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
    "XA": "1.2.840.10008.5.1.4.1.1.7",
    "US": "1.2.840.10008.5.1.4.1.1.7",
}


@pytest.mark.parametrize("modality", KINDS)
def test_kind_of_a_volume(modality):
    image = Image(rng().random(SHAPE), GRID, modality, provenance=PHANTOM)
    files = write.instances(image)
    assert {d.SOPClassUID for d in read(files)} == {KINDS[modality]}
    assert {d.Modality for d in read(files)} == {modality}
    assert [p for f in files for p in validate.check(f)] == []


@pytest.mark.parametrize("multiframe", [False, True])
def test_a_localizer_stays_one(multiframe):
    scout = {**ATTRIBUTES, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    files = write.instances(ct(attributes=scout, unit="1"), multiframe=multiframe)
    assert {d.ImageType[2] for d in read(files)} == {"LOCALIZER"}


def test_axes_without_a_place_are_refused():
    image = Image(np.zeros((2, *SHAPE)), GRID, "MR", axes=(Axis("coil"),))
    with pytest.raises(WriteError, match=r"image\.at\(coil=0\)"):
        write.instances(image)


def test_attributes_that_do_not_fit_are_left_out():
    wild = {
        "PatientName": "x" * 100,
        "PatientID": "7\\8",
        "StudyDate": "yesterday",
        "KVP": "many",
        "PatientAge": ["1", "2"],
        "NotAKeyword": 1,
        "StudyInstanceUID": "not one",
    }
    files = write.instances(ct(attributes=wild))
    assert [p for f in files for p in validate.check(f)] == []
    (first, *_) = read(files)
    assert first.PatientID == "7/8"
    assert first.StudyInstanceUID.is_valid


def test_a_study_with_a_leading_zero_is_not_torn_apart():
    files = write.instances(ct(attributes={**ATTRIBUTES, "StudyInstanceUID": "1.2.03"}))
    with pytest.warns(UserWarning, match=r"1\.2\.03"):
        studies = {d.StudyInstanceUID for d in read(files)}
    assert studies == {"1.2.03"}
