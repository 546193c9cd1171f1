"""Series become volumes: shuffled, oblique, tilted, uneven, doubled, in four dimensions."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from somascope.core.errors import Cancelled
from somascope.core.progress import Progress
from somascope.io.dicom.geometry import correct_tilt
from somascope.io.dicom.series import volumes

RNG = np.random.default_rng(5)
CT = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "SeriesNumber": 3}


def stack(
    dicom, n=6, *, step=(0, 0, 2.5), orientation=(1, 0, 0, 0, 1, 0), origin=(10, -20, 30), **facts
):
    """``n`` instances of a volume, its stored values, and the LPS place of each slice."""
    values = RNG.integers(0, 4000, (n, 7, 9)).astype(np.uint16)
    places = [np.add(origin, np.multiply(step, k)) for k in range(n)]
    files = [
        dicom(
            values[k],
            BitsStored=12,
            HighBit=11,
            InstanceNumber=k + 1,
            PixelSpacing=[0.5, 0.75],
            ImagePositionPatient=[f"{v:.9g}" for v in places[k]],
            SliceThickness=2,
            ImageOrientationPatient=[f"{v:.9g}" for v in orientation],
            **(CT | facts),
        )
        for k in range(n)
    ]
    return files, values, places


def one(files, **options):
    images, problems = volumes(files, **options)
    assert len(images) == 1, (images, problems)
    return images[0], problems


def reasons(problems):
    return " | ".join(p.reason for p in problems)


def test_shuffled_files_are_sorted_by_place(dicom):
    files, values, places = stack(dicom)
    image, problems = one([files[i] for i in (3, 0, 5, 1, 4, 2)])
    assert problems == []
    np.testing.assert_array_equal(image.data, values.astype(int) - 1024)
    assert image.data.dtype == np.int16
    assert image.unit == "[hnsf'U]"
    np.testing.assert_allclose(image.grid.to_world([(k, 0, 0) for k in range(6)]), places)
    np.testing.assert_allclose(image.grid.to_world((2, 3, 4)), places[2] + [4 * 0.75, 3 * 0.5, 0])
    assert len(image.provenance.sources[0].uids) == 6
    assert image.attributes["SliceThickness"] == 2


ORIENTATIONS = {
    "HFS axial": (1, 0, 0, 0, 1, 0),
    "HFP axial": (-1, 0, 0, 0, -1, 0),
    "FFS axial": (-1, 0, 0, 0, 1, 0),
    "FFP axial": (1, 0, 0, 0, -1, 0),
    "HFDR axial": (0, 1, 0, -1, 0, 0),
    "HFDL axial": (0, -1, 0, 1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0, -0.36, 0.48, -0.8),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_position_of_the_patient(dicom, name, sign):
    turn = np.array(ORIENTATIONS[name], float)
    normal = np.cross(turn[:3], turn[3:])
    files, values, places = stack(dicom, step=sign * 3 * normal, orientation=turn)
    image, _ = one(files)
    for k, j, i in ((0, 0, 0), (5, 6, 8), (2, 1, 7)):
        world = places[k] + turn[:3] * 0.75 * i + turn[3:] * 0.5 * j
        z, y, x = np.rint(image.grid.to_index(world)).astype(int)
        np.testing.assert_allclose(image.grid.to_world((z, y, x)), world, atol=1e-6)
        assert image.data[z, y, x] == int(values[k, j, i]) - 1024


def test_gantry_tilt_stays_in_the_affine_and_can_be_corrected(dicom):
    tilt = np.deg2rad(20)
    turn = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt))
    files, values, places = stack(dicom, n=9, step=(0, 0, 2), orientation=turn)
    image, problems = one(files)
    assert "9 slices is tilted by 20.00 degrees" in reasons(problems)
    np.testing.assert_array_equal(image.data, values.astype(int) - 1024)
    np.testing.assert_allclose(image.grid.to_world((8, 0, 0)), places[8], atol=1e-6)
    assert not image.grid.is_orthogonal()


def test_corrected_tilt_keeps_the_anatomy_in_its_place():
    from somascope.core import Grid, Image

    tilt = np.deg2rad(18)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1.0], [0, np.cos(tilt), 0], [2.0, -np.sin(tilt), 0]])
    grid = Grid((8, 12, 10), affine)
    world = grid.to_world(np.stack(np.indices(grid.shape), -1))
    field = world @ [0.5, -2.0, 3.0] + 100  # linear in space: linear interpolation is exact
    upright = correct_tilt(Image(field.astype(np.float32), grid))
    assert upright.grid.is_orthogonal()
    inside = (
        upright.grid.to_world(np.stack(np.indices(upright.grid.shape), -1)) @ [0.5, -2.0, 3.0] + 100
    )
    index = grid.to_index(upright.grid.to_world(np.stack(np.indices(upright.grid.shape), -1)))
    whole = ((index > -1e-6) & (index < np.array(grid.shape) - 1 + 1e-6)).all(-1)
    assert whole.sum() > 600
    np.testing.assert_allclose(upright.data[whole], inside[whole], atol=1e-3)
    assert upright.provenance.steps[-1].operation == "dicom.correct_tilt"
    assert upright.provenance.steps[-1].params["degrees"] == pytest.approx(18)
    assert correct_tilt(upright).grid is upright.grid


def test_missing_slice_is_told_apart_and_said(dicom):
    files, values, _ = stack(dicom, n=9)
    del files[3]
    images, problems = volumes(files)
    assert [i.grid.shape[0] for i in images] == [3, 5]
    assert "1 slice(s) seem to be missing (after slice 3; the distance is 2.5 mm)" in reasons(
        problems
    )
    np.testing.assert_array_equal(images[1].data, values[4:].astype(int) - 1024)
    whole, problems = one(files, allow_uneven=True)
    assert whole.grid.shape[0] == 9
    assert "resampled" in reasons(problems)
    np.testing.assert_array_equal(whole.data[[0, 2, 4, 8]], values[[0, 2, 4, 8]].astype(int) - 1024)
    between = (values[2].astype(float) + values[4]) / 2 - 1024
    assert np.abs(whole.data[3] - between).max() <= 0.5
    assert whole.provenance.steps[-1].operation == "dicom.even_spacing"


def test_two_spacings_become_two_volumes(dicom):
    first, a, _ = stack(dicom, n=5, step=(0, 0, 4))
    second, b, _ = stack(dicom, n=6, step=(0, 0, 7), origin=(10, -20, 30 + 4 * 4 + 7))
    images, problems = volumes(first + second)
    assert sorted(i.grid.shape[0] for i in images) == [5, 6] or sorted(
        i.grid.shape[0] for i in images
    ) == [4, 7]
    assert "4 to 7 mm" in reasons(problems)
    stored = np.concatenate([i.data for i in images])
    np.testing.assert_array_equal(stored, np.concatenate([a, b]).astype(int) - 1024)


def test_positions_rounded_by_the_writer_stay_one_volume(dicom):
    files = []
    for k in range(12):
        files += [
            stack(
                dicom,
                n=1,
                origin=(0, round(-0.94 * k, 1), round(6.94 * k, 1)),
                SOPInstanceUID=f"1.2.{k}",
            )[0][0]
        ]
    image, problems = one(files)
    assert image.grid.shape[0] == 12
    assert (
        np.abs(image.grid.to_world((5, 0, 0)) - [0, round(-0.94 * 5, 1), round(6.94 * 5, 1)]).max()
        < 0.1
    )
    del problems


def test_copies_are_left_out_and_said(dicom):
    files, values, _ = stack(dicom)
    image, problems = one([*files, files[2], files[4]])
    np.testing.assert_array_equal(image.data, values.astype(int) - 1024)
    assert "2 slice(s) are there twice" in reasons(problems)


def test_two_slices_at_one_place_are_two_volumes(dicom):
    files, values, _ = stack(dicom)
    again, other, _ = stack(dicom, n=1, origin=(10, -20, 35), AcquisitionTime="100000")
    images, problems = volumes([*files, *again])
    assert sorted(i.grid.shape[0] for i in images) == [1, 6]
    assert "told apart" in reasons(problems)
    del values, other


def test_embedded_localizers_become_images_of_their_own(dicom):
    files, values, _ = stack(dicom, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    scout = stack(
        dicom,
        n=1,
        orientation=(0, 1, 0, 0, 0, -1),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )[0]
    flat = stack(dicom, n=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], origin=(10, -20, 35))[
        0
    ]
    images, _ = volumes([*scout, *files, *flat])
    assert [i.grid.shape[0] for i in images].count(6) == 1
    assert len(images) == 3
    volume = next(i for i in images if i.grid.shape[0] == 6)
    np.testing.assert_array_equal(volume.data, values.astype(int) - 1024)


def test_time_points_become_an_axis_in_seconds(dicom):
    files, truth = [], []
    for t in range(3):
        made, values, _ = stack(
            dicom,
            n=4,
            Modality="MR",
            TemporalPositionIdentifier=t + 1,
            AcquisitionTime=f"2359{50 + 4 * t:02d}.5",
            RescaleIntercept=0,
        )
        files += made
        truth.append(values)
    image, problems = one(files[::-1])
    assert problems == []
    assert image.axis_names == ("t", "z", "y", "x")
    assert image.axes[0].values == pytest.approx((0, 4, 8))
    assert image.axes[0].unit == "s"
    np.testing.assert_array_equal(image.data, truth)


def test_time_over_midnight(dicom):
    files = []
    for clock in ("235958", "000003"):
        files += stack(
            dicom, n=2, Modality="PT", AcquisitionTime=clock, AcquisitionNumber=len(files)
        )[0]
    image, _ = one(files)
    assert image.axes[0].values == pytest.approx((0, 5))


def test_echoes_and_times_together(dicom):
    files, truth = [], {}
    for t in range(2):
        for e in (2.5, 5.0, 7.5):
            made, values, _ = stack(
                dicom,
                n=3,
                Modality="MR",
                RescaleIntercept=0,
                EchoTime=e,
                AcquisitionNumber=t + 1,
                AcquisitionTime=f"10000{t}",
            )
            files += made
            truth[e, t] = values
    image, _ = one(files)
    assert image.axis_names == ("echo", "t", "z", "y", "x")
    assert image.axes[0].values == (2.5, 5.0, 7.5)
    assert image.axes[0].unit == "ms"
    for i, e in enumerate((2.5, 5.0, 7.5)):
        for t in range(2):
            np.testing.assert_array_equal(image.data[i, t], truth[e, t])
    assert "EchoTime" not in image.attributes


def test_diffusion_directions_are_one_axis(dicom):
    files, truth, plan = (
        [],
        [],
        [(0, (0, 0, 0)), (1000, (1, 0, 0)), (1000, (0, 1, 0)), (2000, (1, 0, 0))],
    )
    for n, (b, g) in enumerate(plan):
        made, values, _ = stack(
            dicom,
            n=3,
            Modality="MR",
            RescaleIntercept=0,
            DiffusionBValue=float(b),
            AcquisitionNumber=n,
            DiffusionGradientOrientation=[float(v) for v in g],
        )
        files += made
        truth.append(values)
    image, _ = one(files)
    assert image.axis_names[0] == "b"
    assert image.axes[0].values == (0, 1000, 1000, 2000)
    assert image.attributes["DiffusionGradientOrientation"] == [
        list(map(float, g)) for _, g in plan
    ]
    np.testing.assert_array_equal(image.data, truth)


def test_an_unfinished_repeat_is_told_apart(dicom):
    files = []
    for t in range(3):
        made = stack(dicom, n=4, Modality="MR", TemporalPositionIdentifier=t + 1)[0]
        files += made if t < 2 else made[:3]
    images, problems = volumes(files)
    assert [i.shape[0] for i in images if len(i.shape) == 4] == [2]
    assert "have 3 of 4 slices" in reasons(problems)
    assert sum(np.prod(i.shape[:-2]) for i in images) == 11


def test_slope_per_slice_makes_float32(dicom):
    files, truth = [], []
    for k in range(4):
        made, values, _ = stack(
            dicom,
            n=1,
            origin=(0, 0, 3 * k),
            Modality="PT",
            Units="BQML",
            RescaleSlope=1.5 + k,
            RescaleIntercept=0,
        )
        files += made
        truth.append(values[0] * (1.5 + k))
    image, _ = one(files)
    assert image.data.dtype == np.float32
    assert image.unit == "Bq/ml"
    np.testing.assert_allclose(image.data, truth, rtol=1e-6)


@pytest.mark.parametrize(("top", "kind"), [(31000, np.int16), (65000, np.float32)])
def test_sixteen_bits_stay_integers_where_they_fit(dicom, top, kind):
    values = np.array([[0, 1], [top, 500]], np.uint16)
    image, _ = one([dicom(values, **CT)])
    assert image.data.dtype == kind
    np.testing.assert_array_equal(image.data[0], values.astype(int) - 1024)


def test_signed_padding_that_leaves_int16_is_exact(dicom):
    values = np.array([[-32000, 1], [30000, 500]], np.int16)
    image, _ = one([dicom(values, **CT)])
    np.testing.assert_array_equal(image.data[0], values.astype(int) - 1024)


def test_modality_lut(dicom):
    from pydicom.dataset import Dataset

    lut = Dataset()
    lut.LUTDescriptor = [4, 2, 16]
    lut.ModalityLUTType = "OD"
    lut.LUTData = [100, 300, 900, 2700]
    lut["LUTData"].VR = "US"
    values = np.array([[0, 2, 3], [4, 5, 9]], np.uint8)
    image, _ = one([dicom(values, Modality="CR", ModalityLUTSequence=[lut])])
    np.testing.assert_array_equal(image.data[0], [[100, 100, 300], [900, 2700, 2700]])


def test_real_world_values_of_an_adc_map(dicom):
    from pydicom.dataset import Dataset

    code, mapping = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "um2/s", "UCUM", "um2/s"
    mapping.MeasurementUnitsCodeSequence = [code]
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 0.0
    values = np.array([[0, 2000], [4000, 5]], np.uint16)
    image, _ = one([dicom(values, Modality="MR", RealWorldValueMappingSequence=[mapping])])
    assert image.unit == "um2/s"
    np.testing.assert_allclose(image.data[0], values * 0.5)


def test_cine_becomes_a_time_axis(dicom):
    values = RNG.integers(0, 255, (5, 4, 6)).astype(np.uint8)
    image, _ = one(
        [
            dicom(
                values,
                Modality="XA",
                FrameTime=40,
                FrameIncrementPointer=0x00181063,
                ImagerPixelSpacing=[0.3, 0.3],
            )
        ]
    )
    assert image.shape == (5, 1, 4, 6)
    assert image.axes[0].values == pytest.approx((0, 0.04, 0.08, 0.12, 0.16))
    assert image.grid.spacing[1:] == pytest.approx((0.3, 0.3))
    image, _ = one([dicom(values, Modality="US", FrameTimeVector=[0, 10, 30, 10, 10])])
    assert image.axes[0].values == pytest.approx((0, 0.01, 0.04, 0.05, 0.06))


def test_ultrasound_spacing_from_its_regions(dicom):
    from pydicom.dataset import Dataset

    region = Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = (
        1,
        3,
        3,
    )
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    image, _ = one(
        [dicom(np.zeros((4, 5), np.uint8), Modality="US", SequenceOfUltrasoundRegions=[region])]
    )
    assert image.grid.spacing[1:] == pytest.approx((0.3, 0.2))


def test_nuclear_tomography_and_gates(dicom):
    from pydicom.dataset import Dataset

    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [5, 6, 7], [1, 0, 0, 0, 1, 0]
    values = RNG.integers(0, 900, (6, 4, 5)).astype(np.uint16)
    facts = {
        "Modality": "NM",
        "PixelSpacing": [4, 4],
        "SliceThickness": 4,
        "SpacingBetweenSlices": 4,
        "DetectorInformationSequence": [detector],
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
    }
    image, _ = one(
        [dicom(values, SliceVector=[1, 2, 3, 4, 5, 6], FrameIncrementPointer=0x00540080, **facts)]
    )
    np.testing.assert_array_equal(image.data, values)
    np.testing.assert_allclose(image.grid.to_world((5, 0, 0)), (5, 6, 27))
    gated, _ = one(
        [
            dicom(
                values,
                SliceVector=[1, 2, 3, 1, 2, 3],
                TimeSlotVector=[1, 1, 1, 2, 2, 2],
                FrameIncrementPointer=[0x00540080, 0x00540070],
                **facts,
            )
        ]
    )
    assert gated.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(gated.data, values.reshape(2, 3, 4, 5))
    energies, _ = one(
        [
            dicom(
                values[:4],
                Modality="NM",
                EnergyWindowVector=[1, 1, 2, 2],
                DetectorVector=[1, 2, 1, 2],
                FrameIncrementPointer=[0x00540010, 0x00540020],
                ImageType=["ORIGINAL", "PRIMARY", "STATIC"],
            )
        ]
    )
    assert energies.axis_names == ("energy", "detector", "z", "y", "x")


def csa(tags):
    """A Siemens SV10 header with the named values."""
    data = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(tags), 77)
    for name, values in tags.items():
        data += name.encode().ljust(64, b"\0") + struct.pack(
            "<i4sIiI", len(values), b"FD\0\0", 4, 6, 77
        )
        for k in range(6):
            text = values[k].encode().ljust(12, b"\0") if k < len(values) else b""
            data += struct.pack("<4i", len(text), len(text), 77, len(text)) + text
    return data


def test_siemens_mosaic(dicom):
    truth = RNG.integers(0, 4000, (5, 8, 6)).astype(np.uint16)
    picture = np.zeros((24, 18), np.uint16)
    for k in range(5):
        picture[k // 3 * 8 : k // 3 * 8 + 8, k % 3 * 6 : k % 3 * 6 + 6] = truth[k]
    # the mosaic's position is that of a picture three times as large around the same centre
    first = np.array([20.0, 30.0, -40.0])
    corner = first - np.array([(18 - 6) / 2 * 2.0, (24 - 8) / 2 * 1.5, 0])
    header = csa({"NumberOfImagesInMosaic": ["5"], "SliceNormalVector": ["0.0", "0.0", "-1.0"]})
    image, _ = one(
        [
            dicom(
                picture,
                Modality="MR",
                ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
                PixelSpacing=[1.5, 2.0],
                SpacingBetweenSlices=3.5,
                ImagePositionPatient=list(corner),
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                tag_00290010=("LO", "SIEMENS CSA HEADER"),
                tag_00291010=("OB", header),
            )
        ]
    )
    assert image.shape == (5, 8, 6)
    for k in range(5):
        z = round(float(image.grid.to_index(first - [0, 0, 3.5 * k])[0]))
        np.testing.assert_allclose(
            image.grid.to_world((z, 0, 0)), first - [0, 0, 3.5 * k], atol=1e-9
        )
        np.testing.assert_array_equal(image.data[z], truth[k])


def test_a_damaged_slice_is_named_and_the_rest_is_read(dicom, tmp_path):
    files, values, _ = stack(dicom, n=5)
    for k, data in enumerate(files):
        (tmp_path / f"{k}.dcm").write_bytes(data[:-40] if k == 2 else data)
    (tmp_path / "note.txt").write_text("hello")
    images, problems = volumes([tmp_path])
    assert sum(i.grid.shape[0] for i in images) == 4
    said = dict(problems)
    assert "truncated" in said["2.dcm"]
    assert "no DICOM" in said["note.txt"]
    del values


def test_colour_has_a_channel_axis_before_the_slices(dicom):
    values = RNG.integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    image, _ = one([dicom(values, Modality="US", FrameTime=10)])
    assert image.axis_names == ("t", "channel", "z", "y", "x")
    np.testing.assert_array_equal(image.data[:, :, 0], values.transpose(0, 3, 1, 2))


def test_facts_are_json_and_names_are_decoded(dicom):
    import json

    data = dicom(
        np.zeros((4, 4), np.uint16),
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg",
        KVP=120,
        PatientWeight=70.5,
        ImageType=["ORIGINAL", "PRIMARY"],
        WindowCenter=[40, 300],
        WindowWidth=[400, 1500],
        StudyDate="20260101",
        Modality="CT",
    )
    image, _ = one([data])
    facts = json.loads(json.dumps(dict(image.attributes)))
    assert facts["PatientName"] == "Müller^Jörg"
    assert facts["KVP"] == 120
    assert facts["WindowWidth"] == [400, 1500]
    assert facts["ImageType"] == ["ORIGINAL", "PRIMARY"]
    assert "Rows" not in facts


def test_only_one_series_and_progress_and_cancel(dicom):
    files, _, _ = stack(dicom, n=3)
    other = dicom(np.zeros((4, 4), np.uint16), SeriesInstanceUID="9.9")
    seen: list[float] = []
    images, _ = volumes(
        [*files, other], series="9.9", progress=Progress(lambda f, _: seen.append(f))
    )
    assert [i.grid.shape for i in images] == [(1, 4, 4)]
    assert seen == sorted(seen)
    assert seen[-1] == 1
    with pytest.raises(Cancelled):
        volumes(files, progress=Progress(cancelled=lambda: True))
